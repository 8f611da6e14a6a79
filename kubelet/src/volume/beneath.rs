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
/// For what follows no link at all.
const STRICT: ResolveFlags = ResolveFlags::BENEATH
    .union(ResolveFlags::NO_SYMLINKS)
    .union(ResolveFlags::NO_MAGICLINKS);
/// For what may be reached by links, as long as they do not lead out.
const INSIDE: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS);

/// An open directory.
#[derive(Debug)]
pub(super) struct Dir(OwnedFd);

impl Dir {
    /// Opens a directory by its path on the host; the last part must not be a link.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::open(path, flags, Mode::empty()) {
            Ok(dir) => Ok(Dir(dir)),
            Err(errno) => Err(named(errno, path)),
        }
    }

    /// A directory that is open already; `O_PATH` is enough for looking things up.
    pub(super) fn of(dir: OwnedFd) -> Self {
        Dir(dir)
    }

    /// The directory itself as a descriptor.
    pub(super) fn into_fd(self) -> OwnedFd {
        self.0
    }

    /// Opens what `path` leads to, whatever it is, without reading or waking it (`O_PATH`). Links are followed inside
    /// the directory; one that leads out is an error (`EXDEV`).
    pub(super) fn find(&self, path: &Path) -> io::Result<OwnedFd> {
        self.lookup(path, OFlags::PATH, INSIDE)
    }

    /// The directory `path`, reached by real directories only.
    pub(super) fn dir(&self, path: &Path) -> io::Result<Dir> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        self.lookup(path, flags, STRICT).map(Dir)
    }

    /// Like [`Dir::find`]; what is not there becomes a directory of `mode`. The links of a container are followed to what
    /// is there, but nothing is made through one.
    pub(super) fn find_or_make(&self, path: &Path, mode: u32) -> io::Result<OwnedFd> {
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
    pub(super) fn make(&self, name: &OsStr, mode: u32) -> io::Result<Dir> {
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
    pub(super) fn create_dir(&self, name: &OsStr, mode: u32) -> io::Result<Dir> {
        rustix::fs::mkdirat(&self.0, name, Mode::from_raw_mode(mode))
            .map_err(|errno| named(errno, Path::new(name)))?;
        self.dir(Path::new(name))
    }

    /// Makes a file that must be new, in a directory that only the kubelet writes to.
    pub(super) fn create_file(
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
    pub(super) fn read(&self, path: &Path, limit: u64) -> io::Result<(Vec<u8>, u32)> {
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
    pub(super) fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.0)? {
            let name = entry?.file_name().to_bytes().to_owned();
            if name != b"." && name != b".." {
                names.push(OsStr::from_bytes(&name).to_owned());
            }
        }
        Ok(names)
    }

    /// What `name` is, a link being a link.
    pub(super) fn stat(&self, name: &OsStr) -> io::Result<Stat> {
        rustix::fs::statat(&self.0, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|errno| named(errno, Path::new(name)))
    }

    /// Where the link `name` leads; `None` if it is none or not there.
    pub(super) fn link(&self, name: &OsStr) -> io::Result<Option<OsString>> {
        match rustix::fs::readlinkat(&self.0, name, Vec::new()) {
            Ok(target) => Ok(Some(OsStr::from_bytes(target.as_bytes()).to_owned())),
            Err(Errno::INVAL | Errno::NOENT) => Ok(None),
            Err(errno) => Err(named(errno, Path::new(name))),
        }
    }

    /// Makes the link `name`, in place of whatever file or link has that name, in one step for whoever looks.
    pub(super) fn replace_link(&self, name: &OsStr, target: &OsStr) -> io::Result<()> {
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
    pub(super) fn remove(&self, name: &OsStr) -> io::Result<()> {
        // A loop and not a recursion: what is there may be deep. Each turn takes the deepest directory of one branch.
        loop {
            match rustix::fs::unlinkat(&self.0, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => return Ok(()),
                Err(Errno::ISDIR | Errno::PERM) => {}
                Err(errno) => return Err(named(errno, Path::new(name))),
            }
            match rustix::fs::unlinkat(&self.0, name, AtFlags::REMOVEDIR) {
                Ok(()) | Err(Errno::NOENT) => return Ok(()),
                Err(Errno::NOTEMPTY | Errno::EXIST) => self.dir(Path::new(name))?.empty_branch()?,
                Err(errno) => return Err(named(errno, Path::new(name))),
            }
        }
    }

    /// Removes the files of this directory and what is below its sub-directories, down one branch after the other.
    fn empty_branch(self) -> io::Result<()> {
        let mut at = self;
        loop {
            let mut deeper = None;
            for name in at.names()? {
                match rustix::fs::unlinkat(&at.0, &name, AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => continue,
                    Err(Errno::ISDIR | Errno::PERM) => {}
                    Err(errno) => return Err(named(errno, Path::new(&name))),
                }
                match rustix::fs::unlinkat(&at.0, &name, AtFlags::REMOVEDIR) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(Errno::NOTEMPTY | Errno::EXIST) => deeper = Some(name),
                    Err(errno) => return Err(named(errno, Path::new(&name))),
                }
            }
            match deeper {
                Some(name) => at = at.dir(Path::new(&name))?,
                None => return Ok(()),
            }
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
pub(super) fn plain(path: &Path) -> io::Result<Vec<OsString>> {
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
