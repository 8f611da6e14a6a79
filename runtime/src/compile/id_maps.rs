//! Id-mapped bind mounts: a user namespace whose only use is its maps.

use std::os::fd::OwnedFd;

use oci_spec::runtime::{LinuxIdMapping, Mount as SpecMount, Spec};
use rkube_init::sys::process::{self, Cloned};
use rkube_init::sys::{Errno, Fd, errno, fs};

use super::{CompileError, Draft, namespaces};
use crate::record::Mount;
use crate::sys::fd::{error, own};

/// An id-mapped mount of the spec.
pub(super) struct Wanted<'a> {
    pub(super) mount: &'a SpecMount,
    pub(super) spec: &'a Spec,
    pub(super) field: String,
    pub(super) recursive: bool,
}

/// Makes the user namespace and notes it in the mount. Without maps of its own the mount takes the container's.
pub(super) fn apply(
    draft: &mut Draft,
    mount: &mut Mount,
    wanted: &Wanted<'_>,
) -> Result<(), CompileError> {
    if wanted.recursive {
        return Err(CompileError::invalid(
            &wanted.field,
            "ridmap is not supported; use idmap",
        ));
    }
    let linux = wanted.spec.linux().as_ref();
    let own_or = |own: &Option<Vec<LinuxIdMapping>>, container: Option<&Vec<LinuxIdMapping>>| {
        own.as_ref().or(container).cloned().unwrap_or_default()
    };
    let uids = own_or(
        wanted.mount.uid_mappings(),
        linux.and_then(|linux| linux.uid_mappings().as_ref()),
    );
    let gids = own_or(
        wanted.mount.gid_mappings(),
        linux.and_then(|linux| linux.gid_mappings().as_ref()),
    );
    let uid_map = namespaces::id_map(&wanted.field, &uids)?;
    let gid_map = namespaces::id_map(&wanted.field, &gids)?;
    let made = user_namespace(&uid_map, &gid_map);
    let fd = made.map_err(|errno| CompileError::IdMap {
        field: wanted.field.clone(),
        source: error(errno),
    })?;
    mount.userns = Some(draft.add(fd));
    mount.set |= libc::MOUNT_ATTR_IDMAP;
    Ok(())
}

/// A user namespace with these maps, held by nothing but the descriptor.
fn user_namespace(uid_map: &str, gid_map: &str) -> Result<OwnedFd, Errno> {
    let (read, write) = fs::pipe()?;
    let flags = u64::from(libc::CLONE_NEWUSER.cast_unsigned());
    let Some(child) = process::clone3(flags, 0, None)? else {
        // Lives until the parent has opened the namespace and closes the pipe.
        drop(write);
        let _ = fs::read_byte(read.raw());
        process::exit(0)
    };
    let opened = open_mapped(&child, uid_map, gid_map);
    drop(write);
    process::reap(child.pidfd.raw())?;
    opened.map(own)
}

fn open_mapped(child: &Cloned, uid_map: &str, gid_map: &str) -> Result<Fd, Errno> {
    rkube_init::launch::write_id_maps(child.pid, uid_map.as_bytes(), gid_map.as_bytes())?;
    let path = std::ffi::CString::new(format!("/proc/{}/ns/user", child.pid))
        .map_err(|_| Errno::of(errno::EINVAL))?;
    fs::openat(fs::CWD, &path, 0, 0)
}
