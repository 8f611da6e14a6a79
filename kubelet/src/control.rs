//! The owner's socket of a pod: how other commands reach the process that looks after it.
//!
//! ```text
//! rkubelet stop/run --detach  --- one JSON request a line --->  owner (foreground run, or the agent)
//!                             <-- updates, one JSON a line ---
//! ```
//! The socket lies in the pod's 0700 folder under /run; who can connect is root. The connection ends when the
//! pod does.
use crate::paths::Paths;
use crate::state::{Eviction, PodRecord, StopRequest};
use crate::update::{Reporter, Update};
use serde::{Deserialize, Serialize};
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{broadcast, mpsc};

/// The longest request line.
const REQUEST_LIMIT: u64 = 64 * 1024;

/// What the owner can be asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Tell me all updates, beginning with the state as it is.
    Watch,
    /// End the pod; updates follow until it has ended.
    Stop(StopRequest),
}

/// Serves the owner's socket of one pod until dropped.
#[derive(Debug)]
pub struct Server {
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A request on its way to the worker.
#[derive(Clone, Debug)]
pub enum Command {
    /// Say your state once more: somebody new listens.
    Report,
    /// End the pod.
    Stop(StopRequest),
    /// The pod is asked for in other words: take them over without ending it. The record has the pod's own uid, and
    /// [`crate::change::kind`] must have said that it can be; the worker writes it down.
    Update(Arc<PodRecord>),
    /// End what runs of the pod because the host goes down; the pod is not over, and goes on after the next boot.
    Halt {
        /// Seconds between the stop signal and SIGKILL.
        grace_seconds: u32,
    },
    /// End the pod for the node's sake: it will have failed, for that reason.
    Evict(Eviction),
}

impl Server {
    /// Binds the socket, replacing that of an owner that is gone.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn bind(
        paths: &Paths,
        uid: &str,
        reporter: &Reporter,
        commands: mpsc::Sender<Command>,
    ) -> io::Result<Self> {
        let path = paths.owner_socket(uid);
        if path.exists() {
            fs_err::remove_file(&path)?;
        }
        let listener = UnixListener::bind(&path)?;
        let reporter = reporter.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let updates = reporter.listen();
                let commands = commands.clone();
                tokio::spawn(async move {
                    // A client that went away is no concern of the pod.
                    let _ = serve(stream, updates, commands).await;
                });
            }
        });
        Ok(Server { task })
    }
}

async fn serve(
    stream: UnixStream,
    mut updates: broadcast::Receiver<Update>,
    commands: mpsc::Sender<Command>,
) -> io::Result<()> {
    if stream.peer_cred()?.uid() != 0 {
        return Ok(());
    }
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    BufReader::new(tokio::io::AsyncReadExt::take(read, REQUEST_LIMIT))
        .read_line(&mut line)
        .await?;
    let command = match serde_json::from_str(&line)? {
        Request::Watch => Command::Report,
        Request::Stop(stop) => Command::Stop(stop),
    };
    commands.send(command).await.map_err(io::Error::other)?;
    loop {
        let update = match updates.recv().await {
            Ok(update) => update,
            Err(broadcast::error::RecvError::Lagged(_)) => continue,
            Err(broadcast::error::RecvError::Closed) => return Ok(()),
        };
        let mut line = serde_json::to_vec(&update)?;
        line.push(b'\n');
        write.write_all(&line).await?;
    }
}

/// Whether a process looks after the pod. Asks nothing of it: its socket alone says so.
#[must_use]
pub fn is_owned(paths: &Paths, uid: &str) -> bool {
    std::os::unix::net::UnixStream::connect(paths.owner_socket(uid)).is_ok()
}

/// A connection to the owner of a pod.
#[derive(Debug)]
pub struct Client {
    lines: tokio::io::Lines<BufReader<UnixStream>>,
}

impl Client {
    /// Sends the request. `None` if nobody owns the pod.
    ///
    /// # Errors
    /// When the socket is there and does not work.
    pub async fn send(paths: &Paths, uid: &str, request: &Request) -> io::Result<Option<Self>> {
        let mut stream = match UnixStream::connect(paths.owner_socket(uid)).await {
            Ok(stream) => stream,
            Err(err)
                if matches!(
                    err.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
                ) =>
            {
                return Ok(None);
            }
            Err(err) => return Err(err),
        };
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        stream.write_all(&line).await?;
        Ok(Some(Client {
            lines: BufReader::new(stream).lines(),
        }))
    }

    /// The next update; `None` once the owner has let go of the pod. May be dropped and called again.
    ///
    /// # Errors
    /// When the owner sends what this program does not understand.
    pub async fn next(&mut self) -> io::Result<Option<Update>> {
        match self.lines.next_line().await {
            Ok(Some(line)) => serde_json::from_str(&line)
                .map(Some)
                .map_err(io::Error::other),
            Ok(None) => Ok(None),
            Err(err) if err.kind() == io::ErrorKind::ConnectionReset => Ok(None),
            Err(err) => Err(err),
        }
    }
}
