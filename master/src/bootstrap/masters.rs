//! Which masters share a store. Each keeps a key that ends soon after it does: `/registry/masterleases/<address>:<port>`.
//!
//! A store that is one file has one master, which need not tell.
use crate::error::ApiError;
use crate::store::{Change, Guard, LeaseId, Op, Range, Store, StoreError};
use bytes::Bytes;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Below it are the keys.
pub(super) const PREFIX: &str = "/registry/masterleases/";
/// A master that was not heard of for so long is gone.
const LASTS: Duration = Duration::from_secs(15);
/// How often each says that it is there.
const RENEW: Duration = Duration::from_secs(5);

/// Where the masters are that are there now.
pub(super) async fn list(store: &Arc<dyn Store>) -> Result<BTreeSet<SocketAddr>, ApiError> {
    let range = Range {
        prefix: PREFIX.to_owned(),
        ..Range::default()
    };
    let found = store.list(&range).await?.entries;
    let address = |key: &str| key.strip_prefix(PREFIX)?.parse().ok();
    Ok(found
        .iter()
        .filter_map(|entry| address(&entry.key))
        .collect())
}

/// This master among them.
pub(super) struct Presence {
    store: Arc<dyn Store>,
    key: Arc<str>,
    lease: Option<LeaseId>,
}

impl Presence {
    pub(super) fn new(store: Arc<dyn Store>, at: SocketAddr) -> Self {
        Presence {
            store,
            key: format!("{PREFIX}{at}").into(),
            lease: None,
        }
    }

    /// Says again and again that it is there.
    pub(super) async fn keep(&mut self) {
        loop {
            if let Err(err) = self.say().await {
                tracing::warn!(%err, "cannot tell the other masters that this one is there; will try again");
            }
            tokio::time::sleep(RENEW).await;
        }
    }

    async fn say(&mut self) -> Result<(), StoreError> {
        if let Some(lease) = self.lease {
            match self.store.keep_alive(lease).await {
                Err(StoreError::NoLease(_)) => self.lease = None,
                outcome => return outcome,
            }
        }
        let lease = self.store.grant(LASTS).await?;
        let put = Op {
            key: self.key.clone(),
            guard: Guard::Any,
            change: Change::Put(Bytes::from_static(b"{}"), Some(lease)),
        };
        self.store.commit(vec![put]).await?;
        self.lease = Some(lease);
        Ok(())
    }

    /// It ends in order, and the others need not wait for its silence.
    pub(super) async fn leave(self) {
        let Some(lease) = self.lease else {
            return;
        };
        if let Err(err) = self.store.revoke(lease).await {
            tracing::debug!(%err, "the other masters will miss this one in time");
        }
    }
}
