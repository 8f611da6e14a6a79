//! Directories whose files must not reach a disk: secrets, and what is written beside them.
use crate::paths::create_private;
use crate::sys;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Makes `dir`, in memory, with parents that only root may enter. One that is there stays.
///
/// /run is memory on every host, and no mount is needed there; but where it is not, or where the host has swap, the directory
/// becomes a tmpfs of its own that is not swapped (Linux 6.3 and later).
pub(super) fn ensure(dir: &Path) -> io::Result<()> {
    create_private(dir.parent().unwrap_or(dir))?;
    let new = match fs_err::create_dir(dir) {
        Ok(()) => true,
        Err(err) if err.kind() == io::ErrorKind::AlreadyExists => false,
        Err(err) => return Err(err),
    };
    if !sys::in_memory(dir)? || new && has_swap() {
        sys::mount_unswapped(dir)?;
    }
    fs_err::set_permissions(dir, std::fs::Permissions::from_mode(0o755))
}

/// Whether the host may write memory to a disk.
fn has_swap() -> bool {
    // The first line is the heading.
    fs_err::read_to_string("/proc/swaps").is_ok_and(|text| text.lines().count() > 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As root: on a disk a tmpfs is mounted, in memory a directory is enough.
    #[test]
    fn files_lie_in_memory() {
        if !rustix::process::geteuid().is_root() {
            println!("SKIP files_lie_in_memory: needs root");
            return;
        }
        let disk = tempfile::tempdir_in("/var/tmp").unwrap();
        let dir = disk.path().join("pod/secret");
        ensure(&dir).unwrap();
        std::fs::write(dir.join("key"), "1").unwrap();
        ensure(&dir).unwrap();
        let (memory, kept) = (sys::in_memory(&dir).unwrap(), dir.join("key").exists());
        sys::unmount(&dir).unwrap();
        assert!(memory && kept);
        assert!(!dir.join("key").exists(), "it was not on the disk");
    }
}
