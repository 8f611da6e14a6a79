//! Layer archives to directories that overlayfs can use.
//!
//! ```text
//! blob file -> [inflate]  ==chunks==>  [hash | tar entries | writer] -> layers/partial/HEX.PID-N
//!               a thread                the caller's thread               then renamed
//! ```
//!
//! A layer is unpacked by itself, without the layers below it: deletions become overlayfs's own
//! marks, and each layer is shared by all images that have it. What follows from that:
//!
//! * A hard link must find its target in the same layer, as OCI asks; otherwise it is an error.
//! * A directory that the layer only implies (`a/b` without `a/`) is made 0755, owned by root and
//!   dated 1970, and overlayfs shows these attributes. Image builders list every parent.
//! * A name below a symlink that the same layer made is placed where the link leads *inside the
//!   layer*, as container engines do; a link never leads outside.
//!
//! Archives are hostile until shown otherwise. The tree grows in a directory that nobody else can
//! enter; every name is walked component by component through descriptors, so that neither `..`, an
//! absolute name nor a planted link reaches anything else; and [`Limits`] end decompression bombs.

use std::ops::ControlFlow;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use crate::digest::Digest;
use crate::store::tree::{self, LayerRecord};
use crate::store::{DirLock, FLUSHED, Store, StoreError, remove_tree, unique};
use crate::sys;

mod attributes;
mod entries;
mod error;
mod header;
mod number;
mod pax;
mod place;
mod sparse;
mod stream;
mod whiteout;
mod writer;

pub(crate) use entries::{Entries, Kind};
pub use error::UnpackError;
use stream::Chunks;
pub(crate) use stream::{Plain, decoder};

/// How a layer blob is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// A plain tar.
    None,
    /// gzip, of one member or several.
    Gzip,
    /// Zstandard.
    Zstd,
}

impl Compression {
    /// What a layer's media type says; the content is not asked.
    pub fn from_media_type(media_type: &str) -> Result<Self, UnpackError> {
        let base = media_type.split(';').next().unwrap_or_default().trim();
        let oci = base
            .strip_prefix("application/vnd.oci.image.layer.v1.tar")
            .or_else(|| {
                base.strip_prefix("application/vnd.oci.image.layer.nondistributable.v1.tar")
            });
        let docker = base
            .strip_prefix("application/vnd.docker.image.rootfs.diff.tar")
            .or_else(|| base.strip_prefix("application/vnd.docker.image.rootfs.foreign.diff.tar"));
        match (oci, docker) {
            (Some(""), _) | (_, Some("")) => Ok(Self::None),
            (Some("+gzip"), _) | (_, Some(".gzip")) => Ok(Self::Gzip),
            (Some("+zstd"), _) | (_, Some(".zstd")) => Ok(Self::Zstd),
            _ => Err(UnpackError::MediaType {
                media_type: media_type.to_owned(),
            }),
        }
    }

    /// What the first bytes of a file look like; for archives that say nothing about compression.
    pub fn sniff(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            // A skippable frame, with which some compressors begin.
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::None,
        }
    }
}

/// What an archive may ask for before it is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Entries in the archive.
    pub entries: u64,
    /// Bytes of the uncompressed archive.
    pub bytes: u64,
    /// Length of one file, holes included.
    pub file_bytes: u64,
    /// Uncompressed bytes per compressed byte, once [`Limits::ratio_from`] bytes have come out.
    pub ratio: u64,
    /// Uncompressed bytes that may come out at any ratio: a small blob of zeros is harmless.
    pub ratio_from: u64,
    /// Components in a name.
    pub depth: usize,
    /// Bytes of extended headers for one entry.
    pub header_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 4_000_000,
            bytes: 256 << 30,
            file_bytes: 1 << 40,
            ratio: 250,
            ratio_from: 1 << 30,
            depth: 256,
            header_bytes: 1 << 20,
        }
    }
}

/// Hears of progress in bytes of the blob, and says whether to go on.
pub type Watch<'a> = dyn Fn(u64) -> ControlFlow<()> + 'a;

/// A [`Watch`] that nobody looks at.
pub fn unwatched(_bytes: u64) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

/// How often one who waits for another's unpacking looks again, and lets itself be called off.
const POLL: Duration = Duration::from_millis(20);

/// Takes a layer's lock; another unpacker may have it for minutes.
fn wait_for(path: &Path, progress: &Watch<'_>) -> Result<DirLock, UnpackError> {
    loop {
        let lock = DirLock::attempt(path);
        if let Some(lock) = lock.map_err(|source| StoreError::Write { source })? {
            return Ok(lock);
        }
        if progress(0).is_break() {
            return Err(UnpackError::CalledOff);
        }
        std::thread::park_timeout(POLL);
    }
}

impl Store {
    /// The unpacked layer `diff_id`: as it is in the store, or unpacked now from `blob`.
    ///
    /// Done once: whoever comes second, in this process or another, waits and gets the same
    /// directory. `progress` hears now and then how many bytes of the blob have been read so far, and
    /// may break the work off. On failure nothing is left behind.
    pub fn unpack(
        &self,
        blob: &Path,
        compression: Compression,
        diff_id: &Digest,
        limits: &Limits,
        progress: &Watch<'_>,
    ) -> Result<PathBuf, UnpackError> {
        if let Some(tree) = self.layer(diff_id) {
            return Ok(tree);
        }
        let stored = |source| UnpackError::Store(StoreError::Write { source });
        let lock_path = self
            .partial_layers()
            .join(format!("{}.lock", diff_id.hex()));
        let lock = wait_for(&lock_path, progress)?;
        if let Some(tree) = self.layer(diff_id) {
            return Ok(tree);
        }
        self.sweep(diff_id).map_err(stored)?;
        let scratch = Scratch::create(self, diff_id).map_err(stored)?;
        let archive = Archive {
            blob,
            compression,
            diff_id,
            limits,
        };
        archive.unpack_into(&scratch.tree(), progress)?;
        let tree = self.install(&scratch, diff_id).map_err(stored)?;
        lock.remove(&lock_path);
        Ok(tree)
    }

    /// Removes what killed unpackers of this layer left. The caller holds the layer's lock.
    fn sweep(&self, diff_id: &Digest) -> std::io::Result<()> {
        let prefix = format!("{}.", diff_id.hex());
        for entry in fs_err::read_dir(self.partial_layers())? {
            let path = entry?.path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if name.starts_with(&prefix) && !name.ends_with(".lock") {
                remove_tree(&path)?;
            }
        }
        Ok(())
    }

    /// Removes what killed unpackers of any layer left; what others are at stays.
    pub(crate) fn sweep_all(&self) -> std::io::Result<()> {
        for entry in fs_err::read_dir(self.partial_layers())? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            let Some((owner, rest)) = name.split_once('.') else {
                continue;
            };
            let lock_path = self.partial_layers().join(format!("{owner}.lock"));
            if rest == "lock" {
                continue;
            }
            if let Some(lock) = DirLock::attempt(&lock_path)? {
                remove_tree(&self.partial_layers().join(&name))?;
                lock.remove(&lock_path);
            }
        }
        Ok(())
    }

    /// Gives the finished tree its final name. It is good for this boot; see [`Store::settle`].
    fn install(&self, scratch: &Scratch, diff_id: &Digest) -> std::io::Result<PathBuf> {
        let record = LayerRecord {
            diff_id: diff_id.clone(),
            unpacked: Timestamp::now(),
            boot: self.boot().map(str::to_owned),
            tree: tree::summarise(&scratch.tree())?,
        };
        let json = serde_json::to_vec_pretty(&record).expect("a record is plain data");
        let path = scratch.0.join("layer.json");
        fs_err::write(&path, json)?;
        if record.boot.is_none() {
            // Nobody could tell later, so it must be on the disk now.
            sys::syncfs(sys::open_dir(&scratch.0)?.as_fd())?;
            sys::fchmod(fs_err::File::open(&path)?.as_fd(), FLUSHED)?;
        }
        let dir = self.layer_dir(diff_id);
        if dir.exists() {
            // Or `layer` would have found it: damaged, or of another boot and of doubtful content.
            self.discard_layer(diff_id).map_err(std::io::Error::other)?;
        }
        fs_err::rename(&scratch.0, &dir)?;
        Ok(dir.join("tree"))
    }
}

/// A private directory for one unpacking; removed on drop unless it was renamed.
struct Scratch(PathBuf);

impl Scratch {
    fn create(store: &Store, diff_id: &Digest) -> std::io::Result<Self> {
        let dir = store
            .partial_layers()
            .join(format!("{}.{}", diff_id.hex(), unique()));
        fs_err::create_dir(&dir)?;
        let scratch = Self(dir);
        fs_err::create_dir(scratch.tree())?;
        Ok(scratch)
    }

    fn tree(&self) -> PathBuf {
        self.0.join("tree")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be removed now is swept by the next unpacking or by `prune`.
        drop(remove_tree(&self.0));
    }
}

/// One layer archive and what is expected of it.
struct Archive<'a> {
    blob: &'a Path,
    compression: Compression,
    diff_id: &'a Digest,
    limits: &'a Limits,
}

impl Archive<'_> {
    fn unpack_into(&self, tree: &Path, progress: &Watch<'_>) -> Result<(), UnpackError> {
        let blob = fs_err::File::open(self.blob).map_err(|source| UnpackError::Read { source })?;
        let size = blob
            .metadata()
            .map_err(|source| UnpackError::Read { source })?
            .len();
        std::thread::scope(|scope| {
            let chunks = Chunks::start(scope, blob, self.compression)?;
            let mut stream = stream::Checked::new(chunks, self, size, progress);
            let mut writer = writer::Writer::new(tree, self.limits)?;
            let mut entries = Entries::new(&mut stream, self.limits);
            while let Some(entry) = entries.next_entry()? {
                writer.put(&entry, &mut entries)?;
            }
            writer.finish()?;
            let found = stream.finish()?;
            if found != *self.diff_id {
                return Err(UnpackError::DiffId {
                    expected: self.diff_id.clone(),
                    found,
                });
            }
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests;
