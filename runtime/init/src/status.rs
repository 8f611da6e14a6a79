//! What a starting container tells its parent, in 16-byte frames on a close-on-exec pipe.
//!
//! ```text
//! child:  [Hooks]? [Parked]? then Failed, or the end of the file: execve(2) succeeded
//! ```

use crate::sys::{self, Errno, RawFd};

/// Length of a frame.
pub const FRAME: usize = 16;

macro_rules! words {
    ($(#[$doc:meta])* $name:ident: $($variant:ident = $text:literal,)*) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u16)]
        pub enum $name {
            $(#[doc = $text] $variant,)*
        }

        impl $name {
            const ALL: &[Self] = &[$(Self::$variant),*];

            /// For people, after "cannot".
            #[must_use]
            pub fn words(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            fn from_u16(number: u16) -> Option<Self> {
                Self::ALL.get(usize::from(number)).copied()
            }
        }
    };
}

words! {
    /// The stages between clone and execve, in their order.
    Stage:
    Clone = "create the process",
    Protect = "shield the new process",
    Cgroups = "join the cgroups",
    Join = "join the namespaces",
    IdMap = "map the users of the user namespace",
    Unshare = "make the namespaces",
    Time = "set the clocks of the time namespace",
    Procfs = "open a private procfs",
    OomScore = "set the OOM score",
    Keyring = "make a session keyring",
    Hostname = "set the host name",
    Sysctls = "set sysctls",
    Rootfs = "attach the root file system",
    Mounts = "mount",
    Devices = "make device",
    Terminal = "make the terminal",
    Hooks = "wait for the hooks",
    Masks = "mask path",
    ReadonlyPaths = "make path read-only",
    Pivot = "enter the root file system",
    Cwd = "enter the working directory",
    Limits = "set resource limits",
    Scheduling = "set the scheduling",
    Lookup = "find the program",
    Credentials = "set user, groups and capabilities",
    Label = "set the security label",
    Seccomp = "load the seccomp filter",
    Descriptors = "arrange the descriptors",
    Park = "wait for the start",
    Exec = "execute the program",
}

words! {
    /// What a stage was doing, where it does more than one thing.
    Step:
    None = "failed",
    Resolve = "cannot find the destination",
    Create = "cannot create mount point",
    Forbidden = "the destination is not allowed",
    NotDirectory = "the destination is not a real directory",
    Filesystem = "cannot make the file system",
    Option = "the file system refuses an option",
    Copy = "cannot copy what the destination holds",
    Attributes = "cannot set mount options",
    Attach = "cannot attach the mount",
    Propagation = "cannot set the propagation",
    Verify = "the file system is not the expected one",
    Ptmx = "cannot open the terminal multiplexer",
    Peer = "cannot open the terminal",
    Console = "cannot mount the console",
    Send = "cannot hand the terminal over",
    Outside = "the directory is outside the container",
    Groups = "cannot set groups",
    Gid = "cannot set the group id",
    Uid = "cannot set the user id",
    Bounding = "cannot drop a capability",
    Capabilities = "cannot set capabilities",
    Ambient = "cannot raise an ambient capability",
    Null = "the null device is not genuine",
}

/// Which stage failed, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// Where.
    pub stage: Stage,
    /// What it was doing there.
    pub step: Step,
    /// The kernel's error number.
    pub errno: i32,
    /// Index of the mount, mask, sysctl .. in the record, or `u32::MAX`.
    pub detail: u32,
}

impl Failure {
    /// A failure that concerns the stage as a whole.
    #[must_use]
    pub fn new(stage: Stage, fault: Fault) -> Self {
        Self {
            stage,
            step: fault.step,
            errno: fault.errno.0,
            detail: fault.detail,
        }
    }

    /// 127: the program was not found; 126: it cannot be executed; 125: we failed before that.
    #[must_use]
    pub fn exit_code(&self) -> i32 {
        match self.stage {
            Stage::Lookup | Stage::Exec if self.missing() => 127,
            Stage::Lookup | Stage::Exec => 126,
            _ => 125,
        }
    }

    fn missing(&self) -> bool {
        let errno = Errno(self.errno);
        errno.is(sys::errno::ENOENT) || errno.is(sys::errno::ENOTDIR)
    }
}

/// A failure inside a stage, which does not know the stage's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// What was being done.
    pub step: Step,
    /// The kernel's error number.
    pub errno: Errno,
    /// Index in the record, or `u32::MAX`.
    pub detail: u32,
}

impl From<Errno> for Fault {
    fn from(errno: Errno) -> Self {
        Self {
            step: Step::None,
            errno,
            detail: u32::MAX,
        }
    }
}

impl Fault {
    /// The same fault, of entry `index`.
    #[must_use]
    pub fn of(self, index: usize) -> Self {
        Self {
            detail: u32::try_from(index).unwrap_or(u32::MAX),
            ..self
        }
    }
}

/// Names the step of a system call's failure.
pub(crate) trait At<T> {
    fn at(self, step: Step) -> Result<T, Fault>;
}

impl<T> At<T> for sys::Result<T> {
    fn at(self, step: Step) -> Result<T, Fault> {
        self.map_err(|errno| Fault {
            step,
            errno,
            detail: u32::MAX,
        })
    }
}

/// One message of the child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame {
    /// Sync point 2: all mounts are made, the root is still the host's; waits for a byte on the hooks descriptor.
    Hooks,
    /// Sync point 3: ready to execute; waits for a byte on the park descriptor.
    Parked,
    /// The end.
    Failed(Failure),
    /// From a short-lived intermediate process to [`crate::launch`]: the pid of the real child.
    Forked(i32),
}

impl Frame {
    /// Reads a frame; `None` if it is not one of ours.
    #[must_use]
    pub fn read(bytes: &[u8; FRAME]) -> Option<Self> {
        let &[
            k0,
            k1,
            k2,
            k3,
            s0,
            s1,
            p0,
            p1,
            e0,
            e1,
            e2,
            e3,
            d0,
            d1,
            d2,
            d3,
        ] = bytes;
        let errno = i32::from_le_bytes([e0, e1, e2, e3]);
        match u32::from_le_bytes([k0, k1, k2, k3]) {
            1 => Some(Self::Hooks),
            2 => Some(Self::Parked),
            3 => Some(Self::Failed(Failure {
                stage: Stage::from_u16(u16::from_le_bytes([s0, s1]))?,
                step: Step::from_u16(u16::from_le_bytes([p0, p1]))?,
                errno,
                detail: u32::from_le_bytes([d0, d1, d2, d3]),
            })),
            4 => Some(Self::Forked(errno)),
            _ => None,
        }
    }

    /// The frame as it travels.
    #[must_use]
    pub fn bytes(&self) -> [u8; FRAME] {
        let (kind, stage, step, errno, detail) = match *self {
            Self::Hooks => (1u32, 0, 0, 0, 0),
            Self::Parked => (2, 0, 0, 0, 0),
            Self::Failed(f) => (3, f.stage as u16, f.step as u16, f.errno, f.detail),
            Self::Forked(pid) => (4, 0, 0, pid, 0),
        };
        let ([k0, k1, k2, k3], [s0, s1], [p0, p1]) =
            (kind.to_le_bytes(), stage.to_le_bytes(), step.to_le_bytes());
        let ([e0, e1, e2, e3], [d0, d1, d2, d3]) = (errno.to_le_bytes(), detail.to_le_bytes());
        [
            k0, k1, k2, k3, s0, s1, p0, p1, e0, e1, e2, e3, d0, d1, d2, d3,
        ]
    }

    /// Sends the frame. `SIGPIPE` must be blocked or the reader known to be there.
    pub fn send(&self, to: RawFd) -> sys::Result<()> {
        sys::fs::write_all(to, &self.bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_the_pipe() {
        let failure = Failure {
            stage: Stage::Exec,
            step: Step::Null,
            errno: 2,
            detail: 7,
        };
        for frame in [
            Frame::Hooks,
            Frame::Parked,
            Frame::Failed(failure),
            Frame::Forked(77),
        ] {
            assert_eq!(Frame::read(&frame.bytes()), Some(frame));
        }
        assert_eq!(Frame::read(&[9; FRAME]), None);
    }

    #[test]
    fn exit_codes_follow_the_shells() {
        let code = |stage, errno| {
            Failure {
                stage,
                step: Step::None,
                errno,
                detail: 0,
            }
            .exit_code()
        };
        assert_eq!(code(Stage::Lookup, 2), 127);
        assert_eq!(code(Stage::Exec, 13), 126);
        assert_eq!(code(Stage::Mounts, 2), 125);
    }
}
