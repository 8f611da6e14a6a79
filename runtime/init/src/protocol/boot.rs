//! The first message that a supervisor ever gets.

use super::{DecodeError, Reader, Writer};

/// What a new supervisor does before it is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum BootStep {
    /// Reading the boot message.
    Message = 1,
    /// Joining the cgroups.
    Cgroups = 2,
    /// Shielding itself from others.
    Protect = 3,
    /// Setting the host and domain name.
    Hostname = 4,
    /// Writing kernel settings.
    Sysctls = 5,
    /// Bringing the loopback device up.
    Loopback = 6,
    /// Letting go of the host's file systems.
    Root = 7,
    /// Listening.
    Listen = 8,
}

impl BootStep {
    /// For people, after "cannot".
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Message => "read the boot message",
            Self::Cgroups => "join the cgroups",
            Self::Protect => "shield itself",
            Self::Hostname => "set the host name",
            Self::Sysctls => "set the sysctls",
            Self::Loopback => "bring the loopback device up",
            Self::Root => "let go of the host's file systems",
            Self::Listen => "listen for requests",
        }
    }
}

/// Why a new supervisor is not ready: the payload of a `Refused` over the boot socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BootFailed {
    /// What failed.
    pub step: BootStep,
    /// The kernel's error number.
    pub errno: i32,
    /// Which one of several it was.
    pub index: u32,
}

impl BootFailed {
    /// Writes the payload.
    pub fn encode(&self, to: &mut Writer<'_>) {
        to.u8(self.step as u8).i32(self.errno).u32(self.index);
    }

    /// Reads the payload.
    ///
    /// # Errors
    /// When it is cut short or of an unknown step.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut read = Reader::new(payload);
        let step = match read.u8()? {
            1 => BootStep::Message,
            2 => BootStep::Cgroups,
            3 => BootStep::Protect,
            4 => BootStep::Hostname,
            5 => BootStep::Sysctls,
            6 => BootStep::Loopback,
            7 => BootStep::Root,
            8 => BootStep::Listen,
            _ => return Err(DecodeError),
        };
        Ok(Self {
            step,
            errno: read.i32()?,
            index: read.u32()?,
        })
    }
}

/// Which namespaces the supervisor was given new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Namespaces {
    /// Its own network: the loopback device has to be brought up.
    pub net: bool,
    /// Its own host name.
    pub uts: bool,
}

/// The payload of `Boot`. Descriptors: the listening socket, the `exits` file, then files to write
/// "0" to (v1 `cgroup.procs`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Boot<'a> {
    /// What is new and has to be set up.
    pub namespaces: Namespaces,
    /// The pod's host name; empty: leave it.
    pub hostname: &'a [u8],
    /// The pod's NIS domain name; empty: leave it.
    pub domainname: &'a [u8],
    /// Pairs of (path below /proc/sys, value).
    pub sysctls: Sysctls<'a>,
}

impl<'a> Boot<'a> {
    /// Writes the payload.
    pub fn encode(&self, to: &mut Writer<'_>) {
        let bits = u8::from(self.namespaces.net) | u8::from(self.namespaces.uts) << 1;
        to.u8(bits);
        to.string(self.hostname)
            .string(self.domainname)
            .bytes(self.sysctls.0);
    }

    /// Reads the payload.
    ///
    /// # Errors
    /// When it is cut short.
    pub fn decode(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let mut read = Reader::new(payload);
        let bits = read.u8()?;
        let (hostname, domainname) = (read.string()?, read.string()?);
        Ok(Self {
            namespaces: Namespaces {
                net: bits & 1 != 0,
                uts: bits & 2 != 0,
            },
            hostname,
            domainname,
            sysctls: Sysctls(read.rest()),
        })
    }
}

/// Kernel settings in the form they travel: one string with the path, one with the value, and so
/// on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sysctls<'a>(pub &'a [u8]);

impl<'a> Iterator for Sysctls<'a> {
    type Item = Result<(&'a [u8], &'a [u8]), DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let mut read = Reader::new(self.0);
        let pair = read.string().and_then(|path| Ok((path, read.string()?)));
        self.0 = if pair.is_ok() { read.rest() } else { &[] };
        Some(pair)
    }
}
