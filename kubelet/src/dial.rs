//! Connections inside a pod's network, for port-forward.
use rkube_runtime::supervisor::{Supervisor, SupervisorError};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream as StdStream};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// How long a connection may take: it never leaves the host.
const CONNECT: Duration = Duration::from_secs(10);

/// A pod's network, or the host's where the pod uses that.
#[derive(Debug)]
pub struct Inside {
    netns: OwnedFd,
}

impl Inside {
    /// Of the pod whose folder under /run this is.
    ///
    /// # Errors
    /// When the pod does not run.
    pub fn of(run: &Path) -> Result<Self, SupervisorError> {
        let supervisor = Supervisor::connect(run)?;
        let netns = supervisor.netns();
        netns
            .map(|netns| Inside { netns })
            .map_err(|source| SupervisorError::Launch { source })
    }

    /// Connects to a port of the pod's own address for itself, by IPv4 or else by IPv6.
    ///
    /// # Errors
    /// When nobody listens, as the system says it.
    pub async fn connect(&self, port: u16) -> io::Result<TcpStream> {
        let loopback = [
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::LOCALHOST),
        ];
        let mut first = None;
        for address in loopback {
            let socket = self.socket(address).await;
            let connecting = async { socket?.connect(SocketAddr::new(address, port)).await };
            let done = timeout(CONNECT, connecting).await;
            match done.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    return Ok(stream);
                }
                // A pod without IPv6 has nothing to say about it.
                Err(err) => first = first.or(Some(err)),
            }
        }
        Err(first.unwrap_or_else(|| io::ErrorKind::NotConnected.into()))
    }

    /// A socket stays in the network in which it was made; the thread that enters it is gone afterwards.
    async fn socket(&self, address: IpAddr) -> io::Result<TcpSocket> {
        let netns = self.netns.try_clone()?;
        let family = match address {
            IpAddr::V4(_) => AddressFamily::INET,
            IpAddr::V6(_) => AddressFamily::INET6,
        };
        let making = move || {
            move_into_link_name_space(netns.as_fd(), Some(LinkNameSpaceType::Network))?;
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            Ok(socket_with(family, SocketType::STREAM, flags, None)?)
        };
        let (done, made) = tokio::sync::oneshot::channel();
        // Not a thread of the pool: it would stay in that network.
        std::thread::Builder::new()
            .name("enter".to_owned())
            .stack_size(64 * 1024)
            .spawn(move || done.send(making()))?;
        let made: io::Result<OwnedFd> = made.await.map_err(io::Error::other)?;
        Ok(TcpSocket::from_std_stream(StdStream::from(made?)))
    }
}
