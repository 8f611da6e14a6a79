//! A mount of type `cgroup`: the container's own part of the hierarchies, whatever their version.
//!
//! It takes a cgroup namespace to show only that part. A spec with such a mount but without the namespace, as podman
//! writes on v1 hosts, gets one all the same: the host's cgroups are never shown.
//!
//! ```text
//! v2:      cgroup2 at the destination
//! v1:      tmpfs at the destination, one cgroup mount per hierarchy below, links for the controllers of joint ones
//! ```

use std::path::Path;

use oci_spec::runtime::LinuxNamespaceType;
use rkube_init::record::layout::{source, trait_of};

use super::mounts::One;
use super::{CompileError, Draft, namespaces};
use crate::record::Mount;

/// A hierarchy of the host, as `/proc/self/mountinfo` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Hierarchy {
    /// Last component of its mount point: `cpu,cpuacct`, `systemd`, `unified`.
    name: String,
    /// `cgroup` or `cgroup2`.
    fstype: String,
    /// Options of the file system that say which hierarchy it is.
    options: Vec<(String, String)>,
    /// Whether it is mounted at `/sys/fs/cgroup` itself.
    top: bool,
}

pub(super) fn compile(
    one: &One<'_>,
    draft: &mut Draft,
    destination: &[u8],
) -> Result<(), CompileError> {
    let path = Path::new("/proc/self/mountinfo");
    let text = fs_err::read_to_string(path)
        .map_err(|source| CompileError::open(one.field("type"), path, source))?;
    let found = hierarchies(&text);
    if !namespaces::has(one.spec, LinuxNamespaceType::Cgroup) {
        draft.record.namespaces |= LinuxNamespaceType::Cgroup as u32;
    }
    if let Some(unified) = found.iter().find(|hierarchy| hierarchy.top) {
        draft
            .record
            .mounts
            .push(mount(one, unified, destination.to_vec()));
        return Ok(());
    }
    let tmpfs = Mount {
        source: source::FILESYSTEM,
        traits: trait_of::READONLY_LATE,
        fstype: "tmpfs".into(),
        options: vec![("mode".into(), "755".into())],
        set: one.options.one.set & !libc::MOUNT_ATTR_RDONLY,
        ..one.placed(destination.to_vec())
    };
    draft.record.mounts.push(tmpfs);
    for hierarchy in &found {
        let below = [destination, b"/", hierarchy.name.as_bytes()].concat();
        draft.record.mounts.push(mount(one, hierarchy, below));
    }
    Ok(())
}

fn mount(one: &One<'_>, hierarchy: &Hierarchy, destination: Vec<u8>) -> Mount {
    Mount {
        source: source::FILESYSTEM,
        fstype: hierarchy.fstype.clone(),
        options: hierarchy.options.clone(),
        ..one.placed(destination)
    }
}

/// The hierarchies below `/sys/fs/cgroup`, each once.
fn hierarchies(mountinfo: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in mountinfo.lines() {
        let Some((place, kind)) = line.split_once(" - ") else {
            continue;
        };
        let (Some(point), Some(fstype)) = (place.split(' ').nth(4), kind.split(' ').next()) else {
            continue;
        };
        if !matches!(fstype, "cgroup" | "cgroup2") {
            continue;
        }
        let Ok(below) = Path::new(point).strip_prefix("/sys/fs/cgroup") else {
            continue;
        };
        let name = below.to_string_lossy().into_owned();
        let top = name.is_empty();
        let options = kind
            .split(' ')
            .nth(2)
            .map(|text| v1_options(fstype, text))
            .unwrap_or_default();
        let hierarchy = Hierarchy {
            name,
            fstype: fstype.to_owned(),
            options,
            top,
        };
        if !found.contains(&hierarchy) {
            found.push(hierarchy);
        }
    }
    found
}

/// Of a v1 hierarchy's superblock options, the controllers and the name.
fn v1_options(fstype: &str, text: &str) -> Vec<(String, String)> {
    if fstype != "cgroup" {
        return Vec::new();
    }
    let pair = |option: &str| match option.split_once('=') {
        Some((key, value)) => (key.to_owned(), value.to_owned()),
        None => (option.to_owned(), String::new()),
    };
    let describes = |option: &&str| {
        !matches!(
            *option,
            "rw" | "ro"
                | "xattr"
                | "clone_children"
                | "noprefix"
                | "favordynmods"
                | "cpuset_v2_mode"
        ) && !option.starts_with("release_agent")
    };
    let mut options: Vec<_> = text.split(',').filter(describes).map(pair).collect();
    if options.iter().all(|(key, _)| key == "name") {
        options.insert(0, ("none".into(), String::new()));
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - tmpfs tmpfs ro,mode=755
31 30 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw,nsdelegate
32 30 0:28 / /sys/fs/cgroup/systemd rw,nosuid shared:11 - cgroup cgroup rw,xattr,name=systemd
33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:12 - cgroup cgroup rw,cpu,cpuacct
34 30 0:29 / /elsewhere rw,nosuid shared:12 - cgroup cgroup rw,cpu,cpuacct
";

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn hybrid_hosts_have_several() {
        let found = hierarchies(HYBRID);
        let names: Vec<_> = found
            .iter()
            .map(|hierarchy| hierarchy.name.as_str())
            .collect();
        assert_eq!(names, ["unified", "systemd", "cpu,cpuacct"]);
        assert_eq!(found[0].options, []);
        assert_eq!(
            found[1].options,
            [pair("none", ""), pair("name", "systemd")]
        );
        assert_eq!(found[2].options, [pair("cpu", ""), pair("cpuacct", "")]);
    }

    #[test]
    fn unified_hosts_have_one() {
        let found = hierarchies("30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
        assert!(found.len() == 1 && found[0].top);
    }
}
