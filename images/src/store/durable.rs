//! Files and directories that are whole or absent, also after a crash; and locks.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sys;

/// Makes `dir` and what is missing above it; `dir` itself ends up 0700 when we made it.
pub(crate) fn ensure_private_dir(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|err| named(dir, &err))?;
    // The umask may only have taken bits away; 0700 is what the owner needs.
    fs_err::set_permissions(dir, std::fs::Permissions::from_mode(0o700))?;
    dir.parent().map_or(Ok(()), sync_dir)
}

/// Writes `path` so that a crash leaves the old content or the new, never a mixture.
pub(crate) fn write_aside(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let aside = unique_beside(path);
    let result = write_new(&aside, bytes).and_then(|()| fs_err::rename(&aside, path));
    if result.is_err() {
        // Best effort: a leftover is recognised by its name and pruned.
        drop(std::fs::remove_file(&aside));
    }
    result?;
    path.parent().map_or(Ok(()), sync_dir)
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(|err| named(path, &err))?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .map_err(|err| named(path, &err))
}

/// `.NAME.PID-N`, a name no other writer uses at this moment.
fn unique_beside(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}", unique()));
    path.with_file_name(name)
}

/// `PID-N`: unique among the processes that live now.
pub(crate) fn unique() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!(
        "{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

/// fsync(2) of a directory: the names in it survive a crash.
pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|err| named(dir, &err))
}

/// Removes `path` and everything below it, never leaving it; absent is fine.
///
/// Works by descriptors: the trees it removes were made from hostile archives, and may be deeper
/// than a path can be long.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "no name to remove",
        ));
    };
    let parent = match sys::open_dir(parent) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(|err| named(path, &err))?,
    };
    remove_at(parent.as_fd(), name.as_bytes()).map_err(|err| named(path, &err))
}

/// Removes `name` in `dir`, whatever it is; absent is fine.
pub(crate) fn remove_at(dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<()> {
    match sys::unlink(dir, name) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
        // EISDIR on Linux; EPERM is what POSIX says for a directory.
        Err(err) if is_directory_error(&err) => {}
        other => return other,
    }
    // Depth costs descriptors here, and the unpacker limits it far below the usual 1024.
    let below = match sys::open_subdir(dir, name) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for child in sys::names(below.as_fd())? {
        remove_at(below.as_fd(), &child)?;
    }
    match sys::rmdir(dir, name) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn is_directory_error(err: &io::Error) -> bool {
    matches!(
        err.kind(),
        io::ErrorKind::IsADirectory | io::ErrorKind::PermissionDenied
    )
}

/// Bytes on disk below `path` (each hard link once), by `st_blocks`.
pub(crate) fn disk_bytes(path: &Path) -> io::Result<u64> {
    let dir = sys::open_dir(path).map_err(|err| named(path, &err))?;
    let mut seen = std::collections::HashSet::new();
    disk_bytes_at(dir.as_fd(), &mut seen)
}

fn disk_bytes_at(
    dir: BorrowedFd<'_>,
    seen: &mut std::collections::HashSet<u64>,
) -> io::Result<u64> {
    let mut sum = 0;
    for name in sys::names(dir)? {
        let stat = sys::stat(dir, &name)?;
        if stat.st_nlink > 1
            && sys::kind(&stat) != sys::Kind::Directory
            && !seen.insert(stat.st_ino)
        {
            continue;
        }
        sum += u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
        if sys::kind(&stat) == sys::Kind::Directory {
            sum += disk_bytes_at(sys::open_subdir(dir, &name)?.as_fd(), seen)?;
        }
    }
    Ok(sum)
}

/// An flock(2) on a file that exists only to be locked; released on drop.
#[derive(Debug)]
pub(crate) struct DirLock(File);

impl DirLock {
    /// Waits until we hold the lock at `path`.
    pub(crate) fn wait(path: &Path) -> io::Result<Self> {
        loop {
            let file = lock_file(path)?;
            sys::lock(&file).map_err(|err| named(path, &err))?;
            if is_still(path, &file)? {
                return Ok(Self(file));
            }
        }
    }

    /// Takes the lock at `path` unless another holds it.
    pub(crate) fn attempt(path: &Path) -> io::Result<Option<Self>> {
        loop {
            let file = lock_file(path)?;
            if !sys::try_lock(&file).map_err(|err| named(path, &err))? {
                return Ok(None);
            }
            if is_still(path, &file)? {
                return Ok(Some(Self(file)));
            }
        }
    }

    /// Releases the lock and removes its file; those who wait on it notice and make a new one.
    pub(crate) fn remove(self, path: &Path) {
        // An empty file that stays does no harm.
        drop(std::fs::remove_file(path));
        drop(self.0);
    }
}

fn lock_file(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|err| named(path, &err))
}

/// Whether `path` still names the open `file`: it may have been renamed or removed meanwhile.
pub(crate) fn is_still(path: &Path, file: &File) -> io::Result<bool> {
    let ours = file.metadata().map_err(|err| named(path, &err))?;
    match std::fs::metadata(path) {
        Ok(found) => Ok((found.dev(), found.ino()) == (ours.dev(), ours.ino())),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(err) => Err(named(path, &err)),
    }
}

/// The error with its file's name, as `fs_err` words it, keeping the kind.
pub(crate) fn named(path: &Path, err: &io::Error) -> io::Error {
    io::Error::new(err.kind(), format!("{}: {err}", path.display()))
}
