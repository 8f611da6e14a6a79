//! A small netlink client: batches of requests, their acknowledgements, and dumps.
//!
//! Every request asks for an acknowledgement and every wait has a bound, so a call either did what
//! it says or returns the kernel's own words ("extended ack") for why not. One socket belongs to
//! one caller at a time (`&mut self`), and stays in the network namespace it was opened in.

pub(crate) mod conntrack;
pub(crate) mod message;
pub(crate) mod nftables;
pub(crate) mod route;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recvfrom, sendto,
    socket_with,
};

use crate::sys;
use message::{Attributes, Message, Parts, u32_at};

/// How long the kernel may take over one batch. It answers in microseconds; a veth waits for RCU.
const PATIENCE: Duration = Duration::from_secs(10);
/// The kernel fills dump buffers up to 32 KiB; the rest is room for a long error message.
const BUFFER: usize = 64 * 1024;
/// How often a dump is started over because the table changed under it.
const DUMP_TRIES: usize = 8;

/// `nlmsghdr` is 16 bytes: length, type, flags, sequence, port.
const HEADER: usize = 16;
const NLMSGERR_ATTR_MSG: u16 = 1;
const NLM_F_DUMP_INTR: u16 = 0x10;
const NLM_F_ACK_TLVS: u16 = 0x200;

/// Why an exchange with the kernel over netlink failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetlinkError {
    /// No socket could be had.
    #[error("cannot open a netlink socket")]
    Open {
        /// What the kernel said.
        source: io::Error,
    },
    /// Sending or receiving failed, or the kernel stayed silent for ten seconds.
    #[error("the kernel did not answer over netlink")]
    Exchange {
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel refused one request of a batch.
    #[error("cannot {what}{}", hint(.message))]
    Refused {
        /// What was asked for, as in "create veth rk-1".
        what: String,
        /// The kernel's own explanation, or nothing.
        message: String,
        /// The error number.
        source: io::Error,
    },
    /// An answer was cut short or not in the format of its type.
    #[error("cannot make sense of the kernel's netlink answer to: {what}")]
    Garbled {
        /// What was asked for.
        what: String,
    },
}

fn hint(message: &str) -> String {
    if message.is_empty() {
        String::new()
    } else {
        format!(" (the kernel says: {message})")
    }
}

impl NetlinkError {
    /// The error number when the kernel refused a request.
    pub(crate) fn errno(&self) -> Option<Errno> {
        match self {
            Self::Refused { source, .. } => Errno::from_io_error(source),
            Self::Open { .. } | Self::Exchange { .. } | Self::Garbled { .. } => None,
        }
    }
}

/// A netlink socket of one protocol, in the network namespace of the thread that opened it.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

/// One request and the words for it in an error message.
pub(crate) struct Request {
    pub(crate) what: String,
    pub(crate) message: Message,
}

impl Request {
    pub(crate) fn new(what: impl Into<String>, message: Message) -> Self {
        Self {
            what: what.into(),
            message,
        }
    }
}

impl Socket {
    /// A socket for links, addresses and routes.
    pub(crate) fn route() -> Result<Self, NetlinkError> {
        Self::open(None)
    }

    /// A socket for the netfilter subsystems.
    pub(crate) fn netfilter() -> Result<Self, NetlinkError> {
        Self::open(Some(rustix::net::netlink::NETFILTER))
    }

    fn open(protocol: Option<Protocol>) -> Result<Self, NetlinkError> {
        let open = || -> io::Result<OwnedFd> {
            let kind = (
                AddressFamily::NETLINK,
                SocketType::RAW,
                SocketFlags::CLOEXEC,
            );
            let fd = socket_with(kind.0, kind.1, kind.2, protocol)?;
            sys::enable_netlink_option(fd.as_fd(), libc::NETLINK_EXT_ACK)?;
            sys::enable_netlink_option(fd.as_fd(), libc::NETLINK_CAP_ACK)?;
            set_socket_timeout(&fd, Timeout::Recv, Some(PATIENCE))?;
            set_socket_timeout(&fd, Timeout::Send, Some(PATIENCE))?;
            bind(&fd, &SocketAddrNetlink::new(0, 0))?;
            Ok(fd)
        };
        let fd = open().map_err(|source| NetlinkError::Open { source })?;
        Ok(Self {
            fd,
            sequence: 0,
            buffer: vec![0; BUFFER],
        })
    }

    /// Sends all requests in one go and waits for every acknowledgement; the first refusal is
    /// returned. The kernel carries out the others all the same: a batch is not a transaction.
    pub(crate) fn send(&mut self, requests: Vec<Request>) -> Result<(), NetlinkError> {
        let first = self.sequence.wrapping_add(1);
        let mut bytes = Vec::with_capacity(512);
        let mut names = Vec::with_capacity(requests.len());
        for request in requests {
            self.sequence = self.sequence.wrapping_add(1);
            bytes.extend(request.message.finish(flag(libc::NLM_F_ACK), self.sequence));
            names.push(request.what);
        }
        self.transmit(&bytes)?;
        let mut refused = None;
        let mut answered = 0;
        while answered < names.len() {
            let datagram = self.receive()?;
            for part in Parts::new(&self.buffer[..datagram]) {
                let index =
                    usize::try_from(part.sequence.wrapping_sub(first)).unwrap_or(usize::MAX);
                let Some(what) = names.get(index) else {
                    continue;
                };
                if part.kind == message_kind(libc::NLMSG_ERROR) {
                    answered += 1;
                    if let Err(err) = acknowledgement(what, part.flags, part.payload) {
                        refused.get_or_insert(err);
                    }
                }
            }
        }
        refused.map_or(Ok(()), Err)
    }

    /// Sends a request for a listing and collects what `pick` makes of each entry.
    pub(crate) fn dump<T>(
        &mut self,
        request: &Request,
        pick: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Vec<T>, NetlinkError> {
        for _ in 0..DUMP_TRIES {
            if let Some(found) = self.dump_once(request, &pick)? {
                return Ok(found);
            }
        }
        let source = io::Error::from(Errno::AGAIN);
        Err(NetlinkError::Exchange { source })
    }

    /// One pass over a listing; `None` when the table changed meanwhile and the pass is no good.
    fn dump_once<T>(
        &mut self,
        request: &Request,
        pick: &impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Option<Vec<T>>, NetlinkError> {
        self.sequence = self.sequence.wrapping_add(1);
        let sequence = self.sequence;
        self.transmit(
            &request
                .message
                .clone()
                .finish(flag(libc::NLM_F_DUMP), sequence),
        )?;
        let mut found = Vec::new();
        let mut consistent = true;
        loop {
            let datagram = self.receive()?;
            for part in Parts::new(&self.buffer[..datagram]).filter(|p| p.sequence == sequence) {
                consistent &= part.flags & NLM_F_DUMP_INTR == 0;
                if part.kind == message_kind(libc::NLMSG_ERROR) {
                    acknowledgement(&request.what, part.flags, part.payload)?;
                } else if part.kind == message_kind(libc::NLMSG_DONE) {
                    return Ok(consistent.then_some(found));
                } else {
                    found.extend(pick(part.payload));
                }
            }
        }
    }

    /// Asks for one object; `None` when there is no such thing.
    pub(crate) fn get<T>(
        &mut self,
        request: &Request,
        pick: impl Fn(&[u8]) -> Option<T>,
    ) -> Result<Option<T>, NetlinkError> {
        self.sequence = self.sequence.wrapping_add(1);
        let sequence = self.sequence;
        self.transmit(&request.message.clone().finish(0, sequence))?;
        loop {
            let datagram = self.receive()?;
            let mut parts = Parts::new(&self.buffer[..datagram]);
            let Some(part) = parts.find(|part| part.sequence == sequence) else {
                continue;
            };
            let garbled = || NetlinkError::Garbled {
                what: request.what.clone(),
            };
            if part.kind != message_kind(libc::NLMSG_ERROR) {
                return pick(part.payload).map(Some).ok_or_else(garbled);
            }
            return match acknowledgement(&request.what, part.flags, part.payload) {
                Err(err) if matches!(err.errno(), Some(Errno::NODEV | Errno::NOENT)) => Ok(None),
                Err(err) => Err(err),
                Ok(()) => Err(garbled()),
            };
        }
    }

    fn transmit(&self, bytes: &[u8]) -> Result<(), NetlinkError> {
        let kernel = SocketAddrNetlink::new(0, 0);
        let sent =
            rustix::io::retry_on_intr(|| sendto(&self.fd, bytes, SendFlags::empty(), &kernel));
        sent.map(|_| ()).map_err(|errno| NetlinkError::Exchange {
            source: errno.into(),
        })
    }

    /// Receives one datagram of the kernel into the buffer and returns its length.
    fn receive(&mut self) -> Result<usize, NetlinkError> {
        let failed = |errno: Errno| NetlinkError::Exchange {
            source: errno.into(),
        };
        loop {
            let (_, len, from) = rustix::io::retry_on_intr(|| {
                recvfrom(&self.fd, &mut self.buffer[..], RecvFlags::TRUNC)
            })
            .map_err(failed)?;
            if len > self.buffer.len() {
                return Err(failed(Errno::MSGSIZE));
            }
            // Other processes may send to a netlink socket too: only port 0 is the kernel.
            let from = from.and_then(|addr| SocketAddrNetlink::try_from(addr).ok());
            if from.is_some_and(|addr| addr.pid() == 0) {
                return Ok(len);
            }
        }
    }
}

/// Reads an `nlmsgerr`: a negative error number or 0, then (with `NETLINK_CAP_ACK`) the header of
/// the request, then attributes of which one is a text.
fn acknowledgement(what: &str, flags: u16, payload: &[u8]) -> Result<(), NetlinkError> {
    let garbled = || NetlinkError::Garbled {
        what: what.to_owned(),
    };
    let code = u32_at(payload, 0).ok_or_else(garbled)?.cast_signed();
    if code == 0 {
        return Ok(());
    }
    let mut message = String::new();
    if flags & NLM_F_ACK_TLVS != 0 {
        let rest = payload.get(4 + HEADER..).unwrap_or_default();
        if let Some(text) = Attributes::new(rest).get(NLMSGERR_ATTR_MSG) {
            message = String::from_utf8_lossy(text)
                .trim_end_matches('\0')
                .to_owned();
        }
    }
    let source = io::Error::from_raw_os_error(code.wrapping_neg());
    Err(NetlinkError::Refused {
        what: what.to_owned(),
        message,
        source,
    })
}

/// A flag of the header; libc has them as `int`, the header as 16 bits.
pub(crate) fn flag(flag: libc::c_int) -> u16 {
    u16::try_from(flag).expect("netlink flags have 16 bits")
}

fn message_kind(kind: libc::c_int) -> u16 {
    u16::try_from(kind).expect("netlink message types have 16 bits")
}
