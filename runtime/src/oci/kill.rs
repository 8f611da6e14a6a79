//! `kill`: a signal for init, or for everybody in the container.
use std::io;

use clap::Args;

use super::cli::{Context, Failure};
use super::container::{CgroupUseError, Container, LookError};
use super::process::ProcessRef;
use super::signal::{self, Signal, SignalError};
use super::status::{IllegalOp, Op, Status};

/// Send a signal to a container's first process.
#[derive(Debug, Args)]
pub(super) struct Kill {
    /// Send it to all processes in the container's cgroup
    #[arg(long, short)]
    all: bool,
    /// The container
    id: String,
    /// Name or number
    #[arg(default_value = "TERM")]
    signal: String,
}

/// Why a signal was not sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum KillError {
    /// The container cannot be looked at.
    #[error(transparent)]
    Look(#[from] LookError),
    /// There is no such signal.
    #[error(transparent)]
    Signal(#[from] SignalError),
    /// The container does not run.
    #[error(transparent)]
    Illegal(#[from] IllegalOp),
    /// Its processes cannot be found, or not be thawed to die.
    #[error(transparent)]
    Cgroup(#[from] CgroupUseError),
    /// The kernel refused the signal.
    #[error("cannot send signal {signal} to container {id}")]
    Send {
        /// The container.
        id: String,
        /// The signal's number.
        signal: i32,
        /// What the kernel said.
        source: io::Error,
    },
}

impl Kill {
    /// Sends the signal.
    pub(super) fn run(self, context: &Context) -> Result<u8, Failure> {
        self.send(context)?;
        Ok(0)
    }

    fn send(&self, context: &Context) -> Result<(), KillError> {
        let signal: Signal = self.signal.parse()?;
        let container = Container::look(&context.root, &self.id)?;
        if self.all {
            all(&container, signal)
        } else {
            one(&container, signal)
        }
    }
}

/// Signals init; one that is frozen is thawed to die.
pub(super) fn one(container: &Container, signal: Signal) -> Result<(), KillError> {
    container.status.allow(Op::Kill)?;
    let sent = match container.record.init {
        Some(init) => init
            .signal(signal)
            .map_err(|source| failed(container, signal, source))?,
        None => false,
    };
    if !sent {
        Status::Stopped.allow(Op::Kill)?;
    }
    thaw_to_die(container, signal)
}

/// Signals everybody in the cgroup. Nobody being there is fine: that is what is asked for.
fn all(container: &Container, signal: Signal) -> Result<(), KillError> {
    if container.record.cgroup.is_none() {
        return one(container, signal);
    }
    if container.status == Status::Stopped && container.cgroup().is_err() {
        return Ok(());
    }
    let cgroup = container.cgroup()?;
    let pids = cgroup
        .all_pids()
        .map_err(|source| container.cgroup_error(source))?;
    for pid in pids {
        let Ok(pid) = i32::try_from(pid) else {
            continue;
        };
        // A process that ends meanwhile has no need of the signal.
        let Ok(process) = ProcessRef::observe(pid) else {
            continue;
        };
        process
            .signal(signal)
            .map_err(|source| failed(container, signal, source))?;
    }
    thaw_to_die(container, signal)
}

/// In a frozen v1 cgroup even SIGKILL waits for the thaw.
fn thaw_to_die(container: &Container, signal: Signal) -> Result<(), KillError> {
    if signal == signal::KILL && container.status == Status::Paused {
        let cgroup = container.cgroup()?;
        cgroup
            .thaw()
            .map_err(|source| container.cgroup_error(source))?;
    }
    Ok(())
}

fn failed(container: &Container, signal: Signal, source: io::Error) -> KillError {
    KillError::Send {
        id: container.dir.id().to_string(),
        signal: signal.number(),
        source,
    }
}
