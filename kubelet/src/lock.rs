//! Locks between processes: flock(2) on a file that stays.
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io;
use std::path::Path;

/// Takes the lock at `path`; `None` if another process holds it. It is let go when the file is dropped or
/// the process ends, however it ends.
///
/// # Errors
/// When the file cannot be made.
pub fn try_exclusive(path: &Path) -> io::Result<Option<File>> {
    let file = open(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Takes the lock at `path`, waiting for it. For sections of milliseconds.
///
/// # Errors
/// When the file cannot be made.
pub fn exclusive(path: &Path) -> io::Result<File> {
    let file = open(path)?;
    flock(&file, FlockOperation::LockExclusive)?;
    Ok(file)
}

fn open(path: &Path) -> io::Result<File> {
    let file = fs_err::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)?;
    Ok(file.into_parts().0)
}
