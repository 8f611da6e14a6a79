//! The instruction sets whose system calls we know.

use oci_spec::runtime::Arch;

use super::syscalls::SYSCALLS;

/// Set in the number of an x32 call.
pub(super) const X32_BIT: u32 = 0x4000_0000;

/// A system call interface: a token in `seccomp_data.arch` and a numbering.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Machine {
    /// 64-bit x86.
    X86_64,
    /// 32-bit x86.
    X86,
    /// 64-bit x86 with 32-bit pointers: the token of [`Machine::X86_64`], other numbers.
    X32,
    /// 64-bit ARM.
    Aarch64,
    /// 32-bit ARM.
    Arm,
}

impl Machine {
    /// The one that this program was built for.
    pub const fn native() -> Self {
        if cfg!(target_arch = "aarch64") {
            Self::Aarch64
        } else {
            Self::X86_64
        }
    }

    /// OCI's name for it, as far as we know it.
    pub(super) fn from_oci(arch: Arch) -> Option<Self> {
        match arch {
            Arch::ScmpArchX86_64 => Some(Self::X86_64),
            Arch::ScmpArchX86 => Some(Self::X86),
            Arch::ScmpArchX32 => Some(Self::X32),
            Arch::ScmpArchAarch64 => Some(Self::Aarch64),
            Arch::ScmpArchArm => Some(Self::Arm),
            // These never run beside one of the above.
            _ => None,
        }
    }

    /// `AUDIT_ARCH_*`
    pub(super) const fn token(self) -> u32 {
        match self {
            Self::X86_64 | Self::X32 => 0xc000_003e,
            Self::X86 => 0x4000_0003,
            Self::Aarch64 => 0xc000_00b7,
            Self::Arm => 0x4000_0028,
        }
    }

    /// Others whose programs a kernel for this one may run.
    pub(super) const fn foreign(self) -> &'static [Self] {
        match self {
            Self::X86_64 => &[Self::X86, Self::X32],
            Self::Aarch64 => &[Self::Arm],
            Self::X86 | Self::X32 | Self::Arm => &[],
        }
    }

    /// The number of a call here. `None`: no such name at all; `Some(None)`: not on this machine.
    pub(super) fn number(self, syscall: &str) -> Option<Option<u32>> {
        let row = SYSCALLS
            .binary_search_by_key(&syscall, |&(name, _)| name)
            .ok()?;
        let column = match self {
            Self::X86_64 => 0,
            Self::X86 => 1,
            Self::X32 => 2,
            Self::Aarch64 => 3,
            Self::Arm => 4,
        };
        Some(u32::try_from(SYSCALLS[row].1[column]).ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_knows_old_and_new_calls() {
        assert!(SYSCALLS.is_sorted_by_key(|&(name, _)| name));
        for (machine, name, number) in [
            (Machine::X86_64, "read", Some(0)),
            (Machine::X86, "read", Some(3)),
            (Machine::X32, "read", Some(X32_BIT)),
            (Machine::Aarch64, "read", Some(63)),
            (Machine::Arm, "read", Some(3)),
            (Machine::X86_64, "mseal", Some(462)),
            (Machine::Aarch64, "open", None),
            (Machine::X32, "execve", Some(X32_BIT + 520)),
            (Machine::Arm, "set_tls", Some(0xf0005)),
        ] {
            assert_eq!(machine.number(name), Some(number), "{machine:?} {name}");
        }
        assert_eq!(Machine::X86_64.number("no_such_call"), None);
    }
}
