//! Finding and making destinations below the container's root, by descriptors only.
//!
//! The kernel resolves every path with the root as its top (`RESOLVE_IN_ROOT`), so that no link leads out, and never
//! through the links of procfs. What is missing is made one component at a time, in a directory that we hold.

use crate::status::{At as _, Fault, Step};
use crate::sys::{Errno, Fd, RawFd, errno, fs};
use core::ffi::CStr;
use linux_raw_sys::general as k;

/// What a path below the root may cross.
pub(super) const IN_ROOT: u32 = k::RESOLVE_IN_ROOT | k::RESOLVE_NO_MAGICLINKS;
/// For one component that we have just made or found.
const STEP: u32 = k::RESOLVE_BENEATH | k::RESOLVE_NO_SYMLINKS | k::RESOLVE_NO_MAGICLINKS;
const PATH_MAX: usize = 4096;
const NAME_MAX: usize = 256;

/// What to make when the destination is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    File,
}

/// How often a lookup is tried that the kernel could not finish safely.
const TRIES: u32 = 10_000;

/// openat2(2), again when a rename or a mount somewhere on the machine made the kernel unsure of a `..` (`EAGAIN`).
pub(super) fn open(
    dir: RawFd,
    path: &CStr,
    flags: u32,
    mode: u32,
    resolve: u32,
) -> Result<Fd, Errno> {
    let mut left = TRIES;
    loop {
        match fs::openat2(dir, path, flags, mode, resolve) {
            Err(err) if err.is(errno::EAGAIN) && left > 0 => left -= 1,
            done => return done,
        }
    }
}

/// Opens a path that must exist, without reading rights.
pub(super) fn find(root: RawFd, path: &CStr, more: u32) -> Result<Fd, Errno> {
    open(root, path, k::O_PATH, 0, IN_ROOT | more)
}

/// Opens a destination below `root`, and makes it and its parents if they are missing.
pub(super) fn ensure(root: RawFd, path: &CStr, kind: Kind, more: u32) -> Result<Fd, Fault> {
    match find(root, path, more) {
        Err(err) if err.is(errno::ENOENT) => make(root, path, kind),
        found => found.at(Step::Resolve),
    }
}

/// Opens the directory in which `path` is to be made, making it too, and returns it with the last name.
pub(super) fn parent(root: RawFd, path: &CStr) -> Result<(Fd, Text<NAME_MAX>), Fault> {
    let bytes = path.to_bytes();
    let cut = bytes.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
    let (above, name) = bytes.split_at(cut);
    let name = Text::new(name.strip_prefix(b"/").unwrap_or(name)).at(Step::Create)?;
    let above = if above.is_empty() { b"/" } else { above };
    let above = Text::<PATH_MAX>::new(above).at(Step::Create)?;
    let dir = ensure(root, above.as_c_str(), Kind::Directory, 0)?;
    Ok((dir, name))
}

fn make(root: RawFd, path: &CStr, kind: Kind) -> Result<Fd, Fault> {
    let bytes = path.to_bytes();
    let (mut dir, mut at) = longest_prefix(root, bytes)?;
    loop {
        let rest = bytes.get(at..).unwrap_or_default();
        let begin = at + rest.iter().take_while(|&&byte| byte == b'/').count();
        let len = bytes
            .get(begin..)
            .unwrap_or_default()
            .iter()
            .take_while(|&&byte| byte != b'/')
            .count();
        let end = begin + len;
        let Some(name) = bytes.get(begin..end).filter(|name| !name.is_empty()) else {
            return Ok(dir);
        };
        let last = bytes
            .get(end..)
            .unwrap_or_default()
            .iter()
            .all(|&byte| byte == b'/');
        let name = Text::<NAME_MAX>::new(name).at(Step::Create)?;
        let what = if last { kind } else { Kind::Directory };
        dir = make_one(dir.raw(), name.as_c_str(), what).at(Step::Create)?;
        at = end;
    }
}

/// The deepest directory of `path` that exists, and how much of `path` leads to it.
fn longest_prefix(root: RawFd, path: &[u8]) -> Result<(Fd, usize), Fault> {
    let mut end = path.len();
    while let Some(cut) = path
        .get(..end)
        .and_then(|head| head.iter().rposition(|&byte| byte == b'/'))
    {
        let head = path.get(..cut.max(1)).unwrap_or_default();
        let head = Text::<PATH_MAX>::new(head).at(Step::Resolve)?;
        match open(
            root,
            head.as_c_str(),
            k::O_PATH | k::O_DIRECTORY,
            0,
            IN_ROOT,
        ) {
            Ok(dir) => return Ok((dir, cut)),
            Err(err) if err.is(errno::ENOENT) && cut > 0 => end = cut,
            Err(err) => return Err(err).at(Step::Resolve),
        }
    }
    Err(Errno::of(errno::EINVAL)).at(Step::Resolve)
}

fn make_one(dir: RawFd, name: &CStr, kind: Kind) -> Result<Fd, Errno> {
    match kind {
        Kind::Directory => {
            match fs::mkdirat(dir, name, 0o755) {
                Err(err) if err.is(errno::EEXIST) => {}
                done => done?,
            }
            open(
                dir,
                name,
                k::O_PATH | k::O_DIRECTORY | k::O_NOFOLLOW,
                0,
                STEP,
            )
        }
        Kind::File => {
            let flags = k::O_CREAT | k::O_EXCL | k::O_WRONLY | k::O_NOFOLLOW;
            match open(dir, name, flags, 0o644, STEP) {
                Err(err) if err.is(errno::EEXIST) => {
                    open(dir, name, k::O_PATH | k::O_NOFOLLOW, 0, STEP)
                }
                made => made,
            }
        }
    }
}

/// A string with room for `N` bytes, its NUL included.
pub(super) struct Text<const N: usize> {
    buffer: [u8; N],
}

impl<const N: usize> Text<N> {
    pub(super) fn new(bytes: &[u8]) -> Result<Self, Errno> {
        let mut buffer = [0; N];
        match buffer.get_mut(..bytes.len()).filter(|_| bytes.len() < N) {
            Some(room) => room.copy_from_slice(bytes),
            None => return Err(Errno::of(errno::ENAMETOOLONG)),
        }
        Ok(Self { buffer })
    }

    pub(super) fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.buffer).unwrap_or_default()
    }
}
