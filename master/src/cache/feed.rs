//! Follows the store, and tells each cache what has changed in its prefix.
use super::object::{Kind, Object};
use super::{Cache, ROOT};
use crate::store::{Batch, Event, Range, Revision, Store, StoreError};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How many keys are read at once.
const PAGE: usize = 10_000;
/// How many revisions are taken over at once.
const BATCHES: usize = 256;
/// How long to wait before trying again: doubled each time, up to the second.
const PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

/// How far the caches are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Applied {
    /// They know everything up to it.
    pub(crate) revision: Revision,
    /// Why they do not get any further.
    pub(crate) trouble: Option<String>,
}

#[derive(Debug)]
pub(crate) struct Feed {
    store: Arc<dyn Store>,
    by_prefix: Arc<BTreeMap<&'static str, Arc<Cache>>>,
    applied: watch::Sender<Applied>,
    revision: Revision,
}

impl Feed {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        by_prefix: Arc<BTreeMap<&'static str, Arc<Cache>>>,
        applied: watch::Sender<Applied>,
    ) -> Self {
        Feed {
            store,
            by_prefix,
            applied,
            revision: 0,
        }
    }

    /// Reads everything at one revision.
    pub(crate) async fn load(&mut self) -> Result<(), StoreError> {
        let mut at = None;
        let mut loaded = Vec::with_capacity(self.by_prefix.len());
        for (prefix, cache) in self.by_prefix.iter() {
            loaded.push((cache, self.read(prefix, &mut at).await?));
        }
        let revision = match at {
            Some(revision) => revision,
            None => self.store.revision().await?,
        };
        for (cache, objects) in loaded {
            cache.replace(objects, revision);
        }
        self.tell(revision);
        Ok(())
    }

    async fn read(
        &self,
        prefix: &str,
        at: &mut Option<Revision>,
    ) -> Result<Vec<Arc<Object>>, StoreError> {
        let mut objects = Vec::new();
        let mut after = None;
        loop {
            let range = Range {
                prefix: format!("{prefix}/"),
                after: after.take(),
                limit: PAGE,
                at: *at,
            };
            let page = self.store.list(&range).await?;
            *at = Some(page.revision);
            after = page.entries.last().map(|entry| entry.key.to_string());
            for entry in &page.entries {
                keep(&mut objects, Object::new(entry, Kind::Added));
            }
            if page.remaining == 0 || after.is_none() {
                objects.shrink_to_fit();
                return Ok(objects);
            }
        }
    }

    /// For ever.
    pub(crate) async fn run(mut self) {
        let mut pause = PAUSE.0;
        loop {
            let before = self.revision;
            let Err(err) = self.follow().await;
            let lost = matches!(
                err,
                StoreError::Compacted { .. } | StoreError::Future { .. }
            );
            if self.revision > before {
                pause = PAUSE.0;
            }
            if lost && self.load().await.is_ok() {
                tracing::warn!("the store's changes were lost, all was read again: {err}");
                continue;
            }
            self.worry(&err);
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    /// Until the watch ends.
    async fn follow(&mut self) -> Result<Infallible, StoreError> {
        let mut watch = self.store.watch(ROOT, self.revision).await?;
        if self.applied.borrow().trouble.is_some() {
            tracing::info!("the store is followed again");
            self.applied.send_modify(|now| now.trouble = None);
        }
        let mut batches = Vec::with_capacity(BATCHES);
        loop {
            if watch.0.recv_many(&mut batches, BATCHES).await == 0 {
                return Err(StoreError::Unavailable("its watch ended".to_owned()));
            }
            let mut failed = None;
            let good: Vec<Batch> = batches
                .drain(..)
                .map_while(|batch| batch.map_err(|err| failed = Some(err)).ok())
                .collect();
            self.apply(&good);
            if let Some(err) = failed {
                return Err(err);
            }
        }
    }

    fn apply(&mut self, batches: &[Batch]) {
        let Some(last) = batches.last() else { return };
        let revision = last.revision;
        let mut changes: BTreeMap<&'static str, Vec<Arc<Object>>> = BTreeMap::new();
        for event in batches.iter().flat_map(|batch| &batch.events) {
            // What the store told before its watch broke off.
            if event.entry.modified <= self.revision {
                continue;
            }
            if let Some(prefix) = self.prefix(event) {
                keep(changes.entry(prefix).or_default(), Object::of(event));
            }
        }
        for (prefix, objects) in changes {
            if let Some(cache) = self.by_prefix.get(prefix) {
                cache.apply(objects);
            }
        }
        self.tell(revision.max(self.revision));
    }

    /// Under which of the prefixes it is; no prefix is below another.
    fn prefix(&self, event: &Event) -> Option<&'static str> {
        let mut key: &str = &event.entry.key;
        while let Some((above, _)) = key.rsplit_once('/') {
            if let Some((prefix, _)) = self.by_prefix.get_key_value(above) {
                return Some(prefix);
            }
            key = above;
        }
        None
    }

    fn tell(&mut self, revision: Revision) {
        self.revision = revision;
        self.applied.send_modify(|now| now.revision = revision);
    }

    fn worry(&self, err: &StoreError) {
        self.applied.send_if_modified(|now| {
            let first = now.trouble.is_none();
            if first {
                tracing::warn!("the store is not followed, it is tried again: {err}");
            }
            now.trouble = Some(err.to_string());
            first
        });
    }
}

/// A damaged object is left out and told of: one of them must not hide all others.
fn keep(objects: &mut Vec<Arc<Object>>, read: Result<Object, crate::error::ApiError>) {
    match read {
        Ok(object) => objects.push(Arc::new(object)),
        Err(err) => tracing::error!("{err}; it is not shown until it is written again or deleted"),
    }
}
