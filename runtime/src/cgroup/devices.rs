//! Which devices may be used in a cgroup.
//!
//! The rules of `linux.resources.devices` form a list of which, for each device and each kind of
//! access, the *last* rule that speaks of it decides; what none speaks of is denied. v1 gets it as
//! lines for `devices.allow`, v2 as a BPF program that walks the list backwards.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

use super::plan::{PlanError, Write};
use super::{Cgroup, CgroupError, Version, plan::IfMissing, read_file};
use crate::sys::bpf;

mod program;

pub use program::program;

/// What a program may do with a device: bits of [`READ`], [`WRITE`] and [`MKNOD`], as BPF has them.
pub type Access = u8;
/// Make a node of it.
pub const MKNOD: Access = 1;
/// Open it for reading.
pub const READ: Access = 2;
/// Open it for writing.
pub const WRITE: Access = 4;

/// The name of the programs we load, by which we know them again.
const NAME: [u8; bpf::NAME_LEN] = *b"rkube_devices\0\0\0";

/// Block or character device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A block device.
    Block,
    /// A character device.
    Char,
}

/// One rule. `None` is "any".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Whether it allows or denies.
    pub allow: bool,
    /// Which kind of device.
    pub kind: Option<Kind>,
    /// Which major number.
    pub major: Option<u32>,
    /// Which minor number.
    pub minor: Option<u32>,
    /// Which access.
    pub access: Access,
}

impl Rule {
    fn is_about_all(&self) -> bool {
        let all = READ | WRITE | MKNOD;
        self.kind.is_none() && self.major.is_none() && self.minor.is_none() && self.access == all
    }
}

/// The devices that OCI gives to every container, and the right to make (not to open) any node.
/// Bundles leave it to the runtime to allow them.
pub const DEFAULT: [Rule; 11] = [
    default_rule(Kind::Char, None, None, MKNOD),
    default_rule(Kind::Block, None, None, MKNOD),
    // null, zero, full, random, urandom
    default_rule(Kind::Char, Some(1), Some(3), READ | WRITE | MKNOD),
    default_rule(Kind::Char, Some(1), Some(5), READ | WRITE | MKNOD),
    default_rule(Kind::Char, Some(1), Some(7), READ | WRITE | MKNOD),
    default_rule(Kind::Char, Some(1), Some(8), READ | WRITE | MKNOD),
    default_rule(Kind::Char, Some(1), Some(9), READ | WRITE | MKNOD),
    // tty, console, ptmx, pts/*
    default_rule(Kind::Char, Some(5), Some(0), READ | WRITE | MKNOD),
    default_rule(Kind::Char, Some(5), Some(1), READ | WRITE | MKNOD),
    default_rule(Kind::Char, Some(5), Some(2), READ | WRITE | MKNOD),
    default_rule(Kind::Char, Some(136), None, READ | WRITE | MKNOD),
];

const fn default_rule(kind: Kind, major: Option<u32>, minor: Option<u32>, access: Access) -> Rule {
    Rule {
        allow: true,
        kind: Some(kind),
        major,
        minor,
        access,
    }
}

/// The rules with [`DEFAULT`] behind them, unless they start from "everything is allowed".
fn with_defaults(mut rules: Vec<Rule>) -> Vec<Rule> {
    let base = rules.iter().rev().find(|rule| rule.is_about_all());
    if !base.is_some_and(|rule| rule.allow) {
        rules.extend(DEFAULT);
    }
    rules
}

/// Reads OCI's rules.
pub fn rules(list: &[LinuxDeviceCgroup]) -> Result<Vec<Rule>, PlanError> {
    list.iter().map(rule).collect()
}

fn rule(rule: &LinuxDeviceCgroup) -> Result<Rule, PlanError> {
    let invalid = |why: String| PlanError::Invalid {
        field: "devices".into(),
        why,
    };
    let kind = match rule.typ() {
        None | Some(LinuxDeviceType::A) => None,
        Some(LinuxDeviceType::B) => Some(Kind::Block),
        Some(LinuxDeviceType::C | LinuxDeviceType::U) => Some(Kind::Char),
        Some(LinuxDeviceType::P) => {
            return Err(invalid(
                "a rule is about devices, and type p is a pipe".to_owned(),
            ));
        }
    };
    let number = |what: &str, number: Option<i64>| match number {
        None | Some(-1) => Ok(None),
        Some(n) => u32::try_from(n)
            .map(Some)
            .map_err(|_| invalid(format!("{what} {n} is out of range"))),
    };
    let mut access = 0;
    let given = rule.access().as_deref().filter(|text| !text.is_empty());
    for letter in given.unwrap_or("rwm").chars() {
        access |= match letter {
            'r' => READ,
            'w' => WRITE,
            'm' => MKNOD,
            other => return Err(invalid(format!("access {other:?} is none of r, w and m"))),
        };
    }
    let (major, minor) = (
        number("major", rule.major())?,
        number("minor", rule.minor())?,
    );
    Ok(Rule {
        allow: rule.allow(),
        kind,
        major,
        minor,
        access,
    })
}

/// A line of v1's `devices.list`, without its access.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    kind: Kind,
    major: Option<u32>,
    minor: Option<u32>,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.kind == Kind::Block { 'b' } else { 'c' };
        let number = |n: Option<u32>| n.map_or_else(|| "*".to_owned(), |n| n.to_string());
        write!(f, "{kind} {}:{}", number(self.major), number(self.minor))
    }
}

fn letters(access: Access) -> String {
    let all = [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')];
    all.iter()
        .filter(|(bit, _)| access & bit != 0)
        .map(|(_, letter)| letter)
        .collect()
}

/// v1's picture of the rules: everything allowed or denied, except for these.
#[derive(Debug, PartialEq, Eq)]
struct Exceptions {
    allow_all: bool,
    lines: BTreeMap<Line, Access>,
}

/// Brings the list into v1's form, which cannot say "all of these but not that one".
fn exceptions(rules: &[Rule]) -> Result<Exceptions, PlanError> {
    let start = rules.iter().rposition(Rule::is_about_all);
    let allow_all = start.is_some_and(|at| rules[at].allow);
    let mut lines: BTreeMap<Line, Access> = BTreeMap::new();
    for rule in &rules[start.map_or(0, |at| at + 1)..] {
        let kinds = rule
            .kind
            .map_or(vec![Kind::Block, Kind::Char], |kind| vec![kind]);
        for kind in kinds {
            let line = Line {
                kind,
                major: rule.major,
                minor: rule.minor,
            };
            if rule.allow != allow_all {
                *lines.entry(line).or_default() |= rule.access;
                continue;
            }
            // Back to the default: that can be said of the very same line only.
            if lines.iter().any(|(other, access)| {
                *other != line && overlap(*other, line) && access & rule.access != 0
            }) {
                return Err(PlanError::Unsupported {
                    field: "devices".into(),
                    why: "cgroup v1 cannot take single devices out of a range",
                });
            }
            if let Some(access) = lines.get_mut(&line) {
                *access &= !rule.access;
            }
        }
    }
    lines.retain(|_, access| *access != 0);
    Ok(Exceptions { allow_all, lines })
}

fn overlap(a: Line, b: Line) -> bool {
    let meets = |a: Option<u32>, b: Option<u32>| a.is_none() || b.is_none() || a == b;
    a.kind == b.kind && meets(a.major, b.major) && meets(a.minor, b.minor)
}

/// The writes that make v1 follow `rules`, given what `devices.list` says now.
///
/// A cgroup that already has an allow list only gets the difference, so that its processes never
/// meet a moment without, say, `/dev/null`.
pub fn writes_v1(rules: &[Rule], list_now: &str) -> Result<Vec<Write>, PlanError> {
    let want = exceptions(rules)?;
    let mut wanted: Vec<String> = want
        .lines
        .iter()
        .map(|(line, access)| format!("{line} {}", letters(*access)))
        .collect();
    let write = |file: &'static str, value: String| Write {
        controller: "devices".into(),
        file: file.into(),
        value,
        if_missing: IfMissing::Fail,
    };
    if want.allow_all {
        let deny = wanted.into_iter().map(|line| write("devices.deny", line));
        return Ok([write("devices.allow", "a".to_owned())]
            .into_iter()
            .chain(deny)
            .collect());
    }
    let now: Vec<&str> = list_now
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    if now.iter().any(|line| line.starts_with('a')) {
        let allow = wanted.into_iter().map(|line| write("devices.allow", line));
        return Ok([write("devices.deny", "a".to_owned())]
            .into_iter()
            .chain(allow)
            .collect());
    }
    let stale: Vec<&str> = now
        .iter()
        .copied()
        .filter(|line| !wanted.iter().any(|want| want == line))
        .collect();
    wanted.retain(|line| !now.contains(&line.as_str()));
    // Deny first: of "c 1:3 rwm" and a wanted "c 1:3 r" the latter must be what stays.
    let deny = stale
        .into_iter()
        .map(|line| write("devices.deny", line.to_owned()));
    Ok(deny
        .chain(wanted.into_iter().map(|line| write("devices.allow", line)))
        .collect())
}

impl Cgroup {
    /// Allows the devices of `list` and the [`DEFAULT`] ones; an empty list changes nothing.
    pub(super) fn apply_devices(&self, list: &[LinuxDeviceCgroup]) -> Result<(), CgroupError> {
        if list.is_empty() {
            return Ok(());
        }
        let rules = with_defaults(rules(list)?);
        if let Some(node) = self
            .node("devices")
            .filter(|node| node.version == Version::V1)
        {
            let now = read_file(&node.dir.join("devices.list"))?;
            return self.write_all(&writes_v1(&rules, &now)?);
        }
        let Some(node) = self.unified() else {
            return Err(PlanError::MissingController {
                field: "devices".into(),
                controller: "devices".to_owned(),
            }
            .into());
        };
        let replace = || -> io::Result<()> {
            let dir = File::open(&node.dir)?;
            let program = bpf::load_device_filter(&program(&rules), NAME)?;
            let old = bpf::device_filters(dir.as_fd())?;
            bpf::attach_device_filter(dir.as_fd(), program.as_fd())?;
            for id in old {
                let other = bpf::program_by_id(id)?;
                // Somebody else's filter (systemd's, say) is not ours to take away.
                if bpf::program_name(other.as_fd())? == NAME {
                    bpf::detach_device_filter(dir.as_fd(), other.as_fd())?;
                }
            }
            Ok(())
        };
        replace().map_err(|source| CgroupError::Devices {
            path: self.path.clone(),
            source,
        })
    }
}

#[cfg(test)]
mod tests;
