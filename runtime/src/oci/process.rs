//! A process that is remembered across invocations: a pid alone may be somebody else by now.
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use super::signal::Signal;

/// A pid with the time the kernel says the process started, in clock ticks since boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ProcessRef {
    /// The pid in the runtime's own pid namespace.
    pub(super) pid: i32,
    /// Field 22 of `/proc/PID/stat`.
    pub(super) start_time: u64,
}

impl ProcessRef {
    /// Takes down a process that lives now.
    pub(super) fn observe(pid: i32) -> io::Result<ProcessRef> {
        let stat = Stat::read(pid)?;
        Ok(ProcessRef {
            pid,
            start_time: stat.start_time,
        })
    }

    /// Whether it is still the same process and has not exited. A zombie has exited.
    pub(super) fn is_alive(self) -> bool {
        Stat::read(self.pid).is_ok_and(|stat| {
            stat.start_time == self.start_time && !matches!(stat.state, b'Z' | b'X')
        })
    }

    /// Its root directory, as a path for as long as it lives.
    pub(super) fn root(self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.pid))
    }

    /// A descriptor for the process, or `None` when it is gone.
    pub(super) fn open(self) -> io::Result<Option<OwnedFd>> {
        let Some(pid) = Pid::from_raw(self.pid) else {
            return Ok(None);
        };
        match pidfd_open(pid, PidfdFlags::empty()) {
            // The check comes after the open: from here on the descriptor cannot change its meaning.
            Ok(fd) => Ok(self.is_alive().then_some(fd)),
            Err(rustix::io::Errno::SRCH) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Sends `signal`; false when the process is gone.
    pub(super) fn signal(self, signal: Signal) -> io::Result<bool> {
        match self.open()? {
            Some(pidfd) => send(pidfd.as_fd(), signal),
            None => Ok(false),
        }
    }
}

/// Sends `signal` to the process behind `pidfd`; false when it is gone.
pub(super) fn send(pidfd: BorrowedFd<'_>, signal: Signal) -> io::Result<bool> {
    match super::sys::pidfd_send_signal(pidfd, signal.number()) {
        Ok(()) => Ok(true),
        Err(err) if err.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => Ok(false),
        Err(err) => Err(err),
    }
}

struct Stat {
    state: u8,
    start_time: u64,
}

impl Stat {
    fn read(pid: i32) -> io::Result<Stat> {
        let text = std::fs::read(format!("/proc/{pid}/stat"))?;
        Stat::parse(&text).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
    }

    /// The name (field 2) may hold spaces and parentheses, so fields are counted from the last one.
    fn parse(text: &[u8]) -> Option<Stat> {
        let after = text.iter().rposition(|&byte| byte == b')')? + 1;
        let mut fields = std::str::from_utf8(&text[after..])
            .ok()?
            .split_ascii_whitespace();
        let state = *fields.next()?.as_bytes().first()?;
        let start_time = fields.nth(18)?.parse().ok()?;
        Some(Stat { state, start_time })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::signal;

    #[test]
    fn the_stat_line_is_read_past_any_name() {
        let line = b"42 (a) b) S 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 1 2";
        let stat = Stat::parse(line).unwrap();
        assert_eq!((stat.state, stat.start_time), (b'S', 98765));
        assert!(Stat::parse(b"42 (a").is_none());
    }

    #[test]
    fn a_reused_pid_is_not_the_same_process() {
        let me = ProcessRef::observe(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(me.is_alive());
        let other = ProcessRef {
            start_time: me.start_time + 1,
            ..me
        };
        assert!(!other.is_alive());
        assert!(!other.signal(signal::KILL).unwrap());
    }

    #[test]
    fn a_zombie_has_exited() {
        let mut child = std::process::Command::new("/bin/sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let it = ProcessRef::observe(i32::try_from(child.id()).unwrap()).unwrap();
        assert!(it.is_alive());
        assert!(it.signal(signal::KILL).unwrap());
        // The zombie stays until wait: is_alive turns false without it.
        let start = std::time::Instant::now();
        while it.is_alive() && start.elapsed().as_secs() < 10 {
            std::thread::yield_now();
        }
        assert!(!it.is_alive());
        assert!(!it.signal(signal::KILL).unwrap() || child.try_wait().is_ok());
        child.wait().unwrap();
        assert!(it.open().unwrap().is_none());
    }
}
