//! Images from files and to files: how they come to be where no registry is.
//!
//! [`Store::import`] takes `docker save` archives (both layouts), OCI archives, OCI layout
//! directories, a root file system as a tar (plain, gzip, zstd) or as a directory, and finds out
//! which of these it was given. [`Store::export`] writes an OCI archive that `podman`, `skopeo` and
//! `docker` read as well. Archives are as hostile as what registries send: every blob is held
//! against its digest, layers go through the same unpacker, and the names in an archive are only
//! ever looked up in it, never on the host.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use crate::platform::Platform;
use crate::store::{Image, Store};
use crate::unpack::Limits;

mod docker;
mod error;
mod export;
mod ingest;
mod members;
mod oci;
mod pack;
mod rootfs;
mod spool;
mod tarball;

pub use error::{ExportError, ImportError};
pub use rootfs::ImportConfig;

/// Where an import comes from.
pub enum Source<'a> {
    /// A file or directory.
    Path(&'a Path),
    /// A stream, such as standard input; it is kept on disk, in the store, while it is read.
    Stream(&'a mut dyn Read),
}

/// How to import.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    /// The name to give; otherwise the names in the archive are used. An error where the archive
    /// has several images.
    pub name: Option<String>,
    /// Of an archive with several images, the one with this name or digest.
    pub select: Option<String>,
    /// Of an image for several platforms, the one that suits this.
    pub platform: Platform,
    /// What layers may ask for.
    pub limits: Limits,
    /// What to run, for a root file system; archives of images bring their own.
    pub config: ImportConfig,
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self {
            name: None,
            select: None,
            platform: Platform::host(),
            limits: Limits::default(),
            config: ImportConfig::default(),
        }
    }
}

impl Store {
    /// Imports whatever `source` holds, and returns the images it held.
    pub fn import(
        &self,
        source: Source<'_>,
        options: &ImportOptions,
    ) -> Result<Vec<Image>, ImportError> {
        let task = Import {
            store: self,
            options,
        };
        match source {
            Source::Path(path) if path.is_dir() => {
                if path.join("oci-layout").is_file() && path.join("index.json").is_file() {
                    return task.oci(&members::Members::Directory(path.to_owned()));
                }
                task.directory(path).map(|image| vec![image])
            }
            Source::Path(path) => {
                let file = fs_err::File::open(path).map_err(ImportError::read)?;
                task.file(file.into_parts().0, Some(path))
            }
            Source::Stream(stream) => task.file(spool::keep(self, stream, &options.limits)?, None),
        }
    }

    /// Writes the images called `names` into one OCI archive. Nothing is seeked: `out` may be a pipe.
    pub fn export(&self, names: &[&str], out: &mut dyn Write) -> Result<(), ExportError> {
        export::export(self, names, out)
    }
}

/// An import under way.
struct Import<'a> {
    store: &'a Store,
    options: &'a ImportOptions,
}

impl Import<'_> {
    /// A file of any kind; `path` is its name, if it has one.
    fn file(&self, file: File, path: Option<&Path>) -> Result<Vec<Image>, ImportError> {
        let compression = spool::sniff(&file).map_err(ImportError::read)?;
        let index = members::Index::of(&file, compression, &self.options.limits)?;
        let is_oci = index.has("index.json") && index.has("oci-layout");
        if !is_oci && !index.has("manifest.json") {
            if index.is_empty() {
                let name = path.map_or_else(|| PathBuf::from("standard input"), Path::to_owned);
                return Err(ImportError::Unrecognised { name });
            }
            return self
                .rootfs_tar(&file, compression, path.is_none())
                .map(|image| vec![image]);
        }
        // Members are read in any order, which a compressed archive does not allow.
        let plain = match compression {
            crate::unpack::Compression::None => file,
            _ => spool::inflate(self.store, &file, compression, &self.options.limits)?,
        };
        let members = members::Members::Archive { file: plain, index };
        if is_oci {
            self.oci(&members)
        } else {
            self.docker(&members)
        }
    }

    /// The name to record: the caller's, or else the archive's own, normalised.
    fn name(&self, own: Option<&str>) -> Result<Option<String>, ImportError> {
        match (&self.options.name, own) {
            (Some(name), _) => {
                let name = crate::reference::Reference::parse(name)?;
                Ok(Some(name.to_string()))
            }
            // A name that only another tool understands is not worth failing for.
            (None, Some(own)) => Ok(crate::reference::Reference::parse(own)
                .ok()
                .map(|name| name.to_string())),
            (None, None) => Ok(None),
        }
    }
}

/// Reads all of a small document.
fn read_all(mut reader: impl Read, max: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    reader.by_ref().take(max + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= max).then_some(bytes))
}

#[cfg(test)]
mod tests;
