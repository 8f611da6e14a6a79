//! What a client and a pod's supervisor say to each other, byte for byte.
//!
//! ```text
//! client --- Boot (once, over a socket pair) ---> rkube-pause
//!        <-- Ready | Failed -------------------
//! client === SOCK_SEQPACKET, dir/s ==========> up to 16 connections
//!        --- request, seq = n ---------------->
//!        <-- one reply, seq = n --------------     (a snapshot: several)
//!        <-- events, seq = 0 -----------------     (after Hello asked for them)
//! ```
//!
//! One message is one frame: a 16-byte [`Header`], a payload, and descriptors as `SCM_RIGHTS`. All
//! integers are little-endian. A type number never changes its meaning: a newer client must be able
//! to serve supervisors that were started by an older one and live as long as their pods.
//!
//! Not here: sockets, and what the supervisor does with a message. Both sides include this module,
//! and neither trusts a length it has read.

mod answers;
mod boot;
mod messages;
mod wire;

pub use answers::{Container, ContainerState, Exited, Refusal, Refused, Started};
pub use boot::{Boot, BootFailed, BootStep, Namespaces, Sysctls};
pub use messages::{Attach, Exec, Hello, LogLimits, Prepare, Signal, Wiring};
pub use wire::{DecodeError, Reader, Writer};

/// The version this build speaks; the first byte that may grow incompatible.
pub const VERSION: u8 = 1;
/// The largest message either side sends. Start records travel beside it, as sealed memfds.
pub const MAX_MESSAGE: usize = 4096;
/// The largest start record.
pub const MAX_RECORD: u32 = 1 << 20;
/// The most descriptors in one message: the kernel's own bound, `SCM_MAX_FD`.
pub const MAX_FDS: usize = 253;
/// The longest container name.
pub const MAX_NAME: usize = 80;
/// The most containers that one supervisor keeps, forgotten ones apart.
pub const MAX_CONTAINERS: usize = 64;
/// The most exec'd processes that one supervisor watches at a time.
pub const MAX_EXECS: usize = 128;
/// The most connections at a time.
pub const MAX_CONNECTIONS: usize = 16;
/// The descriptor on which a new supervisor finds its [`Boot`] message.
pub const BOOT_FD: i32 = 3;

/// What a frame is. Requests are below 64, replies below 96, events below 128.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Opens a connection: who is there, and do I want events.
    Hello = 1,
    /// Fork a container's first process up to just before its execve.
    Prepare = 2,
    /// Let a prepared container run.
    Start = 3,
    /// Run one more process in a container.
    Exec = 4,
    /// Send a signal to a container's first process or to an exec'd one.
    Signal = 5,
    /// Copy a container's output to a descriptor, or hand out its input.
    Attach = 6,
    /// Close the supervisor's end of a container's input.
    CloseStdin = 7,
    /// Change the bounds of a container's log.
    LogLimits = 8,
    /// Open the log again by its name.
    ReopenLog = 9,
    /// Drop what is kept about a container that has ended.
    Forget = 10,
    /// Kill everything and go.
    Shutdown = 11,
    /// The first message, over the boot socket.
    Boot = 32,

    /// Done; nothing more to say.
    Ok = 64,
    /// Not done: a [`Refused`].
    Refused = 65,
    /// The answer to Hello; as many `Container` frames follow as it counts.
    Snapshot = 66,
    /// One container of a snapshot; its pidfd comes along while it lives.
    Container = 67,
    /// The answer to Prepare; the pidfd comes along.
    Prepared = 68,
    /// The answer to Start and Exec: the program runs. Exec: its pidfd comes along.
    Running = 69,

    /// A container's program runs.
    EventStarted = 96,
    /// A container's first process has ended.
    EventExited = 97,
    /// An exec'd process of this connection has ended.
    EventExecExited = 98,
    /// A container's log has begun a new file.
    EventLogRotated = 99,
}

impl Kind {
    /// The kind with this number, if this build knows it.
    #[must_use]
    pub fn from_byte(byte: u8) -> Option<Self> {
        const ALL: [Kind; 22] = [
            Kind::Hello,
            Kind::Prepare,
            Kind::Start,
            Kind::Exec,
            Kind::Signal,
            Kind::Attach,
            Kind::CloseStdin,
            Kind::LogLimits,
            Kind::ReopenLog,
            Kind::Forget,
            Kind::Shutdown,
            Kind::Boot,
            Kind::Ok,
            Kind::Refused,
            Kind::Snapshot,
            Kind::Container,
            Kind::Prepared,
            Kind::Running,
            Kind::EventStarted,
            Kind::EventExited,
            Kind::EventExecExited,
            Kind::EventLogRotated,
        ];
        ALL.into_iter().find(|&kind| kind as u8 == byte)
    }
}

/// The first 16 bytes of every message: `len u32, version u8, kind u8, zero u16, seq u32, container
/// u32`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// What the frame is.
    pub kind: Kind,
    /// The request's number, repeated in its reply; 0 in events.
    pub seq: u32,
    /// The container or exec that it is about; 0 for none. Numbers are never used twice by one
    /// supervisor.
    pub container: u32,
}

impl Header {
    /// The size of a header.
    pub const LEN: usize = 16;

    /// Takes a message apart into its header and its payload.
    ///
    /// # Errors
    /// When the length, the version or the kind is not one that this build takes.
    pub fn decode(message: &[u8]) -> Result<(Self, &[u8]), DecodeError> {
        let mut read = Reader::new(message);
        let len = read.u32()?;
        let (version, kind, zero) = (read.u8()?, read.u8()?, read.u16()?);
        let (seq, container) = (read.u32()?, read.u32()?);
        let kind = Kind::from_byte(kind).ok_or(DecodeError)?;
        if usize::try_from(len) != Ok(message.len()) || version != VERSION || zero != 0 {
            return Err(DecodeError);
        }
        Ok((
            Self {
                kind,
                seq,
                container,
            },
            read.rest(),
        ))
    }

    /// Starts a message in `into`; [`Writer::finish`] puts the length in.
    #[must_use]
    pub fn begin<'a>(&self, into: &'a mut [u8]) -> Writer<'a> {
        let mut write = Writer::new(into);
        write
            .u32(0)
            .u8(VERSION)
            .u8(self.kind as u8)
            .u16(0)
            .u32(self.seq)
            .u32(self.container);
        write
    }
}

/// One entry of the append-only `exits` file: what a container or the supervisor itself ended with.
///
/// Layout: `version u8, what u8, code u8, signal u8, attempt u32, id u32, name length u8, zero[3],
/// started u64, exited u64, zero[16], name[80]`; 128 bytes, written by one write(2) before the
/// event goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExitRecord {
    /// Whether this is a container's end or the supervisor's own.
    pub what: ExitOf,
    /// The container's name.
    pub name: Name,
    /// Which run of that name it was.
    pub attempt: u32,
    /// The supervisor's number for it.
    pub id: u32,
    /// How it ended.
    pub exited: Exited,
}

/// Whose end an [`ExitRecord`] tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitOf {
    /// A container's first process.
    Container = 1,
    /// The supervisor found a bug in itself and stopped.
    Supervisor = 2,
}

impl ExitRecord {
    /// The size of one record.
    pub const LEN: usize = 128;

    /// The record's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        let name = self.name.as_bytes();
        let len = u8::try_from(name.len()).unwrap_or(0);
        let mut write = Writer::new(&mut bytes);
        write
            .u8(VERSION)
            .u8(self.what as u8)
            .u8(self.exited.code)
            .u8(self.exited.signal);
        write.u32(self.attempt).u32(self.id).u8(len).u8(0).u16(0);
        write
            .u64(self.exited.started)
            .u64(self.exited.exited)
            .u64(0)
            .u64(0)
            .bytes(name);
        bytes
    }

    /// Reads one record back.
    ///
    /// # Errors
    /// When it is of another version, or not a record at all.
    pub fn decode(bytes: &[u8; Self::LEN]) -> Result<Self, DecodeError> {
        let mut read = Reader::new(bytes);
        let (version, what, code, signal) = (read.u8()?, read.u8()?, read.u8()?, read.u8()?);
        let (attempt, id, len) = (read.u32()?, read.u32()?, read.u8()?);
        read.take(3)?;
        let (started, exited) = (read.u64()?, read.u64()?);
        read.take(16)?;
        let name = Name::new(read.take(usize::from(len))?).ok_or(DecodeError)?;
        let what = match (version, what) {
            (VERSION, 1) => ExitOf::Container,
            (VERSION, 2) => ExitOf::Supervisor,
            _ => return Err(DecodeError),
        };
        Ok(Self {
            what,
            name,
            attempt,
            id,
            exited: Exited {
                code,
                signal,
                started,
                exited,
            },
        })
    }
}

/// A short name without a heap: 1 to [`MAX_NAME`] bytes of `[A-Za-z0-9._-]`, not beginning with a
/// dot.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Name {
    len: u8,
    bytes: [u8; MAX_NAME],
}

impl Name {
    /// No name at all: what an empty table entry holds.
    pub const EMPTY: Self = Self {
        len: 0,
        bytes: [0; MAX_NAME],
    };

    /// The name in `bytes`, when it is one. Empty is allowed here and refused where a name is
    /// needed.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Option<Self> {
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
        if bytes.first() == Some(&b'.') || !bytes.iter().all(plain) {
            return None;
        }
        let mut name = Self::EMPTY;
        name.bytes.get_mut(..bytes.len())?.copy_from_slice(bytes);
        name.len = u8::try_from(bytes.len()).ok()?;
        Some(name)
    }

    /// The name's bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

impl core::fmt::Debug for Name {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests;
