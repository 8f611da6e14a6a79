//! Where things are in a start record: shared by the builder and the view.

/// How far the upper half of a 64-bit value is shifted; its lower half comes first.
pub(super) const LONG: u32 = 32;

/// No record has more mounts that turn read-only late.
pub const LATE_MAX: usize = 64;
/// No record has more supplementary groups.
pub const GROUPS_MAX: usize = 1024;

/// A table: where its header pair is, how wide its rows are, and which words need checking.
#[derive(Debug)]
pub struct Table {
    /// Header word of the (offset, rows) pair.
    pub field: usize,
    /// Words per row.
    pub words: usize,
    /// Words that begin a string's (offset, length) pair.
    pub texts: &'static [usize],
    /// Words that hold a descriptor's index.
    pub fds: &'static [usize],
}

/// Bits of [`header::FLAGS`].
pub mod flag {
    /// Joins a running container instead of making one.
    pub const EXEC: u32 = 1;
    /// Make a pseudo-terminal in the container's devpts and send its master to the caller.
    pub const TERMINAL: u32 = 1 << 1;
    /// The root mount becomes read-only.
    pub const READONLY_ROOT: u32 = 1 << 2;
    /// `no_new_privs`.
    pub const NO_NEW_PRIVILEGES: u32 = 1 << 3;
    /// Keep the caller's session keyring.
    pub const KEEP_KEYRING: u32 = 1 << 4;
    /// `PR_SET_PDEATHSIG` with `SIGKILL`, after the last change of credentials.
    pub const DIE_WITH_PARENT: u32 = 1 << 5;
    /// There is no `/dev` mount of ours to fill: leave `/dev` as it is.
    pub const KEEP_DEV: u32 = 1 << 6;
    /// Nodes cannot be made in this user namespace: bind them from the descriptors given.
    pub const BIND_DEVICES: u32 = 1 << 7;
    /// Leave the old root by chroot(2) instead of pivot_root(2).
    pub const NO_PIVOT: u32 = 1 << 8;
    /// The capability words are to be applied; otherwise the caller's sets are kept.
    pub const CAPABILITIES: u32 = 1 << 9;
    /// setgroups(2) is denied in this user namespace.
    pub const NO_SETGROUPS: u32 = 1 << 10;
    /// The working directory is made if it does not exist.
    pub const CREATE_CWD: u32 = 1 << 11;
}

/// Words of the header.
pub mod header {
    /// [`crate::record::MAGIC`].
    pub const MAGIC: usize = 0;
    /// [`crate::record::VERSION`].
    pub const VERSION: usize = 1;
    /// Bytes of the whole record.
    pub const LENGTH: usize = 2;
    /// [`super::flag`].
    pub const FLAGS: usize = 3;
    /// `CLONE_NEW*` of the namespaces to make.
    pub const NAMESPACES: usize = 4;
    /// User id.
    pub const UID: usize = 5;
    /// Group id.
    pub const GID: usize = 6;
    /// File mode creation mask.
    pub const UMASK: usize = 7;
    /// `oom_score_adj` plus 1001; 0 = leave.
    pub const OOM_SCORE: usize = 8;
    /// personality(2), or absent.
    pub const PERSONALITY: usize = 9;
    /// ioprio_set(2), or absent.
    pub const IO_PRIORITY: usize = 10;
    /// Terminal rows and columns; 0 = leave.
    pub const TERMINAL_ROWS: usize = 11;
    /// See [`TERMINAL_ROWS`].
    pub const TERMINAL_COLUMNS: usize = 12;
    /// Descriptor: the detached root file system.
    pub const ROOTFS: usize = 13;
    /// Descriptor: the cgroup v2 directory to be born in.
    pub const CGROUP: usize = 14;
    /// Descriptor: pidfd of the container to join.
    pub const TARGET: usize = 15;
    /// `CLONE_NEW*` of the target's namespaces to join.
    pub const TARGET_KINDS: usize = 16;
    /// `SECCOMP_FILTER_FLAG_*`.
    pub const SECCOMP_FLAGS: usize = 17;
    /// Propagation of the root mount after the move: `MS_*`, or 0 = private.
    pub const ROOT_PROPAGATION: usize = 18;
    /// Capability sets, 64 bits each.
    pub const BOUNDING: usize = 20;
    /// See [`BOUNDING`].
    pub const EFFECTIVE: usize = 22;
    /// See [`BOUNDING`].
    pub const PERMITTED: usize = 24;
    /// See [`BOUNDING`].
    pub const INHERITABLE: usize = 26;
    /// See [`BOUNDING`].
    pub const AMBIENT: usize = 28;
    /// String: working directory.
    pub const CWD: usize = 30;
    /// String: host name.
    pub const HOSTNAME: usize = 32;
    /// String: NIS domain name.
    pub const DOMAINNAME: usize = 34;
    /// String: what to write to `/proc/self/timens_offsets`.
    pub const TIME_OFFSETS: usize = 36;
    /// String: which file below `/proc/self/attr` takes the label.
    pub const LABEL_FILE: usize = 38;
    /// String: the label.
    pub const LABEL: usize = 40;
    /// String: contents for `uid_map`.
    pub const UID_MAP: usize = 42;
    /// String: contents for `gid_map`.
    pub const GID_MAP: usize = 44;
    /// (offset, length): the seccomp program.
    pub const SECCOMP: usize = 46;
    /// String: where to attach the root file system until it is entered; empty: on top of the old root.
    pub const ROOT_PLACE: usize = 76;
    /// First word of the tables' pairs.
    pub(super) const TABLES: usize = 48;
    /// Words of the header.
    pub const WORDS: usize = 80;

    /// Header words that begin a string's pair.
    pub(crate) const TEXTS: &[usize] = &[
        ROOT_PLACE,
        CWD,
        HOSTNAME,
        DOMAINNAME,
        TIME_OFFSETS,
        LABEL_FILE,
        LABEL,
        UID_MAP,
        GID_MAP,
    ];
    /// Header words that hold a descriptor's index.
    pub(crate) const FDS: &[usize] = &[ROOTFS, CGROUP, TARGET];
}

const fn table(
    index: usize,
    words: usize,
    texts: &'static [usize],
    fds: &'static [usize],
) -> Table {
    Table {
        field: header::TABLES + index * 2,
        words,
        texts,
        fds,
    }
}

/// Supplementary groups: gid.
pub static GROUPS: Table = table(0, 1, &[], &[]);
/// Resource limits: resource, unused, soft (long), hard (long).
pub static LIMITS: Table = table(1, 6, &[], &[]);
/// Arguments: text.
pub static ARGV: Table = table(2, 2, &[0], &[]);
/// Environment: text.
pub static ENVP: Table = table(3, 2, &[0], &[]);
/// Mounts, in order; columns in [`mount`].
pub static MOUNTS: Table = table(
    4,
    mount::WORDS,
    &[mount::DEST, mount::FSTYPE],
    &[mount::FD, mount::USERNS],
);
/// Options of file systems: key, value (empty: a flag).
pub static OPTIONS: Table = table(5, 4, &[0, 2], &[]);
/// Masked paths: text.
pub static MASKED: Table = table(6, 2, &[0], &[]);
/// Read-only paths: text.
pub static READONLY: Table = table(7, 2, &[0], &[]);
/// Sysctls: path below `/proc/sys`, value.
pub static SYSCTLS: Table = table(8, 4, &[0, 2], &[]);
/// Devices; columns in [`device`].
pub static DEVICES: Table = table(9, device::WORDS, &[device::PATH], &[device::FD]);
/// Namespaces to join, in order: kind (`CLONE_NEW*`), descriptor.
pub static JOINS: Table = table(10, 2, &[], &[1]);
/// `cgroup.procs` files to write "0" to: descriptor.
pub static ATTACH: Table = table(11, 1, &[], &[0]);
/// Descriptors to keep, besides the standard ones: the number they have, and keep.
pub static KEEP: Table = table(12, 1, &[], &[]);

/// All tables, for checking.
pub(crate) static TABLES: [&Table; 13] = [
    &GROUPS, &LIMITS, &ARGV, &ENVP, &MOUNTS, &OPTIONS, &MASKED, &READONLY, &SYSCTLS, &DEVICES,
    &JOINS, &ATTACH, &KEEP,
];

/// Columns of [`MOUNTS`].
pub mod mount {
    /// Where the mount comes from; a value of [`super::source`].
    pub const SOURCE: usize = 0;
    /// Bits of [`super::trait_of`].
    pub const TRAITS: usize = 1;
    /// String: destination, absolute and normal.
    pub const DEST: usize = 2;
    /// Descriptor: a detached mount.
    pub const FD: usize = 4;
    /// String: file system type.
    pub const FSTYPE: usize = 5;
    /// First row in [`super::OPTIONS`].
    pub const OPTION: usize = 7;
    /// Rows there.
    pub const OPTION_COUNT: usize = 8;
    /// `MOUNT_ATTR_*` to set on the mount (long).
    pub const SET: usize = 9;
    /// .. to clear.
    pub const CLEAR: usize = 11;
    /// .. to set on the mount and all below.
    pub const SET_ALL: usize = 13;
    /// .. to clear on the mount and all below.
    pub const CLEAR_ALL: usize = 15;
    /// `MS_PRIVATE` and so on, with `MS_REC`; 0 = leave.
    pub const PROPAGATION: usize = 17;
    /// Descriptor: user namespace of an id-mapped mount.
    pub const USERNS: usize = 18;
    /// Index of the mount in the OCI spec.
    pub const ORIGIN: usize = 19;
    /// Words per row.
    pub const WORDS: usize = 20;
}

/// Values of [`mount::SOURCE`].
pub mod source {
    /// A detached mount that came as a descriptor.
    pub const TREE: u32 = 1;
    /// A file system to make here.
    pub const FILESYSTEM: u32 = 2;
}

/// Bits of [`mount::TRAITS`].
pub mod trait_of {
    /// The mount's root is not a directory.
    pub const FILE: u32 = 1;
    /// The destination must be a real directory of the image, reached without symbolic links.
    pub const REAL_DIRECTORY: u32 = 1 << 1;
    /// It may lie on procfs: the destination is one of the few allowed.
    pub const ON_PROC: u32 = 1 << 2;
    /// It is the container's `/dev`: fill it before it is attached.
    pub const DEV: u32 = 1 << 3;
    /// Copy what the destination holds into the new file system.
    pub const COPY_UP: u32 = 1 << 4;
    /// Becomes read-only only after everything below it is mounted.
    pub const READONLY_LATE: u32 = 1 << 5;
    /// It is the container's `/proc`: usable as the private procfs until it is attached.
    pub const PROC: u32 = 1 << 6;
    /// If the file system cannot be made here, mount the descriptor instead.
    pub const FALLBACK: u32 = 1 << 7;
}

/// Columns of [`DEVICES`].
pub mod device {
    /// String: absolute path.
    pub const PATH: usize = 0;
    /// Type and permission bits.
    pub const MODE: usize = 2;
    /// Major number.
    pub const MAJOR: usize = 3;
    /// Minor number.
    pub const MINOR: usize = 4;
    /// Owner.
    pub const UID: usize = 5;
    /// Group.
    pub const GID: usize = 6;
    /// Descriptor: a detached mount of the host's node.
    pub const FD: usize = 7;
    /// Words per row.
    pub const WORDS: usize = 8;
}
