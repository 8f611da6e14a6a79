//! Leaving the parent's world: descriptors, cgroups, namespaces.

use super::procfs;
use crate::launch::Start;
use crate::record::layout::{self, flag, header};
use crate::record::{MAX_FDS, Record};
use crate::status::Fault;
use crate::sys::{Errno, RawFd, errno, fs, process};
use linux_raw_sys::general as k;

/// The first thing done: nobody may trace us, and what is not ours is closed.
pub(crate) fn shield(start: &Start<'_>, more: &[Option<RawFd>]) -> Result<(), Fault> {
    process::set_undumpable()?;
    let mut ours = [-1; MAX_FDS + 80];
    let mut count = 0;
    let fixed = [
        Some(start.status),
        start.cgroups,
        start.park,
        start.hooks,
        start.console,
        start.target,
    ];
    let given = start.fds.iter().map(|&fd| Some(fd));
    let kept = start
        .record
        .rows(&layout::KEEP)
        .map(|row| i32::try_from(row.word(0)).ok());
    let all = fixed
        .into_iter()
        .chain(start.stdio)
        .chain(more.iter().copied())
        .chain(given)
        .chain(kept);
    for fd in all.flatten() {
        *ours.get_mut(count).ok_or(Errno::of(errno::E2BIG))? = fd;
        count += 1;
    }
    let ours = ours.get_mut(..count).unwrap_or_default();
    ours.sort_unstable();
    close_between(ours)?;
    Ok(())
}

/// Closes everything from 3 on that is not in the sorted list.
fn close_between(sorted: &[RawFd]) -> Result<(), Errno> {
    let mut next = 3u32;
    for fd in sorted.iter().filter_map(|&fd| u32::try_from(fd).ok()) {
        if fd > next {
            fs::close_range(next, fd - 1)?;
        }
        next = next.max(fd.saturating_add(1));
    }
    fs::close_range(next, u32::MAX)
}

/// Whether the cgroups are joined only when something depends on them: the first attach after a while waits several
/// milliseconds, which the caller can make pass by an attach of its own while we make mounts.
///
/// Before joining a cgroup namespace by name, though: from inside, the kernel may not let us go where it does not show.
/// And an exec does nothing else that takes time.
pub(crate) fn attaches_late(record: &Record<'_>) -> bool {
    let mut joined = record.rows(&layout::JOINS).map(|row| row.word(0));
    !record.has(flag::EXEC) && !joined.any(|kind| kind & k::CLONE_NEWCGROUP != 0)
}

/// Waits until the caller has moved us into our cgroups, if it does.
pub(crate) fn await_cgroups(start: &Start<'_>) -> Result<(), Fault> {
    match start.cgroups {
        Some(gate) if !fs::read_byte(gate)? => process::exit(125),
        _ => Ok(()),
    }
}

/// Moves into the cgroups whose `cgroup.procs` files came along.
pub(crate) fn attach(start: &Start<'_>) -> Result<(), Fault> {
    for (index, row) in start.record.rows(&layout::ATTACH).enumerate() {
        let fd = start.fd(row.optional(0)).ok_or(Errno::of(errno::EBADF))?;
        fs::write_all(fd, b"0").map_err(|errno| Fault::from(errno).of(index))?;
    }
    Ok(())
}

/// Joins the target's namespaces, or those given one by one.
///
/// The user namespace comes last but one pass: what its root may not join is joined before, what only its root may
/// join is tried again after.
pub(crate) fn join_all(start: &Start<'_>) -> Result<(), Fault> {
    let kinds = start.record.field(header::TARGET_KINDS);
    if kinds != 0 {
        process::setns(start.target().ok_or(Errno::of(errno::EBADF))?, kinds)?;
        return Ok(());
    }
    let is_user = |row: &crate::record::Row<'_>| row.word(0) & k::CLONE_NEWUSER != 0;
    let rows = || start.record.rows(&layout::JOINS).enumerate();
    let mut joined = 0u64;
    let join = |index: usize, row: crate::record::Row<'_>| {
        let fd = start.fd(row.optional(1)).ok_or(Errno::of(errno::EBADF))?;
        process::setns(fd, row.word(0)).map_err(|errno| Fault::from(errno).of(index))
    };
    let has_user = rows().any(|(_, row)| is_user(&row));
    for (index, row) in rows().filter(|(_, row)| !is_user(row)) {
        match join(index, row) {
            Ok(()) => {
                joined |= 1u64
                    .checked_shl(u32::try_from(index).unwrap_or(64))
                    .unwrap_or(0)
            }
            Err(fault) if has_user && fault.errno.is(errno::EPERM) => {}
            Err(fault) => return Err(fault),
        }
    }
    for (index, row) in rows().filter(|(_, row)| is_user(row)) {
        join(index, row)?;
    }
    for (index, row) in rows().filter(|(_, row)| !is_user(row)) {
        if joined
            & 1u64
                .checked_shl(u32::try_from(index).unwrap_or(64))
                .unwrap_or(0)
            == 0
        {
            join(index, row)?;
        }
    }
    Ok(())
}

/// Makes a time namespace for the children to come, and sets its clocks while nobody is inside.
pub(crate) fn make_time(record: &Record<'_>) -> Result<(), Fault> {
    if record.field(header::NAMESPACES) & k::CLONE_NEWTIME == 0 {
        return Ok(());
    }
    process::unshare(k::CLONE_NEWTIME)?;
    let offsets = record.text(header::TIME_OFFSETS).to_bytes();
    if offsets.is_empty() {
        return Ok(());
    }
    let proc = procfs::open_private(false)?;
    procfs::write(&proc, process::getpid(), c"timens_offsets", offsets)
}

/// Sync point 1, the child's side: waits until the parent has written the id maps.
pub(crate) fn await_map(record: &Record<'_>, wait: Option<RawFd>) -> Result<(), Fault> {
    if record.field(header::NAMESPACES) & k::CLONE_NEWUSER == 0 {
        return Ok(());
    }
    // The end of the pipe means that the parent failed, and reports that itself.
    let Some(wait) = wait else {
        return Err(Errno::of(errno::EBADF).into());
    };
    if !fs::read_byte(wait)? {
        process::exit(125);
    }
    Ok(())
}

/// Makes the cgroup namespace: its root is the cgroup that we are in by now.
pub(crate) fn make_cgroup(record: &Record<'_>) -> Result<(), Fault> {
    if record.field(header::NAMESPACES) & k::CLONE_NEWCGROUP != 0 {
        process::unshare(k::CLONE_NEWCGROUP)?;
    }
    Ok(())
}

/// In a user namespace: becomes its root, who is to make the mounts.
pub(crate) fn become_root(record: &Record<'_>) -> Result<(), Fault> {
    let kinds = record.field(header::NAMESPACES) | record.field(header::TARGET_KINDS);
    let joined = record
        .rows(&layout::JOINS)
        .any(|row| row.word(0) & k::CLONE_NEWUSER != 0);
    if kinds & k::CLONE_NEWUSER == 0 && !joined {
        return Ok(());
    }
    if !record.has(flag::NO_SETGROUPS) {
        process::setgroups(&[])?;
    }
    process::setgid(0)?;
    process::setuid(0)?;
    // Changing the uid made us dumpable or not by the kernel's own rule.
    process::set_undumpable()?;
    Ok(())
}

/// Leaves the caller's session keyring.
pub(crate) fn new_keyring(record: &Record<'_>) -> Result<(), Fault> {
    if record.has(flag::KEEP_KEYRING) {
        return Ok(());
    }
    match process::join_session_keyring() {
        // A kernel without keyrings has none to leak.
        Err(err) if err.is(errno::ENOSYS) => Ok(()),
        done => Ok(done?),
    }
}

/// Sets the names of the UTS namespace.
pub(crate) fn name_host(record: &Record<'_>) -> Result<(), Fault> {
    let (host, domain) = (
        record.text(header::HOSTNAME).to_bytes(),
        record.text(header::DOMAINNAME).to_bytes(),
    );
    if !host.is_empty() {
        process::sethostname(host)?;
    }
    if !domain.is_empty() {
        process::setdomainname(domain)?;
    }
    Ok(())
}
