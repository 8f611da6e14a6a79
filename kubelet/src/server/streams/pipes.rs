//! Pipes and terminals of a program, joined with a client's channels.
use bytes::BytesMut;
use rkube_stream::{Input, Output};
use rustix::fs::{Mode, OFlags};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::pipe::{Receiver, Sender};
use tokio::sync::watch;
use tokio::time::{Instant, timeout, timeout_at};

/// What is asked of a pipe at a time.
const CHUNK: usize = 32 * 1024;
/// How long output is waited for after the program's end: something that it left behind may hold it for ever.
const DRAIN: Duration = Duration::from_secs(2);

/// What a program writes: to the end or, once the program has ended, as long as there is more at once.
struct Words {
    from: Receiver,
    ended: watch::Receiver<bool>,
    deadline: Option<Instant>,
}

impl Words {
    fn new(from: Receiver, ended: watch::Receiver<bool>) -> Self {
        Words {
            from,
            ended,
            deadline: None,
        }
    }

    /// The next of them; none at the end.
    async fn next(&mut self, buffer: &mut BytesMut) -> Option<BytesMut> {
        buffer.reserve(CHUNK);
        let deadline = match self.deadline {
            Some(deadline) => deadline,
            None => tokio::select! {
                read = self.from.read_buf(buffer) => return some(&read, buffer),
                _ = self.ended.wait_for(|ended| *ended) => {
                    *self.deadline.insert(Instant::now() + DRAIN)
                }
            },
        };
        // What is there already is read even after the time.
        let read = timeout_at(deadline, self.from.read_buf(buffer)).await;
        some(&read.ok()?, buffer)
    }
}

/// A terminal whose last program is gone says EIO.
fn some(read: &io::Result<usize>, buffer: &mut BytesMut) -> Option<BytesMut> {
    matches!(read, Ok(1..)).then(|| buffer.split())
}

/// Copies what a program writes to the client.
pub(super) async fn pump(from: Receiver, to: Option<Output>, ended: watch::Receiver<bool>) {
    let (mut words, mut to, mut buffer) = (Words::new(from, ended), to, BytesMut::new());
    while let Some(bytes) = words.next(&mut buffer).await {
        if let Some(out) = &mut to
            && out.write(bytes.freeze()).await.is_err()
        {
            // The program goes on; its output is nobody's.
            to = None;
        }
    }
    if let Some(mut to) = to {
        let _ = to.finish().await;
    }
}

/// Keeps the first `most` bytes that a program writes.
pub(super) async fn gather(from: Receiver, most: usize, ended: watch::Receiver<bool>) -> Vec<u8> {
    let (mut words, mut buffer, mut kept) = (Words::new(from, ended), BytesMut::new(), Vec::new());
    while let Some(bytes) = words.next(&mut buffer).await {
        let room = most - kept.len();
        kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
        if kept.len() == most && words.deadline.is_some() {
            break;
        }
    }
    kept
}

/// Copies what the client sends to a program, until one of them has had enough. Whether the client has ended it.
pub(super) async fn feed(mut from: Input, mut to: Sender) -> bool {
    loop {
        match from.read().await {
            Ok(Some(bytes)) => {
                if to.write_all(&bytes).await.is_err() {
                    return false;
                }
            }
            Ok(None) => return true,
            Err(_) => return false,
        }
    }
}

/// A pipe of which we read: the program's end first.
pub(super) fn output() -> io::Result<(OwnedFd, Receiver)> {
    let (reader, writer) = io::pipe()?;
    let reader = Receiver::from_owned_fd(reader.into())?;
    Ok((writer.into(), reader))
}

/// A pipe to which we write: the program's end first.
pub(super) fn input() -> io::Result<(OwnedFd, Sender)> {
    let (reader, writer) = io::pipe()?;
    let writer = Sender::from_owned_fd(writer.into())?;
    Ok((reader.into(), writer))
}

/// Both directions of a terminal's master.
pub(super) fn terminal(master: &OwnedFd) -> io::Result<(Receiver, Sender)> {
    nonblocking(master)?;
    // Not pipes, but read, written and waited for like them.
    let reader = Receiver::from_owned_fd_unchecked(master.try_clone()?)?;
    let writer = Sender::from_owned_fd_unchecked(master.try_clone()?)?;
    Ok((reader, writer))
}

/// The writing end of a container's input, opened again: whether it waits is nobody else's business then.
pub(super) fn reopened(pipe: &OwnedFd) -> io::Result<Sender> {
    let path = format!("/proc/self/fd/{}", pipe.as_raw_fd());
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let own = rustix::fs::open(path, flags, Mode::empty())?;
    Sender::from_owned_fd(own)
}

fn nonblocking(fd: &OwnedFd) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(fd)?;
    Ok(rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK)?)
}

/// Waits for both pumps, but not for a client that takes nothing any more.
pub(super) async fn within<T>(limit: Duration, what: impl Future<Output = T>) {
    let _ = timeout(limit, what).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[tokio::test]
    async fn what_a_program_leaves_behind_is_not_waited_for() {
        let (writer, reader) = output().unwrap();
        let mut writer = std::fs::File::from(writer);
        let (end, ended) = watch::channel(false);
        writer.write_all(b"last words").unwrap();
        end.send_replace(true);
        let begun = Instant::now();
        pump(reader, None, ended).await;
        assert!(begun.elapsed() >= DRAIN && begun.elapsed() < 10 * DRAIN);
        drop(writer);
    }

    /// The program has written and ended between two looks of ours.
    #[tokio::test]
    async fn last_words_are_heard() {
        let (writer, reader) = output().unwrap();
        let (end, ended) = watch::channel(false);
        let mut gathering = Box::pin(gather(reader, 4, ended));
        assert!(futures::poll!(&mut gathering).is_pending());
        std::fs::File::from(writer).write_all(b"words").unwrap();
        end.send_replace(true);
        assert_eq!(gathering.await, b"word");
    }

    #[tokio::test]
    async fn the_end_is_the_end() {
        let (writer, reader) = output().unwrap();
        let (_end, ended) = watch::channel(false);
        drop(writer);
        pump(reader, None, ended).await;
    }
}
