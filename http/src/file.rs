//! Files that hold secrets: private directories, contents that are whole or not there.
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// A directory that only its owner may enter, made where it is not.
///
/// # Errors
/// Names the directory.
pub fn create_private(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|err| io::Error::new(err.kind(), format!("{}: {err}", dir.display())))
}

/// Writes a file whole or not at all, durable when this returns.
///
/// # Errors
/// Names the file.
pub fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let aside = path.with_extension(format!("tmp{}", std::process::id()));
    let mut options = fs_err::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    options.options_mut().mode(mode);
    let mut file = options.open(&aside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs_err::rename(&aside, path)
}
