//! From OCI's `linux.seccomp` to a BPF program that the kernel loads.
//!
//! ```text
//! LinuxSeccomp --policy--> action per call number --ranges--> jump tree --assemble--> sock_filter[]
//! ```
//!
//! Everything is worked out here, without libseccomp: neighbouring numbers with the same answer
//! become one range, and a balanced tree of comparisons finds the range. That makes a program of
//! some hundred instructions (the kernel's loading time follows their number).
//!
//! # Which rule decides
//!
//! * A rule with the same action as the default is left out.
//! * A rule without arguments decides for its call, whatever other rules say of it.
//! * Otherwise the rules are tried in the order of the profile, the first that matches decides, and
//!   the default action when none does. All arguments of a rule must match; but when a rule tests
//!   the same argument twice, each of its tests is a rule by itself (as in runc and crun).
//! * Calls that are newer than every call the profile names get ENOSYS if the default action is
//!   ERRNO: programs try new calls and fall back, which EPERM would not let them.
//! * Names that are not in our tables (other architectures, the future) are skipped and reported.
//! * The native architecture is checked first. A foreign one that is not listed, and x32 unless it
//!   is listed, kills the process.
//! * Arguments that the kernel takes as 32 bits are compared as 32 bits, so that setting one of the
//!   upper bits does not slip past a rule.

use std::path::PathBuf;

use oci_spec::runtime::LinuxSeccomp;

mod assemble;
pub mod cache;
#[cfg(test)]
mod interpret;
mod machine;
mod policy;
mod profile;
#[rustfmt::skip]
mod syscalls;
#[cfg(test)]
mod tests;
mod tree;

pub use cache::Cache;
pub use machine::Machine;
pub use profile::default_profile;

/// `SECCOMP_FILTER_FLAG_TSYNC`
const FLAG_TSYNC: u32 = 1;
/// `SECCOMP_FILTER_FLAG_LOG`
const FLAG_LOG: u32 = 1 << 1;
/// `SECCOMP_FILTER_FLAG_SPEC_ALLOW`
const FLAG_SPEC_ALLOW: u32 = 1 << 2;
/// `SECCOMP_FILTER_FLAG_NEW_LISTENER`
const FLAG_NEW_LISTENER: u32 = 1 << 3;
/// `SECCOMP_FILTER_FLAG_TSYNC_ESRCH`: needed when both a descriptor and a thread id could be returned.
const FLAG_TSYNC_ESRCH: u32 = 1 << 4;
/// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`
const FLAG_WAIT_KILLABLE_RECV: u32 = 1 << 5;

/// A program, ready to be loaded by seccomp(2) with `SECCOMP_SET_MODE_FILTER`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// An array of `struct sock_filter`, 8 bytes each, in this machine's byte order.
    pub filter: Vec<u8>,
    /// `SECCOMP_FILTER_FLAG_*`.
    pub flags: u32,
    /// Who gets the notify descriptor that loading returns, when the profile uses `SCMP_ACT_NOTIFY`.
    pub listener: Option<Listener>,
    /// Names in the profile that no table of ours has.
    pub unknown: Vec<String>,
}

impl Program {
    /// How many instructions it has.
    pub fn len(&self) -> usize {
        self.filter.len() / 8
    }

    /// Whether there are none, which no compiled program is.
    pub fn is_empty(&self) -> bool {
        self.filter.is_empty()
    }
}

/// The seccomp agent of a profile.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Listener {
    /// Its UNIX socket.
    pub path: PathBuf,
    /// What it is told along with the descriptor.
    pub metadata: String,
}

/// Why a profile cannot be compiled.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SeccompError {
    /// A call has six arguments.
    #[error("seccomp rule for {syscall}: there is no argument {index}; count from 0 to 5")]
    NoSuchArgument {
        /// The call.
        syscall: String,
        /// The argument.
        index: usize,
    },
    /// The number does not fit.
    #[error("seccomp errno {errno} is not one: give 0 to 4095")]
    BadErrno {
        /// The number.
        errno: u32,
    },
    /// Every call would wait for an agent that itself makes calls.
    #[error("SCMP_ACT_NOTIFY cannot be the default action")]
    NotifyByDefault,
    /// The descriptor could not be handed over any more.
    #[error("SCMP_ACT_NOTIFY cannot be the action for {syscall}, which passes the descriptor on")]
    NotifyOnHandover {
        /// The call.
        syscall: String,
    },
    /// Nobody would answer.
    #[error("SCMP_ACT_NOTIFY needs listenerPath")]
    NoListener,
    /// The flag is about notifications.
    #[error("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV needs a rule with SCMP_ACT_NOTIFY")]
    UselessFlag,
    /// The kernel takes 4096 instructions.
    #[error(
        "the seccomp profile needs {instructions} instructions and the kernel takes {limit}; \
         use fewer rules with arguments"
    )]
    TooLong {
        /// How many it would be.
        instructions: usize,
        /// How many may be.
        limit: usize,
    },
}

/// Compiles for the machine that this runs on.
pub fn compile(profile: &LinuxSeccomp) -> Result<Program, SeccompError> {
    compile_for(profile, Machine::native())
}

/// Compiles for processes on a kernel of `native`.
pub fn compile_for(profile: &LinuxSeccomp, native: Machine) -> Result<Program, SeccompError> {
    let policy = policy::Policy::new(profile, native)?;
    let filter = tree::program(&policy)?;
    let listener = match (policy.notifies, profile.listener_path()) {
        (false, _) => None,
        (true, None) => return Err(SeccompError::NoListener),
        (true, Some(path)) => Some(Listener {
            path: path.clone(),
            metadata: profile.listener_metadata().clone().unwrap_or_default(),
        }),
    };
    let flags = flags(profile, policy.notifies)?;
    Ok(Program {
        filter,
        flags,
        listener,
        unknown: policy.unknown,
    })
}

fn flags(profile: &LinuxSeccomp, notifies: bool) -> Result<u32, SeccompError> {
    use oci_spec::runtime::LinuxSeccompFilterFlag as Flag;
    let mut flags = if notifies { FLAG_NEW_LISTENER } else { 0 };
    for flag in profile.flags().iter().flatten() {
        flags |= match flag {
            Flag::SeccompFilterFlagLog => FLAG_LOG,
            Flag::SeccompFilterFlagTsync if notifies => FLAG_TSYNC | FLAG_TSYNC_ESRCH,
            Flag::SeccompFilterFlagTsync => FLAG_TSYNC,
            Flag::SeccompFilterFlagSpecAllow => FLAG_SPEC_ALLOW,
            Flag::SeccompFilterFlagWaitKillableRecv if notifies => FLAG_WAIT_KILLABLE_RECV,
            Flag::SeccompFilterFlagWaitKillableRecv => return Err(SeccompError::UselessFlag),
        };
    }
    Ok(flags)
}
