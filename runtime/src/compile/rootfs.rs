//! The root file system, as a detached mount.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use oci_spec::runtime::Spec;
use rkube_init::record::layout::flag;
use rkube_init::sys::Errno;
use rkube_init::sys::mount::{self as mnt, Attributes};

use super::{CompileError, Draft, Rootfs, clone_tree, options, overlay, process};
use crate::sys::fd::error;

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
        } => overlay::mount(
            lowers,
            Some(overlay::Top {
                upper,
                work,
                volatile: *volatile,
            }),
        )?,
        Rootfs::ReadOnlyOverlay { lowers } => read_only(lowers, 0)?,
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
    let tree = clone_tree(&path, true).map_err(open)?;
    let stat = rkube_init::sys::fs::stat(std::os::fd::AsRawFd::as_raw_fd(&tree), c"");
    if !stat.map_err(|errno| open(error(errno)))?.is_dir() {
        return Err(CompileError::invalid(
            "root.path",
            format!("{} is not a directory", path.display()),
        ));
    }
    Ok(tree)
}

/// The layers of an image, the uppermost first, as a detached mount to look things up in: read-only, and neither set-user-id
/// bits nor devices in it are honoured.
pub fn layers_to_read(lowers: &[PathBuf]) -> Result<OwnedFd, CompileError> {
    read_only(lowers, libc::MOUNT_ATTR_NOSUID | libc::MOUNT_ATTR_NODEV)
}

/// One layer needs no overlay.
fn read_only(lowers: &[PathBuf], attributes: u64) -> Result<OwnedFd, CompileError> {
    let tree = match lowers {
        [] => return Err(CompileError::invalid("rootfs", "the image has no layers")),
        [layer] => clone_tree(layer, false)
            .map_err(|source| CompileError::open("rootfs", layer, source))?,
        lowers => overlay::mount(lowers, None)?,
    };
    let readonly = Attributes {
        set: libc::MOUNT_ATTR_RDONLY | attributes,
        // A copy of a layer's directory must not be told of what is mounted there.
        propagation: u32::try_from(libc::MS_PRIVATE).unwrap_or(0),
        ..Attributes::default()
    };
    let raw = std::os::fd::AsRawFd::as_raw_fd(&tree);
    let set = mnt::set_attributes(raw, &readonly, false);
    set.map_err(|errno| failed("making it read-only", errno))?;
    Ok(tree)
}

fn failed(step: &str, errno: Errno) -> CompileError {
    CompileError::Rootfs {
        step: step.to_owned(),
        source: error(errno),
    }
}
