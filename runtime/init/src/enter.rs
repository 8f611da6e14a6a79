//! Everything between clone and execve, in order.
//!
//! The stages only look at the start record; policy was applied when it was built. Everything that names a place in
//! the container's files goes through descriptors below the root file system's, never through a path that the
//! container could have bent.

mod copy;
mod credentials;
mod descriptors;
mod dev;
mod masks;
mod mounts;
pub(crate) mod namespaces;
mod path;
pub(crate) mod procfs;
mod program;
mod rootfs;
mod terminal;

use crate::launch::Start;
use crate::record::layout::flag;
use crate::status::{Failure, Fault, Frame, Stage};
use crate::sys::{Fd, RawFd, fs, process};
use core::convert::Infallible;
use mounts::Mounting;

/// How the process came here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// Straight from the caller.
    Direct,
    /// By way of the intermediate process, which has joined cgroups and namespaces.
    Joined,
}

/// What the stages hand on to one another.
#[derive(Debug, Default)]
struct Progress {
    /// A procfs that the container cannot have touched.
    proc: Option<Fd>,
    /// The container's root directory.
    root: Option<Fd>,
    /// The terminal's slave.
    terminal: Option<Fd>,
}

/// Becomes the container's process, or reports why not, and exits.
pub(crate) fn enter(start: &Start<'_>, arrival: Arrival, wait: Option<RawFd>) -> ! {
    let Err(failure) = stages(start, arrival, wait);
    // The reader may be gone: that must not turn the exit code into a signal.
    let _ = process::set_signal_mask(u64::MAX);
    let _ = Frame::Failed(failure).send(start.status);
    process::exit(failure.exit_code())
}

fn stages(start: &Start<'_>, arrival: Arrival, wait: Option<RawFd>) -> Result<Infallible, Failure> {
    let record = &start.record;
    let mut so_far = Progress::default();
    at(Stage::Protect, namespaces::shield(start, &[wait]))?;
    if arrival == Arrival::Direct {
        if !namespaces::attaches_late(record) {
            at(Stage::Cgroups, namespaces::attach(start))?;
        }
        at(Stage::Join, namespaces::join_all(start))?;
    }
    at(Stage::IdMap, namespaces::await_map(record, wait))?; // sync 1
    so_far.proc = at(Stage::Procfs, procfs::open_for(record))?;
    at(
        Stage::OomScore,
        procfs::set_oom_score(record, so_far.proc.as_ref()),
    )?;
    at(Stage::IdMap, namespaces::become_root(record))?;
    at(Stage::Keyring, namespaces::new_keyring(record))?;
    if record.has(flag::EXEC) {
        so_far.root = Some(at(Stage::Rootfs, rootfs::open_current())?);
        so_far.terminal = at(Stage::Terminal, terminal::open(start, &so_far))?;
    } else {
        container(start, &mut so_far)?;
    }
    process(start, &so_far)
}

/// What makes the container around its first process.
fn container(start: &Start<'_>, so_far: &mut Progress) -> Result<(), Failure> {
    let record = &start.record;
    at(Stage::Hostname, namespaces::name_host(record))?;
    at(
        Stage::Sysctls,
        procfs::set_sysctls(record, so_far.proc.as_ref()),
    )?;
    let root = at(Stage::Rootfs, rootfs::attach(start))?;
    let proc = so_far.proc.as_ref();
    let mut mounting = Mounting::new();
    at(Stage::Mounts, mounting.before_cgroups(start, root, proc))?;
    at(Stage::Cgroups, namespaces::await_cgroups(start))?;
    if namespaces::attaches_late(record) {
        at(Stage::Cgroups, namespaces::attach(start))?;
    }
    at(Stage::Unshare, namespaces::make_cgroup(record))?;
    at(Stage::Mounts, mounting.finish(start, root, proc))?;
    at(Stage::Devices, dev::make_outside(start, root))?;
    so_far.root = Some(Fd::adopt(root));
    so_far.terminal = at(Stage::Terminal, terminal::open(start, so_far))?;
    at(Stage::Hooks, pause(start.hooks, start.status, Frame::Hooks))?; // sync 2
    at(Stage::Masks, masks::apply(record, root))?;
    at(Stage::ReadonlyPaths, masks::make_readonly(record, root))?;
    at(Stage::Cwd, program::make_directory(record, root))?;
    at(Stage::Pivot, rootfs::pivot(record, root))
}

/// What makes the process inside it.
fn process(start: &Start<'_>, so_far: &Progress) -> Result<Infallible, Failure> {
    let record = &start.record;
    at(
        Stage::Cwd,
        program::enter_directory(record, so_far.root.as_ref()),
    )?;
    at(Stage::Limits, program::set_limits(record))?;
    at(Stage::Scheduling, program::set_scheduling(record))?;
    at(
        Stage::Descriptors,
        descriptors::arrange(start, so_far.terminal.as_ref()),
    )?;
    at(
        Stage::Label,
        procfs::set_label(record, so_far.proc.as_ref()),
    )?;
    at(Stage::Credentials, credentials::assume(record))?;
    let path = &mut [0; program::PATH_MAX];
    let file = at(Stage::Lookup, program::find(record, path))?;
    let image = at(Stage::Exec, program::arguments(record))?;
    at(Stage::Seccomp, credentials::seal(start))?;
    at(Stage::Park, pause(start.park, start.status, Frame::Parked))?; // sync 3
    at(Stage::Exec, program::execute(file, &image))
}

/// Says where we are and waits for a byte, if somebody wants that.
fn pause(gate: Option<RawFd>, status: RawFd, frame: Frame) -> Result<(), Fault> {
    let Some(gate) = gate else { return Ok(()) };
    frame.send(status)?;
    if !fs::read_byte(gate)? {
        process::exit(0);
    }
    Ok(())
}

/// Names the stage of a failure.
pub(crate) fn at<T>(stage: Stage, done: Result<T, Fault>) -> Result<T, Failure> {
    done.map_err(|fault| Failure::new(stage, fault))
}
