//! What inotify tells of a manifest directory: that something changed, and which files are being written.
//!
//! A directory is watched itself. A single file, and a directory that is not there, are watched through the
//! directory that they stand in. Where nothing can be watched, the period alone finds changes.
use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask};
use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};
use tokio::io::unix::AsyncFd;

/// A file that was opened for writing and has been quiet for so long is read as it is.
const QUIET: Duration = Duration::from_secs(2);
/// A file that is written without a pause is read after this time as it is.
const PATIENCE: Duration = Duration::from_secs(10);

/// The files that somebody is writing, and since when.
#[derive(Clone, Debug, Default)]
pub(super) struct Busy(HashMap<OsString, (Instant, Instant)>);

impl Busy {
    /// For how long the file ought to be left alone still; none if it can be read.
    pub(super) fn wait(&self, name: &OsStr) -> Option<Duration> {
        let (first, last) = self.0.get(name)?;
        let until = (*last + QUIET).min(*first + PATIENCE);
        until
            .checked_duration_since(Instant::now())
            .filter(|left| !left.is_zero())
    }

    /// Notes an event.
    fn note(&mut self, name: &OsStr, mask: EventMask) {
        let now = Instant::now();
        if mask.intersects(EventMask::CREATE | EventMask::MODIFY) {
            self.0.entry(name.to_owned()).or_insert((now, now)).1 = now;
        } else {
            self.0.remove(name);
        }
    }
}

/// What has changed since somebody asked last.
#[derive(Clone, Debug, Default)]
pub(super) struct Changes {
    names: HashSet<OsString>,
    /// More than is known by name.
    unknown: bool,
}

impl Changes {
    /// Whether nothing has.
    pub(super) fn is_none(&self) -> bool {
        self.names.is_empty() && !self.unknown
    }
    /// Whether the file of that name may have.
    pub(super) fn concern(&self, name: &OsStr) -> bool {
        self.unknown || self.names.contains(name)
    }
}

/// The kernel's watch on one path.
#[derive(Debug)]
pub(super) struct Watch {
    inotify: Inotify,
    /// The same, to wait for.
    heard: AsyncFd<OwnedFd>,
    watched: Option<WatchDescriptor>,
    /// Of the events in a directory that holds more than the path, those of this name alone count.
    only: Option<OsString>,
    busy: Busy,
}

impl Watch {
    /// A watch on nothing yet.
    ///
    /// # Errors
    /// When the kernel gives no inotify instance.
    pub(super) fn new() -> io::Result<Self> {
        let inotify = Inotify::init()?;
        Ok(Watch {
            heard: crate::sys::readable(inotify.as_fd().try_clone_to_owned()?)?,
            inotify,
            watched: None,
            only: None,
            busy: Busy::default(),
        })
    }

    /// Watches `path` as it is now: a directory, a file, or nothing at all.
    pub(super) fn aim(&mut self, path: &Path) {
        let contents = WatchMask::CREATE
            | WatchMask::MODIFY
            | WatchMask::CLOSE_WRITE
            | WatchMask::MOVED_TO
            | WatchMask::MOVED_FROM
            | WatchMask::DELETE
            | WatchMask::DELETE_SELF
            | WatchMask::MOVE_SELF;
        let (directory, only) = if path.is_dir() {
            (path, None)
        } else {
            let parent = path
                .parent()
                .filter(|parent| !parent.as_os_str().is_empty());
            (
                parent.unwrap_or(Path::new(".")),
                path.file_name().map(OsStr::to_owned),
            )
        };
        let added = self.inotify.watches().add(directory, contents);
        if let Err(err) = &added {
            tracing::debug!(path = %directory.display(), %err, "cannot be watched; looked at from time to time");
        }
        let added = added.ok();
        // The same directory has the same number: only another one takes the old one's place.
        if added != self.watched {
            if let Some(old) = self.watched.take() {
                // It is gone already where the directory was removed.
                let _ = self.inotify.watches().remove(old);
            }
            self.busy = Busy::default();
        }
        (self.watched, self.only) = (added, only);
    }

    /// Takes what the kernel has told since the last time.
    pub(super) fn drain(&mut self) -> Changes {
        let mut buffer = [0_u8; 8192];
        let mut changes = Changes::default();
        // Bounded: a directory that changes without end does not keep the source from reading it.
        for _ in 0..64 {
            let Ok(events) = self.inotify.read_events(&mut buffer) else {
                break;
            };
            for event in events {
                if event.mask.contains(EventMask::Q_OVERFLOW) {
                    self.busy = Busy::default();
                    changes.unknown = true;
                    continue;
                }
                let Some(name) = event.name else {
                    changes.unknown |= !event.mask.contains(EventMask::IGNORED);
                    continue;
                };
                if self.only.as_deref().is_none_or(|only| only == name) {
                    self.busy.note(name, event.mask);
                    changes.names.insert(name.to_owned());
                }
            }
        }
        changes
    }

    /// Waits until something has changed. To be dropped at any time without loss.
    pub(super) async fn changed(&mut self) {
        loop {
            match self.heard.readable().await {
                Ok(mut ready) => ready.clear_ready(),
                Err(err) => {
                    tracing::warn!(%err, "inotify ended; manifests are looked at from time to time");
                    return std::future::pending().await;
                }
            }
            if !self.drain().is_none() {
                return;
            }
        }
    }

    /// The files that somebody is writing.
    pub(super) fn busy(&self) -> Busy {
        self.busy.clone()
    }
}
