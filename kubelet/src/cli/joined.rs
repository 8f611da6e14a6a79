//! `exec`, `attach` and `port-forward` by way of the daemon, where one runs: over its socket, as kubectl does it.
//!
//! SPDY, since it has flow control for each stream; and a stream of our own for signals.
use super::client::WAIT;
use super::exec::Watched;
use super::exec::terminal::{Raw, size};
use super::{Failure, Global};
use crate::state::PodRecord;
use bytes::{Bytes, BytesMut};
use rkube_stream::client::{self, ClientError, Way};
use rkube_stream::forward::Forwarder;
use rkube_stream::remote::{Command, Size, Want};
use rkube_stream::{Input, Kind, Outcome, Output, StreamError, Transport};
use rustix::termios::isatty;
use std::io::{self, Read};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::mpsc;

/// Pieces of what is typed that wait to be sent.
const TYPED: usize = 4;

/// What is asked of the daemon.
pub(super) struct Asked<'a> {
    /// `exec` or `attach`.
    pub(super) what: &'static str,
    pub(super) pod: &'a PodRecord,
    pub(super) container: &'a str,
    pub(super) command: &'a [String],
    pub(super) want: Want,
    /// Whether keys of ours leave the other side alone: Ctrl-P Ctrl-Q at a terminal, Ctrl-C without one.
    pub(super) leave: bool,
}

/// How it ended.
pub(super) enum End {
    Code(u8),
    Left,
}

/// An upgraded connection, if a daemon runs that knows this pod; it knows none that others look after.
async fn ask(
    global: &Global,
    kind: Kind,
    path: &str,
) -> Option<(
    impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    Transport,
)> {
    let asked = async {
        let socket = UnixStream::connect(global.paths().api_socket())
            .await
            .ok()?;
        let host = ("localhost", path);
        let answer = client::upgrade(socket, kind, Way::Spdy, host, http::HeaderMap::new());
        Some(answer.await)
    };
    let Ok(answer) = tokio::time::timeout(WAIT, asked).await else {
        tracing::warn!("the daemon does not answer; without it");
        return None;
    };
    match answer? {
        Ok(upgraded) => Some(upgraded),
        Err(err @ (ClientError::Refused { .. } | ClientError::Http(_))) => {
            tracing::debug!(err = %crate::error::chain(&err), "without the daemon");
            None
        }
        Err(err) => {
            tracing::warn!(err = %crate::error::chain(&err), "without the daemon");
            None
        }
    }
}

/// Does it by way of the daemon; nothing if that does not run, or refuses: then it is tried without.
pub(super) async fn run(global: &Global, asked: Asked<'_>) -> Result<Option<End>, Failure> {
    let Some((io, transport)) = ask(global, Kind::Command, &path(&asked)).await else {
        return Ok(None);
    };
    let failed =
        |err: &StreamError| Failure::failed(format!("pod {}: {err}", asked.pod.full_name()));
    // Before it runs: a signal that comes right after its first word is already its own.
    let signals = Watched::new(asked.want.tty).map_err(|err| Failure::of(&err))?;
    let command = Command::start(io, transport, asked.want)
        .await
        .map_err(|err| failed(&err))?;
    let raw = (asked.want.tty && asked.want.stdin && isatty(io::stdin()))
        .then(Raw::set)
        .transpose()
        .map_err(|err| Failure::of(&err))?;
    let end = follow(command, &asked, signals).await;
    drop(raw);
    match end {
        Ok(Followed::Left) => Ok(Some(End::Left)),
        Ok(Followed::Ended(Outcome::Success)) => Ok(Some(End::Code(0))),
        Ok(Followed::Ended(Outcome::Exit(code))) => {
            Ok(Some(End::Code(u8::try_from(code).unwrap_or(1))))
        }
        Ok(Followed::Ended(Outcome::Failed(why))) => Err(Failure::failed(format!(
            "pod {}: {why}",
            asked.pod.full_name()
        ))),
        Err(err) => Err(failed(&err)),
    }
}

enum Followed {
    Ended(Outcome),
    Left,
}

/// Joins it with our streams until it ends, or the person leaves.
async fn follow(
    mut command: Command,
    asked: &Asked<'_>,
    mut signals: Watched,
) -> Result<Followed, StreamError> {
    let (out, err) = (command.stdout.take(), command.stderr.take());
    let shown = async {
        tokio::join!(
            show(out, tokio::io::stdout()),
            show(err, tokio::io::stderr())
        )
    };
    let (stdin, mut resize, mut sent) = (
        command.stdin.take(),
        command.resize.take(),
        command.signals.take(),
    );
    let keys = asked.leave && asked.want.tty;
    let typing = async {
        match stdin {
            Some(to) => type_all(to, keys).await,
            None => std::future::pending().await,
        }
    };
    let ended = async {
        let (outcome, _) = tokio::join!(command.outcome(), shown);
        outcome
    };
    let (mut ended, mut typing) = (std::pin::pin!(ended), std::pin::pin!(typing));
    let mut typed = false;
    tell_size(resize.as_mut()).await;
    let outcome = loop {
        tokio::select! {
            outcome = &mut ended => break outcome?,
            left = &mut typing, if !typed => {
                typed = true;
                if left {
                    return Ok(Followed::Left);
                }
            }
            Some(()) = signals.resized.recv() => tell_size(resize.as_mut()).await,
            number = signals.forwarded.next() => {
                if asked.leave {
                    return Ok(Followed::Left);
                }
                if let Some(to) = &mut sent {
                    let _ = to.write(Bytes::copy_from_slice(&[number])).await;
                }
            }
        }
    };
    Ok(Followed::Ended(outcome))
}

async fn tell_size(resize: Option<&mut Output>) {
    if let (Some(to), Some((height, width))) = (resize, size()) {
        let _ = to.write(Size { width, height }.message()).await;
    }
}

/// Writes what comes as it comes.
async fn show(from: Option<Input>, mut to: impl AsyncWrite + Unpin) {
    let Some(mut from) = from else {
        return;
    };
    while let Ok(Some(bytes)) = from.read().await {
        // A reader of ours that is gone is no reason to stop the other side.
        if to.write_all(&bytes).await.is_ok() {
            let _ = to.flush().await;
        }
    }
}

/// Sends what is typed; whether the person left.
async fn type_all(mut to: Output, keys: bool) -> bool {
    let (send, mut typed) = mpsc::channel::<BytesMut>(TYPED);
    // It may read a terminal for ever; the end of this process ends it.
    std::thread::spawn(move || {
        let mut stdin = io::stdin().lock();
        loop {
            let mut buffer = BytesMut::zeroed(16 * 1024);
            match stdin.read(&mut buffer) {
                Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
                Ok(count @ 1..) => {
                    buffer.truncate(count);
                    if send.blocking_send(buffer).is_err() {
                        return;
                    }
                }
                Ok(_) | Err(_) => return,
            }
        }
    });
    let mut held = false;
    while let Some(bytes) = typed.recv().await {
        let (bytes, left) = match keys {
            true => super::attach::sift(&bytes, &mut held),
            false => (bytes.to_vec(), false),
        };
        if to.write(bytes.into()).await.is_err() {
            return false;
        }
        if left {
            return true;
        }
    }
    let _ = to.finish().await;
    false
}

fn path(asked: &Asked<'_>) -> String {
    let flag = |name: &str, on: bool| {
        if on {
            format!("{name}=1&")
        } else {
            String::new()
        }
    };
    let (pod, want) = (asked.pod, asked.want);
    let mut path = format!(
        "/{}/{}/{}/{}/{}?{}{}{}{}",
        asked.what,
        pod.namespace(),
        pod.name(),
        pod.uid(),
        asked.container,
        flag("stdin", want.stdin),
        flag("stdout", want.stdout),
        flag("stderr", want.stderr),
        flag("tty", want.tty),
    );
    for word in asked.command {
        path.push_str("command=");
        path.push_str(&escaped(word));
        path.push('&');
    }
    path
}

/// Text as it may stand in a query.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                out.push(char::from(byte))
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// Ports of a pod by way of the daemon; nothing if that does not run, or refuses.
pub(super) async fn forwarder(global: &Global, pod: &PodRecord) -> Option<Forwarder> {
    let path = format!(
        "/portForward/{}/{}/{}",
        pod.namespace(),
        pod.name(),
        pod.uid()
    );
    let (io, transport) = ask(global, Kind::Forward, &path).await?;
    Forwarder::start(io, transport).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_command_survive_the_query() {
        assert_eq!(escaped("a b&c=d%/ü"), "a%20b%26c%3Dd%25%2F%C3%BC");
        let path = format!(
            "/x?command={}&command={}",
            escaped("sh -c"),
            escaped("x > 'y'\n")
        );
        let uri: http::Uri = path.parse().unwrap();
        let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&uri).unwrap();
        let words: Vec<_> = pairs.0.into_iter().map(|(_, word)| word).collect();
        assert_eq!(words, ["sh -c", "x > 'y'\n"]);
    }
}
