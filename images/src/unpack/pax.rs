//! PAX extended headers: `LENGTH key=value\n`, again and again.

use super::UnpackError;
use crate::sys::Mtime;

/// What the extended headers of one entry say. `None` leaves the plain header's word standing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) linkpath: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u64>,
    pub(super) gid: Option<u64>,
    pub(super) mtime: Option<Mtime>,
    pub(super) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) sparse: PaxSparse,
}

/// The `GNU.sparse.*` keys, of all three PAX formats.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct PaxSparse {
    pub(super) major: u64,
    pub(super) name: Vec<u8>,
    pub(super) real_size: Option<u64>,
    /// Offset and length of each piece of data, where the header itself has them (0.0 and 0.1).
    pub(super) pieces: Vec<(u64, u64)>,
    /// Format 0.0's offset whose length is still to come.
    offset: Option<u64>,
}

impl Pax {
    /// Applies the records in `text`; later ones win.
    pub(super) fn extend(&mut self, text: &[u8], offset: u64) -> Result<(), UnpackError> {
        let malformed = |problem: String| UnpackError::Malformed { offset, problem };
        let mut rest = text;
        while !rest.is_empty() {
            let (record, after) = next_record(rest)
                .ok_or_else(|| malformed("a record of a PAX header is damaged".to_owned()))?;
            rest = after;
            let (key, value) = record;
            self.set(key, value).ok_or_else(|| {
                let key = String::from_utf8_lossy(key);
                malformed(format!("the PAX record {key:?} has an impossible value"))
            })?;
        }
        Ok(())
    }

    /// `None` when the value makes no sense.
    fn set(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
            return self.set_xattr(name, value);
        }
        if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
            return self.sparse.set(key, value);
        }
        // An empty value takes a global header's word back.
        let given = !value.is_empty();
        match key {
            b"path" => self.path = given.then(|| value.to_vec()),
            b"linkpath" => self.linkpath = given.then(|| value.to_vec()),
            b"size" if given => self.size = Some(decimal(value).filter(|&size| size < 1 << 56)?),
            b"uid" if given => self.uid = Some(decimal(value)?),
            b"gid" if given => self.gid = Some(decimal(value)?),
            b"mtime" if given => self.mtime = Some(time(value)?),
            b"size" => self.size = None,
            b"uid" => self.uid = None,
            b"gid" => self.gid = None,
            b"mtime" => self.mtime = None,
            // uname, gname, atime, ctime, comment, hdrcharset, vendors' own: not ours to keep.
            _ => {}
        }
        Some(())
    }

    fn set_xattr(&mut self, name: &[u8], value: &[u8]) -> Option<()> {
        if name.is_empty() || name.contains(&0) || name.len() > 255 || value.len() > 64 << 10 {
            return None;
        }
        self.xattrs.retain(|(other, _)| other != name);
        self.xattrs.push((name.to_vec(), value.to_vec()));
        Some(())
    }
}

impl PaxSparse {
    fn set(&mut self, key: &[u8], value: &[u8]) -> Option<()> {
        match key {
            b"major" => self.major = decimal(value)?,
            b"name" => self.name = value.to_vec(),
            b"size" | b"realsize" => self.real_size = Some(decimal(value)?),
            b"offset" => self.offset = Some(decimal(value)?),
            b"numbytes" => self.pieces.push((self.offset.take()?, decimal(value)?)),
            b"map" => {
                let numbers: Option<Vec<u64>> =
                    value.split(|&byte| byte == b',').map(decimal).collect();
                let (pairs, odd) = numbers.as_deref()?.as_chunks::<2>();
                if !odd.is_empty() {
                    return None;
                }
                self.pieces = pairs.iter().map(|&[offset, len]| (offset, len)).collect();
            }
            _ => {}
        }
        Some(())
    }
}

type Record<'a> = (&'a [u8], &'a [u8]);

/// The record at the start of `text`, and what follows it.
fn next_record(text: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let space = text.iter().position(|&byte| byte == b' ')?;
    let len = usize::try_from(decimal(&text[..space])?).ok()?;
    if len <= space + 1 || len > text.len() {
        return None;
    }
    let record = text[space + 1..len].strip_suffix(b"\n")?;
    let equals = record.iter().position(|&byte| byte == b'=')?;
    if equals == 0 {
        return None;
    }
    Some(((&record[..equals], &record[equals + 1..]), &text[len..]))
}

pub(super) fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 20 {
        return None;
    }
    digits.iter().try_fold(0_u64, |sum, byte| match byte {
        b'0'..=b'9' => sum.checked_mul(10)?.checked_add(u64::from(byte - b'0')),
        _ => None,
    })
}

/// `[-]SECONDS[.FRACTION]`, cut after nanoseconds.
fn time(text: &[u8]) -> Option<Mtime> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let mut parts = text.splitn(2, |&byte| byte == b'.');
    let whole = i64::try_from(decimal(parts.next()?)?).ok()?;
    let fraction = parts.next().unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digits = fraction
        .iter()
        .map(|byte| u32::from(byte - b'0'))
        .chain(std::iter::repeat(0));
    let nanos = digits.take(9).fold(0, |sum, digit| sum * 10 + digit);
    Some(match (negative, nanos) {
        (false, _) => Mtime { secs: whole, nanos },
        (true, 0) => Mtime {
            secs: -whole,
            nanos,
        },
        // The kernel counts nanoseconds forward, also before 1970.
        (true, _) => Mtime {
            secs: -whole - 1,
            nanos: 1_000_000_000 - nanos,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pax(text: &[u8]) -> Result<Pax, UnpackError> {
        let mut pax = Pax::default();
        pax.extend(text, 0).map(|()| pax)
    }

    #[test]
    fn records_are_read() {
        let short = b"14 path=a/b\xff/c\n30 mtime=1350244992.023960108\n";
        assert!(
            pax(short).is_err(),
            "the first length is one short of its newline"
        );
        let read =
            pax(b"15 path=a/b\xff/c\n30 mtime=1350244992.023960108\n13 uid=10000\n").unwrap();
        assert_eq!(read.path.as_deref(), Some(&b"a/b\xff/c"[..]));
        assert_eq!(
            read.mtime,
            Some(Mtime {
                secs: 1_350_244_992,
                nanos: 23_960_108
            })
        );
        assert_eq!(read.uid, Some(10_000));
    }

    #[test]
    fn values_may_hold_anything() {
        let read = pax(b"36 SCHILY.xattr.user.x=a\n=b\0 \xffmore.\n").unwrap();
        assert_eq!(
            read.xattrs,
            [(b"user.x".to_vec(), b"a\n=b\0 \xffmore.".to_vec())]
        );
    }

    #[test]
    fn damaged_records_are_refused() {
        for bad in [
            &b"x path=a\n"[..],
            b"9 path=a",
            b"99 path=a\n",
            b"3 a=b\n",
            b"0 a=b\n",
            b"2 \n",
            b"6 =ab\n",
            b"8 patha\n",
            b"99999999999999999999999 path=a\n",
            b"-9 path=a\n",
            b"11 uid=-10\n",
            b"11 uid=1x0\n",
            b"11 mtime=.\n",
            b"14 mtime=1.-1\n",
            b"27 GNU.sparse.numbytes=10\n",
            b"22 GNU.sparse.map=1,2,3\n",
        ] {
            assert!(
                pax(bad).is_err(),
                "{:?} was taken",
                String::from_utf8_lossy(bad)
            );
        }
    }

    #[test]
    fn times_before_1970() {
        assert_eq!(
            time(b"-1.25"),
            Some(Mtime {
                secs: -2,
                nanos: 750_000_000
            })
        );
        assert_eq!(time(b"-3"), Some(Mtime { secs: -3, nanos: 0 }));
        assert_eq!(time(b"0.0000000019"), Some(Mtime { secs: 0, nanos: 1 }));
    }
}
