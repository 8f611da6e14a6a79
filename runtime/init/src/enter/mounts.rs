//! The container's mounts, in the order of the spec.

use super::dev;
use super::path::{self, Kind};
use crate::launch::Start;
use crate::record::layout::{self, LATE_MAX, mount, source, trait_of};
use crate::record::{Record, Row};
use crate::status::{At as _, Fault, Step};
use crate::sys::mount::{self as mnt, Attributes};
use crate::sys::{Errno, Fd, RawFd, errno, fs};
use linux_raw_sys::general as k;

/// The mounts of a record, made in two goes: the process joins its cgroups in between, as late as can be.
pub(super) struct Mounting {
    next: usize,
    /// What turns read-only at the end; kept open till execve(2).
    late: [RawFd; LATE_MAX],
    late_count: usize,
}

impl Mounting {
    pub(super) fn new() -> Self {
        Self {
            next: 0,
            late: [-1; LATE_MAX],
            late_count: 0,
        }
    }

    /// Makes and attaches the mounts below `root`, up to the first that shows our cgroups, or whose contents are to be
    /// charged to them.
    pub(super) fn before_cgroups(
        &mut self,
        start: &Start<'_>,
        root: RawFd,
        proc: Option<&Fd>,
    ) -> Result<(), Fault> {
        let inside = |row: &Row<'_>| {
            row.word(mount::TRAITS) & trait_of::COPY_UP != 0
                || row.text(mount::FSTYPE).to_bytes().starts_with(b"cgroup")
        };
        let mut rows = start.record.rows(&layout::MOUNTS);
        let end = rows.position(|row| inside(&row)).unwrap_or(usize::MAX);
        self.up_to(end, start, root, proc)
    }

    /// Makes the others, and turns read-only what was written to until now.
    pub(super) fn finish(
        mut self,
        start: &Start<'_>,
        root: RawFd,
        proc: Option<&Fd>,
    ) -> Result<(), Fault> {
        self.up_to(usize::MAX, start, root, proc)?;
        for &tree in self.late.iter().take(self.late_count) {
            let readonly = Attributes {
                set: u64::from(k::MOUNT_ATTR_RDONLY),
                ..Attributes::default()
            };
            mnt::set_attributes(tree, &readonly, false).at(Step::Attributes)?;
        }
        Ok(())
    }

    fn up_to(
        &mut self,
        end: usize,
        start: &Start<'_>,
        root: RawFd,
        proc: Option<&Fd>,
    ) -> Result<(), Fault> {
        let rows = start.record.rows(&layout::MOUNTS).enumerate();
        for (index, row) in rows.skip(self.next).take_while(|(index, _)| *index < end) {
            self.next = index + 1;
            let tree = one(start, &row, root, proc).map_err(|fault| fault.of(index))?;
            if row.word(mount::TRAITS) & trait_of::READONLY_LATE != 0
                && let Some(slot) = self.late.get_mut(self.late_count)
            {
                *slot = tree.map_or_else(|| dup_proc(proc), Fd::release);
                self.late_count += 1;
            }
        }
        Ok(())
    }
}

fn dup_proc(proc: Option<&Fd>) -> RawFd {
    proc.map_or(-1, Fd::raw)
}

/// One mount; returns its descriptor unless somebody else owns that.
fn one(
    start: &Start<'_>,
    row: &Row<'_>,
    root: RawFd,
    proc: Option<&Fd>,
) -> Result<Option<Fd>, Fault> {
    let traits = row.word(mount::TRAITS);
    let has = |bit: u32| traits & bit != 0;
    let destination = destination(root, row, traits)?;
    let mut owned = None;
    let tree = if has(trait_of::PROC) {
        proc.ok_or(Errno::of(errno::EBADF))?.raw()
    } else {
        match row.word(mount::SOURCE) {
            source::TREE => start
                .fd(row.optional(mount::FD))
                .ok_or(Errno::of(errno::EBADF))?,
            _ => match make_filesystem(&start.record, row) {
                Ok(made) => owned.insert(made).raw(),
                Err(fault) => fallback(start, row).ok_or(fault)?,
            },
        }
    };
    if has(trait_of::COPY_UP) {
        super::copy::up(destination.raw(), tree).at(Step::Copy)?;
    }
    if has(trait_of::DEV) {
        dev::fill(&start.record, tree)?;
    }
    set_attributes(start, row, tree)?;
    mnt::move_mount(tree, destination.raw()).at(Step::Attach)?;
    if has(trait_of::DEV) {
        dev::bind(start, tree)?;
    }
    if has(trait_of::REAL_DIRECTORY) {
        verify(root, row)?;
    }
    Ok(owned)
}

/// The detached mount to use where the file system cannot be made, as sysfs by the root of a user namespace that
/// does not own the network namespace.
fn fallback(start: &Start<'_>, row: &Row<'_>) -> Option<RawFd> {
    let wanted = row.word(mount::TRAITS) & trait_of::FALLBACK != 0;
    start.fd(row.optional(mount::FD)).filter(|_| wanted)
}

/// Finds or makes the destination, and refuses one that only looks like what the spec names.
fn destination(root: RawFd, row: &Row<'_>, traits: u32) -> Result<Fd, Fault> {
    let real = traits & trait_of::REAL_DIRECTORY != 0;
    let kind = if traits & trait_of::FILE != 0 {
        Kind::File
    } else {
        Kind::Directory
    };
    let more = if real { k::RESOLVE_NO_SYMLINKS } else { 0 };
    let place = match path::ensure(root, row.text(mount::DEST), kind, more) {
        Err(fault) if real && fault.errno.is(errno::ELOOP) => {
            return Err(Fault {
                step: Step::NotDirectory,
                ..fault
            });
        }
        place => place?,
    };
    if real && !fs::stat(place.raw(), c"").at(Step::Resolve)?.is_dir() {
        return Err(Errno::of(errno::ENOTDIR)).at(Step::NotDirectory);
    }
    let on_proc = fs::magic(place.raw()).at(Step::Resolve)? == u64::from(k::PROC_SUPER_MAGIC);
    if on_proc && traits & trait_of::ON_PROC == 0 {
        return Err(Errno::of(errno::EPERM)).at(Step::Forbidden);
    }
    Ok(place)
}

/// Makes a file system that is mounted nowhere yet.
pub(super) fn make_filesystem(record: &Record<'_>, row: &Row<'_>) -> Result<Fd, Fault> {
    let context = mnt::fsopen(row.text(mount::FSTYPE)).at(Step::Filesystem)?;
    let first = row.word(mount::OPTION) as usize;
    for index in 0..row.word(mount::OPTION_COUNT) as usize {
        let option = record
            .row(&layout::OPTIONS, first + index)
            .ok_or(Errno::of(errno::EINVAL))?;
        let (key, value) = (option.text(0), option.text(2));
        let set = if value.is_empty() {
            mnt::set_flag(context.raw(), key)
        } else {
            mnt::set_string(context.raw(), key, value)
        };
        set.at(Step::Option)?;
    }
    mnt::create(context.raw()).at(Step::Filesystem)?;
    mnt::fsmount(context.raw(), row.long(mount::SET)).at(Step::Filesystem)
}

fn set_attributes(start: &Start<'_>, row: &Row<'_>, tree: RawFd) -> Result<(), Fault> {
    let propagation = row.word(mount::PROPAGATION);
    let made_here = row.word(mount::SOURCE) == source::FILESYSTEM;
    let set = if made_here { 0 } else { row.long(mount::SET) };
    let one = Attributes {
        set,
        clear: if made_here { 0 } else { row.long(mount::CLEAR) },
        propagation: if propagation & k::MS_REC == 0 {
            propagation
        } else {
            0
        },
        userns: start.fd(row.optional(mount::USERNS)).unwrap_or(0),
    };
    let all = Attributes {
        set: row.long(mount::SET_ALL),
        clear: row.long(mount::CLEAR_ALL),
        propagation: if propagation & k::MS_REC == 0 {
            0
        } else {
            propagation & !k::MS_REC
        },
        userns: 0,
    };
    let nothing = |a: &Attributes| a.set | a.clear | u64::from(a.propagation) == 0;
    if !nothing(&all) {
        mnt::set_attributes(tree, &all, true).at(Step::Attributes)?;
    }
    if !nothing(&one) {
        mnt::set_attributes(tree, &one, false).at(Step::Attributes)?;
    }
    Ok(())
}

/// Looks again, by path, whether `/proc` and `/sys` are what was mounted there.
fn verify(root: RawFd, row: &Row<'_>) -> Result<(), Fault> {
    let want = match row.text(mount::FSTYPE).to_bytes() {
        b"proc" => k::PROC_SUPER_MAGIC,
        b"sysfs" => k::SYSFS_MAGIC,
        _ => return Ok(()),
    };
    let place = path::find(root, row.text(mount::DEST), k::RESOLVE_NO_SYMLINKS).at(Step::Verify)?;
    let magic = fs::magic(place.raw()).at(Step::Verify)?;
    if magic == u64::from(want) {
        Ok(())
    } else {
        Err(Errno::of(errno::EPERM)).at(Step::Verify)
    }
}
