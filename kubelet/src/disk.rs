//! How much a directory holds.
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The bytes on disk of everything below `dir`, as du(1) counts; links are not followed.
///
/// # Errors
/// When `dir` itself cannot be read; what vanishes meanwhile counts as nothing.
pub fn usage(dir: &Path) -> io::Result<u64> {
    let mut total = 0;
    let mut pending = vec![dir.to_owned()];
    let mut first = true;
    while let Some(dir) = pending.pop() {
        let entries = match fs_err::read_dir(&dir) {
            Ok(entries) => entries,
            Err(err) if first => return Err(err),
            Err(_) => continue,
        };
        first = false;
        for entry in entries.flatten() {
            let Ok(meta) = entry.metadata() else { continue };
            total += meta.blocks() * 512;
            if meta.is_dir() {
                pending.push(entry.path());
            }
        }
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_what_lies_below() {
        let dir = tempfile::tempdir().unwrap();
        let empty = usage(dir.path()).unwrap();
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        std::fs::write(dir.path().join("sub/file"), vec![1; 1 << 20]).unwrap();
        let full = usage(dir.path()).unwrap();
        assert!(full - empty >= 1 << 20, "{empty} {full}");
        assert!(usage(&dir.path().join("gone")).is_err());
    }
}
