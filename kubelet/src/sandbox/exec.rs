//! One more program in a container: for probes and hooks, and for `rkubelet exec`.
//!
//! Each exec has a connection of its own to the supervisor: it ends with the connection's owner and takes nobody
//! else's events.
use super::request::{attach, seccomp};
use super::{SandboxError, blocking};
use crate::paths::Paths;
use oci_spec::runtime::{BoxBuilder, Process, Spec};
use rkube_runtime::cgroup::{Cgroup, Hierarchies};
use rkube_runtime::compile::{ExecRequest, Settings, compile_exec};
use rkube_runtime::supervisor::{Exec, ExecStreams, Supervisor, SupervisorError};
use std::io::Read;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// The most output of a probe that is kept (CVE-2022-31030).
const OUTPUT_LIMIT: u64 = 64 * 1024;
/// How many probes of one pod may run commands at a time: the supervisor has 16 connections for all.
const AT_A_TIME: usize = 4;

/// Why a program could not be run in a container.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecError {
    /// The container does not run.
    #[error("container {0} is not running")]
    NotRunning(String),
    /// The container's own settings cannot be read.
    #[error("cannot read how the container was started")]
    Config(#[source] std::io::Error),
    /// It was refused.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
}

impl ExecError {
    /// 126 or 127 if the program cannot be run or is not there.
    #[must_use]
    pub fn exit_code(&self) -> Option<i32> {
        match self {
            ExecError::Sandbox(err) => err.exit_code(),
            ExecError::NotRunning(_) | ExecError::Config(_) => None,
        }
    }
}

/// A program that is to run in a container.
#[derive(Clone, Debug)]
pub struct ExecSpec {
    /// The pod's folder under /run.
    pub run: PathBuf,
    /// The pod's folder under the root, where the container's settings are.
    pub pod: PathBuf,
    /// Compiled filters, by content.
    pub seccomp_cache: PathBuf,
    /// The host's cgroups.
    pub cgroups: Arc<Hierarchies>,
    /// The container.
    pub container: String,
    /// The program with its arguments.
    pub args: Vec<String>,
    /// Whether it gets a terminal.
    pub tty: bool,
    /// How large that is from the start: rows and columns.
    pub size: Option<(u16, u16)>,
    /// Whether it is killed when the connection that [`exec`] gives ends.
    pub tied: bool,
}

impl ExecSpec {
    /// For a pod by its uid.
    #[must_use]
    pub fn new(
        paths: &Paths,
        uid: &str,
        cgroups: &Arc<Hierarchies>,
        container: &str,
        args: Vec<String>,
    ) -> Self {
        ExecSpec {
            run: paths.pod_run(uid),
            pod: paths.pod(uid),
            seccomp_cache: paths.seccomp(),
            cgroups: cgroups.clone(),
            container: container.to_owned(),
            args,
            tty: false,
            size: None,
            tied: false,
        }
    }
}

/// Starts the program; it runs when this returns. The connection is the caller's, to wait on and to signal.
///
/// # Errors
/// When the container does not run, or the program cannot.
pub fn exec(what: &ExecSpec, streams: &ExecStreams<'_>) -> Result<(Supervisor, Exec), ExecError> {
    let sandbox = |err: SupervisorError| ExecError::Sandbox(err.into());
    let not_running = || ExecError::NotRunning(what.container.clone());
    let mut supervisor = match Supervisor::connect(&what.run) {
        Err(SupervisorError::Gone { .. }) => return Err(not_running()),
        other => other.map_err(sandbox)?,
    };
    let containers = supervisor.snapshot().map_err(sandbox)?;
    let container = containers
        .iter()
        .filter(|container| container.name == what.container)
        .max_by_key(|container| container.id);
    let container = container.ok_or_else(not_running)?;
    let pidfd = container.pidfd.as_ref().ok_or_else(not_running)?;
    let config = what
        .pod
        .join("containers")
        .join(&what.container)
        .join(container.attempt.to_string())
        .join("config.json");
    let text = fs_err::read(&config).map_err(ExecError::Config)?;
    let spec: Spec = serde_json::from_slice(&text).map_err(|err| ExecError::Config(err.into()))?;
    let mut process: Process = spec.process().clone().unwrap_or_default();
    process.set_args(Some(what.args.clone()));
    process.set_terminal(Some(what.tty));
    process.set_console_size(what.size.and_then(console_size));
    if what.tty
        && process
            .env()
            .iter()
            .flatten()
            .all(|word| !word.starts_with("TERM="))
    {
        process
            .env_mut()
            .get_or_insert_default()
            .push("TERM=xterm".to_owned());
    }
    let path = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.cgroups_path().clone())
        .unwrap_or_default();
    let cgroup =
        Cgroup::open(&what.cgroups, &path).map_err(|err| ExecError::Sandbox(err.into()))?;
    let launch = compile_exec(ExecRequest {
        process: &process,
        target: Some(pidfd.as_fd()),
        spec: &spec,
        cgroup: attach(&cgroup)?,
        seccomp: seccomp(&spec, &what.seccomp_cache)?,
        settings: Settings::default(),
    })
    .map_err(|err| ExecError::Sandbox(err.into()))?;
    let exec = match what.tied {
        true => supervisor.exec_tied(&what.container, &launch, streams),
        false => supervisor.exec(&what.container, &launch, streams),
    };
    let exec = exec.map_err(sandbox)?;
    Ok((supervisor, exec))
}

fn console_size((rows, columns): (u16, u16)) -> Option<oci_spec::runtime::Box> {
    let size = BoxBuilder::default().height(rows).width(columns);
    size.build().ok()
}

/// What a program came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecOutcome {
    /// Its exit code; 128 + n for a signal.
    pub exit_code: i32,
    /// The beginning of what it wrote, both streams together.
    pub output: Vec<u8>,
}

/// Runs commands in the containers of one pod, for probes and hooks.
#[derive(Clone, Debug)]
pub struct Executor {
    paths: Paths,
    uid: String,
    cgroups: Arc<Hierarchies>,
    slots: Arc<Semaphore>,
}

impl Executor {
    /// For a pod by its uid.
    #[must_use]
    pub fn new(paths: &Paths, uid: &str, cgroups: &Arc<Hierarchies>) -> Self {
        Executor {
            paths: paths.clone(),
            uid: uid.to_owned(),
            cgroups: cgroups.clone(),
            slots: Arc::new(Semaphore::new(AT_A_TIME)),
        }
    }

    /// Runs a command to its end, or kills it when the time is over.
    ///
    /// # Errors
    /// One line: why it could not be run, or that it took too long.
    pub async fn run(
        &self,
        container: &str,
        command: Vec<String>,
        timeout: Duration,
    ) -> Result<ExecOutcome, String> {
        let _slot = self
            .slots
            .clone()
            .acquire_owned()
            .await
            .map_err(|err| err.to_string())?;
        let what = ExecSpec::new(&self.paths, &self.uid, &self.cgroups, container, command);
        let outcome = blocking(move || Ok(run_to_end(&what, timeout))).await;
        outcome.map_err(|err| err.to_string())?
    }
}

fn run_to_end(what: &ExecSpec, timeout: Duration) -> Result<ExecOutcome, String> {
    const SIGKILL: u8 = 9;
    const SIGSTOP: u8 = 19;
    let words = |err: &(dyn std::error::Error + 'static)| crate::error::chain(err);
    let null = fs_err::File::open("/dev/null").map_err(|err| words(&err))?;
    let (reader, writer) = std::io::pipe().map_err(|err| words(&err))?;
    let streams = ExecStreams::Fds([null.as_fd(), writer.as_fd(), writer.as_fd()]);
    let (mut supervisor, exec) = exec(what, &streams).map_err(|err| words(&err))?;
    drop(writer);
    // The program must never wait for us: its output is read to the end, and its beginning kept.
    let output = std::thread::spawn(move || {
        let mut kept = Vec::new();
        let mut reader = reader;
        let _ = reader.by_ref().take(OUTPUT_LIMIT).read_to_end(&mut kept);
        let _ = std::io::copy(&mut reader, &mut std::io::sink());
        kept
    });
    let ended = supervisor.wait_exec(&exec, timeout);
    let exited = match ended {
        Ok(exited) => exited,
        Err(SupervisorError::Timeout { .. }) => {
            // It may end on its own in the middle of this.
            let _ = supervisor.signal_exec(&exec, SIGSTOP);
            super::tree::kill_descendants(exec.pid);
            let _ = supervisor.signal_exec(&exec, SIGKILL);
            return Err(format!("not done within {} s", timeout.as_secs()));
        }
        Err(err) => return Err(words(&err)),
    };
    // A grandchild may hold the pipe open; what it writes later is nobody's.
    let output = if output.is_finished() || exited.exited > 0 {
        wait_briefly(output)
    } else {
        Vec::new()
    };
    let exit_code = if exited.signal == 0 {
        i32::from(exited.code)
    } else {
        128 + i32::from(exited.signal)
    };
    Ok(ExecOutcome { exit_code, output })
}

fn wait_briefly(output: std::thread::JoinHandle<Vec<u8>>) -> Vec<u8> {
    let deadline = std::time::Instant::now() + Duration::from_millis(100);
    while !output.is_finished() {
        if std::time::Instant::now() > deadline {
            return Vec::new();
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    output.join().unwrap_or_default()
}
