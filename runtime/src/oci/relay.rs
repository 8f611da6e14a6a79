//! The foreground: signals, the terminal's bytes, and the exit code of a process that we wait for.
//!
//! One loop over a handful of descriptors; no thread, and no signal is ever delivered.
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions, WaitOptions, waitid};

use super::process;
use super::signal::Signal;
use super::sys;
use super::terminal::{self, RawTerminal, TerminalError};

/// Bytes on their way in one direction.
const BUFFER: usize = 16 * 1024;
const CHLD: i32 = 17;
const WINCH: i32 = 28;

/// Why the foreground ended early.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum RelayError {
    /// Our own terminal.
    #[error(transparent)]
    Terminal(#[from] TerminalError),
    /// A system call of the loop.
    #[error("cannot {action}")]
    Loop {
        /// What was tried.
        action: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

fn failed(action: &'static str) -> impl Fn(io::Error) -> RelayError {
    move |source| RelayError::Loop { action, source }
}

/// Whether processes that lose their parent become ours to reap.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Orphans {
    /// They have an init of their own.
    Leave,
    /// We are their subreaper.
    Reap,
}

/// The signals that are sent to us from now on. Taken before the child is made, so that none is
/// lost between its first word and our wait.
#[derive(Debug)]
pub(super) struct Signals {
    fd: OwnedFd,
}

impl Signals {
    /// Has signals wait for [`run`].
    pub(super) fn take() -> Result<Signals, RelayError> {
        sys::signals_as_fd()
            .map(|fd| Signals { fd })
            .map_err(failed("read signals"))
    }
}

/// A child that is waited for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waited<'a> {
    /// Its pid.
    pub(super) pid: i32,
    /// Its pidfd.
    pub(super) pidfd: BorrowedFd<'a>,
    /// What else there is to reap.
    pub(super) orphans: Orphans,
}

/// Waits for a child to exit; meanwhile passes on signals and, with a `master`, what is typed and
/// printed. Returns the exit code: the program's own, or 128 and the signal.
pub(super) fn run(
    signals: &Signals,
    child: Waited<'_>,
    master: Option<OwnedFd>,
) -> Result<u8, RelayError> {
    let signals = &signals.fd;
    let mut pipes = master.map(Pipes::new).transpose()?;
    loop {
        let ready = wait(child.pidfd, signals, pipes.as_ref())?;
        let mut code = None;
        if ready.signals {
            code = forward(signals, child, pipes.as_ref())?;
        }
        if let Some(pipes) = &mut pipes {
            pipes.pump(&ready);
        }
        if ready.exited || code.is_some() {
            if let Some(pipes) = &mut pipes {
                pipes.drain();
            }
            return code.map_or_else(|| exit_code(child.pidfd), Ok);
        }
    }
}

#[derive(Debug, Default)]
struct Ready {
    exited: bool,
    signals: bool,
    input: bool,
    output: bool,
    writable: bool,
}

fn wait(
    pidfd: BorrowedFd<'_>,
    signals: &OwnedFd,
    pipes: Option<&Pipes>,
) -> Result<Ready, RelayError> {
    let stdin = io::stdin();
    let mut fds = vec![
        PollFd::new(&pidfd, PollFlags::IN),
        PollFd::new(signals, PollFlags::IN),
    ];
    let (mut input, mut master) = (None, None);
    if let Some(pipes) = pipes {
        let mut wanted = PollFlags::empty();
        wanted.set(PollFlags::IN, !pipes.output_ended);
        wanted.set(PollFlags::OUT, !pipes.pending.is_empty());
        if !wanted.is_empty() {
            master = Some(fds.len());
            fds.push(PollFd::new(&pipes.master, wanted));
        }
        if pipes.pending.is_empty() && !pipes.input_ended {
            input = Some(fds.len());
            fds.push(PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN));
        }
    }
    rustix::io::retry_on_intr(|| poll(&mut fds, None))
        .map_err(|errno| failed("wait for the container")(errno.into()))?;
    let any = |at: usize| !fds[at].revents().is_empty();
    let is = |at: Option<usize>, flags| at.is_some_and(|at| fds[at].revents().intersects(flags));
    Ok(Ready {
        exited: any(0),
        signals: any(1),
        input: input.is_some_and(any),
        output: is(master, PollFlags::IN | PollFlags::HUP | PollFlags::ERR),
        writable: is(master, PollFlags::OUT),
    })
}

/// The terminal's two directions. What was typed waits here while the container does not read.
struct Pipes {
    master: OwnedFd,
    pending: Vec<u8>,
    input_ended: bool,
    output_ended: bool,
    _raw: Option<RawTerminal>,
}

impl Pipes {
    fn new(master: OwnedFd) -> Result<Pipes, RelayError> {
        rustix::fs::fcntl_setfl(&master, rustix::fs::OFlags::NONBLOCK)
            .map_err(|errno| failed("set up the terminal")(errno.into()))?;
        terminal::copy_size(master.as_fd());
        let raw = RawTerminal::enter()?;
        Ok(Pipes {
            master,
            pending: Vec::new(),
            input_ended: false,
            output_ended: false,
            _raw: raw,
        })
    }

    fn pump(&mut self, ready: &Ready) {
        if ready.input {
            self.read_input();
        }
        if ready.writable || ready.input {
            self.write_pending();
        }
        if ready.output && !self.output_ended {
            self.copy_output();
        }
    }

    fn read_input(&mut self) {
        let mut buffer = [0; BUFFER];
        match rustix::io::read(io::stdin(), &mut buffer) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            Ok(0) | Err(_) => self.input_ended = true,
            Ok(length) => self.pending.extend_from_slice(&buffer[..length]),
        }
    }

    fn write_pending(&mut self) {
        match rustix::io::write(&self.master, &self.pending) {
            Ok(length) => drop(self.pending.drain(..length)),
            Err(Errno::AGAIN | Errno::INTR) => {}
            // Nobody will ever read it.
            Err(_) => self.pending.clear(),
        }
    }

    /// Copies one buffer; false when there is nothing (more) to copy.
    fn copy_output(&mut self) -> bool {
        let mut buffer = [0; BUFFER];
        match rustix::io::read(&self.master, &mut buffer) {
            Ok(length @ 1..) => {
                let mut out = io::stdout().lock();
                let written = out.write_all(&buffer[..length]).and_then(|()| out.flush());
                self.output_ended = written.is_err();
                !self.output_ended
            }
            Err(Errno::AGAIN | Errno::INTR) => false,
            // EIO: the last holder of the other end has closed it.
            Ok(0) | Err(_) => {
                self.output_ended = true;
                false
            }
        }
    }

    fn drain(&mut self) {
        while !self.output_ended && self.copy_output() {}
    }
}

/// Passes signals on. Returns the exit code, should the child be among those that were reaped.
fn forward(
    signals: &OwnedFd,
    child: Waited<'_>,
    pipes: Option<&Pipes>,
) -> Result<Option<u8>, RelayError> {
    let mut record = [0; sys::SIGNAL_RECORD];
    let mut code = None;
    while let Ok(length) = rustix::io::read(signals, &mut record) {
        if length < record.len() {
            break;
        }
        let number = i32::from_ne_bytes([record[0], record[1], record[2], record[3]]);
        match (number, pipes) {
            (CHLD, _) if child.orphans == Orphans::Reap => code = reap(child.pid).or(code),
            (CHLD, _) => {}
            (WINCH, Some(pipes)) => terminal::copy_size(pipes.master.as_fd()),
            (number, _) => {
                let Some(signal) = Signal::from_number(number) else {
                    continue;
                };
                // The process may have ended; the loop finds out.
                process::send(child.pidfd, signal).map_err(failed("forward a signal"))?;
            }
        }
    }
    Ok(code)
}

/// Reaps every zombie; the exit code is that of `child`, if it was one of them.
fn reap(child: i32) -> Option<u8> {
    let mut code = None;
    while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if pid.as_raw_nonzero().get() == child {
            code = Some(code_of(status.exit_status(), status.terminating_signal()));
        }
    }
    code
}

fn exit_code(pidfd: BorrowedFd<'_>) -> Result<u8, RelayError> {
    let status = rustix::io::retry_on_intr(|| waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED));
    let status = status.map_err(|errno| failed("reap the container")(errno.into()))?;
    Ok(status.map_or(255, |status| {
        code_of(status.exit_status(), status.terminating_signal())
    }))
}

fn code_of(status: Option<i32>, signal: Option<i32>) -> u8 {
    let code = status.or_else(|| signal.map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(255)
}
