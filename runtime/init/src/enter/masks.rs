//! Masked and read-only paths, applied after everything else is mounted.
//!
//! A directory is covered by an empty read-only file system of ours; all directories share it. A file is covered by
//! the null device: the one in `/dev` if that is genuine, and otherwise one that we make, so that nothing the image
//! or a volume holds can stand in for it.

use super::path;
use crate::record::Record;
use crate::record::layout;
use crate::status::{At as _, Fault, Step};
use crate::sys::mount::{self as mnt, Attributes};
use crate::sys::{Errno, Fd, RawFd, errno, fs};
use core::ffi::CStr;
use linux_raw_sys::general as k;

const NULL: (u32, u32) = (1, 3);

/// What paths are covered with, once it has been needed.
#[derive(Default)]
struct Covers {
    /// The first directory's cover, attached.
    directory: Option<Fd>,
    /// The first file's cover, attached.
    file: Option<Fd>,
}

/// Covers each path; a path that does not exist needs no cover.
pub(super) fn apply(record: &Record<'_>, root: RawFd) -> Result<(), Fault> {
    let mut covers = Covers::default();
    for (index, row) in record.rows(&layout::MASKED).enumerate() {
        mask(root, row.text(0), &mut covers).map_err(|fault| fault.of(index))?;
    }
    Ok(())
}

fn mask(root: RawFd, path: &CStr, covers: &mut Covers) -> Result<(), Fault> {
    let Some(place) = existing(root, path)? else {
        return Ok(());
    };
    if fs::stat(place.raw(), c"").at(Step::Resolve)?.is_dir() {
        return cover_directory(&place, &mut covers.directory);
    }
    let cover = match &covers.file {
        Some(first) => mnt::clone_tree(first.raw(), c"", false).at(Step::Null)?,
        None => null_device(root)?,
    };
    if !is_null(&cover)? {
        return Err(Errno::of(errno::EPERM)).at(Step::Null);
    }
    mnt::move_mount(cover.raw(), place.raw()).at(Step::Attach)?;
    covers.file.get_or_insert(cover);
    Ok(())
}

/// The first cover is made and attached; the others are copies. None is thrown away: that would cost a grace period.
fn cover_directory(place: &Fd, first: &mut Option<Fd>) -> Result<(), Fault> {
    if let Some(first) = first {
        let copy = mnt::clone_tree(first.raw(), c"", false).at(Step::Filesystem)?;
        return mnt::move_mount(copy.raw(), place.raw()).at(Step::Attach);
    }
    let tree = make_tmpfs(k::MOUNT_ATTR_RDONLY | k::MOUNT_ATTR_NODEV)?;
    mnt::move_mount(tree.raw(), place.raw()).at(Step::Attach)?;
    *first = Some(tree);
    Ok(())
}

fn make_tmpfs(attributes: u32) -> Result<Fd, Fault> {
    let context = mnt::fsopen(c"tmpfs").at(Step::Filesystem)?;
    mnt::set_string(context.raw(), c"mode", c"755").at(Step::Filesystem)?;
    mnt::create(context.raw()).at(Step::Filesystem)?;
    let attributes = attributes | k::MOUNT_ATTR_NOSUID | k::MOUNT_ATTR_NOEXEC;
    mnt::fsmount(context.raw(), u64::from(attributes)).at(Step::Filesystem)
}

/// A copy of the container's null device; or one of our own, if what is there only pretends to be it.
fn null_device(root: RawFd) -> Result<Fd, Fault> {
    if let Ok(found) = path::find(root, c"/dev/null", k::RESOLVE_NO_SYMLINKS)
        && is_null(&found)?
    {
        return mnt::clone_tree(found.raw(), c"", false).at(Step::Null);
    }
    let tree = make_tmpfs(0)?;
    fs::mknodat(tree.raw(), c"null", k::S_IFCHR | 0o666, NULL).at(Step::Null)?;
    match mnt::clone_tree(tree.raw(), c"null", false) {
        // Before Linux 6.15 only what is attached can be copied.
        Err(err) if err.is(errno::EINVAL) => copy_attached(root, &tree).at(Step::Null),
        done => done.at(Step::Null),
    }
}

/// Copies the node while its file system lies on top of the root for a moment, seen by nobody: paths begin below it.
fn copy_attached(root: RawFd, tree: &Fd) -> Result<Fd, Errno> {
    mnt::move_mount(tree.raw(), root)?;
    let copy = mnt::clone_tree(tree.raw(), c"null", false)?;
    // By the working directory, since there is no path to it. It is set again before anything is looked up there.
    fs::fchdir(tree.raw())?;
    mnt::detach(c".")?;
    Ok(copy)
}

fn is_null(file: &Fd) -> Result<bool, Fault> {
    let stat = fs::stat(file.raw(), c"").at(Step::Null)?;
    Ok(stat.kind() == k::S_IFCHR && stat.rdev == NULL)
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
