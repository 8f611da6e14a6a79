//! The store in a file of this machine: what a cluster with one master needs, and nothing beside it.
//!
//! ```text
//! commit -> queue -> writer thread: many requests, one transaction, one sync -> file (redb)
//!                         '-> ring of the last changes -> watches
//! get, list -> one moment of the file, beside the writer
//! ```
//! A write is on disk when it is acknowledged, and what was not acknowledged is there whole or not at all, wherever power
//! failed: redb writes pages that nobody refers to, syncs, and then turns one pointer.
#[cfg(test)]
mod crash;
mod dump;
mod file;
mod format;
mod group;
mod history;
mod read;
mod room;
mod writer;

use super::hub::{History, Hub};
use super::{
    Batch, Committed, Entry, LeaseId, Listing, Op, Range, Revision, Store, StoreError, Watch,
};
use async_trait::async_trait;
pub use dump::{DumpError, Summary};
pub use file::{FILE, OpenError};
use file::{File, Snapshot};
use std::io::{Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};
use writer::{Ask, Done, Request, Writer};

/// How long a call may take.
const LIMIT: Duration = Duration::from_secs(30);
/// How many requests wait for the writer; the next ones wait outside.
const QUEUE: usize = 4096;
/// The largest transaction, as etcd's own limits a request.
const LARGEST: usize = 16 << 20;
/// The longest key.
const LONGEST_KEY: usize = 4096;

/// The store in a file.
#[derive(Debug)]
pub struct Embedded {
    shared: Arc<Shared>,
    places: Arc<Semaphore>,
    writer: Mutex<Option<(Sender<Request>, JoinHandle<()>)>>,
}

/// What reads and watches need.
#[derive(Debug)]
struct Shared {
    file: Arc<File>,
    hub: Arc<Hub>,
    /// Held while a thread of the caller's reads the file itself.
    brisk: Mutex<()>,
}

/// Opens the store in a directory; makes both where they are not there.
///
/// # Errors
/// What is wrong with the file, and what to do about it.
pub fn open(directory: &Path) -> Result<Embedded, OpenError> {
    let io = |source| OpenError::Io {
        file: directory.to_owned(),
        source,
    };
    if !directory.is_dir() {
        fs_err::create_dir_all(directory).map_err(io)?;
        // What it holds is for its owner alone.
        let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        fs_err::set_permissions(directory, private).map_err(io)?;
    }
    let (file, state) = File::open(&directory.join(FILE))?;
    start(file, state)
}

/// Opens the store in a directory, if there is one.
pub(super) fn existing(directory: &Path) -> Result<Embedded, OpenError> {
    let path = directory.join(FILE);
    fs_err::metadata(&path).map_err(|source| OpenError::Io { file: path, source })?;
    open(directory)
}

/// Reads a backup to its end.
pub(super) fn verify(backup: impl Read) -> Result<Summary, DumpError> {
    dump::read(backup, |_| Ok(())).map(|(summary, _)| summary)
}

/// Makes a store in a directory of a backup.
pub(super) fn load(backup: impl Read, directory: &Path) -> Result<Summary, DumpError> {
    fs_err::create_dir_all(directory).map_err(DumpError::Io)?;
    let (file, _) = File::open(&directory.join(FILE))
        .map_err(|error| DumpError::Store(StoreError::Failed(error.to_string())))?;
    let summary = dump::load(backup, &file);
    file.close();
    summary
}

fn start(file: File, state: format::State) -> Result<Embedded, OpenError> {
    let hub = Arc::new(Hub::new(state.revision));
    let file = Arc::new(file);
    let path = file.path().to_owned();
    let writer =
        Writer::new(file.clone(), hub.clone(), state).map_err(|error| OpenError::Damaged {
            file: path.clone(),
            why: error.to_string(),
        })?;
    let (tx, rx) = channel();
    let thread = std::thread::Builder::new()
        .name("store-writer".to_owned())
        .spawn(move || writer.run(&rx))
        .map_err(|source| OpenError::Io { file: path, source })?;
    Ok(Embedded {
        shared: Arc::new(Shared {
            file,
            hub,
            brisk: Mutex::new(()),
        }),
        places: Arc::new(Semaphore::new(QUEUE)),
        writer: Mutex::new(Some((tx, thread))),
    })
}

impl Embedded {
    /// Ends it: what was asked for is done, watches are told, the file is closed.
    pub fn close(&self) {
        let writer = self.lock().take();
        let Some((requests, thread)) = writer else {
            return;
        };
        drop(requests);
        // A writer that panicked has answered nobody and holds nothing.
        let _ = thread.join();
        self.shared.hub.close(closed());
        self.shared.file.close();
    }

    /// Writes one moment of the store as a backup; writes go on beside it. Blocks.
    ///
    /// # Errors
    /// What stopped it.
    pub fn dump(&self, out: impl Write) -> Result<Summary, DumpError> {
        dump::write(&self.shared.file.snapshot()?, out)
    }

    async fn ask(&self, ask: Ask) -> Result<Done, StoreError> {
        let late = |_| StoreError::Unavailable("the disk takes too long".to_owned());
        let place = tokio::time::timeout(LIMIT, self.places.clone().acquire_owned());
        let place = place.await.map_err(late)?.map_err(|_| closed())?;
        let (reply, answer) = oneshot::channel();
        let request = Request {
            ask,
            reply,
            _place: place,
        };
        match self.lock().as_ref() {
            Some((requests, _)) => requests.send(request).map_err(|_| closed())?,
            None => return Err(closed()),
        }
        let answer = tokio::time::timeout(LIMIT, answer).await.map_err(late)?;
        answer.map_err(|_| closed())?
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(Sender<Request>, JoinHandle<()>)>> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.close();
    }
}

impl Shared {
    /// Reads one moment of the file on a thread that may wait for the disk.
    async fn read<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Snapshot) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let file = self.file.clone();
        let path = file.path().to_owned();
        let task = tokio::task::spawn_blocking(move || act(&file.snapshot()?));
        match tokio::time::timeout(LIMIT, task).await {
            Ok(Ok(read)) => read,
            Ok(Err(_)) => Err(damaged(&path)),
            Err(_) => Err(StoreError::Unavailable(
                "the disk takes too long".to_owned(),
            )),
        }
    }

    /// Reads the little that is most likely in memory at once, which takes less time than another thread's waking. One
    /// thread at a time does so: a disk that hangs holds up that one, and the others go on.
    fn read_now<T>(
        &self,
        act: impl FnOnce(&Snapshot) -> Result<T, StoreError>,
    ) -> Option<Result<T, StoreError>> {
        let held = match self.brisk.try_lock() {
            Ok(held) => held,
            // A damaged file was read; the lock guards nothing.
            Err(TryLockError::Poisoned(held)) => held.into_inner(),
            Err(TryLockError::WouldBlock) => return None,
        };
        // The file's reader panics at what it cannot read.
        let read = catch_unwind(AssertUnwindSafe(|| act(&self.file.snapshot()?)));
        drop(held);
        Some(read.unwrap_or_else(|_| Err(damaged(self.file.path()))))
    }
}

fn damaged(path: &Path) -> StoreError {
    StoreError::Failed(format!(
        "{} is damaged: put a backup in its place with `rkube-master restore`",
        path.display()
    ))
}

#[async_trait]
impl History for Shared {
    async fn replay(
        &self,
        prefix: &str,
        after: Revision,
    ) -> Result<(Vec<Batch>, Revision), StoreError> {
        let prefix = prefix.to_owned();
        self.read(move |now| {
            let batches = read::replay(now, &prefix, after)?;
            Ok((batches, now.state.revision))
        })
        .await
    }
}

#[async_trait]
impl Store for Embedded {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        if let Some(found) = self.shared.read_now(|now| read::get(now, key)) {
            return found;
        }
        let key = key.to_owned();
        self.shared.read(move |now| read::get(now, &key)).await
    }

    async fn list(&self, range: &Range) -> Result<Listing, StoreError> {
        let range = range.clone();
        self.shared.read(move |now| read::list(now, &range)).await
    }

    async fn commit(&self, ops: Vec<Op>) -> Result<Committed, StoreError> {
        check(&ops)?;
        match self.ask(Ask::Commit(ops)).await? {
            Done::Committed(committed) => Ok(committed),
            Done::Granted(_) | Done::Yes => Err(mixed()),
        }
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        self.shared.read(move |now| read::check(now, after)).await?;
        let history = self.shared.clone();
        Ok(self.shared.hub.watch(prefix, after, history))
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        Ok(self.shared.hub.newest())
    }

    async fn compact(&self, before: Revision) -> Result<(), StoreError> {
        self.ask(Ask::Compact(before)).await.map(|_| ())
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        match self.ask(Ask::Grant(ttl)).await? {
            Done::Granted(lease) => Ok(lease),
            Done::Committed(_) | Done::Yes => Err(mixed()),
        }
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.ask(Ask::KeepAlive(lease)).await.map(|_| ())
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.ask(Ask::Revoke(lease)).await.map(|_| ())
    }
}

/// What no file should be asked for.
fn check(ops: &[Op]) -> Result<(), StoreError> {
    if size(ops) > LARGEST {
        return Err(StoreError::Failed(format!(
            "a transaction has more than {LARGEST} bytes"
        )));
    }
    let odd = ops
        .iter()
        .find(|op| op.key.is_empty() || op.key.len() > LONGEST_KEY);
    match odd {
        Some(_) => Err(StoreError::Failed(format!(
            "a key is empty or longer than {LONGEST_KEY} bytes"
        ))),
        None => Ok(()),
    }
}

/// How many bytes a transaction writes.
fn size(ops: &[Op]) -> usize {
    let of = |op: &Op| match &op.change {
        super::Change::Put(value, _) => value.len() + op.key.len(),
        super::Change::Check | super::Change::Delete => op.key.len(),
    };
    ops.iter().map(of).sum()
}

fn closed() -> StoreError {
    StoreError::Unavailable("the store is closed".to_owned())
}

fn mixed() -> StoreError {
    StoreError::Failed("the writer answered another question".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Change, Guard};

    fn put(key: &str, value: &str, guard: Guard) -> Op {
        Op {
            key: key.into(),
            guard,
            change: Change::Put(value.to_owned().into(), None),
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn it_passes_the_suite() {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(open(directory.path()).unwrap());
        crate::store::suite::run(store).await;
    }

    #[tokio::test]
    async fn what_was_written_is_there_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        // Somebody switched off while it was made for the first time.
        fs_err::write(directory.path().join("store.new"), "half").unwrap();
        let store = open(directory.path()).unwrap();
        let done = store.commit(vec![put("/a", "1", Guard::Absent)]).await;
        assert_eq!(done.unwrap().revision, 2);
        assert!(matches!(open(directory.path()), Err(OpenError::InUse(_))));
        drop(store);
        let store = open(directory.path()).unwrap();
        let entry = store.get("/a").await.unwrap().unwrap();
        assert_eq!((&entry.value[..], entry.created), (&b"1"[..], 2));
        let mut watch = store.watch("/", 1).await.unwrap();
        let batch = watch.0.recv().await.unwrap().unwrap();
        assert_eq!((batch.revision, &batch.events[0].entry), (2, &entry));
    }

    #[tokio::test]
    async fn leases_go_on_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path()).unwrap();
        let (short, long) = (
            store.grant(Duration::from_millis(300)).await.unwrap(),
            store.grant(Duration::from_secs(600)).await.unwrap(),
        );
        for (key, lease) in [("/short", short), ("/long", long)] {
            let change = Change::Put("x".into(), Some(lease));
            let op = Op {
                key: key.into(),
                guard: Guard::Any,
                change,
            };
            store.commit(vec![op]).await.unwrap();
        }
        drop(store);
        let store = open(directory.path()).unwrap();
        let now = store.revision().await.unwrap();
        if store.get("/short").await.unwrap().is_some() {
            let mut watch = store.watch("/short", now).await.unwrap();
            let told = tokio::time::timeout(Duration::from_secs(10), watch.0.recv()).await;
            assert!(told.unwrap().unwrap().unwrap().events[0].deleted);
        }
        assert_eq!(store.get("/long").await.unwrap().unwrap().lease, Some(long));
        // Numbers of leases are not given twice.
        assert!(store.grant(Duration::from_secs(1)).await.unwrap() > long);
    }

    #[tokio::test]
    async fn the_log_is_cut_after_a_compaction() {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path()).unwrap();
        for number in 0..50 {
            store
                .commit(vec![put("/a", &number.to_string(), Guard::Any)])
                .await
                .unwrap();
        }
        let snapshot = || store.shared.file.snapshot().unwrap().state;
        let bytes = snapshot().log_bytes;
        store.compact(41).await.unwrap();
        let cut = async {
            while snapshot().trimmed < 41 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), cut)
            .await
            .unwrap();
        let state = snapshot();
        assert_eq!((state.oldest, state.trimmed, state.revision), (41, 41, 51));
        assert!(
            state.log_bytes < bytes / 4,
            "{} of {bytes}",
            state.log_bytes
        );
    }
}
