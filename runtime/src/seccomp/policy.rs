//! What a profile says about each call number of each machine.

use std::collections::{BTreeMap, BTreeSet};

use oci_spec::runtime::{
    LinuxSeccomp, LinuxSeccompAction as OciAction, LinuxSeccompArg, LinuxSeccompOperator as Op,
    LinuxSyscall,
};

use super::SeccompError;
use super::machine::{Machine, X32_BIT};

pub(super) const KILL_PROCESS: u32 = 0x8000_0000;
const KILL_THREAD: u32 = 0;
const TRAP: u32 = 0x0003_0000;
const ERRNO: u32 = 0x0005_0000;
const NOTIFY: u32 = 0x7fc0_0000;
const TRACE: u32 = 0x7ff0_0000;
const LOG: u32 = 0x7ffc_0000;
const ALLOW: u32 = 0x7fff_0000;

/// The part of an action that is its errno or message.
const DATA: u32 = 0xffff;

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;
const MAX_ERRNO: u32 = 4095;
/// The arguments of a call, as far as seccomp sees them.
const ARGUMENTS: usize = 6;
/// Private calls of 32-bit ARM are up here; they say nothing about how new a kernel is.
const PRIVATE: u32 = 0xf_0000;

/// What the filter returns (`SECCOMP_RET_*` with its data).
pub(super) type Action = u32;

/// One comparison: `argument & mask <op> value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Test {
    pub(super) index: u8,
    pub(super) mask: u64,
    pub(super) op: Op,
    pub(super) value: u64,
    /// Only the lower half of the argument means anything.
    pub(super) narrow: bool,
}

/// What happens to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Always(Action),
    /// The first rule all of whose tests hold decides.
    Depends {
        rules: Vec<(Vec<Test>, Action)>,
        otherwise: Action,
    },
}

/// From this number on (up to the next range) calls are decided so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) first: u32,
    pub(super) decision: Decision,
}

/// The profile for all machines that matter.
#[derive(Debug)]
pub(super) struct Policy {
    /// By token of the architecture, the native one first. Ranges start at 0 and have no gaps.
    pub(super) machines: Vec<(u32, Vec<Range>)>,
    /// Names that are in no table.
    pub(super) unknown: Vec<String>,
    /// Whether any rule is for an agent to decide.
    pub(super) notifies: bool,
}

impl Policy {
    pub(super) fn new(profile: &LinuxSeccomp, native: Machine) -> Result<Self, SeccompError> {
        let listed: Vec<Machine> = profile
            .architectures()
            .iter()
            .flatten()
            .filter_map(|&arch| Machine::from_oci(arch))
            .filter(|machine| native.foreign().contains(machine))
            .collect();
        let default = action(profile.default_action(), profile.default_errno_ret())?;
        if profile.default_action() == OciAction::ScmpActNotify {
            return Err(SeccompError::NotifyByDefault);
        }
        let rules = Rules::read(profile, default)?;
        let mut ranges = rules.ranges(native);
        if native == Machine::X86_64 {
            let x32 = if listed.contains(&Machine::X32) {
                rules.ranges(Machine::X32)
            } else {
                vec![Range {
                    first: 0,
                    decision: Decision::Always(KILL_PROCESS),
                }]
            };
            add_x32(&mut ranges, x32, default);
        }
        let mut machines = vec![(native.token(), ranges)];
        let others = listed.iter().filter(|&&machine| machine != Machine::X32);
        for &machine in others {
            if machines.iter().all(|&(token, _)| token != machine.token()) {
                machines.push((machine.token(), rules.ranges(machine)));
            }
        }
        Ok(Self {
            machines,
            unknown: rules.unknown,
            notifies: rules.notifies,
        })
    }
}

/// Puts x32's numbers above x86_64's own. A tracer that skips a call sets its number to -1, which is
/// no call of either and left to the default action.
fn add_x32(native: &mut Vec<Range>, x32: Vec<Range>, default: Action) {
    native.retain(|range| range.first < X32_BIT);
    let above = x32.into_iter().rev();
    let mut tail = Vec::new();
    for range in above {
        let start = range.first.max(X32_BIT);
        tail.push(Range {
            first: start,
            decision: range.decision,
        });
        if range.first <= X32_BIT {
            break;
        }
    }
    native.extend(tail.into_iter().rev());
    native.push(Range {
        first: u32::MAX,
        decision: Decision::Always(default),
    });
    merge(native);
}

/// The rules of a profile by name.
struct Rules {
    default: Action,
    by_name: BTreeMap<String, Decision>,
    unknown: Vec<String>,
    notifies: bool,
    /// Names in rules that were left out because they repeat the default.
    repeated: BTreeSet<String>,
}

impl Rules {
    fn read(profile: &LinuxSeccomp, default: Action) -> Result<Self, SeccompError> {
        let mut rules = Self {
            default,
            by_name: BTreeMap::new(),
            unknown: Vec::new(),
            notifies: false,
            repeated: BTreeSet::new(),
        };
        for entry in profile.syscalls().iter().flatten() {
            let action = action(entry.action(), entry.errno_ret())?;
            for name in entry.names() {
                rules.add(name, entry, action)?;
            }
        }
        rules.unknown.sort_unstable();
        rules.unknown.dedup();
        Ok(rules)
    }

    fn add(
        &mut self,
        name: &str,
        entry: &LinuxSyscall,
        action: Action,
    ) -> Result<(), SeccompError> {
        if Machine::X86_64.number(name).is_none() {
            self.unknown.push(name.to_owned());
            return Ok(());
        }
        if entry.action() == OciAction::ScmpActNotify {
            // The descriptor goes to the agent by these, after the filter is on.
            if ["write", "sendmsg"].contains(&name) {
                return Err(SeccompError::NotifyOnHandover {
                    syscall: name.to_owned(),
                });
            }
            self.notifies = true;
        }
        let tests = tests(name, entry.args().as_deref().unwrap_or_default())?;
        if action == self.default {
            self.repeated.insert(name.to_owned());
            return Ok(());
        }
        let otherwise = self.default;
        let decision = self
            .by_name
            .entry(name.to_owned())
            .or_insert_with(|| Decision::Depends {
                rules: Vec::new(),
                otherwise,
            });
        if let Decision::Depends { rules, .. } = decision {
            if tests.is_empty() {
                *decision = Decision::Always(action);
            } else {
                rules.extend(tests.into_iter().map(|tests| (tests, action)));
            }
        }
        Ok(())
    }

    /// The rules in terms of the numbers of `machine`.
    fn ranges(&self, machine: Machine) -> Vec<Range> {
        let number = |name: &String| machine.number(name).flatten();
        let decided: BTreeMap<u32, &Decision> = self
            .by_name
            .iter()
            .filter_map(|(name, d)| Some((number(name)?, d)))
            .collect();
        let mut ranges = vec![Range {
            first: 0,
            decision: Decision::Always(self.default),
        }];
        for (&number, &decision) in &decided {
            ranges.push(Range {
                first: number,
                decision: decision.clone(),
            });
            if !decided.contains_key(&(number + 1)) {
                let decision = Decision::Always(self.default);
                ranges.push(Range {
                    first: number + 1,
                    decision,
                });
            }
        }
        let named = decided
            .keys()
            .copied()
            .chain(self.repeated.iter().filter_map(number));
        let end = if machine == Machine::Arm {
            PRIVATE
        } else {
            u32::MAX
        };
        let newest = named.filter(|&number| number < end).max();
        if self.default & !DATA == ERRNO
            && let Some(newest) = newest
        {
            let at = ranges.partition_point(|range| range.first <= newest);
            let above = ranges.split_off(at);
            ranges.push(Range {
                first: newest + 1,
                decision: Decision::Always(ERRNO | ENOSYS),
            });
            if end < u32::MAX {
                ranges.push(Range {
                    first: end,
                    decision: Decision::Always(self.default),
                });
                ranges.extend(above.into_iter().filter(|range| range.first >= end));
            }
        }
        merge(&mut ranges);
        ranges
    }
}

/// Joins neighbours with the same decision; of several ranges with the same start the last counts.
fn merge(ranges: &mut Vec<Range>) {
    let mut out: Vec<Range> = Vec::with_capacity(ranges.len());
    for range in ranges.drain(..) {
        if out.last().is_some_and(|last| last.first == range.first) {
            out.pop();
        }
        if out
            .last()
            .is_none_or(|last| last.decision != range.decision)
        {
            out.push(range);
        }
    }
    *ranges = out;
}

fn action(action: OciAction, errno: Option<u32>) -> Result<Action, SeccompError> {
    let data = || match errno.unwrap_or(EPERM) {
        errno if errno > MAX_ERRNO => Err(SeccompError::BadErrno { errno }),
        errno => Ok(errno),
    };
    Ok(match action {
        OciAction::ScmpActKill | OciAction::ScmpActKillThread => KILL_THREAD,
        OciAction::ScmpActKillProcess => KILL_PROCESS,
        OciAction::ScmpActTrap => TRAP,
        OciAction::ScmpActErrno => ERRNO | data()?,
        OciAction::ScmpActNotify => NOTIFY,
        OciAction::ScmpActTrace => TRACE | data()?,
        OciAction::ScmpActLog => LOG,
        OciAction::ScmpActAllow => ALLOW,
    })
}

/// The rules that one entry stands for; empty when it has no arguments.
fn tests(syscall: &str, args: &[LinuxSeccompArg]) -> Result<Vec<Vec<Test>>, SeccompError> {
    let mut tests = Vec::new();
    let mut indices = BTreeSet::new();
    for arg in args {
        let index = arg.index();
        let (mask, value) = match arg.op() {
            // The other way round than for the others: here `value` is the mask.
            Op::ScmpCmpMaskedEq => (arg.value(), arg.value_two().unwrap_or(0)),
            _ => (u64::MAX, arg.value()),
        };
        let fits = u8::try_from(index).ok().filter(|_| index < ARGUMENTS);
        let Some(small) = fits else {
            return Err(SeccompError::NoSuchArgument {
                syscall: syscall.to_owned(),
                index,
            });
        };
        indices.insert(small);
        let masked = arg.op() == Op::ScmpCmpMaskedEq;
        let half = u64::from(u32::MAX);
        let narrow = value <= half && (!masked || mask <= half) && is_narrow(syscall, small);
        tests.push(Test {
            index: small,
            mask,
            op: arg.op(),
            value,
            narrow,
        });
    }
    if indices.len() < tests.len() {
        return Ok(tests.into_iter().map(|test| vec![test]).collect());
    }
    Ok(if tests.is_empty() {
        Vec::new()
    } else {
        vec![tests]
    })
}

/// Whether the kernel takes this argument as an `int` or `unsigned int`, so that its upper half is
/// ignored: those that profiles care about, from the calls' definitions.
fn is_narrow(syscall: &str, index: u8) -> bool {
    const NARROW: [(&str, &[u8]); 24] = [
        ("socket", &[0, 1, 2]),
        ("socketpair", &[0, 1, 2]),
        ("socketcall", &[0]),
        ("setsockopt", &[0, 1, 2]),
        ("getsockopt", &[0, 1, 2]),
        ("personality", &[0]),
        ("ioctl", &[0, 1]),
        ("fcntl", &[0, 1]),
        ("prctl", &[0]),
        ("arch_prctl", &[0]),
        ("keyctl", &[0]),
        ("bpf", &[0]),
        ("seccomp", &[0, 1]),
        ("setns", &[0, 1]),
        ("kill", &[0, 1]),
        ("tkill", &[0, 1]),
        ("tgkill", &[0, 1, 2]),
        ("open", &[1]),
        ("openat", &[0, 2]),
        ("madvise", &[2]),
        ("quotactl", &[0]),
        ("kcmp", &[0, 1, 2]),
        ("setuid", &[0]),
        ("setgid", &[0]),
    ];
    NARROW
        .iter()
        .any(|&(name, indices)| name == syscall && indices.contains(&index))
}
