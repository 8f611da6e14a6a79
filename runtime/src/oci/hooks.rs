//! Hooks: programs of the bundle's author that run at fixed points of a container's life.
//!
//! | stage | when | namespaces | a failure |
//! |---|---|---|---|
//! | prestart, createRuntime | mounts made, root not yet switched | the runtime's | ends `create` |
//! | createContainer | right after | the container's, paths of the host | ends `create` |
//! | startContainer | at `start` | inside the container | ends `start` |
//! | poststart | the user's program runs | the runtime's | a warning |
//! | poststop | the container is deleted | the runtime's | a warning |
//!
//! The state is on a hook's standard input. Its output is shown only when it fails.
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use oci_spec::runtime::{Hook, Hooks};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, waitid};
use rustix::thread::ThreadNameSpaceType;
use serde::Serialize;

use super::status::Status;
use super::{process, signal, sys};

/// At most this much of a failing hook's output is shown.
const OUTPUT: u64 = 4096;

/// The points at which hooks run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Deprecated; like `createRuntime`, and before it.
    Prestart,
    /// In the runtime's namespaces, before the root is switched.
    CreateRuntime,
    /// In the container's namespaces, before the root is switched.
    CreateContainer,
    /// In the container, before the user's program.
    StartContainer,
    /// After the user's program was started.
    Poststart,
    /// After the container was deleted.
    Poststop,
}

impl Stage {
    /// In the order in which they come.
    pub(super) const ALL: [Stage; 6] = [
        Stage::Prestart,
        Stage::CreateRuntime,
        Stage::CreateContainer,
        Stage::StartContainer,
        Stage::Poststart,
        Stage::Poststop,
    ];

    /// The name of the property in the config.
    pub(super) fn name(self) -> &'static str {
        match self {
            Stage::Prestart => "prestart",
            Stage::CreateRuntime => "createRuntime",
            Stage::CreateContainer => "createContainer",
            Stage::StartContainer => "startContainer",
            Stage::Poststart => "poststart",
            Stage::Poststop => "poststop",
        }
    }

    /// The stage's hooks; absent is empty.
    pub(super) fn hooks(self, hooks: &Hooks) -> &[Hook] {
        let list = match self {
            Stage::Prestart => hooks.prestart(),
            Stage::CreateRuntime => hooks.create_runtime(),
            Stage::CreateContainer => hooks.create_container(),
            Stage::StartContainer => hooks.start_container(),
            Stage::Poststart => hooks.poststart(),
            Stage::Poststop => hooks.poststop(),
        };
        list.as_deref().unwrap_or_default()
    }
}

/// The state of a container as the specification defines it: hooks and `state` show it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct State<'a> {
    /// The version of the specification that this object follows.
    pub(super) oci_version: &'a str,
    /// The container's id.
    pub(super) id: &'a str,
    /// What it is doing.
    pub(super) status: Status,
    /// The pid of init as the runtime sees it; 0 when there is none.
    pub(super) pid: i32,
    /// The absolute path of the bundle.
    pub(super) bundle: &'a Path,
    /// The annotations of the config.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) annotations: &'a BTreeMap<String, String>,
}

/// Why a hook did not do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum HookError {
    /// The program could not be executed.
    #[error("cannot run the {} hook {}", stage.name(), path.display())]
    Run {
        /// Where in the life cycle.
        stage: Stage,
        /// The hook's program.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The program said no.
    #[error("the {} hook {} failed: {status}{output}", stage.name(), path.display())]
    Failed {
        /// Where in the life cycle.
        stage: Stage,
        /// The hook's program.
        path: PathBuf,
        /// How it ended.
        status: Ended,
        /// The beginning of what it printed.
        output: String,
    },
    /// The program took longer than its config allows.
    #[error("the {} hook {} did not end within {seconds} s and was killed", stage.name(), path.display())]
    Timeout {
        /// Where in the life cycle.
        stage: Stage,
        /// The hook's program.
        path: PathBuf,
        /// The timeout of its config.
        seconds: u64,
    },
}

/// Whose namespaces a hook runs in.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place<'a> {
    /// The caller's own.
    Runtime,
    /// Those of the process behind the pidfd, the root directory of its mount namespace included.
    Container(Inside<'a>),
}

/// A container whose init has made its mounts and not yet switched its root.
#[derive(Debug, Clone, Copy)]
pub(super) struct Inside<'a> {
    /// Init's pid.
    pub(super) pid: i32,
    /// Init's pidfd.
    pub(super) pidfd: BorrowedFd<'a>,
}

/// Runs the hooks of one stage in order and stops at the first that fails.
pub(super) fn run(
    hooks: &Hooks,
    stage: Stage,
    state: &State,
    place: Place,
) -> Result<(), HookError> {
    stage
        .hooks(hooks)
        .iter()
        .try_for_each(|hook| run_one(hook, stage, state, place))
}

/// Runs the hooks of one stage in order; a failure does not keep the others from running.
pub(super) fn run_all(hooks: &Hooks, stage: Stage, state: &State) -> Vec<HookError> {
    let failures = stage.hooks(hooks).iter();
    failures
        .filter_map(|hook| run_one(hook, stage, state, Place::Runtime).err())
        .collect()
}

fn run_one(hook: &Hook, stage: Stage, state: &State, place: Place) -> Result<(), HookError> {
    supervise(hook, stage, state, |stdio| match place {
        Place::Runtime => spawn(&mut command(hook, stdio)?),
        Place::Container(inside) => spawn_inside(&mut command(hook, stdio)?, inside),
    })
}

/// The standard streams of a hook: files in memory, so that neither side can block the other.
#[derive(Debug)]
pub(super) struct Streams {
    /// Holds the state.
    pub(super) input: File,
    /// Takes standard output and error.
    pub(super) output: File,
}

/// Has `start` start a hook and waits for the pidfd that it returns.
pub(super) fn supervise(
    hook: &Hook,
    stage: Stage,
    state: &State,
    start: impl FnOnce(&Streams) -> io::Result<OwnedFd>,
) -> Result<(), HookError> {
    let path = || hook.path().clone();
    let failed = |source| HookError::Run {
        stage,
        path: path(),
        source,
    };
    let mut streams = streams(state).map_err(failed)?;
    let pidfd = start(&streams).map_err(failed)?;
    let seconds = hook
        .timeout()
        .and_then(|seconds| u64::try_from(seconds).ok());
    match wait(&pidfd, seconds.map(Duration::from_secs)).map_err(failed)? {
        None => Err(HookError::Timeout {
            stage,
            path: path(),
            seconds: seconds.unwrap_or(0),
        }),
        Some(Ended::Code(0)) => Ok(()),
        Some(status) => {
            let output = beginning(&mut streams.output);
            Err(HookError::Failed {
                stage,
                path: path(),
                status,
                output,
            })
        }
    }
}

/// How a hook ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ended::Code(code) => write!(f, "exit status {code}"),
            Ended::Signal(signal) => write!(f, "killed by signal {signal}"),
        }
    }
}

fn streams(state: &State) -> io::Result<Streams> {
    let mut input = scratch("container-state")?;
    serde_json::to_writer(&mut input, state)?;
    input.rewind()?;
    Ok(Streams {
        input,
        output: scratch("hook-output")?,
    })
}

fn command(hook: &Hook, streams: &Streams) -> io::Result<Command> {
    let mut command = Command::new(hook.path());
    if let Some([name, args @ ..]) = hook.args().as_deref() {
        command.arg0(name).args(args);
    }
    command.env_clear();
    let pairs = hook.env().as_deref().unwrap_or_default().iter();
    command.envs(pairs.filter_map(|pair| pair.split_once('=')));
    command.stdin(streams.input.try_clone()?);
    command
        .stdout(streams.output.try_clone()?)
        .stderr(streams.output.try_clone()?);
    sys::unblock_signals(&mut command);
    Ok(command)
}

fn spawn(command: &mut Command) -> io::Result<OwnedFd> {
    let child = command.spawn()?;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    // It is reaped by its pidfd; until then the pid cannot be anybody else's.
    let pid = pid.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
    Ok(rustix::process::pidfd_open(pid, PidfdFlags::empty())?)
}

/// A pid namespace is entered by children only, so this process borrows the container's for the
/// time of one fork. The root is that of init: the one of its mount namespace may be the
/// container's already, and the paths of hooks are those of the host.
fn spawn_inside(command: &mut Command, inside: Inside<'_>) -> io::Result<OwnedFd> {
    const NAMESPACES: i32 = libc::CLONE_NEWNS
        | libc::CLONE_NEWUTS
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWCGROUP;
    let own = fs_err::File::open("/proc/self/ns/pid")?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(format!("/proc/{}/root", inside.pid), flags, Mode::empty())?;
    sys::join_namespaces(command, inside.pidfd, root.as_fd(), NAMESPACES);
    let enter = |fd: BorrowedFd<'_>| {
        rustix::thread::move_into_thread_name_spaces(fd, ThreadNameSpaceType::PROCESS_ID)
    };
    enter(inside.pidfd)?;
    let child = spawn(command);
    enter(own.as_fd())?;
    child
}

/// Reaps the child; `None` when its time was over and it had to be killed.
fn wait(pidfd: &OwnedFd, timeout: Option<Duration>) -> io::Result<Option<Ended>> {
    let in_time = match timeout {
        Some(timeout) => ends_within(pidfd, timeout)?,
        None => true,
    };
    if !in_time {
        process::send(pidfd.as_fd(), signal::KILL)?;
    }
    let id = || WaitId::PidFd(pidfd.as_fd());
    let status = rustix::io::retry_on_intr(|| waitid(id(), WaitIdOptions::EXITED))?;
    let Some(status) = status.filter(|_| in_time) else {
        return Ok(None);
    };
    let code = status.exit_status().map(Ended::Code);
    Ok(code.or_else(|| status.terminating_signal().map(Ended::Signal)))
}

fn ends_within(pidfd: &OwnedFd, timeout: Duration) -> io::Result<bool> {
    let deadline = Instant::now() + timeout;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).ok();
        let mut ended = [PollFd::new(pidfd, PollFlags::IN)];
        match poll(&mut ended, left.as_ref()) {
            Ok(count) => return Ok(count > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn scratch(name: &str) -> io::Result<File> {
    let fd = rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC)?;
    Ok(File::from(fd))
}

fn beginning(output: &mut File) -> String {
    let mut text = Vec::new();
    if output.rewind().is_err() || output.take(OUTPUT).read_to_end(&mut text).is_err() {
        return String::new();
    }
    let text = String::from_utf8_lossy(&text);
    let text = text.trim();
    if text.is_empty() {
        String::new()
    } else {
        format!(": {text}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hooks(list: &[(&str, Option<i64>)]) -> Hooks {
        let list: Vec<serde_json::Value> = list
            .iter()
            .map(|(script, timeout)| {
                let args = ["hook", "-c", script];
                match timeout {
                    Some(timeout) => serde_json::json!({ "path": "/bin/sh", "args": args, "env": ["A=b"], "timeout": timeout }),
                    None => serde_json::json!({ "path": "/bin/sh", "args": args, "env": ["A=b"] }),
                }
            })
            .collect();
        serde_json::from_value(serde_json::json!({ "createRuntime": list })).unwrap()
    }

    fn check(list: &[(&str, Option<i64>)]) -> Result<(), HookError> {
        let annotations = BTreeMap::from([("k".to_owned(), "v".to_owned())]);
        let state = State {
            oci_version: "1.2.1",
            id: "web",
            status: Status::Creating,
            pid: 42,
            bundle: Path::new("/b"),
            annotations: &annotations,
        };
        run(&hooks(list), Stage::CreateRuntime, &state, Place::Runtime)
    }

    #[test]
    fn a_hook_gets_the_state_and_its_own_environment_only() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let script = format!("{{ cat; echo; echo $0 $A $HOME; }} > {}", out.display());
        check(&[(&script, None)]).unwrap();
        let text = std::fs::read_to_string(out).unwrap();
        let (state, env) = text.split_once('\n').unwrap();
        let want = r#"{"ociVersion":"1.2.1","id":"web","status":"creating","pid":42,"bundle":"/b","annotations":{"k":"v"}}"#;
        assert_eq!((state, env), (want, "hook b\n"));
    }

    #[test]
    fn the_first_failure_ends_the_stage_and_is_shown() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("out");
        let second = format!("echo ran > {}", out.display());
        let err = check(&[("echo broken; exit 3", None), (&second, None)]).unwrap_err();
        let text = err.to_string();
        assert!(
            text.contains("createRuntime") && text.contains("exit status 3: broken"),
            "{text}"
        );
        assert!(!out.exists());
    }

    #[test]
    fn a_hook_is_killed_when_its_time_is_over() {
        let start = Instant::now();
        let err = check(&[("exec sleep 60", Some(1))]).unwrap_err();
        assert!(
            matches!(err, HookError::Timeout { seconds: 1, .. }),
            "{err:?}"
        );
        assert!(start.elapsed() < Duration::from_secs(30));
        check(&[("exit 0", Some(30))]).unwrap();
    }
}
