//! Files that grow and are renamed, and the pipes that feed them.

use super::{Fd, RawFd, Result, call, fd};
use core::ffi::CStr;
use linux_raw_sys::general as k;

/// openat(2) for appending, made if missing; `O_NOFOLLOW`, so that a link in the directory leads
/// nowhere.
pub fn append(dir: RawFd, name: &CStr, mode: u32) -> Result<Fd> {
    let flags = k::O_WRONLY | k::O_CREAT | k::O_APPEND | k::O_NOFOLLOW | k::O_CLOEXEC;
    call!(k::__NR_openat, dir, name, flags, mode).map(fd)
}

/// renameat2(2) within one directory.
pub fn rename(dir: RawFd, from: &CStr, to: &CStr) -> Result<()> {
    call!(k::__NR_renameat2, dir, from, dir, to, 0).map(drop)
}

/// unlinkat(2) of a file.
pub fn unlink(dir: RawFd, name: &CStr) -> Result<()> {
    call!(k::__NR_unlinkat, dir, name, 0).map(drop)
}

/// ftruncate(2).
pub fn truncate(file: RawFd, len: u64) -> Result<()> {
    call!(k::__NR_ftruncate, file, len).map(drop)
}

/// lseek(2) to the end: the file's size.
pub fn size(file: RawFd) -> Result<u64> {
    call!(k::__NR_lseek, file, 0, k::SEEK_END).map(|size| size as u64)
}

/// fcntl(2) `F_SETFL`: makes the open file, and every copy of this descriptor, non-blocking.
pub fn set_nonblocking(file: RawFd) -> Result<()> {
    let flags = call!(k::__NR_fcntl, file, k::F_GETFL, 0)?;
    call!(
        k::__NR_fcntl,
        file,
        k::F_SETFL,
        flags | k::O_NONBLOCK as usize
    )
    .map(drop)
}
