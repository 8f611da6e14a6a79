//! A small file system of a test's own, to be filled up.
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// A tmpfs of so many bytes. Make it before the host that lies on it: it is unmounted last.
#[derive(Debug)]
pub struct Disk {
    dir: TempDir,
}

impl Disk {
    /// Mounts one, or says why the test is skipped.
    ///
    /// # Panics
    /// When it should be possible and is not.
    #[must_use]
    pub fn new(mebibytes: u64) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            let thread = std::thread::current();
            println!("SKIP {}: needs root", thread.name().unwrap_or("?"));
            return None;
        }
        let dir = tempfile::Builder::new()
            .prefix("rkube-e2e-disk.")
            .tempdir_in("/var/tmp")
            .expect("a temporary directory");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "tmpfs"])
            .arg(dir.path())
            .status()
            .expect("mount(8)");
        assert!(mounted.success(), "a tmpfs can be mounted");
        Some(Disk { dir })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Bytes that can still be written.
    ///
    /// # Panics
    /// When it is gone.
    #[must_use]
    pub fn free(&self) -> u64 {
        let found = rustix::fs::statvfs(self.path()).expect("it is mounted");
        found.f_bavail * found.f_frsize
    }

    /// Fills it but for so many bytes; the file goes with the disk, or earlier by hand.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn fill(&self, but_for: u64) -> PathBuf {
        let path = self.path().join("filler");
        let file = std::fs::File::create(&path).expect("a new file");
        let bytes = self.free().saturating_sub(but_for);
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes.max(1))
            .expect("room");
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount")
            .args(["--lazy"])
            .arg(self.dir.path())
            .status();
    }
}
