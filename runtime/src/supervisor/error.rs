//! What can go wrong between a client and a supervisor.

use std::io;
use std::path::PathBuf;

use rkube_init::protocol::BootStep;

use super::types::Failure;

/// Why a pod's supervisor could not be started, found, or made to do something.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SupervisorError {
    /// A file of the pod's state directory.
    #[error("cannot prepare the supervisor's directory {}", dir.display())]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another supervisor is at work there.
    #[error("a supervisor is already running for {} (pid {pid}); connect to it", dir.display())]
    Running {
        /// The directory.
        dir: PathBuf,
        /// The supervisor.
        pid: u32,
    },
    /// A value that cannot be passed on.
    #[error("the sandbox cannot be described: {what}")]
    Config {
        /// What is wrong with it.
        what: String,
    },
    /// The process did not come to life.
    #[error("cannot start the supervisor")]
    Launch {
        /// Why.
        source: io::Error,
    },
    /// The process could not set itself up.
    #[error("the supervisor cannot {}", step.words())]
    Boot {
        /// What failed.
        step: BootStep,
        /// Which one of several.
        index: u32,
        /// Why.
        source: io::Error,
    },
    /// There is no supervisor in this directory, or not any more.
    #[error("no supervisor is running for {}", dir.display())]
    Gone {
        /// The directory.
        dir: PathBuf,
    },
    /// The connection broke, or the other side does not speak our language.
    #[error("the supervisor at {} cannot be talked to", dir.display())]
    Connection {
        /// The directory.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No answer in time.
    #[error("the supervisor at {} does not answer; it may be stopped or its disk may hang", dir.display())]
    Timeout {
        /// The directory.
        dir: PathBuf,
    },
    /// The supervisor does not know this container.
    #[error("the supervisor knows no container {name}")]
    Unknown {
        /// The container.
        name: String,
    },
    /// The request was understood and refused.
    #[error("container {name}: {failure}")]
    Refused {
        /// The container.
        name: String,
        /// Why.
        failure: Failure,
    },
}

impl SupervisorError {
    /// The failure of a container's start, for its exit code and its words.
    #[must_use]
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Refused { failure, .. } => Some(failure),
            _ => None,
        }
    }
}
