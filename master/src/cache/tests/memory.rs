//! A store in memory whose faults tests decide.
use crate::store::{
    Batch, Change, Committed, Entry, Event, Guard, LeaseId, Listing, Op, Range, Revision, Store,
    StoreError, Watch,
};
use async_trait::async_trait;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;

#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    revision: Revision,
    objects: BTreeMap<Arc<str>, Entry>,
    history: Vec<Batch>,
    oldest: Revision,
    watchers: Vec<(String, mpsc::UnboundedSender<Result<Batch, StoreError>>)>,
    away: bool,
    /// Watchers are told nothing for now.
    held: bool,
}

impl Inner {
    fn check(&self) -> Result<(), StoreError> {
        if self.away {
            return Err(StoreError::Unavailable("it is away".to_owned()));
        }
        Ok(())
    }
}

fn under(prefix: &str, batch: &Batch) -> Batch {
    let events = batch.events.iter();
    let events = events.filter(|event| event.entry.key.starts_with(prefix));
    Batch {
        revision: batch.revision,
        events: events.cloned().collect(),
    }
}

impl Memory {
    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    /// Cannot be reached, and watches break off.
    pub(crate) fn away(&self, away: bool) {
        let mut inner = self.inner();
        inner.away = away;
        inner.watchers.clear();
    }

    /// Watchers hear nothing until this is called with `false`; then all at once.
    pub(crate) fn hold(&self, held: bool) {
        let mut inner = self.inner();
        inner.held = held;
        if held {
            return;
        }
        // Whoever hears what it has heard before does not mind.
        let Inner {
            history, watchers, ..
        } = &*inner;
        for (prefix, tell) in watchers {
            for batch in history {
                let _ = tell.send(Ok(under(prefix, batch)));
            }
        }
    }

    pub(crate) async fn put(&self, key: &str, value: &str) -> Revision {
        let value = Bytes::from(value.to_owned());
        self.one(key, Change::Put(value, None)).await
    }

    pub(crate) async fn delete(&self, key: &str) -> Revision {
        self.one(key, Change::Delete).await
    }

    async fn one(&self, key: &str, change: Change) -> Revision {
        let op = Op {
            key: key.into(),
            guard: Guard::Any,
            change,
        };
        self.commit(vec![op]).await.unwrap().revision
    }
}

#[async_trait]
impl Store for Memory {
    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let inner = self.inner();
        inner.check()?;
        Ok(inner.objects.get(key).cloned())
    }

    async fn list(&self, range: &Range) -> Result<Listing, StoreError> {
        let inner = self.inner();
        inner.check()?;
        let at = range.at.unwrap_or(inner.revision);
        if at < inner.oldest {
            return Err(StoreError::Compacted {
                asked: at,
                oldest: inner.oldest,
            });
        }
        let mut then = inner.objects.clone();
        for event in inner.history.iter().rev().flat_map(|batch| &batch.events) {
            if event.entry.modified > at {
                match &event.previous {
                    Some(previous) => then.insert(event.entry.key.clone(), previous.clone()),
                    None => then.remove(&event.entry.key),
                };
            }
        }
        let after = range.after.as_deref().unwrap_or("");
        let mut entries: Vec<Entry> = then.into_values().collect();
        entries.retain(|entry| entry.key.starts_with(&range.prefix) && &*entry.key > after);
        let keep = if range.limit == 0 {
            entries.len()
        } else {
            range.limit
        };
        let remaining = entries.len().saturating_sub(keep) as u64;
        entries.truncate(keep);
        Ok(Listing {
            entries,
            revision: at,
            remaining,
        })
    }

    async fn commit(&self, ops: Vec<Op>) -> Result<Committed, StoreError> {
        let mut inner = self.inner();
        inner.check()?;
        let revision = inner.revision.max(1) + 1;
        let mut events = Vec::new();
        let mut previous = Vec::new();
        for op in ops {
            let old = inner.objects.get(&op.key).cloned();
            previous.push(old.clone());
            let entry = match (&op.change, &old) {
                (Change::Put(value, lease), _) => Entry {
                    key: op.key.clone(),
                    value: value.clone(),
                    created: old.as_ref().map_or(revision, |old| old.created),
                    modified: revision,
                    lease: *lease,
                },
                (Change::Delete, Some(old)) => Entry {
                    modified: revision,
                    ..old.clone()
                },
                _ => continue,
            };
            let deleted = op.change == Change::Delete;
            if deleted {
                inner.objects.remove(&op.key);
            } else {
                inner.objects.insert(op.key.clone(), entry.clone());
            }
            events.push(Event {
                entry,
                previous: old,
                deleted,
            });
        }
        inner.revision = revision;
        let batch = Batch { revision, events };
        inner.history.push(batch.clone());
        if !inner.held {
            for (prefix, tell) in &inner.watchers {
                let _ = tell.send(Ok(under(prefix, &batch)));
            }
        }
        Ok(Committed { revision, previous })
    }

    async fn watch(&self, prefix: &str, after: Revision) -> Result<Watch, StoreError> {
        let mut inner = self.inner();
        inner.check()?;
        if after < inner.oldest {
            return Err(StoreError::Compacted {
                asked: after,
                oldest: inner.oldest,
            });
        }
        let (tell, mut told) = mpsc::unbounded_channel();
        for batch in inner.history.iter().filter(|batch| batch.revision > after) {
            let _ = tell.send(Ok(under(prefix, batch)));
        }
        inner.watchers.push((prefix.to_owned(), tell));
        let (send, watch) = mpsc::channel(16);
        tokio::spawn(async move {
            while let Some(batch) = told.recv().await {
                if send.send(batch).await.is_err() {
                    return;
                }
            }
        });
        Ok(Watch(watch))
    }

    async fn revision(&self) -> Result<Revision, StoreError> {
        let inner = self.inner();
        inner.check()?;
        Ok(inner.revision)
    }

    async fn compact(&self, before: Revision) -> Result<(), StoreError> {
        let mut inner = self.inner();
        inner.oldest = before;
        inner.history.retain(|batch| batch.revision > before);
        Ok(())
    }

    async fn grant(&self, _: Duration) -> Result<LeaseId, StoreError> {
        Ok(LeaseId(1))
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<(), StoreError> {
        Err(StoreError::NoLease(lease))
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        Err(StoreError::NoLease(lease))
    }
}
