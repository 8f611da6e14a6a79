//! Blobs on their way in: resumable, verified, one writer at a time across processes.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::durable::{is_still, named, sync_dir, unique};
use super::settle::{FLUSHED, is_flushed};
use super::{Store, StoreError};
use crate::digest::{Digest, Hasher};
use crate::sys;

/// What [`Store::partial`] gives: the finished blob, or the right to write it.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "one at a time, and matched at once"
)]
pub enum Claim {
    /// The blob is there; perhaps another process just finished it.
    Complete(PathBuf),
    /// The blob is ours to write, from [`Partial::len`] on.
    Open(Partial),
}

/// A blob being written. Nobody else writes it while this lives; when it is dropped before
/// [`Partial::commit`], or the process dies, its bytes stay for the next writer.
#[derive(Debug)]
pub struct Partial {
    store: Store,
    digest: Digest,
    path: PathBuf,
    file: File,
    hasher: Hasher,
}

impl Store {
    /// Claims the blob `digest` for writing; blocks while another writer, in this process or
    /// another, is at it. Bytes an earlier writer left are read back and hashed.
    pub fn partial(&self, digest: &Digest) -> Result<Claim, StoreError> {
        loop {
            let (path, file) = self.open_partial(digest)?;
            sys::lock(&file).map_err(|source| write_failed(&path, &source))?;
            if let Some(claim) = self.claim(digest, path, file)? {
                return Ok(claim);
            }
        }
    }

    /// As [`Store::partial`], but `None` instead of waiting: for callers that can be cancelled and
    /// wait in their own way.
    pub fn try_partial(&self, digest: &Digest) -> Result<Option<Claim>, StoreError> {
        loop {
            let (path, file) = self.open_partial(digest)?;
            if !sys::try_lock(&file).map_err(|source| write_failed(&path, &source))? {
                return Ok(None);
            }
            if let Some(claim) = self.claim(digest, path, file)? {
                return Ok(Some(claim));
            }
        }
    }

    fn open_partial(&self, digest: &Digest) -> Result<(PathBuf, File), StoreError> {
        let name = format!("{}-{}", digest.algorithm(), digest.hex());
        let path = self.partial_blobs().join(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|source| write_failed(&path, &source))?;
        Ok((path, file))
    }

    /// With the lock held: `None` when the file was renamed or removed while we waited.
    fn claim(
        &self,
        digest: &Digest,
        path: PathBuf,
        file: File,
    ) -> Result<Option<Claim>, StoreError> {
        let still_named = is_still(&path, &file).map_err(|source| StoreError::Write { source })?;
        if let Some(blob) = self.blob(digest) {
            if still_named {
                fs_err::remove_file(&path).map_err(|source| StoreError::Write { source })?;
            }
            return Ok(Some(Claim::Complete(blob)));
        }
        if !still_named {
            return Ok(None);
        }
        let mut partial = Partial {
            store: self.clone(),
            digest: digest.clone(),
            file,
            hasher: Hasher::new(digest.algorithm()),
            path,
        };
        partial.rehash()?;
        Ok(Some(Claim::Open(partial)))
    }

    /// Gives a nameless file on the store's file system its place as the blob `digest`, which the
    /// caller found it to have: no copy is made.
    pub(crate) fn adopt(&self, file: &File, digest: &Digest) -> Result<(), StoreError> {
        let blob = self.blob_path(digest);
        let named = match sys::name_file(file, &blob) {
            // Damaged, or just finished by another: ours is known to be sound.
            Err(err) if err.kind() == io::ErrorKind::AlreadyExists => {
                let aside = self.partial_blobs().join(format!("adopt.{}", unique()));
                sys::name_file(file, &aside)
                    .and_then(|()| fs_err::rename(&aside, &blob))
                    .inspect_err(|_| drop(std::fs::remove_file(&aside)))
            }
            other => other,
        };
        named.map_err(|source| write_failed(&blob, &source))?;
        self.note_verified(digest);
        Ok(())
    }

    /// Stores `bytes` that are already at hand (a manifest, a config) under their digest, flushed:
    /// a record that refers to them may follow at once.
    pub fn put_blob(&self, digest: &Digest, bytes: &[u8]) -> Result<PathBuf, StoreError> {
        let mut partial = match self.partial(digest)? {
            Claim::Complete(path) if is_flushed(&path) => return Ok(path),
            // It came as a download.
            Claim::Complete(path) => {
                let flushed = File::open(&path).and_then(|file| flush(&file));
                flushed.map_err(|source| write_failed(&path, &source))?;
                return Ok(path);
            }
            Claim::Open(partial) => partial,
        };
        partial.restart()?;
        partial.write(bytes)?;
        partial.verify(bytes.len() as u64)?;
        flush(&partial.file).map_err(|source| write_failed(&partial.path, &source))?;
        let blob = partial.install()?;
        sync_dir(&self.blobs_dir(digest.algorithm()))
            .map_err(|source| StoreError::Write { source })?;
        Ok(blob)
    }
}

impl Partial {
    fn rehash(&mut self) -> Result<(), StoreError> {
        let mut buffer = vec![0; 256 << 10];
        loop {
            let n = self
                .file
                .read(&mut buffer)
                .map_err(|source| StoreError::Read {
                    source: named(&self.path, &source),
                })?;
            if n == 0 {
                return Ok(());
            }
            self.hasher.update(&buffer[..n]);
        }
    }

    /// The digest that the whole will have to have.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// How many bytes are there: where to resume.
    pub fn len(&self) -> u64 {
        self.hasher.len()
    }

    /// Whether nothing is there yet.
    pub fn is_empty(&self) -> bool {
        self.hasher.is_empty()
    }

    /// Appends the next bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file
            .write_all(bytes)
            .map_err(|source| write_failed(&self.path, &source))?;
        self.hasher.update(bytes);
        Ok(())
    }

    /// Forgets every byte: the server cannot resume, or sent something else.
    pub fn restart(&mut self) -> Result<(), StoreError> {
        let emptied = self
            .file
            .set_len(0)
            .and_then(|()| self.file.seek(SeekFrom::Start(0)));
        emptied.map_err(|source| write_failed(&self.path, &source))?;
        self.hasher = Hasher::new(self.digest.algorithm());
        Ok(())
    }

    /// Verifies length and digest, and gives the blob its final name. The disk may have it later:
    /// see [`Store::settle`].
    ///
    /// Bytes that are wrong are thrown away: the next writer begins anew. Too few bytes stay, since
    /// they may be a beginning.
    pub fn commit(mut self, expected_size: u64) -> Result<PathBuf, StoreError> {
        self.verify(expected_size)?;
        self.install()
    }

    fn verify(&mut self, expected_size: u64) -> Result<(), StoreError> {
        let (digest, found) = (self.digest.clone(), self.len());
        if found != expected_size {
            if found > expected_size {
                self.restart()?;
            }
            return Err(StoreError::SizeMismatch {
                digest,
                expected: expected_size,
                found,
            });
        }
        let hashed = self.hasher.clone().finish();
        if hashed != digest {
            self.restart()?;
            return Err(StoreError::DigestMismatch {
                expected: digest,
                found: hashed,
            });
        }
        Ok(())
    }

    fn install(&self) -> Result<PathBuf, StoreError> {
        let blob = self.store.blob_path(&self.digest);
        fs_err::rename(&self.path, &blob).map_err(|source| StoreError::Write { source })?;
        self.store.note_verified(&self.digest);
        Ok(blob)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Still ours by the lock; an empty file is no beginning worth keeping. After `commit` the
        // name is gone or, at worst, a newer writer's: that one has bytes to come and notices.
        if self.is_empty() && self.path.exists() && !self.store.blob_path(&self.digest).exists() {
            drop(std::fs::remove_file(&self.path));
        }
    }
}

/// Flushes a sound blob and says so in its mode.
fn flush(file: &File) -> io::Result<()> {
    file.sync_all()?;
    sys::fchmod(file.as_fd(), FLUSHED)
}

fn write_failed(path: &Path, source: &io::Error) -> StoreError {
    StoreError::Write {
        source: named(path, source),
    }
}
