//! The log of one container: the files of a try, rotated ones first, and one try after the other.
use super::join::{Joiner, Piece};
use super::window::Window;
use crate::logs::{Line, Tail, parse};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Reads one container's log.
#[derive(Debug)]
pub struct Source {
    /// The container.
    pub container: String,
    dir: PathBuf,
    attempt: u32,
    rotated: VecDeque<BufReader<File>>,
    tail: Tail,
    joiner: Joiner,
}

impl Source {
    /// The log of the last try, or of the one before, from where the window begins.
    ///
    /// # Errors
    /// When the files cannot be read, or there was no try before.
    pub fn open(dir: &Path, container: &str, previous: bool, window: &Window) -> io::Result<Self> {
        let tries = tries(dir)?;
        let attempt = match (previous, tries.as_slice()) {
            (false, [.., last]) => *last,
            (false, []) => 0,
            (true, [.., before, _]) => *before,
            (true, _) => {
                let message = format!("container {container} has no earlier try");
                return Err(io::Error::new(io::ErrorKind::NotFound, message));
            }
        };
        let mut source = Source {
            container: container.to_owned(),
            dir: dir.to_owned(),
            attempt,
            rotated: VecDeque::new(),
            tail: Tail::new(&path(dir, attempt)),
            joiner: Joiner::default(),
        };
        source.seek(window)?;
        Ok(source)
    }

    fn seek(&mut self, window: &Window) -> io::Result<()> {
        let log = path(&self.dir, self.attempt);
        let mut files = open_all(&log)?;
        let (first, offset) = window.start(&files)?;
        if let Some(file) = files.get_mut(first) {
            file.seek(SeekFrom::Start(offset))?;
        }
        if let Some(newest) = files.pop() {
            self.tail = Tail::resume(&log, newest)?;
        }
        self.rotated = files
            .into_iter()
            .skip(first)
            .map(|file| BufReader::with_capacity(64 * 1024, file))
            .collect();
        Ok(())
    }

    /// The next line that is there, of this try alone.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn next_piece(&mut self) -> io::Result<Option<Piece>> {
        while let Some(line) = self.next_entry()? {
            if let Some(piece) = self.joiner.push(line) {
                return Ok(Some(piece));
            }
        }
        Ok(None)
    }

    fn next_entry(&mut self) -> io::Result<Option<Line>> {
        let mut entry = Vec::new();
        while let Some(file) = self.rotated.front_mut() {
            entry.clear();
            if file.read_until(b'\n', &mut entry)? == 0 {
                self.rotated.pop_front();
            } else if let Some(line) = parse(entry.strip_suffix(b"\n").unwrap_or(&entry)) {
                return Ok(Some(line));
            }
        }
        self.tail.next_line()
    }

    /// Goes on to the next try if there is one: then this one's files will not grow any more.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn next_try(&mut self) -> io::Result<bool> {
        let Some(next) = tries(&self.dir)?
            .into_iter()
            .find(|attempt| *attempt > self.attempt)
        else {
            return Ok(false);
        };
        self.attempt = next;
        self.tail = Tail::new(&path(&self.dir, next));
        Ok(true)
    }

    /// What has not ended with a newline and never will.
    pub fn finish(&mut self) -> Vec<Piece> {
        self.joiner.finish()
    }

    /// The folder that its files are in.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

fn path(dir: &Path, attempt: u32) -> PathBuf {
    dir.join(format!("{attempt}.log"))
}

/// The tries that have left a log, in order.
fn tries(dir: &Path) -> io::Result<Vec<u32>> {
    let entries = match fs_err::read_dir(dir) {
        Ok(entries) => entries,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(err) => return Err(err),
    };
    let mut tries = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.split_once(".log"));
        tries.extend(number.and_then(|(number, _)| number.parse::<u32>().ok()));
    }
    tries.sort_unstable();
    tries.dedup();
    Ok(tries)
}

/// All files of a try, oldest first. They are opened newest first: a rotation meanwhile shows one twice, never none.
fn open_all(log: &Path) -> io::Result<Vec<File>> {
    let mut files: Vec<(u64, File)> = Vec::new();
    for number in 0_u32.. {
        let path = if number == 0 {
            log.to_owned()
        } else {
            PathBuf::from(format!("{}.{number}", log.display()))
        };
        let file = match File::open(&path) {
            Ok(file) => file,
            // Between two files of a rotation the newest is missing.
            Err(err) if err.kind() == io::ErrorKind::NotFound && number == 0 => continue,
            Err(err) if err.kind() == io::ErrorKind::NotFound => break,
            Err(err) => return Err(err),
        };
        let inode = file.metadata()?.ino();
        if files.iter().all(|(other, _)| *other != inode) {
            files.push((inode, file));
        }
    }
    files.reverse();
    Ok(files.into_iter().map(|(_, file)| file).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(source: &mut Source) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(piece) = source.next_piece().unwrap() {
            lines.push(String::from_utf8(piece.text).unwrap());
        }
        lines
    }

    #[test]
    fn rotated_files_and_tries_are_read_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        let open = |previous, tail| {
            let window = Window { tail, since: None };
            Source::open(dir.path(), "c", previous, &window)
        };
        assert!(all(&mut open(false, None).unwrap()).is_empty());
        write("0.log", "1Z stdout F first\n");
        assert!(open(true, None).is_err());
        write("1.log.2", "2Z stdout F a\n");
        write("1.log.1", "3Z stderr F b\n4Z stdout P c\n");
        write("1.log", "5Z stdout F d\n");
        assert_eq!(all(&mut open(true, None).unwrap()), ["first"]);
        assert_eq!(all(&mut open(false, None).unwrap()), ["a", "b", "cd"]);
        assert_eq!(all(&mut open(false, Some(2)).unwrap()), ["b", "cd"]);
        let mut source = open(false, Some(0)).unwrap();
        assert!(all(&mut source).is_empty());
        assert!(!source.next_try().unwrap());
        write("3.log", "6Z stdout F e\n7Z stdout P f\n");
        assert!(source.next_try().unwrap());
        assert_eq!(all(&mut source), ["e"]);
        assert_eq!(source.finish()[0].text, b"f");
    }
}
