//! What can go wrong while a container is made, and the exit code it means.
use std::io;
use std::path::PathBuf;

use crate::cgroup::{CgroupError, DetectError};
use crate::compile::CompileError;
use crate::oci::bundle::BundleError;
use crate::oci::descriptors::InheritedError;
use crate::oci::filter::FilterError;
use crate::oci::hooks::HookError;
use crate::oci::id::IdError;
use crate::oci::root::StateError;
use crate::oci::terminal::TerminalError;
use crate::spawn::SpawnError;

/// Why a container was not created.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(in crate::oci) enum CreateError {
    /// The id cannot be one.
    #[error(transparent)]
    Id(#[from] IdError),
    /// The bundle cannot be used.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The state directory cannot be used, or has the id already.
    #[error(transparent)]
    State(#[from] StateError),
    /// There is nobody to hold the terminal, or no terminal to hold.
    #[error(transparent)]
    Terminal(#[from] TerminalError),
    /// `--preserve-fds` asks for descriptors that are not there.
    #[error(transparent)]
    Inherited(#[from] InheritedError),
    /// The host's cgroups cannot be found.
    #[error("cannot find the cgroups of the host")]
    Detect(#[from] DetectError),
    /// The container's cgroup cannot be made or limited.
    #[error("container {id}: its cgroup")]
    Cgroup {
        /// The container.
        id: String,
        /// What was refused.
        source: CgroupError,
    },
    /// Somebody else's processes are in the cgroup.
    #[error("container {id}: its cgroup {} is not empty: {count} processes found; choose another linux.cgroupsPath", path.display())]
    CgroupInUse {
        /// The container.
        id: String,
        /// The cgroup.
        path: PathBuf,
        /// How many.
        count: usize,
    },
    /// The seccomp profile cannot be compiled.
    #[error(transparent)]
    Filter(#[from] FilterError),
    /// The config asks for something that cannot be.
    #[error("config")]
    Compile(#[from] CompileError),
    /// Init could not be set up.
    #[error("{what}")]
    Spawn {
        /// What `create` says of a missing program, in the words that engines look for.
        what: &'static str,
        /// Where it failed.
        source: SpawnError,
    },
    /// A hook failed.
    #[error(transparent)]
    Hook(#[from] HookError),
    /// The pid file cannot be written.
    #[error("cannot write the pid file")]
    PidFile {
        /// With the path.
        source: io::Error,
    },
    /// Init is gone already.
    #[error("container {id}: cannot look at its first process")]
    Observe {
        /// The container.
        id: String,
        /// What the kernel said.
        source: io::Error,
    },
}

impl CreateError {
    /// 127 and 126 speak of the program, 125 of anything before.
    pub(in crate::oci) fn exit_code(&self) -> u8 {
        match self {
            CreateError::Spawn { source, .. } => source.exit_code(),
            _ => 125,
        }
    }
}

/// What engines search for: conmon's callers turn these words into the exit codes 127 and 126.
pub(in crate::oci) fn spawn_words(err: &SpawnError) -> &'static str {
    match err.exit_code() {
        127 => "executable file not found in $PATH",
        126 => "permission denied: the program cannot be executed",
        _ => "cannot set up its first process",
    }
}
