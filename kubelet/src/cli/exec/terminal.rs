//! Our terminal joined with a program's: raw keys in, its screen out, its size ours.
use super::streams::copy;
use rkube_runtime::supervisor::Exec;
use rustix::termios::{
    OptionalActions, Termios, Winsize, isatty, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize,
};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// How long output is waited for after the program's end.
const DRAIN: Duration = Duration::from_secs(2);

/// A program's terminal, joined with ours until dropped.
pub(super) struct Terminal {
    master: File,
    output: Receiver<()>,
    _raw: Option<Raw>,
}

impl Terminal {
    /// Joins them. Without `stdin`, or where standard input is no terminal, no key is taken from us.
    pub(super) fn join(running: &Exec, stdin: bool) -> io::Result<Self> {
        let master = running
            .terminal
            .as_ref()
            .ok_or_else(|| io::Error::other("the program got no terminal"))?;
        let master = File::from(master.try_clone()?);
        let raw = (stdin && isatty(io::stdin())).then(Raw::set).transpose()?;
        if stdin {
            let keys = master.try_clone()?;
            // It reads our terminal for ever; the end of this process ends it.
            std::thread::spawn(move || copy(io::stdin().lock(), keys));
        }
        let screen = master.try_clone()?;
        let (done, output) = channel();
        std::thread::spawn(move || {
            copy(screen, io::stdout());
            let _ = done.send(());
        });
        let terminal = Terminal {
            master,
            output,
            _raw: raw,
        };
        terminal.resize();
        Ok(terminal)
    }

    /// Makes the program's terminal as large as ours.
    pub(super) fn resize(&self) {
        resize(self.master.as_fd());
    }

    /// Waits until all output is written, within bounds, and gives our terminal back.
    pub(super) fn finish(self) {
        let _ = self.output.recv_timeout(DRAIN);
    }
}

/// Makes a terminal as large as ours, if we have one.
pub(in crate::cli) fn resize(master: BorrowedFd<'_>) {
    if let Some(size) = winsize() {
        let _ = tcsetwinsize(master, size);
    }
}

/// The rows and columns of our terminal, if we have one.
pub(in crate::cli) fn size() -> Option<(u16, u16)> {
    winsize().map(|size| (size.ws_row, size.ws_col))
}

fn winsize() -> Option<Winsize> {
    let stdio = [
        tcgetwinsize(io::stdout().as_fd()),
        tcgetwinsize(io::stdin().as_fd()),
    ];
    stdio.into_iter().flatten().next()
}

/// Our terminal in raw mode; the old settings come back when it is dropped.
pub(in crate::cli) struct Raw(Termios);

impl Raw {
    pub(in crate::cli) fn set() -> io::Result<Self> {
        let old = tcgetattr(io::stdin())?;
        let mut raw = old.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Drain, &raw)?;
        Ok(Raw(old))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &self.0);
    }
}
