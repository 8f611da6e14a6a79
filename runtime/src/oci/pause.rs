//! `pause` and `resume`: the freezer.
use clap::Args;

use super::cli::{Context, Failure};
use super::container::{CgroupUseError, Container, LookError};
use super::status::{IllegalOp, Op};

/// Suspend all processes of a container.
#[derive(Debug, Args)]
pub(super) struct Pause {
    /// The container
    id: String,
}

/// Resume the processes of a paused container.
#[derive(Debug, Args)]
pub(super) struct Resume {
    /// The container
    id: String,
}

/// Why a container was not paused or resumed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum PauseError {
    /// The container cannot be looked at.
    #[error(transparent)]
    Look(#[from] LookError),
    /// It is in no status for it.
    #[error(transparent)]
    Illegal(#[from] IllegalOp),
    /// The freezer cannot be used.
    #[error(transparent)]
    Cgroup(#[from] CgroupUseError),
}

impl Pause {
    /// Freezes.
    pub(super) fn run(self, context: &Context) -> Result<u8, Failure> {
        freeze(context, &self.id, Op::Pause)?;
        Ok(0)
    }
}

impl Resume {
    /// Thaws.
    pub(super) fn run(self, context: &Context) -> Result<u8, Failure> {
        freeze(context, &self.id, Op::Resume)?;
        Ok(0)
    }
}

fn freeze(context: &Context, id: &str, op: Op) -> Result<(), PauseError> {
    let container = Container::lock(&context.root, id)?;
    container.status.allow(op)?;
    let cgroup = container.cgroup()?;
    let done = if op == Op::Pause {
        cgroup.freeze()
    } else {
        cgroup.thaw()
    };
    Ok(done.map_err(|source| container.cgroup_error(source))?)
}
