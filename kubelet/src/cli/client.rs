//! What the daemon says of its pods, where one runs: its API over the socket that root has.
//!
//! ```text
//! verb --ask, at most a second--> daemon --> its pods ---.
//!                                                         +--> the pods
//! state directory: pods that the daemon does not have ---'     (without a daemon, or with one that hangs: all of them)
//! ```
//! No verb needs the daemon: what it does not answer in time, or not in words that are understood, is read from files.
use super::{Failure, Global};
use crate::paths::Paths;
use crate::server::own::{Known, PODS};
use crate::state::{StoredPod, VERSION};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixStream;

/// How long the daemon may take for all of an answer, or to begin a stream.
pub(super) const WAIT: Duration = Duration::from_secs(1);
/// How long an answer of pods may be.
const PODS_LIMIT: usize = 64 << 20;
/// How long an answer of lines may be: it is not shown before all of it is there.
const LINES_LIMIT: usize = 4 << 20;

/// Why the daemon is no help.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error("no daemon at the socket")]
    Connect(#[from] io::Error),
    #[error("the daemon breaks off")]
    Http(#[from] hyper::Error),
    #[error("the daemon's answer cannot be used: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    #[error("the daemon refuses: {0}")]
    Refused(StatusCode),
    #[error("the daemon does not answer within {} s", WAIT.as_secs())]
    Late,
}

/// All of the daemon's answer to a GET.
async fn get(socket: &Path, target: &str, limit: usize) -> Result<Bytes, AskError> {
    let asked = async {
        let stream = UnixStream::connect(socket).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let request = Request::get(target)
            .header("host", "localhost")
            .body(Empty::<Bytes>::new())
            .map_err(|err| AskError::Body(err.into()))?;
        let answered = async {
            let answer = sender.send_request(request).await?;
            if answer.status() != StatusCode::OK {
                return Err(AskError::Refused(answer.status()));
            }
            let body = Limited::new(answer.into_body(), limit).collect().await;
            Ok(body.map_err(AskError::Body)?.to_bytes())
        };
        let (mut connection, mut answered) = (std::pin::pin!(connection), std::pin::pin!(answered));
        tokio::select! {
            biased;
            answer = &mut answered => answer,
            // Without the connection there is no more than what it has brought.
            _ = &mut connection => answered.await,
        }
    };
    tokio::time::timeout(WAIT, asked)
        .await
        .unwrap_or(Err(AskError::Late))
}

/// The same, of a daemon that may not be there; nothing if it is no help.
async fn ask(paths: &Paths, target: &str, limit: usize) -> Option<Bytes> {
    match get(&paths.api_socket(), target, limit).await {
        Ok(answer) => Some(answer),
        Err(err @ AskError::Late) => {
            tracing::warn!("{err}; read from files instead");
            None
        }
        Err(err) => {
            tracing::debug!(err = %crate::error::chain(&err), target, "without the daemon");
            None
        }
    }
}

/// The daemon's pods by uid; none without a daemon.
async fn of_daemon(paths: &Paths) -> HashMap<String, StoredPod> {
    let Some(answer) = ask(paths, PODS, PODS_LIMIT).await else {
        return HashMap::new();
    };
    read(&answer).unwrap_or_else(|err| {
        tracing::debug!(%err, "the daemon is of another version");
        HashMap::new()
    })
}

fn read(answer: &[u8]) -> serde_json::Result<HashMap<String, StoredPod>> {
    let known: Vec<Known> = serde_json::from_slice(answer)?;
    let understood = known
        .into_iter()
        .filter(|pod| pod.record.version <= VERSION && pod.state.version <= VERSION);
    let stored = understood.map(|Known { record, state }| {
        let record = Arc::new(record);
        (record.uid().to_owned(), StoredPod { record, state })
    });
    Ok(stored.collect())
}

/// All pods of this host, oldest first: as the daemon knows its own, and as the state directory has the others. The second
/// list names what cannot be read. For looking only: the daemon's come without their ConfigMaps and Secrets.
///
/// # Errors
/// When the pods' folder cannot be read.
pub(super) async fn all(global: &Global) -> Result<(Vec<StoredPod>, Vec<io::Error>), Failure> {
    let paths = global.paths();
    let mut known = of_daemon(&paths).await;
    let (mut pods, mut broken) = (Vec::new(), Vec::new());
    // What was removed a moment ago is still known, and is no more.
    for uid in paths.uids().map_err(|err| Failure::of(&err))? {
        match known.remove(&uid).map_or_else(|| paths.load(&uid), Ok) {
            Ok(pod) => pods.push(pod),
            Err(err) => broken.push(err),
        }
    }
    pods.sort_by_key(|pod| pod.record.created);
    Ok((pods, broken))
}

/// What a container wrote; nothing if the daemon is no help, or if there is much of it.
pub(super) async fn lines(
    paths: &Paths,
    pod: &StoredPod,
    container: &str,
    query: &str,
) -> Option<Bytes> {
    let record = &pod.record;
    let target = format!(
        "/containerLogs/{}/{}/{container}?{query}",
        record.namespace(),
        record.name()
    );
    ask(paths, &target, LINES_LIMIT).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::pods::tests::record;
    use crate::state::PodState;
    use serde_json::json;
    use std::io::{Read, Write};
    use std::os::unix::net::UnixListener;
    use std::time::Instant;

    fn known(version: u32) -> Known {
        let mut record = record(&json!({"containers": [{"name": "a"}]}), &json!({}));
        record.version = version;
        let state = PodState::new(&record, "boot");
        Known { record, state }
    }

    #[test]
    fn pods_of_a_newer_daemon_are_left_to_their_files() {
        let text = serde_json::to_vec(&[known(VERSION)]).unwrap();
        let pods = read(&text).unwrap();
        assert_eq!(pods["u-1"].record.full_name(), "default/web");
        assert_eq!(pods["u-1"].state.containers.len(), 1);
        let newer = serde_json::to_vec(&[known(VERSION + 1)]).unwrap();
        assert!(read(&newer).unwrap().is_empty());
        assert!(read(b"[{}]").is_err());
    }

    /// What a daemon that answers `answer`, and then says nothing more, is worth.
    async fn got(answer: &'static str, limit: usize) -> Result<Bytes, AskError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("kubelet.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let daemon = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
            // Until the other side gives up.
            while stream.read(&mut head).is_ok_and(|count| count > 0) {}
        });
        let answer = get(&path, "/", limit).await;
        daemon.join().unwrap();
        answer
    }

    #[tokio::test]
    async fn a_daemon_that_is_no_help_costs_a_second() {
        const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n";
        let missing = get(Path::new("/nonexistent/kubelet.sock"), "/", 9).await;
        assert!(matches!(missing, Err(AskError::Connect(_))), "{missing:?}");
        let good = got("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n[{}]", 9).await;
        assert_eq!(good.unwrap(), "[{}]");
        let long = got("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n[{}]", 3).await;
        assert!(matches!(long, Err(AskError::Body(_))), "{long:?}");
        let refused = got("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n", 9).await;
        assert!(matches!(refused, Err(AskError::Refused(_))), "{refused:?}");
        for silent in ["", HEAD] {
            let begun = Instant::now();
            let late = got(silent, 9).await;
            assert!(matches!(late, Err(AskError::Late)), "{late:?}");
            assert!(begun.elapsed() < WAIT * 3);
        }
    }
}
