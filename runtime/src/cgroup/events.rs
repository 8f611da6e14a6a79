//! Being told about OOM kills.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use super::{Cgroup, CgroupError, Version, write_file};
use crate::sys::notify;

/// A descriptor that becomes readable when the OOM killer may have been at work in a cgroup.
///
/// v1 signals when memory runs out (which the OOM killer, or the removal of the cgroup, ends); v2
/// whenever a line of `memory.events` changes. So: [`OomWatch::drain`], then compare
/// [`Cgroup::oom_kills`] with what it was.
#[derive(Debug)]
pub struct OomWatch {
    fd: OwnedFd,
}

impl Cgroup {
    /// Watches this cgroup's memory. `None` where the memory controller is not to be had.
    pub fn watch_oom(&self) -> Result<Option<OomWatch>, CgroupError> {
        let Some(node) = self.node("memory") else {
            return Ok(None);
        };
        let watch = |file: PathBuf, watched: io::Result<OwnedFd>| match watched {
            Ok(fd) => Ok(Some(OomWatch { fd })),
            Err(source) => Err(CgroupError::Watch { file, source }),
        };
        match node.version {
            Version::V2 => {
                let file = node.dir.join("memory.events");
                let watched = notify::watch_changes(&file);
                watch(file, watched)
            }
            Version::V1 => {
                let file = node.dir.join("memory.oom_control");
                let failed = |source| CgroupError::Watch {
                    file: file.clone(),
                    source,
                };
                let control = File::open(&file).map_err(failed)?;
                let event = notify::eventfd().map_err(failed)?;
                let pair = format!("{} {}", event.as_raw_fd(), control.as_raw_fd());
                // The kernel holds on to both; `control` may be closed.
                write_file(&node.dir.join("cgroup.event_control"), &pair)?;
                Ok(Some(OomWatch { fd: event }))
            }
        }
    }
}

impl OomWatch {
    /// Reads away what is pending; says whether there was anything.
    pub fn drain(&self) -> io::Result<bool> {
        notify::drain(self.fd.as_fd())
    }

    /// Waits for the next sign; false when `timeout` passed first.
    pub fn wait(&self, timeout: Duration) -> io::Result<bool> {
        notify::readable(self.fd.as_fd(), timeout)
    }
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}
