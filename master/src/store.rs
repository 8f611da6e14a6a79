//! The one place where objects live: keys and values with etcd's semantics.
//!
//! One revision counts every change of the whole store. Writes are compare-and-swap transactions, reads name the revision
//! they saw, and a watch tells every change after a revision once, in order, with nothing left out
//! (<https://etcd.io/docs/v3.6/learning/api/>).
pub mod backup;
pub mod embedded;
pub mod etcd;
mod hub;
pub mod sealed;
#[cfg(test)]
mod suite;

use async_trait::async_trait;
use bytes::Bytes;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// A state of the whole store; the first change makes number 2, as etcd's does. 0 is none.
pub type Revision = u64;

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its key, such as `/registry/pods/default/web`.
    pub key: Arc<str>,
    /// Its value.
    pub value: Bytes,
    /// The revision that made the key.
    pub created: Revision,
    /// The revision that wrote this value; in a deletion, the one that took the key away.
    pub modified: Revision,
    /// With which lease it ends.
    pub lease: Option<LeaseId>,
}

/// A promise to take keys away after a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseId(pub i64);

/// What must hold of a key for a transaction to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Nothing.
    Any,
    /// The key is not there.
    Absent,
    /// It is there, as this revision wrote it.
    At(Revision),
}

/// What a transaction does to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Only the guard is looked at.
    Check,
    /// Write the value.
    Put(Bytes, Option<LeaseId>),
    /// Take the key away; one that is not there stays so.
    Delete,
}

/// One key's part in a transaction. A transaction names a key once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Op {
    /// Which key.
    pub key: Arc<str>,
    /// What must hold.
    pub guard: Guard,
    /// What is done.
    pub change: Change,
}

/// A transaction that was done: it is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Its revision; that of before where it changed nothing.
    pub revision: Revision,
    /// What each key of the transaction held before.
    pub previous: Vec<Option<Entry>>,
}

/// Which keys to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Range {
    /// What they begin with.
    pub prefix: String,
    /// Only those after this key.
    pub after: Option<String>,
    /// At most so many; 0 is all.
    pub limit: usize,
    /// As they were then; now, if none.
    pub at: Option<Revision>,
}

/// Keys in order, as they were at one revision.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The keys.
    pub entries: Vec<Entry>,
    /// The revision they were read at.
    pub revision: Revision,
    /// How many more there were behind the last one.
    pub remaining: u64,
}

/// A change of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What it holds now; for a deletion, its last value under the revision of the deletion.
    pub entry: Entry,
    /// What it held before; none where it was made.
    pub previous: Option<Entry>,
    /// Whether it is gone.
    pub deleted: bool,
}

/// Changes of one revision, or the news that there were none up to it (`events` is empty then).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// All changes up to and with this revision have been told once this batch is read.
    pub revision: Revision,
    /// Those under the watched prefix.
    pub events: Vec<Event>,
}

/// Changes as they come, in order. After an error there is nothing more.
#[derive(Debug)]
pub struct Watch(pub mpsc::Receiver<Result<Batch, StoreError>>);

/// Why a store did not do it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// A guard did not hold.
    #[error("{key} is not as expected")]
    Conflict {
        /// The first such key.
        key: Arc<str>,
        /// What it holds.
        current: Option<Entry>,
    },
    /// That state is gone.
    #[error("revision {asked} is compacted; the oldest is {oldest}")]
    Compacted {
        /// What was asked for.
        asked: Revision,
        /// The oldest state that is kept.
        oldest: Revision,
    },
    /// That state is not there yet.
    #[error("revision {asked} is in the future; the newest is {newest}")]
    Future {
        /// What was asked for.
        asked: Revision,
        /// The newest.
        newest: Revision,
    },
    /// There is no such lease.
    #[error("lease {0:?} is not there, or over")]
    NoLease(LeaseId),
    /// It cannot be reached now; what was asked may or may not have been done.
    #[error("the store cannot be reached: {0}")]
    Unavailable(String),
    /// It takes no more: a full disk, a quota.
    #[error("the store takes no writes: {0}")]
    Full(String),
    /// Something is damaged, or a client's fault.
    #[error("the store failed: {0}")]
    Failed(String),
}

/// A store. Every call is bounded in time (`Unavailable` after it).
#[async_trait]
pub trait Store: Debug + Send + Sync + 'static {
    /// A key, not older than any write acknowledged before the call.
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError>;
    /// Keys in order, at one revision.
    async fn list(&self, range: &Range) -> Result<Listing, StoreError>;
    /// All of it or nothing, durable when it returns.
    async fn commit(&self, ops: Vec<Op>) -> Result<Committed, StoreError>;
    /// All changes under a prefix after a revision; now and then a batch of none, so that the reader knows how far it is.
    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError>;
    /// The newest revision, not older than any write acknowledged before the call.
    async fn revision(&self) -> Result<Revision, StoreError>;
    /// Forgets states older than a revision.
    async fn compact(&self, before: Revision) -> Result<(), StoreError>;
    /// A new lease.
    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError>;
    /// Puts a lease's end off to its full time.
    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError>;
    /// Ends a lease and its keys.
    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError>;
}
