//! What a reference means: from a name to a manifest, a configuration and layers to fetch.

use futures::future::FutureExt;
use serde::Deserialize;

use super::retry::retrying;
use super::{Layer, Pull, PullError, Resolved, chain};
use crate::digest::Digest;
use crate::manifest::{self, Descriptor, Manifest, ManifestError};
use crate::platform::Platform;
use crate::progress::Event;
use crate::registry::{RawManifest, printable};
use crate::store::Blob;

/// An index may point to an index; honest ones do not go deeper.
const MAX_DEPTH: usize = 3;

/// The part of an image's configuration that a pull needs.
#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: Option<String>,
    rootfs: RootFs,
}

#[derive(Deserialize)]
struct RootFs {
    diff_ids: Vec<Digest>,
}

impl Pull<'_> {
    /// Asks the hosts in turn what the reference means.
    pub(super) async fn resolve(&self) -> Result<Resolved, PullError> {
        let last = self.repositories.len().saturating_sub(1);
        for source in 0..last {
            match self.resolve_at(source).await {
                Ok(resolved) => return Ok(resolved),
                Err(err) => {
                    let host = self.repositories[source].host();
                    tracing::warn!(host, err = %chain(&err), "mirror failed, trying the next host");
                }
            }
        }
        self.resolve_at(last).await
    }

    async fn resolve_at(&self, source: usize) -> Result<Resolved, PullError> {
        let repository = &self.repositories[source];
        self.progress.event(&Event::Resolving {
            host: repository.host(),
        });
        let (raw, media_type, config, layers) = self.find_manifest(source).await?;
        if config.size > self.options.max_config {
            let why = format!("configuration of {} bytes is too large", config.size);
            return Err(self.manifest_error(ManifestError::Malformed { why }));
        }
        let bytes = match config.inline() {
            Some(bytes) => bytes,
            None => {
                let op = || repository.small_blob(&config.digest, config.size).boxed();
                retrying(self, None, false, op).await?
            }
        };
        let config = Blob {
            digest: config.digest,
            media_type: config.media_type,
            bytes,
        };
        let layers = self.match_layers(&config, layers)?;
        self.progress.event(&Event::Resolved {
            manifest: &raw.digest,
            layers: layers.len(),
            size: layers
                .iter()
                .map(|layer| layer.descriptor.size)
                .fold(0, u64::saturating_add),
        });
        let manifest = Blob {
            digest: raw.digest,
            media_type,
            bytes: raw.bytes,
        };
        Ok(Resolved {
            source,
            manifest,
            config,
            layers,
        })
    }

    /// Follows indexes down to the manifest for our platform.
    async fn find_manifest(
        &self,
        source: usize,
    ) -> Result<(RawManifest, String, Descriptor, Vec<Descriptor>), PullError> {
        let repository = &self.repositories[source];
        let limit = self.options.max_manifest;
        let mut wanted = self.reference.wanted();
        let mut digest = self.reference.digest.clone();
        let mut promised: Option<String> = None;
        for depth in 0..MAX_DEPTH {
            let op = || repository.manifest(&wanted, digest.as_ref(), limit).boxed();
            let raw = retrying(self, None, depth == 0, op).await?;
            let parsed = Manifest::parse(&raw.bytes, &raw.content_type, promised.as_deref())
                .map_err(|err| self.manifest_error(err))?;
            match parsed {
                Manifest::Image {
                    media_type,
                    config,
                    layers,
                } => {
                    return Ok((raw, media_type, config, layers));
                }
                Manifest::Index(entries) => {
                    let entry = manifest::choose(&entries, &self.options.platform)
                        .map_err(|err| self.manifest_error(err))?;
                    wanted = entry.digest.to_string();
                    digest = Some(entry.digest.clone());
                    promised = Some(entry.media_type.clone());
                }
            }
        }
        let why = format!("more than {MAX_DEPTH} indexes within each other");
        Err(self.manifest_error(ManifestError::Malformed { why }))
    }

    /// Pairs the manifest's layers with the configuration's diff ids.
    fn match_layers(
        &self,
        config: &Blob,
        layers: Vec<Descriptor>,
    ) -> Result<Vec<Layer>, PullError> {
        let malformed = |why: String| self.manifest_error(ManifestError::Malformed { why });
        let parsed: Config = serde_json::from_slice(&config.bytes)
            .map_err(|err| malformed(format!("configuration: {}", printable(&err.to_string()))))?;
        self.check_platform(&parsed)?;
        let diff_ids = parsed.rootfs.diff_ids;
        if diff_ids.len() != layers.len() {
            let (layers, ids) = (layers.len(), diff_ids.len());
            return Err(malformed(format!("{layers} layers, but {ids} diff_ids")));
        }
        let pairs = layers
            .into_iter()
            .zip(diff_ids)
            .map(|(descriptor, diff_id)| {
                let compression =
                    manifest::compression(&descriptor).map_err(|err| self.manifest_error(err))?;
                Ok(Layer {
                    descriptor,
                    compression,
                    diff_id,
                })
            });
        pairs.collect()
    }

    fn check_platform(&self, config: &Config) -> Result<(), PullError> {
        let wanted = &self.options.platform;
        let made_for = Platform {
            os: config.os.clone(),
            architecture: config.architecture.clone(),
            variant: config.variant.clone(),
        };
        let unsaid = made_for.os.is_empty() || made_for.architecture.is_empty();
        if unsaid || wanted.suits(&made_for).is_some() {
            return Ok(());
        }
        let offered = printable(&made_for.to_string());
        let wanted = wanted.clone();
        Err(PullError::Platform {
            reference: self.reference.familiar(),
            wanted,
            offered,
        })
    }

    fn manifest_error(&self, source: ManifestError) -> PullError {
        PullError::Manifest {
            reference: self.reference.familiar(),
            source,
        }
    }
}
