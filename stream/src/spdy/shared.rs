//! What the two tasks of a session and its streams share: who may send how much, and what has come for whom.
//!
//! One lock, never held across an await; whoever waits has a [`Notify`] of his own.
use super::frame::Frame;
use super::session::{Limits, Role, SessionError};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

/// What a peer allows on a stream before it has said anything.
const DEFAULT_WINDOW: i64 = 64 * 1024;
/// Reasons for a reset, as SPDY numbers them.
pub(super) const PROTOCOL_ERROR: u32 = 1;
pub(super) const INVALID_STREAM: u32 = 2;
pub(super) const REFUSED_STREAM: u32 = 3;
pub(super) const CANCEL: u32 = 5;

/// The one that everything of a session holds.
#[derive(Debug)]
pub(super) struct Shared {
    state: Mutex<State>,
    /// Frames of streams, in order.
    pub(super) data: mpsc::Sender<Frame>,
    /// Frames that overtake them.
    control: mpsc::Sender<Frame>,
    /// Room in a full queue, or the end.
    pub(super) room: Notify,
    ended: watch::Sender<Option<SessionError>>,
    pub(super) limits: Limits,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) streams: BTreeMap<u32, Slot>,
    /// The next number for a stream of ours.
    pub(super) next: u32,
    /// The last number of the peer's.
    pub(super) last: u32,
    /// How many of the streams are the peer's.
    pub(super) theirs: usize,
    /// Whether the peer has shown that it counts bytes.
    counts: bool,
    /// What it allows on all streams together, and on a new one.
    allowed: i64,
    initial: i64,
    /// Nothing more is opened.
    pub(super) going: bool,
    /// What comes is of no interest any more.
    pub(super) closing: bool,
    /// When bytes of a stream last moved.
    pub(super) moved: Instant,
}

/// One stream.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) ours: bool,
    pub(super) queue: VecDeque<Bytes>,
    pub(super) queued: usize,
    /// Bytes taken from the queue since we last said so.
    taken: usize,
    pub(super) fin_in: bool,
    pub(super) fin_out: bool,
    /// Its reader is gone: what comes is thrown away.
    pub(super) deaf: bool,
    pub(super) reset: Option<u32>,
    allowed: i64,
    pub(super) signals: Arc<Signals>,
}

/// How a stream's two halves are woken. Each has one waiter at most.
#[derive(Debug, Default)]
pub(super) struct Signals {
    /// The peer has accepted it, whatever became of it since.
    pub(super) replied: AtomicBool,
    pub(super) readable: Notify,
    pub(super) writable: Notify,
}

impl State {
    /// A new stream in the table.
    pub(super) fn insert(&mut self, id: u32, ours: bool) -> &mut Slot {
        self.theirs += usize::from(!ours);
        let allowed = self.initial;
        self.streams.entry(id).or_insert_with(|| Slot {
            ours,
            queue: VecDeque::new(),
            queued: 0,
            taken: 0,
            fin_in: false,
            fin_out: false,
            deaf: false,
            reset: None,
            allowed,
            signals: Arc::default(),
        })
    }

    /// Takes a stream out of the table once nothing more can happen to it.
    pub(super) fn settle(&mut self, id: u32) {
        let over = self.streams.get(&id).is_some_and(|slot| {
            let read = slot.deaf || (slot.fin_in && slot.queue.is_empty());
            slot.reset.is_some() || (slot.fin_out && slot.fin_in && read)
        });
        if over && let Some(slot) = self.streams.remove(&id) {
            self.theirs -= usize::from(!slot.ours);
        }
    }

    /// How many bytes may be sent on a stream now, of `wanted`.
    pub(super) fn may_send(&self, id: u32, wanted: usize) -> usize {
        let Some(slot) = self.streams.get(&id).filter(|_| self.counts) else {
            return wanted;
        };
        usize::try_from(slot.allowed.min(self.allowed).max(0)).map_or(wanted, |may| may.min(wanted))
    }

    /// Counts bytes that are being sent.
    pub(super) fn sent(&mut self, id: u32, count: usize) {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.moved = Instant::now();
        self.allowed = self.allowed.saturating_sub(count);
        if let Some(slot) = self.streams.get_mut(&id) {
            slot.allowed = slot.allowed.saturating_sub(count);
        }
    }

    /// The peer allows more.
    pub(super) fn allow(&mut self, id: u32, more: u32) {
        // A peer that does not count would be far below nothing now; from here on it does.
        self.counts = true;
        let add = |allowed: &mut i64| *allowed = allowed.saturating_add(i64::from(more));
        if id == 0 {
            add(&mut self.allowed);
            self.streams
                .values()
                .for_each(|slot| slot.signals.writable.notify_one());
        } else if let Some(slot) = self.streams.get_mut(&id) {
            add(&mut slot.allowed);
            slot.signals.writable.notify_one();
        }
    }

    /// The peer says what it allows on each stream from the start.
    pub(super) fn settings(&mut self, window: u32) {
        self.counts = true;
        let change = i64::from(window) - self.initial;
        self.initial = i64::from(window);
        for slot in self.streams.values_mut() {
            slot.allowed = slot.allowed.saturating_add(change);
            slot.signals.writable.notify_one();
        }
    }

    /// Takes all that has come for a stream, and how much more the peer is to be allowed.
    pub(super) fn take(&mut self, id: u32, window: usize) -> (VecDeque<Bytes>, Option<u32>) {
        let Some(slot) = self.streams.get_mut(&id) else {
            return (VecDeque::new(), None);
        };
        let queue = std::mem::take(&mut slot.queue);
        slot.taken += std::mem::take(&mut slot.queued);
        let more =
            (slot.taken >= window / 2 && !slot.fin_in).then(|| std::mem::take(&mut slot.taken));
        self.settle(id);
        (queue, more.and_then(|more| u32::try_from(more).ok()))
    }
}

impl Shared {
    pub(super) fn new(
        role: Role,
        limits: Limits,
        data: mpsc::Sender<Frame>,
        control: mpsc::Sender<Frame>,
    ) -> Self {
        let state = State {
            streams: BTreeMap::new(),
            next: match role {
                Role::Client => 1,
                Role::Server => 2,
            },
            last: 0,
            theirs: 0,
            counts: false,
            allowed: DEFAULT_WINDOW,
            initial: DEFAULT_WINDOW,
            going: false,
            closing: false,
            moved: Instant::now(),
        };
        Shared {
            state: Mutex::new(state),
            data,
            control,
            room: Notify::new(),
            ended: watch::channel(None).0,
            limits,
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a frame that overtakes data. A peer that makes us answer and never reads is cut off.
    pub(super) fn control(&self, frame: Frame) {
        if let Err(mpsc::error::TrySendError::Full(_)) = self.control.try_send(frame) {
            self.end(SessionError::Flood);
        }
    }

    /// Ends a stream in both directions.
    pub(super) fn reset(&self, id: u32, status: u32) {
        let mut state = self.lock();
        let known = state
            .streams
            .get_mut(&id)
            .map(|slot| slot.reset.get_or_insert(status));
        if known.is_some() {
            state.settle(id);
            drop(state);
            self.room.notify_one();
            self.control(Frame::Reset { id, status });
        }
    }

    /// Ends the session, for the first reason given. Everybody who waits is woken.
    pub(super) fn end(&self, why: SessionError) {
        self.ended.send_if_modified(|ended| {
            let first = ended.is_none();
            ended.get_or_insert(why);
            first
        });
        let mut state = self.lock();
        state.going = true;
        for slot in state.streams.values() {
            slot.signals.readable.notify_one();
            slot.signals.writable.notify_one();
        }
        drop(state);
        self.room.notify_one();
    }

    /// Why the session ended, if it has.
    pub(super) fn ended(&self) -> Option<SessionError> {
        self.ended.borrow().clone()
    }

    /// Waits for its end.
    pub(super) async fn over(&self) -> SessionError {
        let mut ended = self.ended.subscribe();
        let why = ended.wait_for(Option::is_some).await;
        why.ok()
            .and_then(|why| why.clone())
            .unwrap_or(SessionError::Closed)
    }
}
