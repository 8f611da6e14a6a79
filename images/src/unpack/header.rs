//! One tar header block: its fields, before extended headers have their say.

use super::UnpackError;
use super::number;

/// Headers and contents are padded to this.
pub(crate) const BLOCK: usize = 512;

/// One header block.
pub(super) struct Header(pub(super) [u8; BLOCK]);

impl Header {
    pub(super) fn field(&self, start: usize, len: usize) -> &[u8] {
        &self.0[start..start + len]
    }

    pub(super) fn typeflag(&self) -> u8 {
        self.0[156]
    }

    pub(super) fn size(&self, offset: u64) -> Result<u64, UnpackError> {
        // Far above any real file, and far below where sums overflow.
        let size = number::parse_unsigned(self.field(124, 12)).filter(|&size| size < 1 << 56);
        let problem = "a header's size is impossible".to_owned();
        size.ok_or(UnpackError::Malformed { offset, problem })
    }

    /// ustar's prefix stands in front of the name. GNU uses the place for other things.
    pub(super) fn name(&self) -> Vec<u8> {
        let name = until_nul(self.field(0, 100).to_vec());
        let prefix = until_nul(self.field(345, 155).to_vec());
        if self.field(257, 6) != b"ustar\0" || prefix.is_empty() {
            return name;
        }
        [&prefix[..], b"/", &name[..]].concat()
    }

    pub(super) fn link(&self) -> Vec<u8> {
        until_nul(self.field(157, 100).to_vec())
    }

    /// The sum of all bytes, the field itself taken as spaces; some old writers summed signed bytes.
    pub(super) fn checksum_fits(&self) -> bool {
        let bytes = || {
            self.0.iter().enumerate().map(|(at, &byte)| match at {
                148..156 => b' ',
                _ => byte,
            })
        };
        let unsigned: i64 = bytes().map(i64::from).sum();
        let signed: i64 = bytes().map(|byte| i64::from(byte.cast_signed())).sum();
        let found = number::parse(self.field(148, 8));
        found == Some(unsigned) || found == Some(signed)
    }
}

pub(super) fn until_nul(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(end) = bytes.iter().position(|&byte| byte == 0) {
        bytes.truncate(end);
    }
    bytes
}
