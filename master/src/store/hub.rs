//! Who wants to hear of changes, and the last of them in memory.
//!
//! ```text
//! writer --publish--> ring of the last batches --wake--> a task a watch --bounded queue--> its reader
//!                                                          '--- who is behind the ring reads the store's history
//! ```
//! A writer never waits for a watch. A watch that nobody reads stands still and costs nothing; when it goes on it finds its
//! place in the ring or in the history, and only where that is compacted is it told so and ends.
use super::{Batch, Event, Revision, StoreError, Watch};
use async_trait::async_trait;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{mpsc, watch};

/// How many bytes of keys and values the ring holds.
const RING_BYTES: usize = 8 << 20;
/// How many batches a watch may be ahead of its reader.
const QUEUE: usize = 64;
/// How many batches are taken out of the ring at a time.
const STEP: usize = 64;

/// Changes that are no longer in memory.
#[async_trait]
pub(super) trait History: Send + Sync + 'static {
    /// Those under a prefix after a revision, and up to which one they are all there.
    async fn replay(
        &self,
        prefix: &str,
        after: Revision,
    ) -> Result<(Vec<Batch>, Revision), StoreError>;
}

/// The ring and its readers.
#[derive(Debug)]
pub(super) struct Hub {
    ring: Mutex<Ring>,
    news: watch::Sender<Revision>,
}

#[derive(Debug)]
struct Ring {
    batches: VecDeque<Batch>,
    bytes: usize,
    /// Every change after this one, up to `newest`, is in the ring.
    start: Revision,
    newest: Revision,
    closed: Option<StoreError>,
}

/// What the ring has for a reader.
enum Found {
    /// What it asks for is no longer here.
    Gone,
    /// Changes, and up to which revision they are all told.
    Batches(Vec<Batch>, Revision),
    /// It ends here.
    Closed(StoreError),
}

impl Hub {
    /// At a revision; what comes after it will be published.
    pub(super) fn new(at: Revision) -> Hub {
        Hub {
            ring: Mutex::new(Ring {
                batches: VecDeque::new(),
                bytes: 0,
                start: at,
                newest: at,
                closed: None,
            }),
            news: watch::Sender::new(at),
        }
    }

    /// The last revision that was published.
    pub(super) fn newest(&self) -> Revision {
        self.ring().newest
    }

    /// Tells of changes, in order; after it all up to `newest` are told.
    pub(super) fn publish(&self, batches: Vec<Batch>, newest: Revision) {
        {
            let mut ring = self.ring();
            if newest <= ring.newest {
                return;
            }
            for batch in batches {
                if batch.revision > ring.newest {
                    ring.bytes += weight(&batch);
                    ring.batches.push_back(batch);
                }
            }
            ring.newest = newest;
            while ring.bytes > RING_BYTES
                && let Some(batch) = ring.batches.pop_front()
            {
                ring.bytes -= weight(&batch);
                ring.start = batch.revision;
            }
        }
        self.news.send_replace(newest);
    }

    /// Changes were missed: nothing before `at` can be had from here.
    pub(super) fn restart(&self, at: Revision) {
        {
            let mut ring = self.ring();
            ring.batches.clear();
            ring.bytes = 0;
            ring.start = at;
            ring.newest = ring.newest.max(at);
        }
        self.news.send_replace(at);
    }

    /// Ends every watch, and those to come.
    pub(super) fn close(&self, why: StoreError) {
        self.ring().closed = Some(why);
        self.news.send_modify(|_| {});
    }

    /// A watch of a prefix after a revision.
    pub(super) fn watch(
        self: &Arc<Self>,
        prefix: &str,
        after: Revision,
        history: Arc<dyn History>,
    ) -> Watch {
        let (tx, rx) = mpsc::channel(QUEUE);
        let hub = self.clone();
        let prefix = prefix.to_owned();
        tokio::spawn(async move {
            let told = tx.clone();
            // The reader went away: the pump stops where it is.
            tokio::select! {
                () = told.closed() => {}
                end = hub.pump(&prefix, after, &tx, &*history) => {
                    if let Err(error) = end {
                        let _ = tx.send(Err(error)).await;
                    }
                }
            }
        });
        Watch(rx)
    }

    async fn pump(
        &self,
        prefix: &str,
        mut at: Revision,
        to: &mpsc::Sender<Result<Batch, StoreError>>,
        history: &dyn History,
    ) -> Result<(), StoreError> {
        let mut news = self.news.subscribe();
        loop {
            news.borrow_and_update();
            let (batches, upto) = match self.after(prefix, at) {
                Found::Closed(why) => return Err(why),
                Found::Gone => history.replay(prefix, at).await?,
                Found::Batches(batches, upto) => (batches, upto),
            };
            if upto <= at {
                if news.changed().await.is_err() {
                    return Ok(());
                }
                continue;
            }
            let told = batches.last().map_or(at, |batch| batch.revision);
            for batch in batches {
                if to.send(Ok(batch)).await.is_err() {
                    return Ok(());
                }
            }
            at = upto;
            if told < upto {
                let progress = Batch {
                    revision: upto,
                    events: Vec::new(),
                };
                if to.send(Ok(progress)).await.is_err() {
                    return Ok(());
                }
            }
        }
    }

    fn after(&self, prefix: &str, at: Revision) -> Found {
        let ring = self.ring();
        if let Some(why) = &ring.closed {
            return Found::Closed(why.clone());
        }
        if at < ring.start {
            return Found::Gone;
        }
        let first = ring.batches.partition_point(|batch| batch.revision <= at);
        let mut found = Vec::new();
        for batch in ring.batches.range(first..) {
            let mine = |event: &&Event| event.entry.key.starts_with(prefix);
            let events: Vec<Event> = batch.events.iter().filter(mine).cloned().collect();
            if !events.is_empty() {
                let revision = batch.revision;
                found.push(Batch { revision, events });
                if found.len() == STEP {
                    return Found::Batches(found, revision);
                }
            }
        }
        Found::Batches(found, ring.newest)
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// About how much memory a batch holds.
fn weight(batch: &Batch) -> usize {
    let of = |event: &Event| {
        let previous = event.previous.as_ref().map_or(0, |entry| entry.value.len());
        event.entry.key.len() + event.entry.value.len() + previous + 256
    };
    batch.events.iter().map(of).sum()
}
