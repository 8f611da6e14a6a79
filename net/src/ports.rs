//! Ports that processes of the host have: who has one, and holding one.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::sockopt::set_socket_reuseaddr;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, ipproto, listen, socket_with};

use crate::rules::{HostPort, Transport};

/// `TCP_LISTEN` in the state column of /proc/net/tcp.
const LISTEN: &str = "0A";

/// A process of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// The name of its program.
    pub name: String,
}

/// The process that has a port, or `None` if nobody has, or none that can be seen (a socket may
/// belong to the kernel, or to a process of another user when not root).
///
/// `ip` is the address of interest; `None` is any of the host's. SCTP is not looked up.
pub fn port_owner(protocol: Transport, ip: Option<IpAddr>, port: u16) -> Option<Process> {
    let tables: &[&str] = match protocol {
        Transport::Tcp => &["tcp", "tcp6"],
        Transport::Udp => &["udp", "udp6"],
        Transport::Sctp => &[],
    };
    tables.iter().find_map(|table| {
        // Not /proc/net: that is the namespace of the process, not of the thread.
        let text = fs_err::read_to_string(format!("/proc/thread-self/net/{table}")).ok()?;
        let mut sockets = text.lines().skip(1).filter_map(read_socket);
        sockets
            .find(|socket| {
                (protocol != Transport::Tcp || socket.listens)
                    && socket.local.port() == port
                    && overlap(socket.local.ip(), ip)
            })
            .and_then(|socket| process_with(socket.inode))
    })
}

/// A line of /proc/net/tcp or its like.
#[derive(Debug, PartialEq, Eq)]
struct Socket {
    local: SocketAddr,
    listens: bool,
    inode: u64,
}

fn read_socket(line: &str) -> Option<Socket> {
    let fields: Vec<_> = line.split_whitespace().collect();
    let (ip, port) = fields.get(1)?.split_once(':')?;
    let local = SocketAddr::new(read_ip(ip)?, u16::from_str_radix(port, 16).ok()?);
    Some(Socket {
        local,
        listens: *fields.get(3)? == LISTEN,
        inode: fields.get(9)?.parse().ok()?,
    })
}

/// Addresses are printed as 32-bit numbers, each in the byte order of the host.
fn read_ip(hex: &str) -> Option<IpAddr> {
    let mut octets = Vec::with_capacity(16);
    for word in hex.as_bytes().chunks(8) {
        let word = str::from_utf8(word).ok().filter(|word| word.len() == 8)?;
        octets.extend(u32::from_str_radix(word, 16).ok()?.to_ne_bytes());
    }
    match octets.len() {
        4 => Some(IpAddr::from(<[u8; 4]>::try_from(octets).ok()?)),
        16 => Some(Ipv6Addr::from(<[u8; 16]>::try_from(octets).ok()?).to_canonical()),
        _ => None,
    }
}

/// Does a socket at `bound` get in the way of `wanted`?
fn overlap(bound: IpAddr, wanted: Option<IpAddr>) -> bool {
    match wanted.filter(|ip| !ip.is_unspecified()) {
        Some(wanted) => bound.is_unspecified() || bound == wanted,
        None => true,
    }
}

fn process_with(inode: u64) -> Option<Process> {
    let target = format!("socket:[{inode}]");
    let mut pids: Vec<u32> = fs_err::read_dir("/proc")
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect();
    pids.sort_unstable(); // the parent of workers that share a socket comes first
    pids.into_iter().find_map(|pid| {
        let mut fds = fs_err::read_dir(format!("/proc/{pid}/fd")).ok()?.flatten();
        fds.find(|fd| fs_err::read_link(fd.path()).is_ok_and(|link| link.as_os_str() == &*target))?;
        let name = fs_err::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        Some(Process {
            pid,
            name: name.trim_end().to_owned(),
        })
    })
}

/// Why a host port could not be held.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HoldError {
    /// A process has it.
    #[error("{port} is taken by {} (pid {})", by.name, by.pid)]
    Taken {
        /// The port.
        port: String,
        /// The process.
        by: Process,
    },
    /// Somebody has it who cannot be seen from here.
    #[error("{port} is taken by a process that cannot be found")]
    TakenUnseen {
        /// The port.
        port: String,
    },
    /// The host has no such address.
    #[error("cannot publish {port}: this host does not have the address {ip}")]
    NoAddress {
        /// The port.
        port: String,
        /// The address.
        ip: IpAddr,
    },
    /// The kernel refused.
    #[error("cannot hold {port}")]
    Refused {
        /// The port.
        port: String,
        /// Why.
        source: io::Error,
    },
}

/// Keeps other processes from binding a published port, which they would never get packets from.
///
/// The socket itself never gets any either: packets are sent on to the pod before they reach it.
#[derive(Debug)]
pub struct HostPortGuard {
    /// `None` for SCTP on a kernel without it.
    _socket: Option<OwnedFd>,
}

impl HostPortGuard {
    /// Binds the port, which also shows whether it is free.
    pub fn bind(port: &HostPort) -> Result<Self, HoldError> {
        let ip = port.only_on().unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        match hold(port.protocol, SocketAddr::new(ip, port.host_port)) {
            Ok(socket) => Ok(Self {
                _socket: Some(socket),
            }),
            Err(Errno::PROTONOSUPPORT | Errno::SOCKTNOSUPPORT)
                if port.protocol == Transport::Sctp =>
            {
                Ok(Self { _socket: None })
            }
            Err(errno) => Err(explain(port, ip, errno)),
        }
    }
}

fn explain(port: &HostPort, ip: IpAddr, errno: Errno) -> HoldError {
    let text = port.to_string();
    match errno {
        Errno::ADDRNOTAVAIL => HoldError::NoAddress { port: text, ip },
        Errno::ADDRINUSE => match port_owner(port.protocol, port.only_on(), port.host_port) {
            Some(by) => HoldError::Taken { port: text, by },
            None => HoldError::TakenUnseen { port: text },
        },
        _ => HoldError::Refused {
            port: text,
            source: errno.into(),
        },
    }
}

fn hold(protocol: Transport, at: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if at.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    let (kind, number) = match protocol {
        Transport::Tcp => (SocketType::STREAM, ipproto::TCP),
        Transport::Udp => (SocketType::DGRAM, ipproto::UDP),
        Transport::Sctp => (SocketType::STREAM, ipproto::SCTP),
    };
    let socket = socket_with(family, kind, SocketFlags::CLOEXEC, Some(number))?;
    if protocol == Transport::Udp {
        bind(&socket, &at)?;
        return Ok(socket);
    }
    // What is left of earlier connections to the port does not matter, a listener does.
    set_socket_reuseaddr(&socket, true)?;
    bind(&socket, &at)?;
    listen(&socket, 0)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn socket_tables_are_read() {
        let line = "   1: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1234 1 000 100 0 0 10 0";
        let want = Socket {
            local: "127.0.0.1:8080".parse().unwrap(),
            listens: true,
            inode: 1234,
        };
        if cfg!(target_endian = "little") {
            assert_eq!(read_socket(line), Some(want));
            let six = "0: 0000000000000000FFFF00000100007F:0035 0:0 07 0:0 00:0 0 0 0 9 2 0 0";
            let got = read_socket(six).unwrap();
            assert_eq!(
                (got.local, got.listens),
                ("127.0.0.1:53".parse().unwrap(), false)
            );
        }
        for bad in [
            "",
            "1: x:y",
            "1: 0100007F:1F90 0:0 0A",
            "0: 01:1 0 0 0 0 0 0 0 0",
        ] {
            assert_eq!(read_socket(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_taken_port_names_the_process() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let host_port = listener.local_addr().unwrap().port();
        let port = HostPort {
            protocol: Transport::Tcp,
            host_ip: None,
            host_port,
            pod_ip: "10.77.0.5".parse().unwrap(),
            container_port: 80,
            pod: "default/web".into(),
            uid: "u".into(),
        };
        let own = std::process::id();
        match HostPortGuard::bind(&port) {
            Err(HoldError::Taken { by, .. }) => assert_eq!(by.pid, own),
            other => panic!("{other:?}"),
        }
        let elsewhere = HostPort {
            host_ip: Some("192.0.2.77".parse().unwrap()),
            ..port.clone()
        };
        assert!(matches!(
            HostPortGuard::bind(&elsewhere),
            Err(HoldError::NoAddress { .. })
        ));
        drop(listener);
        let guard = HostPortGuard::bind(&port).unwrap();
        assert!(std::net::TcpListener::bind(("127.0.0.1", host_port)).is_err());
        drop(guard);
        std::net::TcpListener::bind(("127.0.0.1", host_port)).unwrap();
    }
}
