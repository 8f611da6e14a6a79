//! The terminal of a container: where its master end goes, and the relay when that is ourselves.
//!
//! ```text
//! create/exec --console-socket S   child --SCM_RIGHTS--> S          (the engine's)
//! run/exec in the foreground       child --SCM_RIGHTS--> socketpair --> relay <--> our own terminal
//! ```
use std::io::{self, IsTerminal};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{BoxBuilder, Process};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr, tcsetwinsize};

/// Why there is no terminal.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum TerminalError {
    /// A detached container needs somebody who holds the master end.
    #[error("process.terminal is set: give --console-socket, or run in the foreground")]
    NoSocket,
    /// A socket without a terminal to send.
    #[error("--console-socket is given, but process.terminal is not set")]
    NoTerminal,
    /// The engine does not listen.
    #[error("cannot connect to the console socket {}", path.display())]
    Connect {
        /// The value of the flag.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// No socket pair could be made.
    #[error("cannot make a socket pair for the terminal")]
    Pair {
        /// What the kernel said.
        source: io::Error,
    },
    /// The child did not send its terminal.
    #[error("cannot receive the container's terminal")]
    Receive {
        /// What the kernel said.
        source: io::Error,
    },
    /// Our own terminal cannot be made raw.
    #[error("cannot set up the terminal")]
    Raw {
        /// What the kernel said.
        source: io::Error,
    },
}

/// Where the master end goes.
#[derive(Debug)]
pub(super) enum Console {
    /// There is none.
    None,
    /// To an engine.
    Socket(UnixStream),
    /// To ourselves.
    Relay {
        /// For the child.
        theirs: UnixStream,
        /// For [`receive_master`].
        ours: UnixStream,
    },
}

impl Console {
    /// Decides by what is wanted and given.
    pub(super) fn open(
        terminal: bool,
        socket: Option<&Path>,
        detached: bool,
    ) -> Result<Console, TerminalError> {
        match (terminal, socket) {
            (true, Some(path)) => {
                UnixStream::connect(path)
                    .map(Console::Socket)
                    .map_err(|source| TerminalError::Connect {
                        path: path.to_owned(),
                        source,
                    })
            }
            (true, None) if detached => Err(TerminalError::NoSocket),
            (true, None) => UnixStream::pair()
                .map(|(theirs, ours)| Console::Relay { theirs, ours })
                .map_err(|source| TerminalError::Pair { source }),
            (false, Some(_)) => Err(TerminalError::NoTerminal),
            (false, None) => Ok(Console::None),
        }
    }

    /// The end that the child sends its master through.
    pub(super) fn for_child(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Console::None => None,
            Console::Socket(socket) | Console::Relay { theirs: socket, .. } => Some(socket.as_fd()),
        }
    }

    /// A terminal that we relay starts with the size of ours.
    pub(super) fn size(&self, process: &mut Process) {
        let Console::Relay { .. } = self else { return };
        // Without a terminal of our own the config's size stays.
        if let Ok(size) = tcgetwinsize(io::stdin()) {
            let (height, width) = (u64::from(size.ws_row), u64::from(size.ws_col));
            let size = BoxBuilder::default().height(height).width(width).build();
            process.set_console_size(size.ok());
        }
    }

    /// Once the child has started: the master, if it is for us.
    pub(super) fn into_master(self) -> Result<Option<OwnedFd>, TerminalError> {
        match self {
            Console::None | Console::Socket(_) => Ok(None),
            Console::Relay { theirs, ours } => {
                // Ours alone is left then, so a child that died is an end of file.
                drop(theirs);
                let received = receive_master(&ours);
                received
                    .map(Some)
                    .map_err(|source| TerminalError::Receive { source })
            }
        }
    }
}

fn receive_master(socket: &UnixStream) -> io::Result<OwnedFd> {
    let mut name = [0_u8; 64];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [io::IoSliceMut::new(&mut name)];
    recvmsg(socket, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
    let fds = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    fds.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))
}

/// Our own terminal in raw mode, put back when dropped.
#[derive(Debug)]
pub(super) struct RawTerminal {
    before: Termios,
}

impl RawTerminal {
    /// Makes standard input raw; `None` when it is no terminal.
    pub(super) fn enter() -> Result<Option<RawTerminal>, TerminalError> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return Ok(None);
        }
        let failed = |errno: rustix::io::Errno| TerminalError::Raw {
            source: errno.into(),
        };
        let before = tcgetattr(&stdin).map_err(failed)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Drain, &raw).map_err(failed)?;
        Ok(Some(RawTerminal { before }))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // Nothing can be done about a terminal that is gone.
        let _ = tcsetattr(io::stdin(), OptionalActions::Drain, &self.before);
    }
}

/// Gives the container's terminal the size of ours.
pub(super) fn copy_size(master: BorrowedFd<'_>) {
    // Without a terminal of our own there is no size to copy, which is fine.
    if let Ok(size) = tcgetwinsize(io::stdin()) {
        let _ = tcsetwinsize(master, size);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_needs_somebody_who_holds_it() {
        assert!(matches!(
            Console::open(false, None, true),
            Ok(Console::None)
        ));
        assert!(matches!(
            Console::open(true, None, true),
            Err(TerminalError::NoSocket)
        ));
        assert!(matches!(
            Console::open(true, None, false),
            Ok(Console::Relay { .. })
        ));
        let socket = Some(Path::new("/nonexistent/console"));
        assert!(matches!(
            Console::open(false, socket, true),
            Err(TerminalError::NoTerminal)
        ));
        assert!(matches!(
            Console::open(true, socket, true),
            Err(TerminalError::Connect { .. })
        ));
    }

    #[test]
    fn a_child_that_sends_nothing_is_an_end_of_file() {
        let console = Console::open(true, None, false).unwrap();
        assert!(matches!(
            console.into_master(),
            Err(TerminalError::Receive { .. })
        ));
    }
}
