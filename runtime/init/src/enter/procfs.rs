//! Reading and writing `/proc` without trusting anything that is mounted: through an instance of our own that is
//! attached nowhere. Below it, no links and no other mounts are followed.

use crate::record::Record;
use crate::record::layout::{self, header, mount, trait_of};
use crate::status::{Fault, Step};
use crate::sys::{self, Errno, Fd, errno, fs, mount as mnt, process};
use core::ffi::CStr;
use linux_raw_sys::general as k;

const RESOLVE: u32 =
    k::RESOLVE_BENEATH | k::RESOLVE_NO_XDEV | k::RESOLVE_NO_SYMLINKS | k::RESOLVE_NO_MAGICLINKS;
/// How much is added to the score in the record, so that 0 can mean "leave it".
const SCORE_BIAS: i32 = 1001;

/// A procfs of the caller's pid namespace that is mounted nowhere; `full` also has what is not about processes.
pub(crate) fn open_private(full: bool) -> Result<Fd, Errno> {
    let context = mnt::fsopen(c"proc")?;
    if !full {
        match mnt::set_string(context.raw(), c"subset", c"pid") {
            // Before Linux 5.8.
            Err(err) if err.is(errno::EINVAL) => {}
            done => done?,
        }
    }
    mnt::create(context.raw())?;
    mnt::fsmount(
        context.raw(),
        u64::from(k::MOUNT_ATTR_NOSUID | k::MOUNT_ATTR_NODEV | k::MOUNT_ATTR_NOEXEC),
    )
}

/// The procfs for this start: the container's own `/proc` before it is attached, or a private one if needed.
pub(super) fn open_for(record: &Record<'_>) -> Result<Option<Fd>, Fault> {
    let is_proc = |row: &crate::record::Row<'_>| row.word(mount::TRAITS) & trait_of::PROC != 0;
    if let Some((index, row)) = record
        .rows(&layout::MOUNTS)
        .enumerate()
        .find(|(_, row)| is_proc(row))
    {
        return super::mounts::make_filesystem(record, &row)
            .map(Some)
            .map_err(|fault| fault.of(index));
    }
    let sysctls = record.count(&layout::SYSCTLS) > 0;
    let others = record.field(header::OOM_SCORE) != 0 || !record.text(header::LABEL).is_empty();
    if sysctls || others {
        Ok(Some(open_private(sysctls)?))
    } else {
        Ok(None)
    }
}

/// Writes a file of process `pid`.
pub(crate) fn write(proc: &Fd, pid: i32, name: &CStr, value: &[u8]) -> Result<(), Fault> {
    let mut path = Name::new();
    path.push_number(pid);
    path.push(b"/");
    path.push(name.to_bytes());
    write_at(proc, path.text()?, value)
}

fn write_at(proc: &Fd, path: &CStr, value: &[u8]) -> Result<(), Fault> {
    let file = fs::openat2(proc.raw(), path, k::O_WRONLY, 0, RESOLVE)?;
    if fs::magic(file.raw())? != u64::from(k::PROC_SUPER_MAGIC) {
        return Err(Fault {
            step: Step::Verify,
            errno: Errno::of(errno::EPERM),
            detail: u32::MAX,
        });
    }
    // One write: these files take a value whole or not at all.
    if fs::write(file.raw(), value)? == value.len() {
        Ok(())
    } else {
        Err(Errno::of(errno::EIO).into())
    }
}

fn needed(proc: Option<&Fd>) -> Result<&Fd, Errno> {
    proc.ok_or(Errno::of(errno::EBADF))
}

/// Sets `oom_score_adj`. Without `CAP_SYS_RESOURCE` it cannot be lowered; then it is left as it is.
pub(super) fn set_oom_score(record: &Record<'_>, proc: Option<&Fd>) -> Result<(), Fault> {
    let biased = record.field(header::OOM_SCORE).cast_signed();
    if biased == 0 {
        return Ok(());
    }
    let mut value = Name::new();
    value.push_number(biased - SCORE_BIAS);
    match write(
        needed(proc)?,
        process::getpid(),
        c"oom_score_adj",
        value.bytes(),
    ) {
        Err(fault) if fault.errno.is(errno::EACCES) => Ok(()),
        done => done,
    }
}

/// Sets the sysctls of the namespaces that we are in.
pub(super) fn set_sysctls(record: &Record<'_>, proc: Option<&Fd>) -> Result<(), Fault> {
    for (index, row) in record.rows(&layout::SYSCTLS).enumerate() {
        let mut path = Name::new();
        path.push(b"sys/");
        path.push(row.text(0).to_bytes());
        let written = path.text().map_err(Fault::from);
        written
            .and_then(|path| write_at(needed(proc)?, path, row.text(2).to_bytes()))
            .map_err(|fault| fault.of(index))?;
    }
    Ok(())
}

/// Asks for the security label that execve(2) is to give us.
pub(super) fn set_label(record: &Record<'_>, proc: Option<&Fd>) -> Result<(), Fault> {
    let label = record.text(header::LABEL).to_bytes();
    if label.is_empty() {
        return Ok(());
    }
    write(
        needed(proc)?,
        process::getpid(),
        record.text(header::LABEL_FILE),
        label,
    )
}

/// A short path or number, built without a heap.
pub(crate) struct Name {
    buffer: [u8; 256],
    len: usize,
    overflow: bool,
}

impl Name {
    pub(crate) fn new() -> Self {
        Self {
            buffer: [0; 256],
            len: 0,
            overflow: false,
        }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        // The last byte stays 0.
        match self.buffer.get_mut(self.len..end).filter(|_| end < 256) {
            Some(room) => {
                room.copy_from_slice(bytes);
                self.len = end;
            }
            None => self.overflow = true,
        }
    }

    pub(crate) fn push_number(&mut self, number: i32) {
        if number < 0 {
            self.push(b"-");
        }
        let mut digits = [0u8; 10];
        let mut left = number.unsigned_abs();
        let mut first = digits.len();
        loop {
            first = first.saturating_sub(1);
            if let Some(digit) = digits.get_mut(first) {
                *digit = b'0' + u8::try_from(left % 10).unwrap_or(0);
            }
            left /= 10;
            if left == 0 {
                break;
            }
        }
        self.push(digits.get(first..).unwrap_or_default());
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.buffer.get(..self.len).unwrap_or_default()
    }

    pub(crate) fn text(&self) -> sys::Result<&CStr> {
        let too_long = Errno::of(errno::ENAMETOOLONG);
        if self.overflow {
            return Err(too_long);
        }
        CStr::from_bytes_until_nul(&self.buffer).map_err(|_| too_long)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(number: i32, want: &[u8]) {
        let mut name = Name::new();
        name.push_number(number);
        assert_eq!(name.bytes(), want);
    }

    #[test]
    fn numbers_are_written_in_decimal() {
        check(0, b"0");
        check(-999, b"-999");
        check(i32::MAX, b"2147483647");
        check(i32::MIN, b"-2147483648");
    }

    #[test]
    fn a_name_that_does_not_fit_is_an_error() {
        let mut name = Name::new();
        name.push(&[b'a'; 255]);
        assert!(name.text().is_ok());
        name.push(b"b");
        assert!(name.text().is_err());
    }
}
