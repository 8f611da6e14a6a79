//! What can go wrong in the store.

use std::io;
use std::path::PathBuf;

use crate::digest::Digest;

/// Why the store could not do something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The directories could not be made or read.
    #[error("cannot open the image store at {}", root.display())]
    Open {
        /// The store's root.
        root: PathBuf,
        /// The file and the reason.
        source: io::Error,
    },
    /// Another version of rkube wrote it.
    #[error(
        "the image store at {} has a layout this version does not know ({found:?}); \
         use the version that made it, or another directory", root.display()
    )]
    Version {
        /// The store's root.
        root: PathBuf,
        /// What its version file says.
        found: String,
    },
    /// A file could not be read.
    #[error("cannot read the image store")]
    Read {
        /// The file and the reason.
        source: io::Error,
    },
    /// A file could not be written, flushed or renamed.
    #[error("cannot write to the image store{}", full_hint(source))]
    Write {
        /// The file and the reason.
        source: io::Error,
    },
    /// The bytes are not what their digest says.
    #[error("{expected} arrived damaged: the bytes have digest {found}; fetch it again")]
    DigestMismatch {
        /// What was asked for.
        expected: Digest,
        /// What the bytes hash to.
        found: Digest,
    },
    /// The length is not what the manifest says.
    #[error("{digest} should have {expected} bytes and has {found}; fetch it again")]
    SizeMismatch {
        /// What was asked for.
        digest: Digest,
        /// The length in the manifest.
        expected: u64,
        /// The length that arrived.
        found: u64,
    },
    /// An image's config cannot be read.
    #[error("image {id}: its config is not a valid image configuration")]
    Config {
        /// The config's digest.
        id: Digest,
        /// Where the JSON is wrong.
        source: serde_json::Error,
    },
    /// The config lists other layers than the manifest.
    #[error("image {id}: the manifest has {manifest} layers and the config {config} diff IDs")]
    LayerCount {
        /// The config's digest.
        id: Digest,
        /// Layers in the manifest.
        manifest: usize,
        /// Diff IDs in the config.
        config: usize,
    },
    /// A layer or blob of the image is not (or no longer) in the store.
    #[error("image {id}: {missing} is not in the store; pull the image again")]
    Vanished {
        /// The image.
        id: Digest,
        /// The blob's digest or the layer's diff ID.
        missing: Digest,
    },
    /// A layer was missing, and its blob could not be unpacked.
    #[error("image {id}: layer {layer} is gone and cannot be unpacked again; pull the image again")]
    Restore {
        /// The image.
        id: Digest,
        /// The layer's diff ID.
        layer: Digest,
        /// What went wrong.
        source: Box<crate::unpack::UnpackError>,
    },
    /// A record in `images/` cannot be read.
    #[error("the image record {} is damaged; run fsck", path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// Where the JSON is wrong.
        source: serde_json::Error,
    },
    /// No image has this name, ID or digest.
    #[error("no image {name:?} in the store; pull or import it first")]
    NotFound {
        /// What was asked for.
        name: String,
    },
    /// A short ID fits several images.
    #[error("{prefix:?} fits several images: {}; give more digits", candidates.join(", "))]
    Ambiguous {
        /// What was asked for.
        prefix: String,
        /// The images it fits, with a name each where they have one.
        candidates: Vec<String>,
    },
    /// The image is kept on purpose.
    #[error("image {name} is pinned; unpin it first, or force")]
    Pinned {
        /// What was asked for.
        name: String,
    },
    /// A pod uses the image.
    #[error("image {name} is in use by a pod; stop the pod first, or force")]
    InUse {
        /// What was asked for.
        name: String,
    },
    /// An image ID was given where several names would go with it.
    #[error("image {id} has several names ({}); remove them one by one, or force", names.join(", "))]
    SeveralNames {
        /// The image.
        id: Digest,
        /// Its names.
        names: Vec<String>,
    },
}

/// What to do when the disk is full; empty otherwise.
pub(crate) fn full_hint(err: &io::Error) -> &'static str {
    if crate::sys::is_disk_full(err) {
        " (the disk is full: make room, e.g. with `rkubelet images prune`)"
    } else {
        ""
    }
}
