//! The standard streams of a program that gets no terminal.
//!
//! Pipes, sockets and files are passed on as they are. A terminal of ours is not: the program could read what is
//! typed later, or change the terminal's settings. A directory is not: it would be a way out of the container. For
//! those stands a pipe, and a thread that copies.
use rustix::fs::{FileType, fstat};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// How long output is waited for after the program's end: something it left behind may hold the pipe for ever.
const DRAIN: Duration = Duration::from_secs(2);
/// The device number of /dev/null.
const NULL: (u32, u32) = (1, 3);

/// The threads that copy output to us.
pub(super) struct Pumps(Vec<Receiver<()>>);

/// Standard input (or nothing to read), output and error.
pub(super) fn prepare(stdin: bool) -> io::Result<([OwnedFd; 3], Pumps)> {
    let mut pumps = Vec::new();
    let input = if !stdin {
        fs_err::File::open("/dev/null")?.into_parts().0.into()
    } else if may_share(io::stdin().as_fd()) {
        io::stdin().as_fd().try_clone_to_owned()?
    } else {
        let (reader, writer) = io::pipe()?;
        // It may read a terminal for ever; the end of this process ends it.
        std::thread::spawn(move || copy(io::stdin().lock(), writer));
        reader.into()
    };
    let mut output = |ours: BorrowedFd<'_>| -> io::Result<OwnedFd> {
        let own = ours.try_clone_to_owned()?;
        if may_share(ours) {
            return Ok(own);
        }
        let (reader, writer) = io::pipe()?;
        let (done, pump) = channel();
        pumps.push(pump);
        std::thread::spawn(move || {
            copy(reader, File::from(own));
            let _ = done.send(());
        });
        Ok(writer.into())
    };
    let streams = [
        input,
        output(io::stdout().as_fd())?,
        output(io::stderr().as_fd())?,
    ];
    Ok((streams, Pumps(pumps)))
}

impl Pumps {
    /// Waits until all output is written, within bounds.
    pub(super) fn finish(self) {
        for pump in self.0 {
            let _ = pump.recv_timeout(DRAIN);
        }
    }
}

/// Copies as it comes, without waiting for a buffer to fill.
pub(in crate::cli) fn copy(mut from: impl Read, mut to: impl Write) {
    let mut buffer = vec![0; 32 * 1024];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => {
                if to
                    .write_all(&buffer[..count])
                    .and_then(|()| to.flush())
                    .is_err()
                {
                    return;
                }
            }
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            // A terminal whose other side is gone says EIO.
            Err(_) => return,
        }
    }
}

/// Whether a program in a container may hold this descriptor.
fn may_share(fd: BorrowedFd<'_>) -> bool {
    fstat(fd).is_ok_and(|stat| {
        let device = (
            rustix::fs::major(stat.st_rdev),
            rustix::fs::minor(stat.st_rdev),
        );
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile | FileType::Fifo | FileType::Socket => true,
            FileType::CharacterDevice => device == NULL,
            FileType::Directory | FileType::BlockDevice | FileType::Symlink | FileType::Unknown => {
                false
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_passed_on_as_it_is() {
        let shared = |fd: &dyn AsFd| may_share(fd.as_fd());
        assert!(shared(&tempfile::tempfile().unwrap()));
        assert!(shared(&File::open("/dev/null").unwrap()));
        assert!(shared(&io::pipe().unwrap().0));
        assert!(!shared(&File::open("/").unwrap()));
        assert!(!shared(&File::open("/dev/zero").unwrap()));
        if let Ok(terminal) = File::open("/dev/ptmx") {
            assert!(!shared(&terminal));
        }
    }

    #[test]
    fn copying_ends_with_its_source() {
        let mut out = Vec::new();
        copy(&b"abc"[..], &mut out);
        assert_eq!(out, b"abc");
    }
}
