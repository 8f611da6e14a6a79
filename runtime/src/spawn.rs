//! Carrying out a launch from a small single-threaded process: the command line's side of [`rkube_init::launch`].
//!
//! ```text
//! caller --spawn--> child: namespaces, mounts        (1: id maps, inside spawn)
//!   wait_hooks  <-- Hooks --   release_hooks --byte-->   (2)
//!   wait_parked <-- Parked --  start ---------byte-->    (3)
//!   wait_exec   <-- Failed or the end of the pipe: the program runs
//! ```

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};

use rkube_init::launch::{self, Start};
use rkube_init::record::{Malformed, Record};
use rkube_init::status::{Failure, Frame};

use crate::compile::Launch;
use crate::sys::fd::{error, own};

mod executable;
mod failure;
pub use executable::protect_executable;
pub use failure::{SpawnError, describe};

/// How the child waits before it executes the program.
#[derive(Debug, Clone, Copy, Default)]
pub enum Park<'a> {
    /// It does not.
    #[default]
    No,
    /// On a pipe whose other end [`Child::start`] writes to.
    Pipe,
    /// On this descriptor, which somebody else writes a byte to.
    Fd(BorrowedFd<'a>),
}

/// What a start needs besides the launch.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options<'a> {
    /// The container's name, for errors.
    pub id: &'a str,
    /// Standard input, output and error; what is not given is inherited.
    pub stdio: [Option<BorrowedFd<'a>>; 3],
    /// Whether and how to wait before the program is executed.
    pub park: Park<'a>,
    /// The unix socket that takes the terminal's master.
    pub console: Option<BorrowedFd<'a>>,
    /// Whether to wait, before the mounts that show cgroups, until [`Child::release_cgroups`].
    pub cgroups: bool,
    /// Whether to wait, after all mounts, until [`Child::release_hooks`].
    pub hooks: bool,
    /// Both ends, to be read and to be written, of what carries the status frames instead of a pipe of
    /// [`Child`]'s own. The write end must be close-on-exec, and the caller closes its copy.
    pub status: Option<(BorrowedFd<'a>, BorrowedFd<'a>)>,
    /// The pidfd of the container to join, if the launch does not hold it.
    pub target: Option<BorrowedFd<'a>>,
}

/// The container's process, from its birth on.
#[derive(Debug)]
pub struct Child {
    /// In the caller's pid namespace.
    pub pid: i32,
    /// Becomes readable when it exits.
    pub pidfd: OwnedFd,
    id: String,
    /// To word failures with.
    record: Vec<u8>,
    status: Option<OwnedFd>,
    park: Option<File>,
    cgroups: Option<File>,
    hooks: Option<File>,
}

/// Starts a launch; returns as soon as the process exists.
///
/// # Assumptions
/// The caller has a single thread: the child goes on with a copy of its memory.
pub fn spawn(launch: &Launch, options: Options<'_>) -> Result<Child, SpawnError> {
    let id = options.id.to_owned();
    let malformed = |why: Malformed| SpawnError::Record {
        id: id.clone(),
        why: format!("{why:?}"),
    };
    let record = Record::parse(&launch.record, launch.fds.len()).map_err(malformed)?;
    let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
    let status = if options.status.is_none() {
        Some(pipe())
    } else {
        None
    };
    let park = if matches!(options.park, Park::Pipe) {
        Some(pipe())
    } else {
        None
    };
    let hooks = if options.hooks { Some(pipe()) } else { None };
    let cgroups = if options.cgroups { Some(pipe()) } else { None };
    let failed = |source: rustix::io::Errno| SpawnError::Pipe {
        id: id.clone(),
        source: source.into(),
    };
    let [status, park, hooks, cgroups] = [status, park, hooks, cgroups].map(Option::transpose);
    let (status, park, hooks, cgroups) = (
        status.map_err(failed)?,
        park.map_err(failed)?,
        hooks.map_err(failed)?,
        cgroups.map_err(failed)?,
    );

    let raw = |fd: BorrowedFd<'_>| fd.as_raw_fd();
    let writer = options.status.map(|(_, write)| raw(write));
    let writer = writer.or_else(|| status.as_ref().map(|(_, write)| write.as_raw_fd()));
    let fds: Vec<i32> = launch.fds.iter().map(|fd| fd.as_raw_fd()).collect();
    let start = Start {
        record,
        fds: &fds,
        status: writer.unwrap_or(-1),
        park: match options.park {
            Park::No => None,
            Park::Pipe => park.as_ref().map(|(read, _)| read.as_raw_fd()),
            Park::Fd(fd) => Some(fd.as_raw_fd()),
        },
        cgroups: cgroups.as_ref().map(|(read, _)| read.as_raw_fd()),
        hooks: hooks.as_ref().map(|(read, _)| read.as_raw_fd()),
        stdio: options.stdio.map(|fd| fd.map(raw)),
        console: options.console.map(raw),
        target: options.target.map(raw),
        plain_signals: false,
    };
    let launched = launch::launch(&start)
        .map_err(|failure| SpawnError::stage(&id, &launch.record, failure))?;
    let reader = match options.status {
        Some((reader, _)) => {
            Some(
                reader
                    .try_clone_to_owned()
                    .map_err(|source| SpawnError::Pipe {
                        id: id.clone(),
                        source,
                    })?,
            )
        }
        // Only the child may hold the write end, or its end would never be seen.
        None => status.map(|(read, _)| read),
    };
    Ok(Child {
        pid: launched.pid,
        pidfd: own(launched.pidfd),
        id,
        record: launch.record.clone(),
        status: reader,
        park: park.map(|(_, write)| write.into()),
        cgroups: cgroups.map(|(_, write)| write.into()),
        hooks: hooks.map(|(_, write)| write.into()),
    })
}

impl Child {
    /// Lets the child, which is in its cgroups now, go on. One that has failed meanwhile tells at the next wait.
    pub fn release_cgroups(&mut self) -> Result<(), SpawnError> {
        match release(&self.id, self.cgroups.take()) {
            Err(SpawnError::Pipe { source, .. }) if source.kind() == io::ErrorKind::BrokenPipe => {
                Ok(())
            }
            released => released,
        }
    }

    /// Sync point 2: waits until all mounts are made and the root is still the host's.
    pub fn wait_hooks(&mut self) -> Result<(), SpawnError> {
        self.expect(Frame::Hooks)
    }

    /// Lets the child go on from [`Child::wait_hooks`].
    pub fn release_hooks(&mut self) -> Result<(), SpawnError> {
        release(&self.id, self.hooks.take())
    }

    /// Sync point 3: waits until the child is ready to execute the program.
    pub fn wait_parked(&mut self) -> Result<(), SpawnError> {
        self.expect(Frame::Parked)
    }

    /// Lets a child that is parked on a pipe execute the program.
    pub fn start(&mut self) -> Result<(), SpawnError> {
        release(&self.id, self.park.take())
    }

    /// Gives up a child that is parked, or that waits for its cgroups or the hooks, on a pipe of ours: it exits quietly.
    pub fn abandon(&mut self) {
        self.park = None;
        self.cgroups = None;
        self.hooks = None;
    }

    /// Waits until the program runs.
    pub fn wait_exec(&mut self) -> Result<(), SpawnError> {
        match self.next()? {
            None => Ok(()),
            Some(Frame::Failed(failure)) => Err(self.over(failure)),
            Some(frame) => Err(SpawnError::Confused {
                id: self.id.clone(),
                frame,
            }),
        }
    }

    /// The read end of the status pipe, for callers that poll.
    #[must_use]
    pub fn status(&self) -> Option<BorrowedFd<'_>> {
        self.status.as_ref().map(OwnedFd::as_fd)
    }

    /// Words a failure of this child.
    #[must_use]
    pub fn failed(&self, failure: Failure) -> SpawnError {
        SpawnError::stage(&self.id, &self.record, failure)
    }

    /// A child that has failed exits by itself. Left unreaped it would hold up the end of the pid namespace it is in.
    fn over(&self, failure: Failure) -> SpawnError {
        // Somebody else may have been quicker.
        let _ = rkube_init::sys::process::reap(self.pidfd.as_raw_fd());
        self.failed(failure)
    }

    fn expect(&mut self, wanted: Frame) -> Result<(), SpawnError> {
        match self.next()? {
            Some(frame) if frame == wanted => Ok(()),
            Some(Frame::Failed(failure)) => Err(self.over(failure)),
            Some(frame) => Err(SpawnError::Confused {
                id: self.id.clone(),
                frame,
            }),
            None => Err(SpawnError::Vanished {
                id: self.id.clone(),
            }),
        }
    }

    fn next(&mut self) -> Result<Option<Frame>, SpawnError> {
        let Some(status) = &self.status else {
            return Err(SpawnError::Elsewhere {
                id: self.id.clone(),
            });
        };
        let frame = launch::next_frame(status.as_raw_fd());
        frame.map_err(|errno| SpawnError::Pipe {
            id: self.id.clone(),
            source: error(errno),
        })
    }
}

/// Reads the next frame of a status pipe; `None` at its end.
pub fn read_frame(status: BorrowedFd<'_>) -> io::Result<Option<Frame>> {
    launch::next_frame(status.as_raw_fd()).map_err(error)
}

/// Waits until the program of a child runs that another process has started; `Err` says why it does not.
pub fn read_outcome(status: BorrowedFd<'_>) -> Result<(), SpawnError> {
    let id = String::new();
    loop {
        match read_frame(status) {
            Ok(None) => return Ok(()),
            Ok(Some(Frame::Failed(failure))) => return Err(SpawnError::stage(&id, &[], failure)),
            Ok(Some(_)) => {}
            Err(source) => return Err(SpawnError::Pipe { id, source }),
        }
    }
}

fn release(id: &str, gate: Option<File>) -> Result<(), SpawnError> {
    let Some(mut gate) = gate else {
        return Err(SpawnError::Elsewhere { id: id.to_owned() });
    };
    gate.write_all(&[1]).map_err(|source| SpawnError::Pipe {
        id: id.to_owned(),
        source,
    })
}
