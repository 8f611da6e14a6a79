//! Entries of a log put together to lines: long lines are written in parts, and the two streams in turns.
use super::{Line, Stream};

/// The most of one line that is kept back; what is longer comes out in pieces.
const LINE_LIMIT: usize = 1 << 20;

/// A line, or a piece of a very long one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// When its first part was written.
    pub time: String,
    /// The bytes.
    pub text: Vec<u8>,
    /// Whether the line began before.
    pub continues: bool,
    /// Whether the line ends here.
    pub ends: bool,
}

/// What is there of a line that has not ended.
#[derive(Debug, Default)]
struct Open {
    time: String,
    text: Vec<u8>,
    begun: bool,
    shown: bool,
}

/// Puts the parts of one container's lines together.
#[derive(Debug, Default)]
pub struct Joiner {
    stdout: Open,
    stderr: Open,
}

impl Joiner {
    /// Takes the next entry; a piece comes out when one is complete.
    pub fn push(&mut self, line: Line) -> Option<Piece> {
        let open = match line.stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        if !open.begun {
            open.time = line.time;
            open.begun = true;
        }
        if open.text.is_empty() {
            open.text = line.text;
        } else {
            open.text.extend_from_slice(&line.text);
        }
        if line.partial && open.text.len() < LINE_LIMIT {
            return None;
        }
        Some(open.take(!line.partial))
    }

    /// What is left when nothing more will come.
    pub fn finish(&mut self) -> Vec<Piece> {
        let open = [&mut self.stdout, &mut self.stderr];
        open.into_iter()
            .filter(|open| open.begun)
            .map(|open| open.take(true))
            .collect()
    }
}

impl Open {
    fn take(&mut self, ends: bool) -> Piece {
        let continues = std::mem::replace(&mut self.shown, !ends);
        self.begun = !ends;
        Piece {
            time: self.time.clone(),
            text: std::mem::take(&mut self.text),
            continues,
            ends,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(stream: Stream, text: &str, partial: bool) -> Line {
        Line {
            time: format!("t-{text:.1}"),
            stream,
            text: text.into(),
            partial,
        }
    }

    #[test]
    fn parts_become_lines_stream_by_stream() {
        let mut joiner = Joiner::default();
        assert_eq!(joiner.push(line(Stream::Stdout, "a", true)), None);
        assert_eq!(joiner.push(line(Stream::Stderr, "x", true)), None);
        let piece = joiner.push(line(Stream::Stdout, "b", false)).unwrap();
        assert_eq!(
            (piece.text, piece.time, piece.ends),
            (b"ab".to_vec(), "t-a".into(), true)
        );
        let left = joiner.finish();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].text, b"x");
        assert_eq!(joiner.finish(), []);
        let piece = joiner.push(line(Stream::Stderr, "y", false)).unwrap();
        assert_eq!((piece.text, piece.continues), (b"y".to_vec(), false));
    }

    #[test]
    fn an_endless_line_comes_in_pieces() {
        let mut joiner = Joiner::default();
        let part = "z".repeat(LINE_LIMIT / 2);
        assert_eq!(joiner.push(line(Stream::Stdout, &part, true)), None);
        let piece = joiner.push(line(Stream::Stdout, &part, true)).unwrap();
        assert_eq!(
            (piece.text.len(), piece.continues, piece.ends),
            (LINE_LIMIT, false, false)
        );
        let piece = joiner.push(line(Stream::Stdout, "end", false)).unwrap();
        assert_eq!(
            (piece.text, piece.continues, piece.ends),
            (b"end".to_vec(), true, true)
        );
    }
}
