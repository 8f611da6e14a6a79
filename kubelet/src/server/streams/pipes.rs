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
use tokio::time::{Instant, timeout};

/// What is asked of a pipe at a time.
const CHUNK: usize = 32 * 1024;
/// How long output is waited for after the program's end: something that it left behind may hold it for ever.
const DRAIN: Duration = Duration::from_secs(2);

/// Copies what a program writes to the client, to the end or, once the program has ended, as long as there is more at
/// once.
pub(super) async fn pump(mut from: Receiver, to: Option<Output>, mut ended: watch::Receiver<bool>) {
    let (mut to, mut buffer) = (to, BytesMut::new());
    let mut deadline = None;
    loop {
        buffer.reserve(CHUNK);
        let read = match deadline {
            None => tokio::select! {
                read = from.read_buf(&mut buffer) => read,
                _ = ended.wait_for(|ended| *ended) => {
                    deadline = Some(Instant::now() + DRAIN);
                    continue;
                }
            },
            // What is there already is read even after the time.
            Some(deadline) => {
                match tokio::time::timeout_at(deadline, from.read_buf(&mut buffer)).await {
                    Ok(read) => read,
                    Err(_) => break,
                }
            }
        };
        // A terminal whose last program is gone says EIO.
        if !matches!(read, Ok(count) if count > 0) {
            break;
        }
        let bytes = buffer.split().freeze();
        if let Some(out) = &mut to
            && out.write(bytes).await.is_err()
        {
            // The program goes on; its output is nobody's.
            to = None;
        }
    }
    if let Some(mut to) = to {
        let _ = to.finish().await;
    }
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

    #[tokio::test]
    async fn the_end_is_the_end() {
        let (writer, reader) = output().unwrap();
        let (_end, ended) = watch::channel(false);
        drop(writer);
        pump(reader, None, ended).await;
    }
}
