//! Passing a descriptor over a unix socket.

use super::{RawFd, Result, call};
use linux_raw_sys::general as k;
use linux_raw_sys::net;

/// A control message with one descriptor, laid out as the kernel reads it.
#[repr(C)]
struct OneFd {
    len: usize,
    level: i32,
    kind: i32,
    fd: RawFd,
    pad: i32,
}

/// `struct iovec`.
#[repr(C)]
struct Piece {
    base: *const u8,
    len: usize,
}

/// sendmsg(2): `bytes` with one descriptor (`SCM_RIGHTS`), without raising `SIGPIPE`.
pub fn send_fd(socket: RawFd, bytes: &[u8], fd: RawFd) -> Result<usize> {
    let mut piece = Piece {
        base: bytes.as_ptr(),
        len: bytes.len(),
    };
    let mut control = OneFd {
        len: core::mem::offset_of!(OneFd, pad),
        level: net::SOL_SOCKET.cast_signed(),
        kind: net::SCM_RIGHTS.cast_signed(),
        fd,
        pad: 0,
    };
    let message = net::msghdr {
        msg_name: core::ptr::null_mut(),
        msg_namelen: 0,
        msg_iov: (&raw mut piece).cast(),
        msg_iovlen: 1,
        msg_control: (&raw mut control).cast(),
        msg_controllen: size_of::<OneFd>() as _,
        msg_flags: 0,
    };
    call!(
        k::__NR_sendmsg,
        socket,
        &raw const message,
        net::MSG_NOSIGNAL
    )
}
