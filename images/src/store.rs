//! The content store: blobs by digest, layers unpacked once, and one small record per image.
//!
//! ```text
//! ROOT/                       0700, as everything below (setuid programs live in layers)
//!   version                   the layout's version; another version is refused
//!   lock                      flock: whoever changes image records
//!   blobs/sha256/HEX          whole and verified; read-only once it is known to be on the disk
//!   blobs/partial/ALG-HEX     downloads under way or broken off; flock: its writer
//!   layers/sha256/HEX/tree    an unpacked layer: HEX is its diff ID; an overlay lower directory
//!   layers/sha256/HEX/layer.json   what the tree looked like, for `fsck`; read-only as blobs are
//!   layers/partial/           unpacking under way; flock on HEX.lock
//!   images/ALG-HEX.json       an image: its names, pin, manifest, layers; HEX is the config's digest
//! ```
//!
//! *Guarantees:* several processes may use one store at once. Whatever has a final name is whole:
//! it is written aside and renamed, and a process killed on any line leaves at most something under
//! `partial`, which the next one takes up or [`Store::prune`] removes. A power cut leaves records
//! whole, since they are flushed before they are renamed; blobs and layers that it may have caught
//! in the page cache are recognised and not used (`settle` says how).
//!
//! *Assumes:* the root is on one file system, one that does not undo renames out of their order, and
//! nobody but this crate writes below it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use crate::digest::{Algorithm, Digest};
use crate::sys;

mod durable;
mod error;
mod find;
mod fsck;
mod images;
mod partial;
mod prune;
mod record;
mod settle;
pub(crate) mod tree;

pub use error::StoreError;
pub use fsck::{Damage, FsckReport, Repair};
pub use images::{LayerUse, RemovePolicy, Removed};
pub use partial::{Claim, Partial};
pub use prune::{DiskUsage, Freed, PruneOptions, PruneReport, What};
pub use record::{Blob, Image, LayerRef, NewImage};

pub(crate) use durable::{DirLock, remove_at, remove_tree, sync_dir, unique, write_aside};
pub(crate) use settle::FLUSHED;

/// The only layout there is so far.
const VERSION: &str = "rkube image store, layout 1\n";

/// A content store. Cheap to clone; every clone is the same store.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    /// Which boot this is, for layers that are not flushed.
    boot: Option<String>,
    /// Blobs that this process has written or read in full.
    verified: Mutex<BTreeSet<Digest>>,
    /// Whether a thread waits to flush.
    settling: AtomicBool,
}

impl Store {
    /// Opens the store at `root`, making it when there is none.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        Self::open_in_boot(root, settle::this_boot())
    }

    /// As [`Store::open`]; tests pretend that the machine was restarted.
    pub(crate) fn open_in_boot(root: &Path, boot: Option<String>) -> Result<Self, StoreError> {
        let failed = |source| StoreError::Open {
            root: root.to_owned(),
            source,
        };
        // Paths of layers are handed to others, who may be elsewhere.
        let absolute = std::path::absolute(root).map_err(failed)?;
        let inner = Inner {
            root: absolute,
            boot,
            verified: Mutex::default(),
            settling: AtomicBool::new(false),
        };
        let store = Self {
            inner: Arc::new(inner),
        };
        let mut dirs = vec![
            store.root().to_path_buf(),
            store.partial_blobs(),
            store.images_dir(),
        ];
        dirs.push(store.partial_layers());
        for algorithm in Algorithm::ALL {
            dirs.push(store.blobs_dir(algorithm));
            dirs.push(store.layers_dir(algorithm));
        }
        for dir in &dirs {
            durable::ensure_private_dir(dir).map_err(failed)?;
        }
        store.check_version()?;
        Ok(store)
    }

    fn check_version(&self) -> Result<(), StoreError> {
        let path = self.root().join("version");
        let failed = |source| StoreError::Open {
            root: self.root().to_path_buf(),
            source,
        };
        match fs_err::read_to_string(&path) {
            Ok(found) if found == VERSION => Ok(()),
            Ok(found) => {
                let found = found.chars().take(60).collect::<String>().trim().to_owned();
                Err(StoreError::Version {
                    root: self.root().to_path_buf(),
                    found,
                })
            }
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => {
                write_aside(&path, VERSION.as_bytes()).map_err(failed)
            }
            Err(err) => Err(failed(err)),
        }
    }

    /// Where the store is.
    pub fn root(&self) -> &Path {
        &self.inner.root
    }

    pub(crate) fn boot(&self) -> Option<&str> {
        self.inner.boot.as_deref()
    }

    /// The verified blob with this digest, if the store has it. Counts as a use: `prune` with an
    /// age spares it for a while. A blob that a power cut may have damaged is read and hashed; when
    /// it is damaged indeed it counts as absent.
    pub fn blob(&self, digest: &Digest) -> Option<PathBuf> {
        let path = self.blob_path(digest);
        if !path.is_file() || !self.is_sound(digest, &path) {
            return None;
        }
        // A touch that fails only makes the blob look older.
        drop(sys::touch(&path));
        Some(path)
    }

    /// The unpacked layer with this diff ID, usable as an overlay lower directory. Counts as a use.
    /// A layer that a power cut may have damaged counts as absent.
    pub fn layer(&self, diff_id: &Digest) -> Option<PathBuf> {
        let dir = self.layer_dir(diff_id);
        let tree = dir.join("tree");
        if !tree.is_dir() || !self.is_trusted(&dir) {
            return None;
        }
        drop(sys::touch(&dir));
        Some(tree)
    }

    pub(crate) fn blobs_dir(&self, algorithm: Algorithm) -> PathBuf {
        self.root().join("blobs").join(algorithm.as_str())
    }

    pub(crate) fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.blobs_dir(digest.algorithm()).join(digest.hex())
    }

    pub(crate) fn partial_blobs(&self) -> PathBuf {
        self.root().join("blobs/partial")
    }

    pub(crate) fn layers_dir(&self, algorithm: Algorithm) -> PathBuf {
        self.root().join("layers").join(algorithm.as_str())
    }

    pub(crate) fn layer_dir(&self, diff_id: &Digest) -> PathBuf {
        self.layers_dir(diff_id.algorithm()).join(diff_id.hex())
    }

    pub(crate) fn partial_layers(&self) -> PathBuf {
        self.root().join("layers/partial")
    }

    pub(crate) fn images_dir(&self) -> PathBuf {
        self.root().join("images")
    }

    /// Held while image records change; waits for another process.
    pub(crate) fn lock(&self) -> Result<DirLock, StoreError> {
        let path = self.root().join("lock");
        DirLock::wait(&path).map_err(|source| StoreError::Write { source })
    }
}

#[cfg(test)]
mod tests;
