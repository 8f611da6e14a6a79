//! What can go wrong with images in files.

use std::io;
use std::path::PathBuf;

use crate::digest::DigestError;
use crate::manifest::ManifestError;
use crate::reference::ReferenceError;
use crate::store::StoreError;
use crate::unpack::UnpackError;

/// Why an import failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The file or directory cannot be read.
    #[error("cannot read what to import")]
    Read {
        /// The file and the reason.
        source: io::Error,
    },
    /// It is nothing we know.
    #[error(
        "{} is no image: expected a `docker save` or OCI archive, an OCI layout directory, or a \
         root file system as tar or directory", name.display()
    )]
    Unrecognised {
        /// What was given.
        name: PathBuf,
    },
    /// The archive is damaged where its list of files is.
    #[error("cannot read the archive")]
    Archive {
        /// What is wrong.
        source: UnpackError,
    },
    /// A file that the image needs is not in the archive.
    #[error("the archive lacks {member:?}, which its manifest names")]
    Missing {
        /// The file's name in the archive.
        member: String,
    },
    /// A manifest or config is far larger than any should be.
    #[error("{member:?} in the archive is larger than {max} bytes, which no honest one is")]
    TooLarge {
        /// The file's name in the archive.
        member: String,
        /// The limit.
        max: u64,
    },
    /// A manifest or config is not the JSON it should be.
    #[error("{member:?} in the archive is malformed")]
    Json {
        /// The file's name in the archive.
        member: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// Something in the archive should be a digest.
    #[error("{member:?} in the archive is malformed")]
    Digest {
        /// The file's name in the archive.
        member: String,
        /// What is wrong.
        source: DigestError,
    },
    /// The manifest is of no use to us.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// No image in the archive is the one asked for.
    #[error("the archive has no image {wanted:?}; it has {offered}")]
    NotFound {
        /// What was asked for.
        wanted: String,
        /// What there is.
        offered: String,
    },
    /// One name cannot go to several images.
    #[error("the archive has {count} images ({offered}): select one to give it a name")]
    Several {
        /// How many.
        count: usize,
        /// Their names.
        offered: String,
    },
    /// The name to give is none.
    #[error(transparent)]
    Name(#[from] ReferenceError),
    /// A setting for a root file system makes no sense.
    #[error("{option} {value:?} is not possible: {problem}")]
    Option {
        /// The setting, as the command line calls it.
        option: &'static str,
        /// Its value.
        value: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// A layer cannot be unpacked.
    #[error(transparent)]
    Layer(#[from] UnpackError),
    /// The store refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ImportError {
    pub(super) fn read(source: io::Error) -> Self {
        Self::Read { source }
    }

    pub(super) fn write(source: io::Error) -> Self {
        Self::Store(StoreError::Write { source })
    }
}

/// Why an export failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// No such image, or parts of it are missing.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The archive cannot be written.
    #[error("cannot write the archive")]
    Write {
        /// The reason.
        source: io::Error,
    },
}
