//! Files and directories, always relative to a descriptor.

use super::{Fd, RawFd, Result, call, fd};
use core::ffi::CStr;
use linux_raw_sys::general as k;

/// `*at` calls: relative to the working directory.
pub const CWD: RawFd = k::AT_FDCWD;

/// What [`stat`] tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// Type and permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device numbers of a device node.
    pub rdev: (u32, u32),
}

impl Stat {
    /// The type bits of the mode.
    #[must_use]
    pub fn kind(&self) -> u32 {
        self.mode & k::S_IFMT
    }

    /// Whether it is a directory.
    #[must_use]
    pub fn is_dir(&self) -> bool {
        self.kind() == k::S_IFDIR
    }
}

/// openat2(2), with `O_CLOEXEC`.
pub fn openat2(dir: RawFd, path: &CStr, flags: u32, mode: u32, resolve: u32) -> Result<Fd> {
    let how = k::open_how {
        flags: u64::from(flags | k::O_CLOEXEC),
        mode: u64::from(mode),
        resolve: u64::from(resolve),
    };
    call!(
        k::__NR_openat2,
        dir,
        path,
        &raw const how,
        size_of::<k::open_how>()
    )
    .map(fd)
}

/// openat(2), with `O_CLOEXEC`. Follows symbolic links: only for paths that we chose ourselves.
pub fn openat(dir: RawFd, path: &CStr, flags: u32, mode: u32) -> Result<Fd> {
    call!(k::__NR_openat, dir, path, flags | k::O_CLOEXEC, mode).map(fd)
}

/// read(2).
pub fn read(file: RawFd, buffer: &mut [u8]) -> Result<usize> {
    call!(k::__NR_read, file, buffer.as_mut_ptr(), buffer.len())
}

/// write(2).
pub fn write(file: RawFd, bytes: &[u8]) -> Result<usize> {
    call!(k::__NR_write, file, bytes.as_ptr(), bytes.len())
}

/// mkdirat(2). The mode is reduced by the umask.
pub fn mkdirat(dir: RawFd, path: &CStr, mode: u32) -> Result<()> {
    call!(k::__NR_mkdirat, dir, path, mode).map(drop)
}

/// mknodat(2): `mode` carries the type bits too.
pub fn mknodat(dir: RawFd, path: &CStr, mode: u32, device: (u32, u32)) -> Result<()> {
    let (major, minor) = (u64::from(device.0), u64::from(device.1));
    let number = (minor & 0xff)
        | ((major & 0xfff) << 8)
        | ((minor & !0xff) << 12)
        | ((major & !0xfff) << 32);
    call!(k::__NR_mknodat, dir, path, mode, number).map(drop)
}

/// symlinkat(2).
pub fn symlinkat(target: &CStr, dir: RawFd, path: &CStr) -> Result<()> {
    call!(k::__NR_symlinkat, target, dir, path).map(drop)
}

/// readlinkat(2): how many bytes of `buffer` the target fills. An empty path reads `dir` itself.
pub fn readlinkat(dir: RawFd, path: &CStr, buffer: &mut [u8]) -> Result<usize> {
    call!(
        k::__NR_readlinkat,
        dir,
        path,
        buffer.as_mut_ptr(),
        buffer.len()
    )
}

/// fchownat(2), never following a symbolic link. An empty path means `dir` itself.
pub fn chown(dir: RawFd, path: &CStr, uid: u32, gid: u32) -> Result<()> {
    call!(
        k::__NR_fchownat,
        dir,
        path,
        uid,
        gid,
        k::AT_SYMLINK_NOFOLLOW | k::AT_EMPTY_PATH
    )
    .map(drop)
}

/// fchmod(2); not for `O_PATH` descriptors.
pub fn fchmod(file: RawFd, mode: u32) -> Result<()> {
    call!(k::__NR_fchmod, file, mode).map(drop)
}

/// statx(2), never following a symbolic link. An empty path means `dir` itself.
pub fn stat(dir: RawFd, path: &CStr) -> Result<Stat> {
    statx(dir, path, k::AT_SYMLINK_NOFOLLOW | k::AT_EMPTY_PATH)
}

/// statx(2), following symbolic links.
pub fn stat_followed(dir: RawFd, path: &CStr) -> Result<Stat> {
    statx(dir, path, 0)
}

fn statx(dir: RawFd, path: &CStr, flags: u32) -> Result<Stat> {
    let mut out = core::mem::MaybeUninit::<k::statx>::zeroed();
    call!(
        k::__NR_statx,
        dir,
        path,
        flags,
        k::STATX_BASIC_STATS,
        out.as_mut_ptr()
    )?;
    // SAFETY: zeroed is a valid value of this plain struct, and the kernel has filled it in.
    let out = unsafe { out.assume_init() };
    Ok(Stat {
        mode: u32::from(out.stx_mode),
        uid: out.stx_uid,
        gid: out.stx_gid,
        rdev: (out.stx_rdev_major, out.stx_rdev_minor),
    })
}

/// fstatfs(2): the magic number of the file system that holds `file`.
pub fn magic(file: RawFd) -> Result<u64> {
    let mut out = core::mem::MaybeUninit::<k::statfs>::zeroed();
    call!(k::__NR_fstatfs, file, out.as_mut_ptr())?;
    // SAFETY: zeroed is a valid value of this plain struct, and the kernel has filled it in.
    let kind = unsafe { out.assume_init() }.f_type;
    Ok(kind.cast_unsigned() & 0xffff_ffff)
}

/// faccessat2(2) with the effective ids: whether `path` may be executed.
pub fn executable(dir: RawFd, path: &CStr) -> Result<()> {
    call!(k::__NR_faccessat2, dir, path, k::X_OK, k::AT_EACCESS).map(drop)
}

/// fchdir(2).
pub fn fchdir(dir: RawFd) -> Result<()> {
    call!(k::__NR_fchdir, dir).map(drop)
}

/// chroot(2). Does not change the working directory.
pub fn chroot(path: &CStr) -> Result<()> {
    call!(k::__NR_chroot, path).map(drop)
}

/// getcwd(2): the path's length in `buffer`, without its NUL. A directory outside the root reads `(unreachable)..`.
pub fn getcwd(buffer: &mut [u8]) -> Result<usize> {
    call!(k::__NR_getcwd, buffer.as_mut_ptr(), buffer.len()).map(|n| n.saturating_sub(1))
}

/// umask(2): the mask before.
pub fn umask(mask: u32) -> u32 {
    call!(k::__NR_umask, mask).map_or(0, |old| u32::try_from(old).unwrap_or(0))
}

/// pipe2(2): the read end and the write end, both close-on-exec.
pub fn pipe() -> Result<(Fd, Fd)> {
    let mut ends = [0i32; 2];
    call!(k::__NR_pipe2, ends.as_mut_ptr(), k::O_CLOEXEC)?;
    Ok((Fd(ends[0]), Fd(ends[1])))
}

/// dup3(2): makes `to` a copy of `from` that survives execve(2). Fails with `EINVAL` when they are equal.
pub fn dup_to(from: RawFd, to: RawFd) -> Result<()> {
    call!(k::__NR_dup3, from, to, 0).map(drop)
}

/// fcntl(2) `F_DUPFD_CLOEXEC`: a copy numbered at least `least`.
pub fn dup_from(from: RawFd, least: RawFd) -> Result<Fd> {
    call!(k::__NR_fcntl, from, k::F_DUPFD_CLOEXEC, least).map(fd)
}

/// fcntl(2) `F_SETFD`: whether the descriptor is closed by execve(2).
pub fn set_cloexec(file: RawFd, on: bool) -> Result<()> {
    let flags = if on { k::FD_CLOEXEC } else { 0 };
    call!(k::__NR_fcntl, file, k::F_SETFD, flags).map(drop)
}

/// close_range(2): closes every descriptor from `first` to `last`.
pub fn close_range(first: u32, last: u32) -> Result<()> {
    call!(k::__NR_close_range, first, last, 0).map(drop)
}

/// close_range(2) with `CLOSE_RANGE_CLOEXEC`: execve(2) will close every descriptor from `first` on.
pub fn cloexec_from(first: u32) -> Result<()> {
    const CLOSE_RANGE_CLOEXEC: u32 = 4;
    call!(k::__NR_close_range, first, u32::MAX, CLOSE_RANGE_CLOEXEC).map(drop)
}

/// getdents64(2): how many bytes of `buffer` were filled; 0 at the end.
pub fn getdents(dir: RawFd, buffer: &mut [u8]) -> Result<usize> {
    call!(k::__NR_getdents64, dir, buffer.as_mut_ptr(), buffer.len())
}

/// ioctl(2) `TIOCSPTLCK`: unlocks the slave of a pseudo-terminal's master.
pub fn unlock_pty(master: RawFd) -> Result<()> {
    let zero = 0i32;
    call!(
        k::__NR_ioctl,
        master,
        linux_raw_sys::ioctl::TIOCSPTLCK,
        &raw const zero
    )
    .map(drop)
}

/// ioctl(2) `TIOCGPTPEER`: the slave of this very master, found without a path.
pub fn open_pty_peer(master: RawFd) -> Result<Fd> {
    let flags = k::O_RDWR | k::O_NOCTTY | k::O_CLOEXEC;
    call!(
        k::__NR_ioctl,
        master,
        linux_raw_sys::ioctl::TIOCGPTPEER,
        flags
    )
    .map(fd)
}

/// ioctl(2) `TIOCSWINSZ`.
pub fn set_window_size(terminal: RawFd, rows: u16, columns: u16) -> Result<()> {
    let size = [rows, columns, 0, 0];
    call!(
        k::__NR_ioctl,
        terminal,
        linux_raw_sys::ioctl::TIOCSWINSZ,
        size.as_ptr()
    )
    .map(drop)
}

/// ioctl(2) `TIOCSCTTY`: makes the terminal the session's controlling one.
pub fn set_controlling_terminal(terminal: RawFd) -> Result<()> {
    call!(k::__NR_ioctl, terminal, linux_raw_sys::ioctl::TIOCSCTTY, 0).map(drop)
}

/// Reads one byte; `false` at the end of the file. Interruptions are waited out.
pub fn read_byte(file: RawFd) -> Result<bool> {
    let mut byte = [0u8];
    loop {
        match read(file, &mut byte) {
            Err(err) if err.is(super::errno::EINTR) => {}
            done => return done.map(|n| n == 1),
        }
    }
}

/// Writes a small buffer that pipes take in one piece.
pub fn write_all(file: RawFd, bytes: &[u8]) -> Result<()> {
    let mut left = bytes;
    while !left.is_empty() {
        match write(file, left) {
            Ok(n) => left = left.get(n..).unwrap_or_default(),
            Err(err) if err.is(super::errno::EINTR) => {}
            Err(err) => return Err(err),
        }
    }
    Ok(())
}
