//! Waiting for more to print: log files that grow, rotate or begin, and the pod's state.
//!
//! The kernel tells (inotify, a pidfd); nothing is asked for at intervals.
use crate::logs::Source;
use crate::paths::Paths;
use crate::state::StoredPod;
use inotify::{Inotify, WatchMask};
use rustix::event::{PollFd, PollFlags, poll};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

/// Knows when to look again.
#[derive(Debug)]
pub(super) struct Watch {
    paths: Paths,
    uid: String,
    inotify: Inotify,
    /// The supervisor: when it dies nobody may be there to write that down.
    supervisor: Option<OwnedFd>,
}

impl Watch {
    /// Watches the pod's state from now on.
    ///
    /// # Errors
    /// When the kernel gives no inotify instance.
    pub(super) fn new(paths: &Paths, pod: &StoredPod) -> io::Result<Self> {
        let uid = pod.record.uid().to_owned();
        let watch = Watch {
            inotify: Inotify::init()?,
            supervisor: supervisor(&paths.pod_run(&uid)),
            paths: paths.clone(),
            uid,
        };
        let mask = WatchMask::MOVED_TO | WatchMask::DELETE_SELF;
        watch.inotify.watches().add(paths.pod(&watch.uid), mask)?;
        Ok(watch)
    }

    /// Where things lie.
    #[must_use]
    pub(super) fn paths(&self) -> &Paths {
        &self.paths
    }

    /// The pod as it is on disk now; none when it was removed. The folders of logs that have appeared are watched
    /// from here on.
    pub(super) fn reload(&mut self) -> Option<StoredPod> {
        if self.supervisor.is_none() {
            self.supervisor = supervisor(&self.paths.pod_run(&self.uid));
        }
        self.paths.load(&self.uid).ok()
    }

    /// Watches the folders of these logs. To be called before they are read: what is written later wakes
    /// [`Watch::wait`]. A folder that is not there yet appears before the state says so.
    ///
    /// # Errors
    /// When the kernel watches no more.
    pub(super) fn arm(&self, sources: &[Source]) -> io::Result<()> {
        let mask = WatchMask::MODIFY | WatchMask::CREATE | WatchMask::MOVED_TO;
        for source in sources {
            // Watching it again changes nothing.
            match self.inotify.watches().add(source.dir(), mask) {
                Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
                Ok(_) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Sleeps until something has changed.
    ///
    /// # Errors
    /// When the kernel will not wait.
    pub(super) fn wait(&mut self) -> io::Result<()> {
        let mut fds = vec![PollFd::new(&self.inotify, PollFlags::IN)];
        fds.extend(
            self.supervisor
                .iter()
                .map(|fd| PollFd::new(fd, PollFlags::IN)),
        );
        match poll(&mut fds, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let died = fds.get(1).is_some_and(|fd| !fd.revents().is_empty());
        if died {
            self.supervisor = None;
        }
        let mut buffer = [0; 4096];
        match self.inotify.read_events(&mut buffer) {
            Err(err) if err.kind() != io::ErrorKind::WouldBlock => Err(err),
            Ok(_) | Err(_) => Ok(()),
        }
    }
}

/// The pod's supervisor, to be told of its end.
fn supervisor(dir: &Path) -> Option<OwnedFd> {
    let supervisor = rkube_runtime::supervisor::Supervisor::connect(dir).ok()?;
    supervisor.pidfd().try_clone_to_owned().ok()
}
