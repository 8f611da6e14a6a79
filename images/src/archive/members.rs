//! The files in an image archive, by name: in a tar or below a directory.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::PathBuf;

use super::{ImportError, read_all, spool};
use crate::digest::Digest;
use crate::unpack::{Compression, Entries, Kind, Limits, Plain, decoder};

/// Manifests, indexes and configs are kilobytes; registries refuse more than this, too.
pub(super) const MAX_JSON: u64 = 8 << 20;
/// Deeper names than `blobs/sha256/HEX` do not occur in image archives.
const MAX_DEPTH: usize = 3;
const MAX_MEMBERS: usize = 100_000;
/// As many links from member to member as are followed.
const MAX_LINKS: usize = 8;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Member {
    File {
        offset: u64,
        len: u64,
    },
    /// `docker save` writes a layer that occurs twice as a link to its first copy.
    Link(String),
}

/// What is where in a tar. Of a root file system it has only some of the names.
#[derive(Debug, Default)]
pub(super) struct Index {
    members: HashMap<String, Member>,
    entries: u64,
}

impl Index {
    /// Reads `file` once from start to end.
    pub(super) fn of(
        file: &File,
        compression: Compression,
        limits: &Limits,
    ) -> Result<Self, ImportError> {
        let len = file.metadata().map_err(ImportError::read)?.len();
        let inflated = decoder(spool::At::new(file, 0, len), compression);
        let inflated = inflated.map_err(ImportError::read)?.take(limits.bytes);
        let mut source = Plain(BufReader::with_capacity(256 << 10, inflated));
        let mut entries = Entries::new(&mut source, limits);
        let mut index = Self::default();
        loop {
            match entries.next_entry() {
                Ok(Some(entry)) => index.add(&entry.name, &entry.kind, entry.offset, entry.stored),
                Ok(None) => return Ok(index),
                // Not even a first header: some other kind of file.
                Err(_) if index.entries == 0 => return Ok(index),
                Err(source) => return Err(ImportError::Archive { source }),
            }
        }
    }

    fn add(&mut self, name: &[u8], kind: &Kind, offset: u64, len: u64) {
        self.entries += 1;
        let Some(name) = std::str::from_utf8(name)
            .ok()
            .and_then(|name| joined("", name))
        else {
            return;
        };
        if name.split('/').count() > MAX_DEPTH || self.members.len() >= MAX_MEMBERS {
            return;
        }
        let member = match kind {
            Kind::File => Some(Member::File { offset, len }),
            Kind::Symlink { target } => {
                let dir = name.rsplit_once('/').map_or("", |(dir, _)| dir);
                let target = std::str::from_utf8(target).ok();
                target
                    .and_then(|target| joined(dir, target))
                    .map(Member::Link)
            }
            Kind::HardLink { target } => {
                let target = std::str::from_utf8(target).ok();
                target
                    .and_then(|target| joined("", target))
                    .map(Member::Link)
            }
            _ => None,
        };
        if let Some(member) = member {
            self.members.insert(name, member);
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries == 0
    }

    fn place(&self, name: &str) -> Option<(u64, u64)> {
        let mut name = joined("", name)?;
        for _ in 0..MAX_LINKS {
            match self.members.get(&name)? {
                &Member::File { offset, len } => return Some((offset, len)),
                Member::Link(target) => name.clone_from(target),
            }
        }
        None
    }
}

/// `name` seen from `dir`, without `.` and `..`; `None` when it leads out of the archive.
fn joined(dir: &str, name: &str) -> Option<String> {
    let mut parts: Vec<&str> = dir.split('/').filter(|part| !part.is_empty()).collect();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// Where an image's files are.
pub(super) enum Members {
    /// An OCI layout directory.
    Directory(PathBuf),
    /// An uncompressed tar.
    Archive { file: File, index: Index },
}

impl Members {
    /// Opens a member, and says how long it is.
    pub(super) fn open(&self, name: &str) -> Result<(Box<dyn Read + Send + '_>, u64), ImportError> {
        let missing = || ImportError::Missing {
            member: name.to_owned(),
        };
        match self {
            Self::Directory(dir) => {
                let path = dir.join(joined("", name).ok_or_else(missing)?);
                let file = match fs_err::File::open(path) {
                    Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Err(missing()),
                    other => other.map_err(ImportError::read)?,
                };
                let found = file.metadata().map_err(ImportError::read)?;
                if !found.is_file() {
                    return Err(missing());
                }
                Ok((Box::new(file), found.len()))
            }
            Self::Archive { file, index } => {
                let (offset, len) = index.place(name).ok_or_else(missing)?;
                Ok((Box::new(spool::At::new(file, offset, len)), len))
            }
        }
    }

    /// All of a small member.
    pub(super) fn read(&self, name: &str) -> Result<Vec<u8>, ImportError> {
        let (reader, _) = self.open(name)?;
        let bytes = read_all(reader, MAX_JSON).map_err(ImportError::read)?;
        bytes.ok_or_else(|| ImportError::TooLarge {
            member: name.to_owned(),
            max: MAX_JSON,
        })
    }

    /// All of a small blob, held against its digest.
    pub(super) fn read_blob(&self, digest: &Digest) -> Result<Vec<u8>, ImportError> {
        let bytes = self.read(&blob_name(digest))?;
        let found = Digest::of(digest.algorithm(), &bytes);
        if found != *digest {
            let expected = digest.clone();
            return Err(crate::store::StoreError::DigestMismatch { expected, found }.into());
        }
        Ok(bytes)
    }
}

/// Where OCI keeps a blob.
pub(super) fn blob_name(digest: &Digest) -> String {
    format!("blobs/{}/{}", digest.algorithm(), digest.hex())
}

#[cfg(test)]
mod tests {
    use super::joined;

    #[test]
    fn names_stay_in_the_archive() {
        for (dir, name, want) in [
            ("", "a/b", Some("a/b")),
            ("", "./a//b/", Some("a/b")),
            ("x", "../y/layer.tar", Some("y/layer.tar")),
            ("x", "../../etc/passwd", None),
            ("", "..", None),
            ("", "/etc/passwd", Some("etc/passwd")),
        ] {
            assert_eq!(joined(dir, name).as_deref(), want, "{dir} {name}");
        }
    }
}
