//! Commands with a bound on their time: run to their end, or watched while they run.
use crate::wait::{eventually, patience};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// A command to be.
#[derive(Debug)]
pub struct Invocation {
    command: Command,
    shown: String,
    stdin: Option<Vec<u8>>,
    seconds: u64,
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The exit code, or 128 and the signal's number.
    pub code: i32,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    shown: String,
}

impl Invocation {
    /// A command and what to call it in messages.
    #[must_use]
    pub fn new(command: Command, shown: String) -> Self {
        Invocation {
            command,
            shown,
            stdin: None,
            seconds: 60,
        }
    }
    /// What the command reads; without it, nothing.
    #[must_use]
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = Some(bytes.into());
        self
    }
    /// A variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }
    /// How long it should take, if that is not a minute ([`patience`]).
    #[must_use]
    pub fn within(mut self, seconds: u64) -> Self {
        self.seconds = seconds;
        self
    }
    /// The command as it stands, for what has no method here.
    pub fn command(&mut self) -> &mut Command {
        &mut self.command
    }

    /// Starts it.
    ///
    /// # Panics
    /// When it cannot be started.
    #[must_use]
    #[track_caller]
    pub fn start(mut self) -> Running {
        let stdin = if self.stdin.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        };
        self.command
            .stdin(stdin)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = self
            .command
            .spawn()
            .unwrap_or_else(|err| panic!("{}: {err}", self.shown));
        println!("$ {}", self.shown);
        let feeder = self.stdin.map(|bytes| {
            let mut pipe = child.stdin.take().expect("piped");
            // The command may end without reading all of it.
            std::thread::spawn(move || drop(pipe.write_all(&bytes)))
        });
        let stdout = Stream::of(child.stdout.take().expect("piped"));
        let stderr = Stream::of(child.stderr.take().expect("piped"));
        Running {
            child,
            shown: self.shown,
            stdout,
            stderr,
            feeder,
            seconds: self.seconds,
            ended: false,
        }
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// When it does not end in time.
    #[track_caller]
    pub fn run(self) -> Outcome {
        self.start().wait()
    }
}

/// A command that runs. It is killed when the value goes.
#[derive(Debug)]
pub struct Running {
    child: Child,
    shown: String,
    stdout: Stream,
    stderr: Stream,
    feeder: Option<JoinHandle<()>>,
    seconds: u64,
    ended: bool,
}

impl Running {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
    /// What it has written to standard output so far.
    #[must_use]
    pub fn stdout(&self) -> String {
        self.stdout.so_far()
    }
    /// What it has written to standard error so far.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.stderr.so_far()
    }
    /// Waits until standard output holds `text`.
    ///
    /// # Panics
    /// When it does not in time, or the command ended before.
    #[track_caller]
    pub fn await_stdout(&mut self, text: &str) {
        self.await_text(text, |running| running.stdout());
    }
    /// Waits until standard error holds `text`.
    ///
    /// # Panics
    /// When it does not in time, or the command ended before.
    #[track_caller]
    pub fn await_stderr(&mut self, text: &str) {
        self.await_text(text, |running| running.stderr());
    }

    #[track_caller]
    fn await_text(&mut self, text: &str, of: impl Fn(&Self) -> String) {
        let seconds = self.seconds;
        let mut over = false;
        eventually(seconds, &format!("{text:?} from {}", self.shown), || {
            if of(self).contains(text) {
                return Some(());
            }
            assert!(
                !over,
                "{} ended without {text:?}\n--- stdout\n{}\n--- stderr\n{}",
                self.shown,
                self.stdout(),
                self.stderr()
            );
            // One more look after the end: the last words may still be on their way.
            over = self.ended() && self.stdout.over() && self.stderr.over();
            None
        });
    }

    /// Whether it has ended.
    ///
    /// # Panics
    /// When the kernel has forgotten the process.
    pub fn ended(&mut self) -> bool {
        self.child.try_wait().expect("our own child").is_some()
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// When it is gone.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        kill_process(self.own_pid(), signal)
            .unwrap_or_else(|err| panic!("{signal:?} to {}: {err}", self.shown));
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When that takes too long.
    #[track_caller]
    pub fn wait(mut self) -> Outcome {
        use std::os::unix::process::ExitStatusExt;
        let patience = patience(self.seconds);
        assert!(
            self.ends_within(patience),
            "{} still runs after {} s\n--- stdout\n{}\n--- stderr\n{}",
            self.shown,
            patience.as_secs(),
            self.stdout(),
            self.stderr()
        );
        let status = self.child.wait().expect("our own child");
        self.ended = true;
        if let Some(feeder) = self.feeder.take() {
            drop(feeder.join());
        }
        let outcome = Outcome {
            code: status
                .code()
                .unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
            stdout: self.stdout.finish(),
            stderr: self.stderr.finish(),
            shown: self.shown.clone(),
        };
        println!("{outcome}");
        outcome
    }

    fn own_pid(&self) -> Pid {
        i32::try_from(self.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .expect("a pid")
    }

    fn ends_within(&mut self, time: Duration) -> bool {
        if self.ended() {
            return true;
        }
        let pidfd =
            pidfd_open(self.own_pid(), PidfdFlags::empty()).expect("our own child has a pidfd");
        let time = Timespec::try_from(time).expect("a bound in range");
        loop {
            match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&time)) {
                Ok(count) => return count > 0,
                Err(rustix::io::Errno::INTR) => {}
                Err(err) => panic!("poll: {err}"),
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            println!(
                "--- {} was still watched\n--- stdout\n{}\n--- stderr\n{}",
                self.shown,
                self.stdout(),
                self.stderr()
            );
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Outcome {
    /// Insists on an exit code.
    ///
    /// # Panics
    /// When it is another.
    #[track_caller]
    pub fn code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self}");
        self
    }
    /// Insists on success.
    ///
    /// # Panics
    /// When it failed.
    #[track_caller]
    pub fn ok(self) -> Self {
        self.code(0)
    }
    /// Insists on a text in standard output.
    ///
    /// # Panics
    /// When it is not there.
    #[track_caller]
    pub fn says(self, text: &str) -> Self {
        assert!(
            self.stdout.contains(text),
            "no {text:?} in standard output of\n{self}"
        );
        self
    }
    /// Insists on a text in standard error.
    ///
    /// # Panics
    /// When it is not there.
    #[track_caller]
    pub fn complains(self, text: &str) -> Self {
        assert!(
            self.stderr.contains(text),
            "no {text:?} in standard error of\n{self}"
        );
        self
    }
    /// The lines that container `name` wrote, as `rkubelet run` prefixes them.
    #[must_use]
    pub fn log(&self, name: &str) -> String {
        lines_of(&self.stdout, name)
    }
}

/// The lines that container `name` wrote, without their prefix.
fn lines_of(text: &str, name: &str) -> String {
    let mut lines = String::new();
    for line in text.lines() {
        if let Some((prefix, rest)) = line.split_once(" | ")
            && prefix.trim_end() == name
        {
            lines.push_str(rest);
            lines.push('\n');
        }
    }
    lines
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Outcome {
            code,
            stdout,
            stderr,
            shown,
        } = self;
        write!(
            formatter,
            "{shown}: exit code {code}\n--- stdout\n{stdout}--- stderr\n{stderr}---"
        )
    }
}

/// What comes out of a pipe, gathered by a thread.
#[derive(Debug)]
struct Stream {
    text: Arc<Mutex<Vec<u8>>>,
    thread: Option<JoinHandle<()>>,
}

impl Stream {
    fn of(pipe: impl Read + Send + 'static) -> Self {
        let text: Arc<Mutex<Vec<u8>>> = Arc::default();
        let shared = text.clone();
        let thread = std::thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            while let Ok(bytes) = pipe.fill_buf() {
                if bytes.is_empty() {
                    return;
                }
                shared
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .extend_from_slice(bytes);
                let count = bytes.len();
                pipe.consume(count);
            }
        });
        Stream {
            text,
            thread: Some(thread),
        }
    }
    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().unwrap_or_else(PoisonError::into_inner))
            .into_owned()
    }
    fn over(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
    /// All of it. A process that was left behind must not hold the pipe: that would be a leak worth failing for.
    fn finish(&mut self) -> String {
        let deadline = std::time::Instant::now() + patience(10);
        while !self.over() {
            assert!(
                std::time::Instant::now() < deadline,
                "a process that was left behind holds the command's output open"
            );
            std::thread::park_timeout(Duration::from_millis(1));
        }
        self.so_far()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_are_told_apart_by_their_prefix() {
        let text = "a  | one\nbb | two\na  | three | four\nnot a log\n";
        assert_eq!(lines_of(text, "a"), "one\nthree | four\n");
        assert_eq!(lines_of(text, "bb"), "two\n");
    }

    #[test]
    fn codes_and_streams_are_those_of_the_command() {
        let mut command = Command::new("sh");
        command.args(["-c", "cat; echo err >&2; kill -TERM $$"]);
        let outcome = Invocation::new(command, "sh".into()).stdin("hello").run();
        assert_eq!(
            (
                outcome.code,
                outcome.stdout.as_str(),
                outcome.stderr.as_str()
            ),
            (143, "hello", "err\n")
        );
    }
}
