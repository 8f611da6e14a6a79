//! What of the host a spec refers to: capabilities that root has here, device nodes, signal numbers.
use oci_spec::runtime as oci;
use std::collections::HashSet;
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// In the kernel's order (capability.h): the position is the number.
const CAPABILITIES: [oci::Capability; 41] = {
    use oci::Capability as C;
    [
        C::Chown,
        C::DacOverride,
        C::DacReadSearch,
        C::Fowner,
        C::Fsetid,
        C::Kill,
        C::Setgid,
        C::Setuid,
        C::Setpcap,
        C::LinuxImmutable,
        C::NetBindService,
        C::NetBroadcast,
        C::NetAdmin,
        C::NetRaw,
        C::IpcLock,
        C::IpcOwner,
        C::SysModule,
        C::SysRawio,
        C::SysChroot,
        C::SysPtrace,
        C::SysPacct,
        C::SysAdmin,
        C::SysBoot,
        C::SysNice,
        C::SysResource,
        C::SysTime,
        C::SysTtyConfig,
        C::Mknod,
        C::Lease,
        C::AuditWrite,
        C::AuditControl,
        C::Setfcap,
        C::MacOverride,
        C::MacAdmin,
        C::Syslog,
        C::WakeAlarm,
        C::BlockSuspend,
        C::AuditRead,
        C::Perfmon,
        C::Bpf,
        C::CheckpointRestore,
    ]
};

/// Names of the signals up to 31, as signal(7) has them for this architecture family.
const SIGNALS: [&str; 31] = [
    "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2",
    "PIPE", "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG",
    "XCPU", "XFSZ", "VTALRM", "PROF", "WINCH", "IO", "PWR", "SYS",
];

/// The capabilities that this process may hand on: those of its bounding set.
#[must_use]
pub fn capabilities() -> HashSet<oci::Capability> {
    let status = fs_err::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|line| u64::from_str_radix(line.strip_prefix("CapBnd:")?.trim(), 16).ok());
    let mask = mask.unwrap_or(u64::MAX);
    CAPABILITIES
        .iter()
        .enumerate()
        .filter(|(bit, _)| mask & (1 << bit) != 0)
        .map(|(_, one)| *one)
        .collect()
}

/// The number of a signal by its name (`SIGTERM`, `TERM`, `RTMIN+3`) or as a number.
#[must_use]
pub fn signal_number(name: &str) -> Option<i32> {
    const RTMIN: i32 = 34;
    const RTMAX: i32 = 64;
    let upper = name.trim().to_ascii_uppercase();
    let bare = upper.strip_prefix("SIG").unwrap_or(&upper);
    let real_time = |offset: &str| {
        if offset.is_empty() {
            Some(0)
        } else {
            offset.parse::<i32>().ok()
        }
    };
    let number = if let Some(at) = SIGNALS.iter().position(|known| *known == bare) {
        i32::try_from(at + 1).ok()
    } else if let Some(offset) = bare.strip_prefix("RTMIN") {
        real_time(offset).map(|offset| RTMIN + offset)
    } else if let Some(offset) = bare.strip_prefix("RTMAX") {
        real_time(offset).map(|offset| RTMAX + offset)
    } else {
        bare.parse().ok()
    };
    number.filter(|number| (1..=RTMAX).contains(number))
}

/// The device nodes below /dev, for privileged containers. What every container has anyway, and the
/// terminals of others, are left out.
///
/// # Errors
/// When /dev cannot be read.
pub fn devices() -> io::Result<Vec<oci::LinuxDevice>> {
    const LEFT_OUT: [&str; 13] = [
        "pts", "shm", "mqueue", "fd", "console", "ptmx", "null", "zero", "full", "random",
        "urandom", "tty", ".udev",
    ];
    let mut found = Vec::new();
    let mut pending: Vec<PathBuf> = vec!["/dev".into()];
    while let Some(dir) = pending.pop() {
        for entry in fs_err::read_dir(&dir)? {
            let entry = entry?;
            if dir == Path::new("/dev") && LEFT_OUT.iter().any(|name| entry.file_name() == *name) {
                continue;
            }
            let Ok(meta) = entry.metadata() else { continue };
            let kind = meta.file_type();
            if kind.is_dir() {
                pending.push(entry.path());
            } else if kind.is_char_device() || kind.is_block_device() {
                found.extend(device(&entry.path(), &meta));
            }
        }
    }
    Ok(found)
}

fn device(path: &Path, meta: &std::fs::Metadata) -> Option<oci::LinuxDevice> {
    let number = meta.rdev();
    let kind = if meta.file_type().is_block_device() {
        oci::LinuxDeviceType::B
    } else {
        oci::LinuxDeviceType::C
    };
    oci::LinuxDeviceBuilder::default()
        .path(path)
        .typ(kind)
        .major(i64::from(rustix::fs::major(number)))
        .minor(i64::from(rustix::fs::minor(number)))
        .file_mode(meta.mode() & 0o777)
        .uid(meta.uid())
        .gid(meta.gid())
        .build()
        .ok()
}

/// What the devices cgroup lets a container use: the usual devices, terminals, and making (not opening) nodes.
#[must_use]
pub fn usual_device_rules() -> Vec<oci::LinuxDeviceCgroup> {
    use oci::LinuxDeviceType::{A, B, C};
    let rule = |allow, kind, major, minor, access: &str| {
        oci::LinuxDeviceCgroupBuilder::default()
            .allow(allow)
            .typ(kind)
            .access(access)
            .build()
            .ok()
            .map(|mut rule| {
                rule.set_major(major);
                rule.set_minor(minor);
                rule
            })
    };
    let memory = [3, 5, 7, 8, 9].map(|minor| rule(true, C, Some(1), Some(minor), "rwm"));
    let others = [
        rule(true, C, None, None, "m"),
        rule(true, B, None, None, "m"),
        rule(true, C, Some(5), Some(0), "rwm"),
        rule(true, C, Some(5), Some(1), "rwm"),
        rule(true, C, Some(5), Some(2), "rwm"),
        rule(true, C, Some(136), None, "rwm"),
    ];
    [rule(false, A, None, None, "rwm")]
        .into_iter()
        .chain(memory)
        .chain(others)
        .flatten()
        .collect()
}

/// What a privileged container may use: everything.
#[must_use]
pub fn all_devices_rule() -> Vec<oci::LinuxDeviceCgroup> {
    let rule = oci::LinuxDeviceCgroupBuilder::default()
        .allow(true)
        .typ(oci::LinuxDeviceType::A)
        .access("rwm")
        .build();
    rule.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        let cases = [
            ("SIGTERM", Some(15)),
            ("term", Some(15)),
            ("9", Some(9)),
            ("SIGRTMIN+3", Some(37)),
            ("RTMAX-1", Some(63)),
            ("SIGSYS", Some(31)),
            ("0", None),
            ("65", None),
            ("SIGNOTHING", None),
        ];
        for (name, want) in cases {
            assert_eq!(signal_number(name), want, "{name}");
        }
    }

    #[test]
    fn the_usual_rules_begin_with_nothing() {
        let rules = usual_device_rules();
        assert!(!rules[0].allow());
        assert!(rules[1..].iter().all(oci::LinuxDeviceCgroup::allow));
    }
}
