//! A directory to a layer tar: sorted by name, without access times or names of users, so that the
//! same tree always gives the same bytes.
//!
//! Holes of sparse files are written as zeros. Sockets are left out: they mean nothing elsewhere.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use super::ImportError;
use super::tarball::{Meta, Tarball};
use crate::digest::{Algorithm, Digest, Hasher};
use crate::sys::{self, Mtime};

/// Packs `dir` into `out`; returns the tar's digest and length.
pub(super) fn pack(dir: &Path, out: &File) -> Result<(Digest, u64), ImportError> {
    let failed = |err: io::Error| {
        let text = format!("{}: {err}", dir.display());
        ImportError::read(io::Error::new(err.kind(), text))
    };
    let root = sys::open_dir(dir).map_err(failed)?;
    let out = BufWriter::with_capacity(256 << 10, Hashing::new(out));
    let mut packing = Packing {
        tar: Tarball::new(out),
        links: HashMap::new(),
    };
    let packed = packing
        .root(root.as_fd())
        .and_then(|()| packing.tar.finish());
    let hashing = packed.and_then(|out| out.into_inner().map_err(io::IntoInnerError::into_error));
    let hasher = hashing.map_err(failed)?.hasher;
    let len = hasher.len();
    Ok((hasher.finish(), len))
}

/// Writes and hashes.
struct Hashing<'a> {
    out: &'a File,
    hasher: Hasher,
}

impl<'a> Hashing<'a> {
    fn new(out: &'a File) -> Self {
        Self {
            out,
            hasher: Hasher::new(Algorithm::Sha256),
        }
    }
}

impl Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.out.write(bytes)?;
        self.hasher.update(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

struct Packing<W> {
    tar: Tarball<W>,
    /// Device and inode of files with several names, with the first of them.
    links: HashMap<(u64, u64), Vec<u8>>,
}

impl<W: Write> Packing<W> {
    fn root(&mut self, root: BorrowedFd<'_>) -> io::Result<()> {
        let stat = sys::fstat(root)?;
        self.tar
            .header(b"./", b"", 0, &meta(b'5', &stat), &sys::xattrs(root, b".")?)?;
        self.directory(root, b"")
    }

    fn directory(&mut self, dir: BorrowedFd<'_>, prefix: &[u8]) -> io::Result<()> {
        let mut names = sys::names(dir)?;
        names.sort_unstable();
        for name in names {
            let path = [prefix, &name].concat();
            let stat = sys::stat(dir, &name)?;
            if sys::kind(&stat) == sys::Kind::Directory {
                let below = sys::open_subdir(dir, &name)?;
                let path = [&path[..], b"/"].concat();
                let xattrs = sys::xattrs(dir, &name)?;
                self.tar
                    .header(&path, b"", 0, &meta(b'5', &stat), &kept(xattrs))?;
                self.directory(below.as_fd(), &path)?;
            } else {
                self.entry(dir, &name, &path, &stat)?;
            }
        }
        Ok(())
    }

    fn entry(
        &mut self,
        dir: BorrowedFd<'_>,
        name: &[u8],
        path: &[u8],
        stat: &sys::Stat,
    ) -> io::Result<()> {
        if stat.st_nlink > 1 {
            let key = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.links.get(&key) {
                return self
                    .tar
                    .header(path, &first.clone(), 0, &meta(b'1', stat), &[]);
            }
            self.links.insert(key, path.to_vec());
        }
        match sys::kind(stat) {
            sys::Kind::RegularFile => {
                let file = File::from(sys::open_file(dir, name)?);
                // The size that was true when the file was opened.
                let stat = sys::fstat(file.as_fd())?;
                let size = u64::try_from(stat.st_size).unwrap_or(0);
                let xattrs = kept(sys::xattrs(dir, name)?);
                self.tar.file(path, size, &meta(b'0', &stat), &xattrs, file)
            }
            sys::Kind::Symlink => {
                let target = sys::readlink(dir, name)?;
                self.tar.header(path, &target, 0, &meta(b'2', stat), &[])
            }
            sys::Kind::CharacterDevice => self.special(path, b'3', stat),
            sys::Kind::BlockDevice => self.special(path, b'4', stat),
            sys::Kind::Fifo => self.special(path, b'6', stat),
            _ => Ok(()),
        }
    }

    fn special(&mut self, path: &[u8], typeflag: u8, stat: &sys::Stat) -> io::Result<()> {
        self.tar.header(path, b"", 0, &meta(typeflag, stat), &[])
    }
}

/// What a layer may carry; the rest is the host's own (labels, ACLs, overlayfs's marks).
fn kept(mut xattrs: Vec<(Vec<u8>, Vec<u8>)>) -> Vec<(Vec<u8>, Vec<u8>)> {
    xattrs.retain(|(name, _)| name == b"security.capability" || name.starts_with(b"user."));
    xattrs
}

fn meta(typeflag: u8, stat: &sys::Stat) -> Meta {
    Meta {
        typeflag,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: Mtime {
            secs: stat.st_mtime,
            nanos: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
        },
        device: if matches!(typeflag, b'3' | b'4') {
            sys::device(stat)
        } else {
            (0, 0)
        },
    }
}
