//! What all imports share: layers into the store, and the image on record.

use std::fs::File;
use std::io::Read;

use super::{Import, ImportError};
use crate::digest::Digest;
use crate::store::{Blob, Claim, Image, LayerRef, NewImage, StoreError};
use crate::unpack::{Compression, unwatched};

pub(super) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(super) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// The media type of an OCI layer.
pub(super) fn layer_type(compression: Compression) -> &'static str {
    match compression {
        Compression::None => "application/vnd.oci.image.layer.v1.tar",
        Compression::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
        Compression::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
    }
}

impl Import<'_> {
    /// Copies a blob into the store, unless it is there, and verifies it.
    pub(super) fn blob(
        &self,
        digest: &Digest,
        size: u64,
        reader: &mut dyn Read,
    ) -> Result<(), ImportError> {
        if let Claim::Open(mut partial) = self.store.partial(digest)? {
            partial.restart()?;
            super::spool::copy(reader, size, |bytes| Ok(partial.write(bytes)?))?;
            partial.commit(size)?;
        }
        Ok(())
    }

    /// Gives a nameless file in the store its place among the blobs: no copy is made.
    pub(super) fn adopt(&self, file: &File, digest: &Digest) -> Result<(), ImportError> {
        if self.store.blob(digest).is_some() {
            return Ok(());
        }
        self.store.adopt(file, digest)?;
        Ok(())
    }

    /// Unpacks a layer whose blob is in the store.
    pub(super) fn unpack(&self, layer: &LayerRef) -> Result<(), ImportError> {
        let vanished = || StoreError::Vanished {
            id: layer.digest.clone(),
            missing: layer.digest.clone(),
        };
        let blob = self.store.blob(&layer.digest).ok_or_else(vanished)?;
        let compression = Compression::from_media_type(&layer.media_type)?;
        self.store.unpack(
            &blob,
            compression,
            &layer.diff_id,
            &self.options.limits,
            &unwatched,
        )?;
        Ok(())
    }

    /// Records an image made of layers in the store, with a manifest of our own: the archive had
    /// none, or another kind. The same content always gives the same manifest.
    pub(super) fn record_with_new_manifest(
        &self,
        name: Option<String>,
        config: Vec<u8>,
        layers: Vec<LayerRef>,
    ) -> Result<Image, ImportError> {
        let config_digest = Digest::sha256(&config);
        let layer_list: Vec<_> = layers
            .iter()
            .map(|layer| descriptor(&layer.media_type, &layer.digest, layer.size))
            .collect();
        let manifest = serde_json::json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": descriptor(OCI_CONFIG, &config_digest, config.len() as u64),
            "layers": layer_list,
        });
        let manifest = manifest.to_string().into_bytes();
        let new = NewImage {
            name,
            manifest: Blob {
                digest: Digest::sha256(&manifest),
                media_type: OCI_MANIFEST.to_owned(),
                bytes: manifest,
            },
            config: Blob {
                digest: config_digest,
                media_type: OCI_CONFIG.to_owned(),
                bytes: config,
            },
            layers,
        };
        Ok(self.store.record(&new)?)
    }
}

/// An OCI descriptor.
pub(super) fn descriptor(media_type: &str, digest: &Digest, size: u64) -> serde_json::Value {
    serde_json::json!({ "mediaType": media_type, "digest": digest, "size": size })
}

/// The diff IDs a config lists.
pub(super) fn diff_ids(member: &str, config: &[u8]) -> Result<Vec<Digest>, ImportError> {
    #[derive(serde::Deserialize)]
    struct Config {
        rootfs: RootFs,
    }
    #[derive(serde::Deserialize)]
    struct RootFs {
        #[serde(default)]
        diff_ids: Option<Vec<Digest>>,
    }
    let config: Config = serde_json::from_slice(config).map_err(|source| ImportError::Json {
        member: member.to_owned(),
        source,
    })?;
    Ok(config.rootfs.diff_ids.unwrap_or_default())
}
