//! A small file that is replaced again and again, whole each time, without a new inode each time.
//!
//! ```text
//! writer: lock the spare inode alone, write it, exchange it with the one in place     renameat2(2)
//! reader: open what is in place, lock it shared, read it if it is still there
//! ```
//! Two inodes take turns. ext4 does not give out the number of a removed file again for some seconds and walks past all of these
//! when it looks for another: where a hundred pods start at once it did little else. Who reads without the lock sees
//! the old or the new content, or, if it is slow, the beginning of the next; the lock rules that out.
use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};
use rustix::io::Errno;
use std::fs::Metadata;
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// How often a reader looks again when it came too late. A writer that was stopped while it held the lock has long
/// written everything: what is in place is whole.
const TRIES: usize = 50;

/// Replaces what is at `path`; mode 0600.
///
/// # Errors
/// Names the file.
pub(super) fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let spare = path.with_extension("spare");
    let mut options = fs_err::OpenOptions::new();
    options.write(true).create(true).truncate(false);
    options.options_mut().mode(0o600);
    let mut file = options.open(&spare)?;
    let locked = flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
    if !locked || !is_at(&file.metadata()?, &spare) {
        // A reader that was slow has it still.
        return super::replace(path, bytes);
    }
    file.set_len(0)?;
    file.write_all(bytes)?;
    match renameat_with(CWD, &spare, CWD, path, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(()),
        // There is none yet, or the file system cannot exchange.
        Err(Errno::NOENT | Errno::INVAL | Errno::NOSYS) => fs_err::rename(&spare, path),
        Err(errno) => {
            let err = io::Error::from(errno);
            let message = format!("{}: {err}", path.display());
            Err(io::Error::new(err.kind(), message))
        }
    }
}

/// What is at `path`, whole.
///
/// # Errors
/// Names the file.
pub(super) fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut tries = 0;
    loop {
        let mut file = fs_err::File::open(path)?;
        let locked = flock(&file, FlockOperation::NonBlockingLockShared).is_ok();
        tries += 1;
        if (locked && is_at(&file.metadata()?, path)) || tries > TRIES {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            return Ok(bytes);
        }
        std::thread::yield_now();
    }
}

/// Whether this is the file that has that name.
fn is_at(file: &Metadata, path: &Path) -> bool {
    fs_err::metadata(path).is_ok_and(|at| (at.dev(), at.ino()) == (file.dev(), file.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    #[test]
    fn two_inodes_take_turns() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        let mut inodes = Vec::new();
        for round in 0..4 {
            write(&path, format!("round {round}").as_bytes()).unwrap();
            assert_eq!(read(&path).unwrap(), format!("round {round}").as_bytes());
            inodes.push(fs_err::metadata(&path).unwrap().ino());
        }
        assert_eq!(inodes[0], inodes[2]);
        assert_eq!(inodes[1], inodes[3]);
        assert_ne!(inodes[0], inodes[1]);
    }

    #[test]
    fn what_a_reader_holds_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        write(&path, b"one").unwrap();
        let mut reader = fs_err::File::open(&path).unwrap();
        flock(&reader, FlockOperation::LockShared).unwrap();
        write(&path, b"two").unwrap();
        write(&path, b"three").unwrap();
        assert_eq!(read(&path).unwrap(), b"three");
        let mut held = String::new();
        reader.read_to_string(&mut held).unwrap();
        assert_eq!(held, "one");
    }

    #[test]
    fn readers_see_whole_contents_whatever_is_written_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        let content =
            |round: usize| vec![b'a' + u8::try_from(round % 26).unwrap(); 1 + round * 7 % 20_000];
        write(&path, &content(0)).unwrap();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let readers: Vec<_> = (0..3)
                .map(|_| {
                    scope.spawn(|| {
                        while !over.load(Ordering::Relaxed) {
                            let bytes = read(&path).unwrap();
                            assert!(!bytes.is_empty());
                            assert!(bytes.iter().all(|byte| *byte == bytes[0]));
                        }
                    })
                })
                .collect();
            for round in 0..3000 {
                write(&path, &content(round)).unwrap();
            }
            over.store(true, Ordering::Relaxed);
            for reader in readers {
                reader.join().unwrap();
            }
        });
    }
}
