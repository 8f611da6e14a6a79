//! `run`: create and start in one, and in the foreground delete as well.
use clap::Args;
use rustix::process::{getpid, set_child_subreaper};
use std::os::fd::AsFd;

use super::cli::{Context, Failure};
use super::create::{self, CreateFlags};
use super::creation::{self, Created, Until};
use super::delete;
use super::hooks::{self, Stage};
use super::relay::{self, Orphans, Signals, Waited};
use super::status::Status;

/// Create a container and run its program.
///
/// In the foreground the exit code is the program's own, or 128 plus the signal that ended it; 125
/// is an error of the runtime, 126 a program that cannot be executed, 127 one that is not there.
#[derive(Debug, Args)]
pub(super) struct Run {
    #[command(flatten)]
    flags: CreateFlags,
    /// Do not wait for the program
    #[arg(long, short)]
    detach: bool,
    /// Do not delete the container when the program has ended
    #[arg(long)]
    keep: bool,
    /// Do not adopt processes that lose their parent
    #[arg(long)]
    no_subreaper: bool,
    /// A name of its own for the container
    id: String,
}

impl Run {
    /// Runs the container; the code is the program's unless detached.
    pub(super) fn run(self, context: &Context) -> Result<u8, Failure> {
        let (until, signals) = match self.detach {
            true => (Until::StartedDetached, None),
            false => (Until::Started, Some(Signals::take()?)),
        };
        let created = creation::create(context, &self.id, &self.flags, until);
        let mut created = created.map_err(create::failure)?;
        let hooks = created.spec.hooks().clone();
        if let Some(hooks) = &hooks {
            let state = created.container.state();
            for err in hooks::run_all(hooks, Stage::Poststart, &state) {
                context.log.warn(&err);
            }
        }
        let Some(signals) = signals else { return Ok(0) };
        let code = self.wait(&mut created, &signals);
        // What is left must go even when the wait failed; the first error is the one to tell.
        if self.keep {
            return code;
        }
        let mut container = created.container;
        container.status = Status::Stopped;
        let cgroup = created.cgroup.as_ref();
        let removed = delete::remove(container, cgroup, hooks.as_ref(), &context.log);
        let code = code?;
        removed?;
        Ok(code)
    }

    fn wait(&self, created: &mut Created, signals: &Signals) -> Result<u8, Failure> {
        let mut orphans = Orphans::Leave;
        if !self.no_subreaper && !created.own_pid_namespace {
            // An old kernel without subreapers leaves orphans to the host's init.
            if set_child_subreaper(Some(getpid())).is_ok() {
                orphans = Orphans::Reap;
            }
        }
        let pidfd = created.child.pidfd.as_fd();
        let child = Waited {
            pid: created.child.pid,
            pidfd,
            orphans,
        };
        Ok(relay::run(signals, child, created.master.take())?)
    }
}
