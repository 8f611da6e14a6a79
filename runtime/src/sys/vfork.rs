//! Starting a program in new namespaces from a large, multi-threaded process: clone3(2) as vfork
//! does it, execveat(2).
//!
//! A plain fork copies page tables, which costs milliseconds for every 64 MB of caller. Here the
//! child shares the caller's memory and only the calling thread waits, until the execve; so the
//! child's few steps make system calls and nothing else: no allocation, no lock, no panic.
#![expect(
    unsafe_code,
    reason = "clone3 onto a stack of its own, and bare system calls behind it"
)]

use std::arch::asm;
use std::ffi::{CStr, c_char, c_int, c_long};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// A new pid namespace, whose first process the child is.
pub(crate) const NEW_PID: u64 = libc::CLONE_NEWPID as u64;
/// A new mount namespace, at first a copy of the caller's.
pub(crate) const NEW_MOUNT: u64 = libc::CLONE_NEWNS as u64;
/// A new network namespace.
pub(crate) const NEW_NET: u64 = libc::CLONE_NEWNET as u64;
/// A new IPC namespace.
pub(crate) const NEW_IPC: u64 = libc::CLONE_NEWIPC as u64;
/// A new UTS namespace.
pub(crate) const NEW_UTS: u64 = libc::CLONE_NEWUTS as u64;

/// `CLONE_INTO_CGROUP`, which `libc` has in a type that is too narrow for it.
const INTO_CGROUP: u64 = 1 << 33;

/// What to run, and with what.
#[derive(Debug)]
pub(crate) struct Vfork<'a> {
    /// The program's file: a sealed memfd.
    pub image: BorrowedFd<'a>,
    /// What becomes of descriptors 0, 1 and 2.
    pub null: BorrowedFd<'a>,
    /// What becomes of descriptor 3; everything above is closed.
    pub boot: BorrowedFd<'a>,
    /// `CLONE_NEW*` flags.
    pub namespaces: u64,
    /// A cgroup v2 directory to be born in.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// The program's name: its only argument.
    pub name: &'a CStr,
}

/// A process that has just begun.
#[derive(Debug)]
pub(crate) struct Child {
    /// Its pid, as the caller's pid namespace has it.
    pub pid: u32,
    /// Its pidfd.
    pub pidfd: OwnedFd,
}

/// What the child reads and where it leaves an error: memory of the parent's, which waits
/// meanwhile.
struct Shared {
    image: c_int,
    null: c_int,
    boot: c_int,
    argv: [*const c_char; 2],
    envp: [*const c_char; 1],
    errno: c_int,
}

/// clone3(2) with `CLONE_VM | CLONE_VFORK | CLONE_PIDFD`, then setsid, dup3, close_range and
/// execveat in the child, which has all signals blocked.
pub(crate) fn spawn(what: &Vfork<'_>) -> io::Result<Child> {
    const STACK: usize = 64 * 1024;
    let mut stack = vec![0_u128; STACK / size_of::<u128>()];
    let mut pidfd: c_int = -1;
    // Descriptors that are to become 0..=3 must not lie there themselves.
    let (image, null, boot) = (high(what.image)?, high(what.null)?, high(what.boot)?);
    let mut shared = Shared {
        image: image.as_raw_fd(),
        null: null.as_raw_fd(),
        boot: boot.as_raw_fd(),
        argv: [what.name.as_ptr(), std::ptr::null()],
        envp: [std::ptr::null()],
        errno: 0,
    };
    // SAFETY: all zeros are valid for this struct of integers.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::CLONE_PIDFD;
    args.flags = u64::from(flags.cast_unsigned()) | what.namespaces;
    args.pidfd = (&raw mut pidfd) as u64;
    args.exit_signal = u64::from(libc::SIGCHLD.cast_unsigned());
    args.stack = stack.as_mut_ptr() as u64;
    args.stack_size = STACK as u64;
    if let Some(cgroup) = what.cgroup {
        args.flags |= INTO_CGROUP;
        args.cgroup = u64::from(cgroup.as_raw_fd().cast_unsigned());
    }
    let ret = with_signals_blocked(|| {
        // SAFETY: the child runs `child` on `stack`, which is aligned to 16 bytes and outlives it,
        // because CLONE_VFORK holds this thread until the child has exec'd or gone; `shared`
        // likewise.
        unsafe { clone3(&raw const args, child, (&raw mut shared).cast()) }
    })?;
    if ret < 0 {
        return Err(io::Error::from_raw_os_error(
            i32::try_from(-ret).unwrap_or(libc::EINVAL),
        ));
    }
    // SAFETY: clone3 has just stored this descriptor, and nobody else knows it.
    let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
    // SAFETY: `shared` is a live local; the child, which wrote it through a pointer, is past its
    // execve or gone.
    let errno = unsafe { (&raw const shared.errno).read_volatile() };
    let pid = u32::try_from(ret).map_err(io::Error::other)?;
    if errno != 0 {
        super::pid::reap(&pidfd)?;
        return Err(io::Error::from_raw_os_error(errno));
    }
    Ok(Child { pid, pidfd })
}

/// A duplicate well above the standard descriptors.
fn high(fd: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    Ok(rustix::io::fcntl_dupfd_cloexec(fd, 10)?)
}

/// Runs `then` with every signal blocked: a handler in the child would run in the parent's memory.
fn with_signals_blocked<T>(then: impl FnOnce() -> T) -> io::Result<T> {
    // SAFETY: all zeros are a valid sigset_t, and it is overwritten.
    let (mut all, mut old): (libc::sigset_t, libc::sigset_t) = unsafe { std::mem::zeroed() };
    // SAFETY: both sets are live locals.
    let ret = unsafe {
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut old)
    };
    if ret != 0 {
        return Err(io::Error::from_raw_os_error(ret));
    }
    let done = then();
    // SAFETY: `old` is what the call above has filled in.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const old, std::ptr::null_mut()) };
    Ok(done)
}

/// The child, from its first instruction to the execve.
extern "C" fn child(shared: *mut Shared) -> ! {
    // SAFETY: `spawn` keeps `shared` alive until we are gone, and waits; libc's thin wrappers touch
    // only errno, which is the waiting thread's own.
    unsafe {
        libc::setsid();
        let s = &mut *shared;
        let placed = libc::dup3(s.boot, 3, 0) >= 0
            && (0..3).all(|fd| libc::dup3(s.null, fd, 0) >= 0)
            && libc::dup3(s.image, 4, libc::O_CLOEXEC) >= 0
            && libc::syscall(libc::SYS_close_range, 5, c_long::from(u32::MAX), 0) == 0;
        if placed {
            let (argv, envp) = (s.argv.as_ptr(), s.envp.as_ptr());
            libc::syscall(
                libc::SYS_execveat,
                4,
                c"".as_ptr(),
                argv,
                envp,
                libc::AT_EMPTY_PATH,
            );
        }
        (&raw mut s.errno).write_volatile(*libc::__errno_location());
        libc::_exit(127)
    }
}

/// clone3(2) for a child with a stack of its own, on which it calls `run(arg)`. Returns in the
/// parent only.
#[cfg(target_arch = "x86_64")]
unsafe fn clone3(
    args: *const libc::clone_args,
    run: extern "C" fn(*mut Shared) -> !,
    arg: *mut Shared,
) -> c_long {
    let ret: c_long;
    // SAFETY: in the child the stack pointer is the new stack's end, and registers are as before;
    // it calls `run`, which never returns. In the parent only the registers named here have
    // changed.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r12",
            "call r13",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 => ret,
            in("rdi") args,
            in("rsi") size_of::<libc::clone_args>(),
            in("r12") arg,
            in("r13") run,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    ret
}

/// clone3(2) for a child with a stack of its own, on which it calls `run(arg)`. Returns in the
/// parent only.
#[cfg(target_arch = "aarch64")]
unsafe fn clone3(
    args: *const libc::clone_args,
    run: extern "C" fn(*mut Shared) -> !,
    arg: *mut Shared,
) -> c_long {
    let ret: c_long;
    // SAFETY: as above.
    unsafe {
        asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, x20",
            "blr x21",
            "brk #1",
            "2:",
            inlateout("x0") args => ret,
            in("x1") size_of::<libc::clone_args>(),
            in("x8") libc::SYS_clone3,
            in("x20") arg,
            in("x21") run,
        );
    }
    ret
}
