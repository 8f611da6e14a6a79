//! The start record: everything a new container's process must know, in one flat buffer.
//!
//! ```text
//! 0        header: 32-bit words, see `header`        tables: rows of words           strings, NUL-terminated
//! +--------------------------------------------------+-------------------------------+----------------------+
//! ```
//! All words are little-endian. A string is a pair of words (offset, length), a table a pair (offset, rows), and a
//! descriptor the index of one of those that travel with the record. Built by `rkube_runtime::record`, read here
//! in place; [`Record::parse`] checks every offset, string and descriptor before anything is done.

pub mod layout;

use core::ffi::CStr;
use layout::{LONG, Table, header};

/// The first word.
pub const MAGIC: u32 = u32::from_le_bytes(*b"rkst");
/// The only version so far.
pub const VERSION: u32 = 1;
/// "No such descriptor", "no such value".
pub const NONE: u32 = u32::MAX;
/// No record is longer.
pub const MAX_LEN: usize = 1 << 20;
/// No record comes with more descriptors: what one `SCM_RIGHTS` message carries.
pub const MAX_FDS: usize = 250;

/// Why a buffer is not a start record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// Too short, too long, or of another length than it says.
    Length,
    /// Not a start record, or of a version that we do not know.
    Version,
    /// The table at this header word leaves the record.
    Table(usize),
    /// The string at this byte offset leaves the record or is not terminated.
    Text(usize),
    /// The descriptor at this byte offset is not among those given.
    Descriptor(usize),
}

/// A checked start record.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    bytes: &'a [u8],
}

/// One row of a table.
#[derive(Debug, Clone, Copy)]
pub struct Row<'a> {
    record: Record<'a>,
    at: usize,
}

impl<'a> Record<'a> {
    /// Checks a buffer that came with `fds` descriptors.
    pub fn parse(bytes: &'a [u8], fds: usize) -> Result<Self, Malformed> {
        let record = Self { bytes };
        let length = bytes.len();
        if !(header::WORDS * 4..=MAX_LEN).contains(&length)
            || record.field(header::LENGTH) as usize != length
        {
            return Err(Malformed::Length);
        }
        if record.field(header::MAGIC) != MAGIC || record.field(header::VERSION) != VERSION {
            return Err(Malformed::Version);
        }
        for field in header::TEXTS {
            record.check_text(field * 4)?;
        }
        for field in header::FDS {
            record.check_fd(field * 4, fds)?;
        }
        for table in layout::TABLES {
            record.check_table(table, fds)?;
        }
        let (at, len) = record.span(header::SECCOMP * 4);
        if at.checked_add(len).is_none_or(|end| end > length) {
            return Err(Malformed::Table(header::SECCOMP));
        }
        Ok(record)
    }

    fn check_table(&self, table: &Table, fds: usize) -> Result<(), Malformed> {
        let (at, rows) = self.span(table.field * 4);
        let end = rows
            .checked_mul(table.words * 4)
            .and_then(|len| len.checked_add(at));
        if end.is_none_or(|end| end > self.bytes.len()) {
            return Err(Malformed::Table(table.field));
        }
        for row in self.rows(table) {
            table
                .texts
                .iter()
                .try_for_each(|word| self.check_text(row.at + word * 4))?;
            table
                .fds
                .iter()
                .try_for_each(|word| self.check_fd(row.at + word * 4, fds))?;
        }
        Ok(())
    }

    fn check_text(&self, at: usize) -> Result<(), Malformed> {
        let (start, len) = self.span(at);
        if (start, len) == (0, 0) {
            return Ok(());
        }
        self.text_in(start, len)
            .map(drop)
            .ok_or(Malformed::Text(at))
    }

    fn check_fd(&self, at: usize, fds: usize) -> Result<(), Malformed> {
        let index = self.word(at);
        if index == NONE || (index as usize) < fds {
            Ok(())
        } else {
            Err(Malformed::Descriptor(at))
        }
    }

    fn word(&self, at: usize) -> u32 {
        match self.bytes.get(at..).and_then(<[u8]>::first_chunk) {
            Some(bytes) => u32::from_le_bytes(*bytes),
            None => 0,
        }
    }

    fn span(&self, at: usize) -> (usize, usize) {
        (self.word(at) as usize, self.word(at + 4) as usize)
    }

    fn text_in(&self, start: usize, len: usize) -> Option<&'a CStr> {
        let end = start.checked_add(len)?.checked_add(1)?;
        CStr::from_bytes_with_nul(self.bytes.get(start..end)?).ok()
    }

    /// A header word, by its constant in [`header`].
    #[must_use]
    pub fn field(&self, field: usize) -> u32 {
        self.word(field * 4)
    }

    /// A header word that may be absent: a value or a descriptor's index.
    #[must_use]
    pub fn optional(&self, field: usize) -> Option<u32> {
        Some(self.field(field)).filter(|&word| word != NONE)
    }

    /// A 64-bit header field.
    #[must_use]
    pub fn long(&self, field: usize) -> u64 {
        u64::from(self.field(field)) | u64::from(self.field(field + 1)) << LONG
    }

    /// A header string; empty if absent.
    #[must_use]
    pub fn text(&self, field: usize) -> &'a CStr {
        let (start, len) = self.span(field * 4);
        self.text_in(start, len).unwrap_or_default()
    }

    /// Whether all bits of `flag`, one of [`layout::flag`], are set.
    #[must_use]
    pub fn has(&self, flag: u32) -> bool {
        self.field(header::FLAGS) & flag == flag
    }

    /// The seccomp program: an array of `struct sock_filter`, empty if there is none.
    #[must_use]
    pub fn filter(&self) -> &'a [u8] {
        let (start, len) = self.span(header::SECCOMP * 4);
        self.bytes
            .get(start..)
            .and_then(|rest| rest.get(..len))
            .unwrap_or_default()
    }

    /// The rows of a table, one of those in [`layout`].
    pub fn rows(self, table: &Table) -> impl ExactSizeIterator<Item = Row<'a>> + use<'a> {
        let (at, rows) = self.span(table.field * 4);
        let stride = table.words * 4;
        (0..rows).map(move |index| Row {
            record: self,
            at: at + index * stride,
        })
    }

    /// How many rows a table has.
    #[must_use]
    pub fn count(&self, table: &Table) -> usize {
        self.span(table.field * 4).1
    }

    /// Row `index` of a table.
    #[must_use]
    pub fn row(&self, table: &Table, index: usize) -> Option<Row<'a>> {
        self.rows(table).nth(index)
    }

    /// Whether the process wants a terminal.
    #[must_use]
    pub fn terminal(&self) -> bool {
        self.has(layout::flag::TERMINAL)
    }
}

impl<'a> Row<'a> {
    /// A word of the row.
    #[must_use]
    pub fn word(&self, index: usize) -> u32 {
        self.record.word(self.at + index * 4)
    }

    /// A word that may be absent.
    #[must_use]
    pub fn optional(&self, index: usize) -> Option<u32> {
        Some(self.word(index)).filter(|&word| word != NONE)
    }

    /// Two words as one number.
    #[must_use]
    pub fn long(&self, index: usize) -> u64 {
        u64::from(self.word(index)) | u64::from(self.word(index + 1)) << LONG
    }

    /// The string whose pair of words begins at `index`; empty if absent.
    #[must_use]
    pub fn text(&self, index: usize) -> &'a CStr {
        let (start, len) = self.record.span(self.at + index * 4);
        self.record.text_in(start, len).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
