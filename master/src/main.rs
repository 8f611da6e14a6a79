//! `rkube-master`: flags, logging, one call.
use clap::Parser;
use rkube_master::cli::{Cli, Verb, flags};
use std::process::ExitCode;

/// Objects are many small allocations on many threads: with glibc's allocator a fifth of a write's time is spent in it.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let (arguments, passed_over) = flags::understood(std::env::args_os());
    let cli = Cli::parse_from(arguments);
    log_to_stderr(&cli);
    for flag in passed_over {
        tracing::warn!("{flag}");
    }
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    match rkube_master::run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => fail(failure.code, &failure.message),
    }
}

#[expect(clippy::print_stderr, reason = "the one line that a user reads")]
fn fail(code: u8, message: &str) -> ExitCode {
    eprintln!("rkube-master: {message}");
    ExitCode::from(code)
}

/// The server logs what happens; a command says it itself, and logs only when asked.
fn log_to_stderr(cli: &Cli) {
    let level = match (cli.verbose, matches!(cli.verb, Verb::Serve(_))) {
        (0, false) => "off",
        (0, true) => "info",
        (1, _) => "rkube_master=debug,info",
        (_, _) => "debug",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("RKUBE_MASTER_LOG")
        .unwrap_or_else(|_| level.into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
}
