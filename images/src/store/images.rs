//! Names and images: recording, finding, tagging, pinning, removing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::SystemTime;

use jiff::Timestamp;

use super::find::{existing, find_record, owned_name};
use super::record::{Descriptor, Record, parse_config, read_record};
use super::{Blob, Image, LayerRef, NewImage, Store, StoreError};
use crate::digest::Digest;
use crate::platform::Platform;
use crate::sys;
use crate::unpack::{Compression, Limits, unwatched};

/// What stops [`Store::remove`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemovePolicy {
    /// Refuse when the image is pinned, in use, or has several names where its ID was given.
    Careful,
    /// Remove whatever the record says. An image in use loses its names and its pin, and stays,
    /// nameless, until `prune` finds that no pod uses it any more.
    Force,
}

/// What [`Store::remove`] did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Removed {
    /// Names that no longer exist.
    pub untagged: Vec<String>,
    /// The image, when its last name went.
    pub deleted: Option<Digest>,
}

/// A layer and the images that have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerUse {
    /// The layer.
    pub diff_id: Digest,
    /// Titles of the images on it.
    pub images: Vec<String>,
}

impl Store {
    /// Enters an image whose layers are all in the store, and gives it its name.
    ///
    /// # Errors
    /// [`StoreError::Vanished`] when a layer or its blob is missing, e.g. because a `prune` came in
    /// between: fetch again.
    pub fn record(&self, new: &NewImage) -> Result<Image, StoreError> {
        let id = verified(&new.config)?;
        let config = parse_config(id, &new.config.bytes)?;
        verified(&new.manifest)?;
        let diff_ids = config.rootfs().diff_ids();
        let same = diff_ids.len() == new.layers.len()
            && diff_ids
                .iter()
                .zip(&new.layers)
                .all(|(id, layer)| *id == layer.diff_id.to_string());
        if !same {
            let (manifest, config) = (new.layers.len(), diff_ids.len());
            return Err(StoreError::LayerCount {
                id: id.clone(),
                manifest,
                config,
            });
        }
        for blob in [&new.manifest, &new.config] {
            self.put_blob(&blob.digest, &blob.bytes)?;
        }
        let _lock = self.lock()?;
        for layer in &new.layers {
            let there = self.blob(&layer.digest).map(|_| &layer.diff_id);
            if there.and_then(|diff_id| self.layer(diff_id)).is_none() {
                let missing = layer.diff_id.clone();
                return Err(StoreError::Vanished {
                    id: id.clone(),
                    missing,
                });
            }
        }
        let mut records = self.records_and(&mut Vec::new())?;
        let old = records.iter().find(|record| record.id == *id);
        let record = Record {
            id: id.clone(),
            names: old.map(|old| old.names.clone()).unwrap_or_default(),
            pinned: old.is_some_and(|old| old.pinned),
            added: old.map_or_else(Timestamp::now, |old| old.added),
            manifest: Descriptor {
                digest: new.manifest.digest.clone(),
                size: new.manifest.bytes.len() as u64,
                media_type: new.manifest.media_type.clone(),
            },
            config_size: new.config.bytes.len() as u64,
            platform: Platform {
                os: config.os().to_string(),
                architecture: config.architecture().to_string(),
                variant: config.variant().clone(),
            },
            layers: new.layers.clone(),
        };
        records.retain(|other| other.id != *id);
        records.push(record);
        let record = match &new.name {
            Some(name) => self.give_name(&mut records, id, name)?,
            None => records.pop().expect("just pushed"),
        };
        self.write_record(&record)?;
        self.take_name_from_others(&records, &record)?;
        self.settle_later();
        self.image(&record)
    }

    /// The image with this name (as recorded, or as people shorten it), ID, manifest digest,
    /// `name@digest`, or unique ID prefix.
    pub fn find(&self, name: &str) -> Result<Option<Image>, StoreError> {
        let records = self.records_and(&mut Vec::new())?;
        find_record(&records, name)?
            .map(|record| self.image(record))
            .transpose()
    }

    /// As [`Store::find`], where absence is an error.
    pub fn get(&self, name: &str) -> Result<Image, StoreError> {
        self.find(name)?.ok_or_else(|| StoreError::NotFound {
            name: name.to_owned(),
        })
    }

    /// Every image, latest first. Damaged records are left out: `fsck` speaks of them.
    pub fn list(&self) -> Result<Vec<Image>, StoreError> {
        let records = self.records_and(&mut Vec::new())?;
        let mut images: Vec<Image> = records
            .iter()
            .filter_map(|record| self.image(record).ok())
            .collect();
        images.sort_by_key(|image| std::cmp::Reverse(image.added));
        Ok(images)
    }

    /// When an image was last added, removed or written anew, whoever did it. Two changes within a tick of the kernel's
    /// clock look like one.
    pub fn changed(&self) -> Result<SystemTime, StoreError> {
        fs_err::metadata(self.images_dir())
            .and_then(|meta| meta.modified())
            .map_err(|source| StoreError::Read { source })
    }

    /// Notes that the image is used now; `prune` with an age goes by this.
    pub fn touch(&self, id: &Digest) -> Result<(), StoreError> {
        sys::touch(&self.record_path(id)).map_err(|source| StoreError::Write { source })
    }

    /// The unpacked layers of an image, top-most first, as overlayfs wants them.
    ///
    /// A layer that is missing, e.g. because a power cut may have caught it half written, is unpacked
    /// again from its blob; that takes a while.
    pub fn lowerdirs(&self, image: &Image) -> Result<Vec<PathBuf>, StoreError> {
        let mut dirs = Vec::with_capacity(image.layers.len());
        for layer in image.layer_blobs.iter().rev() {
            let dir = match self.layer(&layer.diff_id) {
                Some(dir) => dir,
                None => self.restore(&image.id, layer)?,
            };
            // The same layer twice in a row or apart: overlayfs refuses it, and the upper one hides
            // the lower one's files anyway unless something between changed them.
            if !dirs.contains(&dir) {
                dirs.push(dir);
            }
        }
        Ok(dirs)
    }

    /// Unpacks a layer of the image `id` again from its blob.
    pub(super) fn restore(&self, id: &Digest, layer: &LayerRef) -> Result<PathBuf, StoreError> {
        let blob = self
            .blob(&layer.digest)
            .ok_or_else(|| StoreError::Vanished {
                id: id.clone(),
                missing: layer.diff_id.clone(),
            })?;
        let limits = Limits::default();
        Compression::from_media_type(&layer.media_type)
            .and_then(|packing| self.unpack(&blob, packing, &layer.diff_id, &limits, &unwatched))
            .map_err(|source| StoreError::Restore {
                id: id.clone(),
                layer: layer.diff_id.clone(),
                source: Box::new(source),
            })
    }

    /// Gives an image another name, taking it from the image that had it.
    pub fn tag(&self, image: &str, name: &str) -> Result<Image, StoreError> {
        let _lock = self.lock()?;
        let mut records = self.records_and(&mut Vec::new())?;
        let id = existing(&records, image)?.id.clone();
        let record = self.give_name(&mut records, &id, name)?;
        self.write_record(&record)?;
        self.take_name_from_others(&records, &record)?;
        self.image(&record)
    }

    /// Keeps the image from `prune` and `remove`.
    pub fn pin(&self, image: &str) -> Result<Image, StoreError> {
        self.set_pinned(image, true)
    }

    /// Lets the image be removed again.
    pub fn unpin(&self, image: &str) -> Result<Image, StoreError> {
        self.set_pinned(image, false)
    }

    fn set_pinned(&self, image: &str, pinned: bool) -> Result<Image, StoreError> {
        let _lock = self.lock()?;
        let records = self.records_and(&mut Vec::new())?;
        let mut record = existing(&records, image)?.clone();
        record.pinned = pinned;
        self.write_record(&record)?;
        self.image(&record)
    }

    /// Takes a name away; with the last name (or by ID) the image goes, and with it the blobs and
    /// layers that no other image has. `in_use` are the images of existing pods.
    pub fn remove(
        &self,
        name: &str,
        policy: RemovePolicy,
        in_use: &BTreeSet<Digest>,
    ) -> Result<Removed, StoreError> {
        let _lock = self.lock()?;
        let records = self.records_and(&mut Vec::new())?;
        let mut record = existing(&records, name)?.clone();
        let by_name = owned_name(&record, name);
        if let Some(name) = by_name.filter(|_| record.names.len() > 1) {
            record.names.remove(&name);
            self.write_record(&record)?;
            return Ok(Removed {
                untagged: vec![name],
                deleted: None,
            });
        }
        if policy == RemovePolicy::Careful {
            let name = name.to_owned();
            if record.pinned {
                return Err(StoreError::Pinned { name });
            }
            if in_use.contains(&record.id) {
                return Err(StoreError::InUse { name });
            }
            if record.names.len() > 1 {
                let names = record.names.into_keys().collect();
                return Err(StoreError::SeveralNames {
                    id: record.id,
                    names,
                });
            }
        }
        let untagged = record.names.keys().cloned().collect();
        if in_use.contains(&record.id) {
            record.names.clear();
            record.pinned = false;
            self.write_record(&record)?;
            return Ok(Removed {
                untagged,
                deleted: None,
            });
        }
        self.delete_record(&record.id)?;
        let rest: Vec<Record> = records.into_iter().filter(|r| r.id != record.id).collect();
        self.free_unshared(&record, &rest)?;
        Ok(Removed {
            untagged,
            deleted: Some(record.id),
        })
    }

    /// Every layer some image has, with the images that share it.
    pub fn layer_uses(&self) -> Result<Vec<LayerUse>, StoreError> {
        let mut uses: BTreeMap<Digest, Vec<String>> = BTreeMap::new();
        for record in self.records_and(&mut Vec::new())? {
            for layer in &record.layers {
                uses.entry(layer.diff_id.clone())
                    .or_default()
                    .push(record.title());
            }
        }
        Ok(uses
            .into_iter()
            .map(|(diff_id, images)| LayerUse { diff_id, images })
            .collect())
    }

    /// The layers with their blobs, for a caller that has only the ID.
    pub fn layer_refs(&self, id: &Digest) -> Result<Option<Vec<LayerRef>>, StoreError> {
        Ok(read_record(&self.record_path(id))?.map(|record| record.layers))
    }

    pub(crate) fn delete_record(&self, id: &Digest) -> Result<(), StoreError> {
        fs_err::remove_file(self.record_path(id))
            .and_then(|()| super::sync_dir(&self.images_dir()))
            .map_err(|source| StoreError::Write { source })
    }

    /// The record of `id` with `name` in it, later than anybody else has it.
    fn give_name(
        &self,
        records: &mut [Record],
        id: &Digest,
        name: &str,
    ) -> Result<Record, StoreError> {
        // A clock that was set back must not make the older owner win.
        let taken = records
            .iter()
            .filter_map(|record| record.names.get(name).copied())
            .max();
        let now = Timestamp::now();
        let at = match taken {
            Some(taken) if taken >= now => taken
                .checked_add(jiff::SignedDuration::from_nanos(1))
                .unwrap_or(taken),
            Some(_) | None => now,
        };
        let record = records.iter_mut().find(|record| record.id == *id);
        let record = record.ok_or_else(|| StoreError::NotFound {
            name: id.to_string(),
        })?;
        record.names.insert(name.to_owned(), at);
        Ok(record.clone())
    }

    /// After `winner` was written: the other records lose the names it has.
    fn take_name_from_others(&self, records: &[Record], winner: &Record) -> Result<(), StoreError> {
        for record in records.iter().filter(|record| record.id != winner.id) {
            let mut record = record.clone();
            let before = record.names.len();
            record
                .names
                .retain(|name, _| !winner.names.contains_key(name));
            if record.names.len() != before {
                self.write_record(&record)?;
            }
        }
        Ok(())
    }
}

fn verified(blob: &Blob) -> Result<&Digest, StoreError> {
    let found = Digest::of(blob.digest.algorithm(), &blob.bytes);
    if found != blob.digest {
        return Err(StoreError::DigestMismatch {
            expected: blob.digest.clone(),
            found,
        });
    }
    Ok(&blob.digest)
}
