//! The files of one try of a container: its writable layer, its last words, its log. And what earlier tries have left.
use crate::paths::{Paths, create_private};
use std::io;
use std::path::{Path, PathBuf};

/// Where they lie.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) paths: Paths,
    pub(super) uid: String,
    pub(super) name: String,
    pub(super) attempt: u32,
    /// The folder of the container's logs.
    pub(super) logs: PathBuf,
    /// Tries that are over whose logs are kept.
    pub(super) kept_tries: u32,
}

impl Files {
    /// Makes them anew.
    ///
    /// # Errors
    /// Names the file.
    pub(super) fn make(&self) -> io::Result<()> {
        let dir = self.paths.container(&self.uid, &self.name, self.attempt);
        // A try that was cut short may have left a used work directory, which overlayfs refuses.
        crate::disk::remove(&dir)?;
        create_private(&dir)?;
        for name in ["upper", "work"] {
            fs_err::create_dir(dir.join(name))?;
        }
        // What containers make under / belongs to root and is passable for all users.
        set_mode(&dir.join("upper"), 0o755)?;
        fs_err::write(dir.join("termination-log"), "")?;
        set_mode(&dir.join("termination-log"), 0o666)?;
        create_private(&self.logs)?;
        self.forget_tries()
    }

    /// Removes what tries left that nobody will ask for: of those that are over only the newest are kept, and their
    /// writable layers only of the last one.
    fn forget_tries(&self) -> io::Result<()> {
        if let Some(old) = self.attempt.checked_sub(2) {
            crate::disk::remove(&self.paths.container(&self.uid, &self.name, old))?;
        }
        let Some(oldest) = self.attempt.checked_sub(self.kept_tries) else {
            return Ok(());
        };
        for entry in fs_err::read_dir(&self.logs)? {
            let entry = entry?;
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.split_once(".log"));
            let number = number.and_then(|(number, _)| number.parse::<u32>().ok());
            if number.is_some_and(|number| number < oldest) {
                fs_err::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(mode))
}
