//! Entries to files: makes what an entry describes, in a tree that only we can reach.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::entries::{Entries, Entry, Kind};
use super::place::{Missing, Name, Places};
use super::sparse::SparseMap;
use super::stream::Source;
use super::whiteout::{Meaning, Whiteouts, meaning};
use super::{Limits, UnpackError, attributes, error};
use crate::store::remove_at;
use crate::sys::{self, Mtime};

/// Writes one layer's tree.
pub(super) struct Writer<'a> {
    places: Places,
    limits: &'a Limits,
    whiteouts: Whiteouts,
    /// Directories and their times, which later entries below them would change again.
    times: BTreeMap<Vec<Vec<u8>>, Mtime>,
    births: Births,
}

/// What the kernel gives new files by itself: two calls for each file are saved when that is right.
///
/// The mode depends on the umask and on ACLs the store's directory may hand down, the owner on who
/// we are: the same for every file of a layer, so the first one of each mode is looked at and the
/// rest believed. The group may be that of the directory, which ends the belief once there is a
/// directory with a group of its own.
#[derive(Default)]
struct Births {
    /// By mode asked for: whether root's file of that mode came out as asked.
    right: BTreeMap<u32, bool>,
    /// Whether some directory may hand its group down.
    groups: bool,
}

impl Births {
    /// Whether `file`, just made with the entry's mode, needs neither chown nor chmod.
    fn suits(&mut self, file: BorrowedFd<'_>, entry: &Entry) -> io::Result<bool> {
        let roots = (entry.uid, entry.gid) == (0, 0) && !self.groups;
        if !roots || entry.mode & !0o777 != 0 {
            return Ok(false);
        }
        if let Some(&right) = self.right.get(&entry.mode) {
            return Ok(right);
        }
        let stat = sys::fstat(file)?;
        let right = (stat.st_uid, stat.st_gid) == (0, 0) && stat.st_mode & 0o7777 == entry.mode;
        self.right.insert(entry.mode, right);
        Ok(right)
    }

    fn note_directory(&mut self, entry: &Entry) {
        self.groups |= entry.gid != 0 || entry.mode & 0o2000 != 0;
    }
}

impl<'a> Writer<'a> {
    pub(super) fn new(root: &Path, limits: &'a Limits) -> Result<Self, UnpackError> {
        let failed = |source| UnpackError::write(b".", source);
        let places = Places::new(root, limits.depth).map_err(failed)?;
        // Containers see this as their `/`, unless the layer says otherwise.
        sys::fchown(places.here(), 0, 0).map_err(failed)?;
        sys::fchmod(places.here(), 0o755).map_err(failed)?;
        let times = BTreeMap::from([(Vec::new(), Mtime::default())]);
        Ok(Self {
            places,
            limits,
            whiteouts: Whiteouts::default(),
            times,
            births: Births::default(),
        })
    }

    /// Makes `entry`; its content comes from `entries`.
    pub(super) fn put<S: Source>(
        &mut self,
        entry: &Entry,
        entries: &mut Entries<'_, S>,
    ) -> Result<(), UnpackError> {
        let name = Name::parse(&entry.name, self.limits.depth)?;
        attributes::check(entry)?;
        let meaning = meaning(&name)?;
        if meaning == Meaning::Ignored {
            return Ok(());
        }
        let Some((parent, last)) = name.split() else {
            return self.root(entry);
        };
        self.go_to_parent(entry, parent)?;
        match meaning {
            Meaning::Hides(hidden) => self.whiteouts.hide(self.places.name(), hidden),
            Meaning::Opaque => self.whiteouts.make_opaque(self.places.name()),
            Meaning::Plain => self.make(entry, last, entries)?,
            Meaning::Ignored => {}
        }
        Ok(())
    }

    /// Whiteouts and directory times, once everything is there.
    pub(super) fn finish(mut self) -> Result<(), UnpackError> {
        self.whiteouts.apply(&mut self.places)?;
        for name in std::mem::take(&mut self.places.implied) {
            self.times.entry(name).or_default();
        }
        for (name, &mtime) in &self.times {
            let failed = |source| UnpackError::write(&name.join(&b'/'), source);
            match self.places.go(name, Missing::Fail) {
                // A later entry took its place.
                Err(err) if is_gone(&err) => continue,
                other => other.map_err(failed)?,
            }
            if self.places.name() == *name {
                sys::fset_mtime(self.places.here(), mtime).map_err(failed)?;
            }
        }
        Ok(())
    }

    fn go_to_parent(&mut self, entry: &Entry, parent: &[Vec<u8>]) -> Result<(), UnpackError> {
        self.places
            .go(parent, Missing::Create)
            .map_err(|err| match err.kind() {
                io::ErrorKind::NotADirectory => UnpackError::refused(
                    &entry.name,
                    "it lies below something that is no directory",
                ),
                _ => UnpackError::write(&entry.name, err),
            })
    }

    fn root(&mut self, entry: &Entry) -> Result<(), UnpackError> {
        if entry.kind != Kind::Directory {
            return Err(UnpackError::refused(&entry.name, "its name is empty"));
        }
        let failed = |source| UnpackError::write(b".", source);
        self.places.go(&[], Missing::Fail).map_err(failed)?;
        self.births.note_directory(entry);
        dress(self.places.here(), entry).map_err(failed)?;
        self.times.insert(Vec::new(), entry.mtime);
        Ok(())
    }

    fn make<S: Source>(
        &mut self,
        entry: &Entry,
        last: &[u8],
        entries: &mut Entries<'_, S>,
    ) -> Result<(), UnpackError> {
        let failed = |source| UnpackError::write(&entry.name, source);
        match &entry.kind {
            Kind::File => {
                self.check_length(entry.stored)?;
                let mut file = self.create(entry, last).map_err(failed)?;
                entries.content(entry.stored, |chunk| file.write_all(chunk).map_err(failed))?;
                self.finish_file(&file, entry).map_err(failed)
            }
            Kind::Sparse(map) => {
                self.check_length(map.len)?;
                let file = self.create(entry, last).map_err(failed)?;
                write_sparse(&file, map, entry, entries)?;
                self.finish_file(&file, entry).map_err(failed)
            }
            Kind::Directory => self.directory(entry, last).map_err(failed),
            Kind::HardLink { target } => self.hard_link(entry, target),
            Kind::Symlink { target } => self.symlink(entry, last, target),
            &Kind::CharDevice { major: 0, minor: 0 } => {
                let problem = "the character device 0:0 is overlayfs's own mark";
                Err(UnpackError::refused(&entry.name, problem))
            }
            &Kind::CharDevice { major, minor } => self
                .special(entry, last, sys::Kind::CharacterDevice, (major, minor))
                .map_err(failed),
            &Kind::BlockDevice { major, minor } => self
                .special(entry, last, sys::Kind::BlockDevice, (major, minor))
                .map_err(failed),
            Kind::Fifo => self
                .special(entry, last, sys::Kind::Fifo, (0, 0))
                .map_err(failed),
        }
    }

    fn check_length(&self, len: u64) -> Result<(), UnpackError> {
        let limit = self.limits.file_bytes;
        if len > limit {
            return Err(UnpackError::Limit {
                what: "bytes in one file",
                limit,
            });
        }
        Ok(())
    }

    /// A new file; whatever has the name goes, so that nothing is written through a link.
    fn create(&self, entry: &Entry, last: &[u8]) -> io::Result<File> {
        let create = || sys::create_file(self.places.here(), last, entry.mode);
        replacing(self, last, create).map(File::from)
    }

    fn finish_file(&mut self, file: &File, entry: &Entry) -> io::Result<()> {
        if self.births.suits(file.as_fd(), entry)? {
            attributes::set(file.as_fd(), entry)?;
        } else {
            dress(file.as_fd(), entry)?;
        }
        sys::fset_mtime(file.as_fd(), entry.mtime)
    }

    fn directory(&mut self, entry: &Entry, last: &[u8]) -> io::Result<()> {
        let here = self.places.here();
        let made = match sys::mkdir(here, last) {
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {
                let stat = sys::stat(here, last)?;
                if sys::kind(&stat) != sys::Kind::Directory {
                    sys::unlink(here, last)?;
                    sys::mkdir(here, last)?;
                }
                sys::open_subdir(here, last)?
            }
            other => other.and_then(|()| sys::open_subdir(here, last))?,
        };
        self.births.note_directory(entry);
        dress(made.as_fd(), entry)?;
        self.places.descend(last, made);
        self.times.insert(self.places.name(), entry.mtime);
        Ok(())
    }

    fn symlink(&self, entry: &Entry, last: &[u8], target: &[u8]) -> Result<(), UnpackError> {
        if target.is_empty() || target.contains(&0) || target.len() > 4095 {
            return Err(UnpackError::refused(
                &entry.name,
                "its link target is impossible",
            ));
        }
        let here = self.places.here();
        replacing(self, last, || sys::symlink(target, here, last))
            .and_then(|()| sys::chown(here, last, entry.uid, entry.gid))
            .and_then(|()| sys::set_mtime(here, last, entry.mtime))
            .map_err(|source| UnpackError::write(&entry.name, source))
    }

    fn special(
        &self,
        entry: &Entry,
        last: &[u8],
        kind: sys::Kind,
        device: (u32, u32),
    ) -> io::Result<()> {
        let here = self.places.here();
        replacing(self, last, || sys::mknod(here, last, kind, device))?;
        sys::chown(here, last, entry.uid, entry.gid)?;
        sys::chmod(here, last, entry.mode)?;
        sys::set_mtime(here, last, entry.mtime)
    }

    /// Another name for a file that an earlier entry made.
    fn hard_link(&mut self, entry: &Entry, target: &[u8]) -> Result<(), UnpackError> {
        let failed = |source| UnpackError::write(&entry.name, source);
        let name = Name::parse(&entry.name, self.limits.depth)?;
        let refused = |problem: &str| UnpackError::refused(&entry.name, problem);
        let missing = || UnpackError::LinkTarget {
            entry: error::shown(&entry.name),
            target: error::shown(target),
        };
        let to = Name::parse(target, self.limits.depth).map_err(|_| {
            refused(&format!(
                "its link target {:?} is impossible",
                error::shown(target)
            ))
        })?;
        let Some((from_parent, from_last)) = to.split() else {
            return Err(refused("it is a hard link to the root"));
        };
        if meaning(&to).ok() != Some(Meaning::Plain) {
            return Err(refused("it is a hard link to a whiteout"));
        }
        match self.places.go(from_parent, Missing::Fail) {
            Err(err) if is_gone(&err) => return Err(missing()),
            other => other.map_err(failed)?,
        }
        let from = self.places.here().try_clone_to_owned().map_err(failed)?;
        let source = match sys::stat(from.as_fd(), from_last) {
            Err(err) if is_gone(&err) => return Err(missing()),
            other => other.map_err(failed)?,
        };
        if sys::kind(&source) == sys::Kind::Directory {
            return Err(refused("it is a hard link to a directory"));
        }
        let (parent, last) = name.split().expect("the root has no hard links: see `put`");
        self.go_to_parent(entry, parent)?;
        let here = self.places.here();
        if sys::stat(here, last).is_ok_and(|found| found.st_ino == source.st_ino) {
            return Ok(());
        }
        replacing(self, last, || {
            sys::link(from.as_fd(), from_last, here, last)
        })
        .map_err(|err| {
            // The only other name was below the one that gave way.
            if is_gone(&err) {
                missing()
            } else {
                failed(err)
            }
        })
    }
}

/// Makes something under a name; what is there already goes first, directories with all they hold.
fn replacing<T>(
    writer: &Writer<'_>,
    last: &[u8],
    make: impl Fn() -> io::Result<T>,
) -> io::Result<T> {
    match make() {
        Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {
            remove_at(writer.places.here(), last)?;
            make()
        }
        other => other,
    }
}

fn is_gone(err: &io::Error) -> bool {
    matches!(
        err.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// Owner, mode and attributes, in the order in which the kernel does not undo them.
fn dress(fd: BorrowedFd<'_>, entry: &Entry) -> io::Result<()> {
    sys::fchown(fd, entry.uid, entry.gid)?;
    sys::fchmod(fd, entry.mode)?;
    attributes::set(fd, entry)
}

fn write_sparse<S: Source>(
    file: &File,
    map: &SparseMap,
    entry: &Entry,
    entries: &mut Entries<'_, S>,
) -> Result<(), UnpackError> {
    let failed = |source| UnpackError::write(&entry.name, source);
    sys::set_len(file.as_fd(), map.len).map_err(failed)?;
    for &(offset, len) in &map.pieces {
        let mut position = offset;
        entries.content(len, |chunk| {
            file.write_all_at(chunk, position).map_err(failed)?;
            position += chunk.len() as u64;
            Ok(())
        })?;
    }
    Ok(())
}
