//! Descriptors and error numbers of `rkube_init`, as std knows them.
#![expect(
    unsafe_code,
    reason = "taking over descriptors that another crate owned"
)]

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd};

use rkube_init::sys::{Errno, Fd};

/// Takes over a descriptor.
pub(crate) fn own(fd: Fd) -> OwnedFd {
    // SAFETY: an `Fd` owns its descriptor, and `release` gives it up.
    unsafe { OwnedFd::from_raw_fd(fd.release()) }
}

/// The same error, in std's terms.
pub(crate) fn error(errno: Errno) -> io::Error {
    io::Error::from_raw_os_error(errno.0)
}
