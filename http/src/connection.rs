//! One connection: who is at its other end, and how long it may do nothing.
//!
//! | it | is closed after |
//! |---|---|
//! | says no hello of TLS | 10 s |
//! | sends no whole header | 15 s |
//! | has no request under way | 60 s |
//! | takes nothing of what is sent | 60 s, or the idle time of streams if it has one |
use crate::lenient::Certificate;
use crate::seats::Seat;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use http::Response;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulConnection;
use std::fmt;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Waits {
    /// A header to come.
    header: Duration,
    /// A connection without a request to go on.
    idle: Duration,
    /// What is sent to be taken.
    stall: Duration,
    /// Requests under way when the server ends.
    drain: Duration,
}

impl Default for Waits {
    fn default() -> Self {
        Waits {
            header: Duration::from_secs(15),
            idle: Duration::from_secs(60),
            stall: Duration::from_secs(60),
            drain: Duration::from_secs(5),
        }
    }
}

/// The largest header.
const HEADER_LIMIT: u32 = 32 * 1024;
/// Requests of one HTTP/2 connection at once.
const STREAMS: u32 = 128;

/// What a request knows of its connection; among its extensions.
#[derive(Clone, Debug)]
pub struct Door(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    from: From,
    seat: Seat,
    activity: Activity,
    waits: Waits,
    /// Milliseconds for which what is sent may lie untaken.
    patience: AtomicU64,
}

#[derive(Debug)]
enum From {
    /// By TLS, perhaps with a certificate.
    Tls(SocketAddr, Option<Certificate>),
    /// Without TLS, to the port that only shows.
    Plain(SocketAddr),
    /// Root, by the socket of this host.
    Local,
}

impl fmt::Display for Door {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.from {
            From::Tls(address, _) | From::Plain(address) => write!(f, "{address}"),
            From::Local => f.write_str("root"),
        }
    }
}

impl Door {
    fn new(from: From, seat: Seat, waits: Waits) -> Self {
        Door(Arc::new(Inner {
            from,
            seat,
            activity: Activity::default(),
            waits,
            patience: AtomicU64::new(millis(waits.stall)),
        }))
    }
    /// A connection with TLS.
    pub fn tls(address: SocketAddr, certificate: Option<Certificate>, seat: Seat) -> Self {
        Door::new(From::Tls(address, certificate), seat, Waits::default())
    }
    /// A connection to the port without TLS.
    pub fn plain(address: SocketAddr, seat: Seat) -> Self {
        Door::new(From::Plain(address), seat, Waits::default())
    }
    /// Root on this host.
    pub fn local(seat: Seat) -> Self {
        Door::new(From::Local, seat, Waits::default())
    }
    /// Whether it is root, by the socket.
    #[must_use]
    pub fn is_local(&self) -> bool {
        matches!(self.0.from, From::Local)
    }
    /// The certificate that the client has shown.
    pub fn certificate(&self) -> Option<&Certificate> {
        match &self.0.from {
            From::Tls(_, certificate) => certificate.as_ref(),
            From::Plain(_) | From::Local => None,
        }
    }
    /// Somebody on it has shown who they are.
    pub fn known(&self) {
        self.0.seat.known();
    }
    /// The connection carries a stream: whoever reads it may pause for so long.
    pub fn streams(&self, idle: Duration) {
        self.0.patience.fetch_max(millis(idle), Ordering::Relaxed);
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1, whose connections can be taken over by streams.
    One,
    /// HTTP/2.
    Two,
}

/// Serves requests until the other end has no more, does nothing for too long, or the server is closing.
pub async fn serve<S>(
    stream: S,
    protocol: Protocol,
    door: Door,
    router: Router,
    closing: &CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let io = TokioIo::new(Guarded {
        stream,
        door: door.clone(),
        stalled: None,
    });
    let own = door.clone();
    let service = hyper::service::service_fn(move |request: hyper::Request<Incoming>| {
        let busy = own.0.activity.begin(&own);
        let mut request: Request = request.map(Body::new);
        request.extensions_mut().insert(own.clone());
        let answer = router.clone().oneshot(request);
        async move {
            let response: Response<Body> = answer.await?;
            Ok::<_, std::convert::Infallible>(response.map(|body| Busy { body, _busy: busy }))
        }
    });
    let http = builder(protocol, door.0.waits);
    let connection = http.serve_connection_with_upgrades(io, service);
    drive(connection, &door, closing).await;
}

/// The protocol is known before the first byte: none is waited for to find it out.
fn builder(protocol: Protocol, waits: Waits) -> Builder<TokioExecutor> {
    let mut http = match protocol {
        Protocol::One => Builder::new(TokioExecutor::new()).http1_only(),
        Protocol::Two => Builder::new(TokioExecutor::new()).http2_only(),
    };
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(waits.header)
        .max_buf_size(HEADER_LIMIT as usize);
    http.http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20))
        .max_header_list_size(HEADER_LIMIT)
        .max_concurrent_streams(STREAMS);
    http
}

async fn drive<C>(connection: C, door: &Door, closing: &CancellationToken)
where
    C: GracefulConnection,
    C::Error: fmt::Display,
{
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => Some(ended),
        () = closing.cancelled() => None,
        () = door.0.activity.idle(door.0.waits.idle) => None,
    };
    let ended = match ended {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(door.0.waits.drain, connection).await {
                Ok(ended) => ended,
                Err(_) => return,
            }
        }
    };
    if let Err(err) = ended {
        tracing::debug!(%door, %err, "connection ended");
    }
}

/// The requests under way on a connection.
#[derive(Debug, Default)]
struct Activity {
    busy: AtomicUsize,
    changed: Notify,
}

impl Activity {
    fn begin(&self, door: &Door) -> Underway {
        self.busy.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_one();
        Underway(door.clone())
    }

    /// Ends when there has been no request for too long.
    async fn idle(&self, wait: Duration) {
        loop {
            let changed = self.changed.notified();
            if self.busy.load(Ordering::Relaxed) > 0 {
                changed.await;
            } else if tokio::time::timeout(wait, changed).await.is_err() {
                return;
            }
        }
    }
}

/// A request until its answer has been sent.
#[derive(Debug)]
struct Underway(Door);

impl Drop for Underway {
    fn drop(&mut self) {
        let activity = &self.0.0.activity;
        activity.busy.fetch_sub(1, Ordering::Relaxed);
        activity.changed.notify_one();
    }
}

/// An answer's body that keeps the connection from being idle.
struct Busy {
    body: Body,
    _busy: Underway,
}

impl hyper::body::Body for Busy {
    type Data = bytes::Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }
    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}

/// A stream whose other end has to take what is sent. It keeps its seat for as long as it is there, upgraded or not.
#[derive(Debug)]
struct Guarded<S> {
    stream: S,
    door: Door,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Guarded<S> {
    fn watch<T>(
        &mut self,
        context: &mut Context<'_>,
        done: Poll<std::io::Result<T>>,
    ) -> Poll<std::io::Result<T>> {
        if done.is_ready() {
            self.stalled = None;
            return done;
        }
        let stalled = self.stalled.get_or_insert_with(|| {
            let patience = self.door.0.patience.load(Ordering::Relaxed);
            Box::pin(tokio::time::sleep(Duration::from_millis(patience)))
        });
        stalled.as_mut().poll(context).map(|()| {
            Err(std::io::Error::new(
                std::io::ErrorKind::TimedOut,
                "the other end takes nothing",
            ))
        })
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(context, done)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.watch(context, done)
    }
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        let done = Pin::new(&mut self.stream).poll_flush(context);
        self.watch(context, done)
    }
    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        let done = Pin::new(&mut self.stream).poll_shutdown(context);
        self.watch(context, done)
    }
}

#[cfg(test)]
mod tests {
    use super::super::seats::Seats;
    use super::*;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
    use tokio::time::Instant;

    const LONG: Duration = Duration::from_secs(3600);
    const SHORT: Duration = Duration::from_millis(50);
    const PATIENT: Waits = Waits {
        header: LONG,
        idle: LONG,
        stall: LONG,
        drain: LONG,
    };

    /// A connection with these waits, and its server's end.
    fn start(
        waits: Waits,
        closing: &CancellationToken,
    ) -> (DuplexStream, tokio::task::JoinHandle<()>) {
        let (client, server) = tokio::io::duplex(16 * 1024);
        let router = Router::new()
            .route("/", get(async || "hello"))
            .route("/much", get(async || "x".repeat(1 << 20)))
            .route("/never", get(async || std::future::pending::<()>().await));
        let closing = closing.clone();
        let seat = Seats::new(8).local().unwrap();
        let task = tokio::spawn(async move {
            let door = Door::new(From::Local, seat, waits);
            serve(server, Protocol::One, door, router, &closing).await;
        });
        (client, task)
    }

    async fn ask(client: &mut DuplexStream, path: &str) {
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
        client.write_all(request.as_bytes()).await.unwrap();
    }

    #[tokio::test]
    async fn a_header_has_to_come_in_time() {
        let waits = Waits {
            header: SHORT,
            ..PATIENT
        };
        for said in ["GET / HT", "GET / HTTP/1.1\r\nhost: x\r\na: b\r\n"] {
            let (mut client, task) = start(waits, &CancellationToken::new());
            client.write_all(said.as_bytes()).await.unwrap();
            task.await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_connection_without_a_request_is_closed() {
        let waits = Waits {
            idle: SHORT,
            ..PATIENT
        };
        let (client, task) = start(waits, &CancellationToken::new());
        task.await.unwrap();
        drop(client);
        let (mut client, task) = start(waits, &CancellationToken::new());
        ask(&mut client, "/").await;
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert!(answer.ends_with(b"hello"));
        task.await.unwrap();
    }

    #[tokio::test]
    async fn what_nobody_takes_is_given_up() {
        let waits = Waits {
            stall: SHORT,
            ..PATIENT
        };
        let (mut client, task) = start(waits, &CancellationToken::new());
        ask(&mut client, "/much").await;
        task.await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert!(answer.len() < 1 << 20);
    }

    #[tokio::test]
    async fn a_request_keeps_its_connection_until_the_server_ends() {
        let waits = Waits {
            idle: SHORT,
            drain: SHORT,
            ..PATIENT
        };
        let closing = CancellationToken::new();
        let (mut client, mut task) = start(waits, &closing);
        ask(&mut client, "/never").await;
        let early = tokio::time::timeout(SHORT * 4, &mut task).await;
        assert!(early.is_err(), "closed while a request was under way");
        closing.cancel();
        let begun = Instant::now();
        task.await.unwrap();
        assert!(begun.elapsed() >= SHORT);
    }
}
