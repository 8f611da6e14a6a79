//! The store in an etcd v3 cluster: how several masters share one, and how a cluster that already has one keeps it.
//!
//! Keys are as given, below `/registry/`. Reads are linearizable; a read is tried again on the next server until its time is
//! over, a write is not. What nobody answered in five seconds is `Unavailable`, and works again when etcd does.
mod convert;
mod feed;
mod link;
#[cfg(test)]
mod tests;

use super::hub::{History, Hub};
use super::{
    Batch, Committed, Entry, LeaseId, Listing, Op, Range, Revision, Store, StoreError, Watch,
};
use async_trait::async_trait;
use convert::{broken, end, entry, number, previous, transaction};
use etcd_client::{AlarmAction, AlarmType, GetOptions, ResponseHeader};
use link::{Failure, Kind, Link, Servers, words};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// How many keys are asked for at a time.
const CHUNK: usize = 1_000;
/// How long the first answer may take.
const START: Duration = Duration::from_secs(30);

/// Which servers, and how they know us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `http://` and `https://` addresses (`--etcd-servers`).
    pub endpoints: Vec<String>,
    /// Who signs the servers' certificates; the system's list, if none (`--etcd-cafile`).
    pub ca: Option<PathBuf>,
    /// Our certificate (`--etcd-certfile`).
    pub certificate: Option<PathBuf>,
    /// Its key (`--etcd-keyfile`).
    pub key: Option<PathBuf>,
}

/// Why there is no store.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The options contradict each other, or name files that cannot be read.
    #[error("cannot use etcd: {0}")]
    Options(String),
    /// Nobody answers.
    #[error(
        "no etcd answers at {endpoints}: {why}; start it, or name its servers with --etcd-servers"
    )]
    Away {
        /// Where it was looked for.
        endpoints: String,
        /// The last answer.
        why: String,
    },
}

/// The store in etcd.
pub struct Etcd {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

struct Shared {
    servers: Arc<Servers>,
    hub: Arc<Hub>,
}

impl std::fmt::Debug for Etcd {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Etcd").finish_non_exhaustive()
    }
}

/// Connects to a cluster; waits a while for one that is about to start.
///
/// # Errors
/// What is wrong with the options, or who did not answer.
pub async fn connect(options: &Options) -> Result<Etcd, ConnectError> {
    let servers = Arc::new(Servers::new(options).map_err(ConnectError::Options)?);
    let started = Instant::now();
    let newest = loop {
        match feed::newest(&servers).await {
            Ok(newest) => break newest,
            Err(error) if started.elapsed() > START || !is_away(&error) => {
                return Err(ConnectError::Away {
                    endpoints: options.endpoints.join(", "),
                    why: error.to_string(),
                });
            }
            Err(_) => sleep(Duration::from_millis(200)).await,
        }
    };
    let hub = Arc::new(Hub::new(newest));
    let weak = Arc::downgrade(&hub);
    let tasks = vec![
        tokio::spawn(feed::run(servers.clone(), weak.clone())),
        tokio::spawn(feed::compact(servers.clone(), weak, feed::COMPACT)),
    ];
    Ok(Etcd {
        shared: Arc::new(Shared { servers, hub }),
        tasks,
    })
}

fn is_away(error: &StoreError) -> bool {
    matches!(error, StoreError::Unavailable(_))
}

impl Drop for Etcd {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        let closed = StoreError::Unavailable("the store is closed".to_owned());
        self.shared.hub.close(closed);
    }
}

#[async_trait]
impl History for Shared {
    async fn replay(
        &self,
        prefix: &str,
        after: Revision,
    ) -> Result<(Vec<Batch>, Revision), StoreError> {
        let newest = self.hub.newest();
        feed::replay(&self.servers, prefix, after, newest).await
    }
}

/// The revision of an answer.
fn revision_of(header: Option<&ResponseHeader>) -> Result<Revision, StoreError> {
    let revision = header.map(|header| header.revision().unsigned_abs());
    revision.ok_or_else(|| StoreError::Failed("etcd answers without a revision".to_owned()))
}

/// What a failure that is no part of the answer means.
async fn failed(servers: &Servers, failure: Failure) -> StoreError {
    let error = match failure {
        Failure::Store(error) => return error,
        Failure::Etcd(error) => error,
    };
    let why = words(&error);
    match Kind::of(&error) {
        Kind::Away | Kind::OutOfRange => StoreError::Unavailable(why),
        Kind::NotFound | Kind::Refused => StoreError::Failed(why),
        Kind::Exhausted => {
            // The same code says "no room" and "too many requests"; an alarm is only raised for the first.
            let alarms = servers.read(|mut link: Link| async move {
                let ask = (AlarmAction::Get, AlarmType::None);
                link.maintenance.alarm(ask.0, ask.1, None).await
            });
            match alarms.await {
                Ok(answer) if !answer.alarms().is_empty() => StoreError::Full(why),
                Ok(_) | Err(_) => StoreError::Unavailable(why),
            }
        }
    }
}

impl Etcd {
    fn servers(&self) -> &Servers {
        &self.shared.servers
    }

    async fn failed(&self, failure: Failure) -> StoreError {
        failed(self.servers(), failure).await
    }

    /// Some of the keys of a range, its revision, and how many there are in all.
    async fn chunk(
        &self,
        first: Vec<u8>,
        range: &Range,
        at: Option<Revision>,
        limit: usize,
    ) -> Result<(Vec<Entry>, Revision, u64), StoreError> {
        let options = GetOptions::new()
            .with_range(end(&range.prefix))
            .with_limit(i64::try_from(limit).unwrap_or(i64::MAX))
            .with_revision(at.map_or(0, number));
        let ask = |mut link: Link| {
            let (first, options) = (first.clone(), options.clone());
            async move { link.kv.get(first, Some(options)).await }
        };
        match self.servers().read(ask).await {
            Ok(answer) => {
                let revision = revision_of(answer.header())?;
                let count = answer.count().unsigned_abs();
                let found = answer.kvs().iter().filter_map(entry).collect();
                Ok((found, at.unwrap_or(revision), count))
            }
            Err(Failure::Etcd(error)) if Kind::of(&error) == Kind::OutOfRange => {
                Err(feed::outside(self.servers(), at.unwrap_or(0)).await)
            }
            Err(failure) => Err(self.failed(failure).await),
        }
    }
}

#[async_trait]
impl Store for Etcd {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let ask = |mut link: Link| async move { link.kv.get(key, None).await };
        match self.servers().read(ask).await {
            Ok(answer) => Ok(answer.kvs().first().and_then(entry)),
            Err(failure) => Err(self.failed(failure).await),
        }
    }

    async fn list(&self, range: &Range) -> Result<Listing, StoreError> {
        if range.at == Some(0) {
            feed::reachable(self.servers(), 0).await?;
        }
        let mut first = match &range.after {
            Some(after) if **after >= *range.prefix => [after.as_bytes(), &[0]].concat(),
            _ => range.prefix.as_bytes().to_vec(),
        };
        if first.is_empty() {
            first.push(0);
        }
        let mut listing = Listing::default();
        let mut at = range.at;
        loop {
            let wanted = match range.limit {
                0 => CHUNK,
                limit => CHUNK.min(limit - listing.entries.len()),
            };
            let ended = end(&range.prefix);
            if ended != [0] && first >= ended {
                // etcd takes an end before the beginning for a mistake.
                listing.revision = match at {
                    Some(at) => {
                        feed::reachable(self.servers(), at).await?;
                        at
                    }
                    None => self.revision().await?,
                };
                return Ok(listing);
            }
            let (found, revision, count) = self.chunk(first, range, at, wanted).await?;
            let seen = found.len();
            (at, listing.revision) = (Some(revision), revision);
            listing.entries.extend(found);
            listing.remaining = count.saturating_sub(seen as u64);
            let full = range.limit != 0 && listing.entries.len() >= range.limit;
            match listing.entries.last() {
                Some(last) if seen > 0 && listing.remaining > 0 && !full => {
                    first = [last.key.as_bytes(), &[0]].concat();
                }
                _ => return Ok(listing),
            }
        }
    }

    async fn commit(&self, ops: Vec<Op>) -> Result<Committed, StoreError> {
        if ops.is_empty() {
            let revision = self.revision().await?;
            let previous = Vec::new();
            return Ok(Committed { revision, previous });
        }
        let ask = |mut link: Link| {
            let transaction = transaction(&ops);
            async move { link.kv.txn(transaction).await }
        };
        let answer = match self.servers().write(ask).await {
            Ok(answer) => answer,
            Err(Failure::Etcd(error)) if Kind::of(&error) == Kind::NotFound => {
                let lease = ops.iter().find_map(|op| match op.change {
                    super::Change::Put(_, lease) => lease,
                    super::Change::Check | super::Change::Delete => None,
                });
                return Err(
                    lease.map_or_else(|| StoreError::Failed(words(&error)), StoreError::NoLease)
                );
            }
            Err(failure) => return Err(self.failed(failure).await),
        };
        let found: Vec<Option<Entry>> = answer.op_responses().iter().map(previous).collect();
        if answer.succeeded() {
            return Ok(Committed {
                revision: revision_of(answer.header())?,
                previous: found,
            });
        }
        match broken(&ops, &found) {
            Some((op, current)) => Err(StoreError::Conflict {
                key: op.key.clone(),
                current,
            }),
            None => Err(StoreError::Failed(
                "etcd refused a transaction whose guards hold".to_owned(),
            )),
        }
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        let newest = self.shared.hub.newest();
        // What we know ourselves need not be asked for.
        if after != newest {
            feed::reachable(self.servers(), after).await?;
        }
        Ok(self.shared.hub.watch(prefix, after, self.shared.clone()))
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        feed::newest(self.servers()).await
    }

    async fn compact(&self, before: Revision) -> Result<(), StoreError> {
        match self
            .servers()
            .write(|link| feed::give_up(link, before))
            .await
        {
            Ok(()) => Ok(()),
            Err(Failure::Etcd(error)) if Kind::of(&error) == Kind::OutOfRange => {
                let newest = feed::newest(self.servers()).await?;
                match before > newest {
                    true => Err(StoreError::Future {
                        asked: before,
                        newest,
                    }),
                    // It is gone already.
                    false => Ok(()),
                }
            }
            Err(failure) => Err(self.failed(failure).await),
        }
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        let seconds = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
        let seconds = number(seconds.max(1));
        let ask = |mut link: Link| async move { link.lease.grant(seconds, None).await };
        match self.servers().write(ask).await {
            Ok(answer) => Ok(LeaseId(answer.id())),
            Err(failure) => Err(self.failed(failure).await),
        }
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        let ask = |mut link: Link| async move {
            match link.lease.keep_alive(lease.0).await {
                Ok(_) => Ok(true),
                // The library has one error for a lease that is gone and for a stream that is.
                Err(etcd_client::Error::LeaseKeepAliveError(_)) => {
                    let left = link.lease.time_to_live(lease.0, None).await?;
                    match left.ttl() > 0 {
                        true => Err(etcd_client::Error::Internal(
                            "the lease was not put off".to_owned(),
                        )),
                        false => Ok(false),
                    }
                }
                Err(error) => Err(error),
            }
        };
        match self.servers().read(ask).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(StoreError::NoLease(lease)),
            Err(Failure::Etcd(error)) if Kind::of(&error) == Kind::NotFound => {
                Err(StoreError::NoLease(lease))
            }
            Err(failure) => Err(self.failed(failure).await),
        }
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        let ask = |mut link: Link| async move { link.lease.revoke(lease.0).await.map(|_| ()) };
        match self.servers().write(ask).await {
            Ok(()) => Ok(()),
            Err(Failure::Etcd(error)) if Kind::of(&error) == Kind::NotFound => {
                Err(StoreError::NoLease(lease))
            }
            Err(failure) => Err(self.failed(failure).await),
        }
    }
}
