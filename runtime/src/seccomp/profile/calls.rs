//! The calls of the default profile, by subject.

use oci_spec::runtime::Capability as Cap;

/// Allowed to every container. Names that a machine does not have are passed over there.
#[rustfmt::skip]
pub(super) const ALLOWED: &[&str] = &[
    // Files: open, close, duplicate.
    "open", "openat", "openat2", "creat", "close", "close_range", "dup", "dup2", "dup3", "fcntl",
    "fcntl64", "ioctl", "pipe", "pipe2", "memfd_create", "memfd_secret", "name_to_handle_at",
    // Files: contents.
    "read", "readv", "pread64", "preadv", "preadv2", "write", "writev", "pwrite64", "pwritev",
    "pwritev2", "lseek", "_llseek", "sendfile", "sendfile64", "splice", "tee", "vmsplice",
    "copy_file_range", "readahead", "fadvise64", "fadvise64_64", "arm_fadvise64_64", "cachestat",
    "truncate", "truncate64", "ftruncate", "ftruncate64", "fallocate", "flock",
    "sync", "syncfs", "fsync", "fdatasync", "sync_file_range", "sync_file_range2",
    "arm_sync_file_range", "io_setup", "io_destroy", "io_submit", "io_cancel", "io_getevents",
    "io_pgetevents", "io_pgetevents_time64",
    // Files: names.
    "link", "linkat", "symlink", "symlinkat", "readlink", "readlinkat", "unlink", "unlinkat",
    "rename", "renameat", "renameat2", "mkdir", "mkdirat", "rmdir", "mknod", "mknodat", "getcwd",
    "chdir", "fchdir", "getdents", "getdents64", "readdir", "umask", "inotify_init",
    "inotify_init1", "inotify_add_watch", "inotify_rm_watch", "fanotify_mark",
    // Files: attributes.
    "stat", "stat64", "lstat", "lstat64", "fstat", "fstat64", "fstatat64", "newfstatat", "statx",
    "oldstat", "oldlstat", "oldfstat", "statfs", "statfs64", "fstatfs", "fstatfs64", "access",
    "faccessat", "faccessat2", "chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "chown32",
    "fchown", "fchown32", "lchown", "lchown32", "fchownat", "utime", "utimes", "futimesat",
    "utimensat", "utimensat_time64", "getxattr", "lgetxattr", "fgetxattr", "getxattrat", "setxattr",
    "lsetxattr", "fsetxattr", "setxattrat", "listxattr", "llistxattr", "flistxattr", "listxattrat",
    "removexattr", "lremovexattr", "fremovexattr", "removexattrat", "file_getattr", "file_setattr",
    // Memory.
    "brk", "mmap", "mmap2", "munmap", "mremap", "mprotect", "msync", "mincore", "madvise", "mlock",
    "mlock2", "mlockall", "munlock", "munlockall", "mseal", "remap_file_pages", "membarrier",
    "pkey_alloc", "pkey_free", "pkey_mprotect", "map_shadow_stack", "process_mrelease",
    "cacheflush",
    // Processes: make, end, wait. (clone itself depends on its flags.)
    "fork", "vfork", "execve", "execveat", "exit", "exit_group", "wait4", "waitid", "waitpid",
    "pidfd_open", "restart_syscall", "set_tid_address", "set_thread_area", "get_thread_area",
    "set_tls", "get_tls", "arch_prctl", "modify_ldt", "prctl", "rseq", "uretprobe",
    // Processes: look at and trace one's own (the kernel checks who may trace whom; since 4.8 a
    // tracer cannot change a call after the filter has seen it).
    "ptrace", "process_vm_readv", "process_vm_writev", "kcmp",
    // Processes: identity.
    "getpid", "getppid", "gettid", "getpgrp", "getpgid", "setpgid", "getsid", "setsid", "getuid",
    "getuid32", "geteuid", "geteuid32", "getgid", "getgid32", "getegid", "getegid32", "getresuid",
    "getresuid32", "getresgid", "getresgid32", "setuid", "setuid32", "setgid", "setgid32",
    "setreuid", "setreuid32", "setregid", "setregid32", "setresuid", "setresuid32", "setresgid",
    "setresgid32", "setfsuid", "setfsuid32", "setfsgid", "setfsgid32", "getgroups", "getgroups32",
    "setgroups", "setgroups32", "capget", "capset",
    // Processes: sandbox oneself further.
    "seccomp", "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self",
    // Signals.
    "kill", "tkill", "tgkill", "pidfd_send_signal", "rt_sigaction", "rt_sigprocmask",
    "rt_sigpending", "rt_sigqueueinfo", "rt_sigreturn", "rt_sigsuspend", "rt_sigtimedwait",
    "rt_sigtimedwait_time64", "rt_tgsigqueueinfo", "sigaction", "sigprocmask", "sigpending",
    "sigreturn", "sigsuspend", "signal", "sgetmask", "ssetmask", "sigaltstack", "signalfd",
    "signalfd4", "pause",
    // Scheduling and limits.
    "sched_yield", "sched_getaffinity", "sched_setaffinity", "sched_getattr", "sched_setattr",
    "sched_getparam", "sched_setparam", "sched_getscheduler", "sched_setscheduler",
    "sched_get_priority_max", "sched_get_priority_min", "sched_rr_get_interval",
    "sched_rr_get_interval_time64", "getpriority", "setpriority", "nice", "ioprio_get",
    "ioprio_set", "getcpu", "getrlimit", "ugetrlimit", "setrlimit", "prlimit64", "getrusage",
    "times", "sysinfo", "uname", "olduname", "oldolduname", "getrandom",
    // Time: reading, waiting, timers. (Adjusting needs a capability that the kernel checks.)
    "time", "gettimeofday", "clock_gettime", "clock_gettime64", "clock_getres",
    "clock_getres_time64", "clock_nanosleep", "clock_nanosleep_time64", "nanosleep", "adjtimex",
    "clock_adjtime", "clock_adjtime64", "alarm", "getitimer", "setitimer", "timer_create",
    "timer_delete", "timer_getoverrun", "timer_gettime", "timer_gettime64", "timer_settime",
    "timer_settime64", "timerfd_create", "timerfd_gettime", "timerfd_gettime64", "timerfd_settime",
    "timerfd_settime64",
    // Waiting for events and for each other.
    "poll", "ppoll", "ppoll_time64", "select", "_newselect", "pselect6", "pselect6_time64",
    "epoll_create", "epoll_create1", "epoll_ctl", "epoll_ctl_old", "epoll_wait", "epoll_wait_old",
    "epoll_pwait", "epoll_pwait2", "eventfd", "eventfd2", "futex", "futex_time64", "futex_waitv",
    "futex_wait", "futex_wake", "futex_requeue", "set_robust_list", "get_robust_list",
    // System V and POSIX IPC, which is the pod's own.
    "ipc", "msgctl", "msgget", "msgrcv", "msgsnd", "semctl", "semget", "semop", "semtimedop",
    "semtimedop_time64", "shmat", "shmctl", "shmdt", "shmget", "mq_open", "mq_unlink", "mq_notify",
    "mq_getsetattr", "mq_timedreceive", "mq_timedreceive_time64", "mq_timedsend",
    "mq_timedsend_time64",
    // Sockets. (socket itself depends on the family.)
    "socketcall", "socketpair", "bind", "connect", "listen", "accept", "accept4", "getsockname",
    "getpeername", "getsockopt", "setsockopt", "shutdown", "send", "sendto", "sendmsg", "sendmmsg",
    "recv", "recvfrom", "recvmsg", "recvmmsg", "recvmmsg_time64",
    // Numbers behind which no kernel has anything (it says ENOSYS itself): naming them closes gaps
    // between the others, which makes the program a quarter shorter.
    "afs_syscall", "bdflush", "break", "create_module", "ftime", "get_kernel_syms", "getpmsg",
    "gtty", "idle", "lock", "mpx", "prof", "profil", "putpmsg", "query_module", "security", "stty",
    "tuxcall", "ulimit", "vserver",
];

/// Allowed to containers with any of the capabilities.
pub(super) const BY_CAPABILITY: &[(&[Cap], &[&str])] = &[
    (
        &[Cap::SysAdmin],
        &[
            "clone",
            "clone3",
            "unshare",
            "setns",
            "mount",
            "umount",
            "umount2",
            "mount_setattr",
            "move_mount",
            "open_tree",
            "open_tree_attr",
            "fsopen",
            "fsconfig",
            "fsmount",
            "fspick",
            "statmount",
            "listmount",
            "fanotify_init",
            "quotactl",
            "quotactl_fd",
            "sethostname",
            "setdomainname",
            "lookup_dcookie",
            "lsm_set_self_attr",
        ],
    ),
    (&[Cap::SysAdmin, Cap::Bpf], &["bpf"]),
    (&[Cap::SysAdmin, Cap::Perfmon], &["perf_event_open"]),
    (&[Cap::SysAdmin, Cap::Syslog], &["syslog"]),
    (&[Cap::DacReadSearch], &["open_by_handle_at"]),
    (&[Cap::SysBoot], &["reboot"]),
    (&[Cap::SysChroot], &["chroot"]),
    (
        &[Cap::SysModule],
        &["init_module", "finit_module", "delete_module"],
    ),
    (&[Cap::SysPacct], &["acct"]),
    (&[Cap::SysPtrace], &["pidfd_getfd", "process_madvise"]),
    (&[Cap::SysRawio], &["iopl", "ioperm"]),
    (
        &[Cap::SysTime],
        &["settimeofday", "stime", "clock_settime", "clock_settime64"],
    ),
    (&[Cap::SysTtyConfig], &["vhangup"]),
    (
        &[Cap::SysNice],
        &[
            "get_mempolicy",
            "set_mempolicy",
            "set_mempolicy_home_node",
            "mbind",
            "move_pages",
        ],
    ),
];
