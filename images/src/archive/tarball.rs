//! Writing tars: ustar headers, with PAX records for what does not fit.

use std::io::{self, Read, Write};

use crate::sys::Mtime;

const BLOCK: usize = 512;

/// What an entry is, besides a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Meta {
    pub(super) typeflag: u8,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: Mtime,
    pub(super) device: (u32, u32),
}

impl Meta {
    /// A file or directory (`0` or `5`) of root's, dated 1970.
    pub(super) fn plain(typeflag: u8, mode: u32) -> Self {
        Self {
            typeflag,
            mode,
            uid: 0,
            gid: 0,
            mtime: Mtime::default(),
            device: (0, 0),
        }
    }
}

/// A tar under construction.
pub(super) struct Tarball<W> {
    out: W,
}

impl<W: Write> Tarball<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out }
    }

    /// Writes the headers of an entry whose content of `size` bytes follows.
    pub(super) fn header(
        &mut self,
        name: &[u8],
        link: &[u8],
        size: u64,
        meta: &Meta,
        xattrs: &[(Vec<u8>, Vec<u8>)],
    ) -> io::Result<()> {
        let records = pax_records(name, link, size, meta, xattrs);
        if !records.is_empty() {
            let pax = Meta {
                typeflag: b'x',
                ..Meta::plain(b'x', 0o644)
            };
            let len = records.len() as u64;
            self.out
                .write_all(&block(b"PaxHeaders/entry", b"", len, &pax))?;
            self.out.write_all(&records)?;
            self.pad(len)?;
        }
        self.out.write_all(&block(name, link, size, meta))
    }

    /// An entry with its content; fails when `reader` yields another length than `size`.
    pub(super) fn file(
        &mut self,
        name: &[u8],
        size: u64,
        meta: &Meta,
        xattrs: &[(Vec<u8>, Vec<u8>)],
        reader: impl Read,
    ) -> io::Result<()> {
        self.header(name, b"", size, meta, xattrs)?;
        let copied = io::copy(&mut reader.take(size), &mut self.out)?;
        if copied != size {
            let name = crate::sys::lossy(name);
            return Err(io::Error::other(format!(
                "{name} became shorter while it was read"
            )));
        }
        self.pad(size)
    }

    fn pad(&mut self, len: u64) -> io::Result<()> {
        let pad = usize::try_from(len.next_multiple_of(BLOCK as u64) - len).unwrap_or(0);
        self.out.write_all(&[0; BLOCK][..pad])
    }

    /// The end mark.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        self.out.flush()?;
        Ok(self.out)
    }
}

const MAX_OCTAL_8: u64 = 0o777_7777;
const MAX_OCTAL_12: u64 = 0o777_7777_7777;

fn pax_records(
    name: &[u8],
    link: &[u8],
    size: u64,
    meta: &Meta,
    xattrs: &[(Vec<u8>, Vec<u8>)],
) -> Vec<u8> {
    let mut records = Vec::new();
    if name.len() > 100 {
        record(&mut records, b"path", name);
    }
    if link.len() > 100 {
        record(&mut records, b"linkpath", link);
    }
    if size > MAX_OCTAL_12 {
        record(&mut records, b"size", size.to_string().as_bytes());
    }
    for (key, id) in [(b"uid", meta.uid), (b"gid", meta.gid)] {
        if u64::from(id) > MAX_OCTAL_8 {
            record(&mut records, key, id.to_string().as_bytes());
        }
    }
    let Mtime { secs, nanos } = meta.mtime;
    if nanos != 0 || !u64::try_from(secs).is_ok_and(|secs| secs <= MAX_OCTAL_12) {
        record(&mut records, b"mtime", seconds(secs, nanos).as_bytes());
    }
    for (key, value) in xattrs {
        record(&mut records, &[b"SCHILY.xattr.", &key[..]].concat(), value);
    }
    records
}

/// `-1` s and 750 ms forward is `-0.25`.
fn seconds(secs: i64, nanos: u32) -> String {
    let (sign, secs, nanos) = match (secs < 0, nanos) {
        (true, 1..) => ("-", (secs + 1).unsigned_abs(), 1_000_000_000 - nanos),
        (true, 0) => ("-", secs.unsigned_abs(), 0),
        (false, _) => ("", secs.unsigned_abs(), nanos),
    };
    if nanos == 0 {
        return format!("{sign}{secs}");
    }
    let fraction = format!("{nanos:09}");
    format!("{sign}{secs}.{}", fraction.trim_end_matches('0'))
}

/// `LENGTH key=value\n`, where LENGTH counts itself.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    while len != rest + len.to_string().len() {
        len = rest + len.to_string().len();
    }
    records.extend_from_slice(format!("{len} ").as_bytes());
    for part in [key, b"=", value, b"\n"] {
        records.extend_from_slice(part);
    }
}

fn block(name: &[u8], link: &[u8], size: u64, meta: &Meta) -> [u8; BLOCK] {
    let mut block = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8], max: usize| {
        let len = bytes.len().min(max);
        block[at..at + len].copy_from_slice(&bytes[..len]);
    };
    // What does not fit here stands in a PAX record, which readers prefer.
    let octal = |value: u64, max: u64, width: usize| {
        let value = if value <= max { value } else { 0 };
        format!("{value:0width$o}\0")
    };
    put(0, name, 100);
    put(100, octal(meta.mode.into(), MAX_OCTAL_8, 7).as_bytes(), 8);
    put(108, octal(meta.uid.into(), MAX_OCTAL_8, 7).as_bytes(), 8);
    put(116, octal(meta.gid.into(), MAX_OCTAL_8, 7).as_bytes(), 8);
    put(124, octal(size, MAX_OCTAL_12, 11).as_bytes(), 12);
    let mtime = u64::try_from(meta.mtime.secs).unwrap_or(0);
    put(136, octal(mtime, MAX_OCTAL_12, 11).as_bytes(), 12);
    put(148, b"        ", 8);
    put(156, &[meta.typeflag], 1);
    put(157, link, 100);
    put(257, b"ustar\x0000", 8);
    put(
        329,
        octal(meta.device.0.into(), MAX_OCTAL_8, 7).as_bytes(),
        8,
    );
    put(
        337,
        octal(meta.device.1.into(), MAX_OCTAL_8, 7).as_bytes(),
        8,
    );
    let sum: u64 = block.iter().map(|&byte| u64::from(byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_its_own_length() {
        for len in [1, 2, 90, 91, 92, 93, 94, 95, 990, 991, 992, 993, 994] {
            let mut out = Vec::new();
            record(&mut out, b"k", &vec![b'v'; len]);
            let text = String::from_utf8(out).unwrap();
            let said: usize = text.split(' ').next().unwrap().parse().unwrap();
            assert_eq!(said, text.len());
        }
    }

    #[test]
    fn times_as_decimals() {
        assert_eq!(seconds(-1, 750_000_000), "-0.25");
        assert_eq!(seconds(-3, 0), "-3");
        assert_eq!(seconds(12, 1), "12.000000001");
    }
}
