//! Watches: what is there, then what changes, to one reader that may be slow.
//!
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes>
//!
//! A watcher holds no queue: it remembers where it is in the changes that the cache remembers. If those are forgotten
//! before it has read them, its stream ends, and the client goes on from its last resourceVersion: from the cache, else
//! from the store's own history.
mod body;
mod options;
mod past;
#[cfg(test)]
mod tests;

use crate::cache::{Caches, Change, Cursor, Kind, Object, TooSlow};
use crate::call::Call;
use crate::error::ApiError;
use crate::list;
use crate::render::Form;
use crate::resource::Resource;
use crate::select::Selection;
use crate::store::Revision;
use options::{Options, Start};
use past::Past;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::WaitForCancellationFutureOwned;

/// How many changes are taken at once.
const TAKE: usize = 64;
/// How often a watcher is told how far it is.
const BOOKMARKS: Duration = Duration::from_secs(60);

/// What a watcher is told.
#[derive(Clone, Debug)]
pub enum Step {
    /// An object is new, has changed, or is gone.
    Event {
        /// Which of it.
        kind: Kind,
        /// It; as it was, if it is gone, under the revision that took it away.
        object: Arc<Object>,
        /// The change that brought it, if one did.
        change: Option<Arc<Change>>,
    },
    /// All changes up to this revision have been told.
    Bookmark {
        /// The revision.
        revision: Revision,
        /// All that was there at the start has been told.
        initial: bool,
    },
    /// An error, and then the end.
    Gone(ApiError),
    /// The end, in order: watch again from the last revision.
    End,
}

/// The body of the answer to a watch: a line for each event.
///
/// # Errors
/// 400 or 422 for bad options, 503 without the store. A state that is gone is told in the body.
pub async fn watch(
    caches: &Arc<Caches>,
    resource: &Arc<dyn Resource>,
    call: &Call,
    form: Form,
) -> Result<axum::body::Body, ApiError> {
    let watcher = Watcher::start(caches, resource, call).await?;
    Ok(body::of(watcher, form))
}

/// A watch, for callers in this process.
#[derive(Debug)]
pub struct Watcher {
    caches: Arc<Caches>,
    selection: Selection,
    bookmarks: bool,
    /// What was there at the start.
    initial: std::vec::IntoIter<Arc<Object>>,
    /// Whether the end of that is still to be told.
    initial_end: bool,
    /// What the cache has forgotten.
    past: Option<Past>,
    ready: VecDeque<Step>,
    cursor: Cursor,
    /// All changes up to it have been told.
    revision: Revision,
    deadline: Instant,
    timer: Pin<Box<Sleep>>,
    closing: Pin<Box<WaitForCancellationFutureOwned>>,
    over: bool,
    _watching: Arc<()>,
}

impl Watcher {
    /// Begins a watch as a request asks for it.
    ///
    /// # Errors
    /// See [`watch`].
    pub async fn start(
        caches: &Arc<Caches>,
        resource: &Arc<dyn Resource>,
        call: &Call,
    ) -> Result<Self, ApiError> {
        let cache = list::of(caches, resource)?;
        let selection = Selection::of(cache, resource, call)?;
        let options = Options::of(call)?;
        let known = match options.start {
            Start::State(None) | Start::Now => caches.fresh().await?,
            Start::State(Some(0)) | Start::After(_) => caches.revision(),
            Start::State(Some(revision)) => caches.reach(revision).await?,
        };
        let mut past = None;
        let mut initial = Vec::new();
        let (revision, cursor) = match options.start {
            Start::State(_) => {
                let (newest, objects, cursor) = cache.open(selection.range());
                initial = objects;
                (newest.max(known), cursor)
            }
            Start::Now => {
                let (newest, _, cursor) = cache.open("\0");
                (newest.max(known), cursor)
            }
            Start::After(revision) => match cache.after(revision) {
                Ok(cursor) => (revision, cursor),
                Err((floor, cursor)) => {
                    past = Some(Past::open(caches, cache, revision, floor));
                    (revision, cursor)
                }
            },
        };
        initial.retain(|object| selection.matches(object));
        let deadline = Instant::now() + options.timeout;
        let timer = deadline.min(Instant::now() + BOOKMARKS);
        Ok(Watcher {
            caches: caches.clone(),
            selection,
            bookmarks: options.bookmarks,
            initial: initial.into_iter(),
            initial_end: options.initial_end && options.bookmarks,
            past,
            ready: VecDeque::new(),
            cursor,
            revision,
            deadline,
            timer: Box::pin(tokio::time::sleep_until(timer)),
            closing: Box::pin(caches.closing().clone().cancelled_owned()),
            over: false,
            _watching: caches.watching(),
        })
    }

    /// The next that there is to tell. After `Gone` and `End` there is only `End`.
    pub async fn next(&mut self) -> Step {
        loop {
            if let Some(object) = self.initial.next() {
                return Step::Event {
                    kind: Kind::Added,
                    object,
                    change: None,
                };
            }
            if std::mem::take(&mut self.initial_end) {
                return self.mark(true);
            }
            if let Some(step) = self.ready.pop_front() {
                return step;
            }
            if self.over {
                return Step::End;
            }
            if self.past.is_some() {
                self.go_on_in_the_past().await;
            } else if let Some(step) = self.present().await {
                return step;
            }
        }
    }

    fn mark(&self, initial: bool) -> Step {
        Step::Bookmark {
            revision: self.revision,
            initial,
        }
    }

    /// Takes what the cache has, or waits for it.
    async fn present(&mut self) -> Option<Step> {
        // What is known to be applied now is in what is taken below.
        let known = self.caches.revision();
        match self.cursor.take(TAKE) {
            Err(TooSlow) => {
                self.over = true;
                return None;
            }
            Ok(changes) if changes.is_empty() => self.revision = self.revision.max(known),
            Ok(changes) => {
                for change in changes {
                    self.tell(change);
                }
                return None;
            }
        }
        tokio::select! {
            biased;
            () = self.closing.as_mut() => self.over = true,
            () = self.timer.as_mut() => {
                self.over = Instant::now() >= self.deadline;
                let next = self.deadline.min(Instant::now() + BOOKMARKS);
                self.timer.as_mut().reset(next);
            }
            // Cancel-safe: nothing is taken.
            () = self.cursor.wait() => return None,
        }
        self.bookmarks.then(|| self.mark(false))
    }

    fn tell(&mut self, change: Arc<Change>) {
        if change.object.revision <= self.revision {
            // Asked for from a revision that was still to come, or told before.
            return;
        }
        let step = step(&self.selection, change);
        self.ready.extend(step);
    }

    async fn go_on_in_the_past(&mut self) {
        let Some(past) = &mut self.past else { return };
        match past.take().await {
            Ok(Some(changes)) => {
                for change in changes {
                    self.tell(Arc::new(change));
                }
            }
            Ok(None) => self.past = None,
            Err(err) => {
                self.over = true;
                self.ready.push_back(Step::Gone(err));
            }
        }
    }
}

/// What a change is to a selection.
fn step(selection: &Selection, change: Arc<Change>) -> Option<Step> {
    let deleted = change.object.kind() == Kind::Deleted;
    let now = selection.matches(&change.object);
    let before = match &change.previous {
        Some(previous) => selection.matches(previous),
        None => deleted && now,
    };
    let (kind, object) = match (before, now && !deleted) {
        (false, false) => return None,
        (false, true) => (Kind::Added, change.object.clone()),
        (true, true) => (Kind::Modified, change.object.clone()),
        (true, false) if deleted => (Kind::Deleted, change.object.clone()),
        (true, false) => {
            let object = change.left()?;
            return Some(Step::Event {
                kind: Kind::Deleted,
                object,
                change: None,
            });
        }
    };
    Some(Step::Event {
        kind,
        object,
        change: Some(change),
    })
}
