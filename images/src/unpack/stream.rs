//! The uncompressed bytes of a blob: inflated on a thread of their own, hashed and counted here.

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::{Archive, Compression, Limits, UnpackError, Watch};
use crate::digest::{Digest, Hasher};

/// Bytes of one chunk, and how many may wait: enough to keep both threads busy, little to hold.
const CHUNK: usize = 256 << 10;
const WAITING: usize = 8;

/// The inflating thread's end: chunks of uncompressed bytes, in order.
pub(crate) struct Chunks {
    full: Receiver<io::Result<Vec<u8>>>,
    empty: SyncSender<Vec<u8>>,
    consumed: Arc<AtomicU64>,
}

impl Chunks {
    /// Starts inflating `blob` ahead of the reader; the thread ends when this is dropped.
    pub(crate) fn start<'scope, R: Read + Send + 'scope>(
        scope: &'scope std::thread::Scope<'scope, '_>,
        blob: R,
        compression: Compression,
    ) -> Result<Self, UnpackError> {
        let (to_reader, full) = sync_channel(WAITING);
        let (empty, recycled) = sync_channel::<Vec<u8>>(WAITING + 2);
        let consumed = Arc::new(AtomicU64::new(0));
        let counted = Counted {
            inner: blob,
            count: Arc::clone(&consumed),
        };
        let inflate = move || {
            let mut decoder = match decoder(counted, compression) {
                Ok(decoder) => decoder,
                Err(err) => return drop(to_reader.send(Err(err))),
            };
            loop {
                let mut chunk = recycled.try_recv().unwrap_or_default();
                chunk.resize(CHUNK, 0);
                let filled = fill(&mut decoder, &mut chunk);
                let done = !matches!(filled, Ok(CHUNK));
                let message = filled.map(|len| {
                    chunk.truncate(len);
                    chunk
                });
                // The reader is gone, which is its way to say that it has seen enough.
                if to_reader.send(message).is_err() || done {
                    return;
                }
            }
        };
        std::thread::Builder::new()
            .name("inflate".to_owned())
            .spawn_scoped(scope, inflate)
            .map_err(|source| UnpackError::Read { source })?;
        Ok(Self {
            full,
            empty,
            consumed,
        })
    }
}

/// A decompressing reader.
pub(crate) fn decoder<'a, R: Read + Send + 'a>(
    blob: R,
    compression: Compression,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    let buffered = io::BufReader::with_capacity(CHUNK, blob);
    Ok(match compression {
        Compression::None => Box::new(buffered),
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(buffered)),
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(buffered)?),
    })
}

fn fill(reader: &mut dyn Read, chunk: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < chunk.len() {
        match reader.read(&mut chunk[len..]) {
            Ok(0) => break,
            Ok(n) => len += n,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => return Err(err),
        }
    }
    Ok(len)
}

/// Counts the compressed bytes as the decoder takes them.
struct Counted<R> {
    inner: R,
    count: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buffer)?;
        self.count.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// The chunks as one stream: hashed, held against the limits, reported to `progress`.
pub(crate) struct Checked<'a> {
    chunks: Chunks,
    chunk: Vec<u8>,
    position: usize,
    ended: bool,
    hasher: Hasher,
    limits: &'a Limits,
    blob_size: u64,
    progress: &'a Watch<'a>,
}

impl<'a> Checked<'a> {
    pub(super) fn new(
        chunks: Chunks,
        archive: &Archive<'a>,
        blob_size: u64,
        progress: &'a Watch<'a>,
    ) -> Self {
        Self {
            chunks,
            chunk: Vec::new(),
            position: 0,
            ended: false,
            hasher: Hasher::new(archive.diff_id.algorithm()),
            limits: archive.limits,
            blob_size,
            progress,
        }
    }

    /// Fetches the next chunk once the last one is used up.
    fn advance(&mut self) -> Result<(), UnpackError> {
        if self.ended || self.position < self.chunk.len() {
            return Ok(());
        }
        // The inflating thread has no use for it when it has ended.
        drop(self.chunks.empty.try_send(std::mem::take(&mut self.chunk)));
        self.position = 0;
        match self.chunks.full.recv() {
            Ok(Ok(chunk)) => self.chunk = chunk,
            Ok(Err(source)) => return Err(UnpackError::Decompress { source }),
            Err(_) => {}
        }
        self.ended = self.chunk.is_empty();
        self.hasher.update(&self.chunk);
        if (self.progress)(self.chunks.consumed.load(Ordering::Relaxed)).is_break() {
            return Err(UnpackError::CalledOff);
        }
        self.check_limits()
    }

    fn check_limits(&self) -> Result<(), UnpackError> {
        let (bytes, limits) = (self.hasher.len(), self.limits);
        if bytes > limits.bytes {
            return Err(UnpackError::Limit {
                what: "bytes",
                limit: limits.bytes,
            });
        }
        let dense = bytes > self.blob_size.saturating_mul(limits.ratio);
        if dense && bytes > limits.ratio_from {
            let what = "uncompressed bytes for each compressed one";
            return Err(UnpackError::Limit {
                what,
                limit: limits.ratio,
            });
        }
        Ok(())
    }

    /// Reads what follows the archive's end, and returns the digest of everything.
    pub(crate) fn finish(mut self) -> Result<Digest, UnpackError> {
        while !self.ended {
            self.position = self.chunk.len();
            self.advance()?;
        }
        Ok(self.hasher.finish())
    }
}

/// Where an archive's bytes come from.
pub(crate) trait Source {
    /// The bytes at hand; none at the end.
    fn chunk(&mut self) -> Result<&[u8], UnpackError>;

    /// Steps over the first `n` of them.
    fn consume(&mut self, n: usize);
}

impl Source for Checked<'_> {
    fn chunk(&mut self) -> Result<&[u8], UnpackError> {
        self.advance()?;
        Ok(&self.chunk[self.position..])
    }

    fn consume(&mut self, n: usize) {
        self.position += n;
    }
}

/// Any reader as a source, without hashing or limits on the whole.
pub(crate) struct Plain<R>(pub(crate) R);

impl<R: BufRead> Source for Plain<R> {
    fn chunk(&mut self) -> Result<&[u8], UnpackError> {
        self.0
            .fill_buf()
            .map_err(|source| UnpackError::Decompress { source })
    }

    fn consume(&mut self, n: usize) {
        self.0.consume(n);
    }
}
