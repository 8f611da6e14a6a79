//! Forwarded ports: a connection of the client's is a pair of channels, one for data and one for an error.
//!
//! ```text
//! SPDY       two streams with headers `streamtype: error|data`, `port`, `requestID`      many connections
//! WebSocket  channels 2n (data) and 2n+1 (error) for the n-th of `?ports=`               one for each port
//! ```
use crate::channel::{Carrier, Input, Output, StreamError};
use crate::spdy::{Headers, Incoming, Limits, Role, Session, Stream};
use crate::tunnel;
use crate::upgrade::Transport;
use crate::websocket;
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::protocol::Role as WebRole;

/// The most connections of one client at a time.
const CONNECTIONS: usize = 256;
/// The most ports of one WebSocket.
const PORTS: usize = 32;
/// How long the second stream of a connection may take to come.
const OPENING: Duration = Duration::from_secs(30);
const STREAM_TYPE: &str = "streamtype";
const PORT: &str = "port";
const REQUEST: &str = "requestid";

/// One connection of the client's, to be joined with one to `port`.
#[derive(Debug)]
pub struct Connection {
    /// Which port.
    pub port: u16,
    /// What the client sends.
    pub input: Input,
    /// What the client gets.
    pub output: Output,
    /// Why it could not be.
    pub error: Output,
}

/// The side that has the ports.
#[derive(Debug)]
pub struct Forward {
    carrier: Carrier,
    door: Option<mpsc::Receiver<Incoming>>,
    halves: BTreeMap<String, Half>,
    ready: VecDeque<Connection>,
}

/// A connection of which one stream has come.
#[derive(Debug)]
struct Half {
    port: u16,
    since: Instant,
    data: Option<Stream>,
    error: Option<Stream>,
}

impl Forward {
    /// Takes over an upgraded connection. `ports` are those of the request, for a WebSocket.
    ///
    /// # Errors
    /// When a WebSocket names no port, or too many.
    pub async fn serve<IO>(
        io: IO,
        transport: Transport,
        ports: &[u16],
        idle: Duration,
    ) -> Result<Forward, StreamError>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let limits = Limits {
            streams: 2 * CONNECTIONS,
            idle,
            ..Limits::default()
        };
        let (session, door) = match transport {
            Transport::Spdy(_) => Session::start(io, Role::Server, limits),
            Transport::Tunnel => Session::start(
                tunnel::open(io, WebRole::Server).await,
                Role::Server,
                limits,
            ),
            Transport::Socket(codec) => {
                if ports.is_empty() || ports.len() > PORTS {
                    return Err(StreamError::Unknown(
                        "a WebSocket needs 1 to 32 ports, as ?ports=80,81",
                    ));
                }
                let channels: Vec<u8> = (0..ports.len())
                    .filter_map(|n| u8::try_from(2 * n).ok())
                    .collect();
                let (handle, mut queues) =
                    websocket::start(io, WebRole::Server, codec, &channels, idle).await;
                let mut ready = VecDeque::new();
                for (&channel, &port) in channels.iter().zip(ports) {
                    let Some(queue) = queues.remove(&channel) else {
                        continue;
                    };
                    let mut connection = Connection {
                        port,
                        input: Input::socket(queue),
                        output: Output::socket(handle.sending(channel)),
                        error: Output::socket(handle.sending(channel + 1)),
                    };
                    let first = Bytes::copy_from_slice(&port.to_le_bytes());
                    connection.output.write(first.clone()).await?;
                    connection.error.write(first).await?;
                    ready.push_back(connection);
                }
                return Ok(Forward {
                    carrier: Carrier::Socket(handle),
                    door: None,
                    halves: BTreeMap::new(),
                    ready,
                });
            }
        };
        Ok(Forward {
            carrier: Carrier::Spdy(session),
            door: Some(door),
            halves: BTreeMap::new(),
            ready: VecDeque::new(),
        })
    }

    /// The client's next connection; nothing once it is gone. May be dropped and called again.
    pub async fn next(&mut self) -> Option<Connection> {
        loop {
            if let Some(connection) = self.ready.pop_front() {
                return Some(connection);
            }
            let Some(door) = &mut self.door else {
                self.carrier.over().await;
                return None;
            };
            let due = self.halves.values().map(|half| half.since + OPENING).min();
            tokio::select! {
                incoming = door.recv() => self.take(incoming?),
                () = async { match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => std::future::pending().await,
                }} => self.halves.retain(|_, half| half.since.elapsed() < OPENING),
            }
        }
    }

    /// One stream more. It is refused, by being dropped, if it makes no sense.
    fn take(&mut self, incoming: Incoming) {
        let port = incoming
            .headers
            .get(PORT)
            .and_then(|port| port.parse::<u16>().ok());
        let Some(port) = port.filter(|&port| port > 0) else {
            return;
        };
        let data = match incoming.headers.get(STREAM_TYPE) {
            Some("data") => true,
            Some("error") => false,
            _ => return,
        };
        // Clients from before `requestID` open the one for data right after the one for errors.
        let implied = || {
            incoming
                .id
                .saturating_sub(if data { 2 } else { 0 })
                .to_string()
        };
        let request = incoming.headers.get(REQUEST);
        let request = request.map_or_else(implied, str::to_owned);
        if self.halves.len() >= CONNECTIONS && !self.halves.contains_key(&request) {
            return;
        }
        let half = self.halves.entry(request.clone()).or_insert_with(|| Half {
            port,
            since: Instant::now(),
            data: None,
            error: None,
        });
        let place = if data {
            &mut half.data
        } else {
            &mut half.error
        };
        if half.port != port || place.is_some() {
            return;
        }
        *place = incoming.accept();
        if half.data.is_none() || half.error.is_none() {
            return;
        }
        if let Some(Half {
            port,
            data: Some(data),
            error: Some(error),
            ..
        }) = self.halves.remove(&request)
        {
            self.ready.push_back(Connection {
                port,
                input: Input::spdy(data.reader),
                output: Output::spdy(data.writer),
                error: Output::spdy(error.writer),
            });
        }
    }

    /// Ends all of it, once what was written is on its way.
    pub async fn close(self) {
        self.carrier.close().await;
    }
}

/// The side that wants ports. Clones would be two sessions; share it.
#[derive(Debug)]
pub struct Forwarder {
    session: Session,
    next: AtomicU32,
}

/// A connection to a port of the other side.
#[derive(Debug)]
pub struct Forwarded {
    /// What the port sends.
    pub input: Input,
    /// What the port gets.
    pub output: Output,
    /// Why the other side could not connect; empty if it could.
    pub error: Input,
}

impl Forwarder {
    /// Speaks on a connection that the other side has upgraded.
    ///
    /// # Errors
    /// When it was upgraded to something that carries one connection for each port only.
    pub async fn start<IO>(io: IO, transport: Transport) -> Result<Forwarder, StreamError>
    where
        IO: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let limits = Limits {
            idle: Duration::from_secs(365 * 24 * 3600),
            ..Limits::default()
        };
        let session = match transport {
            Transport::Spdy(_) => Session::start(io, Role::Client, limits).0,
            Transport::Tunnel => {
                let io = tunnel::open(io, WebRole::Client).await;
                Session::start(io, Role::Client, limits).0
            }
            Transport::Socket(_) => {
                return Err(StreamError::Unknown("ports are forwarded over SPDY"));
            }
        };
        Ok(Forwarder {
            session,
            next: AtomicU32::new(0),
        })
    }

    /// One connection more.
    ///
    /// # Errors
    /// When the other side does not take it.
    pub async fn open(&self, port: u16) -> Result<Forwarded, StreamError> {
        let request = self.next.fetch_add(1, Ordering::Relaxed).to_string();
        let headers = |kind: &str| {
            Headers::default()
                .with(STREAM_TYPE, kind)
                .with(PORT, port.to_string())
                .with(REQUEST, request.as_str())
        };
        let mut error = self.session.open(headers("error")).await?;
        error.writer.finish().await?;
        let data = self.session.open(headers("data")).await?;
        Ok(Forwarded {
            input: Input::spdy(data.reader),
            output: Output::spdy(data.writer),
            error: Input::spdy(error.reader),
        })
    }

    /// Waits until the other side is gone, and says why.
    pub async fn over(&self) -> StreamError {
        self.session.over().await.into()
    }

    /// Ends all of it.
    pub async fn close(self) {
        self.session.close().await;
    }
}

#[cfg(test)]
mod tests;
