//! Blocks of headers: names and values, compressed with one zlib stream for each direction of a session.
use super::dictionary;
use super::frame::FrameError;
use bytes::{Buf, BufMut, BytesMut};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

/// The most bytes of a block before compression.
pub(super) const MAX_BLOCK: usize = 16 * 1024;
/// The most headers in a block.
const MAX_HEADERS: usize = 64;

/// Names with their values, in order. Names are lower case on the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, String)>);

impl Headers {
    /// One more, at the end.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.0.push((name.to_ascii_lowercase(), value.into()));
        self
    }

    /// The value of a header, its first if it has several.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self
            .0
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.split('\0').next().unwrap_or(value))
    }

    /// The block of bytes that stands for them.
    fn block(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        let number = |out: &mut Vec<u8>, count: usize| {
            out.put_u32(u32::try_from(count).unwrap_or(u32::MAX));
        };
        number(&mut out, self.0.len());
        for (name, value) in &self.0 {
            number(&mut out, name.len());
            out.put_slice(name.as_bytes());
            number(&mut out, value.len());
            out.put_slice(value.as_bytes());
        }
        out
    }

    /// Reads a block.
    fn parse(mut block: &[u8]) -> Result<Self, FrameError> {
        let count = length(&mut block)?;
        if count > MAX_HEADERS {
            return Err(FrameError::Headers("there are more than 64"));
        }
        let mut headers = Headers::default();
        for _ in 0..count {
            let (name, value) = (text(&mut block)?, text(&mut block)?);
            headers.0.push((name.to_ascii_lowercase(), value));
        }
        if block.is_empty() {
            Ok(headers)
        } else {
            Err(FrameError::Headers("the block is longer than they are"))
        }
    }
}

fn length(block: &mut &[u8]) -> Result<usize, FrameError> {
    let number = block.try_get_u32();
    let number = number.map_err(|_| FrameError::Headers("the block ends too early"))?;
    Ok(usize::try_from(number).unwrap_or(usize::MAX))
}

fn text(block: &mut &[u8]) -> Result<String, FrameError> {
    let length = length(block)?;
    let Some((text, rest)) = block.split_at_checked(length) else {
        return Err(FrameError::Headers("the block ends too early"));
    };
    *block = rest;
    Ok(String::from_utf8_lossy(text).into_owned())
}

/// The sending half's zlib stream.
#[derive(Debug)]
pub(super) struct Deflater(Compress);

impl Deflater {
    pub(super) fn new() -> Self {
        let mut zlib = Compress::new(Compression::fast(), true);
        // It fails only after the first byte has been compressed.
        let _ = zlib.set_dictionary(&dictionary::bytes());
        Deflater(zlib)
    }

    pub(super) fn deflate(
        &mut self,
        headers: &Headers,
        to: &mut BytesMut,
    ) -> Result<(), FrameError> {
        let block = headers.block();
        if block.len() > MAX_BLOCK {
            return Err(FrameError::TooLarge("a block of headers", block.len()));
        }
        let mut input = &block[..];
        let mut out = Vec::with_capacity(block.len() + 64);
        loop {
            let before = self.0.total_in();
            let done = self.0.compress_vec(input, &mut out, FlushCompress::Sync);
            done.map_err(|_| FrameError::Headers("they cannot be compressed"))?;
            input = &input[consumed(before, self.0.total_in())..];
            if input.is_empty() && out.len() < out.capacity() {
                to.put_slice(&out);
                return Ok(());
            }
            out.reserve(256);
        }
    }
}

/// The receiving half's zlib stream.
#[derive(Debug)]
pub(super) struct Inflater(Decompress);

impl Inflater {
    pub(super) fn new() -> Self {
        Inflater(Decompress::new(true))
    }

    /// The headers of a compressed block. After an error the stream of blocks is lost.
    pub(super) fn inflate(&mut self, mut input: &[u8]) -> Result<Headers, FrameError> {
        let mut out = Vec::with_capacity(1024);
        loop {
            let before = (self.0.total_in(), out.len());
            let done = self
                .0
                .decompress_vec(input, &mut out, FlushDecompress::Sync);
            let used = consumed(before.0, self.0.total_in());
            input = input.get(used..).unwrap_or_default();
            match done {
                Ok(_) => {}
                Err(err) if err.needs_dictionary().is_some() => {
                    let known = self.0.set_dictionary(&dictionary::bytes());
                    known.map_err(|_| FrameError::Headers("their dictionary is not SPDY/3's"))?;
                    continue;
                }
                Err(_) => {
                    return Err(FrameError::Headers(
                        "they are not compressed as they should be",
                    ));
                }
            }
            if input.is_empty() && out.len() < out.capacity() {
                return Headers::parse(&out);
            }
            if used == 0 && out.len() == before.1 {
                return Err(FrameError::Headers("their compressed stream has ended"));
            }
            if out.len() >= MAX_BLOCK {
                return Err(FrameError::TooLarge("a block of headers", out.len()));
            }
            out.reserve(out.capacity().min(MAX_BLOCK));
        }
    }
}

fn consumed(before: u64, after: u64) -> usize {
    usize::try_from(after.saturating_sub(before)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_name_the_dictionary() {
        let mut out = BytesMut::new();
        let headers = Headers::default()
            .with("streamType", "error")
            .with("port", "80");
        Deflater::new().deflate(&headers, &mut out).unwrap();
        assert_eq!(out[2..6], [0xe3, 0xc6, 0xa7, 0xc2]);
    }

    #[test]
    fn blocks_come_back_in_order() {
        let (mut there, mut back) = (Deflater::new(), Inflater::new());
        for number in 0..200 {
            let mut out = BytesMut::new();
            let long = "x".repeat(number * 70);
            let headers = Headers::default()
                .with("requestID", number.to_string())
                .with("a", long);
            there.deflate(&headers, &mut out).unwrap();
            let got = back.inflate(&out).unwrap();
            assert_eq!(got, headers);
            assert_eq!(got.get("RequestId"), Some(number.to_string().as_str()));
        }
    }

    #[test]
    fn a_bomb_is_refused_before_it_is_unpacked() {
        let mut zlib = Compress::new(Compression::best(), true);
        zlib.set_dictionary(&dictionary::bytes()).unwrap();
        let mut bomb = Vec::with_capacity(1 << 20);
        zlib.compress_vec(&vec![0; 64 << 20], &mut bomb, FlushCompress::Sync)
            .unwrap();
        assert!(bomb.len() < 1 << 17);
        let refused = Inflater::new().inflate(&bomb).unwrap_err();
        assert!(
            matches!(refused, FrameError::TooLarge(_, size) if size <= 2 * MAX_BLOCK),
            "{refused}"
        );
    }

    #[test]
    fn blocks_that_lie_about_their_lengths() {
        let parse = |bytes: &[u8]| Headers::parse(bytes).unwrap_err().to_string();
        assert!(parse(&[]).contains("too early"));
        assert!(parse(&[0, 0, 0, 1]).contains("too early"));
        assert!(parse(&[0xff; 8]).contains("more than 64"));
        assert!(parse(&[0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, b'a']).contains("too early"));
        assert!(parse(&[0, 0, 0, 0, 7]).contains("longer"));
    }
}
