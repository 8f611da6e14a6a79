//! Copying what a directory holds into a new file system (`tmpcopyup`).

use crate::sys::{Errno, RawFd, errno, fs};
use core::ffi::CStr;
use linux_raw_sys::general as k;

/// Deeper trees are refused: every level takes stack.
const DEPTH_MAX: u32 = 64;
const STAY: u32 = k::RESOLVE_BENEATH | k::RESOLVE_NO_SYMLINKS | k::RESOLVE_NO_MAGICLINKS;

/// Copies the contents and the mode of directory `from` to directory `to`. Devices, sockets and pipes are left out.
pub(super) fn up(from: RawFd, to: RawFd) -> Result<(), Errno> {
    directory(from, to, DEPTH_MAX)
}

fn directory(from: RawFd, to: RawFd, depth: u32) -> Result<(), Errno> {
    let flags = k::O_RDONLY | k::O_DIRECTORY;
    let from = fs::openat2(from, c".", flags, 0, STAY)?;
    let to = fs::openat2(to, c".", flags, 0, STAY)?;
    let mut buffer = [0u8; 2048];
    loop {
        let len = fs::getdents(from.raw(), &mut buffer)?;
        if len == 0 {
            break;
        }
        let mut left = buffer.get(..len).unwrap_or_default();
        while let Some((name, rest)) = next_entry(left) {
            left = rest;
            if !matches!(name.to_bytes(), b"." | b"..") {
                entry(from.raw(), to.raw(), name, depth)?;
            }
        }
    }
    keep_owner(from.raw(), to.raw())
}

/// The name of the first `struct linux_dirent64`, and the rest.
fn next_entry(bytes: &[u8]) -> Option<(&CStr, &[u8])> {
    const NAME: usize = 19;
    let len = u16::from_le_bytes([*bytes.get(16)?, *bytes.get(17)?]);
    let name = CStr::from_bytes_until_nul(bytes.get(NAME..usize::from(len))?).ok()?;
    Some((name, bytes.get(usize::from(len)..)?))
}

fn entry(from: RawFd, to: RawFd, name: &CStr, depth: u32) -> Result<(), Errno> {
    let stat = fs::stat(from, name)?;
    match stat.kind() {
        k::S_IFDIR => {
            let depth = depth.checked_sub(1).ok_or(Errno::of(errno::ELOOP))?;
            fs::mkdirat(to, name, 0o700)?;
            let flags = k::O_PATH | k::O_DIRECTORY;
            let below = fs::openat2(from, name, flags, 0, STAY)?;
            let made = fs::openat2(to, name, flags, 0, STAY)?;
            directory(below.raw(), made.raw(), depth)
        }
        k::S_IFLNK => {
            let mut target = [0u8; 4096];
            let len = fs::readlinkat(from, name, &mut target[..4095])?;
            if let Some(end) = target.get_mut(len) {
                *end = 0;
            }
            let target =
                CStr::from_bytes_until_nul(&target).map_err(|_| Errno::of(errno::ENAMETOOLONG))?;
            fs::symlinkat(target, to, name)?;
            fs::chown(to, name, stat.uid, stat.gid)
        }
        k::S_IFREG => file(from, to, name),
        _ => Ok(()),
    }
}

fn file(from: RawFd, to: RawFd, name: &CStr) -> Result<(), Errno> {
    let source = fs::openat2(from, name, k::O_RDONLY | k::O_NOFOLLOW, 0, STAY)?;
    let target = fs::openat2(to, name, k::O_WRONLY | k::O_CREAT | k::O_EXCL, 0o600, STAY)?;
    let mut buffer = [0u8; 16384];
    loop {
        let len = fs::read(source.raw(), &mut buffer)?;
        if len == 0 {
            break;
        }
        fs::write_all(target.raw(), buffer.get(..len).unwrap_or_default())?;
    }
    keep_owner(source.raw(), target.raw())
}

fn keep_owner(from: RawFd, to: RawFd) -> Result<(), Errno> {
    let stat = fs::stat(from, c"")?;
    fs::chown(to, c"", stat.uid, stat.gid)?;
    // After the owner, since changing that clears the set-id bits.
    fs::fchmod(to, stat.mode & 0o7777)
}
