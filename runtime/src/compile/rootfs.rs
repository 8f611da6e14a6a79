//! The root file system, as a detached mount.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;
use rkube_init::record::layout::flag;
use rkube_init::sys::Errno;
use rkube_init::sys::mount::{self as mnt, Attributes};

use super::{CompileError, Draft, Rootfs, clone_tree, options, process};
use crate::sys::fd::{error, own};

pub(super) fn compile(
    draft: &mut Draft,
    spec: &Spec,
    bundle: &Path,
    rootfs: &Rootfs,
) -> Result<(), CompileError> {
    let tree = match rootfs {
        Rootfs::Bundle => bundle_tree(spec, bundle)?,
        Rootfs::Overlay {
            lowers,
            upper,
            work,
            volatile,
        } => overlay(lowers, Some((upper, work, *volatile)))?,
        Rootfs::ReadOnlyOverlay { lowers } => read_only(lowers)?,
    };
    draft.record.rootfs = Some(draft.add(tree));
    // Hooks expect to find the container's files and mounts below `root.path`.
    if let (Rootfs::Bundle, Some(root), true) = (rootfs, spec.root(), spec.hooks().is_some()) {
        draft.record.root_place = bundle
            .join(root.path())
            .into_os_string()
            .into_encoded_bytes();
    }
    let root = spec.root().as_ref();
    if root.and_then(|root| root.readonly()) == Some(true) {
        draft.record.flags |= flag::READONLY_ROOT;
    }
    let linux = spec.linux().as_ref();
    if let Some(name) = linux
        .and_then(|linux| linux.rootfs_propagation().as_ref())
        .filter(|name| !name.is_empty())
    {
        draft.record.root_propagation = options::propagation(name).ok_or_else(|| {
            CompileError::invalid("linux.rootfsPropagation", format!("{name:?} is not a propagation; use private, slave, shared, unbindable or their r forms"))
        })?;
    }
    process::personality(draft, spec)
}

fn bundle_tree(spec: &Spec, bundle: &Path) -> Result<OwnedFd, CompileError> {
    let root = spec
        .root()
        .as_ref()
        .ok_or_else(|| CompileError::missing("root"))?;
    let path = bundle.join(root.path());
    let open = |source: io::Error| CompileError::open("root.path", &path, source);
    if !fs_err::metadata(&path).map_err(open)?.is_dir() {
        return Err(CompileError::invalid(
            "root.path",
            format!("{} is not a directory", path.display()),
        ));
    }
    clone_tree(&path, true).map_err(open)
}

/// One layer needs no overlay.
fn read_only(lowers: &[PathBuf]) -> Result<OwnedFd, CompileError> {
    let tree = match lowers {
        [] => return Err(CompileError::invalid("rootfs", "the image has no layers")),
        [layer] => clone_tree(layer, false)
            .map_err(|source| CompileError::open("rootfs", layer, source))?,
        lowers => overlay(lowers, None)?,
    };
    let readonly = Attributes {
        set: libc::MOUNT_ATTR_RDONLY,
        ..Attributes::default()
    };
    let raw = std::os::fd::AsRawFd::as_raw_fd(&tree);
    let set = mnt::set_attributes(raw, &readonly, false);
    set.map_err(|errno| failed("making it read-only", errno))?;
    Ok(tree)
}

fn overlay(
    lowers: &[PathBuf],
    top: Option<(&PathBuf, &PathBuf, bool)>,
) -> Result<OwnedFd, CompileError> {
    let context = mnt::fsopen(c"overlay").map_err(|errno| failed("opening overlay", errno))?;
    let set = |key: &CStr, path: &Path| -> Result<(), CompileError> {
        let text = CString::new(path.as_os_str().as_bytes());
        let text = text
            .map_err(|_| CompileError::invalid("rootfs", "a layer's path contains a NUL byte"))?;
        mnt::set_string(context.raw(), key, &text).map_err(|errno| {
            failed(
                &format!("{} {}", key.to_string_lossy(), path.display()),
                errno,
            )
        })
    };
    // One by one: as one string, the layers of a large image would not fit into a page.
    for layer in lowers {
        set(c"lowerdir+", layer)?;
    }
    if let Some((upper, work, volatile)) = top {
        set(c"upperdir", upper)?;
        set(c"workdir", work)?;
        if volatile {
            mnt::set_flag(context.raw(), c"volatile").map_err(|errno| failed("volatile", errno))?;
        }
    }
    mnt::create(context.raw()).map_err(|errno| failed("creating the overlay", errno))?;
    let tree =
        mnt::fsmount(context.raw(), 0).map_err(|errno| failed("mounting the overlay", errno))?;
    Ok(own(tree))
}

fn failed(step: &str, errno: Errno) -> CompileError {
    CompileError::Rootfs {
        step: step.to_owned(),
        source: error(errno),
    }
}
