//! A pod's sandbox as the worker sees it: the supervisor process with the pod's namespaces and cgroups.
//!
//! `rkube_runtime::supervisor` is synchronous and answers in well under a millisecond; here its calls run on
//! blocking threads, and its descriptor wakes the worker when something has happened.
mod exec;
mod request;
mod tree;

pub use exec::{ExecError, ExecOutcome, ExecSpec, Executor, exec};
pub use request::{ContainerRequest, SandboxRequest};

use crate::sys;
use jiff::Timestamp;
use rkube_runtime::cgroup::{Cgroup, CgroupError, Hierarchies};
use rkube_runtime::compile::CompileError;
use rkube_runtime::supervisor::{
    Container, ContainerState, Event, ExitOf, Exited, Failure, Supervisor, SupervisorError,
};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::unix::AsyncFd;
use tokio::sync::{Mutex, Notify};

/// How long a process that was killed before its program ran may take to be gone.
const UNSTARTED_WAIT: Duration = Duration::from_secs(2);

/// Why a sandbox or a container in it could not be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// A cgroup could not be made or limited.
    #[error("cannot set up the cgroup")]
    Cgroup(#[from] CgroupError),
    /// The container's spec cannot be compiled.
    #[error("cannot prepare the container")]
    Compile(#[from] CompileError),
    /// The seccomp profile cannot be compiled.
    #[error("cannot compile the seccomp profile")]
    Seccomp(#[from] rkube_runtime::seccomp::SeccompError),
    /// The supervisor would not.
    #[error(transparent)]
    Supervisor(SupervisorError),
    /// The container's start failed.
    #[error("{0}")]
    Start(Failure),
    /// A file of the sandbox.
    #[error("cannot set up the sandbox")]
    Files(#[source] io::Error),
    /// The work was cut short by the end of the program.
    #[error("interrupted")]
    Interrupted,
}

impl SandboxError {
    /// 126 or 127 if the container's program cannot be run or is not there.
    #[must_use]
    pub fn exit_code(&self) -> Option<i32> {
        match self {
            SandboxError::Start(failure) => {
                Some(failure.exit_code()).filter(|code| matches!(code, 126 | 127))
            }
            _ => None,
        }
    }
}

impl SandboxError {
    /// What the kernel said to the stage of a container's start that failed.
    #[must_use]
    pub fn errno(&self) -> Option<io::Error> {
        match self {
            SandboxError::Start(Failure::Stage(failure)) => {
                Some(io::Error::from_raw_os_error(failure.errno))
            }
            _ => None,
        }
    }
}

impl From<SupervisorError> for SandboxError {
    fn from(err: SupervisorError) -> Self {
        // Whoever asked knows the container; the supervisor's words would name it twice.
        match err {
            SupervisorError::Refused { failure, .. } => SandboxError::Start(failure),
            err => SandboxError::Supervisor(err),
        }
    }
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Its name.
    pub name: String,
    /// Which run of it.
    pub attempt: u32,
    /// The code it returned, 0 if a signal ended it.
    pub code: i32,
    /// The signal that ended it, 0 if none did.
    pub signal: i32,
    /// Whether the kernel killed something of it for want of memory.
    pub oom: bool,
    /// When it started.
    pub started: Timestamp,
    /// When it ended.
    pub finished: Timestamp,
}

/// What happened in a sandbox.
#[derive(Debug)]
pub enum SandboxEvent {
    /// A container ended.
    Exited(Exit),
    /// The supervisor died, and with it everything in the sandbox.
    Gone,
}

/// What was found of an earlier kubelet's sandbox.
#[derive(Debug)]
pub enum Adopted {
    /// It lives.
    Running(Sandbox, Found),
    /// It died; these are the ends it wrote down.
    Dead(Vec<Exit>),
    /// There is none.
    Nothing,
}

/// A container that runs in a sandbox that was adopted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Its name.
    pub name: String,
    /// Which run of it.
    pub attempt: u32,
    /// The pid of its first process, as the host counts; 0 if it has just ended.
    pub pid: i32,
    /// When it started.
    pub started: Timestamp,
}

/// The containers of a sandbox that was adopted.
#[derive(Debug, Default)]
pub struct Found {
    /// Those that run.
    pub running: Vec<Running>,
    /// Those that have ended meanwhile.
    pub exits: Vec<Exit>,
}

/// A sandbox that lives.
#[derive(Debug)]
pub struct Sandbox {
    supervisor: Arc<Mutex<Supervisor>>,
    /// Told after every call: its answer may have come behind events, which wait in memory now.
    called: Arc<Notify>,
    /// A container that has ended and of which nobody was told yet.
    ended: Option<Exit>,
    /// The supervisor's socket once more, for the event loop.
    ready: AsyncFd<OwnedFd>,
    dir: PathBuf,
    pid: i32,
    /// The cgroup of each container's current run.
    cgroups: BTreeMap<String, Arc<Cgroup>>,
    /// Whether a container's processes outlive its first one: they are in a pid namespace that others share.
    shared_pids: bool,
}

impl Sandbox {
    /// Starts a supervisor with the pod's namespaces, in the pod's cgroup.
    ///
    /// # Errors
    /// Says what the host would not give. Nothing is left running.
    pub async fn create(request: SandboxRequest) -> Result<Self, SandboxError> {
        blocking(move || {
            let supervisor = request.launch()?;
            Self::of(supervisor, &request.dir, request.shared_pids())
        })
        .await
    }

    /// Finds the supervisor of an earlier kubelet.
    pub async fn adopt(request: SandboxRequest) -> Adopted {
        let owned = request.dir.clone();
        let dir = request.dir.clone();
        let found = blocking(move || {
            drop_unstarted(Supervisor::connect(&owned)?)?;
            let mut supervisor = Supervisor::connect(&owned)?;
            let containers = supervisor.snapshot()?;
            request.renew_limits(&mut supervisor, &containers);
            let mut sandbox = Self::of(supervisor, &owned, request.shared_pids())?;
            sandbox.find_cgroups(&request, &containers);
            Ok((sandbox, containers))
        })
        .await;
        match found {
            Ok((sandbox, containers)) => {
                let mut found = Found::default();
                for container in containers {
                    match container.state {
                        ContainerState::Exited => found.exits.push(sandbox.exit_of(&container)),
                        ContainerState::Running | ContainerState::Starting => {
                            found.running.push(running(&container))
                        }
                        ContainerState::Parked => {}
                    }
                }
                Adopted::Running(sandbox, found)
            }
            Err(_) => match exits_of(&dir) {
                exits if exits.is_empty() => Adopted::Nothing,
                exits => Adopted::Dead(exits),
            },
        }
    }

    fn of(supervisor: Supervisor, dir: &Path, shared_pids: bool) -> Result<Self, SandboxError> {
        let socket = supervisor
            .as_fd()
            .try_clone_to_owned()
            .map_err(SandboxError::Files)?;
        let pid = i32::try_from(supervisor.pid()).unwrap_or(0);
        Ok(Sandbox {
            ready: sys::readable(socket).map_err(SandboxError::Files)?,
            supervisor: Arc::new(Mutex::new(supervisor)),
            called: Arc::default(),
            ended: None,
            dir: dir.to_owned(),
            pid,
            cgroups: BTreeMap::new(),
            shared_pids,
        })
    }

    /// The supervisor's pid, as the host counts.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// The pod's network namespace.
    ///
    /// # Errors
    /// When the supervisor is gone.
    pub async fn netns(&self) -> Result<OwnedFd, SandboxError> {
        let supervisor = self.supervisor.lock().await;
        supervisor.netns().map_err(SandboxError::Files)
    }

    /// Asks the supervisor on a blocking thread: one that hangs holds nobody up but this call, for as long as the
    /// connection's time-out.
    fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Supervisor) -> Result<T, SandboxError> + Send + 'static,
    ) -> impl Future<Output = Result<T, SandboxError>> + Send + 'static {
        let (supervisor, called) = (self.supervisor.clone(), self.called.clone());
        blocking(move || {
            let done = work(&mut supervisor.blocking_lock());
            called.notify_one();
            done
        })
    }

    /// The tmpfs that the containers share as /dev/shm; none with the host's IPC namespace.
    #[must_use]
    pub fn shm(&self) -> Option<PathBuf> {
        Some(self.dir.join("shm")).filter(|shm| shm.is_dir())
    }

    /// Starts a container; the answer is its pid, as the host counts. Its program runs then.
    ///
    /// # Errors
    /// Names the stage of the start that failed.
    pub async fn start_container(
        &mut self,
        request: ContainerRequest,
    ) -> Result<i32, SandboxError> {
        let name = request.name.clone();
        let started = self.call(move |supervisor| request.start(supervisor));
        let (pid, cgroup) = started.await?;
        self.cgroups.insert(name, cgroup);
        Ok(pid)
    }

    /// Sends a signal to a container's first process. One that has ended is left alone.
    pub fn signal(&self, name: &str, signal: i32) -> impl Future<Output = ()> + Send + 'static {
        let name = name.to_owned();
        let sent = self.call(move |supervisor| {
            // No signal has such a number; 0 only asks whether the process is there.
            Ok(supervisor.signal(&name, u8::try_from(signal).unwrap_or(0))?)
        });
        async move {
            let _ = sent.await;
        }
    }

    /// Kills a container and whatever else is in its cgroup, and waits a while for them to be gone.
    pub fn kill(&self, name: &str) -> impl Future<Output = ()> + Send + 'static {
        let (owned, cgroup) = (name.to_owned(), self.cgroups.get(name).cloned());
        // One that ended meanwhile cannot be killed; its cgroup may still hold others' processes.
        let killed = self.call(move |supervisor| Ok(supervisor.kill_all(&owned)?));
        async move {
            let _ = killed.await;
            if let Some(cgroup) = cgroup {
                let _ = blocking(move || Ok(cgroup.kill()?)).await;
            }
        }
    }

    /// The next thing that happens. May be dropped and called again: nothing is lost.
    pub async fn next_event(&mut self) -> SandboxEvent {
        loop {
            if let Some(exit) = &self.ended {
                self.end_stragglers(&exit.name).await;
            }
            if let Some(exit) = self.ended.take() {
                return SandboxEvent::Exited(exit);
            }
            let event = self.supervisor.lock().await.next_event();
            match event {
                Ok(Some(Event::Exited(container))) => {
                    self.ended = Some(self.exit_of(&container));
                }
                Ok(Some(_)) => {}
                Ok(None) => tokio::select! {
                    ready = self.ready.readable() => match ready {
                        Ok(mut guard) => guard.clear_ready(),
                        Err(_) => return SandboxEvent::Gone,
                    },
                    () = self.called.notified() => {}
                },
                Err(_) => return SandboxEvent::Gone,
            }
        }
    }

    /// Lets the supervisor drop what it keeps of a container that has ended: once its end is written down here.
    pub async fn acknowledge(&self, name: &str) {
        let name = name.to_owned();
        // It may have died meanwhile, and then there is nothing to drop.
        let forgotten = self.call(move |supervisor| Ok(supervisor.forget(&name)?));
        let _ = forgotten.await;
    }

    fn exit_of(&self, container: &Container) -> Exit {
        let cgroup = self.cgroups.get(&container.name);
        let oom = cgroup.is_some_and(|cgroup| cgroup.oom_kills().is_ok_and(|kills| kills > 0));
        exit(&container.name, container.attempt, &container.exited, oom)
    }

    /// Ends what a container's first process left behind, where no pid namespace of its own did.
    async fn end_stragglers(&self, name: &str) {
        let Some(cgroup) = self.cgroups.get(name).filter(|_| self.shared_pids).cloned() else {
            return;
        };
        let _ = blocking(move || Ok(cgroup.kill()?)).await;
    }

    /// The cgroups of the containers that an earlier kubelet has started.
    fn find_cgroups(&mut self, request: &SandboxRequest, containers: &[Container]) {
        for container in containers {
            let path = Path::new(&request.cgroup).join(&container.name);
            if let Ok(cgroup) = Cgroup::open(&request.cgroups, &path) {
                self.cgroups
                    .insert(container.name.clone(), Arc::new(cgroup));
            }
        }
    }

    /// The ends that the supervisor wrote down, also when it has died since.
    #[must_use]
    pub fn exits_on_disk(&self) -> Vec<Exit> {
        exits_of(&self.dir)
    }

    /// Ends everything in the sandbox, and the supervisor.
    pub async fn shutdown(self) {
        let Sandbox {
            supervisor, ready, ..
        } = self;
        drop(ready);
        let _ = blocking(move || {
            if let Some(supervisor) = Arc::into_inner(supervisor) {
                supervisor.into_inner().shutdown()?;
            }
            Ok(())
        })
        .await;
    }
}

/// Begins what takes a v1 cgroup hierarchy 10 ms: the first attach after a quiet while. Those that follow within
/// a few milliseconds are cheap, and by then the pod will be ready for them.
pub fn warm_cgroups() {
    std::thread::spawn(|| {
        if let Ok(cgroups) = Hierarchies::detect() {
            // It only makes the next one cheap.
            let _ = cgroups.warm();
        }
    });
}

/// Whether a supervisor lives for the pod whose folder under /run is `dir`.
#[must_use]
pub fn alive(dir: &Path) -> bool {
    Supervisor::connect(dir).is_ok()
}

/// Removes what a sandbox leaves: its processes, its cgroups, its mounts. Nothing there is success.
///
/// # Errors
/// Names what could not be removed; calling it again goes on.
pub async fn remove(
    dir: &Path,
    hierarchies: &Arc<Hierarchies>,
    cgroup: &str,
) -> Result<(), SandboxError> {
    let (dir, hierarchies, cgroup) = (dir.to_owned(), hierarchies.clone(), cgroup.to_owned());
    blocking(move || {
        if let Ok(supervisor) = Supervisor::connect(&dir) {
            supervisor.shutdown()?;
        }
        match Cgroup::open(&hierarchies, Path::new(&cgroup)) {
            Ok(cgroup) => {
                cgroup.kill()?;
                cgroup.delete()?;
            }
            Err(CgroupError::NotFound { .. }) => {}
            Err(err) => return Err(err.into()),
        }
        sys::unmount(&dir.join("shm")).map_err(SandboxError::Files)?;
        for name in ["s", "meta", "exits"] {
            match fs_err::remove_file(dir.join(name)) {
                Err(err) if err.kind() != io::ErrorKind::NotFound => {
                    return Err(SandboxError::Files(err));
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    })
    .await
}

/// Removes containers whose start was cut short before their program ran: they are started again from the beginning. On
/// a connection of its own, so that their ends are not taken for those of the next try.
fn drop_unstarted(mut supervisor: Supervisor) -> Result<(), SandboxError> {
    let deadline = Instant::now() + UNSTARTED_WAIT;
    loop {
        let mut left = supervisor.snapshot()?;
        left.retain(|container| container.exited.started == 0);
        for container in &left {
            match container.state {
                ContainerState::Exited => supervisor.forget(&container.name)?,
                // It may end by itself at the same time.
                ContainerState::Parked | ContainerState::Starting | ContainerState::Running => {
                    let _ = supervisor.kill_all(&container.name);
                }
            }
        }
        if left.is_empty() || Instant::now() > deadline {
            return Ok(());
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn running(container: &Container) -> Running {
    Running {
        name: container.name.clone(),
        attempt: container.attempt,
        pid: container.pidfd.as_ref().map_or(0, sys::pid_of),
        started: timestamp(container.exited.started),
    }
}

fn exits_of(dir: &Path) -> Vec<Exit> {
    let records = rkube_runtime::supervisor::read_exits(dir).unwrap_or_default();
    let of_containers = records
        .iter()
        .filter(|record| record.what == ExitOf::Container && record.exited.started != 0);
    of_containers
        .map(|record| exit(record.name.as_str(), record.attempt, &record.exited, false))
        .collect()
}

fn exit(name: &str, attempt: u32, exited: &Exited, oom: bool) -> Exit {
    Exit {
        name: name.to_owned(),
        attempt,
        code: exited.code.into(),
        signal: exited.signal.into(),
        oom,
        started: timestamp(exited.started),
        finished: timestamp(exited.exited),
    }
}

fn timestamp(nanoseconds: u64) -> Timestamp {
    Timestamp::from_nanosecond(i128::from(nanoseconds)).unwrap_or(Timestamp::UNIX_EPOCH)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SandboxError> + Send + 'static,
) -> Result<T, SandboxError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or(Err(SandboxError::Interrupted))
}
