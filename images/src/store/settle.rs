//! What is written but perhaps not yet on the disk, and how it gets there.
//!
//! A pull of 300 MB is done long before the disk has it, and waiting for the disk would also mean
//! waiting for whatever other programs wrote: syncfs(2) flushes all of the file system. So blobs and
//! layers get their final names unflushed, and a store knows which of them it may trust:
//!
//! * After `kill -9`, all of them: the page cache outlives the process.
//! * After a power cut, those that were flushed before. A file that says so is **read-only**: the
//!   blob itself, or a layer's `layer.json`. It is made so only after a flush, and therefore never
//!   reaches the disk before what it vouches for, whatever order the file system keeps.
//! * A blob that is not flushed is held against its digest before its first use in each process.
//! * A layer that is not flushed has no digest to hold it against. Its `layer.json` names the boot
//!   it was unpacked in: in that boot it is trusted, afterwards it counts as absent and is unpacked
//!   again from its blob, or pulled.
//!
//! [`Store::settle`] flushes and marks. It runs some seconds after an image was recorded, in a thread
//! that the end of the process just ends, and in `prune` and `fsck`. What is small and refers to
//! other things (image records, manifests, configs) is flushed at once. The thread also removes what
//! killed unpackers left.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::prune::digests_in;
use super::tree::LayerRecord;
use super::{Store, StoreError};
use crate::digest::Digest;
use crate::sys;

/// The mode of a file that vouches for being on the disk.
pub(crate) const FLUSHED: u32 = 0o400;
/// How long after a recorded image the flush comes: commands that only pull have ended by then, and
/// the kernel has written much of it by itself.
const DELAY: Duration = Duration::from_secs(10);
/// Files held open at once while they are marked.
const BATCH: usize = 128;

/// The kernel's name for the time since it started; `None` where /proc does not say.
pub(super) fn this_boot() -> Option<String> {
    let text = fs_err::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned()).filter(|id| !id.is_empty())
}

impl Store {
    /// Flushes what was downloaded and unpacked lately, and notes that it survives a power cut from
    /// now on. Says how many blobs and layers that were. Takes as long as the disk is busy.
    pub fn settle(&self) -> Result<usize, StoreError> {
        let failed = |source| StoreError::Write { source };
        let mut settled = 0;
        for batch in self.unsettled().map_err(failed)?.chunks(BATCH) {
            // Held open, so that the mark cannot go to something newer of the same name.
            let mut files = Vec::with_capacity(batch.len());
            for path in batch {
                match File::open(path) {
                    Ok(file) => files.push(file),
                    Err(err) if err.kind() == io::ErrorKind::NotFound => {}
                    Err(err) => return Err(failed(super::durable::named(path, &err))),
                }
            }
            let root = sys::open_dir(&self.inner.root).map_err(failed)?;
            sys::syncfs(root.as_fd()).map_err(failed)?;
            for file in &files {
                sys::fchmod(file.as_fd(), FLUSHED).map_err(failed)?;
            }
            settled += files.len();
        }
        Ok(settled)
    }

    /// Has [`Store::settle`] run by and by, unless the process ends first.
    pub(super) fn settle_later(&self) {
        if self.inner.settling.swap(true, Ordering::AcqRel) {
            return;
        }
        let store = self.clone();
        let wait_and_settle = move || {
            let due = Instant::now() + DELAY;
            while let Some(left) = due.checked_duration_since(Instant::now()) {
                std::thread::park_timeout(left.max(Duration::from_millis(1)));
            }
            // First, so that what is recorded during the flush gets one of its own.
            store.inner.settling.store(false, Ordering::Release);
            let swept = store.sweep_all();
            let swept = swept.map_err(|source| StoreError::Write { source });
            if let Err(err) = swept.and_then(|()| store.settle()) {
                tracing::warn!(err = %crate::pull::chain(&err), "cannot flush the image store");
            }
        };
        let thread = std::thread::Builder::new().name("settle".to_owned());
        if thread.spawn(wait_and_settle).is_err() {
            // The marks stay until somebody else settles.
            self.inner.settling.store(false, Ordering::Release);
        }
    }

    /// Sound blobs and records of trusted layers that do not say that they are on the disk.
    fn unsettled(&self) -> io::Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for (digest, path) in digests_in(|algorithm| self.blobs_dir(algorithm))? {
            if !is_flushed(&path) && self.is_sound(&digest, &path) {
                found.push(path);
            }
        }
        for (_, dir) in digests_in(|algorithm| self.layers_dir(algorithm))? {
            let record = dir.join("layer.json");
            if !is_flushed(&record) && self.is_of_this_boot(&record) {
                found.push(record);
            }
        }
        Ok(found)
    }

    /// Whether the blob is what its name says: flushed, or verified by this process.
    pub(super) fn is_sound(&self, digest: &Digest, path: &Path) -> bool {
        if is_flushed(path) || self.verified().contains(digest) {
            return true;
        }
        let hashed = File::open(path).and_then(|file| Digest::of_reader(digest.algorithm(), file));
        let sound = hashed.is_ok_and(|(found, _)| found == *digest);
        if sound {
            self.note_verified(digest);
        }
        sound
    }

    /// From now on this process takes the blob for sound.
    pub(crate) fn note_verified(&self, digest: &Digest) {
        self.verified().insert(digest.clone());
    }

    fn verified(&self) -> std::sync::MutexGuard<'_, std::collections::BTreeSet<Digest>> {
        // A set is whole even when another thread panicked with it in hand.
        let set = self.inner.verified.lock();
        set.unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Whether the layer in `dir` is what was unpacked: flushed, or of this boot.
    pub(super) fn is_trusted(&self, dir: &Path) -> bool {
        let record = dir.join("layer.json");
        is_flushed(&record) || self.is_of_this_boot(&record)
    }

    fn is_of_this_boot(&self, record: &Path) -> bool {
        let record = LayerRecord::read(record);
        self.inner.boot.is_some() && record.is_ok_and(|record| record.boot == self.inner.boot)
    }
}

/// Whether the file at `path` says that it is on the disk.
pub(super) fn is_flushed(path: &Path) -> bool {
    std::fs::symlink_metadata(path)
        .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o222 == 0)
}

#[cfg(test)]
mod tests;
