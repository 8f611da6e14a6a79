//! `delete`: takes away what is left of a container.
use std::io;
use std::time::Duration;

use clap::Args;
use oci_spec::runtime::Hooks;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::cgroup::Cgroup;

use super::bundle::{self, BundleError};
use super::cli::{Context, Failure};
use super::container::{self, CgroupRemoveError, Container, LookError};
use super::hooks::{self, Stage};
use super::id::{ContainerId, IdError};
use super::kill::{self, KillError};
use super::log::Log;
use super::process::ProcessRef;
use super::root::{ContainerDir, StateError, StateRoot};
use super::signal;
use super::status::{IllegalOp, Op, Status};

/// How long a killed init may take to go: a task in uninterruptible sleep takes its time.
const PATIENCE: Duration = Duration::from_secs(10);

/// Delete a container that has stopped.
#[derive(Debug, Args)]
pub(super) struct Delete {
    /// Kill it first if need be, and succeed if there is none
    #[arg(long, short)]
    force: bool,
    /// The container
    id: String,
}

/// Why a container is still there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum DeleteError {
    /// The id cannot be one.
    #[error(transparent)]
    Id(#[from] IdError),
    /// The container cannot be looked at.
    #[error(transparent)]
    Look(#[from] LookError),
    /// Its directory cannot be locked or removed.
    #[error(transparent)]
    State(#[from] StateError),
    /// It has not stopped.
    #[error(transparent)]
    Illegal(#[from] IllegalOp),
    /// It cannot be killed.
    #[error("cannot kill container {id} before deleting it")]
    Kill {
        /// The container.
        id: String,
        /// Why not.
        source: Box<KillError>,
    },
    /// It was killed and does not end.
    #[error("container {id} did not end within {} s of SIGKILL", PATIENCE.as_secs())]
    Alive {
        /// The container.
        id: String,
    },
    /// It cannot be waited for.
    #[error("cannot wait for the end of container {id}")]
    Wait {
        /// The container.
        id: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Its cgroup cannot be removed.
    #[error(transparent)]
    Cgroup(#[from] CgroupRemoveError),
    /// The copy of its config, with its poststop hooks, cannot be read.
    #[error("cannot run the poststop hooks of container {id}")]
    Config {
        /// The container.
        id: String,
        /// Why not.
        source: BundleError,
    },
}

impl Delete {
    /// Deletes the container.
    pub(super) fn run(self, context: &Context) -> Result<u8, Failure> {
        let id: ContainerId = self.id.parse()?;
        match self.delete(&id, context) {
            Err(DeleteError::State(StateError::NotFound { .. })) if self.force => Ok(0),
            Ok(()) => Ok(0),
            Err(err) => Err(err.into()),
        }
    }

    fn delete(&self, id: &ContainerId, context: &Context) -> Result<(), DeleteError> {
        if self.force {
            // Before the lock: it is `create` that may hold it, waiting for this very init.
            kill_init(&context.root, id)?;
        }
        let dir = context.root.lock(id)?;
        let container = match Container::observe(dir) {
            Ok(Some(container)) => container,
            // `create` was killed before it made anything but the directory.
            Ok(None) => return Ok(context.root.lock(id)?.remove()?),
            Err(_) if self.force => return Ok(context.root.lock(id)?.remove()?),
            Err(err) => return Err(err.into()),
        };
        if self.force {
            end(&container)?;
        } else {
            container.status.allow(Op::Delete)?;
        }
        let hooks = hooks_of(&container.dir)?;
        let cgroup = container::left_cgroup(container.record.cgroup.as_deref())?;
        remove(container, cgroup.as_ref(), hooks.as_ref(), &context.log)
    }
}

fn kill_init(root: &StateRoot, id: &ContainerId) -> Result<(), DeleteError> {
    let dir = root.find(id)?;
    let init = dir
        .try_record()
        .ok()
        .flatten()
        .and_then(|record| record.init);
    if let Some(init) = init {
        // Whatever goes wrong here goes wrong again with the lock held, and is reported then.
        let _ = init.signal(signal::KILL);
    }
    Ok(())
}

/// Kills init and waits for its end. Its parent need not have reaped it.
fn end(container: &Container) -> Result<(), DeleteError> {
    let id = || container.dir.id().to_string();
    match (container.status, container.record.init) {
        (Status::Stopped, _) | (_, None) => Ok(()),
        (_, Some(init)) => {
            let creating = container.status == Status::Creating;
            let killed = if creating {
                Ok(())
            } else {
                kill::one(container, signal::KILL)
            };
            match killed {
                // It ended by itself.
                Ok(()) | Err(KillError::Illegal(_)) => wait_for_end(init, id),
                Err(source) => Err(DeleteError::Kill {
                    id: id(),
                    source: Box::new(source),
                }),
            }
        }
    }
}

fn wait_for_end(init: ProcessRef, id: impl Fn() -> String) -> Result<(), DeleteError> {
    let failed = |source| DeleteError::Wait { id: id(), source };
    let Some(pidfd) = init.open().map_err(failed)? else {
        return Ok(());
    };
    let patience = Timespec::try_from(PATIENCE).ok();
    let mut ended = [PollFd::new(&pidfd, PollFlags::IN)];
    let events = rustix::io::retry_on_intr(|| poll(&mut ended, patience.as_ref()));
    match events.map_err(|errno| failed(errno.into()))? {
        0 => Err(DeleteError::Alive { id: id() }),
        _ => Ok(()),
    }
}

fn hooks_of(dir: &ContainerDir) -> Result<Option<Hooks>, DeleteError> {
    match bundle::read(&dir.config_path()) {
        Ok(spec) => Ok(spec.hooks().clone()),
        // `create` was killed before it kept the config: then no hook has run either.
        Err(BundleError::Read { source }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(DeleteError::Config {
            id: dir.id().to_string(),
            source,
        }),
    }
}

/// Removes a container that has stopped, and then runs its poststop hooks.
pub(super) fn remove(
    container: Container,
    cgroup: Option<&Cgroup>,
    hooks: Option<&Hooks>,
    log: &Log,
) -> Result<(), DeleteError> {
    cgroup.map_or(Ok(()), container::remove_cgroup)?;
    let Container { dir, record, .. } = container;
    let gone = dir.unlock();
    dir.remove()?;
    if let Some(hooks) = hooks {
        let state = container::state_of(&gone, &record, Status::Stopped);
        for err in hooks::run_all(hooks, Stage::Poststop, &state) {
            log.warn(&err);
        }
    }
    Ok(())
}
