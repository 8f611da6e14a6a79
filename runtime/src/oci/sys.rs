//! System calls of the command line that `rustix` has no safe form of.
#![expect(unsafe_code, reason = "one kernel call per wrapper, nothing else")]
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr;

/// pidfd_send_signal(2): any signal number, 0 included, which only looks.
pub(super) fn pidfd_send_signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let info = ptr::null::<libc::siginfo_t>();
    // SAFETY: the descriptor outlives the call, and a null info asks the kernel to fill in its own.
    let ret = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            info,
            0_u32,
        )
    };
    if ret < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// sigprocmask(2) and signalfd(2): from here on every signal that can be blocked is read from the
/// descriptor instead of being delivered.
pub(super) fn signals_as_fd() -> io::Result<OwnedFd> {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigfillset only writes the set it is given, and that one is ours.
    unsafe { libc::sigfillset(set.as_mut_ptr()) };
    // SAFETY: the set was filled above; the old mask is not asked for.
    if unsafe { libc::sigprocmask(libc::SIG_BLOCK, set.as_ptr(), ptr::null_mut()) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the set was filled above and is only read.
    let fd = unsafe { libc::signalfd(-1, set.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: signalfd just gave us this descriptor, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The number of bytes of one record that a signalfd yields; its first four are the signal.
pub(super) const SIGNAL_RECORD: usize = size_of::<libc::signalfd_siginfo>();

/// Makes `command` join the namespaces of the process behind `pidfd`, and take `root` for its root
/// directory, before it executes.
///
/// setns(2) with `flags`, fchdir(2) and chroot(2) run in the child between fork and exec. It does
/// not enter a pid namespace, which is only for the children of the caller.
pub(super) fn join_namespaces(
    command: &mut Command,
    pidfd: BorrowedFd<'_>,
    root: BorrowedFd<'_>,
    flags: i32,
) {
    let (pidfd, root) = (pidfd.as_raw_fd(), root.as_raw_fd());
    let join = move || {
        // SAFETY: all three take integers and a constant string; the descriptors are open in the
        // child because the parent keeps them until the command has been spawned.
        let done = unsafe {
            libc::setns(pidfd, flags) == 0
                && libc::fchdir(root) == 0
                && libc::chroot(c".".as_ptr()) == 0
        };
        if done {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    };
    // SAFETY: the closure makes system calls and allocates nothing, which is allowed between fork
    // and exec.
    unsafe { command.pre_exec(join) };
}

/// Makes `command` start with no signal blocked: the mask is inherited otherwise, and ours may be
/// full for the sake of [`signals_as_fd`].
pub(super) fn unblock_signals(command: &mut Command) {
    let unblock = || {
        let mut set = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: sigemptyset only writes the set it is given, which sigprocmask then reads.
        let done = unsafe {
            libc::sigemptyset(set.as_mut_ptr());
            libc::sigprocmask(libc::SIG_SETMASK, set.as_ptr(), ptr::null_mut())
        };
        if done == 0 {
            Ok(())
        } else {
            Err(io::Error::last_os_error())
        }
    };
    // SAFETY: the closure makes a system call and allocates nothing, which is allowed between fork
    // and exec.
    unsafe { command.pre_exec(unblock) };
}

/// fcntl(2) with `F_GETFD`: whether the number is an open descriptor.
pub(super) fn is_open(fd: i32) -> bool {
    // SAFETY: F_GETFD takes any number and touches no memory.
    unsafe { libc::fcntl(fd, libc::F_GETFD) >= 0 }
}
