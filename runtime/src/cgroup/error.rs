//! What can go wrong with a cgroup.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::plan::PlanError;

/// Why an operation on a cgroup failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CgroupError {
    /// The path is empty or has `.` or `..` in it.
    #[error("{} is not a path of a cgroup: give names separated by /", path.display())]
    BadPath {
        /// The path.
        path: PathBuf,
    },
    /// No hierarchy has the cgroup.
    #[error("cgroup {} does not exist", path.display())]
    NotFound {
        /// The path.
        path: PathBuf,
    },
    /// A directory could not be made.
    #[error("cannot make the cgroup directory {}", dir.display())]
    Create {
        /// The directory.
        dir: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A control file could not be written.
    #[error("cannot write {value:?} to {}", file.display())]
    Write {
        /// The file.
        file: PathBuf,
        /// The value.
        value: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A control file could not be read.
    #[error("cannot read {}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The resources cannot be had here.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A v2 controller stops at an ancestor.
    #[error(
        "{field} needs the cgroup controller {controller}, which {} does not hand down; if \
         processes sit in that cgroup itself, move them to one below it",
        dir.display()
    )]
    NotDelegated {
        /// The field of `linux.resources`.
        field: String,
        /// The controller.
        controller: String,
        /// Whose `cgroup.subtree_control` refused it.
        dir: PathBuf,
        /// What the kernel said: EBUSY when processes are in the way.
        source: io::Error,
    },
    /// `memory.checkBeforeUpdate` found more in use than the limit allows.
    #[error("a memory limit of {limit} bytes is below the {usage} bytes in use")]
    LimitBelowUsage {
        /// The limit.
        limit: u64,
        /// What is in use now.
        usage: u64,
    },
    /// The device filter was not accepted.
    #[error("cannot filter the devices of cgroup {}", path.display())]
    Devices {
        /// The cgroup.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The processes did not freeze, thaw or die in time.
    #[error("the processes of cgroup {} did not {what} within {after:?}", path.display())]
    TimedOut {
        /// The cgroup.
        path: PathBuf,
        /// What they were to do.
        what: &'static str,
        /// How long it was waited for.
        after: Duration,
    },
    /// A directory could not be removed.
    #[error("cannot remove the cgroup directory {}", dir.display())]
    Remove {
        /// The directory.
        dir: PathBuf,
        /// What the kernel said: EBUSY when a process or a child cgroup is left.
        source: io::Error,
    },
    /// Memory events cannot be watched.
    #[error("cannot watch {} for OOM kills", file.display())]
    Watch {
        /// The file.
        file: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}
