//! Cutting a stream of bytes into lines, with a bound on what is kept of an unfinished one.

/// The most bytes of one line that go out in one piece.
pub const PART: usize = 16 * 1024;

/// One piece of output: what was kept from earlier, and what follows it. The newline is not part of
/// it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Whether the line ends here.
    pub full: bool,
    /// What earlier reads have brought.
    pub kept: &'a [u8],
    /// What this read has brought.
    pub fresh: &'a [u8],
}

/// One stream's unfinished line: memory for it, and how much of that is used.
///
/// A view, because the memory costs nothing until it is touched and has to lie in pages of its own
/// for that.
#[derive(Debug)]
pub struct Lines<'a> {
    /// What earlier reads have brought.
    pub kept: &'a mut [u8; PART],
    /// How long it is.
    pub len: &'a mut u16,
}

impl Lines<'_> {
    /// Takes what was read, and gives out each line that it completes, and each part that fills up.
    pub fn feed(&mut self, bytes: &[u8], mut out: impl FnMut(Piece<'_>)) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let room = PART - self.kept().len();
            // A newline right behind a full part still ends that part, so look one byte further.
            let window = rest.get(..=room).unwrap_or(rest);
            match newline(window) {
                Some(at) => {
                    let (line, after) = rest.split_at(at);
                    out(Piece {
                        full: true,
                        kept: self.kept(),
                        fresh: line,
                    });
                    *self.len = 0;
                    rest = after.get(1..).unwrap_or_default();
                }
                None if rest.len() > room => {
                    let (part, after) = rest.split_at(room);
                    out(Piece {
                        full: false,
                        kept: self.kept(),
                        fresh: part,
                    });
                    *self.len = 0;
                    rest = after;
                }
                None => {
                    self.keep(rest);
                    rest = &[];
                }
            }
        }
    }

    /// Gives out an unfinished line as a part: nothing more came for a while, or ever will.
    pub fn flush(&mut self, mut out: impl FnMut(Piece<'_>)) {
        if *self.len > 0 {
            out(Piece {
                full: false,
                kept: self.kept(),
                fresh: &[],
            });
            *self.len = 0;
        }
    }

    fn kept(&self) -> &[u8] {
        self.kept.get(..usize::from(*self.len)).unwrap_or_default()
    }

    fn keep(&mut self, bytes: &[u8]) {
        let start = usize::from(*self.len);
        if let Some(place) = self.kept.get_mut(start..start + bytes.len()) {
            place.copy_from_slice(bytes);
            *self.len = u16::try_from(start + bytes.len()).unwrap_or(u16::MAX);
        }
    }
}

/// Where the first newline is. Looks at eight bytes at a time.
fn newline(bytes: &[u8]) -> Option<usize> {
    const LOW: u64 = u64::from_le_bytes([1; 8]);
    const HIGH: u64 = u64::from_le_bytes([0x80; 8]);
    const NEWLINES: u64 = u64::from_le_bytes([b'\n'; 8]);
    let (words, tail) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let differs = u64::from_le_bytes(*word) ^ NEWLINES;
        let zeros = differs.wrapping_sub(LOW) & !differs & HIGH;
        if zeros != 0 {
            return Some(index * 8 + zeros.trailing_zeros() as usize / 8);
        }
    }
    tail.iter()
        .position(|&byte| byte == b'\n')
        .map(|at| words.len() * 8 + at)
}

#[cfg(test)]
mod tests;
