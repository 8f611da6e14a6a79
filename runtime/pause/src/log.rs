//! One container's log file: appending within bounds, and beginning a new one.
//!
//! `0.log` is written; a new file pushes it to `0.log.1`, that to `0.log.2`, and so on. What a full
//! disk does not take is dropped and counted: neither memory nor the container waits for it.

use core::ffi::CStr;

use rkube_init::protocol::{LogLimits, MAX_NAME, Name};
use rkube_init::sys::{self, Fd, errno, fs, growing};

use crate::boot::c_string;

/// A log that is being written.
pub(crate) struct Log {
    dir: Fd,
    name: Name,
    file: Fd,
    pub(crate) limits: LogLimits,
    /// Bytes in the file.
    pub(crate) size: u64,
    /// Bytes that could not be written, ever.
    pub(crate) dropped: u64,
}

/// Room for a name, a dot, a number and a NUL.
type NameBuffer = [u8; MAX_NAME + 12];

impl Log {
    /// Opens `name` in `dir`, and goes on behind what is there.
    pub(crate) fn open(dir: Fd, name: Name, limits: LogLimits) -> sys::Result<Self> {
        let file = append(&dir, &name)?;
        let size = growing::size(file.raw())?;
        Ok(Self {
            dir,
            name,
            file,
            limits,
            size,
            dropped: 0,
        })
    }

    /// Opens the file again by its name: somebody has moved it away.
    pub(crate) fn reopen(&mut self) -> sys::Result<()> {
        self.file = append(&self.dir, &self.name)?;
        self.size = growing::size(self.file.raw())?;
        Ok(())
    }

    /// Whether the next line belongs into a new file: `waiting` bytes are still to be written, and
    /// `more` would be too much.
    pub(crate) fn full(&self, waiting: usize, more: usize) -> bool {
        let size = self.size + waiting as u64;
        self.limits.size > 0 && size > 0 && size + more as u64 > self.limits.size
    }

    /// Appends whole lines. If the disk takes only some of them, none stay: half a line is no line.
    pub(crate) fn write(&mut self, lines: &[u8]) {
        let mut rest = lines;
        while !rest.is_empty() {
            match fs::write(self.file.raw(), rest) {
                Ok(written) if written > 0 => rest = rest.get(written..).unwrap_or_default(),
                Err(err) if err.is(errno::EINTR) => {}
                Ok(_) | Err(_) => break,
            }
        }
        if rest.is_empty() {
            self.size += lines.len() as u64;
            return;
        }
        self.dropped += lines.len() as u64;
        if rest.len() < lines.len() {
            let _ = growing::truncate(self.file.raw(), self.size);
        }
    }

    /// Begins a new file. If the files cannot be renamed, the bound still holds: the old one is
    /// emptied.
    pub(crate) fn rotate(&mut self) {
        if self.shift().is_err() || self.reopen().is_err() {
            self.dropped += self.size;
            let _ = growing::truncate(self.file.raw(), 0);
            self.size = 0;
        }
    }

    /// Renames every file to the next number. The last one falls off.
    fn shift(&self) -> sys::Result<()> {
        let (mut from, mut to) = ([0; MAX_NAME + 12], [0; MAX_NAME + 12]);
        let dir = self.dir.raw();
        let last = self.limits.files.saturating_sub(1);
        // Files beyond the last are left from a larger bound.
        let mut beyond = last.max(1);
        while growing::unlink(dir, self.numbered(beyond, &mut to)?).is_ok() {
            beyond += 1;
        }
        for number in (1..last).rev() {
            let moved = growing::rename(
                dir,
                self.numbered(number, &mut from)?,
                self.numbered(number + 1, &mut to)?,
            );
            match moved {
                Err(err) if !err.is(errno::ENOENT) => return Err(err),
                _ => {}
            }
        }
        let written = c_string(self.name.as_bytes(), &mut from).ok_or(too_long())?;
        match last {
            0 => growing::unlink(dir, written),
            _ => growing::rename(dir, written, self.numbered(1, &mut to)?),
        }
    }

    /// `name.number`.
    fn numbered<'a>(&self, number: u32, buffer: &'a mut NameBuffer) -> sys::Result<&'a CStr> {
        let mut digits = [0; 10];
        let (mut at, mut rest) = (digits.len(), number);
        while at > 0 && (rest > 0 || at == digits.len()) {
            at -= 1;
            digits[at] = b'0' + u8::try_from(rest % 10).unwrap_or(0);
            rest /= 10;
        }
        let mut text = [0; MAX_NAME + 11];
        let mut len = 0;
        for part in [
            self.name.as_bytes(),
            b".",
            digits.get(at..).unwrap_or_default(),
        ] {
            text.get_mut(len..len + part.len())
                .ok_or(too_long())?
                .copy_from_slice(part);
            len += part.len();
        }
        c_string(text.get(..len).ok_or(too_long())?, buffer).ok_or(too_long())
    }
}

fn too_long() -> sys::Errno {
    sys::Errno::of(errno::ENAMETOOLONG)
}

fn append(dir: &Fd, name: &Name) -> sys::Result<Fd> {
    let mut buffer: NameBuffer = [0; MAX_NAME + 12];
    let name = c_string(name.as_bytes(), &mut buffer).ok_or(too_long())?;
    growing::append(dir.raw(), name, 0o640)
}
