//! One stream of a session: a half to read and a half to write, each with one owner.
use super::frame::Frame;
use super::session::SessionError;
use super::shared::{CANCEL, Shared, Signals, State};
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The most bytes of one data frame of ours.
const CHUNK: usize = 16 * 1024;

/// A stream of a session.
#[derive(Debug)]
pub struct Stream {
    /// What the peer sends.
    pub reader: Reader,
    /// What the peer gets.
    pub writer: Writer,
}

/// The reading half. What comes after it was dropped is thrown away.
#[derive(Debug)]
pub struct Reader {
    id: u32,
    shared: Arc<Shared>,
    signals: Arc<Signals>,
    ready: VecDeque<Bytes>,
}

/// The writing half. If it is dropped before [`Writer::finish`], the stream ends at once in both directions.
#[derive(Debug)]
pub struct Writer {
    id: u32,
    shared: Arc<Shared>,
    signals: Arc<Signals>,
    finished: bool,
}

impl Stream {
    pub(super) fn new(id: u32, shared: Arc<Shared>, signals: Arc<Signals>) -> Self {
        let reader = Reader {
            id,
            shared: shared.clone(),
            signals: signals.clone(),
            ready: VecDeque::new(),
        };
        let writer = Writer {
            id,
            shared,
            signals,
            finished: false,
        };
        Stream { reader, writer }
    }

    /// Waits for the peer's answer to a stream of ours.
    pub(super) async fn accepted(&self) -> Result<(), SessionError> {
        loop {
            // In this order: the answer may come between the two, and the end right behind it.
            let gone = gone(&self.reader.shared.lock(), self.reader.id);
            if self.reader.signals.replied.load(Ordering::Relaxed) {
                // The same bell rings for what has come since.
                self.reader.signals.readable.notify_one();
                return Ok(());
            }
            if gone {
                return Err(SessionError::NotAccepted);
            }
            if let Some(why) = self.reader.shared.ended() {
                return Err(why);
            }
            self.reader.signals.readable.notified().await;
        }
    }
}

/// Why a stream that is not in the table is not: it has been ended, or it has come to its end.
fn gone(state: &State, id: u32) -> bool {
    !state.streams.contains_key(&id)
}

impl Reader {
    /// The next bytes; nothing once the peer sends no more. May be dropped and called again.
    ///
    /// # Errors
    /// When the session has ended before the stream.
    pub async fn read(&mut self) -> Result<Option<Bytes>, SessionError> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                return Ok(Some(bytes));
            }
            let window = self.shared.limits.window;
            let (over, more) = {
                let mut state = self.shared.lock();
                let over = state.streams.get(&self.id).is_none_or(|slot| slot.fin_in);
                let (ready, more) = state.take(self.id, window);
                self.ready = ready;
                (over, more)
            };
            if let Some(more) = more {
                self.shared.control(Frame::Window { id: self.id, more });
            }
            if !self.ready.is_empty() {
                self.shared.room.notify_one();
                continue;
            }
            if over {
                return Ok(None);
            }
            if let Some(why) = self.shared.ended() {
                return Err(why);
            }
            self.signals.readable.notified().await;
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if let Some(slot) = state.streams.get_mut(&self.id) {
            slot.deaf = true;
            slot.queue.clear();
            slot.queued = 0;
            state.settle(self.id);
        }
        drop(state);
        self.shared.room.notify_one();
    }
}

impl Writer {
    /// Sends bytes as fast as the peer takes them.
    ///
    /// # Errors
    /// When the peer has ended the stream, or the session is over.
    pub async fn write(&mut self, mut bytes: Bytes) -> Result<(), SessionError> {
        while !bytes.is_empty() {
            let chunk = bytes.len().min(CHUNK);
            self.allowed(chunk).await?;
            let permit = self.shared.data.reserve().await;
            let permit = permit.map_err(|_| self.why())?;
            let mut state = self.shared.lock();
            if self.finished || gone(&state, self.id) {
                drop(state);
                return Err(self.why());
            }
            let count = state.may_send(self.id, chunk);
            if count > 0 {
                state.sent(self.id, count);
                permit.send(Frame::Data {
                    id: self.id,
                    fin: false,
                    bytes: bytes.split_to(count),
                });
            }
        }
        Ok(())
    }

    /// Says that nothing more is sent. What was written before arrives before.
    ///
    /// # Errors
    /// When the session is over.
    pub async fn finish(&mut self) -> Result<(), SessionError> {
        if std::mem::replace(&mut self.finished, true) {
            return Ok(());
        }
        let permit = self.shared.data.reserve().await;
        let permit = permit.map_err(|_| self.why())?;
        let mut state = self.shared.lock();
        if let Some(slot) = state.streams.get_mut(&self.id) {
            slot.fin_out = true;
            permit.send(Frame::Data {
                id: self.id,
                fin: true,
                bytes: Bytes::new(),
            });
            state.settle(self.id);
        }
        Ok(())
    }

    /// Says that nothing is sent, where nothing was. Does not wait.
    pub fn close_unused(mut self) {
        self.finished = true;
        let mut state = self.shared.lock();
        let Some(slot) = state.streams.get_mut(&self.id) else {
            return;
        };
        slot.fin_out = true;
        state.settle(self.id);
        drop(state);
        self.shared.control(Frame::Data {
            id: self.id,
            fin: true,
            bytes: Bytes::new(),
        });
    }

    /// Waits until the peer has ended the stream, or the session is over. Not while [`Writer::write`] waits.
    pub async fn broken(&mut self) {
        while self.shared.ended().is_none() && !gone(&self.shared.lock(), self.id) {
            self.signals.writable.notified().await;
        }
    }

    /// Waits until anything may be sent.
    async fn allowed(&self, chunk: usize) -> Result<(), SessionError> {
        loop {
            {
                let state = self.shared.lock();
                if gone(&state, self.id) {
                    drop(state);
                    return Err(self.why());
                }
                if state.may_send(self.id, chunk) > 0 {
                    return self.shared.ended().map_or(Ok(()), Err);
                }
            }
            if let Some(why) = self.shared.ended() {
                return Err(why);
            }
            self.signals.writable.notified().await;
        }
    }

    fn why(&self) -> SessionError {
        self.shared.ended().unwrap_or(SessionError::Reset(CANCEL))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.finished {
            self.shared.reset(self.id, CANCEL);
        }
    }
}
