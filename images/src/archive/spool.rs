//! Files without a name, in the store: what a stream or a compressed archive is kept in meanwhile.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::FileExt as _;

use super::ImportError;
use crate::store::Store;
use crate::sys;
use crate::unpack::{Compression, Limits, UnpackError, decoder};

const BUFFER: usize = 256 << 10;

/// A file that is gone with its descriptor, unless it is given a name.
pub(super) fn nameless(store: &Store) -> Result<File, ImportError> {
    sys::nameless_file(&store.partial_blobs())
        .map(File::from)
        .map_err(ImportError::write)
}

/// Keeps all of `stream`.
pub(super) fn keep(
    store: &Store,
    stream: &mut dyn Read,
    limits: &Limits,
) -> Result<File, ImportError> {
    let mut file = nameless(store)?;
    copy(stream, limits.bytes, |bytes| {
        file.write_all(bytes).map_err(ImportError::write)
    })?;
    Ok(file)
}

/// Keeps all of `file`, uncompressed.
pub(super) fn inflate(
    store: &Store,
    file: &File,
    compression: Compression,
    limits: &Limits,
) -> Result<File, ImportError> {
    let len = file.metadata().map_err(ImportError::read)?.len();
    let mut plain = nameless(store)?;
    let mut inflated = decoder(At::new(file, 0, len), compression).map_err(ImportError::read)?;
    let most = limits
        .bytes
        .min(limits.ratio_from.max(len.saturating_mul(limits.ratio)));
    copy(&mut inflated, most, |bytes| {
        plain.write_all(bytes).map_err(ImportError::write)
    })?;
    Ok(plain)
}

/// Passes everything `from` yields to `sink`, up to `most` bytes.
pub(super) fn copy(
    from: &mut dyn Read,
    most: u64,
    mut sink: impl FnMut(&[u8]) -> Result<(), ImportError>,
) -> Result<u64, ImportError> {
    let mut buffer = vec![0; BUFFER];
    let mut sum = 0_u64;
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(sum),
            Ok(n) => {
                sum += n as u64;
                if sum > most {
                    let limit = UnpackError::Limit {
                        what: "bytes",
                        limit: most,
                    };
                    return Err(ImportError::Archive { source: limit });
                }
                sink(&buffer[..n])?;
            }
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => return Err(ImportError::read(err)),
        }
    }
}

/// How the file is compressed, by its first bytes.
pub(super) fn sniff(mut file: &File) -> io::Result<Compression> {
    file.seek(SeekFrom::Start(0))?;
    let mut start = Vec::new();
    file.take(4).read_to_end(&mut start)?;
    Ok(Compression::sniff(&start))
}

/// A stretch of a file, read by position: several may be open on one descriptor.
#[derive(Debug)]
pub(super) struct At<'a> {
    file: &'a File,
    position: u64,
    left: u64,
}

impl<'a> At<'a> {
    pub(super) fn new(file: &'a File, position: u64, len: u64) -> Self {
        Self {
            file,
            position,
            left: len,
        }
    }
}

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer
            .len()
            .min(usize::try_from(self.left).unwrap_or(usize::MAX));
        let n = self.file.read_at(&mut buffer[..most], self.position)?;
        self.position += n as u64;
        self.left -= n as u64;
        Ok(n)
    }
}
