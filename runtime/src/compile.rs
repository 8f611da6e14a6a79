//! From an OCI spec to a start record: everything is checked, looked up and opened here, before anything is forked.
//!
//! What the spec names on the host (the root file system, bind sources, namespaces to join) becomes a descriptor:
//! detached mounts and open namespaces. The new process gets the record and the descriptors, and reads no paths of
//! the host any more.

mod capabilities;
mod cgroupfs;
mod devices;
mod error;
mod id_maps;
mod label;
mod mounts;
mod namespaces;
mod options;
mod overlay;
mod process;
mod rootfs;
mod sysctls;
#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Process, Spec};
use rkube_init::record::layout::flag;

pub use error::CompileError;
pub use options::names as mount_options;
pub use rootfs::layers_to_read;

use crate::record::StartRecord;

/// What to start.
#[derive(Debug)]
pub struct Request<'a> {
    /// The container.
    pub spec: &'a Spec,
    /// What relative paths of the spec are relative to.
    pub bundle: &'a Path,
    /// Where the root file system comes from.
    pub rootfs: Rootfs,
    /// What is bound at these destinations, already found and open (`O_PATH` will do): of such a mount the spec's `source` is
    /// not looked at, so that nobody can put something else in its place meanwhile.
    pub sources: &'a [(PathBuf, OwnedFd)],
    /// The cgroup to start in.
    pub cgroup: CgroupAttach,
    /// The filter to load.
    pub seccomp: Option<Seccomp>,
    /// What differs from the usual.
    pub settings: Settings,
}

/// Where a container's root file system comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rootfs {
    /// `root.path` of the spec.
    Bundle,
    /// Layers with a directory on top that takes the changes.
    Overlay {
        /// The layers, the uppermost first.
        lowers: Vec<PathBuf>,
        /// Where changes go.
        upper: PathBuf,
        /// The kernel's workplace, on the same file system as `upper`.
        work: PathBuf,
        /// Never synced to disk: not to be used again after a crash.
        volatile: bool,
    },
    /// Layers that nothing can be written to.
    ReadOnlyOverlay {
        /// The layers, the uppermost first.
        lowers: Vec<PathBuf>,
    },
}

/// How the process gets into its cgroup.
#[derive(Debug, Default)]
pub struct CgroupAttach {
    /// A cgroup v2 directory, to be born in.
    pub into: Option<OwnedFd>,
    /// `cgroup.procs` files, open for writing, to move by itself.
    pub procs: Vec<OwnedFd>,
}

/// A compiled seccomp filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seccomp {
    /// An array of `struct sock_filter`.
    pub program: Vec<u8>,
    /// `SECCOMP_FILTER_FLAG_*`.
    pub flags: u32,
}

/// What a caller may want to be different.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Settings {
    /// Kill the container when the process that started it dies.
    pub die_with_parent: bool,
    /// Keep the caller's session keyring.
    pub keep_keyring: bool,
    /// Change the root by chroot(2): for hosts whose root is an initramfs.
    pub no_pivot: bool,
    /// How many descriptors after the standard ones the program inherits.
    pub preserve_fds: u32,
}

/// A start, ready to be carried out by `spawn` or by a supervisor.
#[derive(Debug)]
pub struct Launch {
    /// The encoded start record.
    pub record: Vec<u8>,
    /// The descriptors it counts.
    pub fds: Vec<OwnedFd>,
}

/// What to execute in a running container.
#[derive(Debug)]
pub struct ExecRequest<'a> {
    /// The container's spec: which namespaces it has.
    pub spec: &'a Spec,
    /// The additional process.
    pub process: &'a Process,
    /// The pidfd of the container's first process; or `None`, to be given when it is started.
    pub target: Option<BorrowedFd<'a>>,
    /// The container's cgroup.
    pub cgroup: CgroupAttach,
    /// The filter to load.
    pub seccomp: Option<Seccomp>,
    /// What differs from the usual.
    pub settings: Settings,
}

/// Collects the descriptors while the record is made.
#[derive(Debug, Default)]
struct Draft {
    record: StartRecord,
    fds: Vec<OwnedFd>,
}

impl Draft {
    /// The index that stands for the descriptor in the record.
    fn add(&mut self, fd: OwnedFd) -> u32 {
        self.fds.push(fd);
        u32::try_from(self.fds.len() - 1).unwrap_or(u32::MAX)
    }

    fn finish(self) -> Result<Launch, CompileError> {
        let record = self
            .record
            .encode(self.fds.len())
            .map_err(|source| CompileError::Encode { source })?;
        Ok(Launch {
            record,
            fds: self.fds,
        })
    }
}

/// Checks a spec and prepares everything for its first process.
pub fn compile(request: Request<'_>) -> Result<Launch, CompileError> {
    let Request {
        spec,
        bundle,
        rootfs,
        sources,
        cgroup,
        seccomp,
        settings,
    } = request;
    let process = spec
        .process()
        .as_ref()
        .ok_or_else(|| CompileError::missing("process"))?;
    let mut draft = Draft::default();
    namespaces::compile(&mut draft, spec)?;
    process::compile(&mut draft, process)?;
    draft.record.flags |= flag::CREATE_CWD;
    rootfs::compile(&mut draft, spec, bundle, &rootfs)?;
    mounts::compile(&mut draft, spec, bundle, sources)?;
    devices::compile(&mut draft, spec)?;
    sysctls::compile(&mut draft, spec)?;
    finish(draft, cgroup, seccomp, settings)
}

/// Checks an additional process for a running container.
pub fn compile_exec(request: ExecRequest<'_>) -> Result<Launch, CompileError> {
    let ExecRequest {
        spec,
        process,
        target,
        cgroup,
        seccomp,
        settings,
    } = request;
    let mut draft = Draft::default();
    draft.record.flags |= flag::EXEC;
    namespaces::compile_exec(&mut draft, spec);
    process::compile(&mut draft, process)?;
    if let Some(target) = target {
        let copy = target
            .try_clone_to_owned()
            .map_err(|source| CompileError::Descriptor { source })?;
        draft.record.target = Some(draft.add(copy));
    }
    finish(draft, cgroup, seccomp, settings)
}

fn finish(
    mut draft: Draft,
    cgroup: CgroupAttach,
    seccomp: Option<Seccomp>,
    settings: Settings,
) -> Result<Launch, CompileError> {
    if let Some(dir) = cgroup.into {
        draft.record.cgroup = Some(draft.add(dir));
    }
    for procs in cgroup.procs {
        let index = draft.add(procs);
        draft.record.attach.push(index);
    }
    if let Some(filter) = seccomp {
        draft.record.seccomp = filter.program;
        draft.record.seccomp_flags = filter.flags;
    }
    let flags = [
        (settings.die_with_parent, flag::DIE_WITH_PARENT),
        (settings.keep_keyring, flag::KEEP_KEYRING),
        (settings.no_pivot, flag::NO_PIVOT),
    ];
    draft.record.flags |= flags
        .iter()
        .filter(|(on, _)| *on)
        .fold(0, |all, (_, bit)| all | bit);
    draft.record.keep = (0..settings.preserve_fds).map(|n| n + 3).collect();
    draft.finish()
}

/// open_tree(2) on a descriptor: a detached copy of what it stands for.
fn clone_open(source: BorrowedFd<'_>, recursive: bool) -> io::Result<OwnedFd> {
    use std::os::fd::AsRawFd as _;
    let tree = rkube_init::sys::mount::clone_tree(source.as_raw_fd(), c"", recursive);
    tree.map(crate::sys::fd::own).map_err(crate::sys::fd::error)
}

/// open_tree(2) on a path of the host: a detached copy of what is mounted there.
fn clone_tree(path: &Path, recursive: bool) -> io::Result<OwnedFd> {
    use std::os::unix::ffi::OsStrExt as _;
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    let tree = rkube_init::sys::mount::clone_tree(rkube_init::sys::fs::CWD, &path, recursive);
    tree.map(crate::sys::fd::own).map_err(crate::sys::fd::error)
}
