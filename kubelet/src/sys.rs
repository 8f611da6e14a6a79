//! The few kernel calls the kubelet makes itself; the rest is the runtime's and the network's.
#![expect(
    unsafe_code,
    reason = "the one module of this crate that talks to the kernel"
)]
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// unshare(2) of the kinds of namespaces that pods have, in a thread that ends with them.
///
/// # Errors
/// What the kernel has against it.
pub(crate) fn try_namespaces() -> io::Result<()> {
    use rustix::thread::{UnshareFlags, unshare_unsafe};
    let kinds = UnshareFlags::NEWNS
        | UnshareFlags::NEWPID
        | UnshareFlags::NEWNET
        | UnshareFlags::NEWIPC
        | UnshareFlags::NEWUTS;
    let thread = std::thread::Builder::new().spawn(move || {
        // SAFETY: descriptors stay shared, which is what the wrapper warns of; the thread does nothing else.
        unsafe { unshare_unsafe(kinds) }.map_err(io::Error::from)
    })?;
    thread
        .join()
        .unwrap_or_else(|_| Err(io::Error::other("the thread ended")))
}

/// mount(2) of a tmpfs at `dir`, of at most `size` bytes, private to this mount namespace.
///
/// # Errors
/// Names the directory.
pub(crate) fn mount_tmpfs(dir: &Path, size: Option<u64>, mode: u32) -> io::Result<()> {
    let mut options = format!("mode={mode:o}");
    if let Some(size) = size {
        options.push_str(&format!(",size={size}"));
    }
    named(dir, mount_private("tmpfs", dir, &options)?)
}

/// mount(2) of a tmpfs at `dir` whose files are never written to swap, where the kernel can promise it.
///
/// # Errors
/// Names the directory.
pub(crate) fn mount_unswapped(dir: &Path) -> io::Result<()> {
    match mount_private("tmpfs", dir, "mode=755,noswap")? {
        // Kernels before 6.3 do not know the option.
        Err(rustix::io::Errno::INVAL) => mount_tmpfs(dir, None, 0o755),
        result => named(dir, result),
    }
}

fn mount_private(kind: &str, dir: &Path, options: &str) -> io::Result<rustix::io::Result<()>> {
    let options = std::ffi::CString::new(options)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    let mounted = rustix::mount::mount(kind, dir, kind, flags, options.as_c_str());
    Ok(mounted.and_then(|()| rustix::mount::mount_change(dir, MountPropagationFlags::PRIVATE)))
}

/// move_mount(2): attaches a detached mount at `dir`.
///
/// # Errors
/// Names the directory.
pub(crate) fn attach_mount(mount: &OwnedFd, dir: &Path) -> io::Result<()> {
    let flags = rustix::mount::MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    let moved = rustix::mount::move_mount(mount, "", rustix::fs::CWD, dir, flags);
    let private =
        moved.and_then(|()| rustix::mount::mount_change(dir, MountPropagationFlags::PRIVATE));
    named(dir, private)
}

/// Whether something is mounted at `dir`, by statx(2).
///
/// # Errors
/// Names the directory.
pub(crate) fn is_mount(dir: &Path) -> io::Result<bool> {
    use rustix::fs::{AtFlags, StatxAttributes, StatxFlags};
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    let stat = rustix::fs::statx(rustix::fs::CWD, dir, flags, StatxFlags::empty());
    let stat = named(dir, stat)?;
    Ok(stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

/// Whether the file system of `dir` is memory, by statfs(2).
///
/// # Errors
/// Names the directory.
pub(crate) fn in_memory(dir: &Path) -> io::Result<bool> {
    const TMPFS_MAGIC: i64 = 0x0102_1994;
    const RAMFS_MAGIC: i64 = 0x8584_58f6;
    let kind = named(dir, rustix::fs::statfs(dir))?.f_type;
    Ok([TMPFS_MAGIC, RAMFS_MAGIC].contains(&kind))
}

/// umount2(2) with `MNT_DETACH` of everything mounted at `path`; nothing mounted there is success.
///
/// # Errors
/// Names the path.
pub(crate) fn unmount(path: &Path) -> io::Result<()> {
    loop {
        match rustix::mount::unmount(path, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            Ok(()) => {}
            // EINVAL: not a mount point (any more).
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => return Ok(()),
            Err(errno) => return named(path, Err(errno)),
        }
    }
}

fn named<T>(path: &Path, result: rustix::io::Result<T>) -> io::Result<T> {
    result.map_err(|errno| {
        io::Error::new(
            io::Error::from(errno).kind(),
            format!("{}: {errno}", path.display()),
        )
    })
}

/// Lets the event loop watch a descriptor for input.
///
/// # Errors
/// When the kernel cannot watch it.
pub(crate) fn readable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    watched(fd, Interest::READABLE)
}

/// Lets the event loop watch a descriptor for whatever is of interest.
///
/// # Errors
/// When the kernel cannot watch it.
pub(crate) fn watched(fd: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is one open descriptor for as long as it lives, and always the same.
    unsafe { AsyncFd::register_with_interest(fd, interest) }.map_err(io::Error::from)
}

/// The pid behind a pidfd, from /proc/self/fdinfo (pidfd_open(2)); 0 if its process has ended.
pub(crate) fn pid_of(pidfd: &OwnedFd) -> i32 {
    let info = fs_err::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd()));
    let info = info.unwrap_or_default();
    let pid = info
        .lines()
        .find_map(|line| line.strip_prefix("Pid:")?.trim().parse::<i32>().ok());
    pid.unwrap_or(0).max(0)
}
