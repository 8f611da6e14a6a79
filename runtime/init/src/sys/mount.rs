//! Mounts: the descriptor-based calls, and the few old ones that have no successor.

use super::{Errno, Fd, RawFd, Result, call, errno, fd};
use core::ffi::CStr;
use core::ptr::null;
use linux_raw_sys::general as k;

/// fsopen(2).
pub fn fsopen(kind: &CStr) -> Result<Fd> {
    call!(k::__NR_fsopen, kind, k::FSOPEN_CLOEXEC).map(fd)
}

fn fsconfig(
    context: RawFd,
    command: k::fsconfig_command,
    key: *const u8,
    value: *const u8,
    aux: i32,
) -> Result<()> {
    call!(k::__NR_fsconfig, context, command as u32, key, value, aux).map(drop)
}

/// fsconfig(2) `FSCONFIG_SET_STRING`.
pub fn set_string(context: RawFd, key: &CStr, value: &CStr) -> Result<()> {
    fsconfig(
        context,
        k::fsconfig_command::FSCONFIG_SET_STRING,
        key.as_ptr().cast(),
        value.as_ptr().cast(),
        0,
    )
}

/// fsconfig(2) `FSCONFIG_SET_FLAG`.
pub fn set_flag(context: RawFd, key: &CStr) -> Result<()> {
    fsconfig(
        context,
        k::fsconfig_command::FSCONFIG_SET_FLAG,
        key.as_ptr().cast(),
        null(),
        0,
    )
}

/// fsconfig(2) `FSCONFIG_CMD_CREATE`.
pub fn create(context: RawFd) -> Result<()> {
    fsconfig(
        context,
        k::fsconfig_command::FSCONFIG_CMD_CREATE,
        null(),
        null(),
        0,
    )
}

/// fsmount(2): a detached mount; `attrs` are `MOUNT_ATTR_*`.
pub fn fsmount(context: RawFd, attrs: u64) -> Result<Fd> {
    call!(k::__NR_fsmount, context, k::FSMOUNT_CLOEXEC, attrs).map(fd)
}

/// open_tree(2) with `OPEN_TREE_CLONE`: a detached copy of the mount at `path` (empty: at `dir` itself).
///
/// Nobody sees the copy until [`move_mount`] attaches it; dropping the descriptor discards it.
pub fn clone_tree(dir: RawFd, path: &CStr, recursive: bool) -> Result<Fd> {
    let mut flags =
        k::OPEN_TREE_CLONE | k::OPEN_TREE_CLOEXEC | k::AT_EMPTY_PATH | k::AT_NO_AUTOMOUNT;
    if recursive {
        flags |= k::AT_RECURSIVE;
    }
    call!(k::__NR_open_tree, dir, path, flags).map(fd)
}

/// move_mount(2), from descriptor to descriptor.
pub fn move_mount(tree: RawFd, onto: RawFd) -> Result<()> {
    let flags = k::MOVE_MOUNT_F_EMPTY_PATH | k::MOVE_MOUNT_T_EMPTY_PATH;
    call!(k::__NR_move_mount, tree, c"", onto, c"", flags).map(drop)
}

/// What [`set_attributes`] changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Attributes {
    /// `MOUNT_ATTR_*` to set.
    pub set: u64,
    /// `MOUNT_ATTR_*` to clear.
    pub clear: u64,
    /// `MS_PRIVATE` and so on, or 0.
    pub propagation: u32,
    /// The user namespace of an id-mapped mount (`MOUNT_ATTR_IDMAP` in `set`), or 0.
    pub userns: RawFd,
}

/// mount_setattr(2) on the mount that a descriptor stands for, and on those below it if `recursive`.
pub fn set_attributes(tree: RawFd, attributes: &Attributes, recursive: bool) -> Result<()> {
    let attr = k::mount_attr {
        attr_set: attributes.set,
        attr_clr: attributes.clear,
        propagation: u64::from(attributes.propagation),
        userns_fd: u64::try_from(attributes.userns).map_err(|_| Errno::of(errno::EBADF))?,
    };
    let flags = k::AT_EMPTY_PATH | if recursive { k::AT_RECURSIVE } else { 0 };
    call!(
        k::__NR_mount_setattr,
        tree,
        c"",
        flags,
        &raw const attr,
        size_of::<k::mount_attr>()
    )
    .map(drop)
}

/// mount(2) only to change the propagation of the mount at `path` and of those below it.
pub fn set_propagation(path: &CStr, flags: u32) -> Result<()> {
    call!(
        k::__NR_mount,
        null::<u8>(),
        path,
        null::<u8>(),
        flags,
        null::<u8>()
    )
    .map(drop)
}

/// pivot_root(2) with both names `"."`: the working directory becomes the root, the old root lies on top of it.
pub fn pivot_root_here() -> Result<()> {
    call!(k::__NR_pivot_root, c".", c".").map(drop)
}

/// umount2(2) with `MNT_DETACH`.
pub fn detach(path: &CStr) -> Result<()> {
    call!(k::__NR_umount2, path, k::MNT_DETACH).map(drop)
}
