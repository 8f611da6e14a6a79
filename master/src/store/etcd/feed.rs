//! What comes from etcd by itself: all changes, once a master; and its history, when a watch is behind.
//!
//! One watch of *all* keys feeds the hub. Every revision has a change of some key, so the hub always knows how far it has
//! come, and no progress has to be asked for (what servers before 3.4.25 tell about it can be ahead of the changes).
use super::convert::{batches, number};
use super::link::{Failure, Kind, Link, Servers, words};
use crate::store::hub::Hub;
use crate::store::{Batch, Revision, StoreError};
use etcd_client::{CompactionOptions, GetOptions, WatchOptions, WatchStream};
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

/// How long the past may take to be told.
const LIMIT: Duration = Duration::from_secs(30);
/// How long the question may take where the past begins.
const ASKED: Duration = Duration::from_secs(2);
/// How much of the past is told at once.
const BYTES: usize = 32 << 20;
/// The pauses between tries to watch.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How often old states are given up, as Kubernetes' own server does.
pub(super) const COMPACT: Duration = Duration::from_secs(300);

/// A watch of all keys after a revision.
async fn open(link: &Link, after: Revision) -> Result<WatchStream, StoreError> {
    let options = WatchOptions::new()
        .with_all_keys()
        .with_prev_key()
        .with_start_revision(number(after.saturating_add(1)));
    let mut client = link.watch.clone();
    client
        .watch(Vec::new(), Some(options))
        .await
        .map_err(|error| StoreError::Unavailable(words(&error)))
}

/// The next changes of a watch.
async fn next(stream: &mut WatchStream, after: Revision) -> Result<Vec<Batch>, StoreError> {
    match stream.message().await {
        Ok(Some(answer)) if answer.compact_revision() > 0 => Err(StoreError::Compacted {
            asked: after,
            oldest: answer.compact_revision().unsigned_abs(),
        }),
        Ok(Some(answer)) if answer.canceled() => {
            Err(StoreError::Unavailable("etcd ended a watch".to_owned()))
        }
        Ok(Some(answer)) => Ok(batches(&answer)),
        Ok(None) => Err(StoreError::Unavailable("etcd closed a watch".to_owned())),
        Err(error) => Err(StoreError::Unavailable(words(&error))),
    }
}

/// Feeds the hub as long as it is there.
pub(super) async fn run(servers: Arc<Servers>, hub: Weak<Hub>) {
    let mut pause = PAUSES.0;
    while let Some(at) = hub.upgrade().map(|hub| hub.newest()) {
        let Err(error) = feed(&servers, &hub, at).await else {
            return;
        };
        let Some(held) = hub.upgrade() else { return };
        if held.newest() > at {
            pause = PAUSES.0;
        }
        match error {
            StoreError::Compacted { oldest, .. } => {
                warn!(
                    revision = at,
                    oldest, "changes were missed: whoever watches begins anew"
                );
                held.restart(oldest);
            }
            error => {
                debug!(err = %error, "the watch of etcd ended");
            }
        }
        drop(held);
        sleep(pause).await;
        pause = (pause * 2).min(PAUSES.1);
    }
}

async fn feed(servers: &Servers, hub: &Weak<Hub>, mut at: Revision) -> Result<(), StoreError> {
    let link = servers.link().await?;
    let watching = async {
        let mut stream = open(&link, at).await?;
        loop {
            let found = next(&mut stream, at).await?;
            if let Some(last) = found.last() {
                at = last.revision;
                let Some(hub) = hub.upgrade() else {
                    return Ok(());
                };
                hub.publish(found, at);
            }
        }
    };
    let end = watching.await;
    if let Err(StoreError::Unavailable(_)) = &end {
        link.leave();
    }
    end
}

/// Changes under a prefix after a revision, and up to which one.
pub(super) async fn replay(
    servers: &Servers,
    prefix: &str,
    after: Revision,
    newest: Revision,
) -> Result<(Vec<Batch>, Revision), StoreError> {
    let told = timeout(LIMIT, past(servers, prefix, after, newest));
    told.await.unwrap_or_else(|_| {
        Err(StoreError::Unavailable(
            "etcd takes too long to tell the past".to_owned(),
        ))
    })
}

async fn past(
    servers: &Servers,
    prefix: &str,
    after: Revision,
    newest: Revision,
) -> Result<(Vec<Batch>, Revision), StoreError> {
    let link = servers.link().await?;
    let mut stream = open(&link, after).await?;
    let (mut found, mut at, mut bytes) = (Vec::new(), after, 0);
    while at < newest && bytes < BYTES {
        for mut batch in next(&mut stream, after).await? {
            at = batch.revision;
            batch
                .events
                .retain(|event| event.entry.key.starts_with(prefix));
            bytes += batch
                .events
                .iter()
                .map(|event| event.entry.value.len() + 64)
                .sum::<usize>();
            if !batch.events.is_empty() {
                found.push(batch);
            }
        }
    }
    // A deletion at the very revision of a compaction is forgotten with it: the state before must still be there.
    reachable(servers, after).await?;
    Ok((found, at))
}

/// Whether the state of a revision is there.
pub(super) async fn reachable(servers: &Servers, at: Revision) -> Result<(), StoreError> {
    let ask = |mut link: Link| async move {
        let options = GetOptions::new()
            .with_count_only()
            .with_revision(number(at.max(1)));
        link.kv.get("/", Some(options)).await
    };
    match servers.read(ask).await {
        Ok(_) if at == 0 => Err(StoreError::Compacted {
            asked: 0,
            oldest: 1,
        }),
        Ok(_) => Ok(()),
        Err(Failure::Etcd(error)) if Kind::of(&error) == Kind::OutOfRange => {
            Err(outside(servers, at).await)
        }
        Err(failure) => Err(super::failed(servers, failure).await),
    }
}

/// The newest revision that anybody was told of.
pub(super) async fn newest(servers: &Servers) -> Result<Revision, StoreError> {
    let ask = |mut link: Link| async move {
        let options = GetOptions::new().with_count_only();
        link.kv.get("/", Some(options)).await
    };
    match servers.read(ask).await {
        Ok(answer) => super::revision_of(answer.header()),
        Err(failure) => Err(super::failed(servers, failure).await),
    }
}

/// Why a revision is not to be had: etcd's code is the same for the past and for the future.
pub(super) async fn outside(servers: &Servers, asked: Revision) -> StoreError {
    let newest = match newest(servers).await {
        Ok(newest) => newest,
        Err(error) => return error,
    };
    if asked > newest {
        return StoreError::Future { asked, newest };
    }
    // Only a watch says where the past begins.
    let oldest = async {
        let link = servers.link().await?;
        let mut stream = open(&link, asked.saturating_sub(1)).await?;
        loop {
            next(&mut stream, asked).await?;
        }
    };
    match timeout(ASKED, oldest).await {
        Ok(Err(error)) => error,
        Ok(Ok(())) | Err(_) => StoreError::Compacted {
            asked,
            oldest: newest,
        },
    }
}

/// Gives up what is older than a round, round by round, while there is anything new.
pub(super) async fn compact(servers: Arc<Servers>, hub: Weak<Hub>, every: Duration) {
    let mut known = 0;
    loop {
        sleep(every).await;
        let Some(now) = hub.upgrade().map(|hub| hub.newest()) else {
            return;
        };
        if known != 0 && now > known {
            // Another master may have been here first; that is as good.
            let done = servers.write(|link| give_up(link, known)).await;
            debug!(
                revision = known,
                done = done.is_ok(),
                "old states of etcd were given up"
            );
        }
        known = now;
    }
}

/// Compacts etcd.
pub(super) async fn give_up(mut link: Link, before: Revision) -> Result<(), etcd_client::Error> {
    let options = CompactionOptions::new();
    link.kv
        .compact(number(before), Some(options))
        .await
        .map(|_| ())
}
