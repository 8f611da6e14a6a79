//! Locks between processes, and the private directories they are in.

use std::fs::{DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long to wait for another process. What is done under these locks takes milliseconds.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(2);

/// flock(2)s a file, which it makes, exclusively; the lock ends with the file. `WouldBlock` means
/// that another process kept it for longer than [`PATIENCE`].
pub(crate) fn exclusive(path: &Path) -> Result<File, TryLockError> {
    let mut options = fs_err::OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    options.options_mut().mode(0o600);
    let file: File = options.open(path).map_err(TryLockError::Error)?.into();
    let deadline = Instant::now() + PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(PAUSE);
            }
            Err(err) => return Err(err),
        }
    }
}

/// Makes a directory that only root sees into, and the ones above it.
pub(crate) fn private_dir(dir: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(dir)
}

/// What tells this run of the kernel from every other one.
pub(crate) fn boot_id() -> io::Result<String> {
    Ok(fs_err::read_to_string("/proc/sys/kernel/random/boot_id")?
        .trim()
        .to_owned())
}
