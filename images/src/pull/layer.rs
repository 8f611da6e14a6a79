//! One layer: claimed, downloaded with resume, verified, unpacked.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::sink::{Sink, SinkClosed};
use super::{Layer, Pull, PullError, blocking, retry, store_error};
use crate::digest::Digest;
use crate::progress::Event;
use crate::registry::{RegistryError, Repository};
use crate::store::{Claim, StoreError};

/// How often we look whether another pull has finished with a layer.
const POLL: Duration = Duration::from_millis(50);
/// How long another pull may hold a layer before we give up.
const MAX_HELD: Duration = Duration::from_secs(30 * 60);
/// A connection that brought this much before it broke has earned a fresh count of attempts.
const PROGRESS_MADE: u64 = 1 << 20;

/// Why a download stopped.
enum Stopped {
    Registry(RegistryError),
    Sink,
}

impl From<RegistryError> for Stopped {
    fn from(err: RegistryError) -> Self {
        Self::Registry(err)
    }
}

impl From<SinkClosed> for Stopped {
    fn from(_: SinkClosed) -> Self {
        Self::Sink
    }
}

impl Pull<'_> {
    /// Brings one layer into the store, asking host number `source` first.
    pub(super) async fn fetch_layer(&self, layer: &Layer, source: usize) -> Result<(), PullError> {
        let digest = &layer.descriptor.digest;
        let (store, blob, tree) = (self.store.clone(), digest.clone(), layer.diff_id.clone());
        let (blob, tree) = blocking(move || (store.blob(&blob), store.layer(&tree))).await?;
        if blob.is_some() && tree.is_some() {
            self.progress.event(&Event::Skipped { digest });
            return Ok(());
        }
        let blob = match blob {
            Some(blob) => blob,
            None => {
                let _turn = self.downloads.acquire().await.expect("never closed");
                self.download(layer, source).await?
            }
        };
        self.progress.event(&Event::Verified { digest });
        if tree.is_none() {
            let _turn = self.unpacks.acquire().await.expect("never closed");
            self.unpack(layer, blob).await?;
        }
        self.progress.event(&Event::Done { digest });
        Ok(())
    }

    /// Downloads and verifies. Content with a wrong digest is fetched once more from its start,
    /// from the next host if there is one: a broken cache is no reason to fail.
    async fn download(&self, layer: &Layer, source: usize) -> Result<PathBuf, PullError> {
        let descriptor = &layer.descriptor;
        let last = self.repositories.len() - 1;
        let mut first = source;
        for clean in [false, true] {
            let partial = match self.claim(&descriptor.digest).await? {
                Claim::Complete(blob) => return Ok(blob),
                Claim::Open(partial) => partial,
            };
            let mut sink = Sink::start(partial);
            let filled = match descriptor.inline() {
                Some(bytes) => fill_inline(&mut sink, bytes).await.map(|()| last),
                None => self.fill(layer, first, clean, &mut sink).await,
            };
            let served_by = match filled {
                Ok(served_by) => served_by,
                Err(Stopped::Registry(err)) => return Err(err.into()),
                Err(Stopped::Sink) => return sink.finish().await?.map_err(store_error),
            };
            match sink.commit(descriptor.size).await? {
                Ok(blob) => return Ok(blob),
                Err(StoreError::DigestMismatch { found, .. }) if clean => {
                    return Err(self.lied(served_by, &descriptor.digest, &found).into());
                }
                Err(StoreError::DigestMismatch { found, .. }) => {
                    let err = self.lied(served_by, &descriptor.digest, &found);
                    let wait = Duration::ZERO;
                    retry::pause(self, Some(&descriptor.digest), &err, wait).await;
                    first = (served_by + 1).min(last);
                }
                Err(err) => return Err(store_error(err)),
            }
        }
        unreachable!("the second round returns")
    }

    /// Waits for the right to write the blob; when another pull has it, for that one's end.
    async fn claim(&self, digest: &Digest) -> Result<Claim, PullError> {
        let begun = Instant::now();
        let mut told = false;
        loop {
            let (store, wanted) = (self.store.clone(), digest.clone());
            let claim = blocking(move || store.try_partial(&wanted)).await?;
            if let Some(claim) = claim.map_err(store_error)? {
                return Ok(claim);
            }
            if begun.elapsed() > MAX_HELD {
                let minutes = MAX_HELD.as_secs() / 60;
                return Err(PullError::Held {
                    digest: digest.clone(),
                    minutes,
                });
            }
            if !told {
                self.progress.event(&Event::Waiting { digest });
                told = true;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    /// Fills `sink` from the hosts in turn; says which one served the end.
    async fn fill(
        &self,
        layer: &Layer,
        first: usize,
        clean: bool,
        sink: &mut Sink,
    ) -> Result<usize, Stopped> {
        let digest = &layer.descriptor.digest;
        if clean && sink.len() > 0 {
            sink.restart().await?;
        }
        // All hosts once, from `first` on: one that failed before may be the only one with the layer.
        let count = self.repositories.len();
        for turn in 0..count {
            let source = (first + turn) % count;
            let err = match self
                .fill_from(&self.repositories[source], layer, sink)
                .await
            {
                Ok(()) => return Ok(source),
                Err(Stopped::Registry(err)) if turn + 1 < count => err,
                Err(err) => return Err(err),
            };
            retry::pause(self, Some(digest), &err, Duration::ZERO).await;
        }
        Ok(first)
    }

    /// Fills `sink` from one host, going on where a broken connection left off.
    async fn fill_from(
        &self,
        repository: &Repository<'_>,
        layer: &Layer,
        sink: &mut Sink,
    ) -> Result<(), Stopped> {
        let mut failures = 0;
        loop {
            let before = sink.len();
            let err = match self.stream(repository, layer, sink).await {
                Ok(()) => return Ok(()),
                Err(Stopped::Registry(err)) => err,
                Err(Stopped::Sink) => return Err(Stopped::Sink),
            };
            if sink.len() >= before + PROGRESS_MADE {
                failures = 0;
            }
            failures += 1;
            match self.options.retry.wait(&err, failures, false) {
                Some(wait) => retry::pause(self, Some(&layer.descriptor.digest), &err, wait).await,
                None => return Err(err.into()),
            }
        }
    }

    /// One connection's worth: from where `sink` is to the layer's end.
    async fn stream(
        &self,
        repository: &Repository<'_>,
        layer: &Layer,
        sink: &mut Sink,
    ) -> Result<(), Stopped> {
        let (digest, size) = (&layer.descriptor.digest, layer.descriptor.size);
        if sink.len() == size {
            return Ok(());
        }
        if sink.len() > size {
            sink.restart().await?;
        }
        let mut stream = repository.blob(digest, sink.len()).await?;
        if stream.offset != sink.len() {
            sink.restart().await?;
        }
        self.progress.event(&Event::Downloaded {
            digest,
            bytes: sink.len(),
        });
        while let Some(bytes) = stream.chunk().await? {
            if sink.len() + bytes.len() as u64 > size {
                return Err(too_long(repository, digest, size).into());
            }
            sink.write(bytes).await?;
            self.progress.event(&Event::Downloaded {
                digest,
                bytes: sink.len(),
            });
        }
        if sink.len() < size {
            let host = repository.host().to_owned();
            let (what, got) = (format!("layer {digest}"), sink.len());
            return Err(RegistryError::Truncated {
                host,
                what,
                got,
                size,
            }
            .into());
        }
        Ok(())
    }

    async fn unpack(&self, layer: &Layer, blob: PathBuf) -> Result<(), PullError> {
        let digest = &layer.descriptor.digest;
        let compression = layer.compression;
        let (store, diff_id) = (self.store.clone(), layer.diff_id.clone());
        let limits = self.options.limits.clone();
        let (tell, mut told) = watch::channel(0_u64);
        let work = blocking(move || {
            // The pull was dropped when nobody hears us any more.
            let progress = |bytes| match tell.send(bytes) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            };
            store.unpack(&blob, compression, &diff_id, &limits, &progress)
        });
        tokio::pin!(work);
        let unpacked = loop {
            tokio::select! {
                done = &mut work => break done?,
                Ok(()) = told.changed() => {
                    let bytes = *told.borrow_and_update();
                    self.progress.event(&Event::Unpacking { digest, bytes });
                }
            }
        };
        unpacked.map_err(|source| PullError::Unpack {
            digest: digest.clone(),
            source,
        })?;
        Ok(())
    }

    fn lied(&self, source: usize, expected: &Digest, found: &Digest) -> RegistryError {
        RegistryError::Digest {
            host: self.repositories[source].host().to_owned(),
            what: format!("layer {expected}"),
            actual: found.to_string(),
        }
    }
}

async fn fill_inline(sink: &mut Sink, bytes: Vec<u8>) -> Result<(), Stopped> {
    sink.restart().await?;
    sink.write(bytes.into()).await?;
    Ok(())
}

fn too_long(repository: &Repository<'_>, digest: &Digest, size: u64) -> RegistryError {
    RegistryError::Malformed {
        host: repository.host().to_owned(),
        what: format!("layer {digest}"),
        why: format!("it sends more than the {size} bytes of the manifest"),
    }
}
