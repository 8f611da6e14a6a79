//! Masked and read-only paths, applied after everything else is mounted.
//!
//! The masks are clones of one small read-only file system of ours: an empty directory, and a null device that is
//! ours as well, so that nothing the image or a volume holds can stand in for it.

use super::{path, rootfs};
use crate::launch::Start;
use crate::record::Record;
use crate::record::layout::{self, device, flag};
use crate::status::{At as _, Fault, Step};
use crate::sys::mount::{self as mnt, Attributes};
use crate::sys::{Errno, Fd, RawFd, errno, fs};
use core::ffi::CStr;
use linux_raw_sys::general as k;

const NULL: (u32, u32) = (1, 3);

/// The file system that the masks are clones of.
pub(super) struct Masks {
    tree: Fd,
    /// Whether it had to be attached, on top of the old root, to be cloned.
    pub(super) stacked: bool,
}

/// Makes the file system with the masks.
pub(super) fn prepare(start: &Start<'_>) -> Result<Option<Masks>, Fault> {
    if start.record.count(&layout::MASKED) == 0 {
        return Ok(None);
    }
    fs::umask(0);
    let context = mnt::fsopen(c"tmpfs").at(Step::Filesystem)?;
    mnt::set_string(context.raw(), c"mode", c"755").at(Step::Filesystem)?;
    mnt::create(context.raw()).at(Step::Filesystem)?;
    let attrs = k::MOUNT_ATTR_NOSUID | k::MOUNT_ATTR_NOEXEC;
    let tree = mnt::fsmount(context.raw(), u64::from(attrs)).at(Step::Filesystem)?;
    fs::mkdirat(tree.raw(), c"directory", 0o555).at(Step::Create)?;
    let bound = start.record.has(flag::BIND_DEVICES);
    if bound {
        let flags = k::O_CREAT | k::O_EXCL | k::O_WRONLY;
        fs::openat(tree.raw(), c"file", flags, 0o444).at(Step::Create)?;
    } else {
        fs::mknodat(tree.raw(), c"file", k::S_IFCHR | 0o666, NULL).at(Step::Create)?;
    }
    let readonly = Attributes {
        set: u64::from(k::MOUNT_ATTR_RDONLY),
        ..Attributes::default()
    };
    mnt::set_attributes(tree.raw(), &readonly, false).at(Step::Attributes)?;
    // Before Linux 6.15 only what is attached can be cloned, or mounted upon.
    let stacked = bound || mnt::clone_tree(tree.raw(), c"directory", false).is_err();
    if stacked {
        mnt::set_propagation(c"/", k::MS_SLAVE | k::MS_REC).at(Step::Propagation)?;
        rootfs::stack(tree.raw()).at(Step::Attach)?;
    }
    if bound {
        bind_null(start, tree.raw())?;
    }
    Ok(Some(Masks { tree, stacked }))
}

/// In a user namespace: lays the host's null device over the file.
fn bind_null(start: &Start<'_>, tree: RawFd) -> Result<(), Fault> {
    let is_null =
        |row: &crate::record::Row<'_>| (row.word(device::MAJOR), row.word(device::MINOR)) == NULL;
    let nodes = &mut start.record.rows(&layout::DEVICES);
    let row = nodes.find(is_null).ok_or(Errno::of(errno::ENODEV))?;
    let null = start
        .fd(row.optional(device::FD))
        .ok_or(Errno::of(errno::ENODEV))?;
    let file = fs::openat2(tree, c"file", k::O_PATH, 0, k::RESOLVE_BENEATH).at(Step::Null)?;
    mnt::move_mount(null, file.raw()).at(Step::Null)
}

/// Lays a mask over each path; a path that does not exist needs none.
pub(super) fn apply(record: &Record<'_>, root: RawFd, masks: Option<&Masks>) -> Result<(), Fault> {
    let Some(masks) = masks else { return Ok(()) };
    for (index, row) in record.rows(&layout::MASKED).enumerate() {
        mask(root, row.text(0), masks.tree.raw()).map_err(|fault| fault.of(index))?;
    }
    Ok(())
}

fn mask(root: RawFd, path: &CStr, masks: RawFd) -> Result<(), Fault> {
    let Some(place) = existing(root, path)? else {
        return Ok(());
    };
    let directory = fs::stat(place.raw(), c"").at(Step::Resolve)?.is_dir();
    let cover = if directory {
        mnt::clone_tree(masks, c"directory", false).at(Step::Filesystem)?
    } else {
        null_file(masks)?
    };
    mnt::move_mount(cover.raw(), place.raw()).at(Step::Attach)
}

fn null_file(masks: RawFd) -> Result<Fd, Fault> {
    let cover = mnt::clone_tree(masks, c"file", false).at(Step::Null)?;
    let stat = fs::stat(cover.raw(), c"").at(Step::Null)?;
    if stat.kind() == k::S_IFCHR && stat.rdev == NULL {
        Ok(cover)
    } else {
        Err(Errno::of(errno::EPERM)).at(Step::Null)
    }
}

/// Makes each path, and what is mounted below it, read-only.
pub(super) fn make_readonly(record: &Record<'_>, root: RawFd) -> Result<(), Fault> {
    let readonly = Attributes {
        set: u64::from(k::MOUNT_ATTR_RDONLY),
        ..Attributes::default()
    };
    for (index, row) in record.rows(&layout::READONLY).enumerate() {
        let of = |fault: Fault| fault.of(index);
        let Some(place) = existing(root, row.text(0)).map_err(of)? else {
            continue;
        };
        let copy = mnt::clone_tree(place.raw(), c"", true)
            .at(Step::Filesystem)
            .map_err(of)?;
        mnt::set_attributes(copy.raw(), &readonly, true)
            .at(Step::Attributes)
            .map_err(of)?;
        mnt::move_mount(copy.raw(), place.raw())
            .at(Step::Attach)
            .map_err(of)?;
    }
    Ok(())
}

fn existing(root: RawFd, path: &CStr) -> Result<Option<Fd>, Fault> {
    match path::find(root, path, 0) {
        Ok(place) => Ok(Some(place)),
        Err(err) if err.is(errno::ENOENT) => Ok(None),
        Err(err) => Err(err).at(Step::Resolve),
    }
}
