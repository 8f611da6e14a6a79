//! Image records: what the store remembers of an image beside its blobs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use oci_spec::image::ImageConfiguration;
use serde::{Deserialize, Serialize};

use super::durable::write_aside;
use super::{Store, StoreError};
use crate::digest::Digest;
use crate::platform::Platform;

/// A small blob at hand: a manifest or a config.
#[derive(Debug, Clone)]
pub struct Blob {
    /// The digest of `bytes`.
    pub digest: Digest,
    /// What it is.
    pub media_type: String,
    /// The content as it came.
    pub bytes: Vec<u8>,
}

/// A layer as the manifest and the config name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerRef {
    /// The blob.
    pub digest: Digest,
    /// The blob's length.
    pub size: u64,
    /// The blob's media type, which tells its compression.
    pub media_type: String,
    /// The digest of the uncompressed tar: the name of the unpacked layer.
    pub diff_id: Digest,
}

/// What [`Store::record`] takes: everything about an image whose layers are all in the store.
#[derive(Debug, Clone)]
pub struct NewImage {
    /// The name to give it, as the caller normalised it; none for an image known by digest only.
    pub name: Option<String>,
    /// The image manifest.
    pub manifest: Blob,
    /// The image config. Its digest is the image's ID.
    pub config: Blob,
    /// The layers, lowest first.
    pub layers: Vec<LayerRef>,
}

/// An image in the store.
#[derive(Debug, Clone)]
pub struct Image {
    /// The digest of the config.
    pub id: Digest,
    /// The names that point to it, sorted.
    pub names: Vec<String>,
    /// The digest of the manifest.
    pub manifest_digest: Digest,
    /// The media type of the manifest.
    pub manifest_media_type: String,
    /// When the image was built, if its config says so.
    pub created: Option<Timestamp>,
    /// When it came into this store.
    pub added: Timestamp,
    /// When it was last started, pulled or tagged.
    pub last_used: Timestamp,
    /// Bytes of its blobs: what a registry transfers.
    pub size: u64,
    /// Kept by `prune` and `remove`.
    pub pinned: bool,
    /// What it is for.
    pub platform: Platform,
    /// Command, environment, user and so on.
    pub config: ImageConfiguration,
    /// The diff IDs, lowest first.
    pub layers: Vec<Digest>,
    /// The layers with their blobs, lowest first.
    pub layer_blobs: Vec<LayerRef>,
}

/// `images/ALG-HEX.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    pub(crate) id: Digest,
    /// Each name with the moment it was given. Moving a name to another image writes the other
    /// image first; after a crash in between both records have the name, and the later one counts.
    pub(crate) names: BTreeMap<String, Timestamp>,
    pub(crate) pinned: bool,
    pub(crate) added: Timestamp,
    pub(crate) manifest: Descriptor,
    pub(crate) config_size: u64,
    pub(crate) platform: Platform,
    pub(crate) layers: Vec<LayerRef>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Descriptor {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) media_type: String,
}

impl Record {
    /// Every blob the image consists of.
    pub(crate) fn blobs(&self) -> impl Iterator<Item = &Digest> {
        [&self.manifest.digest, &self.id]
            .into_iter()
            .chain(self.layers.iter().map(|l| &l.digest))
    }

    /// `docker.io/library/nginx:latest`, or the ID when it has no name.
    pub(crate) fn title(&self) -> String {
        self.names
            .keys()
            .next()
            .cloned()
            .unwrap_or_else(|| self.id.to_string())
    }

    fn size(&self) -> u64 {
        let layers: u64 = self.layers.iter().map(|layer| layer.size).sum();
        layers + self.manifest.size + self.config_size
    }
}

impl Store {
    pub(crate) fn record_path(&self, id: &Digest) -> PathBuf {
        self.images_dir()
            .join(format!("{}-{}.json", id.algorithm(), id.hex()))
    }

    /// Every readable record; a name that two of them have is left only where it was given last.
    /// Paths of records that cannot be read go to `damaged`.
    pub(crate) fn records_and(
        &self,
        damaged: &mut Vec<StoreError>,
    ) -> Result<Vec<Record>, StoreError> {
        let mut records = Vec::new();
        let listing = fs_err::read_dir(self.images_dir());
        for entry in listing.map_err(|source| StoreError::Read { source })? {
            let path = entry.map_err(|source| StoreError::Read { source })?.path();
            if path.extension().is_none_or(|ext| ext != "json") {
                continue;
            }
            match read_record(&path) {
                Ok(Some(record)) => records.push(record),
                Ok(None) => {}
                Err(err) => damaged.push(err),
            }
        }
        records.sort_by(|a, b| a.id.cmp(&b.id));
        settle_names(&mut records);
        Ok(records)
    }

    pub(crate) fn records(&self) -> Result<Vec<Record>, StoreError> {
        let mut damaged = Vec::new();
        let records = self.records_and(&mut damaged)?;
        match damaged.into_iter().next() {
            Some(err) => Err(err),
            None => Ok(records),
        }
    }

    /// Writes a record. Its file's time is the image's last use, which becomes now.
    pub(crate) fn write_record(&self, record: &Record) -> Result<(), StoreError> {
        let path = self.record_path(&record.id);
        let mut json = serde_json::to_vec_pretty(record).expect("a record is plain data");
        json.push(b'\n');
        write_aside(&path, &json).map_err(|source| StoreError::Write { source })
    }

    /// The image of a record, with its config read from the blob.
    pub(crate) fn image(&self, record: &Record) -> Result<Image, StoreError> {
        let read = |source| StoreError::Read { source };
        let id = record.id.clone();
        let bytes = match fs_err::read(self.blob_path(&id)) {
            Err(err) if err.kind() == std::io::ErrorKind::NotFound => {
                return Err(StoreError::Vanished {
                    missing: id.clone(),
                    id,
                });
            }
            other => other.map_err(read)?,
        };
        let config = parse_config(&id, &bytes)?;
        let used = fs_err::metadata(self.record_path(&id)).and_then(|found| found.modified());
        let last_used = used.ok().and_then(|time| Timestamp::try_from(time).ok());
        Ok(Image {
            names: record.names.keys().cloned().collect(),
            manifest_digest: record.manifest.digest.clone(),
            manifest_media_type: record.manifest.media_type.clone(),
            created: config.created().as_ref().and_then(|text| text.parse().ok()),
            added: record.added,
            last_used: last_used.unwrap_or(record.added),
            size: record.size(),
            pinned: record.pinned,
            platform: record.platform.clone(),
            config,
            layers: record
                .layers
                .iter()
                .map(|layer| layer.diff_id.clone())
                .collect(),
            layer_blobs: record.layers.clone(),
            id,
        })
    }
}

pub(crate) fn parse_config(id: &Digest, bytes: &[u8]) -> Result<ImageConfiguration, StoreError> {
    serde_json::from_slice(bytes).map_err(|source| StoreError::Config {
        id: id.clone(),
        source,
    })
}

/// `None` when the record was removed since it was listed.
pub(crate) fn read_record(path: &Path) -> Result<Option<Record>, StoreError> {
    let bytes = match fs_err::read(path) {
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|source| StoreError::Read { source })?,
    };
    match serde_json::from_slice(&bytes) {
        Ok(record) => Ok(Some(record)),
        Err(source) => Err(StoreError::Record {
            path: path.to_owned(),
            source,
        }),
    }
}

fn settle_names(records: &mut [Record]) {
    let mut latest: BTreeMap<String, (Timestamp, Digest)> = BTreeMap::new();
    for record in &*records {
        for (name, &at) in &record.names {
            let mine = (at, record.id.clone());
            latest
                .entry(name.clone())
                .and_modify(|best| *best = mine.clone().max(best.clone()))
                .or_insert(mine);
        }
    }
    for record in records {
        let id = record.id.clone();
        record
            .names
            .retain(|name, _| latest.get(name).is_some_and(|(_, best)| *best == id));
    }
}
