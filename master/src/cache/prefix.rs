//! All objects of one prefix of the store as they are now, and their latest changes.
use super::object::{Kind, Object};
use crate::render::Frames;
use crate::resource::Resource;
use crate::store::Revision;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::sync::watch;

/// How much memory the latest changes of a prefix may take. Whoever is further behind reads from the store's history.
const HISTORY_BYTES: usize = 16 << 20;
/// How many changes are kept however large they are.
const HISTORY_LEAST: usize = 64;
/// How many changes are kept at most.
const HISTORY_MOST: usize = 20_000;

/// A change.
#[derive(Debug)]
pub struct Change {
    /// The object as it is now; as it was, if it is gone, under the revision of the deletion.
    pub object: Arc<Object>,
    /// It before.
    pub previous: Option<Arc<Object>>,
    /// What watchers of other forms than plain JSON are told, each encoded once.
    pub(crate) frames: Frames,
    /// For those whose selectors it does not match any more.
    left: OnceLock<Option<Arc<Object>>>,
}

impl Change {
    pub(crate) fn new(object: Arc<Object>, previous: Option<Arc<Object>>) -> Self {
        Change {
            object,
            previous,
            frames: Frames::default(),
            left: OnceLock::new(),
        }
    }

    /// The object as it was, under the revision that changed it: what is told to those to whom it is gone.
    pub(crate) fn left(&self) -> Option<Arc<Object>> {
        let make = || {
            let previous = self.previous.as_ref()?;
            Some(Arc::new(previous.left_at(self.object.revision)))
        };
        self.left.get_or_init(make).clone()
    }
}

/// Objects in the order of their keys.
pub(crate) type Objects = Vec<Arc<Object>>;

/// The objects of one prefix.
#[derive(Debug)]
pub struct Cache {
    prefix: &'static str,
    resources: Vec<Arc<dyn Resource>>,
    state: RwLock<State>,
    /// The number of the change after the newest one.
    told: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    objects: BTreeMap<Arc<str>, Arc<Object>>,
    history: VecDeque<Arc<Change>>,
    /// The number of the first change in `history`.
    first: u64,
    bytes: usize,
    /// All changes after this revision are in `history`.
    floor: Revision,
    /// The revision of the newest change.
    newest: Revision,
}

impl State {
    fn remember(&mut self, change: Change) {
        self.bytes += change.object.weight();
        self.history.push_back(Arc::new(change));
        while self.history.len() > HISTORY_LEAST
            && (self.bytes > HISTORY_BYTES || self.history.len() > HISTORY_MOST)
        {
            if let Some(gone) = self.history.pop_front() {
                self.bytes = self.bytes.saturating_sub(gone.object.weight());
                self.floor = gone.object.revision;
                self.first += 1;
            }
        }
    }

    fn end(&self) -> u64 {
        self.first + self.history.len() as u64
    }

    fn index(&self, after: Revision) -> usize {
        self.history
            .partition_point(|change| change.object.revision <= after)
    }

    fn under(&self, range: &str) -> Objects {
        let from = (Bound::Included(range), Bound::Unbounded);
        let all = self.objects.range::<str, _>(from);
        all.take_while(|(key, _)| key.starts_with(range))
            .map(|(_, object)| object.clone())
            .collect()
    }
}

impl Cache {
    pub(super) fn new(prefix: &'static str, resources: Vec<Arc<dyn Resource>>) -> Self {
        Cache {
            prefix,
            resources,
            state: RwLock::default(),
            told: watch::Sender::new(0),
        }
    }

    /// The prefix of its keys, without a slash at the end.
    #[must_use]
    pub fn prefix(&self) -> &'static str {
        self.prefix
    }

    /// Which resources show these objects.
    #[must_use]
    pub fn resources(&self) -> &[Arc<dyn Resource>] {
        &self.resources
    }

    /// The object at a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Arc<Object>> {
        self.read().objects.get(key).cloned()
    }

    /// How many objects there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.read().objects.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.read().objects.is_empty()
    }

    /// The objects whose keys begin so, in order, and the revision of the newest change of all.
    #[must_use]
    pub fn under(&self, range: &str) -> (Revision, Vec<Arc<Object>>) {
        let state = self.read();
        (state.newest, state.under(range))
    }

    /// The same at an older revision; none if not all changes after it are remembered.
    pub(crate) fn under_at(&self, range: &str, at: Revision) -> Option<Objects> {
        let state = self.read();
        if at < state.floor {
            return None;
        }
        let later = state.history.range(state.index(at)..);
        let mut later = later
            .filter(|change| change.object.key.starts_with(range))
            .rev()
            .peekable();
        let now = state.under(range);
        if later.peek().is_none() {
            return Some(now);
        }
        let mut then: BTreeMap<Arc<str>, Arc<Object>> =
            now.into_iter().map(|it| (it.key.clone(), it)).collect();
        for change in later {
            match &change.previous {
                Some(previous) => then.insert(previous.key.clone(), previous.clone()),
                None => then.remove(&change.object.key),
            };
        }
        Some(then.into_values().collect())
    }

    /// The objects now, and from where to go on reading changes.
    pub(crate) fn open(self: &Arc<Self>, range: &str) -> (Revision, Objects, Cursor) {
        let state = self.read();
        let cursor = self.cursor(state.end());
        (state.newest, state.under(range), cursor)
    }

    /// The changes after a revision; none if not all of them are remembered (what is, is then in `Err`, with the floor).
    pub(crate) fn after(self: &Arc<Self>, after: Revision) -> Result<Cursor, (Revision, Cursor)> {
        let state = self.read();
        let cursor = self.cursor(state.first + state.index(after) as u64);
        if after < state.floor {
            Err((state.floor, cursor))
        } else {
            Ok(cursor)
        }
    }

    fn cursor(self: &Arc<Self>, next: u64) -> Cursor {
        Cursor {
            news: self.told.subscribe(),
            cache: self.clone(),
            next,
        }
    }

    /// All there is, as a listing of the store has it. What was remembered is forgotten: nobody can tell what happened
    /// in between.
    pub(super) fn replace(&self, objects: Objects, revision: Revision) {
        let mut state = self.write();
        // Whoever was waiting for the next change finds it missing.
        state.first = state.end() + 1;
        state.history.clear();
        state.bytes = 0;
        state.floor = revision;
        state.newest = revision;
        state.objects = objects.into_iter().map(|it| (it.key.clone(), it)).collect();
        let end = state.end();
        drop(state);
        self.told.send_replace(end);
    }

    /// Changes of whole revisions, in order.
    pub(super) fn apply(&self, changes: Objects) {
        let mut state = self.write();
        for object in changes {
            let gone = object.kind() == Kind::Deleted;
            let previous = if gone {
                state.objects.remove(&object.key)
            } else {
                state.objects.insert(object.key.clone(), object.clone())
            };
            state.newest = object.revision;
            state.remember(Change::new(object, previous));
        }
        let end = state.end();
        drop(state);
        self.told.send_replace(end);
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a reader of changes is. It holds nothing: a slow reader costs no memory, and is told that it was too slow.
#[derive(Debug)]
pub(crate) struct Cursor {
    cache: Arc<Cache>,
    next: u64,
    news: watch::Receiver<u64>,
}

/// The changes were forgotten before they were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooSlow;

impl Cursor {
    /// The next changes, at most so many; none if there are none yet.
    pub(crate) fn take(&mut self, most: usize) -> Result<Vec<Arc<Change>>, TooSlow> {
        self.news.mark_unchanged();
        let state = self.cache.read();
        let skip = self.next.checked_sub(state.first).ok_or(TooSlow)?;
        let skip = usize::try_from(skip).map_err(|_| TooSlow)?;
        let from = skip.min(state.history.len());
        let found: Vec<_> = state.history.range(from..).take(most).cloned().collect();
        self.next += found.len() as u64;
        Ok(found)
    }

    /// Until there is something to take. Cancel-safe.
    pub(crate) async fn wait(&mut self) {
        if self.news.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}
