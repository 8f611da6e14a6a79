//! The kernel calls that the store and the unpacker need beyond `std`: one call each.
//!
//! Everything here works on descriptors and single names, never on paths that could be led astray,
//! and opens with `O_CLOEXEC`. No retries and no policy: callers decide.

use std::ffi::{CStr, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{self, AtFlags, FileType, FlockOperation, Mode, OFlags, ResolveFlags};

pub(crate) use rustix::fs::{FileType as Kind, Stat};

/// Seconds and nanoseconds of a modification time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Mtime {
    pub(crate) secs: i64,
    pub(crate) nanos: u32,
}

/// open(2) of a directory that is named by the caller, not by an archive.
pub(crate) fn open_dir(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(fs::open(path, flags, Mode::empty())?)
}

/// openat2(2) of the directory `name` in `dir`; a symlink in its place is `ELOOP`.
pub(crate) fn open_subdir(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    Ok(fs::openat2(dir, name, flags, Mode::empty(), resolve)?)
}

/// openat2(2) of the existing regular file `name` in `dir` for reading.
pub(crate) fn open_file(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    Ok(fs::openat2(dir, name, flags, Mode::empty(), resolve)?)
}

/// openat(2) with `O_CREAT|O_EXCL`: a new file, or `EEXIST`. Of `mode` the permission bits count,
/// and what the umask takes of them is missing.
pub(crate) fn create_file(dir: BorrowedFd<'_>, name: &[u8], mode: u32) -> io::Result<OwnedFd> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(fs::openat(
        dir,
        name,
        flags,
        Mode::from_raw_mode(mode & 0o777),
    )?)
}

/// openat(2) with `O_TMPFILE` in the directory `dir`: a file without a name.
pub(crate) fn nameless_file(dir: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
    Ok(fs::open(dir, flags, Mode::RUSR | Mode::WUSR)?)
}

/// linkat(2) by way of `/proc/self/fd`: gives a nameless file its name, or `EEXIST`.
pub(crate) fn name_file(file: impl AsFd, path: &Path) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let from = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    Ok(fs::linkat(
        fs::CWD,
        from,
        fs::CWD,
        path,
        AtFlags::SYMLINK_FOLLOW,
    )?)
}

/// mkdirat(2), 0755 before the umask.
pub(crate) fn mkdir(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    Ok(fs::mkdirat(dir, name, Mode::from_raw_mode(0o755))?)
}

/// mknodat(2): a device, a fifo or a socket of mode 0600.
pub(crate) fn mknod(
    dir: BorrowedFd<'_>,
    name: &[u8],
    kind: FileType,
    device: (u32, u32),
) -> io::Result<()> {
    let device = fs::makedev(device.0, device.1);
    Ok(fs::mknodat(
        dir,
        name,
        kind,
        Mode::RUSR | Mode::WUSR,
        device,
    )?)
}

/// symlinkat(2).
pub(crate) fn symlink(target: &[u8], dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    Ok(fs::symlinkat(target, dir, name)?)
}

/// linkat(2) without following `from_name` when it is a symlink.
pub(crate) fn link(
    from: BorrowedFd<'_>,
    from_name: &[u8],
    to: BorrowedFd<'_>,
    to_name: &[u8],
) -> io::Result<()> {
    Ok(fs::linkat(from, from_name, to, to_name, AtFlags::empty())?)
}

/// readlinkat(2).
pub(crate) fn readlink(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Vec<u8>> {
    Ok(fs::readlinkat(dir, name, Vec::new())?.into_bytes())
}

/// fstatat(2) with `AT_SYMLINK_NOFOLLOW`.
pub(crate) fn stat(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Stat> {
    Ok(fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?)
}

/// fstat(2).
pub(crate) fn fstat(fd: BorrowedFd<'_>) -> io::Result<Stat> {
    Ok(fs::fstat(fd)?)
}

/// The file type in a [`Stat`].
pub(crate) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

/// Major and minor number of a device file.
pub(crate) fn device(stat: &Stat) -> (u32, u32) {
    (fs::major(stat.st_rdev), fs::minor(stat.st_rdev))
}

/// unlinkat(2) of something that is no directory.
pub(crate) fn unlink(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    Ok(fs::unlinkat(dir, name, AtFlags::empty())?)
}

/// unlinkat(2) with `AT_REMOVEDIR`: an empty directory.
pub(crate) fn rmdir(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    Ok(fs::unlinkat(dir, name, AtFlags::REMOVEDIR)?)
}

/// fchownat(2) with `AT_SYMLINK_NOFOLLOW`. `u32::MAX` means "leave it" to the kernel: never pass it.
pub(crate) fn chown(dir: BorrowedFd<'_>, name: &[u8], uid: u32, gid: u32) -> io::Result<()> {
    let (uid, gid) = (fs::Uid::from_raw(uid), fs::Gid::from_raw(gid));
    Ok(fs::chownat(
        dir,
        name,
        Some(uid),
        Some(gid),
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}

/// fchown(2). `u32::MAX` means "leave it" to the kernel: never pass it.
pub(crate) fn fchown(fd: BorrowedFd<'_>, uid: u32, gid: u32) -> io::Result<()> {
    Ok(fs::fchown(
        fd,
        Some(fs::Uid::from_raw(uid)),
        Some(fs::Gid::from_raw(gid)),
    )?)
}

/// fchmodat(2), which follows symlinks: only for names the caller just made as something else.
pub(crate) fn chmod(dir: BorrowedFd<'_>, name: &[u8], mode: u32) -> io::Result<()> {
    Ok(fs::chmodat(
        dir,
        name,
        Mode::from_raw_mode(mode),
        AtFlags::empty(),
    )?)
}

/// fchmod(2).
pub(crate) fn fchmod(fd: BorrowedFd<'_>, mode: u32) -> io::Result<()> {
    Ok(fs::fchmod(fd, Mode::from_raw_mode(mode))?)
}

/// utimensat(2) with `AT_SYMLINK_NOFOLLOW`: access and modification time alike.
pub(crate) fn set_mtime(dir: BorrowedFd<'_>, name: &[u8], mtime: Mtime) -> io::Result<()> {
    Ok(fs::utimensat(
        dir,
        name,
        &timestamps(mtime),
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}

/// futimens(2): access and modification time alike.
pub(crate) fn fset_mtime(fd: BorrowedFd<'_>, mtime: Mtime) -> io::Result<()> {
    Ok(fs::futimens(fd, &timestamps(mtime))?)
}

fn timestamps(mtime: Mtime) -> fs::Timestamps {
    let time = fs::Timespec {
        tv_sec: mtime.secs,
        tv_nsec: mtime.nanos.into(),
    };
    fs::Timestamps {
        last_access: time,
        last_modification: time,
    }
}

/// utimensat(2) that sets both times to now.
pub(crate) fn touch(path: &Path) -> io::Result<()> {
    let now = fs::Timespec {
        tv_sec: 0,
        tv_nsec: fs::UTIME_NOW,
    };
    let times = fs::Timestamps {
        last_access: now,
        last_modification: now,
    };
    Ok(fs::utimensat(
        fs::CWD,
        path,
        &times,
        AtFlags::SYMLINK_NOFOLLOW,
    )?)
}

/// fsetxattr(2).
pub(crate) fn fset_xattr(fd: BorrowedFd<'_>, name: &CStr, value: &[u8]) -> io::Result<()> {
    Ok(fs::fsetxattr(fd, name, value, fs::XattrFlags::empty())?)
}

/// llistxattr(2) and lgetxattr(2): all extended attributes of `name` in `dir`, sorted by name.
pub(crate) fn xattrs(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<Vec<(Vec<u8>, Vec<u8>)>> {
    let path = proc_path(dir, name);
    let mut names = Vec::with_capacity(1024);
    match fs::llistxattr(&path, rustix::buffer::spare_capacity(&mut names)) {
        Ok(_) => {}
        Err(rustix::io::Errno::RANGE) => {
            names.reserve(64 << 10);
            fs::llistxattr(&path, rustix::buffer::spare_capacity(&mut names))?;
        }
        Err(rustix::io::Errno::OPNOTSUPP) => return Ok(Vec::new()),
        Err(err) => return Err(err.into()),
    }
    let mut found = Vec::new();
    for xattr in names
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
    {
        let mut value = Vec::with_capacity(64 << 10);
        fs::lgetxattr(&path, xattr, rustix::buffer::spare_capacity(&mut value))?;
        value.shrink_to_fit();
        found.push((xattr.to_vec(), value));
    }
    found.sort();
    Ok(found)
}

fn proc_path(dir: BorrowedFd<'_>, name: &[u8]) -> Vec<u8> {
    use std::os::fd::AsRawFd;
    let mut path = format!("/proc/self/fd/{}/", dir.as_raw_fd()).into_bytes();
    path.extend_from_slice(name);
    path
}

/// getdents64(2): the names in `dir` without `.` and `..`, in no order.
pub(crate) fn names(dir: BorrowedFd<'_>) -> io::Result<Vec<Vec<u8>>> {
    let mut found = Vec::new();
    for entry in fs::Dir::read_from(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            found.push(name.to_vec());
        }
    }
    Ok(found)
}

/// ftruncate(2): gives a sparse file its full length.
pub(crate) fn set_len(fd: BorrowedFd<'_>, len: u64) -> io::Result<()> {
    Ok(fs::ftruncate(fd, len)?)
}

/// syncfs(2): everything written to the file system of `fd` is on the disk afterwards.
pub(crate) fn syncfs(fd: BorrowedFd<'_>) -> io::Result<()> {
    Ok(fs::syncfs(fd)?)
}

/// flock(2), exclusive; blocks.
pub(crate) fn lock(fd: impl AsFd) -> io::Result<()> {
    Ok(fs::flock(fd, FlockOperation::LockExclusive)?)
}

/// flock(2), exclusive, without waiting: `false` when another holds it.
pub(crate) fn try_lock(fd: impl AsFd) -> io::Result<bool> {
    match fs::flock(fd, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(err) => Err(err.into()),
    }
}

/// Whether the error means that the disk (or the quota) is full.
pub(crate) fn is_disk_full(err: &io::Error) -> bool {
    matches!(
        err.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// A name as a path for messages.
pub(crate) fn lossy(name: &[u8]) -> String {
    OsStr::from_bytes(name).to_string_lossy().into_owned()
}
