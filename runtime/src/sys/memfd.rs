//! Files in memory that cannot change any more.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{MemfdFlags, SealFlags};
use rustix::io::Errno;

/// Whether the file may be executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Executable {
    /// It is a program.
    Yes,
    /// It is data.
    No,
}

/// memfd_create(2), write(2), and `F_ADD_SEALS` with all of write, grow, shrink and seal.
pub(crate) fn sealed(name: &CStr, bytes: &[u8], executable: Executable) -> io::Result<OwnedFd> {
    let plain = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let exec = if executable == Executable::Yes {
        MemfdFlags::EXEC
    } else {
        MemfdFlags::NOEXEC_SEAL
    };
    let created = match rustix::fs::memfd_create(name, plain | exec) {
        // Kernels before 6.3 know neither flag.
        Err(Errno::INVAL) => rustix::fs::memfd_create(name, plain),
        created => created,
    };
    let mut file = File::from(created?);
    file.write_all(bytes)?;
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_file_stays_as_it_is() {
        let mut file = File::from(sealed(c"test", b"bytes", Executable::No).unwrap());
        assert!(file.write_all(b"x").is_err());
        assert!(file.set_len(1).is_err());
        assert_eq!(file.metadata().unwrap().len(), 5);
    }
}
