//! The mounts of the spec: sources are opened, options sorted, and destinations that are never right are refused.

use std::ffi::OsStr;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::{LinuxNamespaceType, Mount as SpecMount, Spec};
use rkube_init::record::layout::{LATE_MAX, flag, source, trait_of};

use super::options::Options;
use super::{CompileError, Draft, cgroupfs, clone_open, clone_tree, id_maps, namespaces};
use crate::record::Mount;
use crate::sys::fd::error;

/// The only places of procfs where something else may be mounted: files whose contents are about the host.
const ON_PROC: [&str; 8] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/net/dev",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
];
const PROC_MAGIC: u64 = 0x9fa0;

pub(super) fn compile(
    draft: &mut Draft,
    spec: &Spec,
    bundle: &Path,
    sources: &[(PathBuf, OwnedFd)],
) -> Result<(), CompileError> {
    for (index, mount) in spec.mounts().iter().flatten().enumerate() {
        let given = sources.iter().find(|(path, _)| path == mount.destination());
        let one = One {
            spec,
            bundle,
            mount,
            given: given.map(|(_, source)| source.as_fd()),
            index,
            options: Options::parse(mount.options().as_deref().unwrap_or_default()),
        };
        one.compile(draft)?;
    }
    let late = |mount: &&Mount| mount.traits & trait_of::READONLY_LATE != 0;
    if draft.record.mounts.iter().filter(late).count() > LATE_MAX {
        return Err(CompileError::invalid(
            "mounts",
            format!("more than {LATE_MAX} read-only tmpfs mounts"),
        ));
    }
    let linux = spec.linux().as_ref();
    let paths = |field: &str, list: Option<&Vec<String>>| {
        let each = list.into_iter().flatten().enumerate();
        each.map(|(index, path)| normal(&format!("{field}[{index}]"), Path::new(path)))
            .collect::<Result<Vec<_>, _>>()
    };
    draft.record.masked = paths(
        "linux.maskedPaths",
        linux.and_then(|linux| linux.masked_paths().as_ref()),
    )?;
    draft.record.readonly = paths(
        "linux.readonlyPaths",
        linux.and_then(|linux| linux.readonly_paths().as_ref()),
    )?;
    Ok(())
}

/// An absolute path without `.`, `..` and double slashes. `..` stops at the root.
pub(super) fn normal(field: &str, path: &Path) -> Result<Vec<u8>, CompileError> {
    let mut parts: Vec<&OsStr> = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => parts.push(name),
            Component::ParentDir => drop(parts.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    if parts.is_empty() {
        return Err(CompileError::invalid(
            field,
            format!("{} is the container's root", path.display()),
        ));
    }
    if path.as_os_str().len() >= 4096 {
        return Err(CompileError::invalid(field, "is longer than 4095 bytes"));
    }
    Ok(parts
        .iter()
        .flat_map(|name| [b"/", name.as_bytes()].concat())
        .collect())
}

/// One mount of the spec.
pub(super) struct One<'a> {
    pub(super) spec: &'a Spec,
    bundle: &'a Path,
    mount: &'a SpecMount,
    /// What to bind, if the caller has opened it.
    given: Option<BorrowedFd<'a>>,
    index: usize,
    pub(super) options: Options,
}

impl One<'_> {
    pub(super) fn field(&self, name: &str) -> String {
        format!("mounts[{}].{name}", self.index)
    }

    fn compile(mut self, draft: &mut Draft) -> Result<(), CompileError> {
        let destination = normal(&self.field("destination"), self.mount.destination())?;
        let kind = self.mount.typ().as_deref().unwrap_or("none").to_owned();
        let bind = self.options.bind.is_some() || kind == "bind";
        self.check_destination(&destination, &kind, bind)?;
        if bind {
            return self.bind(draft, destination);
        }
        if kind == "cgroup" {
            return cgroupfs::compile(&self, draft, &destination);
        }
        if kind == "none" {
            return Err(CompileError::invalid(
                self.field("type"),
                "is required, unless the options say bind or rbind",
            ));
        }
        let tmpfs = kind == "tmpfs";
        let mut mount = self.filesystem(&kind, destination);
        match (kind.as_str(), mount.destination.as_slice()) {
            ("proc", b"/proc") => mount.traits |= trait_of::PROC | trait_of::REAL_DIRECTORY,
            ("sysfs", b"/sys") => self.sysfs(draft, &mut mount)?,
            ("tmpfs" | "devtmpfs", b"/dev") => mount.traits |= trait_of::REAL_DIRECTORY,
            _ => {}
        }
        if tmpfs && mount.destination == b"/dev" {
            mount.traits |= trait_of::DEV;
        } else if mount.destination == b"/dev" {
            draft.record.flags |= flag::KEEP_DEV;
        }
        if tmpfs && mount.set & libc::MOUNT_ATTR_RDONLY != 0 {
            mount.set &= !libc::MOUNT_ATTR_RDONLY;
            mount.traits |= trait_of::READONLY_LATE;
        }
        if std::mem::take(&mut self.options.copy_up) {
            if !tmpfs {
                return Err(CompileError::invalid(
                    self.field("options"),
                    "tmpcopyup is for tmpfs only",
                ));
            }
            mount.traits |= trait_of::COPY_UP;
        }
        draft.record.mounts.push(mount);
        Ok(())
    }

    /// What can be said without looking at the image; the rest is checked on the real directories.
    fn check_destination(
        &self,
        destination: &[u8],
        kind: &str,
        bind: bool,
    ) -> Result<(), CompileError> {
        let path = Path::new(OsStr::from_bytes(destination));
        let refuse = |why: &str| {
            Err(CompileError::invalid(
                self.field("destination"),
                format!("{}: {why}", path.display()),
            ))
        };
        if path == Path::new("/proc") {
            return if kind == "proc" || bind {
                Ok(())
            } else {
                refuse("only a procfs may be mounted there")
            };
        }
        if path.starts_with("/proc") && !ON_PROC.iter().any(|allowed| path == Path::new(allowed)) {
            return refuse(
                "nothing may be mounted inside of /proc except cpuinfo, diskstats, loadavg, meminfo, net/dev, stat, swaps and uptime",
            );
        }
        Ok(())
    }

    /// A mount of a file system that is made in the container.
    pub(super) fn filesystem(&self, fstype: &str, destination: Vec<u8>) -> Mount {
        let mut options = self.options.rest.clone();
        let source = self.mount.source().as_ref().and_then(|path| path.to_str());
        if let Some(source) = source.filter(|source| !source.is_empty()) {
            options.insert(0, ("source".into(), source.to_owned()));
        }
        Mount {
            source: source::FILESYSTEM,
            options,
            fstype: fstype.to_owned(),
            ..self.placed(destination)
        }
    }

    /// What all kinds of mounts have in common.
    pub(super) fn placed(&self, destination: Vec<u8>) -> Mount {
        let text = String::from_utf8_lossy(&destination);
        let on_proc = ON_PROC.contains(&text.as_ref());
        Mount {
            traits: if on_proc { trait_of::ON_PROC } else { 0 },
            destination,
            set: self.options.one.set,
            clear: self.options.one.clear,
            set_all: self.options.all.set,
            clear_all: self.options.all.clear,
            propagation: self.options.propagation,
            origin: u32::try_from(self.index).unwrap_or(u32::MAX),
            ..Mount::default()
        }
    }

    /// The root of a user namespace may make a sysfs only if it owns the network namespace too.
    fn sysfs(&self, draft: &mut Draft, mount: &mut Mount) -> Result<(), CompileError> {
        mount.traits |= trait_of::REAL_DIRECTORY;
        if namespaces::has(self.spec, LinuxNamespaceType::User) {
            let path = Path::new("/sys");
            let tree = clone_tree(path, true)
                .map_err(|source| CompileError::open(self.field("source"), path, source))?;
            mount.tree = Some(draft.add(tree));
            mount.traits |= trait_of::FALLBACK;
        }
        Ok(())
    }

    fn bind(mut self, draft: &mut Draft, destination: Vec<u8>) -> Result<(), CompileError> {
        if let Some((key, _)) = self.options.rest.first() {
            return Err(CompileError::invalid(
                self.field("options"),
                format!("{key:?} is not an option of bind mounts"),
            ));
        }
        let path = self.bind_source()?;
        let open = |source| CompileError::open(self.field("source"), &path, source);
        let recursive = self.options.bind == Some(true);
        let tree = match self.given {
            Some(given) => clone_open(given, recursive),
            None => clone_tree(&path, recursive),
        }
        .map_err(open)?;
        // Of what was opened: by its path it could be something else by now.
        let directory = rkube_init::sys::fs::stat(tree.as_raw_fd(), c"")
            .map_err(|errno| open(error(errno)))?
            .is_dir();
        let mut mount = Mount {
            source: source::TREE,
            ..self.placed(destination)
        };
        if !directory {
            mount.traits |= trait_of::FILE;
        }
        match mount.destination.as_slice() {
            b"/proc" => self.bound_proc(&mut mount, &tree)?,
            b"/dev" => draft.record.flags |= flag::KEEP_DEV,
            _ => {}
        }
        if mount.propagation == 0 {
            // Nothing is mounted through a bind unless that was asked for.
            mount.propagation = private();
        }
        if let Some(recursive) = self.options.id_map.take() {
            id_maps::apply(
                draft,
                &mut mount,
                &id_maps::Wanted {
                    mount: self.mount,
                    spec: self.spec,
                    field: self.field("uidMappings"),
                    recursive,
                },
            )?;
        }
        mount.tree = Some(draft.add(tree));
        draft.record.mounts.push(mount);
        Ok(())
    }

    fn bind_source(&self) -> Result<PathBuf, CompileError> {
        let source = self
            .mount
            .source()
            .as_ref()
            .filter(|path| !path.as_os_str().is_empty());
        let source = source.ok_or_else(|| CompileError::missing(&self.field("source")))?;
        Ok(self.bundle.join(source))
    }

    /// The caller's own `/proc` may be bound there, for containers that share its pid namespace; nothing else.
    fn bound_proc(&self, mount: &mut Mount, tree: &OwnedFd) -> Result<(), CompileError> {
        let magic = rkube_init::sys::fs::magic(tree.as_raw_fd());
        if magic.map_err(|errno| {
            CompileError::open(self.field("source"), Path::new("/proc"), error(errno))
        })? != PROC_MAGIC
        {
            return Err(CompileError::invalid(
                self.field("source"),
                "only a procfs may be mounted on /proc",
            ));
        }
        mount.traits |= trait_of::REAL_DIRECTORY;
        mount.fstype = "proc".into();
        Ok(())
    }
}

fn private() -> u32 {
    u32::try_from(libc::MS_PRIVATE | libc::MS_REC).unwrap_or(0)
}
