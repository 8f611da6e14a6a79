//! All objects in memory, as bytes that were encoded once: every list and every watch is answered from here.
//!
//! ```text
//!   store --one watch of /registry/--> Feed --by prefix--> Cache { objects, latest changes }
//!                                                             |  snapshot, cursor
//!                                              list, watch  <-'
//! ```
//! A reader that wants the newest state waits until what the store had acknowledged when it asked has come through the
//! feed. While the store is away, readers that take any state are still answered.
mod feed;
pub mod object;
mod prefix;
pub mod stamp;
#[cfg(test)]
pub(crate) mod tests;

pub use object::{Kind, Object};
pub use prefix::{Cache, Change};
pub(crate) use prefix::{Cursor, Objects, TooSlow};

use crate::error::ApiError;
use crate::resource::{Names, Resource};
use crate::store::{Revision, Store, StoreError};
use http::StatusCode;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// Below which all objects are.
pub(crate) const ROOT: &str = "/registry/";
/// How long a reader waits for a state that is not there yet (Kubernetes waits as long).
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);

/// The caches of all resources.
#[derive(Debug)]
pub struct Caches {
    store: Arc<dyn Store>,
    by_prefix: Arc<BTreeMap<&'static str, Arc<Cache>>>,
    applied: watch::Receiver<feed::Applied>,
    closing: CancellationToken,
    /// One for each watcher, and one.
    watchers: Arc<()>,
    _feed: AbortOnDropHandle<()>,
}

impl Caches {
    /// Reads all objects, and goes on to follow the store.
    ///
    /// # Errors
    /// The store's.
    pub async fn start(
        store: Arc<dyn Store>,
        resources: &[Arc<dyn Resource>],
    ) -> Result<Arc<Self>, StoreError> {
        let mut shown_by: BTreeMap<&'static str, Vec<Arc<dyn Resource>>> = BTreeMap::new();
        for resource in resources {
            let prefix = resource.names().prefix;
            // What is made up at every request (component statuses) is nowhere in the store.
            if prefix.starts_with(ROOT) {
                shown_by.entry(prefix).or_default().push(resource.clone());
            }
        }
        let cache = |(prefix, of)| (prefix, Arc::new(Cache::new(prefix, of)));
        let by_prefix: BTreeMap<_, _> = shown_by.into_iter().map(cache).collect();
        let by_prefix = Arc::new(by_prefix);
        let (tell, applied) = watch::channel(feed::Applied::default());
        let mut feed = feed::Feed::new(store.clone(), by_prefix.clone(), tell);
        feed.load().await?;
        Ok(Arc::new(Caches {
            store,
            by_prefix,
            applied,
            closing: CancellationToken::new(),
            watchers: Arc::new(()),
            _feed: AbortOnDropHandle::new(tokio::spawn(feed.run())),
        }))
    }

    /// The cache of a prefix ([`Names::prefix`]).
    #[must_use]
    pub fn of(&self, prefix: &str) -> Option<&Arc<Cache>> {
        self.by_prefix.get(prefix)
    }

    /// All caches.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Cache>> {
        self.by_prefix.values()
    }

    /// The store behind them.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Up to which revision they know everything.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.applied.borrow().revision
    }

    /// Why they do not follow the store, if they do not.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        self.applied.borrow().trouble.clone()
    }

    /// Waits until they know every write acknowledged before the call.
    ///
    /// # Errors
    /// The store's; 504 when it takes too long.
    pub async fn fresh(&self) -> Result<Revision, ApiError> {
        let newest = self.store.revision().await?;
        self.reach(newest).await
    }

    /// Waits until they know everything up to a revision.
    ///
    /// # Errors
    /// 504 `ResourceVersionTooLarge` when it takes too long.
    pub async fn reach(&self, revision: Revision) -> Result<Revision, ApiError> {
        let mut applied = self.applied.clone();
        let reached = applied.wait_for(|now| now.revision >= revision);
        match tokio::time::timeout(PATIENCE, reached).await {
            Ok(Ok(now)) => Ok(now.revision),
            _ => Err(too_large(revision, self.revision())),
        }
    }

    /// Ends all watches, in order, so that clients go elsewhere.
    pub fn close(&self) {
        self.closing.cancel();
    }

    /// How many watch.
    #[must_use]
    pub fn watchers(&self) -> usize {
        Arc::strong_count(&self.watchers) - 1
    }

    /// To be held by whoever watches.
    pub(crate) fn watching(&self) -> Arc<()> {
        self.watchers.clone()
    }

    /// Cancelled when watches shall end.
    pub(crate) fn closing(&self) -> &CancellationToken {
        &self.closing
    }
}

/// The error for a revision that is not there yet (k8s.io/apiserver, `NewTooLargeResourceVersionError`).
fn too_large(asked: Revision, newest: Revision) -> ApiError {
    let mut error = ApiError::new(
        StatusCode::GATEWAY_TIMEOUT,
        "Timeout",
        format!("Too large resource version: {asked}, current: {newest}"),
    );
    error.details = Some(json!({"causes": [
        {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    ]}));
    error.retry_after = Some(1);
    error
}

/// `v1`, or `apps/v1`.
#[must_use]
pub fn api_version(names: &Names) -> String {
    if names.group.is_empty() {
        names.version.to_owned()
    } else {
        format!("{}/{}", names.group, names.version)
    }
}

/// Whether objects are stored as this resource shows them.
#[must_use]
pub fn is_stored_form(names: &Names, stored: &Value) -> bool {
    let version = stored.get("apiVersion").and_then(Value::as_str);
    version.is_none_or(|version| match version.split_once('/') {
        None => names.group.is_empty() && names.version == version,
        Some((group, version)) => names.group == group && names.version == version,
    })
}
