//! What an unpacked layer looks like in brief, so that `fsck` can tell whether it still does.
//!
//! The summary covers names, types, modes, owners, sizes, times, link targets, device numbers and
//! extended attributes of the whole tree, and not the content of files: reading metadata costs
//! milliseconds, so it is done at each unpacking.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::digest::{Algorithm, Digest, Hasher};
use crate::sys;

/// `layer.json`, beside the tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct LayerRecord {
    pub(crate) diff_id: Digest,
    pub(crate) unpacked: Timestamp,
    /// The boot it was unpacked in: as long as the record is writable, the layer is good in that
    /// boot only.
    pub(crate) boot: Option<String>,
    pub(crate) tree: TreeSummary,
}

impl LayerRecord {
    /// Reads a `layer.json`; one that is damaged is an error as one that is absent.
    pub(crate) fn read(path: &Path) -> io::Result<Self> {
        let unreadable = |err: serde_json::Error| {
            let problem = format!("{}: {err}", path.display());
            io::Error::new(io::ErrorKind::InvalidData, problem)
        };
        serde_json::from_slice(&fs_err::read(path)?).map_err(unreadable)
    }
}

/// The tree in brief.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TreeSummary {
    /// Names in it, whatever they are.
    pub(crate) entries: u64,
    /// Lengths of its regular files, each name counted.
    pub(crate) bytes: u64,
    /// SHA-256 over the metadata, in order of names.
    pub(crate) metadata: Digest,
}

/// Summarises the tree at `root`.
pub(crate) fn summarise(root: &Path) -> io::Result<TreeSummary> {
    let dir = sys::open_dir(root)?;
    let mut walk = Walk {
        hasher: Hasher::new(Algorithm::Sha256),
        entries: 0,
        bytes: 0,
    };
    walk.entry(dir.as_fd(), b".", &sys::fstat(dir.as_fd())?)?;
    walk.directory(dir.as_fd())?;
    Ok(TreeSummary {
        entries: walk.entries,
        bytes: walk.bytes,
        metadata: walk.hasher.finish(),
    })
}

struct Walk {
    hasher: Hasher,
    entries: u64,
    bytes: u64,
}

impl Walk {
    fn directory(&mut self, dir: BorrowedFd<'_>) -> io::Result<()> {
        let mut names = sys::names(dir)?;
        names.sort_unstable();
        for name in names {
            let stat = sys::stat(dir, &name)?;
            self.entries += 1;
            self.entry(dir, &name, &stat)?;
            if sys::kind(&stat) == sys::Kind::Directory {
                self.directory(sys::open_subdir(dir, &name)?.as_fd())?;
            }
        }
        // Closes the directory, so that `a/b` and `a` beside `b` differ.
        self.text(b"");
        Ok(())
    }

    fn entry(&mut self, dir: BorrowedFd<'_>, name: &[u8], stat: &sys::Stat) -> io::Result<()> {
        self.text(name);
        let kind = sys::kind(stat);
        // A directory's size and link count are the file system's own affair.
        let (size, links) = match kind {
            sys::Kind::Directory => (0, 0),
            _ => (stat.st_size, stat.st_nlink),
        };
        if kind == sys::Kind::RegularFile {
            self.bytes += u64::try_from(size).unwrap_or(0);
        }
        for number in [stat.st_mode, stat.st_uid, stat.st_gid] {
            self.hasher.update(&number.to_le_bytes());
        }
        for number in [size, stat.st_mtime] {
            self.hasher.update(&number.to_le_bytes());
        }
        let nanos = u64::from(u32::try_from(stat.st_mtime_nsec).unwrap_or(0));
        for number in [nanos, links, stat.st_rdev] {
            self.hasher.update(&number.to_le_bytes());
        }
        if kind == sys::Kind::Symlink {
            self.text(&sys::readlink(dir, name)?);
        }
        for (name, value) in sys::xattrs(dir, name)? {
            self.text(&name);
            self.text(&value);
        }
        Ok(())
    }

    fn text(&mut self, bytes: &[u8]) {
        self.hasher.update(&(bytes.len() as u64).to_le_bytes());
        self.hasher.update(bytes);
    }
}
