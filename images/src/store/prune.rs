//! Giving disk space back: images nobody uses, layers and blobs of no image, broken-off work.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::durable::{DirLock, disk_bytes, remove_tree, unique};
use super::record::Record;
use super::{Store, StoreError};
use crate::digest::{Algorithm, Digest};
use crate::sys;

/// What [`Store::prune`] takes away beside layers and blobs that belong to no image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// No images.
    Leftovers,
    /// Images that have no name any more.
    UnnamedImages,
    /// Every image that no pod uses.
    UnusedImages,
}

/// How [`Store::prune`] goes about it. Pinned images and those in use always stay.
#[derive(Debug, Clone)]
pub struct PruneOptions {
    /// Which images go.
    pub what: What,
    /// Only what was not used for this long. Keep some minutes: a pull that is under way holds
    /// layers that belong to no image yet.
    pub older_than: Duration,
    /// Only say what would go.
    pub dry_run: bool,
}

/// Something that `prune` removed, or would remove.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freed {
    /// E.g. `layer sha256:...`.
    pub object: String,
    /// Why nobody needs it.
    pub why: &'static str,
    /// Bytes on disk.
    pub bytes: u64,
}

/// What [`Store::prune`] did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PruneReport {
    /// Each thing that went.
    pub freed: Vec<Freed>,
}

impl PruneReport {
    /// Bytes on disk of all of it.
    pub fn bytes(&self) -> u64 {
        self.freed.iter().map(|freed| freed.bytes).sum()
    }
}

/// Bytes on disk, by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DiskUsage {
    /// Images recorded.
    pub images: u64,
    /// Compressed blobs, manifests and configs.
    pub blobs: u64,
    /// Unpacked layers.
    pub layers: u64,
    /// Downloads and unpackings that are under way or broken off.
    pub partial: u64,
}

impl Store {
    /// Removes what nobody needs. `in_use` are the images of existing pods.
    pub fn prune(
        &self,
        options: &PruneOptions,
        in_use: &BTreeSet<Digest>,
    ) -> Result<PruneReport, StoreError> {
        let lock = self.lock()?;
        // A record we cannot read may own anything here: it must be mended before we free things.
        let mut records = self.records()?;
        let mut pass = Pass {
            store: self,
            options,
            now: SystemTime::now(),
            freed: Vec::new(),
        };
        pass.images(&mut records, in_use)?;
        pass.asides().map_err(failed)?;
        pass.layers(&records)
            .and_then(|()| pass.blobs(&records))
            .map_err(failed)?;
        pass.partial_blobs()
            .and_then(|()| pass.partial_layers())
            .map_err(failed)?;
        let report = PruneReport { freed: pass.freed };
        drop(lock);
        if !options.dry_run {
            self.settle()?;
        }
        Ok(report)
    }

    /// How much disk the store takes.
    pub fn disk_usage(&self) -> Result<DiskUsage, StoreError> {
        let sum = |dirs: &[PathBuf]| -> Result<u64, StoreError> {
            let sizes = dirs.iter().map(|dir| disk_bytes(dir));
            sizes
                .sum::<io::Result<u64>>()
                .map_err(|source| StoreError::Read { source })
        };
        Ok(DiskUsage {
            images: self.records_and(&mut Vec::new())?.len() as u64,
            blobs: sum(&Algorithm::ALL.map(|algorithm| self.blobs_dir(algorithm)))?,
            layers: sum(&Algorithm::ALL.map(|algorithm| self.layers_dir(algorithm)))?,
            partial: sum(&[self.partial_blobs(), self.partial_layers()])?,
        })
    }

    /// After `gone` was removed: frees its layers and blobs that none of `rest` has.
    pub(crate) fn free_unshared(&self, gone: &Record, rest: &[Record]) -> Result<(), StoreError> {
        let (layers, blobs) = referenced(rest);
        for layer in gone
            .layers
            .iter()
            .filter(|layer| !layers.contains(&layer.diff_id))
        {
            self.discard_layer(&layer.diff_id)?;
        }
        for digest in gone.blobs().filter(|digest| !blobs.contains(digest)) {
            self.discard_blob(digest)?;
        }
        Ok(())
    }

    /// Removes a layer: out of sight at once, then file by file.
    pub(crate) fn discard_layer(&self, diff_id: &Digest) -> Result<(), StoreError> {
        let trash = self.partial_layers().join(format!("trash.{}", unique()));
        match fs_err::rename(self.layer_dir(diff_id), &trash) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(failed)?,
        }
        remove_tree(&trash).map_err(failed)
    }

    pub(crate) fn discard_blob(&self, digest: &Digest) -> Result<(), StoreError> {
        match fs_err::remove_file(self.blob_path(digest)) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(failed),
        }
    }
}

fn failed(source: io::Error) -> StoreError {
    StoreError::Write { source }
}

/// Diff IDs and blobs that the records need.
fn referenced(records: &[Record]) -> (BTreeSet<&Digest>, BTreeSet<&Digest>) {
    let layers = records
        .iter()
        .flat_map(|r| &r.layers)
        .map(|layer| &layer.diff_id)
        .collect();
    (layers, records.iter().flat_map(Record::blobs).collect())
}

/// One run of `prune`.
struct Pass<'a> {
    store: &'a Store,
    options: &'a PruneOptions,
    now: SystemTime,
    freed: Vec<Freed>,
}

impl Pass<'_> {
    fn is_old(&self, path: &Path) -> bool {
        let used = std::fs::symlink_metadata(path).and_then(|found| found.modified());
        let Ok(used) = used else { return false };
        // A time in the future (a clock set back) counts as used just now.
        self.now
            .duration_since(used)
            .is_ok_and(|age| age >= self.options.older_than)
    }

    fn images(
        &mut self,
        records: &mut Vec<Record>,
        in_use: &BTreeSet<Digest>,
    ) -> Result<(), StoreError> {
        let (kept, gone): (Vec<Record>, Vec<Record>) = records.drain(..).partition(|record| {
            let wanted = match self.options.what {
                What::Leftovers => false,
                What::UnnamedImages => record.names.is_empty(),
                What::UnusedImages => true,
            };
            let free = wanted && !record.pinned && !in_use.contains(&record.id);
            !(free && self.is_old(&self.store.record_path(&record.id)))
        });
        *records = kept;
        for record in gone {
            if !self.options.dry_run {
                self.store.delete_record(&record.id)?;
            }
            let why = if record.names.is_empty() {
                "it has no name"
            } else {
                "no pod uses it"
            };
            let object = format!("image {}", record.title());
            self.freed.push(Freed {
                object,
                why,
                bytes: 0,
            });
        }
        Ok(())
    }

    /// Records whose writer was killed before the rename. Live writers hold the lock we hold.
    fn asides(&mut self) -> io::Result<()> {
        for entry in fs_err::read_dir(self.store.images_dir())? {
            let path = entry?.path();
            let name = file_name(&path);
            if !name.starts_with('.') {
                continue;
            }
            let bytes = fs_err::metadata(&path)?.blocks() * 512;
            if !self.options.dry_run {
                fs_err::remove_file(&path)?;
            }
            self.note(
                format!("unfinished record {name}"),
                "its writer was killed",
                bytes,
            );
        }
        Ok(())
    }

    fn layers(&mut self, records: &[Record]) -> io::Result<()> {
        let (needed, _) = referenced(records);
        for (diff_id, path) in digests_in(|algorithm| self.store.layers_dir(algorithm))? {
            if needed.contains(&diff_id) || !self.is_old(&path) {
                continue;
            }
            let bytes = disk_bytes(&path)?;
            if !self.options.dry_run {
                self.store
                    .discard_layer(&diff_id)
                    .map_err(io::Error::other)?;
            }
            self.note(format!("layer {diff_id}"), "no image has it", bytes);
        }
        Ok(())
    }

    fn blobs(&mut self, records: &[Record]) -> io::Result<()> {
        let (_, needed) = referenced(records);
        for (digest, path) in digests_in(|algorithm| self.store.blobs_dir(algorithm))? {
            if needed.contains(&digest) || !self.is_old(&path) {
                continue;
            }
            let bytes = fs_err::metadata(&path)?.blocks() * 512;
            if !self.options.dry_run {
                self.store.discard_blob(&digest).map_err(io::Error::other)?;
            }
            self.note(format!("blob {digest}"), "no image has it", bytes);
        }
        Ok(())
    }

    fn partial_blobs(&mut self) -> io::Result<()> {
        for entry in fs_err::read_dir(self.store.partial_blobs())? {
            let path = entry?.path();
            let Ok(file) = std::fs::File::open(&path) else {
                continue;
            };
            if !self.is_old(&path) || !sys::try_lock(&file)? {
                continue;
            }
            let bytes = file.metadata()?.blocks() * 512;
            if !self.options.dry_run {
                fs_err::remove_file(&path)?;
            }
            self.note(
                format!("download {}", file_name(&path)),
                "it was broken off",
                bytes,
            );
        }
        Ok(())
    }

    /// `HEX.lock` files, the `HEX.PID-N` directories they guard, and `trash.PID-N`.
    fn partial_layers(&mut self) -> io::Result<()> {
        for entry in fs_err::read_dir(self.store.partial_layers())? {
            let path = entry?.path();
            let name = file_name(&path);
            let owner = name.split('.').next().unwrap_or_default();
            if !self.is_old(&path) || name.ends_with(".lock") {
                continue;
            }
            let lock_path = self.store.partial_layers().join(format!("{owner}.lock"));
            let Some(lock) = DirLock::attempt(&lock_path)? else {
                continue;
            };
            let bytes = disk_bytes(&path)?;
            if !self.options.dry_run {
                remove_tree(&path)?;
            }
            lock.remove(&lock_path);
            self.note(format!("unpacking {name}"), "it was broken off", bytes);
        }
        Ok(())
    }

    fn note(&mut self, object: String, why: &'static str, bytes: u64) {
        self.freed.push(Freed { object, why, bytes });
    }
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// What is in `blobs/ALG` or `layers/ALG`: names that are digests.
pub(crate) fn digests_in(dir: impl Fn(Algorithm) -> PathBuf) -> io::Result<Vec<(Digest, PathBuf)>> {
    let mut found = Vec::new();
    for algorithm in Algorithm::ALL {
        for entry in fs_err::read_dir(dir(algorithm))? {
            let path = entry?.path();
            if let Ok(digest) = Digest::new(algorithm, &file_name(&path)) {
                found.push((digest, path));
            }
        }
    }
    found.sort();
    Ok(found)
}
