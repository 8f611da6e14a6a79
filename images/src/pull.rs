//! Pulling an image: from a reference to a recorded image with every layer unpacked.
//!
//! ```text
//! resolve: manifest -> index? choose platform -> manifest -> config        (mirrors in turn)
//! layers:  download (3 at a time) -> digest checked as it streams -> unpack (one per core)
//! record:  manifest, config and name enter the store
//! ```
//! *Guarantees:* nothing has a name in the store before all of it is verified and unpacked. A pull
//! that is dropped, or killed at any line, keeps the layers it finished and the beginnings of the
//! others; the next pull goes on from there. Two pulls of one layer, in this process or another,
//! download and unpack it once. Every wait is bounded.

use futures::future::{FutureExt, try_join_all};
use serde::Deserialize;
use tokio::sync::Semaphore;

use crate::config::RegistryConfig;
use crate::credentials::Credentials;
use crate::digest::Digest;
use crate::manifest::{self, Descriptor, Manifest, ManifestError};
use crate::platform::Platform;
use crate::progress::{Event, Progress};
use crate::reference::Reference;
use crate::registry::{RawManifest, Repository, RetryPolicy, Timeouts, Transport, printable};
use crate::store::{Blob, Image, LayerRef, NewImage, Store, StoreError};
use crate::unpack::{Compression, Limits};

mod error;
mod layer;
mod retry;
mod sink;

pub use error::PullError;
use retry::retrying;

/// An index may point to an index; honest ones do not go deeper.
const MAX_DEPTH: usize = 3;

/// When to ask the registry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PullPolicy {
    /// Always: a tag may have moved. Layers that are here are not downloaded again.
    Always,
    /// Only if the store has no such image for the platform.
    #[default]
    IfNotPresent,
    /// Never: an image that is not in the store is an error.
    Never,
}

/// How to pull.
#[derive(Clone, Debug)]
pub struct PullOptions {
    /// Which image of an index to take.
    pub platform: Platform,
    /// When to ask the registry.
    pub policy: PullPolicy,
    /// Where to look for logins.
    pub credentials: Credentials,
    /// Mirrors, certificates and other settings by host.
    pub registries: RegistryConfig,
    /// Layers that download at the same time.
    pub parallel_downloads: usize,
    /// Layers that unpack at the same time.
    pub parallel_unpacks: usize,
    /// How often to try again.
    pub retry: RetryPolicy,
    /// How long to wait for a host.
    pub timeouts: Timeouts,
    /// What a layer may contain.
    pub limits: Limits,
    /// Longest manifest or index, in bytes.
    pub max_manifest: u64,
    /// Longest image configuration, in bytes.
    pub max_config: u64,
}

impl Default for PullOptions {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        Self {
            platform: Platform::host(),
            policy: PullPolicy::default(),
            credentials: Credentials::default(),
            registries: RegistryConfig::default(),
            parallel_downloads: 3,
            parallel_unpacks: cores,
            retry: RetryPolicy::default(),
            timeouts: Timeouts::default(),
            limits: Limits::default(),
            max_manifest: 4 << 20,
            max_config: 8 << 20,
        }
    }
}

/// Pulls `reference` into `store`, and says what it does to `progress`.
///
/// # Errors
/// Any failure ends the pull; what is verified by then stays for the next one. Dropping the future
/// does the same. Must run inside a tokio runtime with time and I/O.
pub async fn pull(
    store: &Store,
    reference: &Reference,
    options: &PullOptions,
    progress: &dyn Progress,
) -> Result<Image, PullError> {
    if options.policy != PullPolicy::Always
        && let Some(image) = find_local(store, reference, &options.platform).await?
    {
        return Ok(image);
    }
    if options.policy == PullPolicy::Never {
        return Err(PullError::Absent {
            reference: reference.familiar(),
        });
    }
    let transport = Transport::new(options.registries.clone(), options.timeouts);
    let addresses = options
        .registries
        .addresses(&reference.registry)
        .into_iter();
    let repositories = addresses.map(|address| {
        Repository::new(
            &transport,
            address,
            &reference.repository,
            options.credentials.clone(),
        )
    });
    let pull = Pull {
        store,
        reference,
        options,
        progress,
        repositories: repositories.collect(),
        downloads: Semaphore::new(options.parallel_downloads.max(1)),
        unpacks: Semaphore::new(options.parallel_unpacks.max(1)),
    };
    match pull.run().await {
        // A prune came in between and took what was not yet part of an image.
        Err(PullError::Store {
            source: StoreError::Vanished { .. },
        }) => pull.run().await,
        other => other,
    }
}

/// One pull under way.
struct Pull<'a> {
    store: &'a Store,
    reference: &'a Reference,
    options: &'a PullOptions,
    progress: &'a dyn Progress,
    /// The hosts that may serve the image, in the order to try them.
    repositories: Vec<Repository<'a>>,
    downloads: Semaphore,
    unpacks: Semaphore,
}

/// What the reference turned out to mean.
struct Resolved {
    /// The host that said so; layers are asked of it first.
    source: usize,
    manifest: Blob,
    config: Blob,
    layers: Vec<Layer>,
}

/// A layer as manifest and configuration describe it together.
struct Layer {
    descriptor: Descriptor,
    compression: Compression,
    diff_id: Digest,
}

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

/// The image in the store, if it is there for the right platform.
async fn find_local(
    store: &Store,
    reference: &Reference,
    wanted: &Platform,
) -> Result<Option<Image>, PullError> {
    let (store, name) = (store.clone(), reference.to_string());
    let found = blocking(move || {
        let Some(image) = store.find(&name)? else {
            return Ok(None);
        };
        // A layer that went missing is mended by pulling again.
        let whole = store.lowerdirs(&image).is_ok();
        Ok(whole.then_some(image))
    });
    let image = found.await?.map_err(|source| PullError::Store { source })?;
    Ok(image.filter(|image| wanted.suits(&image.platform).is_some()))
}

impl Pull<'_> {
    async fn run(&self) -> Result<Image, PullError> {
        let resolved = self.resolve().await?;
        self.fetch_layers(&resolved).await?;
        self.record(resolved).await
    }

    /// Asks the hosts in turn what the reference means.
    async fn resolve(&self) -> Result<Resolved, PullError> {
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

    /// Brings every layer into the store, the largest first so that none is left for the end.
    async fn fetch_layers(&self, resolved: &Resolved) -> Result<(), PullError> {
        for layer in &resolved.layers {
            let Descriptor { digest, size, .. } = &layer.descriptor;
            self.progress.event(&Event::Layer {
                digest,
                size: *size,
            });
        }
        let mut layers: Vec<&Layer> = resolved.layers.iter().collect();
        // A layer may stand in a manifest several times; the empty one often does.
        layers.sort_by(|a, b| {
            let key = |layer: &Layer| std::cmp::Reverse(layer.descriptor.size);
            key(a)
                .cmp(&key(b))
                .then_with(|| a.descriptor.digest.cmp(&b.descriptor.digest))
        });
        layers.dedup_by(|a, b| a.descriptor == b.descriptor && a.diff_id == b.diff_id);
        let fetch = |layer| self.fetch_layer(layer, resolved.source);
        let jobs: Vec<_> = layers.into_iter().map(fetch).collect();
        try_join_all(jobs).await?;
        Ok(())
    }

    async fn record(&self, resolved: Resolved) -> Result<Image, PullError> {
        let layers = resolved.layers.into_iter().map(|layer| LayerRef {
            digest: layer.descriptor.digest,
            size: layer.descriptor.size,
            media_type: layer.descriptor.media_type,
            diff_id: layer.diff_id,
        });
        let image = NewImage {
            name: Some(self.reference.to_string()),
            manifest: resolved.manifest,
            config: resolved.config,
            layers: layers.collect(),
        };
        let store = self.store.clone();
        let recorded = blocking(move || store.record(&image)).await?;
        recorded.map_err(|source| PullError::Store { source })
    }

    fn manifest_error(&self, source: ManifestError) -> PullError {
        PullError::Manifest {
            reference: self.reference.familiar(),
            source,
        }
    }
}

/// Runs store work where it may block; a panic there is a bug that ends the pull, not the program.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, PullError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|source| PullError::Worker { source })
}

fn store_error(source: StoreError) -> PullError {
    PullError::Store { source }
}

/// Flattens a cause chain to `a: b: c`.
fn chain(err: &(dyn std::error::Error + 'static)) -> String {
    let layers = std::iter::successors(Some(err), |&err| err.source());
    layers
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

#[cfg(test)]
mod tests;
