//! Finding and making files below a directory that somebody hostile may be writing to at the same time.
//!
//! A container can put a symlink where a directory was a moment ago. So nothing here goes by a path of the host: every
//! step starts from an open directory, and the kernel itself refuses to leave it (`RESOLVE_BENEATH`), to follow the links of
//! /proc, or, where nothing but the kubelet should have written, to follow any link.
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

/// How often a path is looked up again when renames or mounts elsewhere made the kernel unsure of a `..`.
const TRIES: u32 = 64;
/// How deep a tree is emptied in place; deeper parts are moved up first.
const DEEP: u32 = 32;
/// How many names of a directory are in memory at a time while it is emptied.
const BATCH: usize = 1024;
/// For what follows no link at all.
const STRICT: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS);
/// For what may be reached by links, as long as they do not lead out.
const INSIDE: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS);

/// An open directory.
#[derive(Debug)]
pub(crate) struct Dir(OwnedFd);

impl Dir {
    /// Opens a directory by its path on the host; the last part must not be a link.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(dir) => Ok(Dir(dir)),
            Err(errno) => Err(named(errno, path)),
        }
    }

    /// A directory that is open already; `O_PATH` is enough for looking things up.
    pub(crate) fn of(dir: OwnedFd) -> Self {
        Dir(dir)
    }

    /// The directory itself as a descriptor.
    pub(crate) fn into_fd(self) -> OwnedFd {
        self.0
    }

    /// Opens what `path` leads to, whatever it is, without reading or waking it (`O_PATH`). Links are followed inside
    /// the directory; one that leads out is an error (`EXDEV`).
    pub(crate) fn find(&self, path: &Path) -> io::Result<OwnedFd> {
        self.lookup(path, OFlags::PATH, INSIDE)
    }

    /// The directory `path`, reached by real directories only.
    pub(crate) fn dir(&self, path: &Path) -> io::Result<Dir> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        self.lookup(path, flags, STRICT).map(Dir)
    }

    /// Like [`Dir::find`]; what is not there becomes a directory of `mode`. The links of a container are followed to what
    /// is there, but nothing is made through one.
    pub(crate) fn find_or_make(&self, path: &Path, mode: u32) -> io::Result<OwnedFd> {
        match self.find(path) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => {}
            found => return found,
        }
        let parts = plain(path)?;
        let mut there = PathBuf::new();
        let mut at = Dir(self.lookup(Path::new("."), OFlags::PATH, STRICT)?);
        for (index, part) in parts.iter().enumerate() {
            there.push(part);
            match self.find(&there) {
                Ok(found) => at = Dir(found),
                Err(err) if err.kind() == io::ErrorKind::NotFound => {
                    for part in &parts[index..] {
                        at = at.make(part, mode)?;
                    }
                    break;
                }
                Err(err) => return Err(err),
            }
        }
        Ok(at.0)
    }

    /// Makes the directory `name`, or finds it, and opens it. One that is new, or empty and root's, has `mode` then.
    pub(crate) fn make(&self, name: &OsStr, mode: u32) -> io::Result<Dir> {
        match rustix::fs::mkdirat(&self.0, name, Mode::from_raw_mode(0o700)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(named(errno, Path::new(name))),
        }
        let dir = self.dir(Path::new(name))?;
        // Somebody may have put another directory there meanwhile: what holds files keeps its mode.
        let stat = rustix::fs::fstat(&dir.0)?;
        if stat.st_uid == rustix::process::geteuid().as_raw() && dir.names()?.is_empty() {
            let inherited = stat.st_mode & 0o2000;
            rustix::fs::fchmod(&dir.0, Mode::from_raw_mode(mode & 0o3777 | inherited))?;
        }
        Ok(dir)
    }

    /// Makes a directory that must be new.
    pub(crate) fn create_dir(&self, name: &OsStr, mode: u32) -> io::Result<Dir> {
        rustix::fs::mkdirat(&self.0, name, Mode::from_raw_mode(mode))
            .map_err(|errno| named(errno, Path::new(name)))?;
        self.dir(Path::new(name))
    }

    /// Makes a file that must be new, in a directory that only the kubelet writes to.
    pub(crate) fn create_file(
        &self,
        name: &OsStr,
        bytes: &[u8],
        mode: u32,
        group: Option<u32>,
    ) -> io::Result<()> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.0, name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|errno| named(errno, Path::new(name)))?;
        let mut file = std::fs::File::from(file);
        file.write_all(bytes)?;
        std::os::unix::fs::fchown(&file, None, group)?;
        // Last: a change of owner takes bits away.
        Ok(rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?)
    }

    /// Reads the file `path`, of at most `limit` bytes, reached by real directories only; with its mode.
    pub(crate) fn read(&self, path: &Path, limit: u64) -> io::Result<(Vec<u8>, u32)> {
        let file = self.lookup(path, OFlags::RDONLY | OFlags::NONBLOCK, STRICT)?;
        let stat = rustix::fs::fstat(&file)?;
        if !FileType::from_raw_mode(stat.st_mode).is_file() {
            return Err(named(Errno::INVAL, path));
        }
        let mut bytes = Vec::new();
        std::fs::File::from(file)
            .take(limit)
            .read_to_end(&mut bytes)?;
        Ok((bytes, stat.st_mode & 0o7777))
    }

    /// What is in the directory, without `.` and `..`.
    pub(crate) fn names(&self) -> io::Result<Vec<OsString>> {
        self.some_names(usize::MAX)
    }

    /// The first so many names.
    fn some_names(&self, most: usize) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        self.each_name(|name| {
            names.push(name.to_owned());
            names.len() < most
        })?;
        Ok(names)
    }

    /// Tells each name, for as long as the answer is yes.
    pub(crate) fn each_name(&self, mut tell: impl FnMut(&OsStr) -> bool) -> io::Result<()> {
        for entry in rustix::fs::Dir::read_from(&self.0)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name != b"." && name != b".." && !tell(OsStr::from_bytes(name)) {
                break;
            }
        }
        Ok(())
    }

    /// What `name` is, a link being a link.
    pub(crate) fn stat(&self, name: &OsStr) -> io::Result<Stat> {
        rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| named(errno, Path::new(name)))
    }

    /// Where the link `name` leads; `None` if it is none or not there.
    pub(crate) fn link(&self, name: &OsStr) -> io::Result<Option<OsString>> {
        match rustix::fs::readlinkat(&self.0, name, Vec::new()) {
            Ok(target) => Ok(Some(OsStr::from_bytes(target.as_bytes()).to_owned())),
            Err(Errno::INVAL | Errno::NOENT) => Ok(None),
            Err(errno) => Err(named(errno, Path::new(name))),
        }
    }

    /// Makes the link `name`, in place of whatever file or link has that name, in one step for whoever looks.
    pub(crate) fn replace_link(&self, name: &OsStr, target: &OsStr) -> io::Result<()> {
        let aside = OsStr::new("..link_tmp");
        self.remove(aside)?;
        rustix::fs::symlinkat(target, &self.0, aside)?;
        match rustix::fs::renameat(&self.0, aside, &self.0, name) {
            Ok(()) => Ok(()),
            // A directory gives way to nothing.
            Err(Errno::ISDIR | Errno::NOTEMPTY | Errno::EXIST) => {
                self.remove(name)?;
                Ok(rustix::fs::renameat(&self.0, aside, &self.0, name)?)
            }
            Err(errno) => Err(named(errno, Path::new(name))),
        }
    }

    /// Removes `name` and all that is below it; no link is followed. Nothing there is success.
    ///
    /// Somebody may have made it deeper than a path, a stack or the number of open files allows: what is deep is moved up and
    /// removed from there.
    pub(crate) fn remove(&self, name: &OsStr) -> io::Result<()> {
        if self.unlink(name)? {
            return Ok(());
        }
        let mut pending = vec![name.to_owned()];
        while let Some(name) = pending.pop() {
            match self.dir(Path::new(&name)) {
                Ok(dir) => self.empty(&dir, 0, &mut pending)?,
                Err(err) if err.kind() == io::ErrorKind::NotFound => continue,
                Err(err) => return Err(err),
            }
            if !self.unlink(&name)? {
                return Err(named(Errno::NOTEMPTY, Path::new(&name)));
            }
        }
        Ok(())
    }

    /// Empties `dir`, which is `depth` directories below this one. What is too deep comes to lie here, and into `pending`.
    fn empty(&self, dir: &Dir, depth: u32, pending: &mut Vec<OsString>) -> io::Result<()> {
        loop {
            let names = dir.some_names(BATCH)?;
            if names.is_empty() {
                return Ok(());
            }
            for name in names {
                if dir.unlink(&name)? {
                    continue;
                }
                if depth == DEEP {
                    pending.push(self.move_here(dir, &name)?);
                } else {
                    self.empty(&dir.dir(Path::new(&name))?, depth + 1, pending)?;
                    dir.unlink(&name)?;
                }
            }
        }
    }

    /// Moves `name` of `dir` into this directory; the answer is its new name.
    fn move_here(&self, dir: &Dir, name: &OsStr) -> io::Result<OsString> {
        for number in 0_u64.. {
            let new = OsString::from(format!("..deep{number}"));
            let flags = rustix::fs::RenameFlags::NOREPLACE;
            match rustix::fs::renameat_with(&dir.0, name, &self.0, &new, flags) {
                Ok(()) => return Ok(new),
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(named(errno, Path::new(name))),
            }
        }
        Err(named(Errno::EXIST, Path::new(name)))
    }

    /// Removes a file, a link or an empty directory. Says no to a directory that is not empty.
    fn unlink(&self, name: &OsStr) -> io::Result<bool> {
        let file = rustix::fs::unlinkat(&self.0, name, AtFlags::empty());
        let done = match file {
            Err(Errno::ISDIR) => rustix::fs::unlinkat(&self.0, name, AtFlags::REMOVEDIR),
            file => file,
        };
        match done {
            Ok(()) | Err(Errno::NOENT) => Ok(true),
            Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
            Err(errno) => Err(named(errno, Path::new(name))),
        }
    }

    fn lookup(&self, path: &Path, flags: OFlags, resolve: ResolveFlags) -> io::Result<OwnedFd> {
        let flags = flags | OFlags::CLOEXEC;
        for _ in 0..TRIES {
            match rustix::fs::openat2(&self.0, path, flags, Mode::empty(), resolve) {
                Err(Errno::AGAIN) => {}
                Err(errno) => return Err(named(errno, path)),
                Ok(found) => return Ok(found),
            }
        }
        Err(io::Error::other(format!(
            "{}: it is renamed all the time; stop who does it",
            path.display()
        )))
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The parts of a relative path that has no `.` or `..`.
///
/// # Errors
/// When it is something else.
pub(crate) fn plain(path: &Path) -> io::Result<Vec<OsString>> {
    let parts = path.components().map(|part| match part {
        Component::Normal(name) => Ok(name.to_owned()),
        Component::CurDir | Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
            Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "{} must be relative and without `.` and `..`",
                    path.display()
                ),
            ))
        }
    });
    parts.collect()
}

fn named(errno: Errno, path: &Path) -> io::Error {
    let why = match errno {
        Errno::XDEV => "a symlink there leads out of the volume".to_owned(),
        Errno::LOOP => "there is a symlink that must not be followed".to_owned(),
        errno => errno.to_string(),
    };
    io::Error::new(
        io::Error::from(errno).kind(),
        format!("{}: {why}", path.display()),
    )
}
