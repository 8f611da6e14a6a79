//! Deletions: OCI's `.wh.` names to the marks overlayfs understands.
//!
//! A whiteout speaks of the layers below, never of its own layer, and its place in the archive means
//! nothing. So whiteouts are collected and applied at the end: where nothing of that name came, a
//! character device 0:0 hides the name; where a directory came, the directory is made opaque; where
//! something else came, that hides the lower one by itself.

use std::collections::BTreeSet;
use std::io;

use super::UnpackError;
use super::place::{Missing, Name, Places};
use crate::sys;

const PREFIX: &[u8] = b".wh.";
const META: &[u8] = b".wh..wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// What an entry's name says about deletion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// An entry as any other.
    Plain,
    /// This name is gone from the directory.
    Hides(Vec<u8>),
    /// Everything of the lower layers is gone from the directory.
    Opaque,
    /// Book-keeping of an old storage driver (aufs), which nobody wants.
    Ignored,
}

/// Reads the meaning of `name`; components in the middle may not be whiteouts.
pub(crate) fn meaning(name: &Name) -> Result<Meaning, UnpackError> {
    let Some((parent, last)) = name.split() else {
        return Ok(Meaning::Plain);
    };
    if parent.iter().any(|component| component.starts_with(META)) {
        return Ok(Meaning::Ignored);
    }
    let refuse = |problem: &str| Err(UnpackError::refused(&name.0.join(&b'/'), problem));
    if parent.iter().any(|component| component.starts_with(PREFIX)) {
        return refuse("it lies below a whiteout");
    }
    match last.strip_prefix(PREFIX) {
        None => Ok(Meaning::Plain),
        Some(_) if last == OPAQUE => Ok(Meaning::Opaque),
        Some(_) if last.starts_with(META) => Ok(Meaning::Ignored),
        Some(b"" | b"." | b"..") => refuse("it is a whiteout of no name"),
        Some(hidden) => Ok(Meaning::Hides(hidden.to_vec())),
    }
}

/// Directory and name.
type Hidden = (Vec<Vec<u8>>, Vec<u8>);

/// The deletions of a layer, until its end.
#[derive(Debug, Default)]
pub(crate) struct Whiteouts {
    hidden: BTreeSet<Hidden>,
    opaque: BTreeSet<Vec<Vec<u8>>>,
}

impl Whiteouts {
    /// `name` is gone from `dir`.
    pub(crate) fn hide(&mut self, dir: Vec<Vec<u8>>, name: Vec<u8>) {
        self.hidden.insert((dir, name));
    }

    /// `dir` begins empty.
    pub(crate) fn make_opaque(&mut self, dir: Vec<Vec<u8>>) {
        self.opaque.insert(dir);
    }

    /// Leaves the marks. Everything else of the layer is there.
    pub(crate) fn apply(&self, places: &mut Places) -> Result<(), UnpackError> {
        for (dir, name) in &self.hidden {
            let failed = |err| UnpackError::write(&[&dir.join(&b'/')[..], name].join(&b'/'), err);
            if enter(places, dir).map_err(failed)? {
                hide(places, name).map_err(failed)?;
            }
        }
        for dir in &self.opaque {
            let failed = |err| UnpackError::write(&dir.join(&b'/'), err);
            if enter(places, dir).map_err(failed)? {
                mark_opaque(places).map_err(failed)?;
            }
        }
        Ok(())
    }
}

/// Whether `dir` is still a directory: a later entry may have taken its place, which hides more.
fn enter(places: &mut Places, dir: &[Vec<u8>]) -> io::Result<bool> {
    match places.go(dir, Missing::Fail) {
        Err(err)
            if matches!(
                err.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(false)
        }
        Err(err) => Err(err),
        // Through a link that replaced it is not where it was.
        Ok(()) => Ok(places.name() == dir),
    }
}

fn hide(places: &mut Places, name: &[u8]) -> io::Result<()> {
    match sys::stat(places.here(), name) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => {
            sys::mknod(places.here(), name, sys::Kind::CharacterDevice, (0, 0))
        }
        Err(err) => Err(err),
        Ok(stat) if sys::kind(&stat) == sys::Kind::Directory => {
            let dir = sys::open_subdir(places.here(), name)?;
            places.descend(name, dir);
            mark_opaque(places)
        }
        Ok(_) => Ok(()),
    }
}

fn mark_opaque(places: &Places) -> io::Result<()> {
    sys::fset_xattr(places.here(), c"trusted.overlay.opaque", b"y")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &[u8]) -> Option<Meaning> {
        meaning(&Name::parse(text, 99).unwrap()).ok()
    }

    #[test]
    fn names_and_their_meaning() {
        for (text, want) in [
            (&b"a/b"[..], Some(Meaning::Plain)),
            (b"./", Some(Meaning::Plain)),
            (b"a/.wh.b", Some(Meaning::Hides(b"b".to_vec()))),
            (b".wh..b", Some(Meaning::Hides(b".b".to_vec()))),
            (b".wh....", Some(Meaning::Hides(b"...".to_vec()))),
            (b"a/.wh..wh..opq", Some(Meaning::Opaque)),
            (b".wh..wh.plnk/1.2", Some(Meaning::Ignored)),
            (b".wh..wh.aufs", Some(Meaning::Ignored)),
            (b"a/.wh.", None),
            (b"a/.wh..", None),
            (b"a/.wh...", None),
            (b".wh.a/b", None),
            (b"a.wh.b", Some(Meaning::Plain)),
        ] {
            assert_eq!(read(text), want, "{}", String::from_utf8_lossy(text));
        }
    }
}
