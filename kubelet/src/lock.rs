//! Locks between processes: flock(2) on a file that stays.
use rustix::fs::{FlockOperation, flock};
use std::fs::File;
use std::io;
use std::path::Path;

/// A lock that is held. It is let go when this is dropped or the process ends, however it ends.
#[derive(Debug)]
pub struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file would not do: a child on its way to its own program still has it open, for as long as a busy
        // machine lets it wait.
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}

/// Takes the lock at `path`; `None` if another process holds it.
///
/// # Errors
/// When the file cannot be made.
pub fn try_exclusive(path: &Path) -> io::Result<Option<Lock>> {
    let file = open(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(Lock(file))),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Takes the lock at `path`, waiting for it. For sections of milliseconds.
///
/// # Errors
/// When the file cannot be made.
pub fn exclusive(path: &Path) -> io::Result<Lock> {
    let file = open(path)?;
    flock(&file, FlockOperation::LockExclusive)?;
    Ok(Lock(file))
}

fn open(path: &Path) -> io::Result<File> {
    let file = fs_err::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)?;
    Ok(file.into_parts().0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_let_go_though_a_child_has_a_copy() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let lock = try_exclusive(&path).unwrap().unwrap();
        let copy = lock.0.try_clone().unwrap();
        assert!(try_exclusive(&path).unwrap().is_none());
        drop(lock);
        assert!(try_exclusive(&path).unwrap().is_some());
        drop(copy);
    }
}
