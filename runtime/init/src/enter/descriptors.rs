//! Which descriptors the program gets: 0, 1, 2, and those the caller asked to keep.

use crate::launch::Start;
use crate::record::layout::{self, header};
use crate::status::Fault;
use crate::sys::{Errno, Fd, RawFd, errno, fs, process};
use linux_raw_sys::general as k;

/// Puts the standard descriptors in place and marks all others to be closed by execve(2).
pub(super) fn arrange(start: &Start<'_>, terminal: Option<&Fd>) -> Result<(), Fault> {
    match process::setsid() {
        // A group leader already, as only somebody's own child can be.
        Err(err) if err.is(errno::EPERM) => {}
        done => done?,
    }
    match terminal {
        Some(slave) => {
            fs::set_controlling_terminal(slave.raw())?;
            for fd in 0..3 {
                fs::dup_to(slave.raw(), fd)?;
            }
        }
        None => standard(start)?,
    }
    fs::cloexec_from(3)?;
    for row in start.record.rows(&layout::KEEP) {
        let fd = i32::try_from(row.word(0)).map_err(|_| Errno::of(errno::EBADF))?;
        fs::set_cloexec(fd, false)?;
    }
    Ok(())
}

fn standard(start: &Start<'_>) -> Result<(), Fault> {
    let uid = start.record.field(header::UID);
    for (number, given) in (0..).zip(start.stdio) {
        if let Some(fd) = given {
            place(fd, number)?;
        }
        if uid != 0 {
            own_pipe(number, uid)?;
        }
    }
    Ok(())
}

fn place(from: RawFd, to: RawFd) -> Result<(), Errno> {
    if from == to {
        fs::set_cloexec(to, false)
    } else {
        fs::dup_to(from, to)
    }
}

/// Gives a pipe to the user, who could otherwise not open `/dev/stdout` anew.
fn own_pipe(fd: RawFd, uid: u32) -> Result<(), Errno> {
    let Ok(stat) = fs::stat(fd, c"") else {
        return Ok(());
    };
    if stat.kind() != k::S_IFIFO || stat.uid == uid {
        return Ok(());
    }
    match fs::chown(fd, c"", uid, u32::MAX) {
        // Not ours to give, or on a file system that does not care.
        Err(err) if err.is(errno::EPERM) || err.is(errno::EINVAL) || err.is(errno::EROFS) => Ok(()),
        done => done,
    }
}
