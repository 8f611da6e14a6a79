//! The payloads of requests: what stands behind the header.

use super::{DecodeError, Name, Reader, Writer};

/// The payload of `Hello`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hello {
    /// Whether this connection wants the containers' events.
    pub subscribe: bool,
}

impl Hello {
    /// Writes the payload.
    pub fn encode(&self, to: &mut Writer<'_>) {
        to.u8(u8::from(self.subscribe));
    }

    /// Reads the payload.
    ///
    /// # Errors
    /// When it is cut short.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        Ok(Self {
            subscribe: Reader::new(payload).u8()? != 0,
        })
    }
}

/// How the standard streams of a process are wired.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wiring {
    /// A terminal: the process gets the slave of a new pty of its own devpts.
    pub tty: bool,
    /// The process has an input that can be attached to; without, it reads end of file.
    pub stdin: bool,
    /// The output goes to a log file. Without, it is read and thrown away.
    pub log: bool,
}

impl Wiring {
    pub(super) fn to_byte(self) -> u8 {
        u8::from(self.tty) | u8::from(self.stdin) << 1 | u8::from(self.log) << 2
    }

    pub(super) fn from_byte(byte: u8) -> Result<Self, DecodeError> {
        match byte {
            0..=7 => Ok(Self {
                tty: byte & 1 != 0,
                stdin: byte & 2 != 0,
                log: byte & 4 != 0,
            }),
            _ => Err(DecodeError),
        }
    }
}

/// How large a container's log may grow: `files` of `size` bytes each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogLimits {
    /// Begin a new file before one grows past this. 0: never.
    pub size: u64,
    /// How many files to keep, the one being written included. At least 1.
    pub files: u32,
}

impl Default for LogLimits {
    fn default() -> Self {
        Self {
            size: 10 << 20,
            files: 5,
        }
    }
}

impl LogLimits {
    /// Writes the payload.
    pub fn encode(&self, to: &mut Writer<'_>) {
        to.u64(self.size).u32(self.files);
    }

    /// Reads the payload.
    ///
    /// # Errors
    /// When it is cut short.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        Self::read(&mut Reader::new(payload))
    }

    fn read(read: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            size: read.u64()?,
            files: read.u32()?.clamp(1, 1000),
        })
    }
}

/// The payload of `Prepare`. Descriptors: the sealed memfd with the start record, the log's
/// directory when `wiring.log`, then the record's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prepare {
    /// The container's name; unique among the living.
    pub name: Name,
    /// Which run of that name this is.
    pub attempt: u32,
    /// How its streams are wired.
    pub wiring: Wiring,
    /// The log's bounds.
    pub limits: LogLimits,
    /// The log's file name in its directory.
    pub log_name: Name,
    /// How long the start record is.
    pub record: u32,
}

impl Prepare {
    /// Writes the payload.
    pub fn encode(&self, to: &mut Writer<'_>) {
        to.u32(self.attempt).u8(self.wiring.to_byte());
        self.limits.encode(to);
        to.string(self.name.as_bytes())
            .string(self.log_name.as_bytes())
            .u32(self.record);
    }

    /// Reads the payload.
    ///
    /// # Errors
    /// When it is cut short, or a name is none.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut read = Reader::new(payload);
        let attempt = read.u32()?;
        let wiring = Wiring::from_byte(read.u8()?)?;
        let limits = LogLimits::read(&mut read)?;
        let name = Name::new(read.string()?).ok_or(DecodeError)?;
        let log_name = Name::new(read.string()?).ok_or(DecodeError)?;
        if name.is_empty() || log_name.is_empty() == wiring.log {
            return Err(DecodeError);
        }
        Ok(Self {
            name,
            attempt,
            wiring,
            limits,
            log_name,
            record: read.u32()?,
        })
    }
}

/// The payload of `Exec`. Descriptors: the sealed memfd with the start record; three for the
/// standard streams, or one socket that the pty's master is sent to when `tty`; then the record's
/// own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exec {
    /// Whether the process gets a terminal.
    pub tty: bool,
    /// How long the start record is.
    pub record: u32,
    /// Whether the process is killed, with its process group, when the connection that asked for it ends.
    pub tied: bool,
}

impl Exec {
    /// Writes the payload.
    pub fn encode(&self, to: &mut Writer<'_>) {
        to.u8(u8::from(self.tty))
            .u32(self.record)
            .u8(u8::from(self.tied));
    }

    /// Reads the payload.
    ///
    /// # Errors
    /// When it is cut short.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut read = Reader::new(payload);
        Ok(Self {
            tty: read.u8()? != 0,
            record: read.u32()?,
            // Clients from before it was there do not say.
            tied: read.u8().unwrap_or(0) != 0,
        })
    }
}

/// The payload of `Signal`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal {
    /// The signal's number, 1 to 64.
    pub signal: u8,
}

impl Signal {
    /// Writes the payload.
    pub fn encode(&self, to: &mut Writer<'_>) {
        to.u8(self.signal);
    }

    /// Reads the payload.
    ///
    /// # Errors
    /// When it is cut short or no signal.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        match Reader::new(payload).u8()? {
            signal @ 1..=64 => Ok(Self { signal }),
            _ => Err(DecodeError),
        }
    }
}

/// The payload of `Attach`. Descriptors: one for each stream of output that is asked for, in this
/// order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Attach {
    /// Send the input's writing end (a terminal: its master) back with the reply.
    pub stdin: bool,
    /// Copy what the container writes to its standard output.
    pub stdout: bool,
    /// Copy what the container writes to its standard error.
    pub stderr: bool,
}

impl Attach {
    /// Writes the payload.
    pub fn encode(&self, to: &mut Writer<'_>) {
        to.u8(u8::from(self.stdin) | u8::from(self.stdout) << 1 | u8::from(self.stderr) << 2);
    }

    /// Reads the payload.
    ///
    /// # Errors
    /// When it is cut short.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        match Reader::new(payload).u8()? {
            bits @ 0..=7 => Ok(Self {
                stdin: bits & 1 != 0,
                stdout: bits & 2 != 0,
                stderr: bits & 4 != 0,
            }),
            _ => Err(DecodeError),
        }
    }
}
