//! Benchmarks against the limits that the project has set itself, and against peers from the distribution's packages.
//!
//! Contestants run by turns in a shuffled order, in a mount and a network namespace of the bench's own, and everything that is
//! made is removed. Nothing here is a test: numbers are read by people.

mod bed;
mod contest;
mod elf;
mod image;
mod kubelet;
mod machine;
mod master;
mod oci;
mod pod;
mod podman;
mod process;
mod pull;
mod report;
mod run;
mod serve;
mod size;
mod stats;
mod sys;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use clap::{Parser, ValueEnum};

use bed::Bed;
use contest::Rounds;
use report::{Check, Table};
use stats::Dice;

/// Measure rkube against its limits and against peers, by turns, on this machine.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Peers that are not installed are left out, and the table says so: hack/deps.sh bench installs them.
Exit code: 0 even where a limit is missed, unless --strict is given."
)]
struct Args {
    /// What to measure [default: everything]
    #[arg(value_enum)]
    suites: Vec<Suite>,
    /// Measured runs of each contestant [default: each suite's own number]
    #[arg(long, value_name = "N")]
    runs: Option<usize>,
    /// Only this table of the suite `serve` (one, idle, many) or `master` (start, writes, lists, watchers, held)
    #[arg(long, value_name = "TABLE")]
    only: Option<String>,
    /// Write the tables as Markdown as well
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// The order of the contestants; the same seed gives the same order
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Exit with 1 if a limit is missed
    #[arg(long)]
    strict: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Suite {
    /// rkube-runtime against crun, runc and youki
    Oci,
    /// Container start and exec in a running pod
    Pod,
    /// A pod from a manifest and back: rkubelet against podman kube play
    Run,
    /// What an idle pod costs
    Size,
    /// The daemon: manifests dropped, many pods at once, idleness, adoption
    Serve,
    /// The master: start, single objects, lists, watchers, a hundred thousand pods
    Master,
    /// rkubelet images pull against podman pull and tar
    Pull,
}

/// What all suites want to know.
#[derive(Debug, Clone)]
struct Settings {
    runs: Option<usize>,
    seed: u64,
    only: Option<String>,
}

impl Settings {
    /// Whether this table is to be made.
    fn wants(&self, table: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == table)
    }

    /// So many runs unless the user wants another number.
    fn rounds(&self, usual: usize, pause: Duration) -> Rounds {
        Rounds {
            runs: self.runs.unwrap_or(usual).max(1),
            pause,
            dice: Dice::new(self.seed),
        }
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    match measure(&args) {
        Ok(tables) => {
            let short = tables
                .iter()
                .flat_map(|table| &table.checks)
                .any(Check::is_short);
            ExitCode::from(u8::from(args.strict && short))
        }
        Err(err) => {
            complain(&format!("rkube-bench: {err:#}"));
            ExitCode::FAILURE
        }
    }
}

fn measure(args: &Args) -> Result<Vec<Table>> {
    sys::catch_signals();
    let bed = Bed::make()?;
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let seed = args
        .seed
        .unwrap_or(clock.map_or(1, |clock| u64::from(clock.subsec_nanos())));
    let settings = Settings {
        runs: args.runs,
        seed,
        only: args.only.clone(),
    };
    let mut facts = machine::facts();
    facts.push(machine::peers());
    facts.push(format!("order: --seed {seed}"));
    say(&facts.join("\n"));
    let mut tables = Vec::new();
    let suites = if args.suites.is_empty() {
        Suite::value_variants()
    } else {
        &args.suites
    };
    for suite in suites {
        let made = match suite {
            Suite::Oci => oci::suite(&bed, &settings),
            Suite::Run => run::suite(&bed, &settings),
            Suite::Size => size::suite(&bed, &settings),
            Suite::Serve => serve::suite(&bed, &settings),
            Suite::Master => master::suite(&bed, &settings),
            Suite::Pull => pull::suite(&bed, &settings),
            Suite::Pod => pod::suite(&bed, &settings),
        };
        let name = format!("{suite:?}").to_lowercase();
        let made = made.with_context(|| format!("suite {name}"))?;
        made.iter().for_each(|table| say(&table.text()));
        tables.extend(made);
    }
    facts.push(format!("load when it ended: {}", machine::load()));
    if let Some(path) = &args.markdown {
        let page = report::page(&facts, &tables);
        std::fs::write(path, page).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(tables)
}

#[expect(clippy::print_stdout, reason = "what the program is for")]
fn say(text: &str) {
    println!("{text}");
}

#[expect(clippy::print_stderr, reason = "the one line of a failure")]
fn complain(text: &str) {
    eprintln!("{text}");
}
