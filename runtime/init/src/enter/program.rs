//! The program: where it runs, within which limits, and which file it is.

use super::path::{self, Kind};
use crate::record::Record;
use crate::record::layout::{self, flag, header};
use crate::status::{At as _, Fault, Step};
use crate::sys::process::Arguments;
use crate::sys::{Errno, Fd, RawFd, errno, fs, process};
use core::convert::Infallible;
use core::ffi::CStr;
use linux_raw_sys::general as k;

pub(super) const PATH_MAX: usize = 4096;
/// Where programs are looked for when the environment does not say.
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Makes the working directory of a new container if its image lacks it.
pub(super) fn make_directory(record: &Record<'_>, root: RawFd) -> Result<(), Fault> {
    if record.has(flag::CREATE_CWD) {
        path::ensure(root, record.text(header::CWD), Kind::Directory, 0)?;
    }
    Ok(())
}

/// Enters the working directory, below the container's root and through no link of procfs, and makes sure that the
/// kernel, too, sees it inside.
pub(super) fn enter_directory(record: &Record<'_>, root: Option<&Fd>) -> Result<(), Fault> {
    let root = root.ok_or(Errno::of(errno::EBADF))?;
    let flags = k::O_PATH | k::O_DIRECTORY;
    let dir = path::open(
        root.raw(),
        record.text(header::CWD),
        flags,
        0,
        path::IN_ROOT,
    )?;
    fs::fchdir(dir.raw())?;
    let mut buffer = [0u8; PATH_MAX];
    fs::getcwd(&mut buffer).at(Step::Outside)?;
    if buffer.first() == Some(&b'/') {
        Ok(())
    } else {
        Err(Errno::of(errno::ENOENT)).at(Step::Outside)
    }
}

/// Sets the limits and the file mode mask.
pub(super) fn set_limits(record: &Record<'_>) -> Result<(), Fault> {
    for (index, row) in record.rows(&layout::LIMITS).enumerate() {
        let set = process::set_limit(row.word(0), row.long(2), row.long(4));
        set.map_err(|errno| Fault::from(errno).of(index))?;
    }
    fs::umask(record.field(header::UMASK));
    Ok(())
}

/// Sets what the scheduler and the kernel's personality are told.
pub(super) fn set_scheduling(record: &Record<'_>) -> Result<(), Fault> {
    if let Some(persona) = record.optional(header::PERSONALITY) {
        process::personality(persona)?;
    }
    if let Some(priority) = record.optional(header::IO_PRIORITY) {
        process::set_io_priority(priority)?;
    }
    Ok(())
}

/// The file to execute, found the way a shell does: `PATH` is the container's, and so are the files.
pub(super) fn find<'a>(
    record: &Record<'a>,
    buffer: &'a mut [u8; PATH_MAX],
) -> Result<&'a CStr, Fault> {
    let missing = Errno::of(errno::ENOENT);
    let name = record.row(&layout::ARGV, 0).ok_or(missing)?.text(0);
    if name.to_bytes().contains(&b'/') {
        executable(name)?;
        return Ok(name);
    }
    let path = record
        .rows(&layout::ENVP)
        .find_map(|row| row.text(0).to_bytes().strip_prefix(b"PATH="));
    let mut worst = missing;
    let mut found = None;
    for dir in path.unwrap_or(DEFAULT_PATH).split(|&byte| byte == b':') {
        let Some(len) = join(dir, name.to_bytes(), buffer) else {
            continue;
        };
        let candidate = CStr::from_bytes_until_nul(&buffer[..]).map_err(|_| missing)?;
        match executable(candidate) {
            Ok(()) => {
                found = Some(len);
                break;
            }
            Err(err) if err.is(errno::EACCES) => worst = err,
            Err(_) => {}
        }
    }
    let len = found.filter(|_| !name.is_empty()).ok_or(worst)?;
    let buffer = buffer.get(..=len).unwrap_or_default();
    Ok(CStr::from_bytes_with_nul(buffer).map_err(|_| missing)?)
}

/// `dir/name` with its NUL; its length, or nothing if it does not fit.
fn join(dir: &[u8], name: &[u8], buffer: &mut [u8; PATH_MAX]) -> Option<usize> {
    let dir = if dir.is_empty() { b"." } else { dir };
    let len = dir.len() + 1 + name.len();
    let room = buffer.get_mut(..=len)?;
    let (head, tail) = room.split_at_mut(dir.len());
    head.copy_from_slice(dir);
    let (slash, tail) = tail.split_first_mut()?;
    *slash = b'/';
    let (end, tail) = tail.split_last_mut()?;
    *end = 0;
    tail.copy_from_slice(name);
    Some(len)
}

fn executable(path: &CStr) -> Result<(), Errno> {
    let stat = fs::stat_followed(fs::CWD, path)?;
    if stat.kind() != k::S_IFREG {
        return Err(Errno::of(errno::EACCES));
    }
    fs::executable(fs::CWD, path)
}

/// Lays out arguments and environment: pointers into the record.
pub(super) fn arguments<'a>(record: &Record<'a>) -> Result<Arguments<'a>, Fault> {
    let argv = record.rows(&layout::ARGV).map(|row| row.text(0));
    let envp = record.rows(&layout::ENVP).map(|row| row.text(0));
    Ok(Arguments::new(argv, envp)?)
}

/// Executes the program; returns only on failure.
pub(super) fn execute(file: &CStr, image: &Arguments<'_>) -> Result<Infallible, Fault> {
    Err(process::execve(file, image).into())
}
