//! What a container's mounts are of: descriptors, found at its start and mounted as they are.
//!
//! Containers that ran before, or run now, may have put symlinks anywhere in a volume, and may go on exchanging them while this
//! looks. So a `subPath` is found by the kernel below the volume's own descriptor, and what was found is what gets mounted: no
//! path is looked at twice.
use super::host::HostKind;
use super::{Origin, Ready, VolumeError, Volumes};
use crate::beneath::{Dir, plain};
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

/// What one mount of a container is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Where it goes in the container.
    pub destination: PathBuf,
    /// The volume.
    pub volume: String,
    /// What of the volume, if not all of it.
    pub sub_path: Option<PathBuf>,
}

/// What is to be mounted, by destination.
pub type Opened = Vec<(PathBuf, OwnedFd)>;

/// Opens what the mounts of a container are of. A `subPath` that is not there becomes a directory, as in Kubernetes, unless
/// the volume cannot be written to.
///
/// # Errors
/// Names the volume and what is wrong with it.
pub fn open(volumes: &Volumes, wanted: &[Wanted]) -> Result<Opened, VolumeError> {
    let one = |wanted: &Wanted| {
        let fail = |what| VolumeError {
            volume: wanted.volume.clone(),
            what,
        };
        let ready = volumes.get(&wanted.volume);
        let ready = ready.ok_or_else(|| fail("the pod has no such volume".to_owned()))?;
        let source = source(ready, wanted.sub_path.as_deref()).map_err(fail)?;
        Ok((wanted.destination.clone(), source))
    };
    wanted.iter().map(one).collect()
}

fn source(volume: &Ready, sub_path: Option<&Path>) -> Result<OwnedFd, String> {
    let root = match volume.origin {
        Origin::Pod => Dir::open(&volume.path)
            .map(Dir::into_fd)
            .map_err(|err| err.to_string())?,
        Origin::Host(kind) => host(&volume.path, kind)?,
    };
    let Some(sub_path) = sub_path else {
        return Ok(root);
    };
    below(root, sub_path, volume.read_only)
        .map_err(|err| format!("subPath {}: {err}", sub_path.display()))
}

fn below(root: OwnedFd, sub_path: &Path, read_only: bool) -> io::Result<OwnedFd> {
    let parts = sub_path
        .components()
        .filter(|part| *part != Component::CurDir);
    let sub_path: PathBuf = parts.collect();
    if plain(&sub_path)?.is_empty() {
        return Ok(root);
    }
    let stat = rustix::fs::fstat(&root)?;
    if !FileType::from_raw_mode(stat.st_mode).is_dir() {
        return Err(io::Error::other("the volume is no directory"));
    }
    let dir = Dir::of(root);
    if read_only {
        return dir.find(&sub_path).map_err(|err| match err.kind() {
            io::ErrorKind::NotFound => io::Error::new(err.kind(), "the volume has no such file"),
            _ => err,
        });
    }
    dir.find_or_make(&sub_path, stat.st_mode)
}

/// Opens something of the host's: links are followed as ever, but not those of /proc that lead into a process.
pub(super) fn host(path: &Path, kind: HostKind) -> Result<OwnedFd, String> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_MAGICLINKS;
    let opened = rustix::fs::openat2(rustix::fs::CWD, path, flags, Mode::empty(), resolve);
    let opened = opened.map_err(|errno| match errno {
        Errno::NOENT => format!(
            "{} is not on this host; make it, or set hostPath.type: DirectoryOrCreate",
            path.display()
        ),
        errno => format!("{}: {}", path.display(), io::Error::from(errno)),
    })?;
    let stat =
        rustix::fs::fstat(&opened).map_err(|errno| format!("{}: {errno}", path.display()))?;
    kind.check(path, FileType::from_raw_mode(stat.st_mode))?;
    Ok(opened)
}

#[cfg(test)]
mod tests;
