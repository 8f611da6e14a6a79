//! `docker save` archives of the older layout: `manifest.json`, configs, and layers as tars.

use serde::Deserialize;

use super::ingest::{diff_ids, layer_type};
use super::members::Members;
use super::{Import, ImportError};
use crate::digest::{Algorithm, Digest};
use crate::store::{Image, LayerRef, StoreError};
use crate::unpack::Compression;

const LIST: &str = "manifest.json";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Vec<String>,
}

impl Entry {
    fn tags(&self) -> &[String] {
        self.repo_tags.as_deref().unwrap_or_default()
    }

    fn is(&self, wanted: &str) -> bool {
        let parse = |text| crate::reference::Reference::parse(text).ok();
        let config = self.config.trim_end_matches(".json");
        self.tags()
            .iter()
            .any(|tag| tag == wanted || parse(tag) == parse(wanted))
            || config == wanted.trim_start_matches("sha256:")
    }
}

impl Import<'_> {
    /// Imports all images of the archive, or the selected one, under all their tags.
    pub(super) fn docker(&self, members: &Members) -> Result<Vec<Image>, ImportError> {
        let entries: Vec<Entry> =
            serde_json::from_slice(&members.read(LIST)?).map_err(|source| ImportError::Json {
                member: LIST.to_owned(),
                source,
            })?;
        let offered: Vec<&str> = entries
            .iter()
            .map(|e| e.tags().first().unwrap_or(&e.config).as_str())
            .collect();
        let offered = offered.join(", ");
        let select = self.options.select.as_deref();
        let wanted: Vec<&Entry> = entries
            .iter()
            .filter(|entry| select.is_none_or(|name| entry.is(name)))
            .collect();
        if wanted.is_empty() {
            let wanted = select.unwrap_or("at all").to_owned();
            return Err(ImportError::NotFound { wanted, offered });
        }
        if wanted.len() > 1 && self.options.name.is_some() {
            return Err(ImportError::Several {
                count: wanted.len(),
                offered,
            });
        }
        wanted
            .into_iter()
            .map(|entry| self.docker_image(members, entry))
            .collect()
    }

    fn docker_image(&self, members: &Members, entry: &Entry) -> Result<Image, ImportError> {
        let config = members.read(&entry.config)?;
        let diff_ids = diff_ids(&entry.config, &config)?;
        if diff_ids.len() != entry.layers.len() {
            let id = Digest::sha256(&config);
            let (manifest, config) = (entry.layers.len(), diff_ids.len());
            return Err(StoreError::LayerCount {
                id,
                manifest,
                config,
            }
            .into());
        }
        let mut layers = Vec::new();
        for (member, diff_id) in entry.layers.iter().zip(diff_ids) {
            let layer = self.docker_layer(members, member, diff_id)?;
            self.unpack(&layer)?;
            layers.push(layer);
        }
        let name = self.name(entry.tags().first().map(String::as_str))?;
        let mut image = self.record_with_new_manifest(name, config, layers)?;
        if self.options.name.is_none() {
            for tag in entry.tags().iter().skip(1) {
                if let Some(tag) = self.name(Some(tag))? {
                    image = self.store.tag(&image.id.to_string(), &tag)?;
                }
            }
        }
        Ok(image)
    }

    /// A layer says nothing of its compression here; Docker writes plain tars, others gzip.
    fn docker_layer(
        &self,
        members: &Members,
        member: &str,
        diff_id: Digest,
    ) -> Result<LayerRef, ImportError> {
        let (reader, size) = members.open(member)?;
        let start = super::read_all(std::io::Read::take(reader, 4), 4);
        let start = start.map_err(ImportError::read)?.unwrap_or_default();
        let compression = Compression::sniff(&start);
        let digest = match compression {
            Compression::None => diff_id.clone(),
            Compression::Gzip | Compression::Zstd => {
                let (reader, _) = members.open(member)?;
                Digest::of_reader(Algorithm::Sha256, reader)
                    .map_err(ImportError::read)?
                    .0
            }
        };
        let (mut reader, _) = members.open(member)?;
        self.blob(&digest, size, &mut reader)?;
        Ok(LayerRef {
            digest,
            size,
            media_type: layer_type(compression).to_owned(),
            diff_id,
        })
    }
}
