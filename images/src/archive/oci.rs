//! OCI image layouts, in a directory or a tar.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::ingest::diff_ids;
use super::members::{Members, blob_name};
use super::{Import, ImportError};
use crate::digest::Digest;
use crate::manifest::{Descriptor, Manifest, choose};
use crate::store::{Blob, Image, LayerRef, NewImage, StoreError};

/// Whole names, as containerd and Docker write them beside the shorter one.
const FULL_NAME: &str = "io.containerd.image.name";
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Indexes in indexes; one level is usual.
const MAX_NESTING: usize = 4;

#[derive(Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(flatten)]
    descriptor: Descriptor,
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
}

impl Entry {
    fn annotation(&self, key: &str) -> Option<&str> {
        self.annotations
            .as_ref()?
            .get(key)
            .map(String::as_str)
            .filter(|text| !text.is_empty())
    }

    /// What to group and select by.
    fn label(&self) -> Option<&str> {
        self.annotation(FULL_NAME)
            .or_else(|| self.annotation(REF_NAME))
    }

    /// The label where it is a whole name: a bare `latest` only tells images in one layout apart.
    fn own_name(&self) -> Option<&str> {
        self.label().filter(|label| label.contains([':', '/']))
    }

    fn is(&self, wanted: &str) -> bool {
        let same_name = |label: &str| {
            let parse = |text| crate::reference::Reference::parse(text).ok();
            label == wanted || parse(label).is_some_and(|label| Some(label) == parse(wanted))
        };
        [FULL_NAME, REF_NAME]
            .iter()
            .filter_map(|key| self.annotation(key))
            .any(same_name)
            || self.descriptor.digest.to_string() == wanted
    }
}

impl Import<'_> {
    /// Imports the images of a layout: all that have different names, one platform of each.
    pub(super) fn oci(&self, members: &Members) -> Result<Vec<Image>, ImportError> {
        let index: Index =
            serde_json::from_slice(&members.read("index.json")?).map_err(|source| {
                ImportError::Json {
                    member: "index.json".to_owned(),
                    source,
                }
            })?;
        let offered = offered(&index.manifests);
        let mut groups: BTreeMap<Option<String>, Vec<Entry>> = BTreeMap::new();
        for entry in index.manifests {
            if self
                .options
                .select
                .as_ref()
                .is_none_or(|wanted| entry.is(wanted))
            {
                groups
                    .entry(entry.label().map(str::to_owned))
                    .or_default()
                    .push(entry);
            }
        }
        if groups.is_empty() {
            let wanted = self
                .options
                .select
                .clone()
                .unwrap_or_else(|| "at all".to_owned());
            return Err(ImportError::NotFound { wanted, offered });
        }
        if groups.len() > 1 && self.options.name.is_some() {
            return Err(ImportError::Several {
                count: groups.len(),
                offered,
            });
        }
        let mut images = Vec::new();
        for group in groups.into_values() {
            let name = self.name(group[0].own_name())?;
            let descriptors: Vec<Descriptor> =
                group.into_iter().map(|entry| entry.descriptor).collect();
            let one = match descriptors.as_slice() {
                [only] => only,
                several => choose(several, &self.options.platform)?,
            };
            images.push(self.oci_image(members, one, name)?);
        }
        Ok(images)
    }

    fn oci_image(
        &self,
        members: &Members,
        descriptor: &Descriptor,
        name: Option<String>,
    ) -> Result<Image, ImportError> {
        let mut descriptor = descriptor.clone();
        for _ in 0..MAX_NESTING {
            let bytes = members.read_blob(&descriptor.digest)?;
            match Manifest::parse(&bytes, "", Some(&descriptor.media_type))? {
                Manifest::Index(list) => {
                    descriptor = choose(&list, &self.options.platform)?.clone();
                }
                Manifest::Image {
                    media_type,
                    config,
                    layers,
                } => {
                    let digest = descriptor.digest;
                    let manifest = Blob {
                        digest,
                        media_type,
                        bytes,
                    };
                    return self.oci_layers(members, manifest, &config, &layers, name);
                }
            }
        }
        let member = blob_name(&descriptor.digest);
        let source = serde::de::Error::custom("indexes are nested too deep");
        Err(ImportError::Json { member, source })
    }

    fn oci_layers(
        &self,
        members: &Members,
        manifest: Blob,
        config: &Descriptor,
        layers: &[Descriptor],
        name: Option<String>,
    ) -> Result<Image, ImportError> {
        let bytes = members.read_blob(&config.digest)?;
        let diff_ids = diff_ids(&blob_name(&config.digest), &bytes)?;
        if diff_ids.len() != layers.len() {
            let (manifest, config_layers) = (layers.len(), diff_ids.len());
            let id = config.digest.clone();
            return Err(StoreError::LayerCount {
                id,
                manifest,
                config: config_layers,
            }
            .into());
        }
        let mut refs = Vec::new();
        for (layer, diff_id) in layers.iter().zip(diff_ids) {
            let layer = LayerRef {
                digest: layer.digest.clone(),
                size: layer.size,
                media_type: layer.media_type.clone(),
                diff_id,
            };
            self.oci_layer(members, &layer)?;
            refs.push(layer);
        }
        let (digest, media_type) = (config.digest.clone(), config.media_type.clone());
        let config = Blob {
            digest,
            media_type,
            bytes,
        };
        Ok(self.store.record(&NewImage {
            name,
            manifest,
            config,
            layers: refs,
        })?)
    }

    fn oci_layer(&self, members: &Members, layer: &LayerRef) -> Result<(), ImportError> {
        let digest: &Digest = &layer.digest;
        if self.store.blob(digest).is_none() {
            let (mut reader, found) = members.open(&blob_name(digest))?;
            if found != layer.size {
                let (digest, expected) = (digest.clone(), layer.size);
                return Err(StoreError::SizeMismatch {
                    digest,
                    expected,
                    found,
                }
                .into());
            }
            self.blob(digest, layer.size, &mut reader)?;
        }
        self.unpack(layer)
    }
}

fn offered(entries: &[Entry]) -> String {
    let names: Vec<String> = entries
        .iter()
        .map(|entry| {
            entry
                .label()
                .map_or_else(|| entry.descriptor.digest.to_string(), str::to_owned)
        })
        .take(20)
        .collect();
    if names.is_empty() {
        "none".to_owned()
    } else {
        names.join(", ")
    }
}
