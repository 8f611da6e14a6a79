//! Building a start record: what the new process must know, as plain data, and its encoding.
//!
//! The format is drawn in [`rkube_init::record`]; the process that executes it reads it in place.

use std::borrow::Cow;

use rkube_init::record::layout::{self, Table, header, mount};
use rkube_init::record::{MAGIC, MAX_FDS, MAX_LEN, NONE, VERSION};

#[cfg(test)]
mod tests;

/// What `oom_score_adj` is stored with, so that 0 says "leave it".
const SCORE_BIAS: i32 = 1001;

/// Why a start record cannot be encoded.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// Strings travel NUL-terminated.
    #[error("{text:?} contains a NUL byte")]
    Nul {
        /// The string.
        text: String,
    },
    /// More than one message or one process can take.
    #[error(
        "arguments, environment and mounts take {len} bytes, and {MAX_LEN} is the most; make the environment smaller"
    )]
    TooLong {
        /// Bytes.
        len: usize,
    },
    /// More descriptors than one message carries.
    #[error("{count} descriptors are needed, and {MAX_FDS} is the most; use fewer mounts")]
    TooManyFds {
        /// Descriptors.
        count: usize,
    },
}

/// The five capability sets, as bit masks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// What may ever be gained.
    pub bounding: u64,
    /// What is in force.
    pub effective: u64,
    /// What may be in force.
    pub permitted: u64,
    /// What file capabilities may add to.
    pub inheritable: u64,
    /// What survives execve(2) without file capabilities.
    pub ambient: u64,
}

/// A resource limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// `RLIMIT_*`.
    pub resource: u32,
    /// The limit in force.
    pub soft: u64,
    /// Its ceiling.
    pub hard: u64,
}

/// A mount. Descriptors are indexes into the launch's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mount {
    /// [`layout::source`].
    pub source: u32,
    /// [`layout::trait_of`].
    pub traits: u32,
    /// Absolute, normal path in the container.
    pub destination: Vec<u8>,
    /// A detached mount.
    pub tree: Option<u32>,
    /// File system type.
    pub fstype: String,
    /// Options of the file system; an empty value makes a flag.
    pub options: Vec<(String, String)>,
    /// `MOUNT_ATTR_*` to set.
    pub set: u64,
    /// .. to clear.
    pub clear: u64,
    /// .. to set on everything below too.
    pub set_all: u64,
    /// .. to clear on everything below too.
    pub clear_all: u64,
    /// `MS_PRIVATE` and so on, perhaps with `MS_REC`.
    pub propagation: u32,
    /// The user namespace of an id-mapped mount.
    pub userns: Option<u32>,
    /// Which mount of the spec this comes from.
    pub origin: u32,
}

/// A device node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Absolute path in the container.
    pub path: Vec<u8>,
    /// Type and permission bits.
    pub mode: u32,
    /// Major number.
    pub major: u32,
    /// Minor number.
    pub minor: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// A detached mount of the host's node, where nodes cannot be made.
    pub tree: Option<u32>,
}

/// A start record before it is encoded. Descriptors are indexes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StartRecord {
    /// [`layout::flag`].
    pub flags: u32,
    /// `CLONE_NEW*` of the namespaces to make.
    pub namespaces: u32,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// File mode creation mask.
    pub umask: u32,
    /// `None`: leave it.
    pub oom_score_adj: Option<i32>,
    /// personality(2).
    pub personality: Option<u32>,
    /// ioprio_set(2).
    pub io_priority: Option<u32>,
    /// Rows and columns of the terminal.
    pub terminal_size: Option<(u16, u16)>,
    /// The detached root file system.
    pub rootfs: Option<u32>,
    /// The cgroup v2 directory to be born in.
    pub cgroup: Option<u32>,
    /// The pidfd of the container to join.
    pub target: Option<u32>,
    /// `CLONE_NEW*` of the target's namespaces to join.
    pub target_kinds: u32,
    /// An array of `struct sock_filter`.
    pub seccomp: Vec<u8>,
    /// `SECCOMP_FILTER_FLAG_*`.
    pub seccomp_flags: u32,
    /// `MS_*` of the root mount.
    pub root_propagation: u32,
    /// Capability sets, applied with [`layout::flag::CAPABILITIES`].
    pub capabilities: Capabilities,
    /// Where the root file system is attached until it is entered; empty: on top of the old root.
    pub root_place: Vec<u8>,
    /// Working directory.
    pub cwd: Vec<u8>,
    /// Host name; empty: leave it.
    pub hostname: String,
    /// NIS domain name; empty: leave it.
    pub domainname: String,
    /// Contents for `/proc/self/timens_offsets`.
    pub time_offsets: String,
    /// File below `/proc/PID` and the label to write there.
    pub label: Option<(String, String)>,
    /// Contents for `uid_map`.
    pub uid_map: String,
    /// Contents for `gid_map`.
    pub gid_map: String,
    /// Resource limits.
    pub limits: Vec<Limit>,
    /// Arguments, the program's name first.
    pub argv: Vec<Vec<u8>>,
    /// Environment.
    pub envp: Vec<Vec<u8>>,
    /// Mounts, in order.
    pub mounts: Vec<Mount>,
    /// Masked paths.
    pub masked: Vec<Vec<u8>>,
    /// Read-only paths.
    pub readonly: Vec<Vec<u8>>,
    /// Sysctls: path below `/proc/sys`, value.
    pub sysctls: Vec<(String, String)>,
    /// Device nodes.
    pub devices: Vec<Device>,
    /// Namespaces to join: `CLONE_NEW*`, descriptor.
    pub joins: Vec<(u32, u32)>,
    /// `cgroup.procs` files.
    pub attach: Vec<u32>,
    /// Descriptors that the program keeps: their numbers.
    pub keep: Vec<u32>,
}

impl StartRecord {
    /// The record as it travels, together with `fds` descriptors.
    pub fn encode(&self, fds: usize) -> Result<Vec<u8>, EncodeError> {
        if fds > MAX_FDS {
            return Err(EncodeError::TooManyFds { count: fds });
        }
        let mut encoder = Encoder {
            pool: Vec::new(),
            base: self.fixed_len(),
            table_words: Vec::new(),
        };
        let mut head = [0u32; header::WORDS];
        self.put_numbers(&mut head);
        self.put_texts(&mut head, &mut encoder)?;
        self.put_tables(&mut head, &mut encoder)?;
        let at = encoder.position();
        encoder.pool.extend_from_slice(&self.seccomp);
        put(&mut head, header::SECCOMP, &[at, word(self.seccomp.len())]);
        let len = encoder.base + encoder.pool.len();
        if len > MAX_LEN {
            return Err(EncodeError::TooLong { len });
        }
        put(&mut head, header::LENGTH, &[word(len)]);
        let words = head
            .iter()
            .chain(&encoder.table_words)
            .flat_map(|word| word.to_le_bytes());
        Ok(words.chain(encoder.pool.iter().copied()).collect())
    }

    fn option_count(&self) -> usize {
        self.mounts.iter().map(|mount| mount.options.len()).sum()
    }

    /// Bytes of the header and the tables.
    fn fixed_len(&self) -> usize {
        let size = |table: &Table, rows: usize| table.words * rows;
        let words = size(&layout::GROUPS, self.groups.len())
            + size(&layout::LIMITS, self.limits.len())
            + size(&layout::ARGV, self.argv.len())
            + size(&layout::ENVP, self.envp.len())
            + size(&layout::MOUNTS, self.mounts.len())
            + size(&layout::OPTIONS, self.option_count())
            + size(&layout::MASKED, self.masked.len())
            + size(&layout::READONLY, self.readonly.len())
            + size(&layout::SYSCTLS, self.sysctls.len())
            + size(&layout::DEVICES, self.devices.len())
            + size(&layout::JOINS, self.joins.len())
            + size(&layout::ATTACH, self.attach.len())
            + size(&layout::KEEP, self.keep.len());
        (header::WORDS + words) * 4
    }

    fn put_numbers(&self, head: &mut [u32]) {
        let (rows, columns) = self.terminal_size.unwrap_or_default();
        let caps = &self.capabilities;
        for (field, value) in [
            (header::MAGIC, MAGIC),
            (header::VERSION, VERSION),
            (header::FLAGS, self.flags),
            (header::NAMESPACES, self.namespaces),
            (header::UID, self.uid),
            (header::GID, self.gid),
            (header::UMASK, self.umask),
            (
                header::OOM_SCORE,
                self.oom_score_adj
                    .map_or(0, |score| (score + SCORE_BIAS).cast_unsigned()),
            ),
            (header::PERSONALITY, self.personality.unwrap_or(NONE)),
            (header::IO_PRIORITY, self.io_priority.unwrap_or(NONE)),
            (header::TERMINAL_ROWS, rows.into()),
            (header::TERMINAL_COLUMNS, columns.into()),
            (header::ROOTFS, self.rootfs.unwrap_or(NONE)),
            (header::CGROUP, self.cgroup.unwrap_or(NONE)),
            (header::TARGET, self.target.unwrap_or(NONE)),
            (header::TARGET_KINDS, self.target_kinds),
            (header::SECCOMP_FLAGS, self.seccomp_flags),
            (header::ROOT_PROPAGATION, self.root_propagation),
        ] {
            put(head, field, &[value]);
        }
        for (field, set) in [
            (header::BOUNDING, caps.bounding),
            (header::EFFECTIVE, caps.effective),
            (header::PERMITTED, caps.permitted),
            (header::INHERITABLE, caps.inheritable),
            (header::AMBIENT, caps.ambient),
        ] {
            put(head, field, &long(set));
        }
    }

    fn put_texts(&self, head: &mut [u32], encoder: &mut Encoder) -> Result<(), EncodeError> {
        let (label_file, label) = self
            .label
            .as_ref()
            .map_or(("", ""), |(file, label)| (file, label));
        for (field, text) in [
            (header::ROOT_PLACE, self.root_place.as_slice()),
            (header::CWD, self.cwd.as_slice()),
            (header::HOSTNAME, self.hostname.as_bytes()),
            (header::DOMAINNAME, self.domainname.as_bytes()),
            (header::TIME_OFFSETS, self.time_offsets.as_bytes()),
            (header::LABEL_FILE, label_file.as_bytes()),
            (header::LABEL, label.as_bytes()),
            (header::UID_MAP, self.uid_map.as_bytes()),
            (header::GID_MAP, self.gid_map.as_bytes()),
        ] {
            put(head, field, &encoder.text(text)?);
        }
        Ok(())
    }

    fn put_tables(&self, head: &mut [u32], encoder: &mut Encoder) -> Result<(), EncodeError> {
        let mut table =
            |table: &Table, rows: &mut dyn Iterator<Item = Row<'_>>| -> Result<(), EncodeError> {
                let at = word(header::WORDS * 4 + encoder.table_words.len() * 4);
                let mut count = 0;
                for row in rows {
                    let before = encoder.table_words.len();
                    for cell in row {
                        encoder.cell(&cell)?;
                    }
                    debug_assert_eq!(
                        encoder.table_words.len() - before,
                        table.words,
                        "a row of another width"
                    );
                    count += 1;
                }
                put(head, table.field, &[at, count]);
                Ok(())
            };
        fn texts(list: &[Vec<u8>]) -> Vec<Row<'_>> {
            list.iter()
                .map(|text| vec![Cell::Text(text.as_slice().into())])
                .collect()
        }
        table(
            &layout::GROUPS,
            &mut self.groups.iter().map(|&gid| vec![Cell::Word(gid)]),
        )?;
        table(&layout::LIMITS, &mut self.limits.iter().map(limit_row))?;
        table(&layout::ARGV, &mut texts(&self.argv).into_iter())?;
        table(&layout::ENVP, &mut texts(&self.envp).into_iter())?;
        let mut first = 0;
        table(
            &layout::MOUNTS,
            &mut self.mounts.iter().map(|mount| mount_row(mount, &mut first)),
        )?;
        let options = self.mounts.iter().flat_map(|mount| &mount.options);
        table(&layout::OPTIONS, &mut options.map(pair_row))?;
        table(&layout::MASKED, &mut texts(&self.masked).into_iter())?;
        table(&layout::READONLY, &mut texts(&self.readonly).into_iter())?;
        table(&layout::SYSCTLS, &mut self.sysctls.iter().map(pair_row))?;
        table(&layout::DEVICES, &mut self.devices.iter().map(device_row))?;
        table(
            &layout::JOINS,
            &mut self
                .joins
                .iter()
                .map(|&(kind, fd)| vec![Cell::Word(kind), Cell::Word(fd)]),
        )?;
        table(
            &layout::ATTACH,
            &mut self.attach.iter().map(|&fd| vec![Cell::Word(fd)]),
        )?;
        table(
            &layout::KEEP,
            &mut self.keep.iter().map(|&fd| vec![Cell::Word(fd)]),
        )
    }
}

/// A value in a row.
enum Cell<'a> {
    Word(u32),
    Long(u64),
    Text(Cow<'a, [u8]>),
}

type Row<'a> = Vec<Cell<'a>>;

fn limit_row(limit: &Limit) -> Row<'static> {
    vec![
        Cell::Word(limit.resource),
        Cell::Word(0),
        Cell::Long(limit.soft),
        Cell::Long(limit.hard),
    ]
}

fn pair_row((key, value): &(String, String)) -> Row<'_> {
    vec![
        Cell::Text(key.as_bytes().into()),
        Cell::Text(value.as_bytes().into()),
    ]
}

/// In the order of [`layout::mount`]; `first` counts the options before.
fn mount_row<'a>(mount: &'a Mount, first: &mut u32) -> Row<'a> {
    let options = word(mount.options.len());
    let option = *first;
    *first += options;
    vec![
        Cell::Word(mount.source),
        Cell::Word(mount.traits),
        Cell::Text(mount.destination.as_slice().into()),
        Cell::Word(mount.tree.unwrap_or(NONE)),
        Cell::Text(mount.fstype.as_bytes().into()),
        Cell::Word(option),
        Cell::Word(options),
        Cell::Long(mount.set),
        Cell::Long(mount.clear),
        Cell::Long(mount.set_all),
        Cell::Long(mount.clear_all),
        Cell::Word(mount.propagation),
        Cell::Word(mount.userns.unwrap_or(NONE)),
        Cell::Word(mount.origin),
    ]
}

/// In the order of [`layout::device`].
fn device_row(device: &Device) -> Row<'_> {
    vec![
        Cell::Text(device.path.as_slice().into()),
        Cell::Word(device.mode),
        Cell::Word(device.major),
        Cell::Word(device.minor),
        Cell::Word(device.uid),
        Cell::Word(device.gid),
        Cell::Word(device.tree.unwrap_or(NONE)),
    ]
}

struct Encoder {
    /// Strings, and the seccomp program.
    pool: Vec<u8>,
    /// Where the pool begins in the record.
    base: usize,
    table_words: Vec<u32>,
}

impl Encoder {
    fn position(&self) -> u32 {
        word(self.base + self.pool.len())
    }

    /// An absent string is (0, 0), which reads as the empty one.
    fn text(&mut self, text: &[u8]) -> Result<[u32; 2], EncodeError> {
        if text.contains(&0) {
            return Err(EncodeError::Nul {
                text: String::from_utf8_lossy(text).into_owned(),
            });
        }
        let at = self.position();
        self.pool.extend_from_slice(text);
        self.pool.push(0);
        Ok([at, word(text.len())])
    }

    fn cell(&mut self, cell: &Cell<'_>) -> Result<(), EncodeError> {
        match cell {
            Cell::Word(value) => self.table_words.push(*value),
            Cell::Long(value) => self.table_words.extend(long(*value)),
            Cell::Text(text) => {
                let span = self.text(text)?;
                self.table_words.extend(span);
            }
        }
        Ok(())
    }
}

fn put(head: &mut [u32], field: usize, words: &[u32]) {
    head[field..field + words.len()].copy_from_slice(words);
}

/// Lengths that do not fit are far past [`MAX_LEN`], which is checked at the end.
fn word(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

fn long(number: u64) -> [u32; 2] {
    let half = |part: u64| u32::try_from(part & u64::from(u32::MAX)).unwrap_or(0);
    [half(number), half(number >> 32)]
}

const _: () = assert!(mount::WORDS == 20, "mount_row has a cell for every column");
