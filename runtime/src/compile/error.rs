//! Why a spec cannot be started.

use std::io;
use std::path::{Path, PathBuf};

use crate::record::EncodeError;

/// Why a spec cannot be started: which field, and what about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompileError {
    /// A field has a value that cannot be used.
    #[error("{field}: {why}")]
    Invalid {
        /// Path of the field, as in `mounts[3].destination`.
        field: String,
        /// What is wrong with it, and what would be right.
        why: String,
    },
    /// A file of the host that the spec names cannot be used.
    #[error("{field}: cannot open {path}")]
    Open {
        /// Path of the field.
        field: String,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The layers cannot be put together.
    #[error("cannot make the root file system: {step}")]
    Rootfs {
        /// What was being done.
        step: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The user namespace of an id-mapped mount could not be made.
    #[error("{field}: cannot make a user namespace for the id mapping")]
    IdMap {
        /// Path of the field.
        field: String,
        /// Why not.
        source: io::Error,
    },
    /// A descriptor could not be copied.
    #[error("cannot copy a descriptor")]
    Descriptor {
        /// Why not.
        source: io::Error,
    },
    /// It is all right, but there is too much of it.
    #[error("the container cannot be described to its first process")]
    Encode {
        /// Why not.
        source: EncodeError,
    },
}

impl CompileError {
    pub(super) fn invalid(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Invalid {
            field: field.into(),
            why: why.into(),
        }
    }

    pub(super) fn missing(field: &str) -> Self {
        Self::invalid(field, "is required")
    }

    pub(super) fn open(field: impl Into<String>, path: &Path, source: io::Error) -> Self {
        Self::Open {
            field: field.into(),
            path: path.to_owned(),
            source,
        }
    }
}
