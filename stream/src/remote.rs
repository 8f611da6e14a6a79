//! A command somewhere else: its standard streams, its terminal's size, and how it ended.
//!
//! ```text
//! channel  0 stdin   1 stdout   2 stderr   3 error   4 resize     in a WebSocket
//! stream   streamtype: stdin, stdout, stderr, error, resize       in SPDY; `signal` is our own addition
//! ```
use crate::channel::{Carrier, Input, Output, StreamError};
use crate::outcome::Outcome;
use crate::spdy::{Headers, Incoming, Limits, Role, Session};
use crate::upgrade::Transport;
use crate::websocket::{self, Codec};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::protocol::Role as WebRole;

/// How long the client may take to open its streams.
const OPENING: Duration = Duration::from_secs(30);
/// The most words about how a command ended.
const MAX_STATUS: usize = 64 * 1024;
/// The most bytes of one change of a terminal's size.
const MAX_RESIZE: usize = 1024;
const STREAM_TYPE: &str = "streamtype";
const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;

/// Which of a command's streams the client wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "four independent words of the request"
)]
pub struct Want {
    /// To write to its standard input.
    pub stdin: bool,
    /// To read its standard output.
    pub stdout: bool,
    /// To read its standard error; not with a terminal.
    pub stderr: bool,
    /// A terminal.
    pub tty: bool,
}

/// A terminal's size, as it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Size {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// The side that has the command.
#[derive(Debug)]
pub struct Remote {
    /// What is to be its standard input.
    pub stdin: Option<Input>,
    /// Where its standard output, or its terminal's, goes.
    pub stdout: Option<Output>,
    /// Where its standard error goes.
    pub stderr: Option<Output>,
    /// How large its terminal is to be.
    pub resize: Option<Resizes>,
    /// Signals to send to it, a byte each.
    pub signals: Option<Input>,
    error: Output,
    version: u8,
    carrier: Carrier,
}

impl Remote {
    /// Takes over an upgraded connection.
    ///
    /// # Errors
    /// When the client does not open the streams that it wants.
    pub async fn serve<IO>(
        io: IO,
        transport: Transport,
        want: Want,
        idle: Duration,
    ) -> Result<Remote, StreamError>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        match transport {
            Transport::Socket(codec) => Remote::socket(io, codec, want, idle).await,
            Transport::Spdy(version) => {
                let limits = Limits {
                    idle,
                    ..Limits::default()
                };
                let (session, door) = Session::start(io, Role::Server, limits);
                let opening = timeout(OPENING, Remote::streams(session, door, version, want));
                opening.await.map_err(|_| StreamError::Late)?
            }
            Transport::Tunnel => Err(StreamError::Unknown("a tunnel carries ports, not commands")),
        }
    }

    async fn socket<IO>(
        io: IO,
        codec: Codec,
        want: Want,
        idle: Duration,
    ) -> Result<Remote, StreamError>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let inputs = [STDIN, RESIZE];
        let (handle, mut queues) =
            websocket::start(io, WebRole::Server, codec, &inputs, idle).await;
        let mut input = |channel| queues.remove(&channel).map(Input::socket);
        let output = |channel| Output::socket(handle.sending(channel));
        let (stdin, resize) = (input(STDIN), input(RESIZE));
        // Clients wait for a first message, however empty, on the lowest channel that they read.
        let first = match (want.stdout, want.stderr && !want.tty) {
            (true, _) => STDOUT,
            (false, true) => STDERR,
            (false, false) => ERROR,
        };
        output(first).write(Bytes::new()).await?;
        Ok(Remote {
            stdin: stdin.filter(|_| want.stdin),
            stdout: want.stdout.then(|| output(STDOUT)),
            stderr: (want.stderr && !want.tty).then(|| output(STDERR)),
            resize: resize.filter(|_| want.tty).map(Resizes::new),
            signals: None,
            error: output(ERROR),
            version: codec.version,
            carrier: Carrier::Socket(handle),
        })
    }

    async fn streams(
        session: Session,
        mut door: mpsc::Receiver<Incoming>,
        version: u8,
        want: Want,
    ) -> Result<Remote, StreamError> {
        let (mut stdin, mut stdout, mut stderr) = (None, None, None);
        let (mut error, mut resize, mut signals) = (None, None, None);
        loop {
            let complete = error.is_some()
                && stdin.is_some() == want.stdin
                && stdout.is_some() == want.stdout
                && stderr.is_some() == (want.stderr && !want.tty)
                && resize.is_some() == (want.tty && version >= 3);
            if complete {
                break;
            }
            let Some(incoming) = door.recv().await else {
                return Err(session.over().await.into());
            };
            let kind = incoming
                .headers
                .get(STREAM_TYPE)
                .unwrap_or_default()
                .to_owned();
            let place: &mut Option<_> = match kind.as_str() {
                "stdin" if want.stdin => &mut stdin,
                "stdout" if want.stdout => &mut stdout,
                "stderr" if want.stderr && !want.tty => &mut stderr,
                "error" => &mut error,
                "resize" if want.tty => &mut resize,
                "signal" => &mut signals,
                // Dropped, and so refused.
                _ => continue,
            };
            if place.is_none() {
                *place = incoming.accept();
            }
        }
        let Some(error) = error else {
            return Err(StreamError::Late);
        };
        Ok(Remote {
            stdin: stdin.map(Input::only),
            stdout: stdout.map(|stream| Output::spdy(stream.writer)),
            stderr: stderr.map(|stream| Output::spdy(stream.writer)),
            resize: resize.map(|stream| Resizes::new(Input::only(stream))),
            signals: signals.map(Input::only),
            error: Output::spdy(error.writer),
            version,
            carrier: Carrier::Spdy(session),
        })
    }

    /// Waits until the client is gone, and says why.
    pub async fn gone(&self) -> StreamError {
        self.carrier.over().await
    }

    /// Says how the command ended, and ends the connection. All output has to be finished before.
    pub async fn finish(mut self, outcome: &Outcome) {
        let said = match self.version {
            0..4 => outcome.words(),
            _ => Some(outcome.status()),
        };
        // A client that is gone needs no word.
        if let Some(said) = said {
            let _ = self.error.write(said.into()).await;
        }
        let _ = self.error.finish().await;
        self.carrier.close().await;
    }
}

/// Changes of a terminal's size.
#[derive(Debug)]
pub struct Resizes {
    input: Input,
    buffer: Vec<u8>,
}

impl Resizes {
    fn new(input: Input) -> Self {
        Resizes {
            input,
            buffer: Vec::new(),
        }
    }

    /// The next size; nothing when there are no more. May be dropped and called again.
    pub async fn next(&mut self) -> Option<Size> {
        loop {
            let mut sizes = serde_json::Deserializer::from_slice(&self.buffer).into_iter::<Size>();
            let next = sizes.next();
            let used = sizes.byte_offset();
            match next {
                Some(Ok(size)) => {
                    self.buffer.drain(..used);
                    return Some(size);
                }
                // Half of one: the rest is to come.
                Some(Err(err)) if err.is_eof() && self.buffer.len() < MAX_RESIZE => {}
                Some(Err(_)) => return None,
                None => self.buffer.clear(),
            }
            let bytes = self.input.read().await.ok().flatten()?;
            self.buffer
                .extend_from_slice(&bytes[..bytes.len().min(MAX_RESIZE)]);
        }
    }
}

/// The side that wants the command.
#[derive(Debug)]
pub struct Command {
    /// Its standard input.
    pub stdin: Option<Output>,
    /// Its standard output, or its terminal's.
    pub stdout: Option<Input>,
    /// Its standard error.
    pub stderr: Option<Input>,
    /// How large its terminal is to be; see [`Size::message`].
    pub resize: Option<Output>,
    /// Signals to it, a byte each, where the other side takes them.
    pub signals: Option<Output>,
    error: Input,
    carrier: Carrier,
}

impl Size {
    /// What is sent for it.
    #[must_use]
    pub fn message(&self) -> Bytes {
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}

impl Command {
    /// Speaks on a connection that the other side has upgraded.
    ///
    /// # Errors
    /// When it does not accept the streams.
    pub async fn start<IO>(io: IO, transport: Transport, want: Want) -> Result<Command, StreamError>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let idle = Duration::from_secs(365 * 24 * 3600);
        match transport {
            Transport::Socket(codec) => {
                let inputs = [STDOUT, STDERR, ERROR];
                let (handle, mut queues) =
                    websocket::start(io, WebRole::Client, codec, &inputs, idle).await;
                let mut input = |channel| queues.remove(&channel).map(Input::socket);
                let output = |channel| Output::socket(handle.sending(channel));
                Ok(Command {
                    stdin: want.stdin.then(|| output(STDIN)),
                    stdout: input(STDOUT).filter(|_| want.stdout),
                    stderr: input(STDERR).filter(|_| want.stderr && !want.tty),
                    resize: want.tty.then(|| output(RESIZE)),
                    signals: None,
                    error: input(ERROR).ok_or(StreamError::Gone)?,
                    carrier: Carrier::Socket(handle),
                })
            }
            Transport::Spdy(_) => {
                let limits = Limits {
                    idle,
                    ..Limits::default()
                };
                let (session, _) = Session::start(io, Role::Client, limits);
                Command::streams(session, want).await
            }
            Transport::Tunnel => Err(StreamError::Unknown("a tunnel carries ports, not commands")),
        }
    }

    async fn streams(session: Session, want: Want) -> Result<Command, StreamError> {
        let open = async |kind: &str, wanted: bool| match wanted {
            true => session
                .open(Headers::default().with(STREAM_TYPE, kind))
                .await
                .map(Some),
            false => Ok(None),
        };
        let error = open("error", true).await?.ok_or(StreamError::Gone)?;
        // Not everybody takes them.
        let signals = open("signal", true).await.ok().flatten();
        let stdin = open("stdin", want.stdin).await?;
        let stdout = open("stdout", want.stdout).await?;
        let stderr = open("stderr", want.stderr && !want.tty).await?;
        let resize = open("resize", want.tty).await?;
        Ok(Command {
            stdin: stdin.map(|stream| Output::spdy(stream.writer)),
            stdout: stdout.map(Input::only),
            stderr: stderr.map(Input::only),
            resize: resize.map(|stream| Output::spdy(stream.writer)),
            signals: signals.map(|stream| Output::spdy(stream.writer)),
            error: Input::only(error),
            carrier: Carrier::Spdy(session),
        })
    }

    /// Waits for the last word. Whoever wants the output takes it before, or meanwhile.
    ///
    /// # Errors
    /// When the connection ends without one.
    pub async fn outcome(&mut self) -> Result<Outcome, StreamError> {
        let mut said = Vec::new();
        loop {
            match self.error.read().await {
                Ok(Some(bytes)) => {
                    let room = MAX_STATUS - said.len().min(MAX_STATUS);
                    said.extend_from_slice(&bytes[..bytes.len().min(room)]);
                    // In a WebSocket the message is the whole of it.
                    if matches!(self.carrier, Carrier::Socket(_)) && !said.is_empty() {
                        return Ok(Outcome::read(&said));
                    }
                }
                Ok(None) if !said.is_empty() => return Ok(Outcome::read(&said)),
                Ok(None) => return Err(StreamError::Gone),
                Err(err) => return Err(err),
            }
        }
    }

    /// Ends the connection.
    pub async fn close(self) {
        self.carrier.close().await;
    }
}

#[cfg(test)]
mod tests;
