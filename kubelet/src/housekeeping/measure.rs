//! Reading what the kernel knows: memory, disks, processes, and what each pod uses of them.
use super::eviction::Usage;
use super::gc::Disk;
use super::node::Resources;
use super::signals::{Observation, Signal};
use crate::paths::Paths;
use crate::state::PodRecord;
use crate::worker::cgroup_of;
use rkube_runtime::cgroup::{Cgroup, Hierarchies};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A file system's bytes and files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileSystem {
    /// Which one it is.
    pub device: u64,
    /// Its bytes.
    pub bytes: Disk,
    /// Files that it can have, and still can get; zero where it has no such bound (btrfs).
    pub inodes: (u64, u64),
}

/// The file system that `path` is on.
///
/// # Errors
/// Names the path.
pub fn file_system(path: &Path) -> io::Result<FileSystem> {
    let found = rustix::fs::statvfs(path).map_err(|err| {
        io::Error::new(
            io::Error::from(err).kind(),
            format!("{}: {err}", path.display()),
        )
    })?;
    Ok(FileSystem {
        device: fs_err::metadata(path)?.dev(),
        bytes: Disk {
            capacity: found.f_blocks.saturating_mul(found.f_frsize),
            available: found.f_bavail.saturating_mul(found.f_frsize),
        },
        inodes: (found.f_files, found.f_favail),
    })
}

/// Memory of the host in bytes: all there is, and what can be had without harm (the kernel's own estimate, which
/// counts page cache and slabs that can be given up).
///
/// # Errors
/// When /proc is not mounted.
pub fn memory() -> io::Result<(u64, u64)> {
    let table = fs_err::read_to_string("/proc/meminfo")?;
    let field = |name: &str| meminfo(&table, name);
    match (field("MemTotal"), field("MemAvailable")) {
        (Some(total), Some(available)) => Ok((total, available.min(total))),
        _ => Err(io::Error::other(
            "/proc/meminfo lacks MemTotal or MemAvailable",
        )),
    }
}

fn meminfo(table: &str, name: &str) -> Option<u64> {
    let line = table
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Processes and threads of the host: how many there may be, and how many there are.
///
/// # Errors
/// When /proc is not mounted.
pub fn pids() -> io::Result<(u64, u64)> {
    let limit = |file: &str| -> io::Result<u64> {
        let text = fs_err::read_to_string(file)?;
        text.trim()
            .parse()
            .map_err(|_| io::Error::other(format!("{file}: no number")))
    };
    let most = limit("/proc/sys/kernel/pid_max")?.min(limit("/proc/sys/kernel/threads-max")?);
    let load = fs_err::read_to_string("/proc/loadavg")?;
    let now = load
        .split(' ')
        .nth(3)
        .and_then(|pair| pair.split_once('/')?.1.parse().ok());
    let now = now.ok_or_else(|| io::Error::other("/proc/loadavg: no count of processes"))?;
    Ok((most, now))
}

/// All signals. What cannot be read is left out, and said.
#[must_use]
pub fn observe(paths: &Paths) -> Vec<Observation> {
    let mut seen = Vec::new();
    let mut note = |what: &str, result: io::Result<Vec<Observation>>| match result {
        Ok(observed) => seen.extend(observed),
        Err(err) => tracing::warn!(what, %err, "cannot measure"),
    };
    note(
        "memory",
        memory().map(|(capacity, available)| {
            vec![Observation {
                signal: Signal::MemoryAvailable,
                available,
                capacity,
            }]
        }),
    );
    note(
        "pids",
        pids().map(|(capacity, now)| {
            vec![Observation {
                signal: Signal::PidAvailable,
                available: capacity.saturating_sub(now),
                capacity,
            }]
        }),
    );
    // Pods and logs may lie on two file systems; each counts as the node's.
    for place in [paths.pods(), paths.logs.clone()] {
        let signals = (Signal::NodefsAvailable, Signal::NodefsInodesFree);
        note(
            "nodefs",
            file_system(&place).map(|found| of_disk(found, signals)),
        );
    }
    let signals = (Signal::ImagefsAvailable, Signal::ImagefsInodesFree);
    note(
        "imagefs",
        file_system(&paths.images()).map(|found| of_disk(found, signals)),
    );
    seen
}

fn of_disk(found: FileSystem, (bytes, inodes): (Signal, Signal)) -> Vec<Observation> {
    let mut seen = vec![Observation {
        signal: bytes,
        available: found.bytes.available,
        capacity: found.bytes.capacity,
    }];
    // A file system that makes inodes as it goes says that it has none.
    if found.inodes.0 > 0 {
        seen.push(Observation {
            signal: inodes,
            available: found.inodes.1,
            capacity: found.inodes.0,
        });
    }
    seen
}

/// What the node has.
///
/// # Errors
/// Names what cannot be read.
pub fn capacity(paths: &Paths, max_pods: u32) -> io::Result<Resources> {
    let cpus = std::thread::available_parallelism()?.get();
    Ok(Resources {
        cpu_milli: u64::try_from(cpus).unwrap_or(1) * 1000,
        memory: memory()?.0,
        disk: file_system(&paths.root)?.bytes.capacity,
        pids: pids()?.0,
        pods: u64::from(max_pods),
    })
}

/// What a pod uses. Disks are walked only where they are asked for: that takes a while.
#[must_use]
pub fn usage(paths: &Paths, cgroups: &Hierarchies, record: &PodRecord, with_disk: bool) -> Usage {
    let mut usage = Usage::default();
    if let Ok(cgroup) = Cgroup::open(cgroups, Path::new(&cgroup_of(&record.pod)))
        && let Ok(stats) = cgroup.stats()
    {
        usage.memory = stats.memory.map_or(0, |memory| memory.working_set);
        usage.pids = stats.pids.map_or(0, |pids| pids.current);
    }
    if with_disk {
        for place in places(paths, record) {
            let (bytes, inodes) = tree(&place);
            usage.disk = usage.disk.saturating_add(bytes);
            usage.inodes = usage.inodes.saturating_add(inodes);
        }
    }
    usage
}

/// Where a pod's files lie that count as its ephemeral storage.
#[must_use]
pub fn places(paths: &Paths, record: &PodRecord) -> [PathBuf; 2] {
    [
        // Writable layers and volumes.
        paths.pod(record.uid()),
        paths.pod_logs(record.namespace(), record.name(), record.uid()),
    ]
}

/// Bytes on disk and files below a directory, without what is mounted there; a file with two names counts once.
#[must_use]
pub fn tree(dir: &Path) -> (u64, u64) {
    let held = crate::disk::measure(dir).unwrap_or_default();
    (held.bytes, held.files)
}

/// What the host says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostInfo {
    /// As Go calls it: `amd64`.
    pub architecture: String,
    /// This boot.
    pub boot_id: String,
    /// The kernel's release.
    pub kernel: String,
    /// /etc/machine-id.
    pub machine_id: String,
    /// The distribution.
    pub os_image: String,
    /// The mainboard's own id.
    pub system_uuid: String,
}

impl HostInfo {
    /// Reads it; what is not to be had is empty.
    #[must_use]
    pub fn read() -> Self {
        let line = |file: &str| {
            let text = fs_err::read_to_string(file).unwrap_or_default();
            text.trim().to_owned()
        };
        let machine_id = line("/etc/machine-id");
        let system_uuid = Some(line("/sys/class/dmi/id/product_uuid"));
        HostInfo {
            architecture: match std::env::consts::ARCH {
                "x86_64" => "amd64",
                "aarch64" => "arm64",
                other => other,
            }
            .to_owned(),
            boot_id: crate::state::boot_id().unwrap_or_default(),
            kernel: rustix::system::uname()
                .release()
                .to_string_lossy()
                .into_owned(),
            os_image: os_image(&line("/etc/os-release")),
            // A virtual machine without a mainboard is known by its machine-id.
            system_uuid: system_uuid
                .filter(|id| !id.is_empty())
                .unwrap_or_else(|| machine_id.clone()),
            machine_id,
        }
    }
}

fn os_image(os_release: &str) -> String {
    let pretty = os_release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="));
    pretty.map_or_else(
        || "Linux".to_owned(),
        |name| name.trim_matches('"').to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_is_measured() {
        let (total, available) = memory().unwrap();
        assert!(available > 0 && available <= total);
        let (most, now) = pids().unwrap();
        assert!(now > 0 && now < most);
        let dir = tempfile::tempdir().unwrap();
        let found = file_system(dir.path()).unwrap();
        assert!(found.bytes.available <= found.bytes.capacity && found.bytes.capacity > 0);
        assert!(file_system(&dir.path().join("gone")).is_err());
        let info = HostInfo::read();
        assert!(!info.kernel.is_empty() && !info.boot_id.is_empty());
    }

    #[test]
    fn fields_of_tables() {
        let table = "MemTotal:       24683008 kB\nMemFree:  1 kB\nMemAvailable:   10 kB\n";
        assert_eq!(meminfo(table, "MemAvailable"), Some(10240));
        assert_eq!(meminfo(table, "Mem"), None);
        assert_eq!(
            os_image("NAME=x\nPRETTY_NAME=\"Debian GNU/Linux 13\"\n"),
            "Debian GNU/Linux 13"
        );
        assert_eq!(os_image(""), "Linux");
    }

    #[test]
    fn a_tree_is_counted_once() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(tree(&dir.path().join("gone")), (0, 0));
        let file = dir.path().join("sub/file");
        fs_err::create_dir(dir.path().join("sub")).unwrap();
        fs_err::write(&file, vec![1; 1 << 20]).unwrap();
        let (bytes, inodes) = tree(dir.path());
        assert!(bytes >= 1 << 20 && inodes == 2, "{bytes} {inodes}");
        fs_err::hard_link(&file, dir.path().join("again")).unwrap();
        assert_eq!(tree(dir.path()), (bytes, inodes));
    }
}
