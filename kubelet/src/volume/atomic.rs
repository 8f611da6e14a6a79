//! A directory of files that change all at once, as Kubernetes lays them out for those who watch them:
//!
//! ```text
//! volume/..data -> ..1766500000   the link that is swapped by one rename(2)
//!       /..1766500000/key         what there is now
//!       /..1766500000/sub/key2
//!       /key  -> ..data/key       what programs read
//!       /sub  -> ..data/sub
//! ```
//! A reader sees the old files or the new ones, never a mixture, and a crash at any line leaves the old or the new ones;
//! the next write sweeps up.
use crate::beneath::{Dir, plain};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

const DATA: &str = "..data";

/// A file of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    /// What is in it.
    pub(super) bytes: Vec<u8>,
    /// Who may read it.
    pub(super) mode: u32,
}

/// The files of a volume by their paths in it, which are relative and plain.
pub(super) type Payload = BTreeMap<PathBuf, Content>;

/// Makes the files of `dir` those of `payload`. Says whether anything changed; if nothing did, nothing was written.
///
/// # Errors
/// Names the file that could not be written; what was there before is there still.
pub(super) fn write(dir: &Dir, payload: &Payload, group: Option<u32>) -> io::Result<bool> {
    let current = dir.link(OsStr::new(DATA))?;
    let same = match &current {
        Some(name) => holds(dir, name, payload).unwrap_or(false),
        None => false,
    };
    if !same {
        let name = fresh();
        if let Err(err) = fill(dir, &name, payload, group) {
            // The write failed already; what is left over is swept up by the next one.
            let _ = dir.remove(&name);
            return Err(err);
        }
        dir.replace_link(OsStr::new(DATA), &name)?;
    }
    sweep(dir, payload)?;
    Ok(!same)
}

/// Whether the directory `name` holds just these files.
fn holds(dir: &Dir, name: &OsStr, payload: &Payload) -> io::Result<bool> {
    let dir = dir.dir(Path::new(name))?;
    for (path, content) in payload {
        let limit = u64::try_from(content.bytes.len()).unwrap_or(u64::MAX);
        let (bytes, mode) = dir.read(path, limit.saturating_add(1))?;
        if bytes != content.bytes || mode != content.mode {
            return Ok(false);
        }
    }
    let mut count = 0;
    let mut pending = vec![dir];
    while let Some(dir) = pending.pop() {
        for name in dir.names()? {
            if rustix::fs::FileType::from_raw_mode(dir.stat(&name)?.st_mode).is_dir() {
                pending.push(dir.dir(Path::new(&name))?);
            } else {
                count += 1;
            }
        }
    }
    Ok(count == payload.len())
}

/// A name that was never taken: somebody may still read by the old one, and must not get new files for it.
fn fresh() -> OsString {
    let now = jiff::Timestamp::now().as_nanosecond();
    OsString::from(format!("..{now}"))
}

fn fill(dir: &Dir, name: &OsStr, payload: &Payload, group: Option<u32>) -> io::Result<()> {
    let root = dir.create_dir(name, 0o700)?;
    for (path, content) in payload {
        let mut parts = plain(path)?;
        let Some(file) = parts.pop() else { continue };
        let mut at = None;
        for part in &parts {
            at = Some(at.as_ref().unwrap_or(&root).make(part, 0o755)?);
        }
        let at = at.as_ref().unwrap_or(&root);
        at.create_file(&file, &content.bytes, content.mode, group)?;
    }
    let mode = rustix::fs::Mode::from_raw_mode(0o755);
    Ok(rustix::fs::fchmod(&root, mode)?)
}

/// Makes the links that programs read, and removes what is of no use any more.
fn sweep(dir: &Dir, payload: &Payload) -> io::Result<()> {
    let current = dir.link(OsStr::new(DATA))?;
    let shown: BTreeSet<&OsStr> = payload
        .keys()
        .filter_map(|path| path.iter().next())
        .collect();
    for name in &shown {
        let target = Path::new(DATA).join(name).into_os_string();
        if dir.link(name)?.as_ref() != Some(&target) {
            dir.replace_link(name, &target)?;
        }
    }
    for name in dir.names()? {
        let keep = name == DATA || Some(&name) == current.as_ref() || shown.contains(&*name);
        if !keep {
            dir.remove(&name)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
