//! The entries of a tar archive, of every dialect that image builders write.
//!
//! Understands v7, ustar, PAX (local and global headers), GNU long names, and GNU sparse files of
//! all four formats. Bounded in memory whatever the archive says: an extended header larger than
//! [`Limits::header_bytes`] is refused before it is read. What follows the end mark is not looked at.
//!
//! Not `tar::Entries`: that one reads extended headers of any length into memory, and knows no sparse
//! files in PAX headers.

use super::error::shown;
use super::header::{BLOCK, Header, until_nul};
use super::pax::Pax;
use super::sparse::{self, SparseMap};
use super::stream::Source;
use super::{Limits, UnpackError, number};
use crate::sys::Mtime;

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    /// A file with holes; the content holds only the data between them.
    Sparse(SparseMap),
    HardLink {
        target: Vec<u8>,
    },
    Symlink {
        target: Vec<u8>,
    },
    CharDevice {
        major: u32,
        minor: u32,
    },
    BlockDevice {
        major: u32,
        minor: u32,
    },
    Directory,
    Fifo,
}

/// One entry, its extended headers applied. Nothing in it is checked for safety.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) name: Vec<u8>,
    pub(crate) kind: Kind,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Mtime,
    /// Bytes of content in the archive.
    pub(crate) stored: u64,
    /// Extended attributes by their full name.
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Where the content begins in the archive.
    pub(crate) offset: u64,
}

/// Walks an archive.
pub(crate) struct Entries<'a, S> {
    source: &'a mut S,
    limits: &'a Limits,
    offset: u64,
    /// Content and padding of the current entry that were not read yet.
    content: u64,
    padding: u64,
    global: Pax,
    count: u64,
    ended: bool,
}

impl<'a, S: Source> Entries<'a, S> {
    pub(crate) fn new(source: &'a mut S, limits: &'a Limits) -> Self {
        let global = Pax::default();
        Self {
            source,
            limits,
            offset: 0,
            content: 0,
            padding: 0,
            global,
            count: 0,
            ended: false,
        }
    }

    /// The next entry, or `None` at the end of the archive.
    pub(crate) fn next_entry(&mut self) -> Result<Option<Entry>, UnpackError> {
        self.skip(self.content + self.padding)?;
        (self.content, self.padding) = (0, 0);
        let mut pax = self.global.clone();
        let (mut long_name, mut long_link) = (None, None);
        let mut extended = 0;
        while !self.ended {
            let Some(header) = self.header()? else { break };
            match header.typeflag() {
                b'x' => pax.extend(&self.extension(&header, &mut extended)?, self.offset)?,
                b'g' => {
                    let text = self.extension(&header, &mut extended)?;
                    self.global.extend(&text, self.offset)?;
                    pax.extend(&text, self.offset)?;
                }
                b'L' => long_name = Some(until_nul(self.extension(&header, &mut extended)?)),
                b'K' => long_link = Some(until_nul(self.extension(&header, &mut extended)?)),
                // A volume label: a name for people.
                b'V' => self.skip(padded(header.size(self.offset)?))?,
                _ => {
                    self.count += 1;
                    if self.count > self.limits.entries {
                        let limit = self.limits.entries;
                        return Err(UnpackError::Limit {
                            what: "entries",
                            limit,
                        });
                    }
                    return self.entry(&header, pax, long_name, long_link).map(Some);
                }
            }
        }
        if extended > 0 {
            return Err(self.malformed("extended headers without an entry"));
        }
        Ok(None)
    }

    /// Hands all content of the current entry to `sink`, or `len` bytes of it.
    pub(crate) fn content(
        &mut self,
        mut len: u64,
        mut sink: impl FnMut(&[u8]) -> Result<(), UnpackError>,
    ) -> Result<(), UnpackError> {
        debug_assert!(len <= self.content);
        while len > 0 {
            let chunk = self.source.chunk()?;
            let n = chunk.len().min(usize::try_from(len).unwrap_or(usize::MAX));
            if n == 0 {
                return Err(self.truncated("a file's content"));
            }
            sink(&chunk[..n])?;
            self.step(n);
            len -= n as u64;
            self.content -= n as u64;
        }
        Ok(())
    }

    /// Bytes of content that the current entry has left.
    pub(crate) fn content_left(&self) -> u64 {
        self.content
    }

    /// The next header block; `None` at the end mark, and at an end without one.
    fn header(&mut self) -> Result<Option<Header>, UnpackError> {
        let mut block = [0; BLOCK];
        if !self.block(&mut block)? || block.iter().all(|&byte| byte == 0) {
            self.ended = true;
            return Ok(None);
        }
        let header = Header(block);
        if !header.checksum_fits() {
            return Err(self.malformed("a header's checksum is wrong"));
        }
        Ok(Some(header))
    }

    /// Fills `block`, or returns `false` when nothing at all is left.
    pub(super) fn block(&mut self, block: &mut [u8; BLOCK]) -> Result<bool, UnpackError> {
        let mut filled = 0;
        while filled < BLOCK {
            let chunk = self.source.chunk()?;
            let n = chunk.len().min(BLOCK - filled);
            if n == 0 {
                return if filled == 0 {
                    Ok(false)
                } else {
                    Err(self.truncated("a header"))
                };
            }
            block[filled..filled + n].copy_from_slice(&chunk[..n]);
            self.step(n);
            filled += n;
        }
        Ok(true)
    }

    /// One block of the current entry's content, for maps that stand in front of the data.
    pub(super) fn content_block(&mut self) -> Result<[u8; BLOCK], UnpackError> {
        let mut block = [0; BLOCK];
        if self.content < BLOCK as u64 || !self.block(&mut block)? {
            return Err(self.truncated("a sparse file's map"));
        }
        self.content -= BLOCK as u64;
        Ok(block)
    }

    /// The whole content of an extended header.
    fn extension(&mut self, header: &Header, total: &mut u64) -> Result<Vec<u8>, UnpackError> {
        let size = header.size(self.offset)?;
        *total = total.saturating_add(size).saturating_add(1);
        if *total > self.limits.header_bytes {
            let limit = self.limits.header_bytes;
            return Err(UnpackError::Limit {
                what: "bytes of headers for one entry",
                limit,
            });
        }
        self.content = size;
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        self.content(size, |chunk| {
            bytes.extend_from_slice(chunk);
            Ok(())
        })?;
        self.skip(padded(size) - size)?;
        Ok(bytes)
    }

    fn skip(&mut self, mut len: u64) -> Result<(), UnpackError> {
        while len > 0 {
            let n = self
                .source
                .chunk()?
                .len()
                .min(usize::try_from(len).unwrap_or(usize::MAX));
            if n == 0 {
                return Err(self.truncated("a file's content"));
            }
            self.step(n);
            len -= n as u64;
        }
        Ok(())
    }

    fn step(&mut self, n: usize) {
        self.source.consume(n);
        self.offset += n as u64;
    }

    pub(super) fn malformed(&self, problem: impl Into<String>) -> UnpackError {
        UnpackError::Malformed {
            offset: self.offset,
            problem: problem.into(),
        }
    }

    fn truncated(&self, inside: &str) -> UnpackError {
        UnpackError::Truncated {
            offset: self.offset,
            inside: inside.to_owned(),
        }
    }

    fn entry(
        &mut self,
        header: &Header,
        pax: Pax,
        long_name: Option<Vec<u8>>,
        long_link: Option<Vec<u8>>,
    ) -> Result<Entry, UnpackError> {
        let at = self.offset;
        let name = pax.path.or(long_name).unwrap_or_else(|| header.name());
        let name = if pax.sparse.name.is_empty() {
            name
        } else {
            pax.sparse.name.clone()
        };
        let target = pax.linkpath.or(long_link).unwrap_or_else(|| header.link());
        let bad = |what: &str, name: &[u8]| {
            let problem = format!("entry {:?} has an impossible {what}", shown(name));
            UnpackError::Malformed {
                offset: at,
                problem,
            }
        };
        let owner = |given: Option<u64>, field: &[u8], what: &str| {
            let number = given.or_else(|| number::parse_unsigned(field));
            // The kernel takes u32::MAX for "leave it as it is".
            let number = number.and_then(|number| u32::try_from(number).ok());
            number
                .filter(|&number| number != u32::MAX)
                .ok_or_else(|| bad(what, &name))
        };
        let typeflag = header.typeflag();
        let has_content = matches!(typeflag, 0 | b'0' | b'7' | b'S');
        let stored = match pax.size {
            _ if !has_content => 0,
            Some(size) => size,
            None => header.size(at)?,
        };
        let mut entry = Entry {
            kind: kind_of(header, &name, target, at)?,
            mode: number::parse_unsigned(header.field(100, 8))
                .and_then(|mode| u32::try_from(mode & 0o7777).ok())
                .ok_or_else(|| bad("mode", &name))?,
            uid: owner(pax.uid, header.field(108, 8), "owner")?,
            gid: owner(pax.gid, header.field(116, 8), "group")?,
            mtime: match pax.mtime {
                Some(mtime) => mtime,
                None => Mtime {
                    secs: number::parse(header.field(136, 12)).ok_or_else(|| bad("time", &name))?,
                    nanos: 0,
                },
            },
            name,
            stored,
            xattrs: pax.xattrs,
            offset: 0,
        };
        self.content = stored;
        self.padding = padded(stored) - stored;
        if let Some(map) = sparse::map_of(self, header, typeflag, &pax.sparse)? {
            entry.kind = Kind::Sparse(map);
        }
        entry.offset = self.offset;
        entry.stored = self.content;
        Ok(entry)
    }
}

fn kind_of(
    header: &Header,
    name: &[u8],
    target: Vec<u8>,
    offset: u64,
) -> Result<Kind, UnpackError> {
    let number = |start: usize, max: u32| {
        let number = number::parse_unsigned(header.field(start, 8));
        let number = number
            .and_then(|n| u32::try_from(n).ok())
            .filter(|&number| number <= max);
        let problem = format!("entry {:?} has an impossible device number", shown(name));
        number.ok_or(UnpackError::Malformed { offset, problem })
    };
    // What the kernel's dev_t has room for.
    let device = || -> Result<_, UnpackError> { Ok((number(329, 0xfff)?, number(337, 0xf_ffff)?)) };
    Ok(match header.typeflag() {
        0 if name.ends_with(b"/") => Kind::Directory,
        0 | b'0' | b'7' | b'S' => Kind::File,
        b'1' => Kind::HardLink { target },
        b'2' => Kind::Symlink { target },
        b'3' => device().map(|(major, minor)| Kind::CharDevice { major, minor })?,
        b'4' => device().map(|(major, minor)| Kind::BlockDevice { major, minor })?,
        b'5' => Kind::Directory,
        b'6' => Kind::Fifo,
        other => {
            let problem = format!("its type {:?} is unknown", char::from(other));
            return Err(UnpackError::refused(name, problem));
        }
    })
}

fn padded(size: u64) -> u64 {
    size.next_multiple_of(BLOCK as u64)
}
