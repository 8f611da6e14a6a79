//! Why a pull failed.

use crate::digest::Digest;
use crate::manifest::ManifestError;
use crate::platform::Platform;
use crate::registry::RegistryError;
use crate::store::StoreError;
use crate::unpack::UnpackError;

/// Why a pull failed. Flattened with its sources it is one clear line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PullError {
    /// The policy forbids asking a registry, and the store does not have the image.
    #[error("image {reference} is not here, and its pull policy is Never")]
    Absent {
        /// The image.
        reference: String,
    },
    /// A registry did not serve what it should.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// The manifest cannot be used.
    #[error("image {reference}")]
    Manifest {
        /// The image.
        reference: String,
        /// What is wrong with it.
        source: ManifestError,
    },
    /// The image is made for another platform.
    #[error("image {reference} is for {offered}, not for {wanted}")]
    Platform {
        /// The image.
        reference: String,
        /// The platform wanted.
        wanted: Platform,
        /// What the image says of itself.
        offered: String,
    },
    /// A layer cannot be unpacked.
    #[error("layer {digest}")]
    Unpack {
        /// The layer.
        digest: Digest,
        /// What is wrong with it.
        source: UnpackError,
    },
    /// The store cannot take the image; a full disk shows here.
    #[error(transparent)]
    Store {
        /// The cause.
        source: StoreError,
    },
    /// Another process has been pulling this layer for too long.
    #[error("layer {digest}: another pull has held it for {minutes} minutes: end that one first")]
    Held {
        /// The layer.
        digest: Digest,
        /// How long we waited.
        minutes: u64,
    },
    /// A worker thread panicked: a bug.
    #[error("a worker of the pull failed")]
    Worker {
        /// What tokio knows of it.
        source: tokio::task::JoinError,
    },
}
