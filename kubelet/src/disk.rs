//! Trees that containers have made: how much they hold, and their end.
//!
//! A container may make them as deep and as wide as its disk allows, and loses nothing if the kubelet stumbles over them. So
//! they are walked by descriptors and without recursion: no path is too long, no stack too small.
use crate::beneath::Dir;
use rustix::fs::FileType;
use std::collections::HashSet;
use std::ffi::OsString;
use std::io;
use std::path::Path;
use std::rc::Rc;

/// What a tree holds that cannot be measured: more than anybody may have.
const ENDLESS: u64 = 1 << 50;
/// How many directories a walk may have open. Only a tree that was made to be so deep needs more.
const OPEN: usize = 512;
/// How many files with several names are told apart; further ones count each time.
const TWICE: usize = 1_000_000;

/// What a tree holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Bytes on disk.
    pub bytes: u64,
    /// Files, directories and links.
    pub files: u64,
}

/// What everything below `dir` holds, as du(1) counts, without what is mounted there. A file with two names counts once; a tree that is too deep
/// to be measured counts as endless.
///
/// # Errors
/// When `dir` itself cannot be read; what vanishes meanwhile counts as nothing.
pub fn measure(dir: &Path) -> io::Result<Held> {
    let top = Rc::new(Dir::open(dir)?);
    let mut walk = Walk {
        device: rustix::fs::fstat(&*top)?.st_dev,
        held: Held::default(),
        twice: HashSet::new(),
        pending: Vec::new(),
    };
    let mut open = Vec::from([Rc::downgrade(&top)]);
    walk.read(&top);
    drop(top);
    while let Some((parent, name)) = walk.pending.pop() {
        let Ok(dir) = parent.dir(Path::new(&name)) else {
            continue;
        };
        drop(parent);
        let dir = Rc::new(dir);
        open.push(Rc::downgrade(&dir));
        if open.len() > OPEN {
            open.retain(|one| one.strong_count() > 0);
            if open.len() > OPEN {
                walk.held.bytes = ENDLESS;
                return Ok(walk.held);
            }
        }
        walk.read(&dir);
    }
    Ok(walk.held)
}

struct Walk {
    device: u64,
    held: Held,
    twice: HashSet<u64>,
    /// Directories to read: each by its name in one that is open.
    pending: Vec<(Rc<Dir>, OsString)>,
}

impl Walk {
    fn read(&mut self, dir: &Rc<Dir>) {
        // What cannot be read, or vanishes, counts as nothing.
        let _ = dir.each_name(|name| {
            let Ok(stat) = dir.stat(name) else {
                return true;
            };
            let directory = FileType::from_raw_mode(stat.st_mode).is_dir();
            let again = !directory
                && stat.st_nlink > 1
                && self.twice.len() < TWICE
                && !self.twice.insert(stat.st_ino);
            if stat.st_dev != self.device || again {
                return true;
            }
            let bytes = u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
            self.held.bytes = self.held.bytes.saturating_add(bytes);
            self.held.files += 1;
            if directory {
                self.pending.push((dir.clone(), name.to_owned()));
            }
            true
        });
    }
}

/// Removes a tree, whatever a container has made of it. Nothing there is success.
///
/// # Errors
/// Names what could not be removed; calling it again goes on.
pub fn remove(path: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    };
    match Dir::open(parent) {
        Ok(parent) => parent.remove(name),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(err) => Err(err),
    }
    .map_err(|err| io::Error::new(err.kind(), format!("{}: {err}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    /// `depth` directories in one another, each with another empty one beside it if `comb`, and a file of 1 MiB at the bottom.
    fn deep(top: &Path, depth: usize, comb: bool) {
        let mut at = Dir::open(top).unwrap();
        for _ in 0..depth {
            if comb {
                at.create_dir("b".as_ref(), 0o755).unwrap();
            }
            at = at.create_dir("a-directory".as_ref(), 0o755).unwrap();
        }
        at.create_file("f".as_ref(), &vec![1; 1 << 20], 0o644, None)
            .unwrap();
    }

    #[test]
    fn it_counts_what_lies_below() {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let empty = measure(dir.path()).unwrap().bytes;
        std::fs::create_dir(dir.path().join("sub")).unwrap();
        std::fs::write(dir.path().join("sub/file"), vec![1; 1 << 20]).unwrap();
        let full = measure(dir.path()).unwrap();
        assert!(full.bytes - empty >= 1 << 20, "{empty} {full:?}");
        assert_eq!(full.files, 2);
        std::fs::hard_link(dir.path().join("sub/file"), dir.path().join("again")).unwrap();
        symlink("/", dir.path().join("link")).unwrap();
        let linked = measure(dir.path()).unwrap();
        assert!(linked.bytes < full.bytes + (1 << 19), "{linked:?}");
        assert_eq!(linked.files, 3);
        assert!(measure(&dir.path().join("gone")).is_err());
    }

    /// Deeper than a path may be long, and deeper than files may be open: counted all the same, and removed.
    #[test]
    fn a_deep_tree_is_no_hiding_place() {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let tree = dir.path().join("tree");
        std::fs::create_dir(&tree).unwrap();
        deep(&tree, 6000, false);
        let held = measure(dir.path()).unwrap();
        assert_eq!(held.files, 6002);
        assert!(held.bytes >= 1 << 20, "{held:?}");
        symlink(dir.path(), tree.join("link")).unwrap();
        remove(&tree).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        remove(&tree).unwrap();
        remove(&tree.join("below")).unwrap();
    }

    #[test]
    fn a_tree_that_cannot_be_measured_is_too_large() {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let tree = dir.path().join("tree");
        std::fs::create_dir(&tree).unwrap();
        deep(&tree, 1500, true);
        let found = measure(dir.path()).unwrap().bytes;
        remove(&tree).unwrap();
        // In which order a file system tells names decides whether it could be measured.
        assert!(found >= 1 << 20, "{found}");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    /// More files than are looked at at a time.
    #[test]
    fn a_wide_tree_goes_as_well() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        std::fs::create_dir_all(tree.join("sub")).unwrap();
        for number in 0..3000 {
            std::fs::write(tree.join(format!("sub/{number}")), "").unwrap();
        }
        remove(&tree).unwrap();
        assert!(!tree.exists());
    }
}
