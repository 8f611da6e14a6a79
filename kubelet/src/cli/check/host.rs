//! The kernel, its parts, and the disk.
use super::Finding;
use crate::cli::{Global, output};
use rkube_images::RegistryConfig;
use rkube_runtime::cgroup::{Cgroup, Hierarchies};
use rustix::fs::{StatVfsMountFlags, statvfs};
use std::path::{Path, PathBuf};

/// The oldest kernel with all calls that a start makes; mount_setattr(2) is the youngest of them.
const OLDEST: (u32, u32) = (5, 12);
/// Less room than this is worth a word.
const LITTLE: u64 = 2 << 30;
/// Less room than this is not enough for any image.
const TOO_LITTLE: u64 = 64 << 20;

pub(super) fn user() -> Finding {
    if rustix::process::geteuid().is_root() {
        return Finding::ok("user", "root");
    }
    Finding::fail(
        "user",
        "not root; the rest needs root to be looked at",
        "run it with sudo",
    )
}

pub(super) fn kernel() -> Finding {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy().into_owned();
    let machine = uname.machine().to_string_lossy().into_owned();
    let detail = format!("Linux {release} on {machine}");
    match version(&release) {
        Some(found) if found >= OLDEST => Finding::ok("kernel", detail),
        Some(_) => {
            let advice = format!("boot Linux {}.{} or newer", OLDEST.0, OLDEST.1);
            Finding::fail("kernel", detail, &advice)
        }
        None => Finding::warn("kernel", detail, "its version cannot be read"),
    }
}

/// The first two numbers of `6.1.0-13-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

pub(super) fn namespaces() -> Finding {
    const NEEDED: [(&str, &str); 5] = [
        ("mnt", "max_mnt_namespaces"),
        ("pid", "max_pid_namespaces"),
        ("net", "max_net_namespaces"),
        ("ipc", "max_ipc_namespaces"),
        ("uts", "max_uts_namespaces"),
    ];
    let is_zero = |limit: &str| {
        let path = Path::new("/proc/sys/user").join(limit);
        fs_err::read_to_string(path).is_ok_and(|text| text.trim() == "0")
    };
    for (name, limit) in NEEDED {
        if !Path::new("/proc/self/ns").join(name).exists() {
            let advice = "boot a kernel with CONFIG_NAMESPACES and all of its kinds";
            return Finding::fail(
                "namespaces",
                format!("the kernel has no {name} namespaces"),
                advice,
            );
        }
        if is_zero(limit) {
            let advice = format!("sysctl -w user.{limit}=10000");
            return Finding::fail("namespaces", format!("user.{limit} is 0"), &advice);
        }
    }
    match crate::sys::try_namespaces() {
        Ok(()) => Finding::ok("namespaces", "mount, pid, net, ipc, uts: can be made"),
        // Who is not root has been told so.
        Err(err) if err.kind() == std::io::ErrorKind::PermissionDenied => Finding::warn(
            "namespaces",
            "may not be made by this user",
            "run it with sudo; in a container, with --privileged",
        ),
        Err(err) => Finding::fail(
            "namespaces",
            format!("cannot be made: {err}"),
            "raise the limits of `sysctl user`, or boot a kernel with all kinds of namespaces",
        ),
    }
}

pub(super) fn seccomp() -> Finding {
    let actions = fs_err::read_to_string("/proc/sys/kernel/seccomp/actions_avail");
    match actions {
        Ok(actions) if actions.contains("errno") => Finding::ok("seccomp", "filters can be loaded"),
        Ok(_) | Err(_) => Finding::fail(
            "seccomp",
            "the kernel takes no filters",
            "boot a kernel with CONFIG_SECCOMP_FILTER",
        ),
    }
}

pub(super) fn registries(global: &Global) -> Finding {
    let loaded = match &global.registries {
        Some(path) => RegistryConfig::load(path),
        None => RegistryConfig::load_default(),
    };
    match loaded {
        Ok(_) => Finding::ok("registries", "the settings can be read"),
        Err(err) => Finding::fail("registries", crate::error::chain(&err), "mend the file"),
    }
}

pub(super) fn resolver() -> Finding {
    let text = fs_err::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let servers = text
        .lines()
        .filter(|line| line.trim_start().starts_with("nameserver"));
    match servers.count() {
        0 => Finding::warn(
            "name servers",
            "/etc/resolv.conf names none",
            "add one, or give pods a dnsConfig: they get what the host has",
        ),
        _ => Finding::ok("name servers", "pods get those of /etc/resolv.conf"),
    }
}

pub(super) fn cgroups() -> Vec<Finding> {
    let hierarchies = match Hierarchies::detect() {
        Ok(hierarchies) => hierarchies,
        Err(err) => {
            let advice = "mount -t cgroup2 none /sys/fs/cgroup";
            return vec![Finding::fail("cgroups", crate::error::chain(&err), advice)];
        }
    };
    let kind = if hierarchies.is_unified() { "v2" } else { "v1" };
    let made = try_cgroup(&hierarchies);
    let first = match made {
        Ok(()) => Finding::ok("cgroups", format!("{kind}; can be made")),
        Err(err) => Finding::fail(
            "cgroups",
            crate::error::chain(&err),
            "mount the cgroup file systems writable (containers: with --privileged or --cgroupns=host)",
        ),
    };
    let lacking: Vec<_> = ["cpu", "memory", "pids"]
        .into_iter()
        .filter(|controller| hierarchies.tree_of(controller).is_none())
        .collect();
    let second = match lacking.as_slice() {
        [] => Finding::ok("limits", "cpu, memory and pids"),
        lacking => Finding::warn(
            "limits",
            format!("no controller for {}", lacking.join(", ")),
            "limits on them will be refused; on some hosts boot with cgroup_enable=memory",
        ),
    };
    vec![first, second]
}

fn try_cgroup(hierarchies: &Hierarchies) -> Result<(), rkube_runtime::cgroup::CgroupError> {
    let name = PathBuf::from(format!("rkube-check-{}", std::process::id()));
    let cgroup = Cgroup::create(hierarchies, &name)?;
    cgroup.delete()
}

/// The file system that the root is on, or will be.
pub(super) fn disk(root: &Path) -> Vec<Finding> {
    let place = existing(root);
    let stat = match statvfs(&place) {
        Ok(stat) => stat,
        Err(errno) => {
            let detail = format!("{}: {errno}", place.display());
            return vec![Finding::fail("root", detail, "choose another --root")];
        }
    };
    let shown = root.display();
    let flag = |flag| stat.f_flag.contains(flag);
    let mount = if flag(StatVfsMountFlags::RDONLY) {
        let advice = "mount it writable, or choose another --root";
        Finding::fail("root", format!("{shown} is read-only"), advice)
    } else if flag(StatVfsMountFlags::NOSUID) {
        let advice = "mount it without nosuid, or choose another --root";
        Finding::warn(
            "root",
            format!("{shown} is mounted nosuid: setuid programs of images will not work"),
            advice,
        )
    } else {
        Finding::ok("root", format!("{shown} can be written"))
    };
    let free = stat.f_bavail * stat.f_frsize;
    let detail = format!("{} are free below {}", output::bytes(free), place.display());
    let advice = "make room, e.g. with `rkubelet images prune`, or choose another --root";
    let room = match free {
        free if free < TOO_LITTLE => Finding::fail("disk space", detail, advice),
        free if free < LITTLE => Finding::warn("disk space", detail, advice),
        _ if stat.f_files > 0 && stat.f_favail < 10_000 => {
            let detail = format!(
                "{} inodes are free below {}",
                stat.f_favail,
                place.display()
            );
            Finding::warn("disk space", detail, advice)
        }
        _ => Finding::ok("disk space", detail),
    };
    vec![mount, room]
}

/// The path, or what there is of it.
pub(super) fn existing(path: &Path) -> PathBuf {
    let found = path.ancestors().find(|path| path.is_dir());
    found.unwrap_or(Path::new("/")).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        assert_eq!(version("6.1.0-13-amd64"), Some((6, 1)));
        assert_eq!(version("5.14.0-362.el9.x86_64"), Some((5, 14)));
        assert_eq!(version("5.4"), Some((5, 4)));
        assert_eq!(version("linux"), None);
        assert!(version("5.4").unwrap() < OLDEST);
    }

    #[test]
    fn what_there_is_of_a_path() {
        assert_eq!(existing(Path::new("/proc/no-such/dir")), Path::new("/proc"));
        assert_eq!(existing(Path::new("relative/nowhere")), Path::new("/"));
    }
}
