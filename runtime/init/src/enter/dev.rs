//! The container's `/dev`: filled on a file system that is mounted nowhere yet, so that no image can bend it.

use super::path::{self, Kind};
use crate::launch::Start;
use crate::record::layout::{self, device, flag};
use crate::record::{Record, Row};
use crate::status::{At as _, Fault, Step};
use crate::sys::{Errno, RawFd, errno, fs, mount as mnt};
use core::ffi::CStr;
use linux_raw_sys::general as k;

const LINKS: [(&CStr, &CStr); 6] = [
    (c"/proc/self/fd", c"fd"),
    (c"/proc/self/fd/0", c"stdin"),
    (c"/proc/self/fd/1", c"stdout"),
    (c"/proc/self/fd/2", c"stderr"),
    (c"/proc/kcore", c"core"),
    (c"pts/ptmx", c"ptmx"),
];

/// Puts the links, and the nodes below `/dev`, into a detached file system.
pub(super) fn fill(record: &Record<'_>, dev: RawFd) -> Result<(), Fault> {
    for (target, name) in LINKS {
        fs::symlinkat(target, dev, name).at(Step::Create)?;
    }
    if record.has(flag::BIND_DEVICES) {
        return Ok(());
    }
    for row in record.rows(&layout::DEVICES) {
        if let Some(path) = below_dev(&row) {
            make_node(dev, path, &row)?;
        }
    }
    Ok(())
}

/// In a user namespace nodes cannot be made: binds the host's, once `/dev` is attached.
pub(super) fn bind(start: &Start<'_>, dev: RawFd) -> Result<(), Fault> {
    if !start.record.has(flag::BIND_DEVICES) {
        return Ok(());
    }
    for row in start.record.rows(&layout::DEVICES) {
        if let Some(path) = below_dev(&row) {
            bind_node(start, dev, path, &row)?;
        }
    }
    Ok(())
}

/// The nodes that are elsewhere, or all of them if `/dev` is not ours to fill beforehand.
pub(super) fn make_outside(start: &Start<'_>, root: RawFd) -> Result<(), Fault> {
    let record = &start.record;
    let filled = record
        .rows(&layout::MOUNTS)
        .any(|row| row.word(layout::mount::TRAITS) & layout::trait_of::DEV != 0);
    for (index, row) in record.rows(&layout::DEVICES).enumerate() {
        if below_dev(&row).is_some() && (filled || record.has(flag::KEEP_DEV)) {
            continue;
        }
        let path = row.text(device::PATH);
        let made = if record.has(flag::BIND_DEVICES) {
            bind_node(start, root, path, &row)
        } else {
            make_node(root, path, &row)
        };
        made.map_err(|fault| fault.of(index))?;
    }
    Ok(())
}

fn below_dev<'a>(row: &Row<'a>) -> Option<&'a CStr> {
    let path = row
        .text(device::PATH)
        .to_bytes_with_nul()
        .strip_prefix(b"/dev")?;
    // Keeps the slash: paths below a descriptor are looked up as below a root.
    CStr::from_bytes_with_nul(path)
        .ok()
        .filter(|path| path.to_bytes().starts_with(b"/"))
}

fn make_node(base: RawFd, path: &CStr, row: &Row<'_>) -> Result<(), Fault> {
    match single(path) {
        Some(name) => make_node_in(base, name, row),
        None => {
            let (dir, name) = path::parent(base, path)?;
            make_node_in(dir.raw(), name.as_c_str(), row)
        }
    }
}

/// The name in `/name`.
fn single(path: &CStr) -> Option<&CStr> {
    let name = path.to_bytes_with_nul().strip_prefix(b"/")?;
    CStr::from_bytes_with_nul(name)
        .ok()
        .filter(|name| !name.to_bytes().contains(&b'/'))
}

fn make_node_in(dir: RawFd, name: &CStr, row: &Row<'_>) -> Result<(), Fault> {
    let mode = row.word(device::MODE);
    let rdev = (row.word(device::MAJOR), row.word(device::MINOR));
    match fs::mknodat(dir, name, mode, rdev) {
        Ok(()) => {}
        // An image may bring its own, as long as it is the very same device.
        Err(err) if err.is(errno::EEXIST) => {
            let there = fs::stat(dir, name).at(Step::Create)?;
            let same = there.kind() == mode & k::S_IFMT
                && (there.kind() == k::S_IFIFO || there.rdev == rdev);
            return if same {
                Ok(())
            } else {
                Err(err).at(Step::Create)
            };
        }
        Err(err) => return Err(err).at(Step::Create),
    }
    let (uid, gid) = (row.word(device::UID), row.word(device::GID));
    if (uid, gid) == (0, 0) {
        return Ok(());
    }
    fs::chown(dir, name, uid, gid).at(Step::Create)
}

fn bind_node(start: &Start<'_>, base: RawFd, path: &CStr, row: &Row<'_>) -> Result<(), Fault> {
    let tree = start
        .fd(row.optional(device::FD))
        .ok_or(Errno::of(errno::ENODEV))?;
    let place = path::ensure(base, path, Kind::File, k::RESOLVE_NO_SYMLINKS)?;
    mnt::move_mount(tree, place.raw()).at(Step::Attach)
}
