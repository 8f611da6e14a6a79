//! What a client can ask for, one function each.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rkube_init::protocol::{
    self, Attach, Exited, Kind, LogLimits, MAX_FDS, MAX_RECORD, Name, Signal, Started, Wiring,
};

use super::boot::{Namespace, SandboxConfig};
use super::connection::{Answer, Supervisor};
use super::error::SupervisorError;
use super::image;
use super::types::Event;
use crate::compile::Launch;
use crate::sys::{pid, seqpacket};

/// Where a container's output goes.
#[derive(Debug, Clone, Copy)]
pub struct LogTarget<'a> {
    /// The directory; it has to be one that the container cannot reach.
    pub dir: BorrowedFd<'a>,
    /// The file's name in it.
    pub file: &'a str,
    /// How large it may grow, and how many to keep.
    pub limits: LogLimits,
}

/// A container that is to be forked.
#[derive(Debug, Clone, Copy)]
pub struct Prepare<'a> {
    /// Its name: letters, digits, `.`, `_` and `-`.
    pub name: &'a str,
    /// Which run of that name it is.
    pub attempt: u32,
    /// The compiled start.
    pub launch: &'a Launch,
    /// Its log; without, output goes to those attached and is lost otherwise.
    pub log: Option<LogTarget<'a>>,
    /// Whether its input can be attached to; otherwise it reads end of file.
    pub stdin: bool,
    /// Whether it gets a terminal. The compiled start has to say so too.
    pub tty: bool,
}

/// A container's first process, on its way to its execve, where it waits.
#[derive(Debug)]
pub struct Prepared {
    /// The supervisor's number for the container.
    pub id: u32,
    /// The process's pid, as this process's pid namespace has it; 0 if it has ended already.
    pub pid: u32,
    /// The process.
    pub pidfd: OwnedFd,
}

/// What the standard streams of an exec'd process are.
#[derive(Debug, Clone, Copy)]
pub enum ExecStreams<'a> {
    /// These descriptors: pipes, sockets, files.
    Fds([BorrowedFd<'a>; 3]),
    /// A new terminal of the container's. The compiled start has to say so too.
    Terminal,
}

/// A process that runs in a container.
#[derive(Debug)]
pub struct Exec {
    /// The supervisor's number for it: for [`Supervisor::signal_exec`] and [`Event::ExecExited`].
    pub id: u32,
    /// Its pid, as this process's pid namespace has it; 0 if it has ended already.
    pub pid: u32,
    /// The process.
    pub pidfd: Option<OwnedFd>,
    /// Its terminal's master, non-blocking for nobody yet.
    pub terminal: Option<OwnedFd>,
    /// When it was started, in nanoseconds since 1970.
    pub started: u64,
}

impl Supervisor {
    /// Forks a container's first process. It sets itself up and waits for [`Supervisor::start`]; if
    /// that fails, `start` says how.
    ///
    /// # Errors
    /// When a living container has the name, or the start record is not accepted.
    pub fn prepare(&mut self, what: &Prepare<'_>) -> Result<Prepared, SupervisorError> {
        let record = record_of(what.launch)?;
        let request = protocol::Prepare {
            name: name(what.name)?,
            attempt: what.attempt,
            wiring: Wiring {
                tty: what.tty,
                stdin: what.stdin,
                log: what.log.is_some(),
            },
            limits: what.log.map_or_else(LogLimits::default, |log| log.limits),
            log_name: what.log.map_or(Ok(Name::EMPTY), |log| name(log.file))?,
            record: record.len,
        };
        let mut fds = vec![record.file.as_fd()];
        fds.extend(what.log.map(|log| log.dir));
        fds.extend(what.launch.fds.iter().map(AsFd::as_fd));
        check_count(&fds)?;
        let mut answer = self.ask((Kind::Prepare, 0, what.name), &fds, |write| {
            request.encode(write)
        })?;
        let pidfd = answer.fds.pop().ok_or_else(|| self.garbled())?;
        self.learn_id(what.name, answer.container);
        let pid = pid::number(pidfd.as_fd()).map_err(|err| self.broken(err))?;
        Ok(Prepared {
            id: answer.container,
            pid,
            pidfd,
        })
    }

    /// Lets a prepared container run. Returns once its program does: when it was told to, in
    /// nanoseconds since 1970.
    ///
    /// # Errors
    /// When a stage of the start failed, with its words and its exit code.
    pub fn start(&mut self, name: &str) -> Result<u64, SupervisorError> {
        let id = self.id(name)?;
        let answer = self.ask((Kind::Start, id, name), &[], |_| {})?;
        self.started(&answer)
    }

    /// Runs one more program in a container. Returns once it runs.
    ///
    /// # Errors
    /// When the container does not run, or a stage of the start failed.
    pub fn exec(
        &mut self,
        container: &str,
        launch: &Launch,
        streams: &ExecStreams<'_>,
    ) -> Result<Exec, SupervisorError> {
        self.exec_as(container, launch, streams, false)
    }

    /// The same for a program that is killed, with its process group, when this connection ends. A supervisor
    /// from before there was such a thing lets it run on.
    ///
    /// # Errors
    /// As for [`Supervisor::exec`].
    pub fn exec_tied(
        &mut self,
        container: &str,
        launch: &Launch,
        streams: &ExecStreams<'_>,
    ) -> Result<Exec, SupervisorError> {
        self.exec_as(container, launch, streams, true)
    }

    fn exec_as(
        &mut self,
        container: &str,
        launch: &Launch,
        streams: &ExecStreams<'_>,
        tied: bool,
    ) -> Result<Exec, SupervisorError> {
        let id = self.id(container)?;
        let record = record_of(launch)?;
        let request = protocol::Exec {
            tty: matches!(streams, ExecStreams::Terminal),
            record: record.len,
            tied,
        };
        let (here, there) = seqpacket::pair().map_err(|err| self.broken(err))?;
        let mut fds = vec![record.file.as_fd()];
        match streams {
            ExecStreams::Fds(streams) => fds.extend(streams),
            ExecStreams::Terminal => fds.push(there.as_fd()),
        }
        fds.extend(launch.fds.iter().map(AsFd::as_fd));
        check_count(&fds)?;
        let mut answer = self.ask((Kind::Exec, id, container), &fds, |write| {
            request.encode(write)
        })?;
        let terminal = match streams {
            ExecStreams::Fds(_) => None,
            ExecStreams::Terminal => {
                let mut byte = [0; 128];
                // It was sent before the execve that the answer tells of.
                let mut got =
                    seqpacket::recv(here.as_fd(), &mut byte).map_err(|err| self.broken(err))?;
                Some(got.fds.pop().ok_or_else(|| self.garbled())?)
            }
        };
        let pidfd = answer.fds.pop();
        let pid = pidfd
            .as_ref()
            .map_or(Ok(0), |pidfd| pid::number(pidfd.as_fd()));
        let pid = pid.map_err(|err| self.broken(err))?;
        Ok(Exec {
            id: answer.container,
            pid,
            pidfd,
            terminal,
            started: self.started(&answer)?,
        })
    }

    fn started(&self, answer: &Answer) -> Result<u64, SupervisorError> {
        Started::decode(&answer.payload)
            .map(|started| started.started)
            .map_err(|_| self.garbled())
    }

    /// Waits for an exec'd process of this connection to end. Other events stay for
    /// [`Supervisor::next_event`].
    ///
    /// # Errors
    /// When it does not end in time, or the connection does.
    pub fn wait_exec(&mut self, exec: &Exec, timeout: Duration) -> Result<Exited, SupervisorError> {
        let deadline = Instant::now() + timeout;
        let mut others = Vec::new();
        let ended = loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.wait_event(left) {
                Ok(Some(Event::ExecExited { id, exited })) if id == exec.id => break Ok(exited),
                Ok(Some(other)) => others.push(other),
                Ok(None) => {
                    break Err(SupervisorError::Timeout {
                        dir: self.dir().to_owned(),
                    });
                }
                Err(err) => break Err(err),
            }
        };
        self.put_back(others);
        ended
    }

    /// Sends a signal to a container's first process.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal(&mut self, name: &str, signal: u8) -> Result<(), SupervisorError> {
        let id = self.id(name)?;
        self.ask((Kind::Signal, id, name), &[], |write| {
            Signal { signal }.encode(write)
        })
        .map(drop)
    }

    /// Sends a signal to an exec'd process.
    ///
    /// # Errors
    /// When it has ended.
    pub fn signal_exec(&mut self, exec: &Exec, signal: u8) -> Result<(), SupervisorError> {
        let name = format!("exec {}", exec.id);
        self.ask((Kind::Signal, exec.id, &name), &[], |write| {
            Signal { signal }.encode(write)
        })
        .map(drop)
    }

    /// Kills a container with all its processes: the kernel ends a pid namespace with its first
    /// process. In a pod-wide or the host's pid namespace only the first process is killed, and the
    /// caller has to empty the cgroup.
    ///
    /// # Errors
    /// When it has ended.
    pub fn kill_all(&mut self, name: &str) -> Result<(), SupervisorError> {
        const SIGKILL: u8 = 9;
        self.signal(name, SIGKILL)
    }

    /// Has a container's output copied to `outputs`, as far as they keep up: one descriptor for
    /// each stream that `what` asks for. Gives the writing end of its input, or its terminal's
    /// master, if `what` asks for it.
    ///
    /// # Errors
    /// When the container has ended, or has no input.
    pub fn attach(
        &mut self,
        name: &str,
        what: Attach,
        outputs: &[BorrowedFd<'_>],
    ) -> Result<Option<OwnedFd>, SupervisorError> {
        let id = self.id(name)?;
        let mut answer = self.ask((Kind::Attach, id, name), outputs, |write| {
            what.encode(write)
        })?;
        Ok(answer.fds.pop())
    }

    /// Closes the supervisor's end of a container's input. The container reads end of file once all
    /// attached have too.
    ///
    /// # Errors
    /// When there is no such container.
    pub fn close_stdin(&mut self, name: &str) -> Result<(), SupervisorError> {
        let id = self.id(name)?;
        self.ask((Kind::CloseStdin, id, name), &[], |_| {})
            .map(drop)
    }

    /// Changes the bounds of a container's log.
    ///
    /// # Errors
    /// When it has none.
    pub fn log_limits(&mut self, name: &str, limits: LogLimits) -> Result<(), SupervisorError> {
        let id = self.id(name)?;
        self.ask((Kind::LogLimits, id, name), &[], |write| {
            limits.encode(write)
        })
        .map(drop)
    }

    /// Opens a container's log again by its name, after somebody has moved it away.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn reopen_log(&mut self, name: &str) -> Result<(), SupervisorError> {
        let id = self.id(name)?;
        self.ask((Kind::ReopenLog, id, name), &[], |_| {}).map(drop)
    }

    /// Acknowledges a container's end: the supervisor drops what it kept, and the `exits` file is
    /// emptied once all are.
    ///
    /// # Errors
    /// When it has not ended.
    pub fn forget(&mut self, name: &str) -> Result<(), SupervisorError> {
        let id = self.id(name)?;
        self.ask((Kind::Forget, id, name), &[], |_| {})?;
        self.unlearn(name);
        Ok(())
    }

    /// Kills every container and lets the supervisor go. Its namespaces go with it.
    ///
    /// # Errors
    /// When it is still there after the time-out; it has been killed then too.
    pub fn shutdown(mut self) -> Result<(), SupervisorError> {
        match self.ask((Kind::Shutdown, 0, "all"), &[], |_| {}) {
            Ok(_) | Err(SupervisorError::Gone { .. }) => {}
            Err(_) => return self.kill(),
        }
        match self.wait_gone(self.timeout()) {
            Err(SupervisorError::Timeout { .. }) => self.kill(),
            gone => gone,
        }
    }

    /// Kills the supervisor, and the whole pod with it, without asking.
    ///
    /// # Errors
    /// When it is still there after the time-out.
    pub fn kill(self) -> Result<(), SupervisorError> {
        pid::kill(self.pidfd()).map_err(|err| self.broken(err))?;
        self.wait_gone(self.timeout())
    }
}

/// A start record in a file of its own.
struct Record {
    file: OwnedFd,
    len: u32,
}

fn record_of(launch: &Launch) -> Result<Record, SupervisorError> {
    let too_large = || SupervisorError::Config {
        what: format!("its start takes {} bytes", launch.record.len()),
    };
    let len = u32::try_from(launch.record.len())
        .ok()
        .filter(|&len| len <= MAX_RECORD)
        .ok_or_else(too_large)?;
    let file =
        image::record(&launch.record).map_err(|source| SupervisorError::Launch { source })?;
    Ok(Record { file, len })
}

fn check_count(fds: &[BorrowedFd<'_>]) -> Result<(), SupervisorError> {
    if fds.len() > MAX_FDS {
        return Err(SupervisorError::Config {
            what: format!("its start needs {} descriptors", fds.len()),
        });
    }
    Ok(())
}

fn name(text: &str) -> Result<Name, SupervisorError> {
    let bad = || SupervisorError::Config {
        what: format!("{text:?} is not a name for a container or a log file"),
    };
    Name::new(text.as_bytes())
        .filter(|name| !name.is_empty())
        .ok_or_else(bad)
}

/// The path below /proc/sys of a kernel setting that belongs to one of the pod's own namespaces.
/// Everything else would change the host.
pub(super) fn sysctl_path(config: &SandboxConfig, name: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if !name.bytes().all(plain) || name.split('.').any(str::is_empty) {
        return Err(format!("{name:?} is not the name of a sysctl"));
    }
    let ipc = ["kernel.shm", "kernel.msg", "fs.mqueue."]
        .iter()
        .any(|prefix| name.starts_with(prefix))
        || name == "kernel.sem";
    let owner = match name {
        _ if ipc => config.ipc,
        _ if name.starts_with("net.") => config.net,
        _ => return Err(format!("sysctl {name} belongs to the whole host")),
    };
    match owner {
        Namespace::New => Ok(name.replace('.', "/")),
        Namespace::Host => Err(format!(
            "sysctl {name} would change the host, whose namespace the pod uses"
        )),
    }
}
