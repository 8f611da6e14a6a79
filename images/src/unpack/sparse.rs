//! GNU sparse files: the old format in header blocks, and PAX 0.0, 0.1 and 1.0.

use super::entries::Entries;
use super::header::{BLOCK, Header};
use super::pax::{PaxSparse, decimal};
use super::stream::Source;
use super::{UnpackError, number};

/// Pieces of data that a map may have: a map in memory is 16 bytes for each.
const MAX_PIECES: u64 = 1 << 18;

/// Where the stored bytes of a sparse file belong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SparseMap {
    /// The file's length, holes included.
    pub(crate) len: u64,
    /// Offset and length of each piece, ascending; the lengths add up to what is stored.
    pub(crate) pieces: Vec<(u64, u64)>,
}

/// The map of the entry under `header`, if it is sparse. Leaves only the data as its content.
pub(super) fn map_of<S: Source>(
    entries: &mut Entries<'_, S>,
    header: &Header,
    typeflag: u8,
    pax: &PaxSparse,
) -> Result<Option<SparseMap>, UnpackError> {
    let map = if typeflag == b'S' {
        old_gnu(entries, header)?
    } else if let (1, Some(len)) = (pax.major, pax.real_size) {
        SparseMap {
            len,
            pieces: map_in_content(entries)?,
        }
    } else if let (0, Some(len)) = (pax.major, pax.real_size) {
        SparseMap {
            len,
            pieces: pax.pieces.clone(),
        }
    } else if pax.major == 0 {
        return Ok(None);
    } else {
        return Err(entries.malformed("a sparse file of an unknown format"));
    };
    check(&map, entries.content_left()).map_err(|problem| entries.malformed(problem))?;
    Ok(Some(map))
}

fn check(map: &SparseMap, stored: u64) -> Result<(), &'static str> {
    let (mut end, mut sum) = (0, 0_u64);
    for &(offset, len) in &map.pieces {
        let after = offset.checked_add(len).filter(|&after| after <= map.len);
        let (true, Some(after)) = (offset >= end, after) else {
            return Err("a sparse file's map is out of order or beyond its end");
        };
        end = after;
        sum += len;
    }
    if sum == stored {
        Ok(())
    } else {
        Err("a sparse file's map does not fit its content")
    }
}

/// Four pieces in the header, then blocks of 21 while the flag says that more follow.
fn old_gnu<S: Source>(
    entries: &mut Entries<'_, S>,
    header: &Header,
) -> Result<SparseMap, UnpackError> {
    let bad = "a sparse file's map has an impossible number";
    let mut pieces = Vec::new();
    let mut take = |field: &[u8]| -> Option<()> {
        for piece in field.as_chunks::<24>().0 {
            if piece[0] == 0 {
                break;
            }
            let (offset, len) = piece.split_at(12);
            pieces.push((
                number::parse_unsigned(offset)?,
                number::parse_unsigned(len)?,
            ));
        }
        Some(())
    };
    take(header.field(386, 96)).ok_or_else(|| entries.malformed(bad))?;
    let len = number::parse_unsigned(header.field(483, 12));
    let len = len
        .filter(|&len| len < 1 << 56)
        .ok_or_else(|| entries.malformed(bad))?;
    let mut more = header.field(482, 1)[0] != 0;
    let mut blocks = 0;
    while more {
        let mut block = [0; BLOCK];
        blocks += 21;
        if blocks > MAX_PIECES {
            return Err(too_many());
        }
        if !entries.block(&mut block)? {
            return Err(entries.malformed("a sparse file's map is cut off"));
        }
        take(&block[..504]).ok_or_else(|| entries.malformed(bad))?;
        more = block[504] != 0;
    }
    Ok(SparseMap { len, pieces })
}

/// Format 1.0: decimal numbers, a line each, padded to a block: how many, then offset and length.
fn map_in_content<S: Source>(entries: &mut Entries<'_, S>) -> Result<Vec<(u64, u64)>, UnpackError> {
    let mut text: Vec<u8> = Vec::new();
    let mut position = 0;
    let mut number = |entries: &mut Entries<'_, S>| loop {
        if let Some(len) = text[position..].iter().position(|&byte| byte == b'\n') {
            let found = decimal(&text[position..position + len]);
            position += len + 1;
            return found.ok_or_else(|| entries.malformed("a sparse file's map is no number"));
        }
        text.extend_from_slice(&entries.content_block()?);
    };
    let count = number(entries)?;
    if count > MAX_PIECES {
        return Err(too_many());
    }
    (0..count)
        .map(|_| Ok((number(entries)?, number(entries)?)))
        .collect()
}

fn too_many() -> UnpackError {
    UnpackError::Limit {
        what: "pieces in one sparse file",
        limit: MAX_PIECES,
    }
}
