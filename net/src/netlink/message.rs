//! The netlink wire format: headers and attributes, written and read without unsafe code.
//!
//! All numbers are in host order; everything starts on a multiple of four bytes.

use super::HEADER;

/// Marks an attribute that holds attributes.
const NESTED: u16 = 0x8000;
/// The bits of an attribute's type that are its type.
const TYPE: u16 = 0x3fff;

/// A request being written: `nlmsghdr`, the family's own header, attributes.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// Starts a request of type `kind` with the family's header.
    pub(crate) fn new(kind: u16, flags: u16, header: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        bytes.extend_from_slice(header);
        let mut message = Self { bytes };
        message.pad();
        message
    }

    /// Adds an attribute.
    pub(crate) fn attr(mut self, kind: u16, payload: &[u8]) -> Self {
        let start = self.open(kind);
        self.bytes.extend_from_slice(payload);
        self.close(start);
        self
    }

    /// Adds an attribute of 32 bits.
    pub(crate) fn u32(self, kind: u16, value: u32) -> Self {
        self.attr(kind, &value.to_ne_bytes())
    }

    /// Adds a text with the NUL that the kernel expects.
    pub(crate) fn text(self, kind: u16, text: &str) -> Self {
        let mut payload = text.as_bytes().to_vec();
        payload.push(0);
        self.attr(kind, &payload)
    }

    /// Adds an attribute that holds what `fill` adds.
    pub(crate) fn nest(mut self, kind: u16, fill: impl FnOnce(Self) -> Self) -> Self {
        let start = self.open(kind | NESTED);
        self = fill(self);
        self.close(start);
        self
    }

    /// Adds bare bytes: `VETH_INFO_PEER` opens with an `ifinfomsg` before its attributes.
    pub(crate) fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend_from_slice(bytes);
        self.pad();
        self
    }

    /// The finished request.
    pub(crate) fn finish(mut self, flags: u16, sequence: u32) -> Vec<u8> {
        let len = u32::try_from(self.bytes.len()).expect("a request is a few hundred bytes");
        let request = super::flag(libc::NLM_F_REQUEST);
        let all = u16::from_ne_bytes([self.bytes[6], self.bytes[7]]) | flags | request;
        self.bytes[0..4].copy_from_slice(&len.to_ne_bytes());
        self.bytes[6..8].copy_from_slice(&all.to_ne_bytes());
        self.bytes[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.bytes
    }

    fn open(&mut self, kind: u16) -> usize {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&[0, 0]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        start
    }

    fn close(&mut self, start: usize) {
        // Names are checked to be 15 bytes at most before they get here, the rest is fixed.
        let len = u16::try_from(self.bytes.len() - start).expect("attributes are short");
        self.bytes[start..start + 2].copy_from_slice(&len.to_ne_bytes());
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// One message of a datagram.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Part<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) sequence: u32,
    pub(crate) payload: &'a [u8],
}

/// The messages of a datagram; ends at the first one that is cut short.
pub(crate) struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    pub(crate) fn new(datagram: &'a [u8]) -> Self {
        Self(datagram)
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = Part<'a>;

    fn next(&mut self) -> Option<Part<'a>> {
        let len = usize::try_from(u32_at(self.0, 0)?).ok()?;
        let payload = self.0.get(HEADER..len)?;
        let part = Part {
            kind: u16_at(self.0, 4)?,
            flags: u16_at(self.0, 6)?,
            sequence: u32_at(self.0, 8)?,
            payload,
        };
        self.0 = self.0.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(part)
    }
}

/// The attributes of a message; ends at the first one that is cut short.
#[derive(Clone, Copy)]
pub(crate) struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The payload of the first attribute of this type.
    pub(crate) fn get(mut self, kind: u16) -> Option<&'a [u8]> {
        self.find(|&(found, _)| found == kind)
            .map(|(_, payload)| payload)
    }

    /// The attributes inside an attribute.
    pub(crate) fn inside(self, kind: u16) -> Option<Attributes<'a>> {
        self.get(kind).map(Attributes)
    }

    /// An attribute of 32 bits.
    pub(crate) fn u32(self, kind: u16) -> Option<u32> {
        u32_at(self.get(kind)?, 0)
    }

    /// A text without its NUL.
    pub(crate) fn text(self, kind: u16) -> Option<String> {
        let text = String::from_utf8_lossy(self.get(kind)?);
        Some(text.trim_end_matches('\0').to_owned())
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<(u16, &'a [u8])> {
        let len = usize::from(u16_at(self.0, 0)?);
        let kind = u16_at(self.0, 2)? & TYPE;
        let payload = self.0.get(4..len)?;
        self.0 = self.0.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, payload))
    }
}

/// The 16 bits at an offset, in host order.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(
        bytes.get(at..at.checked_add(2)?)?.try_into().ok()?,
    ))
}

/// The 32 bits at an offset, in host order.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(
        bytes.get(at..at.checked_add(4)?)?.try_into().ok()?,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_message_reads_back_as_written() {
        let message = Message::new(7, 1, &[1, 2, 3, 4])
            .text(3, "rk0")
            .nest(18, |m| m.text(1, "veth").nest(2, |m| m.u32(4, 99)));
        let bytes = message.finish(4, 42);
        let parts: Vec<_> = Parts::new(&bytes).collect();
        assert_eq!(parts.len(), 1);
        assert_eq!(
            (parts[0].kind, parts[0].flags, parts[0].sequence),
            (7, 1 | 4 | 1, 42)
        );
        let attrs = Attributes::new(&parts[0].payload[4..]);
        assert_eq!(attrs.text(3).as_deref(), Some("rk0"));
        let inner = attrs.inside(18).unwrap();
        assert_eq!(inner.text(1).as_deref(), Some("veth"));
        assert_eq!(inner.inside(2).unwrap().u32(4), Some(99));
        assert_eq!(bytes.len() % 4, 0);
    }

    proptest! {
        /// Whatever arrives, reading ends and never goes out of bounds.
        #[test]
        fn any_bytes_can_be_read(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            for part in Parts::new(&bytes) {
                for (_, payload) in Attributes::new(part.payload) {
                    prop_assert!(Attributes::new(payload).count() <= payload.len());
                }
            }
        }
    }
}
