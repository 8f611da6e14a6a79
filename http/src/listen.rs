//! The doors: 10250 with TLS, the port that only shows, the socket for root.
//!
//! A port that is taken does not keep pods from running: it is tried again, and the socket is there meanwhile.
use crate::connection::{self, Door, Protocol};
use crate::lenient::Certificate;
use crate::pki::Pki;
use crate::seats::{Seat, Seats};
use axum::Router;
use rkube_net::Transport;
use rustix::net::sockopt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long a client has for the handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How long a client may leave what it was sent without an acknowledgement, in milliseconds.
const GONE: u32 = 120_000;
/// The first and the longest wait before a port is tried again.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));

/// What all doors share.
#[derive(Clone, Debug)]
pub struct Hall {
    /// Who may come in.
    pub seats: Seats,
    /// All connections, to wait for at the end.
    pub connections: TaskTracker,
    /// The server is to end.
    pub closing: CancellationToken,
}

impl Hall {
    /// With TLS, until the server is to end.
    pub async fn tls(self, port: Port, pki: Arc<Pki>, router: Router) {
        let Some(listener) = self.listen(port).await else {
            return;
        };
        while let Some((stream, from)) = self.accept(|| listener.accept()).await {
            let Some(seat) = self.seats.stranger(from.ip()) else {
                continue;
            };
            let (hall, pki, router) = (self.clone(), pki.clone(), router.clone());
            self.connections.spawn(async move {
                if let Err(err) = hall.greet(stream, from, &pki, seat, router).await {
                    tracing::debug!(%from, %err, "no TLS");
                }
            });
        }
    }

    async fn greet(
        &self,
        stream: TcpStream,
        from: SocketAddr,
        pki: &Pki,
        seat: Seat,
        router: Router,
    ) -> io::Result<()> {
        configure(&stream)?;
        let tls = pki.tls(stream.local_addr()?.ip());
        let handshake = TlsAcceptor::from(tls.config).accept(stream);
        let stream = tokio::time::timeout(HANDSHAKE, handshake)
            .await
            .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "no handshake in time"))??;
        let (_, session) = stream.get_ref();
        let protocol = match session.alpn_protocol() {
            Some(b"h2") => Protocol::Two,
            Some(_) | None => Protocol::One,
        };
        let shown = session.peer_certificates().unwrap_or_default();
        let certificate = tls
            .clients
            .and_then(|clients| Certificate::of(shown, &*clients));
        let door = Door::tls(from, certificate, seat);
        connection::serve(stream, protocol, door, router, &self.closing).await;
        Ok(())
    }

    /// Without TLS, until the server is to end.
    pub async fn plain(self, port: Port, router: Router) {
        let Some(listener) = self.listen(port).await else {
            return;
        };
        while let Some((stream, from)) = self.accept(|| listener.accept()).await {
            if let Some(seat) = self.seats.stranger(from.ip())
                && configure(&stream).is_ok()
            {
                self.serve(stream, Door::plain(from, seat), &router);
            }
        }
    }

    /// For root on this host, until the server is to end.
    pub async fn local(self, listener: UnixListener, router: Router) {
        while let Some((stream, _)) = self.accept(|| listener.accept()).await {
            let root = stream.peer_cred().is_ok_and(|peer| peer.uid() == 0);
            if let Some(seat) = self.seats.local().filter(|_| root) {
                self.serve(stream, Door::local(seat), &router);
            }
        }
    }

    fn serve<S>(&self, stream: S, door: Door, router: &Router)
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    {
        let (hall, router) = (self.clone(), router.clone());
        self.connections.spawn(async move {
            connection::serve(stream, Protocol::One, door, router, &hall.closing).await;
        });
    }

    /// The next connection; none when the server is to end.
    async fn accept<T, F: Future<Output = io::Result<T>>>(
        &self,
        mut accept: impl FnMut() -> F,
    ) -> Option<T> {
        loop {
            let accepted = tokio::select! {
                accepted = accept() => accepted,
                () = self.closing.cancelled() => return None,
            };
            match accepted {
                Ok(accepted) => return Some(accepted),
                // A client that has gone again, or no descriptors for the moment.
                Err(err) => {
                    tracing::warn!(%err, "cannot accept a connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// Listens, sooner or later; never when the server is to end first.
    async fn listen(&self, port: Port) -> Option<TcpListener> {
        let Port { address, mut bound } = port;
        let mut wait = RETRY.0;
        loop {
            match bound {
                Ok(listener) => {
                    tracing::info!(%address, "listening");
                    return Some(listener);
                }
                Err(err) => tracing::error!(%address, err = why(address, &err), "cannot listen"),
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => wait = (wait * 2).min(RETRY.1),
                () = self.closing.cancelled() => return None,
            }
            bound = bind(address);
        }
    }
}

/// A port, and the first try to have it: who waits for the daemon to be ready finds it there.
#[derive(Debug)]
pub struct Port {
    address: SocketAddr,
    bound: io::Result<TcpListener>,
}

impl Port {
    /// Tries once.
    pub fn new(address: SocketAddr) -> Self {
        Port {
            address,
            bound: bind(address),
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// A client's host that has gone is noticed within two minutes, whatever the connection is for: by what asks for a sign of
/// life when nothing is sent, by the missing acknowledgement when something is.
fn configure(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, Duration::from_secs(60))?;
    sockopt::set_tcp_keepintvl(stream, Duration::from_secs(15))?;
    sockopt::set_tcp_keepcnt(stream, 4)?;
    sockopt::set_tcp_user_timeout(stream, GONE)?;
    Ok(())
}

/// Who has the port, where somebody has.
fn why(address: SocketAddr, err: &io::Error) -> String {
    let owner = (err.kind() == io::ErrorKind::AddrInUse)
        .then(|| rkube_net::port_owner(Transport::Tcp, Some(address.ip()), address.port()))
        .flatten();
    match owner {
        Some(by) => format!(
            "the port is taken by process {} (pid {}); stop it, or choose another `port` in the settings",
            by.name, by.pid
        ),
        None => err.to_string(),
    }
}

/// The socket for root, in place of one that was left behind.
///
/// # Errors
/// Names the path.
pub fn socket(path: &Path) -> io::Result<UnixListener> {
    match fs_err::remove_file(path) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(path)
        .map_err(|err| io::Error::new(err.kind(), format!("{}: {err}", path.display())))?;
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}
