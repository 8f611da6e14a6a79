//! What a pod's first process does to the namespaces it has been given.

use super::{RawFd, Result, call};
use linux_raw_sys::general as k;
use linux_raw_sys::net;

/// kill(2): a signal to a process of this pid namespace that has not been reaped.
pub fn kill(pid: i32, signal: u8) -> Result<()> {
    call!(k::__NR_kill, pid, u32::from(signal)).map(drop)
}

/// chdir(2).
pub fn chdir(path: &core::ffi::CStr) -> Result<()> {
    call!(k::__NR_chdir, path).map(drop)
}

/// socket(2), `SIOCGIFFLAGS`, `SIOCSIFFLAGS`: brings the loopback device up.
pub fn loopback_up() -> Result<()> {
    /// `struct ifreq`, with the member that the two requests use.
    #[repr(C)]
    struct Request {
        name: [u8; 16],
        flags: u16,
        rest: [u8; 22],
    }
    const UP: u16 = 1;
    let kind = net::SOCK_DGRAM | k::O_CLOEXEC;
    let socket = call!(k::__NR_socket, net::AF_INET, kind, 0).map(super::fd)?;
    let mut request = Request {
        name: *b"lo\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        flags: 0,
        rest: [0; 22],
    };
    interface(
        socket.raw(),
        linux_raw_sys::ioctl::SIOCGIFFLAGS,
        &raw mut request,
    )?;
    request.flags |= UP;
    interface(
        socket.raw(),
        linux_raw_sys::ioctl::SIOCSIFFLAGS,
        &raw mut request,
    )
}

fn interface<T>(socket: RawFd, request: u32, argument: *mut T) -> Result<()> {
    call!(k::__NR_ioctl, socket, request, argument).map(drop)
}
