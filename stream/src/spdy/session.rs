//! A session: the two tasks that read and write frames, and the door for new streams.
use super::frame::{Decoder, Encoder, Frame, FrameError};
use super::headers::Headers;
use super::shared::{INVALID_STREAM, PROTOCOL_ERROR, REFUSED_STREAM, Shared, Signals};
use super::stream::Stream;
use bytes::{Bytes, BytesMut};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

/// How many answers may wait for a peer that does not read.
const CONTROL: usize = 512;
/// How many frames of data wait for the connection.
const DATA: usize = 16;
/// What is asked of the connection at a time.
const READ: usize = 32 * 1024;
/// What all streams together are allowed; each has its own bound, so that this one need not be felt.
const ALL: u32 = 1 << 30;
/// After how many bytes the peer is told that they have been taken off [`ALL`].
const ACKNOWLEDGED: u32 = 1 << 20;
/// How long a stream's acceptance, and the end of a session, are waited for.
const PATIENCE: Duration = Duration::from_secs(30);
const LINGER: Duration = Duration::from_secs(3);
/// How long the last frames of a session that is over may take.
const LAST: Duration = Duration::from_millis(100);

/// Which side opened the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// This one.
    Client,
    /// The other one.
    Server,
}

/// What a session takes from its peer.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many streams the peer may have open.
    pub streams: usize,
    /// How many bytes of a stream may wait to be read here.
    pub window: usize,
    /// After how long a silence the peer is asked whether it is there; it has as long again to answer.
    pub keepalive: Duration,
    /// How long no byte of any stream may move.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            streams: 16,
            window: 256 * 1024,
            keepalive: Duration::from_secs(30),
            idle: Duration::from_secs(4 * 3600),
        }
    }
}

/// Why a session or a stream has ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// This side ended it.
    #[error("the session is over")]
    Closed,
    /// The connection has ended.
    #[error("the other side has ended the connection")]
    Gone,
    /// The connection has failed.
    #[error("the connection failed: {0}")]
    Io(String),
    /// What came is not SPDY.
    #[error("what the other side sends is not understood")]
    Frame(#[from] FrameError),
    /// The peer breaks the rules.
    #[error("the other side breaks the protocol: {0}")]
    Protocol(&'static str),
    /// The peer asks and does not read the answers.
    #[error("the other side does not read what it is told")]
    Flood,
    /// The peer does not answer.
    #[error("the other side has not answered for too long")]
    Silent,
    /// No byte has moved for too long.
    #[error("nothing has happened for too long")]
    Idle,
    /// One stream was ended by the peer.
    #[error("the other side has ended the stream with status {0}")]
    Reset(u32),
    /// A stream was not accepted.
    #[error("the other side has not accepted the stream")]
    NotAccepted,
}

/// A session. It ends when this is dropped.
#[derive(Debug)]
pub struct Session {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

/// A stream that the peer has opened, and that is neither accepted nor refused yet. It is refused when dropped.
#[derive(Debug)]
pub struct Incoming {
    /// Its number.
    pub id: u32,
    /// What it is for.
    pub headers: Headers,
    shared: Option<Arc<Shared>>,
    signals: Arc<Signals>,
}

impl Incoming {
    /// Accepts it.
    #[must_use]
    pub fn accept(mut self) -> Option<Stream> {
        let shared = self.shared.take()?;
        let reply = Frame::Reply {
            id: self.id,
            fin: false,
            headers: Headers::default(),
        };
        shared.control(reply);
        Some(Stream::new(self.id, shared, self.signals.clone()))
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take() {
            shared.reset(self.id, REFUSED_STREAM);
        }
    }
}

impl Session {
    /// Speaks SPDY on a connection. The second value gives the streams that the peer opens, until the end.
    pub fn start<IO>(io: IO, role: Role, limits: Limits) -> (Session, mpsc::Receiver<Incoming>)
    where
        IO: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (data, data_frames) = mpsc::channel(DATA);
        let (control, control_frames) = mpsc::channel(CONTROL);
        let (door, incoming) = mpsc::channel(limits.streams.max(1));
        let shared = Arc::new(Shared::new(role, limits, data, control));
        shared.control(Frame::Settings {
            window: u32::try_from(limits.window).ok(),
        });
        shared.control(Frame::Window { id: 0, more: ALL });
        let (from, to) = tokio::io::split(io);
        let writer = tokio::spawn(write_all(to, shared.clone(), control_frames, data_frames));
        tokio::spawn(read_all(from, shared.clone(), role, door));
        let writer = Some(writer);
        (Session { shared, writer }, incoming)
    }

    /// Opens a stream, and waits until the peer has accepted it.
    ///
    /// # Errors
    /// When it refuses, does not answer, or the session is over.
    pub async fn open(&self, headers: Headers) -> Result<Stream, SessionError> {
        let shared = &self.shared;
        let permit = shared.data.reserve().await;
        let permit = permit.map_err(|_| shared.ended().unwrap_or(SessionError::Closed))?;
        let stream = {
            let mut state = shared.lock();
            if state.going {
                return Err(shared.ended().unwrap_or(SessionError::Closed));
            }
            let id = state.next;
            state.next += 2;
            let signals = state.insert(id, true).signals.clone();
            // In the queue before the next number is given away: they have to rise.
            permit.send(Frame::Syn {
                id,
                fin: false,
                unidirectional: false,
                headers,
            });
            Stream::new(id, shared.clone(), signals)
        };
        match timeout(PATIENCE, stream.accepted()).await {
            Ok(accepted) => accepted.map(|()| stream),
            Err(_) => Err(SessionError::NotAccepted),
        }
    }

    /// Waits until the session is over, and says why.
    pub async fn over(&self) -> SessionError {
        self.shared.over().await
    }

    /// Ends it once everything written is on its way, within bounds.
    pub async fn close(mut self) {
        let last = {
            let mut state = self.shared.lock();
            (state.going, state.closing) = (true, true);
            state.last
        };
        self.shared.room.notify_one();
        let leave = async {
            if self
                .shared
                .data
                .send(Frame::GoAway { last, status: 0 })
                .await
                .is_ok()
                && let Some(writer) = self.writer.take()
            {
                let _ = writer.await;
            }
            // What is closed with unread bytes takes our last ones with it (a reset, tcp(7)): the peer ends it.
            self.shared.over().await;
        };
        let _ = timeout(LINGER, leave).await;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.shared.end(SessionError::Closed);
    }
}

async fn read_all<IO: AsyncRead>(
    mut from: ReadHalf<IO>,
    shared: Arc<Shared>,
    role: Role,
    door: mpsc::Sender<Incoming>,
) {
    let mut peer = Peer {
        shared: shared.clone(),
        role,
        door,
        received: 0,
    };
    let mut over = std::pin::pin!(shared.over());
    let why = tokio::select! {
        why = &mut over => why,
        why = peer.listen(&mut from) => why,
    };
    shared.end(why);
}

/// The reading side's view of the peer.
struct Peer {
    shared: Arc<Shared>,
    role: Role,
    door: mpsc::Sender<Incoming>,
    /// Bytes of all streams since the peer was last told.
    received: u32,
}

impl Peer {
    async fn listen<IO: AsyncRead>(&mut self, from: &mut ReadHalf<IO>) -> SessionError {
        let (mut decoder, mut buffer) = (Decoder::default(), BytesMut::new());
        let mut asked = false;
        loop {
            loop {
                match decoder.decode(&mut buffer) {
                    Ok(Some(frame)) => {
                        if let Err(why) = self.take(frame).await {
                            self.shared.control(Frame::GoAway {
                                last: self.shared.lock().last,
                                status: 1,
                            });
                            return why;
                        }
                    }
                    Ok(None) => break,
                    Err(err) => return err.into(),
                }
            }
            buffer.reserve(READ);
            let limits = &self.shared.limits;
            match timeout(
                limits.keepalive.min(limits.idle),
                from.read_buf(&mut buffer),
            )
            .await
            {
                Ok(Ok(0)) => return SessionError::Gone,
                Ok(Ok(_)) => asked = false,
                Ok(Err(err)) => return SessionError::Io(err.to_string()),
                Err(_) if asked => return SessionError::Silent,
                Err(_) => {
                    asked = true;
                    let id = match self.role {
                        Role::Client => 1,
                        Role::Server => 2,
                    };
                    self.shared.control(Frame::Ping(id));
                }
            }
            if self.shared.lock().moved.elapsed() > limits.idle {
                return SessionError::Idle;
            }
        }
    }

    async fn take(&mut self, frame: Frame) -> Result<(), SessionError> {
        let shared = &self.shared;
        match frame {
            Frame::Syn {
                id,
                fin,
                unidirectional,
                headers,
            } => {
                return self.opened(id, fin, unidirectional, headers);
            }
            Frame::Reply { id, fin, .. } => {
                let mut state = shared.lock();
                if let Some(slot) = state.streams.get_mut(&id).filter(|slot| slot.ours) {
                    slot.signals.replied.store(true, Ordering::Relaxed);
                    slot.fin_in |= fin;
                    slot.signals.readable.notify_one();
                }
            }
            Frame::Headers { id, fin, .. } => self.ended(id, fin),
            Frame::Reset { id, status } => {
                let mut state = shared.lock();
                if let Some(slot) = state.streams.get_mut(&id) {
                    slot.reset = Some(status);
                    slot.signals.readable.notify_one();
                    slot.signals.writable.notify_one();
                }
                // Its halves find it gone; `Stream` keeps the signals, and asks the table.
                state.settle(id);
            }
            Frame::Settings { window } => {
                if let Some(window) = window {
                    shared.lock().settings(window);
                }
            }
            Frame::Ping(id) => {
                // The client's are odd; one of our own comes back as the answer.
                let ours = (id % 2 == 1) == (self.role == Role::Client);
                if !ours {
                    shared.control(Frame::Ping(id));
                }
            }
            Frame::GoAway { .. } => shared.lock().going = true,
            Frame::Window { id, more } => shared.lock().allow(id, more),
            Frame::Data { id, fin, bytes } => return self.data(id, fin, bytes).await,
        }
        Ok(())
    }

    /// The peer opens a stream.
    fn opened(
        &self,
        id: u32,
        fin: bool,
        unidirectional: bool,
        headers: Headers,
    ) -> Result<(), SessionError> {
        let shared = &self.shared;
        let mut state = shared.lock();
        let theirs = (id % 2 == 1) == (self.role == Role::Server);
        if !theirs || id <= state.last {
            return Err(SessionError::Protocol("a stream's number does not rise"));
        }
        state.last = id;
        if state.going || state.theirs >= shared.limits.streams {
            drop(state);
            shared.control(Frame::Reset {
                id,
                status: REFUSED_STREAM,
            });
            return Ok(());
        }
        let slot = state.insert(id, false);
        (slot.fin_in, slot.fin_out) = (fin, unidirectional);
        let signals = slot.signals.clone();
        drop(state);
        let incoming = Incoming {
            id,
            headers,
            shared: Some(shared.clone()),
            signals,
        };
        // Whoever does not listen at the door, or not fast enough, refuses by dropping it.
        let _ = self.door.try_send(incoming);
        Ok(())
    }

    /// Bytes of a stream have come. Waits while its reader has no room for them.
    async fn data(&mut self, id: u32, fin: bool, bytes: Bytes) -> Result<(), SessionError> {
        let shared = &self.shared;
        let window = shared.limits.window;
        let count = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.received = self.received.saturating_add(count);
        if self.received >= ACKNOWLEDGED {
            let more = std::mem::take(&mut self.received);
            shared.control(Frame::Window { id: 0, more });
        }
        loop {
            {
                let mut state = shared.lock();
                state.moved = Instant::now();
                let (closing, last) = (state.closing, state.last);
                let Some(slot) = state
                    .streams
                    .get_mut(&id)
                    .filter(|slot| slot.reset.is_none())
                else {
                    drop(state);
                    if id == 0 || (id > last && (id % 2 == 1) == (self.role == Role::Server)) {
                        shared.control(Frame::Reset {
                            id,
                            status: INVALID_STREAM,
                        });
                    }
                    return Ok(());
                };
                if slot.fin_in && !bytes.is_empty() {
                    drop(state);
                    shared.reset(id, PROTOCOL_ERROR);
                    return Ok(());
                }
                if slot.deaf || closing {
                    drop(state);
                    if count > 0 {
                        shared.control(Frame::Window { id, more: count });
                    }
                    self.ended(id, fin);
                    return Ok(());
                }
                if slot.queued == 0 || slot.queued + bytes.len() <= window {
                    slot.queued += bytes.len();
                    if !bytes.is_empty() {
                        slot.queue.push_back(bytes);
                    }
                    slot.signals.readable.notify_one();
                    drop(state);
                    self.ended(id, fin);
                    return Ok(());
                }
            }
            shared.room.notified().await;
        }
    }

    /// The peer sends nothing more on a stream, if `fin`.
    fn ended(&self, id: u32, fin: bool) {
        let mut state = self.shared.lock();
        if fin && let Some(slot) = state.streams.get_mut(&id) {
            slot.fin_in = true;
            slot.signals.readable.notify_one();
            state.settle(id);
        }
    }
}

async fn write_all<IO: AsyncWrite>(
    mut to: WriteHalf<IO>,
    shared: Arc<Shared>,
    mut control: mpsc::Receiver<Frame>,
    mut data: mpsc::Receiver<Frame>,
) {
    let done = {
        let mut writing = std::pin::pin!(write(&mut to, &shared, &mut control, &mut data));
        tokio::select! {
            done = &mut writing => done,
            // What is left is written still, if the connection takes it at once.
            _ = shared.over() => timeout(LAST, writing).await.unwrap_or(Ok(())),
        }
    };
    if let Err(err) = done {
        shared.end(SessionError::Io(err.to_string()));
    }
    let _ = timeout(LINGER, to.shutdown()).await;
}

/// Writes until the last frame of all, which says that we go.
async fn write<IO: AsyncWrite>(
    to: &mut WriteHalf<IO>,
    shared: &Shared,
    control: &mut mpsc::Receiver<Frame>,
    data: &mut mpsc::Receiver<Frame>,
) -> std::io::Result<()> {
    let (mut encoder, mut buffer) = (Encoder::default(), BytesMut::new());
    let mut going = false;
    while !going {
        let mut next = tokio::select! {
            biased;
            Some(frame) = control.recv() => Some(frame),
            Some(frame) = data.recv() => Some(frame),
            else => return Ok(()),
        };
        while let Some(frame) = next {
            going |= matches!(frame, Frame::GoAway { .. });
            encoder
                .encode(&frame, &mut buffer)
                .map_err(std::io::Error::other)?;
            let more = buffer.len() < READ && !going;
            next = more
                .then(|| control.try_recv().or_else(|_| data.try_recv()).ok())
                .flatten();
        }
        to.write_all(&buffer).await?;
        buffer.clear();
        if data.is_empty() && control.is_empty() {
            to.flush().await?;
            if shared.ended().is_some() {
                return Ok(());
            }
        }
    }
    to.flush().await
}

#[cfg(test)]
mod tests;
