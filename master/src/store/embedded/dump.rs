//! One moment of the store as a stream of bytes, and back.
//!
//! ```text
//! "rkube-store-backup 1\n"
//! for each row:  table (1 current, 2 leases, 3 held), length of key, length of value (4 bytes each), key, value
//! at the end:    0, revision, last lease, number of rows (8 bytes each), sha256 of all before
//! ```
//! Numbers are little-endian; rows are those of the file, with their own checksums. The history is not in it: after a restore
//! watches begin anew.
use super::file::{Fault, File, Snapshot};
use super::format::{CURRENT, HELD, LEASES, META, STATE, State, decode_entry, decode_term};
use crate::store::{Revision, StoreError};
use redb::ReadableTable;
use ring::digest::{Context, SHA256};
use std::io::{self, Read, Write};

/// How a backup begins.
const HEAD: &[u8] = b"rkube-store-backup 1\n";
/// The longest key or value of a row.
const LONGEST: u32 = 64 << 20;
/// How many bytes are written in one transaction of a restore.
const BATCH: usize = 8 << 20;
/// How far a restored store is ahead of its backup: what was written after that and is lost now had lower revisions, so
/// nobody takes an old state for a new one.
const AHEAD: Revision = 1_000_000;

/// Why a stream was not written, or not taken.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// The stream broke.
    #[error("the backup could not be read or written")]
    Io(#[source] io::Error),
    /// The store did.
    #[error("the store could not be read or written")]
    Store(#[source] StoreError),
    /// It is no backup.
    #[error("it is no backup of rkube-master, or one of a newer program")]
    Foreign,
    /// It is not whole.
    #[error("the backup is damaged: {0}")]
    Damaged(&'static str),
}

impl From<Fault> for DumpError {
    fn from(fault: Fault) -> Self {
        DumpError::Store(fault.into())
    }
}
impl From<redb::StorageError> for DumpError {
    fn from(error: redb::StorageError) -> Self {
        Fault::from(error).into()
    }
}

/// What is in a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The revision it was taken at.
    pub revision: Revision,
    /// How many keys it has.
    pub keys: u64,
    /// How many bytes it takes.
    pub bytes: u64,
}

/// Counts and sums up what passes.
struct Summed<T> {
    inner: T,
    sum: Context,
    bytes: u64,
}

impl<T> Summed<T> {
    fn new(inner: T) -> Self {
        Summed {
            inner,
            sum: Context::new(&SHA256),
            bytes: 0,
        }
    }
    fn pass(&mut self, bytes: &[u8]) {
        self.sum.update(bytes);
        self.bytes += bytes.len() as u64;
    }
}

impl<T: Write> Summed<T> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), DumpError> {
        self.pass(bytes);
        self.inner.write_all(bytes).map_err(DumpError::Io)
    }
}

impl<T: Read> Summed<T> {
    fn read(&mut self, length: usize) -> Result<Vec<u8>, DumpError> {
        let mut bytes = Vec::new();
        let mut part = (&mut self.inner).take(length as u64);
        part.read_to_end(&mut bytes).map_err(DumpError::Io)?;
        if bytes.len() < length {
            return Err(DumpError::Damaged("it ends too early"));
        }
        self.pass(&bytes);
        Ok(bytes)
    }
    fn u32(&mut self) -> Result<u32, DumpError> {
        Ok(little(&self.read(4)?).try_into().unwrap_or(u32::MAX))
    }
    fn u64(&mut self) -> Result<u64, DumpError> {
        Ok(little(&self.read(8)?))
    }
}

/// A number, its lowest byte first.
fn little(bytes: &[u8]) -> u64 {
    let up = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
    bytes.iter().rev().fold(0, up)
}

/// Writes one moment; every record is checked on its way.
pub(super) fn write(snapshot: &Snapshot, out: impl Write) -> Result<Summary, DumpError> {
    let mut out = Summed::new(out);
    out.write(HEAD)?;
    let (mut rows, mut keys) = (0u64, 0u64);
    for (number, table) in [(1u8, CURRENT), (2, LEASES), (3, HELD)] {
        for row in snapshot.table(table)?.iter()? {
            let (key, value) = row?;
            let (key, value) = (key.value(), value.value());
            check(number, key, value)?;
            out.write(&[number])?;
            for length in [key.len(), value.len()] {
                let length =
                    u32::try_from(length).map_err(|_| DumpError::Damaged("a row is too long"))?;
                out.write(&length.to_le_bytes())?;
            }
            out.write(key)?;
            out.write(value)?;
            rows += 1;
            keys += u64::from(number == 1);
        }
    }
    out.write(&[0])?;
    for end in [
        snapshot.state.revision,
        snapshot.state.lease.cast_unsigned(),
        rows,
    ] {
        out.write(&end.to_le_bytes())?;
    }
    let sum = out.sum.clone().finish();
    out.write(sum.as_ref())?;
    out.inner.flush().map_err(DumpError::Io)?;
    Ok(Summary {
        revision: snapshot.state.revision,
        keys,
        bytes: out.bytes,
    })
}

fn check(table: u8, key: &[u8], value: &[u8]) -> Result<(), DumpError> {
    match table {
        1 => drop(decode_entry(key, value).map_err(Fault::from)?),
        2 => drop(decode_term(key, value).map_err(Fault::from)?),
        _ => {}
    }
    Ok(())
}

/// A row: its table, key and value.
type Row = (u8, Vec<u8>, Vec<u8>);

/// Reads a backup to its end; what it tells of may be believed only if that goes well.
pub(super) fn read(
    from: impl Read,
    mut each: impl FnMut(Row) -> Result<(), DumpError>,
) -> Result<(Summary, State), DumpError> {
    let mut from = Summed::new(from);
    match from.read(HEAD.len()) {
        Ok(head) if head == HEAD => {}
        Ok(_) | Err(DumpError::Damaged(_)) => return Err(DumpError::Foreign),
        Err(error) => return Err(error),
    }
    let (mut rows, mut keys) = (0u64, 0u64);
    loop {
        let table = from.read(1)?[0];
        if table == 0 {
            break;
        }
        let (key, value) = (from.u32()?, from.u32()?);
        if table > 3 || key > LONGEST || value > LONGEST {
            return Err(DumpError::Damaged("a row is of no known kind"));
        }
        let row = (table, from.read(key as usize)?, from.read(value as usize)?);
        check(table, &row.1, &row.2)?;
        rows += 1;
        keys += u64::from(table == 1);
        each(row)?;
    }
    let (revision, lease, counted) = (from.u64()?, from.u64()?.cast_signed(), from.u64()?);
    let sum = from.sum.clone().finish();
    if from.read(sum.as_ref().len())? != sum.as_ref() || counted != rows {
        return Err(DumpError::Damaged("its checksum is another one"));
    }
    let summary = Summary {
        revision,
        keys,
        bytes: from.bytes,
    };
    let now = revision.saturating_add(AHEAD);
    let state = State {
        revision: now,
        oldest: now,
        trimmed: now,
        log_bytes: 0,
        lease,
    };
    Ok((summary, state))
}

/// Puts the rows of a backup into an empty file.
pub(super) fn load(from: impl Read, into: &File) -> Result<Summary, DumpError> {
    let (mut rows, mut bytes) = (Vec::new(), 0);
    let (summary, state) = read(from, |row| {
        bytes += row.1.len() + row.2.len();
        rows.push(row);
        if bytes > BATCH {
            store(into, &rows, None)?;
            (rows, bytes) = (Vec::new(), 0);
        }
        Ok(())
    })?;
    store(into, &rows, Some(state))?;
    Ok(summary)
}

fn store(into: &File, rows: &[Row], state: Option<State>) -> Result<(), Fault> {
    into.with(|db| {
        let mut write = db.begin_write()?;
        write.set_quick_repair(true);
        for (number, table) in [(1u8, CURRENT), (2, LEASES), (3, HELD)] {
            let mut table = write.open_table(table)?;
            for (_, key, value) in rows.iter().filter(|(of, ..)| *of == number) {
                table.insert(key.as_slice(), value.as_slice())?;
            }
        }
        if let Some(state) = state {
            let mut meta = write.open_table(META)?;
            meta.insert(STATE, state.encode().as_slice())?;
        }
        Ok(write.commit()?)
    })
}
