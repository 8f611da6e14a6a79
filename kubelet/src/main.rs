//! `rkubelet`: flags, logging, one call.
use clap::Parser;
use rkubelet::cli::{Cli, Verb, execute};
use std::process::ExitCode;

fn main() -> ExitCode {
    // 2014's ways of writing flags, for the daemon's service files of then.
    let (arguments, passed_over) = rkubelet::config::flags::go_style(std::env::args_os());
    let cli = Cli::parse_from(arguments);
    log_to_stderr(&cli);
    for flag in passed_over {
        tracing::warn!("{flag}");
    }
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(err) => return fail(1, &format!("cannot start: {err}")),
    };
    let outcome = runtime.block_on(execute(cli));
    // Threads that still wait for a slow host must not keep the command.
    runtime.shutdown_background();
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(failure) => fail(failure.code, &failure.message),
    }
}

#[expect(clippy::print_stderr, reason = "the one line that a user reads")]
fn fail(code: u8, message: &str) -> ExitCode {
    eprintln!("rkubelet: {message}");
    ExitCode::from(code)
}

/// Daemon and agent log what happens; a command says it itself, and logs only when asked.
fn log_to_stderr(cli: &Cli) {
    let agent = matches!(cli.verb, Verb::Agent(_) | Verb::Serve(_));
    let level = match (cli.global.verbose, agent) {
        (0, false) => "off",
        (0, true) => "info",
        (1, _) => "rkubelet=info,rkube_images=info,rkube_net=info,rkube_runtime=info",
        (_, _) => "debug",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("RKUBELET_LOG")
        .unwrap_or_else(|_| level.into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
}
