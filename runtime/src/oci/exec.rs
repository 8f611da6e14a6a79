//! `exec`: another process in a container that runs.
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

use clap::Args;
use oci_spec::runtime::{Capability, LinuxCapabilities, Process, Spec, UserBuilder};

use crate::cgroup::CgroupError;
use crate::compile::{self, CgroupAttach, CompileError, ExecRequest, Settings};
use crate::spawn::{self, Child, Options, SpawnError};

use super::bundle::{self, BundleError};
use super::cli::{Context, Failure};
use super::container::{self, CgroupUseError, Container, LookError};
use super::creation;
use super::descriptors::{Inherited, InheritedError};
use super::filter::{self, FilterError};
use super::home;
use super::relay::{self, Orphans, RelayError, Signals, Waited};
use super::status::{IllegalOp, Op};
use super::terminal::{Console, TerminalError};

/// The exit code for errors of `exec` itself: unlike 1 it is seldom a program's own.
const FAILED: u8 = 255;

/// Run another process in a container.
///
/// The exit code is the program's own, or 128 plus the signal that ended it; 255 is an error of
/// the runtime, 126 a program that cannot be executed, 127 one that is not there.
#[derive(Debug, Args)]
pub(super) struct Exec {
    /// File with an object like process of a config; the flags that describe a process do not count
    #[arg(long, short, value_name = "FILE")]
    process: Option<PathBuf>,
    /// Unix socket that the terminal's master end is sent to
    #[arg(long, value_name = "PATH")]
    console_socket: Option<PathBuf>,
    /// File to write the pid of the process to
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Do not wait for the process
    #[arg(long, short)]
    detach: bool,
    /// Descriptors from 3 on that the process inherits
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    preserve_fds: u32,
    /// Do it although the container is paused: the process runs once it is resumed
    #[arg(long)]
    ignore_paused: bool,
    #[command(flatten)]
    flags: ProcessFlags,
    /// The container
    id: String,
    /// The program and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

#[derive(Debug, Default, Args)]
struct ProcessFlags {
    /// Give it a terminal
    #[arg(long, short)]
    tty: bool,
    /// Working directory
    #[arg(long, value_name = "DIR")]
    cwd: Option<PathBuf>,
    /// Set an environment variable
    #[arg(long, short, value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Run as this user: UID or UID:GID
    #[arg(long, short, value_name = "UID[:GID]", value_parser = user)]
    user: Option<(u32, Option<u32>)>,
    /// Additional group
    #[arg(long, short = 'g', value_name = "GID")]
    additional_gids: Vec<u32>,
    /// Add a capability
    #[arg(long, short, value_name = "NAME", value_parser = capability)]
    cap: Vec<Capability>,
    /// Keep the process from gaining privileges
    #[arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    no_new_privs: Option<bool>,
    /// SELinux label
    #[arg(long, value_name = "LABEL")]
    process_label: Option<String>,
    /// AppArmor profile
    #[arg(long, value_name = "PROFILE")]
    apparmor: Option<String>,
}

/// Why a process was not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum ExecError {
    /// The container cannot be looked at.
    #[error(transparent)]
    Look(#[from] LookError),
    /// It is in no status for it.
    #[error(transparent)]
    Illegal(#[from] IllegalOp),
    /// The container's config or the process file cannot be read, or describes no process.
    #[error(transparent)]
    Process(#[from] BundleError),
    /// Neither a command nor a process file.
    #[error("give a command, or --process FILE")]
    NoCommand,
    /// There is nobody to hold the terminal, or no terminal to hold.
    #[error(transparent)]
    Terminal(#[from] TerminalError),
    /// `--preserve-fds` asks for descriptors that are not there.
    #[error(transparent)]
    Inherited(#[from] InheritedError),
    /// The container's cgroup cannot be joined.
    #[error(transparent)]
    Cgroup(#[from] CgroupUseError),
    /// The seccomp profile cannot be compiled.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// The process asks for something that cannot be.
    #[error("process")]
    Compile(#[from] CompileError),
    /// The process could not be set up.
    #[error("exec: {what}")]
    Spawn {
        /// What it means for a missing program, in the words that engines look for.
        what: &'static str,
        /// Where it failed.
        source: SpawnError,
    },
    /// Init ended meanwhile, or the pid file cannot be written.
    #[error("exec in container {id}: cannot {action}")]
    Access {
        /// The container.
        id: String,
        /// What was tried.
        action: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The wait for its end failed.
    #[error(transparent)]
    Relay(#[from] RelayError),
}

impl ExecError {
    fn exit_code(&self) -> u8 {
        match self {
            ExecError::Spawn { source, .. } => match source.exit_code() {
                code @ (126 | 127) => code,
                _ => FAILED,
            },
            _ => FAILED,
        }
    }
}

impl Exec {
    /// Runs the process; the code is its own unless detached.
    pub(super) fn run(self, context: &Context) -> Result<u8, Failure> {
        self.exec(context)
            .map_err(|err| Failure::with_code(err.exit_code(), err))
    }

    fn exec(&self, context: &Context) -> Result<u8, ExecError> {
        let container = Container::look(&context.root, &self.id)?;
        container.status.allow(if self.ignore_paused {
            Op::ExecPaused
        } else {
            Op::Exec
        })?;
        let spec = bundle::read(&container.dir.config_path())?;
        let mut process = self.process(&spec)?;
        if let Some(init) = container.record.init {
            home::provide(&mut process, &init.root());
        }
        let inherited = Inherited::check(self.preserve_fds)?;
        let terminal = process.terminal().unwrap_or(false);
        let console = Console::open(terminal, self.console_socket.as_deref(), self.detach)?;
        console.size(&mut process);
        let entry = Entry {
            container: &container,
            spec: &spec,
            process: &process,
        };
        let signals = if self.detach {
            None
        } else {
            Some(Signals::take()?)
        };
        let stdio = [None; 3];
        let mut child = entry.spawn(context, inherited.count(), console.for_child(), stdio)?;
        child.wait_exec().map_err(|source| entry.failed(source))?;
        self.write_pid_file(&container, &child)?;
        let master = console.into_master()?;
        let Some(signals) = signals else { return Ok(0) };
        let pidfd = child.pidfd.as_fd();
        let child = Waited {
            pid: child.pid,
            pidfd,
            orphans: Orphans::Leave,
        };
        Ok(relay::run(&signals, child, master)?)
    }

    fn write_pid_file(&self, container: &Container, child: &Child) -> Result<(), ExecError> {
        let Some(path) = &self.pid_file else {
            return Ok(());
        };
        container::write_pid_file(path, child.pid).map_err(|source| ExecError::Access {
            id: container.dir.id().to_string(),
            action: "write the pid file",
            source,
        })
    }

    /// The process of `--process`, or the container's own with the command and flags.
    fn process(&self, spec: &Spec) -> Result<Process, ExecError> {
        let process = match &self.process {
            Some(file) => read_process(file)?,
            None if self.command.is_empty() => return Err(ExecError::NoCommand),
            None => {
                let mut process = spec.process().clone().unwrap_or_default();
                process.set_args(Some(self.command.clone()));
                self.flags.apply(&mut process);
                process
            }
        };
        bundle::check_process(&process, "process")?;
        Ok(process)
    }
}

fn read_process(file: &PathBuf) -> Result<Process, BundleError> {
    let text = fs_err::read(file).map_err(|source| BundleError::Read { source })?;
    serde_json::from_slice(&text).map_err(|source| BundleError::Parse {
        path: file.clone(),
        source,
    })
}

/// A process on its way into a container.
pub(super) struct Entry<'a> {
    /// Where to.
    pub(super) container: &'a Container,
    /// The container's config.
    pub(super) spec: &'a Spec,
    /// What to run there.
    pub(super) process: &'a Process,
}

impl Entry<'_> {
    /// Starts the process; what is not given of `stdio` is inherited.
    pub(super) fn spawn(
        &self,
        context: &Context,
        preserve_fds: u32,
        console: Option<BorrowedFd<'_>>,
        stdio: [Option<BorrowedFd<'_>>; 3],
    ) -> Result<Child, ExecError> {
        let id = self.container.dir.id();
        let gone = |source| ExecError::Access {
            id: id.to_string(),
            action: "reach its first process",
            source,
        };
        let init = self
            .container
            .record
            .init
            .map(|init| init.open())
            .transpose()
            .map_err(gone)?;
        let ended = || gone(io::Error::from(io::ErrorKind::NotFound));
        let target = init.flatten().ok_or_else(ended)?;
        let profile = self
            .spec
            .linux()
            .as_ref()
            .and_then(|linux| linux.seccomp().as_ref());
        let launch = compile::compile_exec(ExecRequest {
            process: self.process,
            target: Some(target.as_fd()),
            spec: self.spec,
            cgroup: self.attach()?,
            seccomp: filter::program(profile, &context.root)?,
            settings: Settings {
                preserve_fds,
                ..Settings::default()
            },
        })?;
        let options = Options {
            id: id.as_str(),
            stdio,
            console,
            ..Options::default()
        };
        spawn::spawn(&launch, options).map_err(|source| self.failed(source))
    }

    fn attach(&self) -> Result<CgroupAttach, CgroupUseError> {
        if self.container.record.cgroup.is_none() {
            return Ok(CgroupAttach::default());
        }
        let cgroup = self.container.cgroup()?;
        creation::attach(&cgroup).map_err(|source: CgroupError| self.container.cgroup_error(source))
    }

    /// Words for a failed start of the process.
    pub(super) fn failed(&self, source: SpawnError) -> ExecError {
        let what = creation::spawn_words(&source);
        ExecError::Spawn { what, source }
    }
}

impl ProcessFlags {
    /// What is not given stays as the container's own process has it.
    fn apply(&self, process: &mut Process) {
        process.set_terminal(Some(self.tty));
        if let Some(cwd) = &self.cwd {
            process.set_cwd(cwd.clone());
        }
        let mut env = process.env().clone().unwrap_or_default();
        env.extend(self.env.iter().cloned());
        process.set_env(Some(env));
        if self.user.is_some() || !self.additional_gids.is_empty() {
            self.apply_user(process);
        }
        if !self.cap.is_empty() {
            process.set_capabilities(Some(with_capabilities(process.capabilities(), &self.cap)));
        }
        if self.no_new_privs.is_some() {
            process.set_no_new_privileges(self.no_new_privs);
        }
        if self.process_label.is_some() {
            process.set_selinux_label(self.process_label.clone());
        }
        if self.apparmor.is_some() {
            process.set_apparmor_profile(self.apparmor.clone());
        }
    }

    fn apply_user(&self, process: &mut Process) {
        let before = process.user();
        let mut groups = before.additional_gids().clone().unwrap_or_default();
        groups.extend(&self.additional_gids);
        let (uid, gid) = match self.user {
            Some((uid, gid)) => (uid, gid.unwrap_or(before.gid())),
            None => (before.uid(), before.gid()),
        };
        let user = UserBuilder::default()
            .uid(uid)
            .gid(gid)
            .additional_gids(groups)
            .build();
        if let Ok(user) = user {
            process.set_user(user);
        }
    }
}

/// Bounding, effective and permitted; inheritable and ambient sets stay as they are.
fn with_capabilities(before: &Option<LinuxCapabilities>, more: &[Capability]) -> LinuxCapabilities {
    let mut all = before.clone().unwrap_or_else(no_capabilities);
    let with = |set: &Option<oci_spec::runtime::Capabilities>| {
        let mut set = set.clone().unwrap_or_default();
        set.extend(more.iter().copied());
        Some(set)
    };
    all.set_bounding(with(all.bounding()));
    all.set_effective(with(all.effective()));
    all.set_permitted(with(all.permitted()));
    all
}

/// The type's own default is a set of several.
fn no_capabilities() -> LinuxCapabilities {
    let mut none = LinuxCapabilities::default();
    none.set_ambient(None).set_inheritable(None);
    none.set_bounding(None)
        .set_effective(None)
        .set_permitted(None);
    none
}

fn user(text: &str) -> Result<(u32, Option<u32>), String> {
    let id = |text: &str| {
        let number: Result<u32, _> = text.parse();
        // 2^32 - 1 means "no change" to the kernel.
        number
            .ok()
            .filter(|&id| id != u32::MAX)
            .ok_or_else(|| format!("{text:?} is not a number of a user or group"))
    };
    match text.split_once(':') {
        Some((uid, gid)) => Ok((id(uid)?, Some(id(gid)?))),
        None => Ok((id(text)?, None)),
    }
}

fn capability(text: &str) -> Result<Capability, String> {
    let name = text.to_ascii_uppercase();
    let name = name.strip_prefix("CAP_").unwrap_or(&name);
    serde_json::from_value(serde_json::Value::String(format!("CAP_{name}")))
        .map_err(|_| format!("{text:?} is not a capability"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_numbers() {
        assert_eq!(user("7"), Ok((7, None)));
        assert_eq!(user("7:8"), Ok((7, Some(8))));
        for bad in ["", "root", "1:", ":1", "-1", "4294967295", "4294967296"] {
            assert!(user(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn capabilities_are_read_with_and_without_prefix() {
        assert_eq!(capability("CAP_KILL"), Ok(Capability::Kill));
        assert_eq!(capability("kill"), Ok(Capability::Kill));
        assert!(capability("CAP_NOTHING").is_err());
    }

    #[test]
    fn flags_change_only_what_they_name() {
        let process: Process = serde_json::from_value(serde_json::json!({
            "terminal": true, "user": { "uid": 1, "gid": 2, "additionalGids": [3] },
            "args": ["old"], "env": ["A=b"], "cwd": "/srv", "noNewPrivileges": true,
        }))
        .unwrap();
        let mut plain = process.clone();
        ProcessFlags::default().apply(&mut plain);
        assert_eq!(plain.terminal(), Some(false));
        assert_eq!((plain.cwd(), plain.user()), (process.cwd(), process.user()));
        assert_eq!(plain.no_new_privileges(), Some(true));
        let flags = ProcessFlags {
            user: Some((7, None)),
            env: vec!["C=d".to_owned()],
            additional_gids: vec![9],
            cap: vec![Capability::Kill],
            ..ProcessFlags::default()
        };
        let mut changed = process;
        flags.apply(&mut changed);
        assert_eq!((changed.user().uid(), changed.user().gid()), (7, 2));
        assert_eq!(
            changed.user().additional_gids().as_deref(),
            Some(&[3, 9][..])
        );
        assert_eq!(
            changed.env().as_deref(),
            Some(&["A=b".to_owned(), "C=d".to_owned()][..])
        );
        let caps = changed.capabilities().as_ref().unwrap();
        assert!(
            caps.effective()
                .as_ref()
                .unwrap()
                .contains(&Capability::Kill)
        );
        assert!(caps.ambient().as_ref().is_none_or(|set| set.is_empty()));
    }
}
