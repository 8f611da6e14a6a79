//! The one background process of this host's detached pods.
//!
//! ```text
//! rkubelet run --detach --(starts it if need be)--> agent: one worker for each detached pod
//!                       --- "look" on agent.sock -->   level-triggered: it reads the pods' folder
//! ```
//! It ends with the last pod that needs it. It may be killed at any moment: pods go on under their
//! supervisors, and the next command that needs it starts a new one, which adopts them.
use crate::paths::Paths;
use crate::worker::{Node, Worker, WorkerError};
use std::collections::BTreeSet;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

/// How long a command waits for a new agent to answer.
const START_WAIT: Duration = Duration::from_secs(10);
/// How long a new agent has before the next one is started: it may have found an agent that was just ending, and gone.
const START_AGAIN: Duration = Duration::from_millis(100);

type Workers = JoinSet<(String, Result<(), WorkerError>)>;

/// Runs until no detached pod needs it. Returns at once if another agent is there.
///
/// # Errors
/// When its socket or the pods' folder cannot be used.
pub async fn serve(node: Node) -> io::Result<()> {
    // A session of its own: no terminal's hang-up and no Ctrl-C reaches it. It fails where that is so already.
    let _ = rustix::process::setsid();
    let Some(_lock) = crate::lock::try_exclusive(&node.paths.agent_lock())? else {
        return Ok(());
    };
    let path = node.paths.agent_socket();
    let (mut workers, mut owned) = (Workers::new(), BTreeSet::new());
    loop {
        if path.exists() {
            fs_err::remove_file(&path)?;
        }
        let listener = UnixListener::bind(&path)?;
        look(&node, &mut workers, &mut owned)?;
        while !workers.is_empty() {
            tokio::select! {
                accepted = listener.accept() => {
                    let (stream, _) = accepted?;
                    look(&node, &mut workers, &mut owned)?;
                    tokio::spawn(answer(stream));
                }
                Some(done) = workers.join_next() => note_end(&mut owned, done),
            }
        }
        // Whoever connects from now on finds nobody and starts the next agent; who came in before the socket
        // went has its pod in the folder already.
        fs_err::remove_file(&path)?;
        look(&node, &mut workers, &mut owned)?;
        if workers.is_empty() {
            return Ok(());
        }
    }
}

fn note_end(
    owned: &mut BTreeSet<String>,
    done: Result<(String, Result<(), WorkerError>), tokio::task::JoinError>,
) {
    match done {
        Ok((uid, result)) => {
            owned.remove(&uid);
            if let Err(err) = result {
                tracing::error!(uid, err = crate::error::chain(&err), "gave a pod up");
            }
        }
        // A worker that panicked leaves its pod to the next look; the others go on.
        Err(err) => tracing::error!(%err, "a worker ended badly"),
    }
}

async fn answer(mut stream: UnixStream) {
    // The client needs no more than to know that its pod was looked at.
    let _ = stream.write_all(b"looked\n").await;
}

/// Takes every detached pod that is not over and not looked after.
fn look(node: &Node, workers: &mut Workers, owned: &mut BTreeSet<String>) -> io::Result<()> {
    let (pods, broken) = node.paths.load_all()?;
    for err in broken {
        tracing::error!(%err, "cannot read a pod");
    }
    for pod in pods {
        let uid = pod.record.uid().to_owned();
        if !pod.record.detached || pod.state.phase.ended() || owned.contains(&uid) {
            continue;
        }
        match Worker::own(node, pod) {
            Ok(worker) => {
                owned.insert(uid.clone());
                workers.spawn(async move { (uid, worker.run().await.map(drop)) });
            }
            Err(WorkerError::Owned { .. }) => {}
            Err(err) => {
                tracing::error!(uid, err = crate::error::chain(&err), "cannot take a pod up")
            }
        }
    }
    Ok(())
}

/// Makes sure that an agent runs and has looked at the pods.
///
/// # Errors
/// When no agent comes up in time; its log says why.
pub async fn wake(paths: &Paths, arguments: &[std::ffi::OsString]) -> io::Result<()> {
    let deadline = Instant::now() + START_WAIT;
    let mut started: Option<Instant> = None;
    loop {
        if let Ok(mut stream) = UnixStream::connect(paths.agent_socket()).await {
            let mut answer = Vec::new();
            if stream.read_to_end(&mut answer).await.is_ok() && !answer.is_empty() {
                return Ok(());
            }
        } else if started.is_none_or(|at| at.elapsed() > START_AGAIN) {
            start(paths, arguments)?;
            started = Some(Instant::now());
        }
        if Instant::now() > deadline {
            let log = paths.agent_log();
            return Err(io::Error::other(format!(
                "the background rkubelet did not come up; see {}",
                log.display()
            )));
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Starts an agent in a session of its own, with its log for output.
fn start(paths: &Paths, arguments: &[std::ffi::OsString]) -> io::Result<()> {
    let log = fs_err::OpenOptions::new()
        .create(true)
        .append(true)
        .open(paths.agent_log())?
        .into_parts()
        .0;
    let mut command = Command::new("/proc/self/exe");
    command.arg0("rkubelet").args(arguments).arg("agent");
    command
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    command.spawn().map(drop)
}
