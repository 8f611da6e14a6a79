//! Small waiting primitives: eventfd(2), inotify(7), poll(2), and kill(2) for one process.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};
use rustix::fs::inotify;
use rustix::process::{Pid, Signal};

/// `ENODEV`, which the files of a removed cgroup give.
pub(crate) const ENODEV: i32 = libc::ENODEV;

/// `ESRCH`, which attaching a process that has ended gives.
pub(crate) const ESRCH: i32 = libc::ESRCH;

/// eventfd(2): a counter at 0, non-blocking.
pub(crate) fn eventfd() -> io::Result<OwnedFd> {
    Ok(rustix::event::eventfd(
        0,
        EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK,
    )?)
}

/// inotify_init1(2) and one inotify_add_watch(2): readable after each change of `file`.
pub(crate) fn watch_changes(file: &Path) -> io::Result<OwnedFd> {
    let fd = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
    inotify::add_watch(&fd, file, inotify::WatchFlags::MODIFY)?;
    Ok(fd)
}

/// read(2) until nothing is left in a non-blocking descriptor; says whether there was anything.
pub(crate) fn drain(fd: BorrowedFd<'_>) -> io::Result<bool> {
    let mut buffer = [0_u8; 4096];
    let mut any = false;
    loop {
        match rustix::io::read(fd, &mut buffer) {
            Ok(0) | Err(rustix::io::Errno::AGAIN) => return Ok(any),
            Ok(_) => any = true,
            Err(rustix::io::Errno::INTR) => {}
            Err(err) => return Err(err.into()),
        }
    }
}

/// poll(2) for reading; false when `timeout` passed first.
pub(crate) fn readable(fd: BorrowedFd<'_>, timeout: Duration) -> io::Result<bool> {
    let timeout = Timespec {
        tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: timeout.subsec_nanos().into(),
    };
    let fd = fd.as_fd();
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    Ok(rustix::event::poll(&mut fds, Some(&timeout))? > 0)
}

/// kill(2) with SIGKILL.
pub(crate) fn kill(pid: u32) -> io::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or(io::ErrorKind::InvalidInput)?;
    Ok(rustix::process::kill_process(pid, Signal::KILL)?)
}
