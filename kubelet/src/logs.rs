//! Reading container logs: the CRI format, rotation, following.
//!
//! ```text
//! 2026-01-02T03:04:05.678901234Z stdout F a whole line
//! 2026-01-02T03:04:05.678901234Z stderr P the first part of a long one
//! ```
//! The supervisor writes `<n>.log` for try n and renames it to `<n>.log.1` ... when it grows too large. A
//! [`Tail`] holds the file it reads open, so that it reads a renamed file to its end before it takes up the new one.
pub mod join;
pub mod source;
pub mod window;

pub use join::Piece;
pub use source::Source;
pub use window::Window;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where a line came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One line of a log, put together from its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// As written: RFC 3339 with nanoseconds, UTC.
    pub time: String,
    /// Where it came from.
    pub stream: Stream,
    /// The bytes, without the line's end.
    pub text: Vec<u8>,
    /// Whether the line's end is missing: the rest is still to come, or never will.
    pub partial: bool,
}

/// Reads one entry; `None` if it is not one.
#[must_use]
pub fn parse(entry: &[u8]) -> Option<Line> {
    let mut parts = entry.splitn(4, |&byte| byte == b' ');
    let time = std::str::from_utf8(parts.next()?).ok()?.to_owned();
    let stream = match parts.next()? {
        b"stdout" => Stream::Stdout,
        b"stderr" => Stream::Stderr,
        _ => return None,
    };
    // Tags may be joined by colons; the first says whether the line is whole.
    let partial = parts.next()?.split(|&byte| byte == b':').next()? == b"P";
    Some(Line {
        time,
        stream,
        text: parts.next().unwrap_or_default().to_vec(),
        partial,
    })
}

/// The files of one try of one container, oldest first.
#[must_use]
pub fn files(log: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for number in 1_u32.. {
        let rotated = PathBuf::from(format!("{}.{number}", log.display()));
        if !rotated.exists() {
            break;
        }
        files.push(rotated);
    }
    files.reverse();
    if log.exists() {
        files.push(log.to_owned());
    }
    files
}

/// Reads a log file as it grows, across rotations.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    file: Option<(BufReader<File>, u64)>,
    pending: Vec<u8>,
}

impl Tail {
    /// Reads the file at `path` from its beginning; it need not be there yet.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Tail {
            path: path.to_owned(),
            file: None,
            pending: Vec::new(),
        }
    }

    /// Reads on from where `file` stands; it is the one at `path`, or was when it was opened.
    ///
    /// # Errors
    /// When the file's metadata cannot be read.
    pub fn resume(path: &Path, file: File) -> io::Result<Self> {
        let inode = file.metadata()?.ino();
        let reader = BufReader::with_capacity(64 * 1024, file);
        Ok(Tail {
            path: path.to_owned(),
            file: Some((reader, inode)),
            pending: Vec::new(),
        })
    }

    /// Leaves out what is in the file now.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn skip_to_end(&mut self) -> io::Result<()> {
        if self.open()?
            && let Some((reader, _)) = &mut self.file
        {
            reader.seek(SeekFrom::End(0))?;
        }
        Ok(())
    }

    /// The next entry, or `None` if there is none yet.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn next_line(&mut self) -> io::Result<Option<Line>> {
        loop {
            if !self.open()? {
                return Ok(None);
            }
            let Some((reader, inode)) = &mut self.file else {
                return Ok(None);
            };
            if reader.read_until(b'\n', &mut self.pending)? == 0 {
                // The end of this file: if another stands in its place, this one will not grow any more.
                let replaced = std::fs::metadata(&self.path).is_ok_and(|meta| meta.ino() != *inode);
                if !replaced {
                    return Ok(None);
                }
                // What was written between the last read and the rename is still to be read.
                if reader.read_until(b'\n', &mut self.pending)? == 0 {
                    self.file = None;
                    self.pending.clear();
                    continue;
                }
            }
            if self.pending.last() != Some(&b'\n') {
                return Ok(None);
            }
            let entry = std::mem::take(&mut self.pending);
            if let Some(line) = parse(&entry[..entry.len() - 1]) {
                return Ok(Some(line));
            }
        }
    }

    fn open(&mut self) -> io::Result<bool> {
        if self.file.is_some() {
            return Ok(true);
        }
        match File::open(&self.path) {
            Ok(file) => {
                let inode = file.metadata()?.ino();
                self.file = Some((BufReader::with_capacity(64 * 1024, file), inode));
                Ok(true)
            }
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(err) => Err(err),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn text(line: Option<Line>) -> Option<String> {
        line.map(|line| String::from_utf8(line.text).unwrap())
    }

    #[test]
    fn entries_are_read() {
        let line = parse(b"2026-01-02T03:04:05.6Z stderr P two words").unwrap();
        assert_eq!(
            (line.stream, line.partial, line.text),
            (Stream::Stderr, true, b"two words".to_vec())
        );
        assert_eq!(
            parse(b"2026-01-02T03:04:05.6Z stdout F ").unwrap().text,
            b""
        );
        assert_eq!(parse(b"2026-01-02T03:04:05.6Z stdout F").unwrap().text, b"");
        assert_eq!(parse(b"2026-01-02T03:04:05.6Z stdin F x"), None);
        assert_eq!(parse(b""), None);
    }

    #[test]
    fn a_tail_follows_across_a_rotation() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("0.log");
        let mut tail = Tail::new(&path);
        assert_eq!(tail.next_line().unwrap(), None);
        let mut file = File::create(&path).unwrap();
        write!(file, "t stdout F one\nt stdout F tw").unwrap();
        assert_eq!(text(tail.next_line().unwrap()), Some("one".into()));
        assert_eq!(tail.next_line().unwrap(), None);
        writeln!(file, "o").unwrap();
        assert_eq!(text(tail.next_line().unwrap()), Some("two".into()));
        std::fs::rename(&path, dir.path().join("0.log.1")).unwrap();
        let mut next = File::create(&path).unwrap();
        writeln!(file, "t stdout F three").unwrap();
        writeln!(next, "t stdout F four").unwrap();
        assert_eq!(text(tail.next_line().unwrap()), Some("three".into()));
        assert_eq!(text(tail.next_line().unwrap()), Some("four".into()));
        assert_eq!(tail.next_line().unwrap(), None);
        assert_eq!(files(&path), [dir.path().join("0.log.1"), path.clone()]);
    }
}
