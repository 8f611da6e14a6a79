//! The post of whoever looks after this host's detached pods, an agent or the daemon: one lock, one socket.
//!
//! A caller writes one word in a line and reads one line. `look`: read the pods' folder again. `leave`: let a daemon
//! have the post; a daemon answers that it stays.
use crate::lock::Lock;
use crate::paths::Paths;
use rustix::process::{Pid, Signal, kill_process};
use std::io;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

/// The longest word.
const WORD_LIMIT: u64 = 64;
/// How long a caller may take to say its word, and the holder to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the holder has to go after it was asked to.
const LEAVE_WAIT: Duration = Duration::from_secs(5);
/// Between two looks at the lock of a holder that is going.
const LOOK_AGAIN: Duration = Duration::from_millis(2);
/// What a daemon answers to `leave`.
pub const STAYS: &str = "serving";

/// Why the post cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PostError {
    /// A daemon has it.
    #[error(
        "another `rkubelet serve` (pid {pid}) looks after this host's pods; stop it first, or give this one another --run-root and --root"
    )]
    Serving {
        /// Its process.
        pid: i32,
    },
    /// Whoever has it does not let go.
    #[error(
        "the process that looks after this host's pods does not let go of {lock}; see who has it with `fuser {lock}`"
    )]
    Stuck {
        /// The lock.
        lock: String,
    },
    /// The lock or the socket cannot be used.
    #[error("cannot take over this host's pods")]
    Io(#[from] io::Error),
}

/// The post, held for as long as this lives.
#[derive(Debug)]
pub struct Post {
    paths: Paths,
    open: Option<Open>,
    _lock: Lock,
}

#[derive(Debug)]
struct Open {
    callers: mpsc::Receiver<Caller>,
    listener: tokio::task::JoinHandle<()>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

impl Drop for Post {
    fn drop(&mut self) {
        // Whoever finds a socket that nobody listens on takes it for none; this is tidiness.
        if self.open.is_some() {
            let _ = self.close();
        }
    }
}

/// Somebody who wants something of the holder.
#[derive(Debug)]
pub enum Caller {
    /// Look at the pods' folder.
    Look(Answer),
    /// Let a daemon have the post.
    Leave(Answer),
}

/// A caller that waits.
#[derive(Debug)]
pub struct Answer(UnixStream);

impl Answer {
    /// Tells the caller, and hangs up.
    pub async fn send(self, words: &str) {
        let Answer(mut stream) = self;
        let line = format!("{words}\n");
        // The kernel's buffer takes it at once; a caller that went away is no concern of the pods.
        let _ = stream.write_all(line.as_bytes()).await;
    }
}

impl Post {
    /// Takes the post if nobody has it.
    ///
    /// # Errors
    /// When the lock cannot be made.
    pub fn try_take(paths: &Paths) -> io::Result<Option<Self>> {
        let lock = crate::lock::try_exclusive(&paths.agent_lock())?;
        Ok(lock.map(|lock| Post {
            paths: paths.clone(),
            open: None,
            _lock: lock,
        }))
    }

    /// Takes the post, and asks an agent that has it to leave.
    ///
    /// # Errors
    /// When a daemon has it, or nobody can be made to leave.
    pub async fn take_over(paths: &Paths) -> Result<Self, PostError> {
        let deadline = Instant::now() + LEAVE_WAIT;
        let mut asked: Option<i32> = None;
        loop {
            if let Some(post) = Self::try_take(paths)? {
                return Ok(post);
            }
            if asked.is_none()
                && let Ok(answer) = ask(paths, "leave").await
            {
                if answer.words.starts_with(STAYS) {
                    return Err(PostError::Serving { pid: answer.pid });
                }
                asked = Some(answer.pid);
            }
            if Instant::now() > deadline {
                break;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Self::force(paths, asked)
    }

    /// An agent may be killed at any moment; one that does not go when asked is.
    fn force(paths: &Paths, agent: Option<i32>) -> Result<Self, PostError> {
        let stuck = || PostError::Stuck {
            lock: paths.agent_lock().display().to_string(),
        };
        let pid = agent.and_then(Pid::from_raw).ok_or_else(stuck)?;
        tracing::warn!(
            pid = pid.as_raw_nonzero(),
            "killing an agent that does not leave"
        );
        kill_process(pid, Signal::KILL).map_err(io::Error::from)?;
        // It is let go with the process; waiting is bounded by the kernel's exit.
        let deadline = Instant::now() + PATIENCE;
        loop {
            match Self::try_take(paths)? {
                Some(post) => return Ok(post),
                None if Instant::now() > deadline => return Err(stuck()),
                None => std::thread::sleep(LOOK_AGAIN),
            }
        }
    }

    /// Listens for callers.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn open(&mut self) -> io::Result<()> {
        let path = self.paths.agent_socket();
        if path.exists() {
            fs_err::remove_file(&path)?;
        }
        let listener = UnixListener::bind(&path)?;
        let (sender, callers) = mpsc::channel(16);
        let listener = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let sender = sender.clone();
                tokio::spawn(async move {
                    if let Some(caller) = caller(stream).await {
                        let _ = sender.send(caller).await;
                    }
                });
            }
        });
        self.open = Some(Open { callers, listener });
        Ok(())
    }

    /// The next caller. May be dropped and called again.
    ///
    /// # Errors
    /// When the socket is not open any more.
    pub async fn next(&mut self) -> io::Result<Caller> {
        let open = self.open.as_mut();
        let open = open.ok_or_else(|| io::Error::other("the post is closed"))?;
        let caller = open.callers.recv().await;
        caller.ok_or_else(|| io::Error::other("the agent's socket does not work any more"))
    }

    /// Whoever calls from now on finds nobody.
    ///
    /// # Errors
    /// When the socket cannot be removed.
    pub fn close(&mut self) -> io::Result<()> {
        self.open = None;
        match fs_err::remove_file(self.paths.agent_socket()) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// Hears what the caller wants. One that says nothing wants a look.
async fn caller(stream: UnixStream) -> Option<Caller> {
    if stream.peer_cred().ok()?.uid() != 0 {
        return None;
    }
    let mut stream = BufReader::new(stream);
    let mut word = String::new();
    let read = async {
        (&mut stream)
            .take(WORD_LIMIT)
            .read_line(&mut word)
            .await
            .is_ok()
    };
    if !tokio::time::timeout(PATIENCE, read).await.unwrap_or(true) {
        return None;
    }
    let answer = Answer(stream.into_inner());
    Some(match word.trim() {
        "leave" => Caller::Leave(answer),
        _ => Caller::Look(answer),
    })
}

/// What the holder said, and who it is.
pub(super) struct Said {
    pub(super) words: String,
    pub(super) pid: i32,
}

/// Says a word to the holder of the post.
pub(super) async fn ask(paths: &Paths, word: &str) -> io::Result<Said> {
    let mut stream = UnixStream::connect(paths.agent_socket()).await?;
    let pid = stream.peer_cred()?.pid().unwrap_or(0);
    let mut words = Vec::new();
    let conversation = async {
        // An agent of the first version says its answer without listening, and hangs up.
        let _ = stream.write_all(format!("{word}\n").as_bytes()).await;
        let _ = stream.read_to_end(&mut words).await;
    };
    let _ = tokio::time::timeout(2 * PATIENCE, conversation).await;
    let words = String::from_utf8_lossy(&words).trim().to_owned();
    Ok(Said { words, pid })
}
