//! Control groups: one [`Cgroup`] is one path in every hierarchy of the host.
//!
//! cgroups v1, v2 and the hybrid of both differ in rows of one table ([`plan`]), in how devices are
//! filtered ([`devices`]) and in which files numbers are read from ([`stats`]); there is one writer
//! and one reader. The version is a property of each controller, found out at run time.
//!
//! ```text
//! Hierarchies::detect -> Cgroup::create(path) -> apply(resources) -> attach -> ... -> kill -> delete
//! ```
//!
//! Not here: which path a pod or container gets (the caller's business), and waiting for processes.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::LinuxResources;

mod create;
pub mod devices;
mod error;
pub mod events;
pub mod hierarchies;
pub mod naming;
pub mod plan;
mod processes;
mod remove;
pub mod stats;
#[cfg(test)]
mod tests;

pub use error::CgroupError;
pub use events::OomWatch;
pub use hierarchies::{DetectError, Hierarchies, Tree, Version};
pub use naming::SpecPath;
pub use plan::{Controllers, PlanError, weight_from_shares};
pub use stats::Stats;

use hierarchies::canonical;
use plan::{IfMissing, Write};

/// One cgroup: the same relative path in all hierarchies.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
    nodes: Vec<Node>,
    /// v2 controllers that an ancestor would not hand down, and where it was refused.
    refused: BTreeMap<String, (PathBuf, io::Error)>,
}

/// The directory of a cgroup in one hierarchy.
#[derive(Debug)]
struct Node {
    version: Version,
    controllers: Vec<String>,
    dir: PathBuf,
}

/// Descriptors through which processes get into a cgroup without looking up any path.
#[derive(Debug)]
pub struct Attach {
    /// `cgroup.procs` of every v1 hierarchy, open for writing: a process that writes `0` moves in.
    pub procs: Vec<OwnedFd>,
    /// `cgroup.procs` of the unified hierarchy.
    pub unified_procs: Option<OwnedFd>,
    /// The directory in the unified hierarchy, for `CLONE_INTO_CGROUP`.
    pub unified_dir: Option<OwnedFd>,
}

impl Cgroup {
    /// Makes the directories of `path` (below the mount point, a leading `/` does not matter) in all
    /// hierarchies, and hands the v2 controllers down to its parent directory.
    ///
    /// Directories that exist are kept as they are; when it fails, those that it made are gone.
    pub fn create(hierarchies: &Hierarchies, path: &Path) -> Result<Self, CgroupError> {
        let path = relative(path)?;
        let mut cgroup = Self {
            path,
            nodes: Vec::new(),
            refused: BTreeMap::new(),
        };
        let mut made = Vec::new();
        for tree in hierarchies.trees() {
            if let Err(err) = cgroup.create_in(tree, &mut made) {
                for dir in made.iter().rev() {
                    // Best effort: the first error is the one to tell.
                    let _ = fs::remove_dir(dir);
                }
                return Err(err);
            }
        }
        Ok(cgroup)
    }

    /// The existing cgroup at `path`; hierarchies without it are left out.
    pub fn open(hierarchies: &Hierarchies, path: &Path) -> Result<Self, CgroupError> {
        let path = relative(path)?;
        let nodes: Vec<Node> = hierarchies
            .trees()
            .iter()
            .map(|tree| Node::new(tree, tree.mount.join(&path)))
            .filter(|node| node.dir.is_dir())
            .collect();
        if nodes.is_empty() {
            return Err(CgroupError::NotFound { path });
        }
        Ok(Self {
            path,
            nodes,
            refused: BTreeMap::new(),
        })
    }

    /// The path relative to the root of the hierarchies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory that has `controller` (`name=systemd` and `devices` are controllers too; the
    /// unified hierarchy has all that v1 does not).
    pub fn dir(&self, controller: &str) -> Option<&Path> {
        self.node(controller)
            .or_else(|| self.unified())
            .map(|node| node.dir.as_path())
    }

    /// Every directory of this cgroup: the v1 ones and then the unified one.
    pub fn dirs(&self) -> impl Iterator<Item = (Version, &Path)> {
        self.nodes
            .iter()
            .map(|node| (node.version, node.dir.as_path()))
    }

    /// The controllers that can be used in this cgroup.
    pub fn controllers(&self) -> Controllers {
        let own = |node: &Node| match node.version {
            Version::V1 => node.controllers.clone(),
            Version::V2 => {
                // `cgroup` stands for the core files, which every v2 cgroup has.
                let mut list = vec!["cgroup".to_owned()];
                let text = fs::read_to_string(node.dir.join("cgroup.controllers"));
                list.extend(
                    text.unwrap_or_default()
                        .split_whitespace()
                        .map(str::to_owned),
                );
                list
            }
        };
        let list: Vec<(String, Version)> = self
            .nodes
            .iter()
            .flat_map(|node| own(node).into_iter().map(|name| (name, node.version)))
            .collect();
        Controllers::new(list.iter().map(|(name, version)| (name.as_str(), *version)))
    }

    /// Sets the limits. What `resources` does not mention stays as it is.
    pub fn apply(&self, resources: &LinuxResources) -> Result<(), CgroupError> {
        let writes = plan::writes(resources, &self.controllers()).map_err(|err| self.why(err))?;
        if let Some(memory) = resources.memory()
            && memory.check_before_update() == Some(true)
            && let Some(limit) = memory.limit().and_then(|limit| u64::try_from(limit).ok())
            && let Some(usage) = self.memory_usage()
            && usage > limit
        {
            return Err(CgroupError::LimitBelowUsage { limit, usage });
        }
        self.write_all(&writes)?;
        if let Some(rules) = resources.devices() {
            self.apply_devices(rules)?;
        }
        Ok(())
    }

    /// Writes in order. Some pairs only fit in one order, which depends on what is set now (memory
    /// with swap, quota with period): a write that the kernel finds invalid is tried again after the
    /// others.
    fn write_all(&self, writes: &[Write]) -> Result<(), CgroupError> {
        let mut again = Vec::new();
        for write in writes {
            match self.write(write) {
                Err(CgroupError::Write { source, .. }) if is_invalid(&source) => again.push(write),
                other => other?,
            }
        }
        again.into_iter().try_for_each(|write| self.write(write))
    }

    fn write(&self, write: &Write) -> Result<(), CgroupError> {
        let Some(node) = self.node(&write.controller) else {
            return Err(CgroupError::NotFound {
                path: self.path.clone(),
            });
        };
        match (
            write_file(&node.dir.join(write.file.as_ref()), &write.value),
            &write.if_missing,
        ) {
            (Err(CgroupError::Write { source, .. }), IfMissing::Skip) if is_missing(&source) => {
                Ok(())
            }
            (Err(CgroupError::Write { source, .. }), IfMissing::Try(other))
                if is_missing(&source) =>
            {
                self.write(other)
            }
            (result, _) => result,
        }
    }

    /// Moves a process (all its threads) into this cgroup. Slow (8-10 ms) when no process was moved
    /// on this machine for some 15 ms: see [`Hierarchies::warm`].
    pub fn attach(&self, pid: u32) -> Result<(), CgroupError> {
        for node in &self.nodes {
            write_file(&node.dir.join("cgroup.procs"), &pid.to_string())?;
        }
        Ok(())
    }

    /// Opens the ways in: see [`Attach`].
    pub fn attach_fds(&self) -> Result<Attach, CgroupError> {
        let mut attach = Attach {
            procs: Vec::new(),
            unified_procs: None,
            unified_dir: None,
        };
        for node in &self.nodes {
            let procs = open_to_write(&node.dir.join("cgroup.procs"))?;
            match node.version {
                Version::V1 => attach.procs.push(procs.into()),
                Version::V2 => {
                    let dir = fs::File::open(&node.dir).map_err(|source| CgroupError::Read {
                        file: node.dir.clone(),
                        source,
                    })?;
                    attach.unified_procs = Some(procs.into());
                    attach.unified_dir = Some(dir.into());
                }
            }
        }
        Ok(attach)
    }

    /// Lets an OOM kill inside take all processes of this cgroup: v2's `memory.oom.group`. v1 has
    /// nothing like it, and kernels before 4.19 neither: there the return value is `false`.
    pub fn set_oom_group(&self) -> Result<bool, CgroupError> {
        let Some(node) = self
            .node("memory")
            .filter(|node| node.version == Version::V2)
        else {
            return Ok(false);
        };
        match write_file(&node.dir.join("memory.oom.group"), "1") {
            Ok(()) => Ok(true),
            Err(CgroupError::Write { source, .. }) if is_missing(&source) => Ok(false),
            Err(err) => Err(err),
        }
    }

    /// The names of the cgroups directly below this one.
    pub fn children(&self) -> Result<Vec<String>, CgroupError> {
        let mut names = Vec::new();
        for node in &self.nodes {
            names.extend(subdirs(&node.dir)?);
        }
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    /// Whether any of the directories is still there.
    pub fn exists(&self) -> bool {
        self.nodes.iter().any(|node| node.dir.is_dir())
    }

    fn node(&self, controller: &str) -> Option<&Node> {
        let wanted = canonical(controller);
        let has = |node: &&Node| {
            node.controllers
                .iter()
                .any(|name| canonical(name) == wanted)
        };
        self.nodes
            .iter()
            .find(has)
            .or_else(|| self.unified().filter(|_| wanted == "cgroup"))
    }

    fn unified(&self) -> Option<&Node> {
        self.nodes.iter().find(|node| node.version == Version::V2)
    }

    /// The better error, when the controller is there but was not handed down to us.
    fn why(&self, err: PlanError) -> CgroupError {
        if let PlanError::MissingController { field, controller } = &err
            && let Some((dir, refused)) = self.refused.get(controller)
        {
            return CgroupError::NotDelegated {
                field: field.to_string(),
                controller: controller.clone(),
                dir: dir.clone(),
                source: clone_error(refused),
            };
        }
        CgroupError::Plan(err)
    }
}

impl Node {
    fn new(tree: &Tree, dir: PathBuf) -> Self {
        Self {
            version: tree.version,
            controllers: tree.controllers.clone(),
            dir,
        }
    }
}

/// `path` without a leading `/`; nothing that climbs or stays is allowed.
fn relative(path: &Path) -> Result<PathBuf, CgroupError> {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::RootDir => {}
            Component::Normal(name) => out.push(name),
            Component::CurDir | Component::ParentDir | Component::Prefix(_) => {
                return Err(CgroupError::BadPath {
                    path: path.to_owned(),
                });
            }
        }
    }
    if out.as_os_str().is_empty() {
        return Err(CgroupError::BadPath {
            path: path.to_owned(),
        });
    }
    Ok(out)
}

fn subdirs(dir: &Path) -> Result<Vec<String>, CgroupError> {
    let failed = |source| CgroupError::Read {
        file: dir.to_owned(),
        source,
    };
    let entries = match fs::read_dir(dir) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(failed)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(names)
}

fn read_file(file: &Path) -> Result<String, CgroupError> {
    fs::read_to_string(file).map_err(|source| CgroupError::Read {
        file: file.to_owned(),
        source,
    })
}

/// Opened without creating: a control file that is not there must stay ENOENT.
fn open_to_write(file: &Path) -> Result<fs::File, CgroupError> {
    OpenOptions::new()
        .write(true)
        .open(file)
        .map_err(|source| CgroupError::Write {
            file: file.to_owned(),
            value: String::new(),
            source,
        })
}

fn write_file(file: &Path, value: &str) -> Result<(), CgroupError> {
    let result = OpenOptions::new()
        .write(true)
        .open(file)
        .and_then(|mut open| open.write_all(value.as_bytes()));
    result.map_err(|source| CgroupError::Write {
        file: file.to_owned(),
        value: value.to_owned(),
        source,
    })
}

fn is_missing(err: &io::Error) -> bool {
    err.kind() == io::ErrorKind::NotFound
}

fn is_invalid(err: &io::Error) -> bool {
    err.kind() == io::ErrorKind::InvalidInput
}

/// The same OS error again (`io::Error` is not `Clone`).
fn clone_error(err: &io::Error) -> io::Error {
    err.raw_os_error()
        .map_or_else(|| err.kind().into(), io::Error::from_raw_os_error)
}
