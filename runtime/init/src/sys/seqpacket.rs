//! `SOCK_SEQPACKET` unix sockets: one message at a time, with descriptors.

use super::{Errno, Fd, RawFd, Result, call, errno, fd};
use core::mem::size_of;
use linux_raw_sys::general as k;
use linux_raw_sys::net;

/// The most descriptors the kernel puts in one message.
pub const MAX_FDS: usize = 253;

/// The header of the one control message that is used here.
#[repr(C)]
struct Control<const N: usize> {
    len: usize,
    level: i32,
    kind: i32,
    fds: [RawFd; N],
}

/// `struct iovec`.
#[repr(C)]
struct Piece {
    start: *mut u8,
    len: usize,
}

/// accept4(2): non-blocking, close-on-exec.
pub fn accept(listener: RawFd) -> Result<Fd> {
    let none = core::ptr::null_mut::<u8>();
    let flags = k::O_CLOEXEC | k::O_NONBLOCK;
    call!(k::__NR_accept4, listener, none, none, flags).map(fd)
}

/// getsockopt(2) `SO_PEERCRED`: the user that connected.
pub fn peer_uid(socket: RawFd) -> Result<u32> {
    let mut cred = [0u32; 3];
    let mut len = u32::try_from(size_of::<[u32; 3]>()).unwrap_or(0);
    let (level, option) = (net::SOL_SOCKET, net::SO_PEERCRED);
    call!(
        k::__NR_getsockopt,
        socket,
        level,
        option,
        cred.as_mut_ptr(),
        &raw mut len
    )?;
    Ok(cred[1])
}

/// socketpair(2): two connected ends that send whole messages.
pub fn pair() -> Result<(Fd, Fd)> {
    let mut ends = [0i32; 2];
    let kind = net::SOCK_SEQPACKET | k::O_CLOEXEC;
    call!(k::__NR_socketpair, net::AF_UNIX, kind, 0, ends.as_mut_ptr())?;
    Ok((Fd::adopt(ends[0]), Fd::adopt(ends[1])))
}

/// sendmsg(2) of one message with at most one descriptor. Neither blocks nor raises SIGPIPE.
pub fn send(socket: RawFd, bytes: &[u8], file: Option<RawFd>) -> Result<()> {
    let mut piece = Piece {
        start: bytes.as_ptr().cast_mut(),
        len: bytes.len(),
    };
    let mut control = Control {
        len: core::mem::offset_of!(Control<2>, fds) + size_of::<RawFd>(),
        level: net::SOL_SOCKET.cast_signed(),
        kind: net::SCM_RIGHTS.cast_signed(),
        fds: [file.unwrap_or(-1), 0],
    };
    let (place, len) = match file {
        Some(_) => ((&raw mut control).cast(), size_of::<Control<2>>()),
        None => (core::ptr::null_mut(), 0),
    };
    let message = header(&raw mut piece, place, len);
    call!(
        k::__NR_sendmsg,
        socket,
        &raw const message,
        net::MSG_NOSIGNAL | net::MSG_DONTWAIT
    )
    .map(drop)
}

/// Descriptors that came with a message. What is not taken is closed.
#[derive(Debug)]
pub struct Received {
    fds: [Option<Fd>; MAX_FDS],
    count: usize,
}

impl Received {
    /// None at all.
    pub const NONE: Self = Self {
        fds: [const { None }; MAX_FDS],
        count: 0,
    };

    /// How many came.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Takes the descriptor at `index` out, if it is there.
    pub fn take(&mut self, index: usize) -> Option<Fd> {
        self.fds.get_mut(index)?.take()
    }

    /// The numbers from `first` on, for a child that is to inherit them; how many.
    pub fn numbers(&self, first: usize, into: &mut [RawFd; MAX_FDS]) -> usize {
        let fds = self.fds.get(first..self.count).unwrap_or_default();
        for (place, fd) in into.iter_mut().zip(fds) {
            *place = fd.as_ref().map_or(-1, Fd::raw);
        }
        fds.len()
    }

    /// Closes whatever is left.
    pub fn close(&mut self) {
        for slot in self.fds.iter_mut().take(self.count) {
            *slot = None;
        }
        self.count = 0;
    }
}

/// recvmsg(2) of one message: its length, 0 at the end. A message that does not fit is `EMSGSIZE`,
/// and its descriptors are closed.
pub fn recv(socket: RawFd, into: &mut [u8], fds: &mut Received) -> Result<usize> {
    fds.close();
    let mut piece = Piece {
        start: into.as_mut_ptr(),
        len: into.len(),
    };
    let mut control = Control::<{ MAX_FDS + 1 }> {
        len: 0,
        level: 0,
        kind: 0,
        fds: [-1; MAX_FDS + 1],
    };
    let mut message = header(
        &raw mut piece,
        (&raw mut control).cast(),
        size_of_val(&control),
    );
    let flags = net::MSG_DONTWAIT | net::MSG_CMSG_CLOEXEC;
    let len = call!(k::__NR_recvmsg, socket, &raw mut message, flags)?;
    let start = core::mem::offset_of!(Control<1>, fds);
    let rights = control.level == net::SOL_SOCKET.cast_signed()
        && control.kind == net::SCM_RIGHTS.cast_signed()
        && message.msg_controllen as usize >= start;
    if rights {
        fds.count = (control.len.saturating_sub(start) / size_of::<RawFd>()).min(MAX_FDS);
        for (slot, &raw) in fds.fds.iter_mut().zip(&control.fds).take(fds.count) {
            *slot = Some(Fd::adopt(raw));
        }
    }
    if message.msg_flags & (net::MSG_TRUNC | net::MSG_CTRUNC) != 0 {
        fds.close();
        return Err(Errno::of(errno::EMSGSIZE));
    }
    Ok(len)
}

fn header(piece: *mut Piece, control: *mut core::ffi::c_void, len: usize) -> net::msghdr {
    net::msghdr {
        msg_name: core::ptr::null_mut(),
        msg_namelen: 0,
        msg_iov: piece.cast(),
        msg_iovlen: 1,
        msg_control: control.cast(),
        msg_controllen: len as _,
        msg_flags: 0,
    }
}
