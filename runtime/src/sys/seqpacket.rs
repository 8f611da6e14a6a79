//! `SOCK_SEQPACKET` unix sockets with descriptors on board: the wire between a client and a pod's
//! supervisor.
//!
//! Sockets have paths, never abstract names: those would be reachable from every container that
//! shares the host's network.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};

/// The most descriptors the kernel puts in one message (`SCM_MAX_FD`).
const MAX_FDS: usize = 253;

/// socketpair(2): two connected ends, both close-on-exec.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SocketFlags::CLOEXEC;
    Ok(rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        flags,
        None,
    )?)
}

/// socket(2) and connect(2) to the socket `name` in the directory `dir`, however long its path is.
pub(crate) fn connect(dir: BorrowedFd<'_>, name: &str) -> io::Result<OwnedFd> {
    let socket = open(SocketFlags::CLOEXEC)?;
    rustix::net::connect(&socket, &address(dir, name)?)?;
    Ok(socket)
}

/// socket(2), bind(2) and listen(2): a non-blocking socket called `name` in the directory `dir`.
pub(crate) fn listen(dir: BorrowedFd<'_>, name: &str, backlog: i32) -> io::Result<OwnedFd> {
    let socket = open(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
    rustix::net::bind(&socket, &address(dir, name)?)?;
    rustix::net::listen(&socket, backlog)?;
    Ok(socket)
}

fn open(flags: SocketFlags) -> io::Result<OwnedFd> {
    Ok(rustix::net::socket_with(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        flags,
        None,
    )?)
}

/// `sun_path` holds 107 bytes and state directories may be deeper: go through the directory's
/// descriptor.
fn address(dir: BorrowedFd<'_>, name: &str) -> io::Result<SocketAddrUnix> {
    let path = Path::new("/proc/self/fd")
        .join(dir.as_raw_fd().to_string())
        .join(name);
    Ok(SocketAddrUnix::new(path)?)
}

/// sendmsg(2) of one message with `fds`. Neither blocks nor raises SIGPIPE.
pub(crate) fn send(
    socket: BorrowedFd<'_>,
    message: &[u8],
    fds: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(io::Error::from(rustix::io::Errno::TOOMANYREFS));
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    rustix::net::sendmsg(socket, &[IoSlice::new(message)], &mut control, flags)?;
    Ok(())
}

/// What [`recv`] found.
#[derive(Debug)]
pub(crate) struct Received {
    /// The message's length; 0 when the other side has closed.
    pub len: usize,
    /// The descriptors that came along, close-on-exec.
    pub fds: Vec<OwnedFd>,
}

/// recvmsg(2) of one message, without blocking. A message that does not fit is an error.
pub(crate) fn recv(socket: BorrowedFd<'_>, into: &mut [u8]) -> io::Result<Received> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
    let got = rustix::net::recvmsg(socket, &mut [IoSliceMut::new(into)], &mut control, flags)?;
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    if got
        .flags
        .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
    {
        return Err(io::Error::from(rustix::io::Errno::MSGSIZE));
    }
    Ok(Received {
        len: got.bytes,
        fds,
    })
}

/// poll(2) until `fd` is readable (or its other end is gone), at most for `timeout`. Whether it is.
pub(crate) fn readable(fd: BorrowedFd<'_>, timeout: std::time::Duration) -> io::Result<bool> {
    let timeout = Timespec::try_from(timeout).map_err(io::Error::other)?;
    let mut fds = [PollFd::from_borrowed_fd(fd, PollFlags::IN)];
    match rustix::event::poll(&mut fds, Some(&timeout)) {
        Ok(count) => Ok(count > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(err) => Err(err.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn a_message_carries_descriptors() {
        let (here, there) = pair().unwrap();
        let mut buffer = [0; 16];
        assert!(
            recv(there.as_fd(), &mut buffer).is_err(),
            "nothing was sent"
        );
        send(here.as_fd(), b"hello", &[here.as_fd(), there.as_fd()]).unwrap();
        let got = recv(there.as_fd(), &mut buffer).unwrap();
        assert_eq!((&buffer[..got.len], got.fds.len()), (&b"hello"[..], 2));
        send(here.as_fd(), &[1; 17], &[]).unwrap();
        assert!(
            recv(there.as_fd(), &mut buffer).is_err(),
            "a message was cut short"
        );
        drop((here, got));
        assert_eq!(recv(there.as_fd(), &mut buffer).unwrap().len, 0);
    }
}
