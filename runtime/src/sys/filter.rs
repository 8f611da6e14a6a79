//! seccomp(2) for a command that is about to run: what tests of compiled programs need.

#![expect(
    unsafe_code,
    reason = "code between fork and exec, and a filter passed by pointer"
)]

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Lets `command` run under `filter` (`struct sock_filter[]`) and without the right to new privileges.
pub(crate) fn under(command: &mut Command, filter: &[u8], flags: u32) {
    let filter: Vec<libc::sock_filter> = filter
        .chunks_exact(8)
        .map(|insn| libc::sock_filter {
            code: u16::from_ne_bytes([insn[0], insn[1]]),
            jt: insn[2],
            jf: insn[3],
            k: u32::from_ne_bytes([insn[4], insn[5], insn[6], insn[7]]),
        })
        .collect();
    let load = move || {
        let program = libc::sock_fprog {
            len: u16::try_from(filter.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
            filter: filter.as_ptr().cast_mut(),
        };
        // SAFETY: both calls only read their arguments, and `program` and `filter` outlive them.
        let ret = unsafe {
            libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                flags,
                &raw const program,
            )
        };
        if ret == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    };
    // SAFETY: the closure makes two system calls and allocates nothing, which is fine after fork.
    unsafe { command.pre_exec(load) };
}
