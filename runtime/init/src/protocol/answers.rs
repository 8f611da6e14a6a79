//! The payloads of answers and events: containers, how they end, and why something was refused.

use super::{DecodeError, Name, Reader, Wiring, Writer};
use crate::status::FRAME;

/// Where a container stands.
///
/// ```text
/// parked --start--> running --> exited --forget--> (gone)
///    `------------- failed ------^
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ContainerState {
    /// Forked, and waiting before its execve (or on the way there).
    Parked = 0,
    /// Told to start; the execve has not been seen yet.
    Starting = 1,
    /// Its program runs.
    Running = 2,
    /// Its first process has ended.
    Exited = 3,
}

/// How a process ended. Times are nanoseconds since 1970; 0 is never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Exited {
    /// The exit code, 0 when a signal ended it.
    pub code: u8,
    /// The signal that ended it, or 0.
    pub signal: u8,
    /// When it was started.
    pub started: u64,
    /// When its end was seen.
    pub exited: u64,
}

impl Exited {
    /// Writes the payload.
    pub fn encode(&self, to: &mut Writer<'_>) {
        to.u8(self.code)
            .u8(self.signal)
            .u64(self.started)
            .u64(self.exited);
    }

    /// Reads the payload.
    ///
    /// # Errors
    /// When it is cut short.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        Self::read(&mut Reader::new(payload))
    }

    fn read(read: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let (code, signal) = (read.u8()?, read.u8()?);
        Ok(Self {
            code,
            signal,
            started: read.u64()?,
            exited: read.u64()?,
        })
    }
}

/// The payload of `Container`: one entry of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Container {
    /// The container's name.
    pub name: Name,
    /// Which run of that name it is.
    pub attempt: u32,
    /// Where it stands.
    pub state: ContainerState,
    /// How its streams are wired.
    pub wiring: Wiring,
    /// When it started, and once it has ended, how.
    pub exited: Exited,
    /// Why it never ran, if its start failed.
    pub refused: Refused,
    /// Bytes in the log file being written.
    pub log_size: u64,
    /// Bytes of output that the log could not take (a full disk).
    pub log_dropped: u64,
}

impl Container {
    /// Writes the payload.
    pub fn encode(&self, to: &mut Writer<'_>) {
        to.string(self.name.as_bytes())
            .u32(self.attempt)
            .u8(self.state as u8)
            .u8(self.wiring.to_byte());
        self.exited.encode(to);
        self.refused.encode(to);
        to.u64(self.log_size).u64(self.log_dropped);
    }

    /// Reads the payload.
    ///
    /// # Errors
    /// When it is cut short, or in a state that this build does not know.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut read = Reader::new(payload);
        let name = Name::new(read.string()?).ok_or(DecodeError)?;
        let attempt = read.u32()?;
        let state = match read.u8()? {
            0 => ContainerState::Parked,
            1 => ContainerState::Starting,
            2 => ContainerState::Running,
            3 => ContainerState::Exited,
            _ => return Err(DecodeError),
        };
        let wiring = Wiring::from_byte(read.u8()?)?;
        let exited = Exited::read(&mut read)?;
        let refused = Refused::read(&mut read)?;
        let (log_size, log_dropped) = (read.u64()?, read.u64()?);
        Ok(Self {
            name,
            attempt,
            state,
            wiring,
            exited,
            refused,
            log_size,
            log_dropped,
        })
    }
}

/// The payload of `Running` and `EventStarted`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Started {
    /// When the program was told to run, in nanoseconds since 1970.
    pub started: u64,
}

impl Started {
    /// Writes the payload.
    pub fn encode(&self, to: &mut Writer<'_>) {
        to.u64(self.started);
    }

    /// Reads the payload.
    ///
    /// # Errors
    /// When it is cut short.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        Ok(Self {
            started: Reader::new(payload).u64()?,
        })
    }
}

/// Why a request was not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum Refusal {
    /// It was: nothing is wrong.
    #[default]
    None = 0,
    /// The message is not one that this supervisor understands.
    Malformed = 1,
    /// There is no such container or exec.
    Unknown = 2,
    /// A living container has this name already.
    Exists = 3,
    /// The container is not in a state for that.
    State = 4,
    /// A table is full.
    Full = 5,
    /// A system call of the supervisor's own failed: see the errno.
    Call = 6,
    /// A stage of the start failed, in the new process: see what it said.
    Stage = 7,
    /// The new process ended before its execve without a word.
    Vanished = 8,
}

/// The payload of `Refused`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Refused {
    /// Why.
    pub why: Refusal,
    /// The kernel's error number, when a call of the supervisor's own failed.
    pub errno: i32,
    /// What the new process said last, a [`crate::status::Frame`], when it failed.
    pub said: [u8; FRAME],
}

impl Refused {
    /// Not refused at all.
    pub const NONE: Self = Self {
        why: Refusal::None,
        errno: 0,
        said: [0; FRAME],
    };

    /// Refused without more detail.
    #[must_use]
    pub fn new(why: Refusal) -> Self {
        Self {
            why,
            ..Self::default()
        }
    }

    /// Refused because a system call of the supervisor failed.
    #[must_use]
    pub fn call(errno: i32) -> Self {
        Self {
            why: Refusal::Call,
            errno,
            ..Self::default()
        }
    }

    /// Refused because the new process failed.
    #[must_use]
    pub fn stage(said: [u8; FRAME]) -> Self {
        Self {
            why: Refusal::Stage,
            said,
            ..Self::default()
        }
    }

    /// Writes the payload.
    pub fn encode(&self, to: &mut Writer<'_>) {
        to.u8(self.why as u8).i32(self.errno).bytes(&self.said);
    }

    /// Reads the payload.
    ///
    /// # Errors
    /// When it is cut short, or gives a reason that this build does not know.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        Self::read(&mut Reader::new(payload))
    }

    fn read(read: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let why = match read.u8()? {
            0 => Refusal::None,
            1 => Refusal::Malformed,
            2 => Refusal::Unknown,
            3 => Refusal::Exists,
            4 => Refusal::State,
            5 => Refusal::Full,
            6 => Refusal::Call,
            7 => Refusal::Stage,
            8 => Refusal::Vanished,
            _ => return Err(DecodeError),
        };
        Ok(Self {
            why,
            errno: read.i32()?,
            said: read.array()?,
        })
    }
}
