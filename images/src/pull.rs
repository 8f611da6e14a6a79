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

use futures::future::try_join_all;
use tokio::sync::Semaphore;

use crate::config::RegistryConfig;
use crate::credentials::Credentials;
use crate::digest::Digest;
use crate::manifest::Descriptor;
use crate::platform::Platform;
use crate::progress::{Event, Progress};
use crate::reference::Reference;
use crate::registry::{Repository, RetryPolicy, Timeouts, Transport};
use crate::store::{Blob, Image, LayerRef, NewImage, Store, StoreError};
use crate::unpack::{Compression, Limits};

mod error;
mod layer;
mod resolve;
mod retry;
mod sink;

pub use error::PullError;

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

/// The image in the store, if it is there for the right platform.
async fn find_local(
    store: &Store,
    reference: &Reference,
    wanted: &Platform,
) -> Result<Option<Image>, PullError> {
    let (store, name) = (store.clone(), reference.to_string());
    let found = blocking(move || {
        let image = match store.find(&name) {
            Ok(Some(image)) => image,
            // Its configuration is gone or damaged: a pull brings it again.
            Ok(None) | Err(StoreError::Vanished { .. } | StoreError::Config { .. }) => {
                return Ok(None);
            }
            Err(err) => return Err(err),
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
        // The documents are flushed, which takes as long as the disk is busy: beside the layers.
        tokio::try_join!(self.fetch_layers(&resolved), self.put_documents(&resolved))?;
        self.record(resolved).await
    }

    /// Brings manifest and configuration into the store, where they have no name yet.
    async fn put_documents(&self, resolved: &Resolved) -> Result<(), PullError> {
        let documents = [resolved.manifest.clone(), resolved.config.clone()];
        let store = self.store.clone();
        let put = move || {
            documents
                .iter()
                .try_for_each(|blob| store.put_blob(&blob.digest, &blob.bytes).map(drop))
        };
        blocking(put).await?.map_err(store_error)
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
pub(crate) fn chain(err: &(dyn std::error::Error + 'static)) -> String {
    let layers = std::iter::successors(Some(err), |&err| err.source());
    layers
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}

#[cfg(test)]
mod tests;
