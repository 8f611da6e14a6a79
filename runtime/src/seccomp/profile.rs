//! The profile of containers that do not bring their own.
//!
//! An allow list: what programs need and what a container may do with the kernel that it shares.
//! Left out are calls that reach beyond the container or load code into the kernel, that set up new
//! namespaces and mounts (the way to most privilege escalations), and interfaces that keep being the
//! subject of exploits and have a harmless substitute (io_uring, userfaultfd, key rings). A
//! capability brings back the calls that it is for; the kernel checks it again there.
//!
//! Refused calls get EPERM. `clone3` gets ENOSYS, for its flags are behind a pointer, where no filter
//! can look, and C libraries then fall back to `clone`.

use std::collections::HashSet;

use oci_spec::runtime::{
    Arch, Capability, LinuxSeccomp, LinuxSeccompAction as Action, LinuxSeccompArg,
    LinuxSeccompArgBuilder, LinuxSeccompOperator as Op, LinuxSyscall,
};

use super::Machine;

mod calls;

use calls::{ALLOWED, BY_CAPABILITY};

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// `CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}`
const CLONE_NAMESPACES: u64 = 0x7e02_0000;
/// Closed: the kernel's crypto code, for anybody's input.
const AF_ALG: u64 = 38;
/// Open, between the two closed ones.
const AF_NFC: u64 = 39;
/// Closed: a way to the hypervisor, past the network namespace.
const AF_VSOCK: u64 = 40;
/// What personality(2) may be set to: Linux, with or without the `UNAME26` and address layout bits
/// of 32-bit programs, and the value that only asks.
const PERSONALITIES: [u64; 5] = [0x0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// The profile for a container with these capabilities in its bounding set.
pub fn default_profile(capabilities: &HashSet<Capability>) -> LinuxSeccomp {
    let mut rules = vec![allow(ALLOWED, Vec::new())];
    rules.extend(PERSONALITIES.map(|value| allow(&["personality"], vec![equal(0, value)])));
    rules.extend(
        open_families()
            .into_iter()
            .map(|test| allow(&["socket"], vec![test])),
    );
    for (any_of, names) in BY_CAPABILITY {
        if any_of
            .iter()
            .any(|capability| capabilities.contains(capability))
        {
            rules.push(allow(names, Vec::new()));
        }
    }
    if !capabilities.contains(&Capability::SysAdmin) {
        rules.push(allow(&["clone"], vec![without(0, CLONE_NAMESPACES)]));
        let mut clone3 = rule(&["clone3"], Action::ScmpActErrno, Vec::new());
        clone3.set_errno_ret(Some(ENOSYS));
        rules.push(clone3);
    }
    let mut profile = LinuxSeccomp::default();
    profile.set_default_action(Action::ScmpActErrno);
    profile.set_default_errno_ret(Some(EPERM));
    profile.set_architectures(Some(architectures()));
    profile.set_syscalls(Some(rules));
    profile
}

/// 32-bit programs run as on any engine; x32 has no users and is left out.
fn architectures() -> Vec<Arch> {
    match Machine::native() {
        Machine::Aarch64 => vec![Arch::ScmpArchAarch64, Arch::ScmpArchArm],
        _ => vec![Arch::ScmpArchX86_64, Arch::ScmpArchX86],
    }
}

/// Every family but the closed ones: below, between and above them.
fn open_families() -> [LinuxSeccompArg; 3] {
    [
        arg(0, Op::ScmpCmpLt, AF_ALG),
        equal(0, AF_NFC),
        arg(0, Op::ScmpCmpGt, AF_VSOCK),
    ]
}

fn rule(names: &[&str], action: Action, args: Vec<LinuxSeccompArg>) -> LinuxSyscall {
    let mut rule = LinuxSyscall::default();
    rule.set_names(names.iter().map(|&name| name.to_owned()).collect());
    rule.set_action(action);
    rule.set_args(Some(args).filter(|args| !args.is_empty()));
    rule
}

fn allow(names: &[&str], args: Vec<LinuxSeccompArg>) -> LinuxSyscall {
    rule(names, Action::ScmpActAllow, args)
}

fn arg(index: usize, op: Op, value: u64) -> LinuxSeccompArg {
    let arg = LinuxSeccompArgBuilder::default()
        .index(index)
        .op(op)
        .value(value);
    arg.build().expect("every field has a default")
}

fn equal(index: usize, value: u64) -> LinuxSeccompArg {
    arg(index, Op::ScmpCmpEq, value)
}

/// Matches when the argument has none of the bits of `mask`.
fn without(index: usize, mask: u64) -> LinuxSeccompArg {
    let arg = LinuxSeccompArgBuilder::default()
        .index(index)
        .op(Op::ScmpCmpMaskedEq);
    arg.value(mask)
        .value_two(0_u64)
        .build()
        .expect("every field has a default")
}
