//! The process: arguments, user, limits.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use oci_spec::runtime::{
    IOPriorityClass, LinuxPersonalityDomain, PosixRlimitType, Process, Spec, User,
};
use rkube_init::record::layout::{GROUPS_MAX, flag};

use super::{CompileError, Draft, capabilities, label};
use crate::record::Limit;

/// What a process without `user.umask` gets.
const DEFAULT_UMASK: u32 = 0o022;

pub(super) fn compile(draft: &mut Draft, process: &Process) -> Result<(), CompileError> {
    let args = process.args().as_deref().unwrap_or_default();
    if args.first().is_none_or(String::is_empty) {
        return Err(CompileError::invalid("process.args", "names no program"));
    }
    let bytes = |list: &[String]| list.iter().map(|text| text.clone().into_bytes()).collect();
    draft.record.argv = bytes(args);
    draft.record.envp = bytes(process.env().as_deref().unwrap_or_default());
    draft.record.cwd = cwd(process.cwd())?;
    user(draft, process.user())?;
    draft.record.capabilities = capabilities::masks(process.capabilities().as_ref());
    draft.record.flags |= flag::CAPABILITIES;
    if process.no_new_privileges() == Some(true) {
        draft.record.flags |= flag::NO_NEW_PRIVILEGES;
    }
    draft.record.limits = limits(process)?;
    draft.record.oom_score_adj = oom_score(process)?;
    terminal(draft, process)?;
    scheduling(draft, process)?;
    draft.record.label = label::of(process)?;
    Ok(())
}

fn cwd(path: &Path) -> Result<Vec<u8>, CompileError> {
    if !path.is_absolute() {
        return Err(CompileError::invalid(
            "process.cwd",
            format!("{} is not an absolute path", path.display()),
        ));
    }
    Ok(path.as_os_str().as_bytes().to_vec())
}

/// `u32::MAX` is "no change" to the kernel: such a user would stay root.
fn user(draft: &mut Draft, user: &User) -> Result<(), CompileError> {
    let groups = user.additional_gids().clone().unwrap_or_default();
    let ids = [("uid", user.uid()), ("gid", user.gid())];
    let more = groups.iter().map(|&gid| ("additionalGids", gid));
    for (name, id) in ids.into_iter().chain(more) {
        if id == u32::MAX {
            return Err(CompileError::invalid(
                format!("process.user.{name}"),
                format!("{id} is not an id"),
            ));
        }
    }
    if groups.len() > GROUPS_MAX {
        let why = format!(
            "{} groups are too many, {GROUPS_MAX} is the most",
            groups.len()
        );
        return Err(CompileError::invalid("process.user.additionalGids", why));
    }
    let umask = user.umask().unwrap_or(DEFAULT_UMASK);
    if umask > 0o777 {
        return Err(CompileError::invalid(
            "process.user.umask",
            format!("{umask:o} is more than 777"),
        ));
    }
    draft.record.uid = user.uid();
    draft.record.gid = user.gid();
    draft.record.groups = groups;
    draft.record.umask = umask;
    Ok(())
}

fn limits(process: &Process) -> Result<Vec<Limit>, CompileError> {
    let mut limits: Vec<Limit> = Vec::new();
    for (index, limit) in process.rlimits().iter().flatten().enumerate() {
        let field = || format!("process.rlimits[{index}]");
        let resource = resource(limit.typ());
        if limits.iter().any(|other| other.resource == resource) {
            return Err(CompileError::invalid(
                field(),
                format!("{} is there twice", limit.typ()),
            ));
        }
        if limit.soft() > limit.hard() {
            return Err(CompileError::invalid(
                field(),
                "the soft limit is above the hard one",
            ));
        }
        limits.push(Limit {
            resource,
            soft: limit.soft(),
            hard: limit.hard(),
        });
    }
    Ok(limits)
}

/// The kernel's number, which is the same on x86-64 and on aarch64.
fn resource(kind: PosixRlimitType) -> u32 {
    match kind {
        PosixRlimitType::RlimitCpu => 0,
        PosixRlimitType::RlimitFsize => 1,
        PosixRlimitType::RlimitData => 2,
        PosixRlimitType::RlimitStack => 3,
        PosixRlimitType::RlimitCore => 4,
        PosixRlimitType::RlimitRss => 5,
        PosixRlimitType::RlimitNproc => 6,
        PosixRlimitType::RlimitNofile => 7,
        PosixRlimitType::RlimitMemlock => 8,
        PosixRlimitType::RlimitAs => 9,
        PosixRlimitType::RlimitLocks => 10,
        PosixRlimitType::RlimitSigpending => 11,
        PosixRlimitType::RlimitMsgqueue => 12,
        PosixRlimitType::RlimitNice => 13,
        PosixRlimitType::RlimitRtprio => 14,
        PosixRlimitType::RlimitRttime => 15,
    }
}

fn oom_score(process: &Process) -> Result<Option<i32>, CompileError> {
    match process.oom_score_adj() {
        Some(score) if !(-1000..=1000).contains(&score) => Err(CompileError::invalid(
            "process.oomScoreAdj",
            format!("{score} is not between -1000 and 1000"),
        )),
        score => Ok(score),
    }
}

fn terminal(draft: &mut Draft, process: &Process) -> Result<(), CompileError> {
    if process.terminal() != Some(true) {
        return Ok(());
    }
    draft.record.flags |= flag::TERMINAL;
    let Some(size) = process.console_size() else {
        return Ok(());
    };
    let cells = |cells: u64| {
        u16::try_from(cells)
            .map_err(|_| CompileError::invalid("process.consoleSize", "is more than 65535"))
    };
    draft.record.terminal_size = Some((cells(size.height())?, cells(size.width())?));
    Ok(())
}

fn scheduling(draft: &mut Draft, process: &Process) -> Result<(), CompileError> {
    for (field, given) in [
        ("process.scheduler", process.scheduler().is_some()),
        (
            "process.execCPUAffinity",
            process.exec_cpu_affinity().is_some(),
        ),
    ] {
        if given {
            return Err(CompileError::invalid(field, "is not supported"));
        }
    }
    if let Some(priority) = process.io_priority() {
        let level = u32::try_from(priority.priority())
            .ok()
            .filter(|level| *level < 8);
        let level = level.ok_or_else(|| {
            CompileError::invalid("process.ioPriority.priority", "is not between 0 and 7")
        })?;
        let class = match priority.class() {
            IOPriorityClass::IoprioClassRt => 1,
            IOPriorityClass::IoprioClassBe => 2,
            IOPriorityClass::IoprioClassIdle => 3,
        };
        draft.record.io_priority = Some(class << 13 | level);
    }
    Ok(())
}

/// `linux.personality`.
pub(super) fn personality(draft: &mut Draft, spec: &Spec) -> Result<(), CompileError> {
    let Some(personality) = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.personality().as_ref())
    else {
        return Ok(());
    };
    if personality
        .flags()
        .as_ref()
        .is_some_and(|flags| !flags.is_empty())
    {
        return Err(CompileError::invalid(
            "linux.personality.flags",
            "are not supported",
        ));
    }
    draft.record.personality = Some(match personality.domain() {
        LinuxPersonalityDomain::PerLinux => 0,
        LinuxPersonalityDomain::PerLinux32 => 8,
    });
    Ok(())
}
