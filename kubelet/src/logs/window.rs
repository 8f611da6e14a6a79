//! Where in a container's log files reading begins: the last so many lines, or those since a moment.
//!
//! Nothing before that is read: lines are counted from the end, and a moment is found by halving.
use crate::logs;
use jiff::Timestamp;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// How much is read at a time.
const CHUNK: u64 = 64 * 1024;

/// Which lines are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    /// At most so many, the last ones.
    pub tail: Option<u64>,
    /// None that is older.
    pub since: Option<Timestamp>,
}

impl Window {
    /// Where to begin in the files of one try, oldest first: which file, and the offset in it.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn start(&self, files: &[File]) -> io::Result<(usize, u64)> {
        let tail = match self.tail {
            Some(lines) => last_lines(files, lines)?,
            None => (0, 0),
        };
        let since = match self.since {
            Some(since) => first_since(files, since)?,
            None => (0, 0),
        };
        Ok(tail.max(since))
    }
}

fn last_lines(files: &[File], mut wanted: u64) -> io::Result<(usize, u64)> {
    for (index, file) in files.iter().enumerate().rev() {
        // The last line of a rotated file may go on in the next one, where it was counted.
        let newest = index + 1 == files.len();
        match last_lines_of(file, wanted, newest)? {
            Counted::Start(offset) => return Ok((index, offset)),
            Counted::TooFew(lines) => wanted -= lines,
        }
    }
    Ok((0, 0))
}

/// What counting lines from a file's end came to.
enum Counted {
    /// The wanted lines begin here.
    Start(u64),
    /// There are only so many.
    TooFew(u64),
}

fn last_lines_of(file: &File, wanted: u64, newest: bool) -> io::Result<Counted> {
    let mut end = file.metadata()?.len();
    let mut lines = 0;
    // Whether the last whole entry has been found; those before it are whole.
    let mut behind = false;
    let mut rest: Vec<u8> = Vec::new();
    while end > 0 {
        let begin = end.saturating_sub(CHUNK);
        let mut chunk = vec![0; usize::try_from(end - begin).unwrap_or(0)];
        file.read_exact_at(&mut chunk, begin)?;
        chunk.append(&mut rest);
        end = begin;
        // The last byte that belongs to a whole entry: what was never ended by a newline is still being written.
        let mut stop = chunk.len();
        if !behind {
            stop = chunk
                .iter()
                .rposition(|&byte| byte == b'\n')
                .map_or(0, |at| at + 1);
        }
        while stop > 0 {
            let before = chunk[..stop - 1].iter().rposition(|&byte| byte == b'\n');
            let start = match before {
                Some(at) => at + 1,
                None if begin == 0 => 0,
                None => break,
            };
            // A line ends where an entry says so; a last one that has not ended yet counts as well.
            if ends_line(&chunk[start..stop - 1]) || newest && !behind {
                if lines == wanted {
                    return Ok(Counted::Start(begin + stop as u64));
                }
                lines += 1;
            }
            behind = true;
            stop = start;
        }
        chunk.truncate(stop);
        rest = chunk;
    }
    Ok(Counted::TooFew(lines))
}

fn ends_line(entry: &[u8]) -> bool {
    logs::parse(entry).is_none_or(|line| !line.partial)
}

fn first_since(files: &[File], since: Timestamp) -> io::Result<(usize, u64)> {
    for (index, file) in files.iter().enumerate() {
        let offset = seek_time(file, since)?;
        if offset < file.metadata()?.len() || index + 1 == files.len() {
            return Ok((index, offset));
        }
    }
    Ok((0, 0))
}

/// The beginning of the first entry that is not older.
fn seek_time(file: &File, since: Timestamp) -> io::Result<u64> {
    // `low` is always the beginning of an entry.
    let (mut low, mut high) = (0, file.metadata()?.len());
    while low < high {
        let middle = low + (high - low) / 2;
        let start = if middle == low {
            low
        } else {
            next_start(file, middle)?
        };
        if start < high && time_at(file, start)?.is_some_and(|time| time < since) {
            low = next_start(file, start + 1)?;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

/// The first beginning of an entry at or behind `offset`, which is not 0.
fn next_start(file: &File, offset: u64) -> io::Result<u64> {
    let mut at = offset - 1;
    let mut chunk = [0; 4096];
    loop {
        let count = file.read_at(&mut chunk, at)?;
        if count == 0 {
            return Ok(at);
        }
        if let Some(found) = chunk[..count].iter().position(|&byte| byte == b'\n') {
            return Ok(at + found as u64 + 1);
        }
        at += count as u64;
    }
}

fn time_at(file: &File, offset: u64) -> io::Result<Option<Timestamp>> {
    let mut stamp = [0; 40];
    let count = file.read_at(&mut stamp, offset)?;
    let word = stamp[..count].split(|&byte| byte == b' ').next();
    Ok(word
        .and_then(|word| std::str::from_utf8(word).ok())
        .and_then(|word| word.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;

    fn file(text: &str) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        file
    }

    fn rest(file: &File, offset: u64) -> String {
        let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len() - offset).unwrap()];
        file.read_exact_at(&mut bytes, offset).unwrap();
        String::from_utf8(bytes).unwrap()
    }

    /// All that is read from where the last lines begin.
    fn tail(files: &[File], lines: u64) -> String {
        let window = Window {
            tail: Some(lines),
            since: None,
        };
        let (index, offset) = window.start(files).unwrap();
        let first = rest(&files[index], offset);
        let others = files[index + 1..].iter().map(|file| rest(file, 0));
        std::iter::once(first).chain(others).collect()
    }

    #[test]
    fn lines_are_counted_from_the_end() {
        let newest = "3Z stdout P c\n3Z stdout F d\n4Z stdout F e\n";
        let files = [file("1Z stdout F a\n2Z stdout F b\n"), file(newest)];
        assert_eq!(tail(&files, 0), "");
        assert_eq!(tail(&files, 1), "4Z stdout F e\n");
        assert_eq!(tail(&files, 2), newest);
        assert_eq!(tail(&files, 3), format!("2Z stdout F b\n{newest}"));
        let all = format!("1Z stdout F a\n2Z stdout F b\n{newest}");
        assert_eq!(tail(&files, 4), all);
        assert_eq!(tail(&files, 9), all);
        // A line that is still being written counts; half an entry does not.
        let open = [file("1Z stdout F a\n2Z stdout P b\n3Z std")];
        assert_eq!(tail(&open, 1), "2Z stdout P b\n3Z std");
        assert_eq!(tail(&[file("")], 3), "");
        assert_eq!(Window::default().start(&[]).unwrap(), (0, 0));
        // A line that began in a rotated file is shown whole, and counted once.
        let split = [
            file("1Z stdout F a\n2Z stdout P b\n"),
            file("3Z stdout F c\n"),
        ];
        assert_eq!(tail(&split, 1), "2Z stdout P b\n3Z stdout F c\n");
    }

    #[test]
    fn a_moment_is_found_across_files() {
        let entry =
            |second: u32| format!("1970-01-01T00:00:{second:02}.5Z stdout F line {second}\n");
        let text = |seconds: std::ops::Range<u32>| seconds.map(entry).collect::<String>();
        let files = [file(&text(0..20)), file(&text(20..40))];
        for second in 0..45 {
            let window = Window {
                tail: None,
                since: Some(Timestamp::from_second(i64::from(second)).unwrap()),
            };
            let (index, offset) = window.start(&files).unwrap();
            let expected = text(second..if second < 20 { 20 } else { second.max(40) });
            assert_eq!(rest(&files[index], offset), expected, "{second}");
        }
    }

    proptest! {
        #[test]
        fn a_tail_is_what_the_end_of_all_lines_is(
            lengths in proptest::collection::vec(0_usize..3000, 0..200),
            wanted in 0_u64..250,
        ) {
            let entries: Vec<String> = lengths
                .iter()
                .enumerate()
                .map(|(number, length)| format!("{number}Z stdout F {}\n", "x".repeat(*length)))
                .collect();
            let files = [file(&entries.concat())];
            let first = entries.len().saturating_sub(usize::try_from(wanted).unwrap());
            prop_assert_eq!(tail(&files, wanted), entries[first..].concat());
        }
    }
}
