//! Keeping containers away from the file of the program that starts them (CVE-2019-5736).
//!
//! Until its execve(2) a container's first process is a copy of us, and `/proc/self/exe`, as the program, as a script's
//! interpreter or as an ELF file's, leads to our file on the host. Whoever is root in the container could keep it open
//! until it is not busy any more, and write to it. So we run from a read-only mount of that file that is attached
//! nowhere, or from a sealed copy in memory: neither can be written to by anyone who gets hold of it.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rkube_init::sys::fs::CWD;
use rkube_init::sys::mount::{self as mnt, Attributes};
use rustix::fs::{SealFlags, StatVfsMountFlags};

use crate::sys::fd::{error, own};
use crate::sys::memfd::{self, Executable};

const OWN: &str = "/proc/self/exe";

/// Executes this program again, with the same arguments, from where its file cannot be written to; returns at once if
/// it already runs from such a place. To be called before a container is entered, and before anything has been done.
///
/// # Errors
/// When neither a mount nor a copy can be made; then no container may be entered.
pub fn protect_executable() -> io::Result<()> {
    let file = File::open(OWN)?;
    if is_protected(&file)? {
        return Ok(());
    }
    let protected = read_only_mount().or_else(|_| sealed_copy(file))?;
    let mut args = std::env::args_os();
    let mut again = Command::new(format!("/proc/self/fd/{}", protected.as_raw_fd()));
    again
        .arg0(args.next().unwrap_or_else(|| OWN.into()))
        .args(args);
    Err(again.exec())
}

fn is_protected(file: &File) -> io::Result<bool> {
    let sealed =
        rustix::fs::fcntl_get_seals(file).is_ok_and(|seals| seals.contains(SealFlags::WRITE));
    let mount = rustix::fs::fstatvfs(file)?.f_flag;
    Ok(sealed || mount.contains(StatVfsMountFlags::RDONLY))
}

fn read_only_mount() -> io::Result<OwnedFd> {
    let tree = mnt::clone_tree(CWD, c"/proc/self/exe", false).map_err(error)?;
    let readonly = Attributes {
        set: libc::MOUNT_ATTR_RDONLY,
        ..Attributes::default()
    };
    mnt::set_attributes(tree.raw(), &readonly, false).map_err(error)?;
    Ok(own(tree))
}

fn sealed_copy(mut file: File) -> io::Result<OwnedFd> {
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    memfd::sealed(c"rkube-runtime", &bytes, Executable::Yes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_and_copies_are_protected() {
        let own_file = || File::open(OWN).unwrap();
        let copy = sealed_copy(own_file()).unwrap();
        assert!(
            is_protected(&File::open(format!("/proc/self/fd/{}", copy.as_raw_fd())).unwrap())
                .unwrap()
        );
        if !rustix::process::geteuid().is_root() {
            println!("SKIP mounts_and_copies_are_protected: mounts need root");
            return;
        }
        let mount = read_only_mount().unwrap();
        let path = format!("/proc/self/fd/{}", mount.as_raw_fd());
        assert!(is_protected(&File::open(&path).unwrap()).unwrap());
        assert!(File::options().write(true).open(&path).is_err());
    }
}
