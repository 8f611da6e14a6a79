//! The supervisor's program, carried inside this library and run from memory.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;

/// The ELF file of `rkube-pause`.
pub static PAUSE_ELF: &[u8] = include_bytes!(env!("RKUBE_PAUSE_ELF"));

/// The sealed file with the program. One for the whole process, because all supervisors that run
/// from the same file share its pages.
static IMAGE: OnceLock<OwnedFd> = OnceLock::new();

/// The program as a memfd that nobody can change, so that no container that gets hold of it can
/// either.
pub(super) fn sealed() -> io::Result<&'static OwnedFd> {
    if let Some(image) = IMAGE.get() {
        return Ok(image);
    }
    let image = crate::sys::memfd::sealed(
        c"rkube-pause",
        PAUSE_ELF,
        crate::sys::memfd::Executable::Yes,
    )?;
    Ok(IMAGE.get_or_init(|| image))
}

/// A start record as a memfd that the supervisor can map and trust not to change.
pub(super) fn record(bytes: &[u8]) -> io::Result<OwnedFd> {
    crate::sys::memfd::sealed(c"start-record", bytes, crate::sys::memfd::Executable::No)
}
