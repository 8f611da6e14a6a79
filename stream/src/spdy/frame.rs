//! Frames of SPDY/3.1 to bytes and back. Pure: no I/O, no state but the two compressors.
//!
//! ```text
//! control  |1| version 15 | type 16 | flags 8 | length 24 | ...
//! data     |0| stream 31            | flags 8 | length 24 | ...
//! ```
use super::headers::{Deflater, Headers, Inflater, MAX_BLOCK};
use bytes::{Buf, BufMut, Bytes, BytesMut};

/// The largest control frame that is read: a block that does not compress, and its surroundings.
const MAX_CONTROL: usize = MAX_BLOCK + 1024;
const FIN: u8 = 1;
const UNIDIRECTIONAL: u8 = 2;
const VERSION: u16 = 0x8003;
const ID: u32 = 0x7fff_ffff;
const INITIAL_WINDOW: u32 = 7;

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Frame {
    /// Opens a stream.
    Syn {
        /// Its number.
        id: u32,
        /// Whether its opener sends nothing more.
        fin: bool,
        /// Whether the other side may send nothing.
        unidirectional: bool,
        /// What it is for.
        headers: Headers,
    },
    /// Accepts a stream.
    Reply {
        /// Its number.
        id: u32,
        /// Whether the accepting side sends nothing more.
        fin: bool,
        /// What the accepting side has to say.
        headers: Headers,
    },
    /// Ends a stream at once, in both directions.
    Reset {
        /// Its number.
        id: u32,
        /// Why.
        status: u32,
    },
    /// How much may be sent on a new stream before more is allowed, if that is said.
    Settings {
        /// In bytes.
        window: Option<u32>,
    },
    /// Asks for the same frame back.
    Ping(u32),
    /// Opens nothing and accepts nothing from now on.
    GoAway {
        /// The last stream that was accepted.
        last: u32,
        /// Why.
        status: u32,
    },
    /// More headers of a stream.
    Headers {
        /// Its number.
        id: u32,
        /// Whether its sender sends nothing more.
        fin: bool,
        /// The headers.
        headers: Headers,
    },
    /// Allows more bytes on a stream, or, for number 0, on all together.
    Window {
        /// The stream's number.
        id: u32,
        /// How many.
        more: u32,
    },
    /// Bytes, or some of those of a longer frame.
    Data {
        /// The stream's number.
        id: u32,
        /// Whether its sender sends nothing more.
        fin: bool,
        /// The bytes.
        bytes: Bytes,
    },
}

/// Why bytes are no frames; the session cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// Another version, or no SPDY at all.
    #[error("a frame of version {0} of SPDY, not 3")]
    Version(u16),
    /// Larger than anything that is needed.
    #[error("{0} of {1} bytes is too large")]
    TooLarge(&'static str, usize),
    /// Shorter or longer than its kind is.
    #[error("a control frame of type {0} and {1} bytes")]
    Length(u16, usize),
    /// Its headers cannot be read.
    #[error("cannot read the headers of a stream: {0}")]
    Headers(&'static str),
}

/// Bytes to frames. The bytes of a long data frame are handed out as they come.
#[derive(Debug)]
pub struct Decoder {
    inflater: Inflater,
    body: Option<Body>,
}

/// What is still to come of a data frame.
#[derive(Clone, Copy, Debug)]
struct Body {
    id: u32,
    fin: bool,
    left: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Decoder {
            inflater: Inflater::new(),
            body: None,
        }
    }
}

impl Decoder {
    /// Takes the next frame off `from`; nothing if more bytes are needed.
    ///
    /// # Errors
    /// When the bytes are no frames of SPDY/3.
    pub fn decode(&mut self, from: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
        loop {
            if let Some(body) = self.body {
                return Ok(self.piece(body, from));
            }
            let Some(head) = from.first_chunk::<8>() else {
                return Ok(None);
            };
            let word = u32::from_be_bytes([head[0], head[1], head[2], head[3]]);
            let (flags, length) = (head[4], u32::from_be_bytes([0, head[5], head[6], head[7]]));
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            if word & !ID == 0 {
                from.advance(8);
                self.body = Some(Body {
                    id: word,
                    fin: flags & FIN != 0,
                    left: length,
                });
                continue;
            }
            let version = u16::from_be_bytes([head[0], head[1]]);
            if version != VERSION {
                return Err(FrameError::Version(version & 0x7fff));
            }
            if length > MAX_CONTROL {
                return Err(FrameError::TooLarge("a control frame", length));
            }
            if from.len() < 8 + length {
                return Ok(None);
            }
            let kind = u16::from_be_bytes([head[2], head[3]]);
            from.advance(8);
            let payload = from.split_to(length);
            if let Some(frame) = self.control(kind, flags, &payload)? {
                return Ok(Some(frame));
            }
        }
    }

    fn piece(&mut self, body: Body, from: &mut BytesMut) -> Option<Frame> {
        if from.is_empty() && body.left > 0 {
            return None;
        }
        let count = body.left.min(from.len());
        let left = body.left - count;
        self.body = (left > 0).then_some(Body { left, ..body });
        Some(Frame::Data {
            id: body.id,
            fin: body.fin && left == 0,
            bytes: from.split_to(count).freeze(),
        })
    }

    /// A control frame; nothing for a kind that nobody needs.
    fn control(
        &mut self,
        kind: u16,
        flags: u8,
        payload: &[u8],
    ) -> Result<Option<Frame>, FrameError> {
        let wrong = || FrameError::Length(kind, payload.len());
        let mut rest = payload;
        let mut number = || rest.try_get_u32().map_err(|_| wrong());
        let fin = flags & FIN != 0;
        let frame = match kind {
            1 => {
                let (id, _associated) = (number()? & ID, number()?);
                let block = rest.get(2..).ok_or_else(wrong)?;
                let unidirectional = flags & UNIDIRECTIONAL != 0;
                let headers = self.inflater.inflate(block)?;
                Frame::Syn {
                    id,
                    fin,
                    unidirectional,
                    headers,
                }
            }
            2 | 8 => {
                let id = number()? & ID;
                let headers = self.inflater.inflate(rest)?;
                match kind {
                    2 => Frame::Reply { id, fin, headers },
                    _ => Frame::Headers { id, fin, headers },
                }
            }
            3 => Frame::Reset {
                id: number()? & ID,
                status: number()?,
            },
            4 => {
                let count = number()?;
                let mut window = None;
                for _ in 0..count {
                    let (key, value) = (number()? & 0x00ff_ffff, number()?);
                    window = if key == INITIAL_WINDOW {
                        Some(value)
                    } else {
                        window
                    };
                }
                Frame::Settings { window }
            }
            6 => Frame::Ping(number()?),
            7 => Frame::GoAway {
                last: number()? & ID,
                status: number()?,
            },
            9 => Frame::Window {
                id: number()? & ID,
                more: number()? & ID,
            },
            _ => return Ok(None),
        };
        Ok(Some(frame))
    }
}

/// Frames to bytes.
#[derive(Debug)]
pub struct Encoder {
    deflater: Deflater,
}

impl Default for Encoder {
    fn default() -> Self {
        Encoder {
            deflater: Deflater::new(),
        }
    }
}

impl Encoder {
    /// Appends a frame to `to`.
    ///
    /// # Errors
    /// When its headers or its data are too large for a frame; nothing has been appended then.
    pub fn encode(&mut self, frame: &Frame, to: &mut BytesMut) -> Result<(), FrameError> {
        match frame {
            Frame::Syn {
                id,
                fin,
                unidirectional,
                headers,
            } => {
                let flags = u8::from(*fin) * FIN + u8::from(*unidirectional) * UNIDIRECTIONAL;
                self.block(1, flags, &opening(*id), headers, to)
            }
            Frame::Reply { id, fin, headers } => {
                self.block(2, u8::from(*fin), &id.to_be_bytes(), headers, to)
            }
            Frame::Headers { id, fin, headers } => {
                self.block(8, u8::from(*fin), &id.to_be_bytes(), headers, to)
            }
            Frame::Reset { id, status } => words(3, &[*id, *status], to),
            Frame::Settings {
                window: Some(window),
            } => words(4, &[1, INITIAL_WINDOW, *window], to),
            Frame::Settings { window: None } => words(4, &[0], to),
            Frame::Ping(id) => words(6, &[*id], to),
            Frame::GoAway { last, status } => words(7, &[*last, *status], to),
            Frame::Window { id, more } => words(9, &[*id, *more], to),
            Frame::Data { id, fin, bytes } => {
                let length =
                    length(bytes.len()).ok_or(FrameError::TooLarge("data", bytes.len()))?;
                to.reserve(8 + bytes.len());
                to.put_u32(id & ID);
                to.put_u8(u8::from(*fin));
                to.put_slice(&length);
                to.put_slice(bytes);
                Ok(())
            }
        }
    }

    fn block(
        &mut self,
        kind: u16,
        flags: u8,
        first: &[u8],
        headers: &Headers,
        to: &mut BytesMut,
    ) -> Result<(), FrameError> {
        let mut payload = BytesMut::from(first);
        self.deflater.deflate(headers, &mut payload)?;
        control(kind, flags, &payload, to)
    }
}

/// The numbers before the headers of a new stream: its own, that of no other one, no priority, no slot.
fn opening(id: u32) -> [u8; 10] {
    let mut numbers = [0; 10];
    numbers[..4].copy_from_slice(&(id & ID).to_be_bytes());
    numbers
}

fn words(kind: u16, numbers: &[u32], to: &mut BytesMut) -> Result<(), FrameError> {
    let payload: Vec<u8> = numbers.iter().flat_map(|word| word.to_be_bytes()).collect();
    control(kind, 0, &payload, to)
}

fn control(kind: u16, flags: u8, payload: &[u8], to: &mut BytesMut) -> Result<(), FrameError> {
    let length = length(payload.len()).ok_or(FrameError::TooLarge("a frame", payload.len()))?;
    to.put_u16(VERSION);
    to.put_u16(kind);
    to.put_u8(flags);
    to.put_slice(&length);
    to.put_slice(payload);
    Ok(())
}

/// Three bytes of length.
fn length(count: usize) -> Option<[u8; 3]> {
    let [0, high, middle, low] = u32::try_from(count).ok()?.to_be_bytes() else {
        return None;
    };
    Some([high, middle, low])
}

#[cfg(test)]
mod tests;
