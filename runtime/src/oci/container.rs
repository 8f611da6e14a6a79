//! A container as the verbs see it: its directory, its record and what it is doing.
use std::io;
use std::path::Path;

use crate::cgroup::{Cgroup, CgroupError, DetectError, Hierarchies};

use super::bundle::OCI_VERSION;
use super::hooks;
use super::id::{ContainerId, IdError};
use super::root::{ContainerDir, Record, StateError, StateRoot};
use super::status::Status;

/// Why a container cannot be looked at.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum LookError {
    /// The id cannot be one.
    #[error(transparent)]
    Id(#[from] IdError),
    /// Its directory or record cannot be read, or there is none.
    #[error(transparent)]
    State(#[from] StateError),
}

/// Why a container's cgroup cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum CgroupUseError {
    /// The host's hierarchies cannot be found.
    #[error("cannot find the cgroups of the host")]
    Detect(#[from] DetectError),
    /// The container has none.
    #[error("container {id} has no cgroup of its own; create it without --cgroup-manager=disabled")]
    None {
        /// The container.
        id: String,
    },
    /// The kernel refused something.
    #[error("container {id}: its cgroup")]
    Cgroup {
        /// The container.
        id: String,
        /// What was refused.
        source: CgroupError,
    },
}

/// A container that exists.
#[derive(Debug)]
pub(super) struct Container {
    /// Its directory, locked or not.
    pub(super) dir: ContainerDir,
    /// What is written down about it.
    pub(super) record: Record,
    /// What it was doing when it was looked at.
    pub(super) status: Status,
}

impl Container {
    /// Looks at a container, without waiting for a verb that changes it.
    pub(super) fn look(root: &StateRoot, id: &str) -> Result<Container, LookError> {
        let id: ContainerId = id.parse()?;
        let found = Container::observe(root.find(&id)?)?;
        found.ok_or_else(|| StateError::NotFound { id: id.to_string() }.into())
    }

    /// Looks at a container once no other verb changes it, and keeps others from doing so.
    pub(super) fn lock(root: &StateRoot, id: &str) -> Result<Container, LookError> {
        let id: ContainerId = id.parse()?;
        let found = Container::observe(root.lock(&id)?)?;
        found.ok_or_else(|| StateError::NotFound { id: id.to_string() }.into())
    }

    /// Reads the record and finds out the status; `None` when there is no record (yet).
    pub(super) fn observe(dir: ContainerDir) -> Result<Option<Container>, LookError> {
        let Some(record) = dir.try_record()? else {
            return Ok(None);
        };
        let status = dir.status(&record);
        let mut container = Container {
            dir,
            record,
            status,
        };
        if matches!(status, Status::Running | Status::Created) && container.is_frozen() {
            container.status = Status::Paused;
        }
        Ok(Some(container))
    }

    /// A cgroup that cannot be read is none that we froze.
    fn is_frozen(&self) -> bool {
        self.record.cgroup.is_some()
            && self
                .cgroup()
                .is_ok_and(|cgroup| cgroup.is_frozen().unwrap_or(false))
    }

    /// The state as hooks and callers are shown it.
    pub(super) fn state(&self) -> hooks::State<'_> {
        state_of(&self.dir, &self.record, self.status)
    }

    /// The container's cgroup.
    pub(super) fn cgroup(&self) -> Result<Cgroup, CgroupUseError> {
        let id = || self.dir.id().to_string();
        let path = self.record.cgroup.as_deref();
        let path = path.ok_or_else(|| CgroupUseError::None { id: id() })?;
        open_cgroup(path)?.map_err(|source| CgroupUseError::Cgroup { id: id(), source })
    }

    /// Wraps an error of the container's cgroup.
    pub(super) fn cgroup_error(&self, source: CgroupError) -> CgroupUseError {
        CgroupUseError::Cgroup {
            id: self.dir.id().to_string(),
            source,
        }
    }
}

fn open_cgroup(path: &Path) -> Result<Result<Cgroup, CgroupError>, DetectError> {
    Ok(Cgroup::open(&Hierarchies::detect()?, path))
}

/// The state of a container in a status that the caller knows better than the files do.
pub(super) fn state_of<'a>(
    dir: &'a ContainerDir,
    record: &'a Record,
    status: Status,
) -> hooks::State<'a> {
    let pid = record
        .init
        .filter(|_| status != Status::Stopped)
        .map_or(0, |init| init.pid);
    hooks::State {
        oci_version: OCI_VERSION,
        id: dir.id().as_str(),
        status,
        pid,
        bundle: &record.bundle,
        annotations: &record.annotations,
    }
}

/// The cgroup at `path`, if there is one to remove.
pub(super) fn left_cgroup(path: Option<&Path>) -> Result<Option<Cgroup>, CgroupRemoveError> {
    let Some(path) = path else { return Ok(None) };
    match open_cgroup(path)? {
        Ok(cgroup) => Ok(Some(cgroup)),
        Err(CgroupError::NotFound { .. }) => Ok(None),
        Err(source) => Err(CgroupRemoveError::Cgroup { source }),
    }
}

/// Takes away what a container leaves behind outside its directory: processes and the cgroup.
pub(super) fn remove_cgroup(cgroup: &Cgroup) -> Result<(), CgroupRemoveError> {
    // In the common case nobody is left and the directories just go.
    match cgroup.try_delete() {
        Ok(true) => Ok(()),
        Ok(false) | Err(_) => cgroup
            .kill()
            .and_then(|()| cgroup.delete())
            .map_err(|source| CgroupRemoveError::Cgroup { source }),
    }
}

/// Why a container's cgroup is still there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum CgroupRemoveError {
    /// The host's hierarchies cannot be found.
    #[error("cannot find the cgroups of the host")]
    Detect(#[from] DetectError),
    /// The kernel refused.
    #[error("cannot remove the container's cgroup")]
    Cgroup {
        /// What was refused.
        source: CgroupError,
    },
}

/// The time as the record has it.
pub(super) fn now() -> String {
    jiff::Timestamp::now().to_string()
}

/// Writes a pid file: aside first, so that a reader never sees half a number.
pub(super) fn write_pid_file(path: &Path, pid: i32) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let aside = path.with_file_name(format!(".{name}"));
    fs_err::write(&aside, pid.to_string())?;
    fs_err::rename(&aside, path)
}
