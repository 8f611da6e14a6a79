//! Little-endian fields in a byte slice, read and written with every bound checked.

/// The bytes end too early, or hold what no sender of this version writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeError;

/// Takes fields off the front of a slice.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A reader at the beginning of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next `len` bytes.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (front, rest) = self.rest.split_at_checked(len).ok_or(DecodeError)?;
        self.rest = rest;
        Ok(front)
    }

    /// The next `N` bytes.
    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (front, rest) = self.rest.split_first_chunk().ok_or(DecodeError)?;
        self.rest = rest;
        Ok(*front)
    }

    /// The next byte.
    ///
    /// # Errors
    /// At the end.
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array().map(u8::from_le_bytes)
    }

    /// The next two bytes as a number.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn u16(&mut self) -> Result<u16, DecodeError> {
        self.array().map(u16::from_le_bytes)
    }

    /// The next four bytes as a number.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(u32::from_le_bytes)
    }

    /// The next four bytes as a signed number.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn i32(&mut self) -> Result<i32, DecodeError> {
        self.array().map(i32::from_le_bytes)
    }

    /// The next eight bytes as a number.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(u64::from_le_bytes)
    }

    /// A string behind its 16-bit length.
    ///
    /// # Errors
    /// When the length reaches past the end.
    pub fn string(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }

    /// Whatever has not been taken.
    #[must_use]
    pub fn rest(self) -> &'a [u8] {
        self.rest
    }
}

/// Puts fields into a slice. What does not fit makes [`Writer::finish`] fail, not the single call.
#[derive(Debug)]
pub struct Writer<'a> {
    into: &'a mut [u8],
    len: usize,
    overflow: bool,
}

impl<'a> Writer<'a> {
    /// A writer at the beginning of `into`.
    #[must_use]
    pub fn new(into: &'a mut [u8]) -> Self {
        Self {
            into,
            len: 0,
            overflow: false,
        }
    }

    /// Appends bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        let end = self.len.saturating_add(bytes.len());
        match self.into.get_mut(self.len..end) {
            Some(place) => {
                place.copy_from_slice(bytes);
                self.len = end;
            }
            None => self.overflow = true,
        }
        self
    }

    /// Appends a byte.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.bytes(&[value])
    }

    /// Appends a number of two bytes.
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// Appends a number of four bytes.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// Appends a signed number of four bytes.
    pub fn i32(&mut self, value: i32) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// Appends a number of eight bytes.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.bytes(&value.to_le_bytes())
    }

    /// Appends a string behind its 16-bit length.
    pub fn string(&mut self, bytes: &[u8]) -> &mut Self {
        match u16::try_from(bytes.len()) {
            Ok(len) => self.u16(len).bytes(bytes),
            Err(_) => {
                self.overflow = true;
                self
            }
        }
    }

    /// Puts the message's length in front and gives the whole message.
    ///
    /// # Errors
    /// When something did not fit.
    pub fn finish(self) -> Result<&'a [u8], DecodeError> {
        let len = u32::try_from(self.len).map_err(|_| DecodeError)?;
        if self.overflow {
            return Err(DecodeError);
        }
        let message = self.into.get_mut(..self.len).ok_or(DecodeError)?;
        message
            .get_mut(..4)
            .ok_or(DecodeError)?
            .copy_from_slice(&len.to_le_bytes());
        Ok(message)
    }
}
