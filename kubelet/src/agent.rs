//! The one background process of this host's detached pods, and the post that it holds.
//!
//! ```text
//! rkubelet run --detach --(starts it if need be)--> agent: one worker for each detached pod
//!                       --- "look" on agent.sock -->   level-triggered: it reads the pods' folder
//! rkubelet serve        --- "leave" -------------->   it goes, and its pods go on under the daemon
//! ```
//! It ends with the last pod that needs it. It may be killed at any moment: pods go on under their
//! supervisors, and the next command that needs it starts a new one, which adopts them.
mod post;

pub use post::{Caller, Post, PostError, STAYS};

use crate::paths::Paths;
use crate::pods::Workers;
use crate::worker::{Node, WorkerError};
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long a command waits for a new agent to answer.
const START_WAIT: Duration = Duration::from_secs(10);
/// How long a new agent has before the next one is started: it may have found an agent that was just ending, and gone.
const START_AGAIN: Duration = Duration::from_millis(100);
/// How long an agent that finds nothing to do stays for whoever started it, who waits for its answer.
const LINGER: Duration = Duration::from_secs(1);
/// How soon an agent looks again at a pod that another process still has: twice as late each time.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// The longest such wait. Who has a pod for longer ends it: a command, with its grace.
const LOOK_AGAIN_MOST: Duration = Duration::from_secs(5);

/// Runs until no detached pod needs it, or until a daemon takes over. Returns at once if another agent is there.
///
/// # Errors
/// When its socket or the pods' folder cannot be used.
pub async fn serve(node: Node) -> io::Result<()> {
    // A session of its own: no terminal's hang-up and no Ctrl-C reaches it. It fails where that is so already.
    let _ = rustix::process::setsid();
    let Some(mut post) = Post::try_take(&node.paths)? else {
        tracing::info!("ending: another rkubelet looks after the detached pods");
        return Ok(());
    };
    // An agent refuses nothing; this is of a daemon that was killed.
    let _ = fs_err::remove_file(node.paths.problems());
    let mut workers = Workers::new(&node);
    let mut owes_answer_until = Some(tokio::time::Instant::now() + LINGER);
    loop {
        post.open()?;
        let mut held = look(&node, &mut workers)?;
        let mut patience = LOOK_AGAIN;
        while !workers.is_empty() || owes_answer_until.is_some() || held {
            let lingered = async {
                match owes_answer_until {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = lingered => owes_answer_until = None,
                () = tokio::time::sleep(patience), if held => {
                    let last = patience >= LOOK_AGAIN_MOST;
                    patience *= 2;
                    held = look(&node, &mut workers)? && !last;
                }
                caller = post.next() => match caller? {
                    Caller::Look(answer) => {
                        held = look(&node, &mut workers)?;
                        patience = LOOK_AGAIN;
                        answer.send("looked").await;
                        owes_answer_until = None;
                    }
                    Caller::Leave(answer) => {
                        tracing::info!("leaving: a daemon takes over");
                        post.close()?;
                        answer.send("leaving").await;
                        // The daemon has the post once this returns, and takes the pods at once.
                        workers.let_go().await;
                        return Ok(());
                    }
                },
                Some(_) = workers.next_end() => {}
            }
        }
        // Whoever connects from now on finds nobody and starts the next agent; who came in before the socket
        // went has its pod in the folder already.
        post.close()?;
        look(&node, &mut workers)?;
        if workers.is_empty() {
            return Ok(());
        }
    }
}

/// Takes every detached pod that is not over and not looked after. Whether another process has one of them.
fn look(node: &Node, workers: &mut Workers) -> io::Result<bool> {
    let (pods, broken) = node.paths.load_all()?;
    let mut held = false;
    for err in broken {
        tracing::error!(%err, "cannot read a pod");
    }
    for pod in pods {
        let uid = pod.record.uid().to_owned();
        if !pod.record.detached || pod.state.phase.ended() {
            continue;
        }
        match workers.take(pod) {
            Ok(()) => {}
            Err(WorkerError::Owned { .. }) => held = true,
            Err(err) => {
                tracing::error!(uid, err = crate::error::chain(&err), "cannot take a pod up");
            }
        }
    }
    Ok(held)
}

/// Makes sure that an agent or a daemon runs and has looked at the pods.
///
/// # Errors
/// When no agent comes up in time; its log says why.
pub async fn wake(paths: &Paths, arguments: &[std::ffi::OsString]) -> io::Result<()> {
    let deadline = Instant::now() + START_WAIT;
    let mut started: Option<Instant> = None;
    loop {
        if let Ok(answer) = post::ask(paths, "look").await {
            if !answer.words.is_empty() {
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

/// Has whoever holds the post look at the pods' folder again, if somebody does.
pub async fn poke(paths: &Paths) {
    // Nobody there: the next one looks by itself.
    let _ = post::ask(paths, "look").await;
}

/// Asks an agent to leave. A daemon stays: this is its pid.
pub async fn dismiss(paths: &Paths) -> Option<i32> {
    let said = post::ask(paths, "leave").await.ok()?;
    said.words.starts_with(STAYS).then_some(said.pid)
}

/// Starts an agent in a session of its own, with its log for output.
///
/// # Errors
/// When its log or its program cannot be used.
pub fn start(paths: &Paths, arguments: &[std::ffi::OsString]) -> io::Result<()> {
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
