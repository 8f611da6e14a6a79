//! The two kernel calls that rustix does not offer in a safe form.
#![expect(
    unsafe_code,
    reason = "setsockopt(SOL_NETLINK) and unshare have no safe wrapper"
)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// setsockopt(2) at level `SOL_NETLINK`: turns a boolean option on.
pub(crate) fn enable_netlink_option(socket: BorrowedFd<'_>, option: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    let len = libc::socklen_t::try_from(size_of_val(&on)).expect("an int has four bytes");
    // SAFETY: the pointer is to a live int on this stack and `len` is its size; the kernel only
    // reads it.
    let ret = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_NETLINK,
            option,
            (&raw const on).cast(),
            len,
        )
    };
    if ret == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// unshare(2) with `CLONE_NEWNET`: moves the calling thread, and it alone, into a new network
/// namespace. Nothing is up in it, not even `lo`.
pub(crate) fn unshare_net() -> io::Result<()> {
    // SAFETY: only CLONE_FILES endangers other threads (they would lose sight of descriptors), and
    // it is not among the flags.
    unsafe { rustix::thread::unshare_unsafe(rustix::thread::UnshareFlags::NEWNET) }?;
    Ok(())
}
