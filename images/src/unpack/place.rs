//! Names of entries to directories and a last component, never outside the root.
//!
//! A name is split at slashes and walked one component at a time by openat2 on the directory reached
//! so far. `..` is refused outright, an absolute name starts at the root as any other, and a symlink
//! on the way is read and followed by hand, with the tree's root as its `/` and as the end of every
//! `..`. The directories on the way to the last name stay open, since neighbours tend to follow.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use super::UnpackError;
use crate::sys;

/// As many links as the kernel follows.
const MAX_LINKS: usize = 40;
const MAX_NAME: usize = 255;
const MAX_PATH: usize = 4095;

/// A name in canonical form: components without `.`, `..`, empty ones and NUL.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name(pub(crate) Vec<Vec<u8>>);

impl Name {
    /// Checks what can be checked without the tree.
    pub(crate) fn parse(text: &[u8], max_depth: usize) -> Result<Self, UnpackError> {
        let refuse = |problem: &str| Err(UnpackError::refused(text, problem));
        if text.contains(&0) {
            return refuse("its name has a NUL in it");
        }
        if text.len() > MAX_PATH {
            return refuse("its name is longer than any path may be");
        }
        let mut components = Vec::new();
        for component in text.split(|&byte| byte == b'/') {
            match component {
                b"" | b"." => {}
                b".." => return refuse("its name leads upwards (..)"),
                _ if component.len() > MAX_NAME => {
                    return refuse("a component of its name is longer than 255 bytes");
                }
                _ => components.push(component.to_vec()),
            }
        }
        if components.len() > max_depth {
            return Err(UnpackError::Limit {
                what: "components in one name",
                limit: max_depth as u64,
            });
        }
        Ok(Self(components))
    }

    /// The directory's name and the last component; `None` for the root itself.
    pub(crate) fn split(&self) -> Option<(&[Vec<u8>], &[u8])> {
        self.0
            .split_last()
            .map(|(last, parent)| (parent, last.as_slice()))
    }
}

/// What to do about a directory that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    Create,
    Fail,
}

/// The open directories from the root to the place of the last entry.
pub(crate) struct Places {
    root: OwnedFd,
    /// Real directories, no links among them: component and descriptor.
    open: Vec<(Vec<u8>, OwnedFd)>,
    /// Directories made because a name implied them.
    pub(crate) implied: Vec<Vec<Vec<u8>>>,
    max_depth: usize,
}

impl Places {
    pub(crate) fn new(root: &Path, max_depth: usize) -> io::Result<Self> {
        Ok(Self {
            root: sys::open_dir(root)?,
            open: Vec::new(),
            implied: Vec::new(),
            max_depth,
        })
    }

    /// Goes to the directory `name`.
    pub(crate) fn go(&mut self, name: &[Vec<u8>], missing: Missing) -> io::Result<()> {
        let shared = self
            .open
            .iter()
            .zip(name)
            .take_while(|((open, _), want)| open == *want);
        let shared = shared.count();
        self.open.truncate(shared);
        let mut rest: Vec<Vec<u8>> = name[shared..].iter().rev().cloned().collect();
        let mut links = 0;
        while let Some(component) = rest.pop() {
            if component == b".." {
                self.open.pop();
                continue;
            }
            if let Some(target) = self.enter(component, missing)? {
                links += 1;
                if links > MAX_LINKS {
                    return Err(io::Error::other("too many symlinks on the way"));
                }
                if target.starts_with(b"/") {
                    self.open.clear();
                }
                let parts = target.split(|&byte| byte == b'/');
                rest.extend(
                    parts
                        .rev()
                        .filter(|p| !matches!(*p, b"" | b"."))
                        .map(<[u8]>::to_vec),
                );
            }
            if self.open.len() + rest.len() > self.max_depth + MAX_LINKS {
                return Err(io::Error::from(io::ErrorKind::InvalidFilename));
            }
        }
        Ok(())
    }

    /// One component down, or the target of the symlink that is there.
    fn enter(&mut self, component: Vec<u8>, missing: Missing) -> io::Result<Option<Vec<u8>>> {
        let here = self.here();
        let opened = match sys::open_subdir(here, &component) {
            Err(err) if err.kind() == io::ErrorKind::NotFound && missing == Missing::Create => {
                sys::mkdir(here, &component)?;
                let made = sys::open_subdir(here, &component)?;
                sys::fchmod(made.as_fd(), 0o755)?;
                let mut name = self.name();
                name.push(component.clone());
                self.implied.push(name);
                made
            }
            Err(err) => {
                let stat = sys::stat(here, &component)?;
                if sys::kind(&stat) != sys::Kind::Symlink {
                    return Err(err);
                }
                return sys::readlink(here, &component).map(Some);
            }
            Ok(opened) => opened,
        };
        self.open.push((component, opened));
        Ok(None)
    }

    /// Makes the directory `name` of the current one current; it exists and is no link.
    pub(crate) fn descend(&mut self, name: &[u8], dir: OwnedFd) {
        self.open.push((name.to_vec(), dir));
    }

    /// The directory we are in.
    pub(crate) fn here(&self) -> BorrowedFd<'_> {
        self.open
            .last()
            .map_or(self.root.as_fd(), |(_, dir)| dir.as_fd())
    }

    /// The real name of the directory we are in, links resolved.
    pub(crate) fn name(&self) -> Vec<Vec<u8>> {
        self.open
            .iter()
            .map(|(component, _)| component.clone())
            .collect()
    }
}
