//! Channels in a WebSocket: `*.channel.k8s.io`. The first byte of a message is its channel.
//!
//! | protocol | messages | clients can say an end |
//! |---|---|---|
//! | none, `channel.k8s.io`, `v4.channel.k8s.io` | binary | no |
//! | `v5.channel.k8s.io` | binary | `255 channel` |
//! | `base64.channel.k8s.io`, `v4.base64.channel.k8s.io` | text: a digit, then base64 | no |
//!
//! There is no flow control but the connection's: a channel that nobody reads stops what comes on the others.
use crate::channel::StreamError;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Bytes, BytesMut};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

/// The largest message that is taken; clients like to send a whole file in one.
const MAX_MESSAGE: usize = 16 * 1024 * 1024;
/// Messages of a channel that wait for its reader.
const WAITING: usize = 2;
/// Messages that wait for the connection.
const SENDING: usize = 16;
/// The most bytes of one message of ours.
const CHUNK: usize = 32 * 1024;
/// The channel whose messages name the channel that has ended.
const END: u8 = 255;
/// How long the end of a connection may take.
const LINGER: Duration = Duration::from_secs(3);

/// How channels stand in messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Codec {
    /// Which version of the protocol.
    pub version: u8,
    /// Whether messages are text.
    pub base64: bool,
}

impl Codec {
    fn encode(self, channel: u8, bytes: &[u8]) -> Message {
        if self.base64 {
            let mut text = String::from(char::from(b'0'.saturating_add(channel)));
            STANDARD.encode_string(bytes, &mut text);
            return Message::text(text);
        }
        let mut message = BytesMut::with_capacity(bytes.len() + 1);
        message.extend_from_slice(&[channel]);
        message.extend_from_slice(bytes);
        Message::Binary(message.freeze())
    }

    /// The channel of a message and what is in it; nothing for one that makes no sense.
    fn decode(self, message: Message) -> Option<(u8, Bytes)> {
        match message {
            Message::Binary(mut bytes) if !bytes.is_empty() => {
                let channel = bytes.split_to(1)[0];
                Some((channel, bytes))
            }
            Message::Text(text) if self.base64 => {
                let (digit, rest) = text.as_bytes().split_first()?;
                let bytes = STANDARD.decode(rest).ok()?;
                Some((digit.checked_sub(b'0')?, bytes.into()))
            }
            // Some clients type text into a binary protocol.
            Message::Text(text) => {
                let mut bytes = Bytes::from(text);
                (!bytes.is_empty()).then(|| (bytes.split_to(1)[0], bytes))
            }
            _ => None,
        }
    }
}

/// The sending end of one channel.
#[derive(Debug)]
pub(crate) struct Sending {
    channel: u8,
    codec: Codec,
    to: mpsc::Sender<Message>,
    moved: watch::Sender<Instant>,
    ends: bool,
}

impl Sending {
    /// Sends bytes; none at all are a message too.
    pub(crate) async fn write(&mut self, mut bytes: Bytes) -> Result<(), StreamError> {
        loop {
            let piece = bytes.split_to(bytes.len().min(CHUNK));
            let message = self.codec.encode(self.channel, &piece);
            self.to.send(message).await.map_err(|_| StreamError::Gone)?;
            self.moved.send_replace(Instant::now());
            if bytes.is_empty() {
                return Ok(());
            }
        }
    }

    /// Says that these were all, where the protocol has a way to. Servers have none: kubectl takes it for a mistake.
    pub(crate) async fn finish(&mut self) -> Result<(), StreamError> {
        if !self.ends {
            return Ok(());
        }
        let message = self.codec.encode(END, &[self.channel]);
        self.to.send(message).await.map_err(|_| StreamError::Gone)
    }
}

/// The connection. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Handle {
    codec: Codec,
    to: mpsc::Sender<Message>,
    moved: watch::Sender<Instant>,
    over: watch::Receiver<bool>,
    ends: bool,
    _alive: mpsc::Sender<()>,
}

/// A WebSocket on a connection that has been upgraded.
pub(crate) async fn open<IO>(io: IO, role: Role) -> WebSocketStream<IO>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let config = WebSocketConfig::default()
        .read_buffer_size(CHUNK)
        .write_buffer_size(0)
        .max_write_buffer_size(4 * CHUNK)
        .max_message_size(Some(MAX_MESSAGE + 1))
        .max_frame_size(Some(MAX_MESSAGE + 1));
    WebSocketStream::from_raw_socket(io, role, Some(config)).await
}

/// Speaks a channel protocol: the queues are those of the channels that are read here.
pub(crate) async fn start<IO>(
    io: IO,
    role: Role,
    codec: Codec,
    inputs: &[u8],
    idle: Duration,
) -> (Handle, BTreeMap<u8, mpsc::Receiver<Bytes>>)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sink, stream) = open(io, role).await.split();
    let (to, messages) = mpsc::channel(SENDING);
    let (over_out, over) = watch::channel(false);
    let (alive, dropped) = mpsc::channel(1);
    let moved = watch::channel(Instant::now()).0;
    let (mut doors, mut queues) = (BTreeMap::new(), BTreeMap::new());
    for &channel in inputs {
        let (door, queue) = mpsc::channel(WAITING);
        doors.insert(channel, door);
        queues.insert(channel, queue);
    }
    let reading = read_all(stream, codec, doors, moved.clone());
    let writing = write_all(sink, messages);
    let watching = (idle_since(moved.subscribe(), idle), dropped);
    tokio::spawn(drive(reading, writing, watching, over_out));
    let handle = Handle {
        codec,
        to,
        moved,
        over,
        ends: role == Role::Client && codec.version >= 5,
        _alive: alive,
    };
    (handle, queues)
}

/// Runs a connection until one side ends it, nothing happens for too long, or its handle is dropped.
async fn drive(
    reading: impl Future<Output = ()>,
    writing: impl Future<Output = ()>,
    (idle, mut dropped): (impl Future<Output = ()>, mpsc::Receiver<()>),
    over: watch::Sender<bool>,
) {
    let (mut reading, mut writing) = (std::pin::pin!(reading), std::pin::pin!(writing));
    let mut idle = std::pin::pin!(idle);
    tokio::select! {
        // What is written answers the other side's goodbye too.
        () = &mut reading => { let _ = timeout(Duration::from_millis(100), writing).await; }
        // We have said goodbye: until the other side does, what it sends is thrown away.
        () = &mut writing => { let _ = timeout(LINGER, reading).await; }
        () = &mut idle => {}
        _ = dropped.recv() => {}
    }
    over.send_replace(true);
}

async fn idle_since(mut moved: watch::Receiver<Instant>, idle: Duration) {
    while matches!(timeout(idle, moved.changed()).await, Ok(Ok(()))) {}
}

impl Handle {
    /// The sending end of a channel.
    pub(crate) fn sending(&self, channel: u8) -> Sending {
        Sending {
            channel,
            codec: self.codec,
            to: self.to.clone(),
            moved: self.moved.clone(),
            ends: self.ends,
        }
    }

    pub(crate) async fn over(&self) -> StreamError {
        let mut over = self.over.clone();
        let _ = over.wait_for(|over| *over).await;
        StreamError::Gone
    }

    pub(crate) async fn close(self) {
        let goodbye = CloseFrame {
            code: CloseCode::Normal,
            reason: "".into(),
        };
        let leave = async {
            if self.to.send(Message::Close(Some(goodbye))).await.is_ok() {
                self.over().await;
            }
        };
        let _ = timeout(LINGER, leave).await;
    }
}

async fn read_all<IO>(
    mut from: SplitStream<WebSocketStream<IO>>,
    codec: Codec,
    mut doors: BTreeMap<u8, mpsc::Sender<Bytes>>,
    moved: watch::Sender<Instant>,
) where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(message) = from.next().await {
        let message = match message {
            Ok(message) => message,
            Err(err) => {
                tracing::debug!(%err, "WebSocket ended");
                return;
            }
        };
        if message.is_close() {
            // The stream gives nothing more once the goodbyes are exchanged.
            continue;
        }
        if !(message.is_binary() || message.is_text()) {
            continue;
        }
        moved.send_replace(Instant::now());
        match codec.decode(message) {
            Some((END, ended)) if codec.version >= 5 => {
                if let Some(channel) = ended.first() {
                    doors.remove(channel);
                }
            }
            Some((channel, bytes)) if !bytes.is_empty() => {
                if let Some(door) = doors.get(&channel) {
                    // An error means that nobody reads it any more: it is thrown away.
                    let _ = door.send(bytes).await;
                }
            }
            Some(_) | None => {}
        }
    }
}

async fn write_all<IO>(
    mut to: SplitSink<WebSocketStream<IO>, Message>,
    mut messages: mpsc::Receiver<Message>,
) where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    while let Some(message) = messages.recv().await {
        let last = message.is_close();
        match to.send(message).await {
            Ok(()) if !last => {}
            Ok(()) | Err(Error::ConnectionClosed) => return,
            Err(err) => {
                tracing::debug!(%err, "cannot write to a WebSocket");
                return;
            }
        }
    }
    // Nobody can send any more; the other side may.
    std::future::pending().await
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: Codec = Codec {
        version: 4,
        base64: false,
    };
    const TEXT: Codec = Codec {
        version: 4,
        base64: true,
    };

    #[test]
    fn messages() {
        let check = |codec: Codec, message: Message, want: Option<(u8, &[u8])>| {
            let got = codec.decode(message.clone());
            assert_eq!(
                got.as_ref().map(|(channel, bytes)| (*channel, &bytes[..])),
                want,
                "{message:?}"
            );
        };
        check(V4, Message::binary(&b"\x01hello"[..]), Some((1, b"hello")));
        check(V4, Message::binary(&b"\0"[..]), Some((0, b"")));
        check(V4, Message::binary(&b""[..]), None);
        check(V4, Message::text("\0ls\n"), Some((0, b"ls\n")));
        check(V4, Message::Ping(Bytes::new()), None);
        check(TEXT, Message::text("1aGVsbG8="), Some((1, b"hello")));
        check(TEXT, Message::text("1***"), None);
        check(TEXT, Message::text(""), None);
        check(TEXT, Message::text("\u{1}"), None);
        for codec in [V4, TEXT] {
            let message = codec.encode(2, b"\xff\0x");
            assert_eq!(
                codec.decode(message),
                Some((2, Bytes::from_static(b"\xff\0x")))
            );
        }
    }

    #[tokio::test]
    async fn ends_and_goodbyes() {
        let codec = Codec {
            version: 5,
            base64: false,
        };
        let (here, there) = tokio::io::duplex(64 * 1024);
        let idle = Duration::from_secs(60);
        let (client, _) = start(here, Role::Client, codec, &[1], idle).await;
        let (server, mut queues) = start(there, Role::Server, codec, &[0], idle).await;
        let mut keys = client.sending(0);
        keys.write(Bytes::from(vec![3; 100_000])).await.unwrap();
        keys.finish().await.unwrap();
        let mut got = 0;
        while let Some(bytes) = queues.get_mut(&0).unwrap().recv().await {
            got += bytes.len();
        }
        assert_eq!(got, 100_000);
        tokio::join!(server.close(), async {
            assert_eq!(client.over().await, StreamError::Gone);
        });
    }

    #[tokio::test(start_paused = true)]
    async fn idleness_ends_it() {
        let (here, _there) = tokio::io::duplex(1024);
        let begun = Instant::now();
        let (handle, _) = start(here, Role::Server, V4, &[0], Duration::from_secs(77)).await;
        handle.over().await;
        assert_eq!(begun.elapsed().as_secs(), 77);
    }

    #[tokio::test]
    async fn a_message_larger_than_any_is_not_taken() {
        let (here, there) = tokio::io::duplex(64 * 1024);
        let (handle, _) = start(there, Role::Server, V4, &[0], Duration::from_secs(60)).await;
        // Its header alone: a binary message of 2^40 bytes.
        let (_from, mut to) = tokio::io::split(here);
        let header = [0x82, 0xff, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        tokio::io::AsyncWriteExt::write_all(&mut to, &header)
            .await
            .unwrap();
        let over = timeout(Duration::from_secs(20), handle.over()).await;
        assert_eq!(over, Ok(StreamError::Gone));
    }
}
