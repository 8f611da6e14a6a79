//! The state directory: what is remembered of a container between two invocations.
//!
//! ```text
//! ROOT/                 0700
//!   .seccomp/           compiled filters by content
//!   ID/                 0700, flock(2)ed by whoever changes the container
//!     state.jsonl       the Record: a line for each change, of which the last whole one counts
//!     config.json       the bundle's config as it was at `create`
//!     start.fifo        its reader is the parked init; `start` writes one byte
//!     status.fifo       its writer is the parked init; the outcome of execve
//! ```
//! A status is never stored, it is computed from what is seen: does init live, does it still hold
//! the fifo, is the cgroup frozen.
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::{FlockOperation, Mode, OFlags, flock, mkdir, open};
use serde::{Deserialize, Serialize};

use super::id::ContainerId;
use super::process::ProcessRef;
use super::status::Status;

const RECORD: &str = "state.jsonl";
const CONFIG: &str = "config.json";
const START: &str = "start.fifo";
const STATUS: &str = "status.fifo";
/// The only version of the record there has been.
pub(super) const FORMAT: u32 = 1;

/// Why the state directory could not be read or changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum StateError {
    /// `--root` cannot be made.
    #[error("cannot create the state directory {}", path.display())]
    Root {
        /// The value of `--root`.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Another container has this id.
    #[error("container with given ID already exists: {id}; delete it or choose another id")]
    Exists {
        /// The id.
        id: String,
    },
    /// No container has this id.
    #[error("container {id:?} does not exist")]
    NotFound {
        /// The id.
        id: String,
    },
    /// The record is there and unusable.
    #[error("the state of container {id} is damaged; `delete --force {id}` removes it")]
    Damaged {
        /// The id.
        id: String,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// The record was written by a newer runtime.
    #[error("the state of container {id} has format {format}, this runtime reads {FORMAT}")]
    Format {
        /// The id.
        id: String,
        /// The number found.
        format: u32,
    },
    /// A file of the container cannot be read or written.
    #[error("container {id}: cannot {action}")]
    Access {
        /// The id.
        id: String,
        /// What was tried.
        action: &'static str,
        /// What the kernel said, with the path.
        source: io::Error,
    },
}

/// What is written down about a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    /// The version of this structure.
    pub(super) format: u32,
    /// The version of the specification that the config names.
    pub(super) oci_version: String,
    /// The absolute path of the bundle.
    pub(super) bundle: PathBuf,
    /// The absolute path of the root file system.
    pub(super) rootfs: PathBuf,
    /// When the container was created, RFC 3339.
    pub(super) created: String,
    /// The uid of who created it.
    pub(super) owner: u32,
    /// The annotations of the config.
    #[serde(default)]
    pub(super) annotations: BTreeMap<String, String>,
    /// The container's cgroup, below the root of each hierarchy.
    #[serde(default)]
    pub(super) cgroup: Option<PathBuf>,
    /// The first process, once there is one.
    #[serde(default)]
    pub(super) init: Option<ProcessRef>,
    /// How far `create` came.
    pub(super) progress: Progress,
}

/// What `create` or `run` had done when it last wrote the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Progress {
    /// Still at work, or killed at it.
    Creating,
    /// Done: init waits for a byte in the start fifo, or had it already.
    Parked,
    /// `run` started init itself, so there is no fifo to look at.
    Started,
}

/// The value of `--root`.
#[derive(Debug, Clone)]
pub(super) struct StateRoot {
    path: PathBuf,
}

impl StateRoot {
    /// Names the directory without touching it.
    pub(super) fn new(path: PathBuf) -> StateRoot {
        StateRoot { path }
    }

    /// `/run/rkube-runtime`, or below `$XDG_RUNTIME_DIR` when not root.
    pub(super) fn default_path(is_root: bool, xdg_runtime_dir: Option<PathBuf>) -> PathBuf {
        match xdg_runtime_dir {
            Some(dir) if !is_root => dir.join("rkube-runtime"),
            Some(_) | None => PathBuf::from("/run/rkube-runtime"),
        }
    }

    /// Where compiled seccomp filters are kept; `None` when there can be no such place.
    pub(super) fn seccomp_cache(&self) -> Option<PathBuf> {
        let path = self.path.join(".seccomp");
        let made = match mkdir(&path, Mode::RWXU) {
            Err(rustix::io::Errno::NOENT) => {
                self.ensure().ok()?;
                mkdir(&path, Mode::RWXU)
            }
            made => made,
        };
        matches!(made, Ok(()) | Err(rustix::io::Errno::EXIST)).then_some(path)
    }

    /// Makes the directory of a new container and locks it.
    pub(super) fn create(&self, id: &ContainerId) -> Result<ContainerDir, StateError> {
        let dir = ContainerDir::unlocked(id.clone(), self.path.join(id.as_str()));
        let made = match mkdir(&dir.path, Mode::RWXU) {
            Err(rustix::io::Errno::NOENT) => {
                self.ensure()?;
                mkdir(&dir.path, Mode::RWXU)
            }
            made => made,
        };
        match made {
            Ok(()) => dir.locked(),
            Err(rustix::io::Errno::EXIST) => Err(StateError::Exists { id: id.to_string() }),
            Err(errno) => Err(dir.access("create its directory", errno.into())),
        }
    }

    fn ensure(&self) -> Result<(), StateError> {
        use std::os::unix::fs::DirBuilderExt;
        let made = std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.path);
        made.map_err(|source| StateError::Root {
            path: self.path.clone(),
            source,
        })
    }

    /// An existing container, not locked: for readers.
    pub(super) fn find(&self, id: &ContainerId) -> Result<ContainerDir, StateError> {
        let dir = ContainerDir::unlocked(id.clone(), self.path.join(id.as_str()));
        if dir.path.is_dir() {
            Ok(dir)
        } else {
            Err(StateError::NotFound { id: id.to_string() })
        }
    }

    /// An existing container, locked: for verbs that change it. Waits for another verb to end.
    pub(super) fn lock(&self, id: &ContainerId) -> Result<ContainerDir, StateError> {
        self.find(id)?.locked()
    }

    /// All containers, by id. A missing directory has none.
    pub(super) fn list(&self) -> Result<Vec<ContainerDir>, StateError> {
        let entries = match std::fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => {
                return Err(StateError::Root {
                    path: self.path.clone(),
                    source,
                });
            }
        };
        let mut found: Vec<ContainerDir> = entries
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let id = entry.file_name().to_str()?.parse().ok()?;
                Some(ContainerDir::unlocked(id, entry.path()))
            })
            .collect();
        found.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(found)
    }
}

/// The directory of one container; the lock, when held, ends with the value.
#[derive(Debug)]
pub(super) struct ContainerDir {
    id: ContainerId,
    path: PathBuf,
    /// Held, not used: closing it ends the lock.
    _lock: Option<OwnedFd>,
}

impl ContainerDir {
    fn unlocked(id: ContainerId, path: PathBuf) -> ContainerDir {
        ContainerDir {
            id,
            path,
            _lock: None,
        }
    }

    fn locked(mut self) -> Result<ContainerDir, StateError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let gone = || StateError::NotFound {
            id: self.id.to_string(),
        };
        let fd = match open(&self.path, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(rustix::io::Errno::NOENT) => return Err(gone()),
            Err(errno) => return Err(self.access("open its directory", errno.into())),
        };
        flock(&fd, FlockOperation::LockExclusive)
            .map_err(|errno| self.access("lock its directory", errno.into()))?;
        // Whoever held the lock may have deleted the container meanwhile.
        let held = rustix::fs::fstat(&fd).map_err(|errno| self.access("look", errno.into()))?;
        if held.st_nlink == 0 {
            return Err(gone());
        }
        self._lock = Some(fd);
        Ok(self)
    }

    /// The container's id.
    pub(super) fn id(&self) -> &ContainerId {
        &self.id
    }

    /// The same container, without the lock.
    pub(super) fn unlock(&self) -> ContainerDir {
        ContainerDir::unlocked(self.id.clone(), self.path.clone())
    }

    fn access(&self, action: &'static str, source: io::Error) -> StateError {
        StateError::Access {
            id: self.id.to_string(),
            action,
            source,
        }
    }

    /// Reads the record. `None` when `create` has not written one yet.
    pub(super) fn try_record(&self) -> Result<Option<Record>, StateError> {
        let text = match fs_err::read(self.path.join(RECORD)) {
            Ok(text) => text,
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(err) => return Err(self.access("read its state", err)),
        };
        let Some(line) = last_line(&text) else {
            return Ok(None);
        };
        let record: Record =
            serde_json::from_slice(line).map_err(|source| StateError::Damaged {
                id: self.id.to_string(),
                source,
            })?;
        if record.format != FORMAT {
            return Err(StateError::Format {
                id: self.id.to_string(),
                format: record.format,
            });
        }
        Ok(Some(record))
    }

    /// Replaces the record in one step: one write(2) of one line. To rename another file over it
    /// would make some file systems start writing to the disk.
    pub(super) fn write_record(&self, record: &Record) -> Result<(), StateError> {
        let mut line = serde_json::to_vec(record).map_err(|source| StateError::Damaged {
            id: self.id.to_string(),
            source,
        })?;
        line.push(b'\n');
        fs_err::OpenOptions::new()
            .append(true)
            .create(true)
            .open(self.path.join(RECORD))
            .and_then(|mut file| file.write_all(&line))
            .map_err(|source| self.access("write its state", source))
    }

    /// Keeps the config as it is now: later changes to the bundle must not matter.
    pub(super) fn write_config(&self, text: &[u8]) -> Result<(), StateError> {
        fs_err::write(self.path.join(CONFIG), text)
            .map_err(|source| self.access("keep its config", source))
    }

    /// Where [`ContainerDir::write_config`] put it.
    pub(super) fn config_path(&self) -> PathBuf {
        self.path.join(CONFIG)
    }

    /// Makes the two fifos and opens init's ends of them.
    ///
    /// The start fifo is opened for both directions, so that init never reads an end of file
    /// while nobody has it open, and so that the open does not wait.
    pub(super) fn make_fifos(&self) -> Result<Fifos, StateError> {
        let make = |name: &str| {
            rustix::fs::mknodat(
                rustix::fs::CWD,
                self.path.join(name),
                rustix::fs::FileType::Fifo,
                Mode::RUSR | Mode::WUSR,
                0,
            )
        };
        let open = |name: &str, flags: OFlags| {
            open(self.path.join(name), flags | OFlags::CLOEXEC, Mode::empty())
        };
        let made = || -> Result<Fifos, rustix::io::Errno> {
            make(START)?;
            make(STATUS)?;
            let status = open(STATUS, OFlags::RDONLY | OFlags::NONBLOCK)?;
            let status_of_init = open(STATUS, OFlags::WRONLY)?;
            rustix::fs::fcntl_setfl(&status, OFlags::empty())?;
            Ok(Fifos {
                start: open(START, OFlags::RDWR)?,
                status,
                status_of_init,
            })
        };
        made().map_err(|errno| self.access("make its fifos", errno.into()))
    }

    /// Opens the other ends, for `start`. `None` when init is not parked.
    pub(super) fn open_fifos(&self) -> Result<Option<Parked>, StateError> {
        let status = open(
            self.path.join(STATUS),
            OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC,
            Mode::empty(),
        );
        // Opened without waiting for init's end, and then read with waiting for what it says.
        let status =
            status.and_then(|fd| rustix::fs::fcntl_setfl(&fd, OFlags::empty()).map(|()| fd));
        let start = self.start_end();
        match (start, status) {
            (Ok(Some(start)), Ok(status)) => Ok(Some(Parked { start, status })),
            (Ok(None), _) => Ok(None),
            (Err(errno), _) | (_, Err(errno)) => Err(self.access("open its fifos", errno.into())),
        }
    }

    fn start_end(&self) -> Result<Option<OwnedFd>, rustix::io::Errno> {
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match open(self.path.join(START), flags, Mode::empty()) {
            Ok(fd) => Ok(Some(fd)),
            // No reader: init has executed the user's program, or is gone.
            Err(rustix::io::Errno::NXIO) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// What the container is doing now, as far as processes tell.
    pub(super) fn status(&self, record: &Record) -> Status {
        let Some(init) = record.init else {
            return if self.is_busy() {
                Status::Creating
            } else {
                Status::Stopped
            };
        };
        if !init.is_alive() {
            return Status::Stopped;
        }
        match record.progress {
            Progress::Creating => Status::Creating,
            Progress::Started => Status::Running,
            Progress::Parked => match self.start_end() {
                Ok(Some(_)) => Status::Created,
                Ok(None) | Err(_) => Status::Running,
            },
        }
    }

    /// Whether another invocation works on the container right now.
    pub(super) fn is_busy(&self) -> bool {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let Ok(fd) = open(&self.path, flags, Mode::empty()) else {
            return false;
        };
        flock(&fd, FlockOperation::NonBlockingLockExclusive) == Err(rustix::io::Errno::WOULDBLOCK)
    }

    /// Removes the directory: the container does not exist any more.
    pub(super) fn remove(self) -> Result<(), StateError> {
        match fs_err::remove_dir_all(&self.path) {
            Ok(()) => Ok(()),
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(err) => Err(self.access("remove its directory", err)),
        }
    }
}

/// What was written last. A line without an end is still being written, or never will be.
fn last_line(text: &[u8]) -> Option<&[u8]> {
    let end = text.iter().rposition(|&byte| byte == b'\n')?;
    text[..end].rsplit(|&byte| byte == b'\n').next()
}

/// The ends of the fifos that `create` deals with.
#[derive(Debug)]
pub(super) struct Fifos {
    /// Init reads one byte from it; `create` writes to it to end a pause.
    pub(super) start: OwnedFd,
    /// The reading end of the status fifo.
    pub(super) status: OwnedFd,
    /// The writing end, for init alone: close it after the fork.
    pub(super) status_of_init: OwnedFd,
}

/// The ends of the fifos that `start` deals with.
#[derive(Debug)]
pub(super) struct Parked {
    /// Write one byte here.
    pub(super) start: OwnedFd,
    /// Then read the outcome here.
    pub(super) status: OwnedFd,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: Option<&str>) {
        assert_eq!(last_line(text.as_bytes()), want.map(str::as_bytes));
    }

    #[test]
    fn the_last_whole_line_counts() {
        check("", None);
        check("{", None);
        check("a\n", Some("a"));
        check("a\nb", Some("a"));
        check("a\nb\n", Some("b"));
    }

    #[test]
    fn the_latest_record_is_read() {
        let root = tempfile::tempdir().unwrap();
        let dir = StateRoot::new(root.path().to_owned()).create(&"one".parse().unwrap());
        let dir = dir.unwrap();
        assert_eq!(dir.try_record().unwrap(), None);
        let mut record = Record {
            format: FORMAT,
            oci_version: "1.2.0".to_owned(),
            bundle: PathBuf::from("/b"),
            rootfs: PathBuf::from("/b/rootfs"),
            created: "2015-01-01T00:00:00Z".to_owned(),
            owner: 0,
            annotations: BTreeMap::new(),
            cgroup: None,
            init: None,
            progress: Progress::Creating,
        };
        dir.write_record(&record).unwrap();
        assert_eq!(dir.try_record().unwrap().as_ref(), Some(&record));
        record.progress = Progress::Started;
        dir.write_record(&record).unwrap();
        assert_eq!(dir.try_record().unwrap(), Some(record));
        std::fs::write(root.path().join("one").join(RECORD), "nonsense\n").unwrap();
        assert!(matches!(dir.try_record(), Err(StateError::Damaged { .. })));
    }
}
