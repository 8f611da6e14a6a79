//! Container output as log lines: `2026-11-23T15:28:46.123456789Z stdout F the line`.
//!
//! The format that log collectors expect of a container runtime (CRI): time, stream, `F` for a full
//! line or `P` for a part of one, and the bytes. Pure functions over buffers; reading and writing
//! is the supervisor's business.

mod lines;
mod time;

pub use lines::{Lines, PART, Piece};
pub use time::{RFC3339_NANO, rfc3339_nano};

/// Where output comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stream {
    /// Standard output, or all that a terminal shows.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What stands before the bytes of a line. Made once for everything that is read at one time.
#[derive(Debug, Clone, Copy)]
pub struct Prefix([u8; Prefix::LEN]);

impl Prefix {
    /// The length of every prefix.
    pub const LEN: usize = RFC3339_NANO + 10;

    /// The prefix for output of `stream` read at `now`, in nanoseconds since 1970.
    #[must_use]
    pub fn new(now: u64, stream: Stream) -> Self {
        let mut bytes = *b"0000-00-00T00:00:00.000000000Z stdout F ";
        let (time, rest) = bytes.split_at_mut(RFC3339_NANO);
        time.copy_from_slice(&rfc3339_nano(now));
        if stream == Stream::Stderr {
            rest.copy_from_slice(b" stderr F ");
        }
        Self(bytes)
    }

    /// The bytes for a full line, or for a part of one.
    #[must_use]
    pub fn bytes(&mut self, full: bool) -> &[u8; Self::LEN] {
        self.0[Self::LEN - 2] = if full { b'F' } else { b'P' };
        &self.0
    }
}
