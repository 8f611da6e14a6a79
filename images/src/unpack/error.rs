//! What can go wrong with a layer archive.

use std::io;

use crate::digest::Digest;
use crate::store::StoreError;
use crate::sys;

/// Why a layer could not be unpacked. Names of entries are shown as text, cut when long.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnpackError {
    /// The media type is not one of a layer we can unpack.
    #[error(
        "layer media type {media_type:?} is not supported; expected a tar layer, plain, gzip or zstd"
    )]
    MediaType {
        /// What the manifest says.
        media_type: String,
    },
    /// The blob cannot be read.
    #[error("cannot read the layer")]
    Read {
        /// The file and the reason.
        source: io::Error,
    },
    /// The compressed stream is damaged.
    #[error("cannot decompress the layer; it is damaged, or compressed otherwise than declared")]
    Decompress {
        /// What the decompressor says.
        source: io::Error,
    },
    /// The archive ends in the middle of something.
    #[error("the layer's archive is cut off after {offset} bytes, in {inside}")]
    Truncated {
        /// Where it ends.
        offset: u64,
        /// What was being read.
        inside: String,
    },
    /// The archive is not a valid tar.
    #[error("the layer's archive is not a valid tar at byte {offset}: {problem}")]
    Malformed {
        /// Where.
        offset: u64,
        /// What is wrong.
        problem: String,
    },
    /// An entry asks for something that no honest layer has.
    #[error("entry {entry:?} of the layer is refused: {problem}")]
    Refused {
        /// The entry's name.
        entry: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The archive is larger, deeper or denser than allowed.
    #[error("the layer has more than {limit} {what}, the limit; it is refused as a possible bomb")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// A hard link's target is not in this layer.
    #[error(
        "entry {entry:?} is a hard link to {target:?}, which is not in the same layer before it; \
         the image was built wrongly"
    )]
    LinkTarget {
        /// The entry's name.
        entry: String,
        /// What it should be another name of.
        target: String,
    },
    /// The disk is full.
    #[error(
        "no space left while unpacking {entry:?}; make room, e.g. with `rkubelet images prune`"
    )]
    DiskFull {
        /// The entry's name.
        entry: String,
        /// The reason.
        source: io::Error,
    },
    /// The kernel refused to make the entry.
    #[error("cannot unpack {entry:?}")]
    Write {
        /// The entry's name.
        entry: String,
        /// The reason.
        source: io::Error,
    },
    /// The uncompressed bytes are not what the image's config says.
    #[error("the layer unpacks to diff ID {found} where the image's config says {expected}")]
    DiffId {
        /// The config's.
        expected: Digest,
        /// Ours.
        found: Digest,
    },
    /// Whoever asked for the layer does not want it any more.
    #[error("unpacking was called off")]
    CalledOff,
    /// The store around the layer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl UnpackError {
    /// A refusal of the entry called `name`.
    pub(crate) fn refused(name: &[u8], problem: impl Into<String>) -> Self {
        Self::Refused {
            entry: shown(name),
            problem: problem.into(),
        }
    }

    /// A failed kernel call on behalf of the entry called `name`.
    pub(crate) fn write(name: &[u8], source: io::Error) -> Self {
        let entry = shown(name);
        if sys::is_disk_full(&source) {
            Self::DiskFull { entry, source }
        } else {
            Self::Write { entry, source }
        }
    }
}

/// A name for a message: as text, and never longer than a line or two.
pub(crate) fn shown(name: &[u8]) -> String {
    let text = sys::lossy(&name[..name.len().min(200)]);
    if name.len() > 200 {
        format!("{text}... ({} bytes)", name.len())
    } else {
        text
    }
}
