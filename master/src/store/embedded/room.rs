//! Room on the disk is looked at before a write is begun: a file that is full in the middle of a change has to be opened
//! again, and nobody could read meanwhile.
use super::file::Fault;
use std::path::Path;

/// Below this the disk counts as full: redb rewrites pages elsewhere, and others write to the disk too.
pub(super) const LOW: u64 = 24 << 20;
/// Below this even for what only takes away.
pub(super) const LEAST: u64 = 4 << 20;

/// Whether so much is free beside the file.
pub(super) fn check(file: &Path, needed: u64) -> Result<(), Fault> {
    let directory = file.parent().unwrap_or(file);
    // A system that cannot say how full it is will say it when we write.
    let Ok(disk) = rustix::fs::statvfs(directory) else {
        return Ok(());
    };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free < needed {
        return Err(Fault::Full(format!(
            "{} has {} MiB of free space left, and a write needs {}: make room there",
            directory.display(),
            free >> 20,
            needed.div_ceil(1 << 20)
        )));
    }
    Ok(())
}
