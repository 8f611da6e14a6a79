//! The parent's side: making the process that will become the container's.
//!
//! ```text
//! caller --clone3--> child                                   the usual case
//!
//! caller --clone3--> intermediate: setns, unshare            a pid, user or time namespace is joined (exec always
//!            |            +--clone3(PARENT)--> child          does), or a time namespace is made: only children
//!            +---------------- reads its pid --+              born afterwards are inside
//! ```
//! Either way the child is the caller's own child. Sync point 1, inside [`launch`]: a new user namespace's id maps
//! are written by the parent. Points 2 and 3 (hooks, park) are between the child and whoever holds the descriptors.

use crate::enter::{self, Arrival, namespaces, procfs};
use crate::record::{Record, layout, layout::header};
use crate::status::{FRAME, Failure, Fault, Frame, Stage};
use crate::sys::process::Cloned;
use crate::sys::{self, Errno, Fd, RawFd, errno, fs, host, process};
use linux_raw_sys::general as k;

/// One start, or one exec: the record and the descriptors that are only known now.
#[derive(Debug, Clone, Copy)]
pub struct Start<'a> {
    /// What to become.
    pub record: Record<'a>,
    /// The descriptors that the record counts.
    pub fds: &'a [RawFd],
    /// Takes the status frames; close-on-exec, so that its end of file says that execve(2) succeeded.
    pub status: RawFd,
    /// If given: stop before anything shows our cgroups until a byte comes, which says that the caller has moved us
    /// there; at the end of the file, exit quietly.
    pub cgroups: Option<RawFd>,
    /// If given: stop before execve(2) until a byte comes; at the end of the file, exit quietly.
    pub park: Option<RawFd>,
    /// If given: stop before the root changes until a byte comes; at the end of the file, exit quietly.
    pub hooks: Option<RawFd>,
    /// Standard input, output and error; what is not given is inherited.
    pub stdio: [Option<RawFd>; 3],
    /// A unix socket that takes the terminal's master, if the record wants a terminal.
    pub console: Option<RawFd>,
    /// The pidfd of the container to join, if it is not among `fds`.
    pub target: Option<RawFd>,
    /// Whether no signal is ignored or handled here, so that none needs to be reset.
    pub plain_signals: bool,
}

/// The process that is becoming the container's.
#[derive(Debug)]
pub struct Launched {
    /// In the caller's pid namespace.
    pub pid: i32,
    /// Its pidfd.
    pub pidfd: Fd,
}

/// Namespaces that clone3(2) makes. A cgroup namespace must come after the move to the cgroup, and only children
/// born later are inside a time namespace.
const CLONED: u32 = k::CLONE_NEWPID
    | k::CLONE_NEWUSER
    | k::CLONE_NEWNS
    | k::CLONE_NEWNET
    | k::CLONE_NEWIPC
    | k::CLONE_NEWUTS;
/// Namespaces that must be joined before the last fork.
const JOINED_EARLY: u32 = k::CLONE_NEWPID | k::CLONE_NEWUSER | k::CLONE_NEWTIME;

const SIGKILL: u8 = 9;

impl Start<'_> {
    /// The descriptor behind an index of the record.
    #[must_use]
    pub fn fd(&self, index: Option<u32>) -> Option<RawFd> {
        self.fds.get(index? as usize).copied()
    }

    /// The pidfd of the container to join.
    #[must_use]
    pub fn target(&self) -> Option<RawFd> {
        self.target
            .or_else(|| self.fd(self.record.optional(header::TARGET)))
    }

    fn namespaces(&self) -> u32 {
        self.record.field(header::NAMESPACES)
    }

    fn needs_intermediate(&self) -> bool {
        let mut joined = self.record.rows(&layout::JOINS).map(|row| row.word(0));
        self.record.field(header::TARGET_KINDS) != 0
            || self.namespaces() & k::CLONE_NEWTIME != 0
            || joined.any(|kind| kind & JOINED_EARLY != 0)
            || self.namespaces() & k::CLONE_NEWUSER != 0 && self.record.count(&layout::JOINS) > 0
    }
}

/// Makes the child, which then does everything by itself and reports on `start.status`.
///
/// # Guarantees
/// The child is the caller's, exits with `SIGCHLD`, and never returns from here. Nothing is left behind on failure.
/// # Assumptions
/// The caller has a single thread, since the child goes on with a copy of its memory.
pub fn launch(start: &Start<'_>) -> Result<Launched, Failure> {
    let maps = start.namespaces() & k::CLONE_NEWUSER != 0;
    let sync = if maps {
        Some(fs::pipe().map_err(failed(Stage::Clone))?)
    } else {
        None
    };
    let wait = sync.as_ref().map(|(read, _)| read.raw());
    let launched = if start.needs_intermediate() {
        fork_twice(start, wait)?
    } else {
        fork_once(start, wait)?
    };
    if let Some((read, write)) = sync {
        drop(read);
        let mapped = write_maps(&start.record, launched.pid)
            .and_then(|()| fs::write_all(write.raw(), &[1]).map_err(Fault::from));
        if let Err(fault) = mapped {
            drop(write);
            // The child sees the end of the pipe and exits.
            let _ = process::reap(launched.pidfd.raw());
            return Err(Failure::new(Stage::IdMap, fault));
        }
    }
    Ok(launched)
}

fn failed(stage: Stage) -> impl Fn(Errno) -> Failure {
    move |errno| Failure::new(stage, errno.into())
}

fn clone_flags(start: &Start<'_>) -> u64 {
    u64::from(start.namespaces() & CLONED)
}

fn fork_once(start: &Start<'_>, wait: Option<RawFd>) -> Result<Launched, Failure> {
    let cgroup = start.fd(start.record.optional(header::CGROUP));
    match process::clone3(clone_flags(start), k::SIGCHLD, cgroup).map_err(failed(Stage::Clone))? {
        None => enter::enter(start, Arrival::Direct, wait),
        Some(Cloned { pid, pidfd }) => Ok(Launched { pid, pidfd }),
    }
}

fn fork_twice(start: &Start<'_>, wait: Option<RawFd>) -> Result<Launched, Failure> {
    let stage = Stage::Clone;
    let (answer, report) = fs::pipe().map_err(failed(stage))?;
    let cgroup = start.fd(start.record.optional(header::CGROUP));
    // With CLONE_PARENT the second child inherits this one's exit signal.
    let Some(first) = process::clone3(0, k::SIGCHLD, cgroup).map_err(failed(stage))? else {
        intermediate(start, wait, report.raw())
    };
    drop(report);
    let mut frame = [0u8; FRAME];
    let got = fs::read(answer.raw(), &mut frame).map_err(failed(stage))?;
    process::reap(first.pidfd.raw()).map_err(failed(stage))?;
    match Frame::read(&frame).filter(|_| got == FRAME) {
        Some(Frame::Forked(pid)) => {
            // Our unreaped child: the number cannot have been given to another.
            let pidfd = process::pidfd_open(pid).map_err(|errno| {
                // Nobody would know of it.
                let _ = host::kill(pid, SIGKILL);
                failed(stage)(errno)
            })?;
            Ok(Launched { pid, pidfd })
        }
        Some(Frame::Failed(failure)) => Err(failure),
        _ => Err(failed(stage)(Errno::of(errno::EPIPE))),
    }
}

/// The process in the middle: joins what only its children will be in, makes the child, and exits.
fn intermediate(start: &Start<'_>, wait: Option<RawFd>, report: RawFd) -> ! {
    match cross(start, wait, report) {
        Ok(None) => enter::enter(start, Arrival::Joined, wait),
        Ok(Some(pid)) => {
            let _ = Frame::Forked(pid).send(report);
            process::exit(0)
        }
        Err(failure) => {
            let _ = Frame::Failed(failure).send(report);
            process::exit(125)
        }
    }
}

fn cross(start: &Start<'_>, wait: Option<RawFd>, report: RawFd) -> Result<Option<i32>, Failure> {
    enter::at(
        Stage::Protect,
        namespaces::shield(start, &[wait, Some(report)]),
    )?;
    if !namespaces::attaches_late(&start.record) {
        enter::at(Stage::Cgroups, namespaces::attach(start))?;
    }
    enter::at(Stage::Time, namespaces::make_time(&start.record))?;
    enter::at(Stage::Join, namespaces::join_all(start))?;
    let flags = clone_flags(start) | u64::from(k::CLONE_PARENT);
    let child = process::clone3(flags, 0, None).map_err(failed(Stage::Clone))?;
    Ok(child.map(|child| child.pid))
}

/// Sync point 1: writes the id maps of `pid`'s new user namespace.
fn write_maps(record: &Record<'_>, pid: i32) -> Result<(), Fault> {
    let proc = procfs::open_private(false)?;
    if record.has(layout::flag::NO_SETGROUPS) {
        procfs::write(&proc, pid, c"setgroups", b"deny")?;
    }
    procfs::write(
        &proc,
        pid,
        c"gid_map",
        record.text(header::GID_MAP).to_bytes(),
    )?;
    procfs::write(
        &proc,
        pid,
        c"uid_map",
        record.text(header::UID_MAP).to_bytes(),
    )
}

/// Writes the id maps of a process in a new user namespace, through a procfs that nobody else has.
pub fn write_id_maps(pid: i32, uid_map: &[u8], gid_map: &[u8]) -> sys::Result<()> {
    let proc = procfs::open_private(false)?;
    procfs::write(&proc, pid, c"gid_map", gid_map).map_err(|fault| fault.errno)?;
    procfs::write(&proc, pid, c"uid_map", uid_map).map_err(|fault| fault.errno)
}

/// Reads the next frame of a status pipe: `None` at its end. For callers that do not poll.
pub fn next_frame(status: RawFd) -> sys::Result<Option<Frame>> {
    let mut bytes = [0u8; FRAME];
    let mut have = 0;
    while let Some(rest) = bytes.get_mut(have..).filter(|rest| !rest.is_empty()) {
        match fs::read(status, rest) {
            Ok(0) => return Ok(None),
            Ok(n) => have += n,
            Err(err) if err.is(errno::EINTR) => {}
            Err(err) => return Err(err),
        }
    }
    Ok(Frame::read(&bytes))
}
