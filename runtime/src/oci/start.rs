//! `start`: lets the parked init execute the user's program.
use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;

use clap::Args;
use oci_spec::runtime::{Hook, Process, Spec};

use crate::spawn::{self, SpawnError};

use super::bundle::{self, BundleError};
use super::cli::{Context, Failure};
use super::container::{self, Container, LookError};
use super::exec::Entry;
use super::hooks::{self, HookError, Stage};
use super::root::StateError;
use super::signal;
use super::status::{IllegalOp, Op, Status};

/// Start the program of a created container.
#[derive(Debug, Args)]
pub(super) struct Start {
    /// The container
    id: String,
}

/// Why a container was not started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum StartError {
    /// The container cannot be looked at.
    #[error(transparent)]
    Look(#[from] LookError),
    /// It is not in the status for it.
    #[error(transparent)]
    Illegal(#[from] IllegalOp),
    /// Its fifos cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// The copy of its config cannot be read.
    #[error(transparent)]
    Config(#[from] BundleError),
    /// A startContainer hook failed; the container was killed.
    #[error(transparent)]
    Hook(#[from] HookError),
    /// Init cannot be woken.
    #[error("cannot wake the first process of container {id}")]
    Wake {
        /// The container.
        id: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The program could not be executed.
    #[error("container {id}: cannot start {program}")]
    Program {
        /// The container.
        id: String,
        /// `process.args[0]`.
        program: String,
        /// Why not.
        source: SpawnError,
    },
}

impl Start {
    /// Starts the container.
    pub(super) fn run(self, context: &Context) -> Result<u8, Failure> {
        let container = Container::lock(&context.root, &self.id).map_err(StartError::Look)?;
        let spec = bundle::read(&container.dir.config_path()).map_err(StartError::Config)?;
        container
            .status
            .allow(Op::Start)
            .map_err(StartError::Illegal)?;
        run_hooks(context, &container, &spec).map_err(StartError::Hook)?;
        wake(&container, &spec)?;
        if let Some(hooks) = spec.hooks() {
            let state = container::state_of(&container.dir, &container.record, Status::Running);
            for err in hooks::run_all(hooks, Stage::Poststart, &state) {
                context.log.warn(&err);
            }
        }
        Ok(0)
    }
}

/// Runs the startContainer hooks; when one fails the container is killed.
pub(super) fn run_hooks(
    context: &Context,
    container: &Container,
    spec: &Spec,
) -> Result<(), HookError> {
    let Some(hooks) = spec.hooks() else {
        return Ok(());
    };
    let inside = |hook| run_inside(context, container, spec, hook);
    let done = Stage::StartContainer
        .hooks(hooks)
        .iter()
        .try_for_each(inside);
    if done.is_err()
        && let Some(init) = container.record.init
    {
        // The hook's error is the one to tell; `delete --force` kills again.
        let _ = init.signal(signal::KILL);
    }
    done
}

/// A hook inside the container is an exec with the container's own privileges.
fn run_inside(
    context: &Context,
    container: &Container,
    spec: &Spec,
    hook: &Hook,
) -> Result<(), HookError> {
    let process = hook_process(hook, spec.process().as_ref());
    hooks::supervise(hook, Stage::StartContainer, &container.state(), |streams| {
        let (input, output) = (streams.input.as_fd(), streams.output.as_fd());
        let entry = Entry {
            container,
            spec,
            process: &process,
        };
        let stdio = [Some(input), Some(output), Some(output)];
        let mut child = entry
            .spawn(context, 0, None, stdio)
            .map_err(io::Error::other)?;
        child.wait_exec().map_err(io::Error::other)?;
        child.pidfd.try_clone()
    })
}

fn hook_process(hook: &Hook, of_container: Option<&Process>) -> Process {
    let mut process = of_container.cloned().unwrap_or_default();
    let arguments = hook.args().iter().flatten().skip(1).cloned();
    let path = hook.path().to_string_lossy().into_owned();
    process.set_args(Some(std::iter::once(path).chain(arguments).collect()));
    process.set_env(hook.env().clone());
    process.set_cwd(PathBuf::from("/"));
    process.set_terminal(Some(false));
    process
}

fn wake(container: &Container, spec: &Spec) -> Result<(), StartError> {
    // Init may have been killed since the status was read.
    let Some(parked) = container.dir.open_fifos()? else {
        Status::Stopped.allow(Op::Start)?;
        return Ok(());
    };
    let id = || container.dir.id().to_string();
    rustix::io::write(&parked.start, &[0]).map_err(|errno| StartError::Wake {
        id: id(),
        source: errno.into(),
    })?;
    spawn::read_outcome(parked.status.as_fd()).map_err(|source| StartError::Program {
        id: id(),
        program: program(spec),
        source,
    })
}

fn program(spec: &Spec) -> String {
    let args = spec
        .process()
        .as_ref()
        .and_then(|process| process.args().as_ref());
    args.and_then(|args| args.first())
        .cloned()
        .unwrap_or_default()
}
