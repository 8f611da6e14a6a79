//! The process's terminal: a pair of the container's own devpts, whose master goes to the caller.

use super::Progress;
use super::path::{self, Kind};
use crate::launch::Start;
use crate::record::layout::{flag, header};
use crate::status::{At as _, Fault, Step};
use crate::sys::{Errno, Fd, RawFd, errno, fs, mount as mnt, socket};
use linux_raw_sys::general as k;

const DEVPTS_MAGIC: u64 = 0x1cd1;
const PTMX: (u32, u32) = (5, 2);

/// Makes the pair, lays the slave over `/dev/console` of a new container, sends the master and returns the slave.
pub(super) fn open(start: &Start<'_>, so_far: &Progress) -> Result<Option<Fd>, Fault> {
    let record = &start.record;
    if !record.terminal() {
        return Ok(None);
    }
    let root = so_far.root.as_ref().ok_or(Errno::of(errno::EBADF))?.raw();
    let master = open_master(root)?;
    // By the master, not by a name: what lies at /dev/pts/N might be something else.
    let slave = fs::open_pty_peer(master.raw()).at(Step::Peer)?;
    let size = |field: usize| u16::try_from(record.field(field)).unwrap_or(u16::MAX);
    let (rows, columns) = (size(header::TERMINAL_ROWS), size(header::TERMINAL_COLUMNS));
    if rows != 0 || columns != 0 {
        fs::set_window_size(master.raw(), rows, columns).at(Step::Peer)?;
    }
    let uid = record.field(header::UID);
    if uid != 0 {
        fs::chown(slave.raw(), c"", uid, u32::MAX).at(Step::Peer)?;
    }
    if !record.has(flag::EXEC) && !record.has(flag::KEEP_DEV) {
        let place = path::ensure(root, c"/dev/console", Kind::File, k::RESOLVE_NO_SYMLINKS)?;
        let tree = mnt::clone_tree(slave.raw(), c"", false).at(Step::Console)?;
        mnt::move_mount(tree.raw(), place.raw()).at(Step::Console)?;
    }
    let console = start
        .console
        .ok_or(Errno::of(errno::EBADF))
        .at(Step::Send)?;
    socket::send_fd(console, b"/dev/ptmx", master.raw()).at(Step::Send)?;
    Ok(Some(slave))
}

fn open_master(root: RawFd) -> Result<Fd, Fault> {
    let flags = k::O_RDWR | k::O_NOCTTY;
    let resolve = path::IN_ROOT | k::RESOLVE_NO_SYMLINKS;
    let master = path::open(root, c"/dev/pts/ptmx", flags, 0, resolve).at(Step::Ptmx)?;
    let genuine = fs::stat(master.raw(), c"").at(Step::Ptmx)?.rdev == PTMX;
    if !genuine || fs::magic(master.raw()).at(Step::Ptmx)? != DEVPTS_MAGIC {
        return Err(Errno::of(errno::ENXIO)).at(Step::Ptmx);
    }
    fs::unlock_pty(master.raw()).at(Step::Ptmx)?;
    Ok(master)
}
