//! What a pull tells while it works.
//!
//! One method, plain data: people's terminals, plain lines and tests are all readers of it.

use std::time::Duration;

use crate::digest::Digest;

/// Hears what a pull does. Called often and from the pull's own task: return quickly.
pub trait Progress: Send + Sync {
    /// One thing has happened.
    fn event(&self, event: &Event<'_>);
}

/// One thing that happened during a pull.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event<'a> {
    /// The registry's host is being asked what the name means.
    Resolving {
        /// The host asked: a mirror or the registry itself.
        host: &'a str,
    },
    /// The name is resolved; the image's layers follow as [`Event::Layer`].
    Resolved {
        /// Digest of the manifest for this platform.
        manifest: &'a Digest,
        /// Number of layers.
        layers: usize,
        /// Their size together, as they are downloaded.
        size: u64,
    },
    /// A layer of the image; all later events about it carry the same digest.
    Layer {
        /// Digest of the layer as the registry has it.
        digest: &'a Digest,
        /// Its size as it is downloaded.
        size: u64,
    },
    /// Nothing to do: the layer is already unpacked here.
    Skipped {
        /// The layer.
        digest: &'a Digest,
    },
    /// Another pull is downloading the layer; we share its work.
    Waiting {
        /// The layer.
        digest: &'a Digest,
    },
    /// So much of the layer is here.
    Downloaded {
        /// The layer.
        digest: &'a Digest,
        /// Bytes so far, those kept from an earlier pull included.
        bytes: u64,
    },
    /// The layer is complete and its digest is right.
    Verified {
        /// The layer.
        digest: &'a Digest,
    },
    /// So much of the layer is unpacked.
    Unpacking {
        /// The layer.
        digest: &'a Digest,
        /// Bytes of the archive so far, before decompression or after it as the store counts.
        bytes: u64,
    },
    /// The layer is unpacked.
    Done {
        /// The layer.
        digest: &'a Digest,
    },
    /// Something failed and will be tried again.
    Retrying {
        /// The layer, or `None` for manifest and configuration.
        digest: Option<&'a Digest>,
        /// What failed, flattened to one line.
        why: &'a str,
        /// How long we wait first.
        wait: Duration,
    },
}

/// Hears nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn event(&self, _event: &Event<'_>) {}
}
