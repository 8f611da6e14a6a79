//! Who waits for which log: one inotify instance for all followers, of which a host has few.
use crate::registry::{Change, Registry};
use inotify::{Inotify, WatchDescriptor, WatchMask, Watches};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::Notify;
use tokio::sync::broadcast::error::RecvError;

/// Wakes followers.
#[derive(Clone, Debug)]
pub(in crate::server) struct Hub(Arc<Mutex<Table>>);

struct Table {
    watches: Watches,
    next: u64,
    ears: BTreeMap<u64, Entry>,
}

impl std::fmt::Debug for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Table")
            .field("ears", &self.ears)
            .finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct Entry {
    wake: Arc<Notify>,
    uid: String,
    watch: Option<WatchDescriptor>,
}

/// Hears of one container's log and of its pod, until it is dropped.
#[derive(Debug)]
pub(super) struct Ear {
    hub: Hub,
    number: u64,
    wake: Arc<Notify>,
}

impl Hub {
    /// Listens to the kernel and to the pods' registry from now on.
    ///
    /// # Errors
    /// When the kernel gives no inotify instance.
    pub(in crate::server) fn start(registry: &Registry) -> io::Result<Self> {
        let mut inotify = Inotify::init()?;
        let hub = Hub(Arc::new(Mutex::new(Table {
            watches: inotify.watches(),
            next: 0,
            ears: BTreeMap::new(),
        })));
        let mut changes = registry.listen();
        let events = crate::sys::readable(inotify.as_fd().try_clone_to_owned()?)?;
        let own = Arc::downgrade(&hub.0);
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            loop {
                let mut ready = tokio::select! {
                    ready = events.readable() => ready.ok(),
                    change = changes.recv() => {
                        let Some(hub) = own.upgrade().map(Hub) else { return };
                        match change {
                            Ok(Change::Put(uid) | Change::Removed(uid)) => hub.wake(|entry| *entry.uid == *uid),
                            Err(RecvError::Lagged(_)) => hub.wake(|_| true),
                            Err(RecvError::Closed) => return,
                        }
                        continue;
                    }
                };
                let Some(hub) = own.upgrade().map(Hub) else {
                    return;
                };
                let Some(ready) = &mut ready else { return };
                match inotify.read_events(&mut buffer) {
                    Ok(events) => {
                        for event in events {
                            // One without a watch says that others were lost.
                            let lost = event.mask.contains(inotify::EventMask::Q_OVERFLOW);
                            hub.wake(|entry| lost || entry.watch.as_ref() == Some(&event.wd));
                        }
                    }
                    Err(err) if err.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                    Err(err) => {
                        tracing::error!(%err, "cannot hear of logs; followers are woken by their pods alone");
                        return;
                    }
                }
            }
        });
        Ok(hub)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self, concerned: impl Fn(&Entry) -> bool) {
        for entry in self.lock().ears.values().filter(|entry| concerned(entry)) {
            entry.wake.notify_one();
        }
    }

    /// Hears of the log in `dir` and of the pod from now on.
    ///
    /// # Errors
    /// When the kernel watches no more.
    pub(super) fn listen(&self, uid: &str, dir: &Path) -> io::Result<Ear> {
        let wake = Arc::<Notify>::default();
        let mut table = self.lock();
        let number = table.next;
        table.next += 1;
        let entry = Entry {
            wake: wake.clone(),
            uid: uid.to_owned(),
            watch: None,
        };
        table.ears.insert(number, entry);
        drop(table);
        let ear = Ear {
            hub: self.clone(),
            number,
            wake,
        };
        ear.look(dir)?;
        Ok(ear)
    }
}

impl Ear {
    /// Watches the folder if that is not done yet. One that is not there yet appears before the pod's state says so.
    ///
    /// # Errors
    /// When the kernel watches no more.
    pub(super) fn look(&self, dir: &Path) -> io::Result<()> {
        let mut table = self.hub.lock();
        if table
            .ears
            .get(&self.number)
            .is_some_and(|entry| entry.watch.is_some())
        {
            return Ok(());
        }
        let mask = WatchMask::MODIFY | WatchMask::CREATE | WatchMask::MOVED_TO;
        let watch = match table.watches.add(dir, mask) {
            Ok(watch) => watch,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(err) => return Err(err),
        };
        if let Some(entry) = table.ears.get_mut(&self.number) {
            entry.watch = Some(watch);
        }
        Ok(())
    }

    /// Until there may be something new.
    pub(super) async fn wait(&self) {
        self.wake.notified().await;
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        let mut table = self.hub.lock();
        let watch = table
            .ears
            .remove(&self.number)
            .and_then(|entry| entry.watch);
        let Some(watch) = watch else { return };
        let shared = table
            .ears
            .values()
            .any(|entry| entry.watch.as_ref() == Some(&watch));
        if !shared {
            // It fails where the folder has gone.
            let _ = table.watches.remove(watch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    async fn woken(ear: &Ear) -> bool {
        tokio::time::timeout(Duration::from_secs(10), ear.wait())
            .await
            .is_ok()
    }

    async fn quiet(ear: &Ear) -> bool {
        tokio::time::timeout(Duration::from_millis(50), ear.wait())
            .await
            .is_err()
    }

    #[tokio::test]
    async fn followers_hear_of_their_own_log_alone() {
        let registry = Registry::default();
        let hub = Hub::start(&registry).unwrap();
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let first = hub.listen("u-1", one.path()).unwrap();
        let second = hub.listen("u-1", one.path()).unwrap();
        let stranger = hub.listen("u-2", other.path()).unwrap();
        std::fs::write(one.path().join("0.log"), "x").unwrap();
        assert!(woken(&first).await && woken(&second).await);
        assert!(quiet(&stranger).await);
        // One that leaves takes the watch with it only when it is the last.
        drop(first);
        while !quiet(&second).await {}
        std::fs::write(one.path().join("0.log"), "y").unwrap();
        assert!(woken(&second).await);
        drop((second, stranger));
        assert!(hub.lock().ears.is_empty());
    }

    #[tokio::test]
    async fn a_folder_that_comes_later_is_watched_then() {
        let registry = Registry::default();
        let hub = Hub::start(&registry).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let later = dir.path().join("later");
        let ear = hub.listen("u-1", &later).unwrap();
        std::fs::create_dir(&later).unwrap();
        ear.look(&later).unwrap();
        std::fs::write(later.join("0.log"), "x").unwrap();
        assert!(woken(&ear).await);
    }
}
