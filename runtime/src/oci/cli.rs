//! The command line: which verbs and flags there are, and how an outcome becomes an exit code.
//!
//! It is the one of runc, because engines and test suites speak it; crun's `--cgroup-manager` is
//! understood too.
use std::error::Error;
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::bundle::OCI_VERSION;
use super::log::{Format, Log};
use super::root::StateRoot;
use super::{
    checkpoint, create, delete, events, exec, features, kill, list, pause, ps, run, spec, start,
    state, update,
};

/// Run containers from OCI bundles.
///
/// A bundle is a directory with a config.json and a root file system; `spec` writes a config to
/// start from.
#[derive(Debug, Parser)]
#[command(
    name = "rkube-runtime",
    disable_version_flag = true,
    arg_required_else_help = true
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    /// Print the version, and that of the OCI runtime specification
    #[arg(long, short = 'v')]
    version: bool,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Args)]
struct Global {
    /// Directory for the state of containers; it should be on a tmpfs
    /// [default: /run/rkube-runtime, or below $XDG_RUNTIME_DIR when not root]
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,
    /// File that messages are appended to, besides standard error
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Format of the lines in the log file
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "text")]
    log_format: Format,
    /// Say more about what is done
    #[arg(long)]
    debug: bool,
    /// Read cgroupsPath as slice:prefix:name; the scope is made without asking systemd
    #[arg(long)]
    systemd_cgroup: bool,
    /// How cgroups are made: cgroupfs, systemd (names only) or disabled
    #[arg(long, value_enum, value_name = "HOW")]
    cgroup_manager: Option<CgroupDriver>,
    /// Go on without cgroups that may not be written: true, false or auto
    #[arg(long, value_enum, value_name = "WHEN", num_args = 0..=1, require_equals = true, default_value = "auto", default_missing_value = "true")]
    rootless: Rootless,
    /// Accepted for the sake of callers; there is no checkpoint support
    #[arg(long, hide = true, value_name = "PATH")]
    criu: Option<PathBuf>,
}

/// Who makes cgroups, in crun's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum CgroupDriver {
    /// We do, in the mounted hierarchies.
    Cgroupfs,
    /// We do, under the names that systemd would give.
    Systemd,
    /// Nobody: the container stays in the caller's cgroups.
    Disabled,
}

/// Whether missing permissions on cgroups are forgiven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Rootless {
    /// Yes.
    True,
    /// No.
    False,
    /// When not root.
    Auto,
}

/// What every verb is given besides its own arguments.
#[derive(Debug)]
pub(super) struct Context {
    /// Where the state of containers is.
    pub(super) root: StateRoot,
    /// Where messages go.
    pub(super) log: Log,
    /// Whether containers get a cgroup of their own.
    pub(super) cgroups: bool,
    /// Whether it is an error that a cgroup cannot be made.
    pub(super) cgroups_required: bool,
}

/// The flags of a verb are only built once it is found to be the one: there are many.
#[derive(Debug, Subcommand)]
#[command(defer = true)]
enum Verb {
    /// Create a container, to be started later
    Create(create::Create),
    /// Start the program of a created container
    Start(start::Start),
    /// Print the state of a container as JSON
    State(state::State),
    /// Send a signal to a container's first process
    Kill(kill::Kill),
    /// Delete a container that has stopped
    Delete(delete::Delete),
    /// Create a container and run its program
    Run(run::Run),
    /// Run another process in a container
    Exec(exec::Exec),
    /// List the containers of the state directory
    List(list::List),
    /// Show the processes of a container
    Ps(ps::Ps),
    /// Print what a container uses, as lines of JSON
    Events(events::Events),
    /// Change the resource limits of a container
    Update(update::Update),
    /// Suspend all processes of a container
    Pause(pause::Pause),
    /// Resume the processes of a paused container
    Resume(pause::Resume),
    /// Write a config.json to start from
    Spec(spec::WriteSpec),
    /// Print what the runtime supports, as JSON
    Features(features::PrintFeatures),
    #[command(hide = true)]
    Checkpoint(checkpoint::Unsupported),
    #[command(hide = true)]
    Restore(checkpoint::Unsupported),
}

/// The error that ended a verb, and the exit code it means.
#[derive(Debug)]
pub(super) struct Failure {
    code: u8,
    error: Box<dyn Error>,
}

impl Failure {
    /// An error with an exit code of its own.
    pub(super) fn with_code(code: u8, error: impl Error + 'static) -> Failure {
        Failure {
            code,
            error: Box::new(error),
        }
    }
}

/// The exit code of any error that does not say otherwise.
impl<E: Error + 'static> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure::with_code(1, error)
    }
}

/// The verbs whose processes enter containers, where our own file must not be within reach.
const ENTER: [&str; 4] = ["create", "start", "run", "exec"];

/// Runs the program with these arguments.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.collect();
    if args.iter().any(|arg| ENTER.iter().any(|verb| arg == verb)) {
        // As early as can be, since it begins anew. When it fails, it does so again with the verb.
        let _ = crate::spawn::protect_executable();
    }
    let cli = match Cli::try_parse_from(normalise(args.into_iter())) {
        Ok(cli) => cli,
        Err(err) => return usage(&err),
    };
    if cli.version {
        return print_version();
    }
    let context = cli.global.resolve();
    let Some(verb) = cli.verb else {
        let missing = clap::Error::raw(
            clap::error::ErrorKind::MissingSubcommand,
            "a command is missing, see rkube-runtime --help\n",
        );
        return usage(&missing);
    };
    match verb.run(&context) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            context.log.error(failure.error.as_ref());
            ExitCode::from(failure.code)
        }
    }
}

/// runc takes the value of `--rootless` as the next argument, crun does not: with one of the three
/// words behind it, it is joined to the flag.
fn normalise(args: impl Iterator<Item = OsString>) -> impl Iterator<Item = OsString> {
    let mut args = args.peekable();
    std::iter::from_fn(move || {
        let arg = args.next()?;
        if arg == "--rootless" {
            let value = args.next_if(|next| next == "true" || next == "false" || next == "auto");
            let joined = value.and_then(|value| Some(format!("--rootless={}", value.to_str()?)));
            return Some(joined.map_or(arg, OsString::from));
        }
        Some(arg)
    })
}

fn usage(err: &clap::Error) -> ExitCode {
    // A broken pipe is success: the reader of --help has seen enough.
    let _ = err.print();
    if err.use_stderr() {
        ExitCode::from(2)
    } else {
        ExitCode::SUCCESS
    }
}

fn print_version() -> ExitCode {
    let version = env!("CARGO_PKG_VERSION");
    let text = format!("rkube-runtime version {version}\nspec: {OCI_VERSION}\n");
    match print(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// Writes to standard output. A reader that has gone is no error.
pub(super) fn print(text: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(err) if err.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

impl Global {
    fn resolve(self) -> Context {
        let is_root = rustix::process::geteuid().is_root();
        let root = self.root.unwrap_or_else(|| {
            StateRoot::default_path(
                is_root,
                std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from),
            )
        });
        let forgiving = match self.rootless {
            Rootless::True => true,
            Rootless::False => false,
            Rootless::Auto => !is_root,
        };
        Context {
            root: StateRoot::new(root),
            log: Log {
                path: self.log,
                format: self.log_format,
                debug: self.debug,
            },
            cgroups: self.cgroup_manager != Some(CgroupDriver::Disabled),
            cgroups_required: !forgiving,
        }
    }
}

/// Containers could get at this program's file.
#[derive(Debug, thiserror::Error)]
#[error("cannot keep containers away from this program's own file")]
struct Unprotected(#[source] io::Error);

impl Verb {
    /// Whether processes of this verb enter containers, where our own file must not be within reach.
    fn enters(&self) -> bool {
        matches!(
            self,
            Verb::Create(_) | Verb::Start(_) | Verb::Run(_) | Verb::Exec(_)
        )
    }

    fn run(self, context: &Context) -> Result<u8, Failure> {
        if self.enters() {
            crate::spawn::protect_executable()
                .map_err(|source| Failure::with_code(1, Unprotected(source)))?;
        }
        match self {
            Verb::Create(verb) => verb.run(context),
            Verb::Start(verb) => verb.run(context),
            Verb::State(verb) => verb.run(context),
            Verb::Kill(verb) => verb.run(context),
            Verb::Delete(verb) => verb.run(context),
            Verb::Run(verb) => verb.run(context),
            Verb::Exec(verb) => verb.run(context),
            Verb::List(verb) => verb.run(context),
            Verb::Ps(verb) => verb.run(context),
            Verb::Events(verb) => verb.run(context),
            Verb::Update(verb) => verb.run(context),
            Verb::Pause(verb) => verb.run(context),
            Verb::Resume(verb) => verb.run(context),
            Verb::Spec(verb) => verb.run(),
            Verb::Features(verb) => verb.run(),
            Verb::Checkpoint(verb) => verb.run("checkpoint"),
            Verb::Restore(verb) => verb.run("restore"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(args: &[&str]) -> Result<Cli, clap::Error> {
        let args = ["rkube-runtime"].iter().chain(args).map(OsString::from);
        Cli::try_parse_from(normalise(args))
    }

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// The list shows what stands at the verb; its own help, what stands at its flags.
    #[test]
    fn verbs_are_described_alike() {
        let listed = Cli::command();
        let mut built = Cli::command();
        built.build();
        for verb in listed.get_subcommands().filter(|verb| !verb.is_hide_set()) {
            let about = |one: &clap::Command| one.get_about().unwrap().to_string();
            let full = built.find_subcommand(verb.get_name()).unwrap();
            assert_eq!(about(verb), about(full));
        }
    }

    #[test]
    fn the_calls_of_engines_are_understood() {
        for line in [
            "--systemd-cgroup --log-format=json --log=/l create --bundle /b --pid-file /p i",
            "--root /r --log /l --log-format json create --bundle /b --pid-file /p --console-socket /s --no-pivot --no-new-keyring --preserve-fds 2 i",
            "--cgroup-manager=cgroupfs start i",
            "exec --pid-file /p --process /j --detach --console-socket /s --preserve-fds 1 i",
            "exec -t -u 1:2 --cwd / -e A=b -e C=d -g 3 -c CAP_KILL --no-new-privs i ls -l --color",
            "kill --all i 9",
            "kill i SIGKILL",
            "delete --force i",
            "update --resources=/r i",
            "update --resources - i",
            "update --memory 1 --cpu-quota -1 --memory-swap -1 --pids-limit 7 i",
            "events --stats i",
            "ps --format json i",
            "ps i -ef",
            "list --format json",
            "list -q",
            "run --detach --keep -b /b i",
            "run i",
            "--rootless true state i",
            "--rootless state i",
            "--rootless=auto state i",
            "features",
            "spec --rootless -b /b",
            "checkpoint --image-path /i --work-path /w --leave-running i",
        ] {
            let args: Vec<&str> = line.split(' ').collect();
            if let Err(err) = parse(&args) {
                panic!("{line}: {err}");
            }
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for line in [
            "create",
            "nothing i",
            "--root",
            "kill",
            "list --format yaml",
            "exec --bogus i",
        ] {
            let args: Vec<&str> = line.split(' ').collect();
            assert!(parse(&args).is_err(), "{line}");
        }
    }

    #[test]
    fn rootless_forgives_missing_cgroups() {
        let resolve = |args: &[&str]| parse(args).unwrap().global.resolve();
        assert!(!resolve(&["--rootless", "list"]).cgroups_required);
        assert!(!resolve(&["--rootless", "true", "list"]).cgroups_required);
        assert!(resolve(&["--rootless=false", "list"]).cgroups_required);
        assert!(!resolve(&["--cgroup-manager", "disabled", "list"]).cgroups);
    }
}
