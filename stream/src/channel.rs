//! One channel of a remote command or of a forwarded port, whatever carries it.
use crate::spdy::{self, SessionError};
use crate::websocket::{self, Sending};
use bytes::Bytes;
use tokio::sync::mpsc;

/// Why a channel has ended early.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StreamError {
    /// Of a SPDY session.
    #[error(transparent)]
    Spdy(#[from] SessionError),
    /// Of a WebSocket.
    #[error("the other side has ended the connection")]
    Gone,
    /// The hand-shake after the upgrade took too long.
    #[error("the other side has not opened its streams in time")]
    Late,
    /// The other side asks for what this one does not do.
    #[error("{0}")]
    Unknown(&'static str),
}

/// Bytes from the other side.
#[derive(Debug)]
pub struct Input(In);

#[derive(Debug)]
enum In {
    Spdy(spdy::Reader),
    Only(OneWay),
    Socket(mpsc::Receiver<Bytes>),
}

/// A stream that is only read. Its end is told when it is dropped and not before: to kubectl that means that nobody
/// reads any more.
#[derive(Debug)]
struct OneWay {
    reader: spdy::Reader,
    writer: Option<spdy::Writer>,
}

impl Drop for OneWay {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.close_unused();
        }
    }
}

/// Bytes to the other side.
#[derive(Debug)]
pub struct Output(Out);

#[derive(Debug)]
enum Out {
    Spdy(spdy::Writer),
    Socket(Sending),
}

impl Input {
    pub(crate) fn spdy(reader: spdy::Reader) -> Self {
        Input(In::Spdy(reader))
    }

    /// Of a stream that nothing is written to.
    pub(crate) fn only(stream: spdy::Stream) -> Self {
        Input(In::Only(OneWay {
            reader: stream.reader,
            writer: Some(stream.writer),
        }))
    }

    pub(crate) fn socket(queue: mpsc::Receiver<Bytes>) -> Self {
        Input(In::Socket(queue))
    }

    /// The next bytes; nothing at their end. May be dropped and called again.
    ///
    /// # Errors
    /// When the connection has ended before the channel.
    pub async fn read(&mut self) -> Result<Option<Bytes>, StreamError> {
        match &mut self.0 {
            In::Spdy(reader) | In::Only(OneWay { reader, .. }) => Ok(reader.read().await?),
            In::Socket(queue) => Ok(queue.recv().await),
        }
    }

    /// All bytes up to the end, or the first `limit` of them.
    ///
    /// # Errors
    /// As for [`Input::read`].
    pub async fn read_all(&mut self, limit: usize) -> Result<Vec<u8>, StreamError> {
        let mut all = Vec::new();
        while all.len() < limit
            && let Some(bytes) = self.read().await?
        {
            all.extend_from_slice(&bytes[..bytes.len().min(limit - all.len())]);
        }
        Ok(all)
    }
}

impl Output {
    pub(crate) fn spdy(writer: spdy::Writer) -> Self {
        Output(Out::Spdy(writer))
    }

    pub(crate) fn socket(sending: Sending) -> Self {
        Output(Out::Socket(sending))
    }

    /// Sends bytes, as fast as they are taken.
    ///
    /// # Errors
    /// When the other side takes no more.
    pub async fn write(&mut self, bytes: Bytes) -> Result<(), StreamError> {
        match &mut self.0 {
            Out::Spdy(writer) => Ok(writer.write(bytes).await?),
            Out::Socket(sending) => sending.write(bytes).await,
        }
    }

    /// Says that these were all.
    ///
    /// # Errors
    /// When the connection has ended.
    pub async fn finish(&mut self) -> Result<(), StreamError> {
        match &mut self.0 {
            Out::Spdy(writer) => Ok(writer.finish().await?),
            Out::Socket(sending) => sending.finish().await,
        }
    }
}

/// What channels are carried by. They end with it.
#[derive(Debug)]
pub(crate) enum Carrier {
    Spdy(spdy::Session),
    Socket(websocket::Handle),
}

impl Carrier {
    /// Waits until the other side is gone, and says why.
    pub(crate) async fn over(&self) -> StreamError {
        match self {
            Carrier::Spdy(session) => session.over().await.into(),
            Carrier::Socket(handle) => handle.over().await,
        }
    }

    /// Ends it once everything written is on its way, within bounds.
    pub(crate) async fn close(self) {
        match self {
            Carrier::Spdy(session) => session.close().await,
            Carrier::Socket(handle) => handle.close().await,
        }
    }
}
