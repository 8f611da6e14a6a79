//! The root file system: attached over the old root, and entered at the end.

use crate::launch::Start;
use crate::record::Record;
use crate::record::layout::{flag, header};
use crate::status::{At as _, Fault, Step};
use crate::sys::mount::{self as mnt, Attributes};
use crate::sys::{Errno, Fd, RawFd, errno, fs};
use linux_raw_sys::general as k;

/// The root directory of the namespace that was joined.
pub(super) fn open_current() -> Result<Fd, Fault> {
    Ok(fs::openat(fs::CWD, c"/", k::O_PATH | k::O_DIRECTORY, 0)?)
}

/// Attaches the root file system on top of everything; from here on nothing travels to the host's mounts.
///
/// Its descriptor stays open till execve(2): it is one of those the record came with.
pub(super) fn attach(start: &Start<'_>) -> Result<RawFd, Fault> {
    fs::umask(0);
    let record = &start.record;
    mnt::set_propagation(c"/", k::MS_SLAVE | k::MS_REC).at(Step::Propagation)?;
    let root = start
        .fd(record.optional(header::ROOTFS))
        .ok_or(Errno::of(errno::EBADF))?;
    let propagation = record.field(header::ROOT_PROPAGATION);
    // A shared or unbindable root is made so when nothing needs to be moved any more.
    let (kind, recursive) = match propagation & !k::MS_REC {
        0 => (k::MS_PRIVATE, true),
        k::MS_SLAVE => (k::MS_SLAVE, propagation & k::MS_REC != 0),
        k::MS_SHARED => (0, false),
        _ => (k::MS_PRIVATE, propagation & k::MS_REC != 0),
    };
    if kind != 0 {
        let attributes = Attributes {
            propagation: kind,
            ..Attributes::default()
        };
        mnt::set_attributes(root, &attributes, recursive).at(Step::Propagation)?;
    }
    let place = place(record).at(Step::Attach)?;
    mnt::move_mount(root, place.raw()).at(Step::Attach)?;
    Ok(root)
}

/// Where hooks look for the container's files, if there are any; otherwise on top of the old root, which always works.
fn place(record: &Record<'_>) -> Result<Fd, Errno> {
    let flags = k::O_PATH | k::O_DIRECTORY;
    let wanted = record.text(header::ROOT_PLACE);
    if !wanted.is_empty()
        && let Ok(place) = fs::openat(fs::CWD, wanted, flags, 0)
    {
        return Ok(place);
    }
    fs::openat(fs::CWD, c"/", flags, 0)
}

/// Makes the root file system the root, and lets the old one go.
pub(super) fn pivot(record: &Record<'_>, root: RawFd) -> Result<(), Fault> {
    if record.has(flag::READONLY_ROOT) {
        let readonly = Attributes {
            set: u64::from(k::MOUNT_ATTR_RDONLY),
            ..Attributes::default()
        };
        mnt::set_attributes(root, &readonly, false).at(Step::Attributes)?;
    }
    fs::fchdir(root)?;
    if record.has(flag::NO_PIVOT) {
        fs::chroot(c".")?;
    } else {
        mnt::pivot_root_here()?;
        // "." names what lies uppermost here: the old root, on which nothing else may have been stacked.
        mnt::detach(c".")?;
    }
    let propagation = record.field(header::ROOT_PROPAGATION);
    if matches!(propagation & !k::MS_REC, k::MS_SHARED | k::MS_UNBINDABLE) {
        mnt::set_propagation(c".", propagation).at(Step::Propagation)?;
    }
    Ok(())
}
