//! The wire format: tags, varints, lengths (<https://protobuf.dev/programming-guides/encoding/>).
use super::ProtoError;

/// A value as it stands on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Fixed32(u32),
    Bytes(&'a [u8]),
}

/// Reads the fields of one message.
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
    /// What is being read, for messages.
    what: &'a str,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8], what: &'a str) -> Reader<'a> {
        Reader { rest: bytes, what }
    }

    /// The next field; none at the end. Groups are of another age and refused.
    pub(crate) fn next(&mut self) -> Result<Option<(u32, Wire<'a>)>, ProtoError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let tag = u32::try_from(key >> 3).map_err(|_| self.malformed("a tag out of range"))?;
        if tag == 0 {
            return Err(self.malformed("a field with the number 0"));
        }
        let value = match key & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => Wire::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = self.varint()?;
                let length = usize::try_from(length).map_err(|_| self.truncated())?;
                Wire::Bytes(self.take(length)?)
            }
            5 => Wire::Fixed32(u32::from_le_bytes(self.array()?)),
            _ => return Err(self.malformed("a wire type that is not in use")),
        };
        Ok(Some((tag, value)))
    }

    /// The next number of a packed list; none at the end.
    pub(super) fn packed(&mut self) -> Result<Option<u64>, ProtoError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        self.varint().map(Some)
    }

    pub(super) fn text(&self, bytes: &'a [u8]) -> Result<&'a str, ProtoError> {
        std::str::from_utf8(bytes).map_err(|_| self.malformed("text that is not UTF-8"))
    }

    pub(super) fn malformed(&self, problem: &'static str) -> ProtoError {
        ProtoError::Malformed {
            place: self.what.to_owned(),
            problem,
        }
    }

    fn truncated(&self) -> ProtoError {
        ProtoError::Truncated(self.what.to_owned())
    }

    fn varint(&mut self) -> Result<u64, ProtoError> {
        let mut value = 0_u64;
        for shift in (0..70).step_by(7) {
            let [byte] = self.array()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(self.malformed("a number of more than 64 bits"))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ProtoError> {
        let (head, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or_else(|| self.truncated())?;
        self.rest = rest;
        Ok(*head)
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], ProtoError> {
        let (head, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or_else(|| self.truncated())?;
        self.rest = rest;
        Ok(head)
    }
}

pub(crate) fn put_varint(out: &mut Vec<u8>, tag: u32, value: u64) {
    put(out, u64::from(tag) << 3);
    put(out, value);
}

pub(crate) fn put_fixed64(out: &mut Vec<u8>, tag: u32, value: u64) {
    put(out, u64::from(tag) << 3 | 1);
    out.extend_from_slice(&value.to_le_bytes());
}

pub(crate) fn put_bytes(out: &mut Vec<u8>, tag: u32, value: &[u8]) {
    put(out, u64::from(tag) << 3 | 2);
    put(out, value.len() as u64);
    out.extend_from_slice(value);
}

fn put(out: &mut Vec<u8>, mut value: u64) {
    while value > 0x7f {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push((value & 0x7f) as u8);
}
