//! Memory: a record mapped from a sealed file, and pages given back.

use super::{Errno, RawFd, Result, call, errno};
use linux_raw_sys::general as k;

/// A file's first bytes, mapped read-only; unmapped when dropped.
#[derive(Debug)]
pub struct Mapping {
    start: usize,
    len: usize,
}

impl Mapping {
    /// mmap(2) of the first `len` bytes of a memfd that nobody can change or shorten any more.
    ///
    /// # Errors
    /// `EPERM` when the file is not sealed against writing and shrinking, `EINVAL` when it is too
    /// short.
    pub fn sealed(file: RawFd, len: usize) -> Result<Self> {
        let seals = call!(k::__NR_fcntl, file, k::F_GET_SEALS)?;
        let needed = (k::F_SEAL_WRITE | k::F_SEAL_SHRINK) as usize;
        if seals & needed != needed {
            return Err(Errno::of(errno::EPERM));
        }
        let size = call!(k::__NR_lseek, file, 0, k::SEEK_END)?;
        if len == 0 || size < len {
            return Err(Errno::of(errno::EINVAL));
        }
        let none = core::ptr::null::<u8>();
        let start = call!(
            k::__NR_mmap,
            none,
            len,
            k::PROT_READ,
            k::MAP_PRIVATE,
            file,
            0
        )?;
        Ok(Self { start, len })
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `sealed` has mapped this range, drop unmaps it, and the file's seals keep its
        // bytes there and unchanged.
        unsafe { core::slice::from_raw_parts(self.start as *const u8, self.len) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        let _ = call!(k::__NR_munmap, self.start, self.len);
    }
}

/// madvise(2) `MADV_DONTNEED` on the whole pages of a buffer whose contents are worth nothing any
/// more: they become zeros, and cost nothing until they are touched again.
pub fn forget(buffer: &mut [u8]) {
    const PAGE: usize = 4096;
    let start = (buffer.as_mut_ptr() as usize).next_multiple_of(PAGE);
    let end = (buffer.as_mut_ptr() as usize + buffer.len()) / PAGE * PAGE;
    if start < end {
        let _ = call!(k::__NR_madvise, start, end - start, k::MADV_DONTNEED);
    }
}

/// madvise(2) `MADV_DONTNEED` on whole pages of the running program's text: they are read from its
/// file again when they are needed.
///
/// # Safety
/// The pages hold nothing but what the file holds: text or constants, never data.
pub unsafe fn forget_text(start: usize, end: usize) {
    let _ = call!(
        k::__NR_madvise,
        start,
        end.saturating_sub(start),
        k::MADV_DONTNEED
    );
}

/// madvise(2) `MADV_DONTNEED` on what lies well below the caller's frame on the stack: what deeper
/// calls have left.
#[inline(never)]
pub fn forget_stack() {
    const PAGE: usize = 4096;
    const DEEPEST: usize = 128 * 1024;
    let here = 0u8;
    // A page further down nobody's frame is: this function's is far smaller than that.
    let end = (&raw const here as usize) / PAGE * PAGE - PAGE;
    // The part of the range that never was touched is not mapped; that is reported, and does not
    // matter.
    let _ = call!(k::__NR_madvise, end - DEEPEST, DEEPEST, k::MADV_DONTNEED);
}
