//! Processes, namespaces, identities and limits.

use super::{Errno, Fd, RawFd, Result, call, errno, fd, int};
use core::ffi::CStr;
use core::ptr::null;
use linux_raw_sys::{general as k, prctl};

/// What [`clone3`] returns in the parent.
#[derive(Debug)]
pub struct Cloned {
    /// The child, in the caller's pid namespace.
    pub pid: i32,
    /// Its pidfd.
    pub pidfd: Fd,
}

/// clone3(2) without shared memory: `None` in the child, which goes on with a copy of everything.
///
/// The child must keep to this crate: nothing of libc or std knows that it exists. `cgroup` is a cgroup v2 directory.
pub fn clone3(flags: u64, exit_signal: u32, cgroup: Option<RawFd>) -> Result<Option<Cloned>> {
    let mut pidfd: i32 = -1;
    let mut args = k::clone_args {
        flags: flags | u64::from(k::CLONE_PIDFD),
        pidfd: (&raw mut pidfd) as u64,
        child_tid: 0,
        parent_tid: 0,
        exit_signal: u64::from(exit_signal),
        stack: 0,
        stack_size: 0,
        tls: 0,
        set_tid: 0,
        set_tid_size: 0,
        cgroup: 0,
    };
    if let Some(dir) = cgroup {
        args.flags |= k::CLONE_INTO_CGROUP;
        args.cgroup = u64::try_from(dir).map_err(|_| Errno::of(errno::EBADF))?;
    }
    let pid = call!(k::__NR_clone3, &raw mut args, size_of::<k::clone_args>())?;
    Ok((pid != 0).then(|| Cloned {
        pid: int(pid),
        pidfd: Fd(pidfd),
    }))
}

/// The arrays of execve(2): pointers to strings, each array ending with a null pointer.
#[derive(Debug)]
pub struct Arguments<'a> {
    argv: &'a [*const u8],
    envp: &'a [*const u8],
}

impl<'a> Arguments<'a> {
    /// Lays the strings out in memory of their own; the strings themselves stay where they are.
    pub fn new(
        argv: impl ExactSizeIterator<Item = &'a CStr>,
        envp: impl ExactSizeIterator<Item = &'a CStr>,
    ) -> Result<Self> {
        let (argc, envc) = (argv.len(), envp.len());
        // Fresh memory is zero, and so are the two words that end the arrays.
        let (args, vars) = map_words(argc + envc + 2)?.split_at_mut(argc + 1);
        for (slot, text) in args.iter_mut().take(argc).zip(argv) {
            *slot = text.as_ptr().cast();
        }
        for (slot, text) in vars.iter_mut().take(envc).zip(envp) {
            *slot = text.as_ptr().cast();
        }
        Ok(Self {
            argv: args,
            envp: vars,
        })
    }
}

/// execve(2). Returns only on failure.
#[must_use]
pub fn execve(path: &CStr, arguments: &Arguments<'_>) -> Errno {
    let (argv, envp) = (arguments.argv.as_ptr(), arguments.envp.as_ptr());
    match call!(k::__NR_execve, path, argv, envp) {
        Ok(_) => Errno(0),
        Err(err) => err,
    }
}

/// exit_group(2).
pub fn exit(code: i32) -> ! {
    loop {
        let _ = call!(k::__NR_exit_group, code);
    }
}

/// getpid(2): in the caller's own pid namespace.
#[must_use]
pub fn getpid() -> i32 {
    call!(k::__NR_getpid).map_or(0, int)
}

/// setsid(2).
pub fn setsid() -> Result<()> {
    call!(k::__NR_setsid).map(drop)
}

/// pidfd_open(2).
pub fn pidfd_open(pid: i32) -> Result<Fd> {
    call!(k::__NR_pidfd_open, pid, 0).map(fd)
}

/// waitid(2) on a pidfd: waits for the exit of a child, of any kind, and reaps it.
pub fn reap(pidfd: RawFd) -> Result<()> {
    loop {
        let flags = k::WEXITED | k::__WALL;
        match call!(
            k::__NR_waitid,
            k::P_PIDFD,
            pidfd,
            null::<u8>(),
            flags,
            null::<u8>()
        ) {
            Err(err) if err.is(errno::EINTR) => {}
            done => return done.map(drop),
        }
    }
}

/// unshare(2).
pub fn unshare(flags: u32) -> Result<()> {
    call!(k::__NR_unshare, flags).map(drop)
}

/// setns(2), with a namespace's descriptor or a pidfd.
pub fn setns(namespace: RawFd, kinds: u32) -> Result<()> {
    call!(k::__NR_setns, namespace, kinds).map(drop)
}

/// sethostname(2).
pub fn sethostname(name: &[u8]) -> Result<()> {
    call!(k::__NR_sethostname, name.as_ptr(), name.len()).map(drop)
}

/// setdomainname(2).
pub fn setdomainname(name: &[u8]) -> Result<()> {
    call!(k::__NR_setdomainname, name.as_ptr(), name.len()).map(drop)
}

/// setgroups(2), from little-endian words.
pub fn setgroups(gids: &[u32]) -> Result<()> {
    call!(k::__NR_setgroups, gids.len(), gids.as_ptr()).map(drop)
}

/// setresgid(2), all three the same.
pub fn setgid(gid: u32) -> Result<()> {
    call!(k::__NR_setresgid, gid, gid, gid).map(drop)
}

/// setresuid(2), all three the same.
pub fn setuid(uid: u32) -> Result<()> {
    call!(k::__NR_setresuid, uid, uid, uid).map(drop)
}

/// capset(2) on the caller.
pub fn capset(effective: u64, permitted: u64, inheritable: u64) -> Result<()> {
    let header = k::__user_cap_header_struct {
        version: k::_LINUX_CAPABILITY_VERSION_3,
        pid: 0,
    };
    let half = |shift: u32| {
        let part = |set: u64| u32::try_from((set >> shift) & 0xffff_ffff).unwrap_or(0);
        k::__user_cap_data_struct {
            effective: part(effective),
            permitted: part(permitted),
            inheritable: part(inheritable),
        }
    };
    let sets = [half(0), half(32)];
    call!(k::__NR_capset, &raw const header, sets.as_ptr()).map(drop)
}

/// capget(2) on the caller: the permitted set.
pub fn permitted() -> Result<u64> {
    let header = k::__user_cap_header_struct {
        version: k::_LINUX_CAPABILITY_VERSION_3,
        pid: 0,
    };
    let zero = k::__user_cap_data_struct {
        effective: 0,
        permitted: 0,
        inheritable: 0,
    };
    let mut sets = [zero, zero];
    call!(k::__NR_capget, &raw const header, sets.as_mut_ptr())?;
    Ok(u64::from(sets[0].permitted) | u64::from(sets[1].permitted) << 32)
}

fn prctl(option: u32, a: u32, b: u32) -> Result<()> {
    call!(k::__NR_prctl, option, a, b, 0, 0).map(drop)
}

/// prctl(2) `PR_SET_DUMPABLE` 0: nobody may ptrace us or open our `/proc/PID` links.
pub fn set_undumpable() -> Result<()> {
    prctl(prctl::PR_SET_DUMPABLE, 0, 0)
}

/// prctl(2) `PR_SET_KEEPCAPS`: the permitted set survives the next change of uid.
pub fn keep_capabilities(on: bool) -> Result<()> {
    prctl(prctl::PR_SET_KEEPCAPS, u32::from(on), 0)
}

/// prctl(2) `PR_CAPBSET_DROP`. `EINVAL` for a capability that the kernel does not know.
pub fn drop_bounding(capability: u32) -> Result<()> {
    prctl(prctl::PR_CAPBSET_DROP, capability, 0)
}

/// prctl(2) `PR_CAP_AMBIENT_CLEAR_ALL`.
pub fn clear_ambient() -> Result<()> {
    prctl(prctl::PR_CAP_AMBIENT, prctl::PR_CAP_AMBIENT_CLEAR_ALL, 0)
}

/// prctl(2) `PR_CAP_AMBIENT_RAISE`.
pub fn raise_ambient(capability: u32) -> Result<()> {
    prctl(
        prctl::PR_CAP_AMBIENT,
        prctl::PR_CAP_AMBIENT_RAISE,
        capability,
    )
}

/// prctl(2) `PR_SET_NO_NEW_PRIVS`.
pub fn set_no_new_privileges() -> Result<()> {
    prctl(prctl::PR_SET_NO_NEW_PRIVS, 1, 0)
}

/// prctl(2) `PR_SET_PDEATHSIG` with `SIGKILL`. Undone by every later change of credentials.
pub fn die_with_parent() -> Result<()> {
    prctl(prctl::PR_SET_PDEATHSIG, k::SIGKILL, 0)
}

/// seccomp(2) `SECCOMP_SET_MODE_FILTER`; `program` is an array of `struct sock_filter`.
pub fn load_filter(program: &[u8], flags: u32) -> Result<()> {
    const SET_MODE_FILTER: u32 = 1;
    #[repr(C)]
    struct Program {
        len: u16,
        filter: *const u8,
    }
    let len = u16::try_from(program.len() / 8).map_err(|_| Errno::of(errno::EINVAL))?;
    let program = Program {
        len,
        filter: program.as_ptr(),
    };
    call!(k::__NR_seccomp, SET_MODE_FILTER, flags, &raw const program).map(drop)
}

/// keyctl(2) `KEYCTL_JOIN_SESSION_KEYRING`: a new anonymous session keyring.
pub fn join_session_keyring() -> Result<()> {
    const JOIN_SESSION_KEYRING: u32 = 1;
    call!(k::__NR_keyctl, JOIN_SESSION_KEYRING, null::<u8>()).map(drop)
}

/// personality(2).
pub fn personality(persona: u32) -> Result<()> {
    call!(k::__NR_personality, persona).map(drop)
}

/// ioprio_set(2) on the caller.
pub fn set_io_priority(priority: u32) -> Result<()> {
    const WHO_PROCESS: u32 = 1;
    call!(k::__NR_ioprio_set, WHO_PROCESS, 0, priority).map(drop)
}

/// prlimit64(2): sets a limit of the caller.
pub fn set_limit(resource: u32, soft: u64, hard: u64) -> Result<()> {
    let limit = [soft, hard];
    call!(k::__NR_prlimit64, 0, resource, limit.as_ptr(), null::<u8>()).map(drop)
}

/// rt_sigprocmask(2): replaces the mask of blocked signals.
pub fn set_signal_mask(blocked: u64) -> Result<()> {
    call!(
        k::__NR_rt_sigprocmask,
        k::SIG_SETMASK,
        &raw const blocked,
        null::<u8>(),
        size_of::<u64>()
    )
    .map(drop)
}

/// rt_sigaction(2): the default action, for each signal that has another.
pub fn reset_signals() {
    // A zeroed `struct sigaction` is SIG_DFL without flags; the largest layout has four words.
    let default = [0u64; 4];
    for signal in 1..=64u32 {
        // SIGKILL and SIGSTOP refuse; they have no other action anyway.
        let _ = call!(
            k::__NR_rt_sigaction,
            signal,
            default.as_ptr(),
            null::<u8>(),
            size_of::<u64>()
        );
    }
}

/// mmap(2): anonymous zeroed memory for `words` pointers, never unmapped.
fn map_words(words: usize) -> Result<&'static mut [*const u8]> {
    let len = words * size_of::<*const u8>();
    let protection = k::PROT_READ | k::PROT_WRITE;
    let flags = k::MAP_PRIVATE | k::MAP_ANONYMOUS;
    let at = call!(k::__NR_mmap, null::<u8>(), len, protection, flags, -1, 0)?;
    // SAFETY: a fresh private mapping of `len` zeroed bytes, aligned to a page, which nobody unmaps;
    // zeroed words are valid (null) pointers.
    Ok(unsafe { core::slice::from_raw_parts_mut(at as *mut *const u8, words) })
}
