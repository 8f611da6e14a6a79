//! Containers and events as callers see them.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;

use rkube_init::protocol::{self, ContainerState, Exited, Refusal, Refused, Wiring};
use rkube_init::status;

/// What the supervisor knows about one container.
#[derive(Debug)]
pub struct Container {
    /// The supervisor's number for it.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Which run of that name it is.
    pub attempt: u32,
    /// Where it stands.
    pub state: ContainerState,
    /// How its streams are wired.
    pub wiring: Wiring,
    /// When it was started, and once it has ended, how.
    pub exited: Exited,
    /// Why it never ran, if its start failed.
    pub failure: Option<Failure>,
    /// Bytes in the log file being written.
    pub log_size: u64,
    /// Bytes of output that the log could not take.
    pub log_dropped: u64,
    /// Its first process, while that lives; only in a snapshot.
    pub pidfd: Option<OwnedFd>,
}

impl Container {
    pub(super) fn new(id: u32, shown: &protocol::Container, pidfd: Option<OwnedFd>) -> Self {
        Self {
            id,
            name: shown.name.as_str().to_owned(),
            attempt: shown.attempt,
            state: shown.state,
            wiring: shown.wiring,
            exited: shown.exited,
            failure: Failure::new(&shown.refused),
            log_size: shown.log_size,
            log_dropped: shown.log_dropped,
            pidfd,
        }
    }
}

/// Something that happened, told without being asked.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event {
    /// A container's program runs.
    Started(Container),
    /// A container's first process has ended, and all it wrote is in the log.
    Exited(Container),
    /// A process that this connection exec'd has ended.
    ExecExited {
        /// The exec's number.
        id: u32,
        /// How.
        exited: Exited,
    },
    /// A container's log has begun a new file.
    LogRotated(Container),
}

/// Why the supervisor, or the process it forked, did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// A stage of the start failed.
    Stage(status::Failure),
    /// The process ended before its program ran, and did not say why; most likely it was killed.
    Vanished,
    /// A system call of the supervisor's own failed, with this error number.
    Call(i32),
    /// The supervisor does not understand the request.
    Malformed,
    /// A living container has this name.
    Exists,
    /// The container is not in a state for this.
    State,
    /// The supervisor's tables are full.
    Full,
    /// The supervisor does not know what this is about.
    Unknown,
}

impl Failure {
    pub(super) fn new(refused: &Refused) -> Option<Self> {
        Some(match refused.why {
            Refusal::None => return None,
            Refusal::Malformed => Self::Malformed,
            Refusal::Unknown => Self::Unknown,
            Refusal::Exists => Self::Exists,
            Refusal::State => Self::State,
            Refusal::Full => Self::Full,
            Refusal::Call => Self::Call(refused.errno),
            Refusal::Vanished => Self::Vanished,
            Refusal::Stage => match status::Frame::read(&refused.said) {
                Some(status::Frame::Failed(failure)) => Self::Stage(failure),
                _ => Self::Vanished,
            },
        })
    }

    /// The exit code that people expect of such a failure: 127 not found, 126 not executable, 125
    /// anything else.
    #[must_use]
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Stage(failure) => failure.exit_code(),
            _ => 125,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stage(failure) => {
                let error = io::Error::from_raw_os_error(failure.errno);
                write!(f, "cannot {}", failure.stage.words())?;
                if failure.step != status::Step::None {
                    write!(f, ": {}", failure.step.words())?;
                }
                write!(f, ": {error}")
            }
            Self::Call(errno) => write!(
                f,
                "the supervisor failed: {}",
                io::Error::from_raw_os_error(*errno)
            ),
            Self::Vanished => f.write_str("the process was killed before its program ran"),
            Self::Malformed => f.write_str("the supervisor does not understand the request"),
            Self::Exists => f.write_str("a container of that name is still there"),
            Self::State => f.write_str("the container is not in a state for this"),
            Self::Full => f.write_str("the supervisor cannot keep any more"),
            Self::Unknown => f.write_str("the supervisor does not know it"),
        }
    }
}
