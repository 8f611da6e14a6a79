//! One look at the kernel's counters.
use crate::housekeeping::measure::{self, FileSystem};
use crate::paths::Paths;
use crate::state::{ContainerState, StoredPod};
use crate::worker::cgroup_of;
use jiff::Timestamp;
use rkube_runtime::cgroup::{Cgroup, Hierarchies, Stats};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long the size of a tree is believed: to count it is the one thing here that takes time.
const DISK_AGE: Duration = Duration::from_secs(60);

/// A cgroup's counters at a moment.
#[derive(Clone, Debug)]
pub(in crate::server) struct Use {
    /// When.
    pub(in crate::server) at: Timestamp,
    /// What.
    pub(in crate::server) stats: Stats,
}

impl Use {
    fn of(cgroups: &Hierarchies, path: &Path) -> Option<Self> {
        let stats = Cgroup::open(cgroups, path).ok()?.stats().ok()?;
        Some(Use {
            at: Timestamp::now(),
            stats,
        })
    }
    /// One of the kernel's finer numbers, by its name on cgroups v2 or v1.
    pub(in crate::server) fn detail(&self, v2: &str, v1: &str) -> Option<u64> {
        let detail = &self.stats.memory.as_ref()?.detail;
        detail.get(v2).or_else(|| detail.get(v1)).copied()
    }
}

/// A container that runs.
#[derive(Clone, Debug)]
pub(in crate::server) struct ContainerReading {
    /// Its name.
    pub(in crate::server) name: String,
    /// Its image.
    pub(in crate::server) image: String,
    /// When it was started.
    pub(in crate::server) started: Timestamp,
    /// What it uses.
    pub(in crate::server) used: Use,
    /// Bytes and files of what it has written to its root, and of its logs, if they were counted.
    pub(in crate::server) disk: Option<((u64, u64), (u64, u64))>,
}

/// A pod that is not over.
#[derive(Clone, Debug)]
pub(in crate::server) struct PodReading {
    /// The pod.
    pub(in crate::server) pod: Arc<StoredPod>,
    /// Where its cgroup is.
    pub(in crate::server) cgroup: String,
    /// What all of it uses.
    pub(in crate::server) used: Option<Use>,
    /// Its network devices; none on the host's network.
    pub(in crate::server) network: Vec<Device>,
    /// Its containers that run.
    pub(in crate::server) containers: Vec<ContainerReading>,
    /// Its volumes on disk by name, if they were counted.
    pub(in crate::server) volumes: Vec<(String, (u64, u64))>,
    /// The file system that all of this is on.
    pub(in crate::server) file_system: Option<FileSystem>,
}

impl PodReading {
    /// Reads it. Trees are counted only if there is a place to remember that.
    pub(in crate::server) fn of(
        paths: &Paths,
        cgroups: &Hierarchies,
        pod: &Arc<StoredPod>,
        disks: Option<&Disks>,
    ) -> Self {
        let record = &pod.record;
        let uid = record.uid();
        let cgroup = cgroup_of(&record.pod);
        let spec = record.pod.spec.as_ref();
        let on_host = spec.and_then(|spec| spec.host_network).unwrap_or(false);
        let network = pod.state.supervisor.filter(|_| !on_host).map(|pid| {
            let table = fs_err::read_to_string(format!("/proc/{pid}/net/dev"));
            devices(&table.unwrap_or_default())
        });
        let logs = paths.pod_logs(record.namespace(), record.name(), uid);
        let asked: BTreeMap<&str, &str> = record
            .containers()
            .map(|(_, one)| (one.name.as_str(), one.image.as_deref().unwrap_or_default()))
            .collect();
        let containers = pod.state.containers.iter().filter_map(|one| {
            let ContainerState::Running { started, .. } = one.state else {
                return None;
            };
            let upper = paths.container(uid, &one.name, one.attempt()).join("upper");
            let disk = disks.map(|disks| (disks.tree(&upper), disks.tree(&logs.join(&one.name))));
            Some(ContainerReading {
                name: one.name.clone(),
                image: asked
                    .get(one.name.as_str())
                    .copied()
                    .unwrap_or_default()
                    .to_owned(),
                started,
                used: Use::of(cgroups, &Path::new(&cgroup).join(&one.name))?,
                disk,
            })
        });
        let containers = containers.collect();
        let folder = paths.pod(uid).join("volumes");
        let volumes = disks.map(|disks| {
            let wanted = spec
                .and_then(|spec| spec.volumes.as_ref())
                .into_iter()
                .flatten();
            let kept = wanted.map(|volume| (volume.name.clone(), folder.join(&volume.name)));
            kept.filter(|(_, path)| path.is_dir())
                .map(|(name, path)| (name, disks.tree(&path)))
                .collect()
        });
        PodReading {
            used: Use::of(cgroups, Path::new(&cgroup)),
            pod: pod.clone(),
            cgroup,
            network: network.unwrap_or_default(),
            containers,
            volumes: volumes.unwrap_or_default(),
            file_system: measure::file_system(&paths.root).ok(),
        }
    }
}

/// A network device's counters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::server) struct Device {
    /// Its name.
    pub(in crate::server) name: String,
    /// Bytes, packets, errors, drops received.
    pub(in crate::server) received: [u64; 4],
    /// The same sent.
    pub(in crate::server) sent: [u64; 4],
}

/// All devices of /proc/net/dev but the loopback.
fn devices(table: &str) -> Vec<Device> {
    let rows = table.lines().filter_map(|line| line.split_once(':'));
    let others = rows.filter(|(name, _)| name.trim() != "lo");
    others
        .map(|(name, numbers)| {
            let numbers: Vec<u64> = numbers
                .split_whitespace()
                .map(|number| number.parse().unwrap_or(0))
                .collect();
            let four = |from: usize| {
                std::array::from_fn(|index| numbers.get(from + index).copied().unwrap_or(0))
            };
            Device {
                name: name.trim().to_owned(),
                received: four(0),
                sent: four(8),
            }
        })
        .collect()
}

/// The host's own numbers.
#[derive(Clone, Debug)]
pub(in crate::server) struct Host {
    /// When.
    pub(in crate::server) at: Timestamp,
    /// When it was started.
    pub(in crate::server) booted: Timestamp,
    /// All processors' time.
    pub(in crate::server) cpu: Duration,
    /// /proc/meminfo in bytes.
    pub(in crate::server) memory: BTreeMap<String, u64>,
    /// Page faults, and those that went to a disk.
    pub(in crate::server) faults: (u64, u64),
    /// Devices; that of the default route first.
    pub(in crate::server) network: Vec<Device>,
    /// What pods and images are on.
    pub(in crate::server) nodefs: FileSystem,
    /// What images are on.
    pub(in crate::server) imagefs: FileSystem,
    /// Processes there may be, and are.
    pub(in crate::server) pids: (u64, u64),
}

impl Host {
    /// Reads it.
    ///
    /// # Errors
    /// When /proc is not mounted, or the root folder is gone.
    pub(in crate::server) fn read(paths: &Paths) -> io::Result<Self> {
        let stat = fs_err::read_to_string("/proc/stat")?;
        let table = fs_err::read_to_string("/proc/meminfo")?;
        let vmstat = fs_err::read_to_string("/proc/vmstat").unwrap_or_default();
        let fault = |name: &str| {
            let found = vmstat
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            found.and_then(|number| number.parse().ok()).unwrap_or(0)
        };
        let mut network = devices(&fs_err::read_to_string("/proc/net/dev").unwrap_or_default());
        let route = fs_err::read_to_string("/proc/net/route").unwrap_or_default();
        let default = default_device(&route);
        network.sort_by_key(|device| Some(device.name.as_str()) != default);
        let nodefs = measure::file_system(&paths.root)?;
        Ok(Host {
            at: Timestamp::now(),
            booted: booted(&stat),
            cpu: busy(&stat),
            memory: meminfo(&table),
            faults: (fault("pgfault"), fault("pgmajfault")),
            network,
            imagefs: measure::file_system(&paths.images()).unwrap_or(nodefs),
            nodefs,
            pids: measure::pids()?,
        })
    }
    /// A row of /proc/meminfo.
    pub(in crate::server) fn memory(&self, name: &str) -> u64 {
        self.memory.get(name).copied().unwrap_or(0)
    }
    /// What is in use, and what of it cannot be taken back at once.
    pub(in crate::server) fn memory_used(&self) -> (u64, u64) {
        let used = self
            .memory("MemTotal")
            .saturating_sub(self.memory("MemFree"));
        (used, used.saturating_sub(self.memory("Inactive(file)")))
    }
}

fn meminfo(table: &str) -> BTreeMap<String, u64> {
    let rows = table.lines().filter_map(|line| line.split_once(':'));
    rows.filter_map(|(name, value)| {
        let number: u64 = value.split_whitespace().next()?.parse().ok()?;
        let unit = if value.ends_with("kB") { 1024 } else { 1 };
        Some((name.to_owned(), number.saturating_mul(unit)))
    })
    .collect()
}

/// Time in which processors were not idle: user, nice, system, irq, softirq, steal.
fn busy(stat: &str) -> Duration {
    let first = stat.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = first
        .split_whitespace()
        .skip(1)
        .map(|number| number.parse().unwrap_or(0))
        .collect();
    let busy: u64 = [0, 1, 2, 5, 6, 7]
        .iter()
        .filter_map(|&index| ticks.get(index))
        .sum();
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Duration::from_millis(busy.saturating_mul(1000) / per_second)
}

fn booted(stat: &str) -> Timestamp {
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "));
    line.and_then(|seconds| seconds.trim().parse().ok())
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .unwrap_or(Timestamp::UNIX_EPOCH)
}

fn default_device(route: &str) -> Option<&str> {
    let rows = route.lines().skip(1).map(|line| line.split_whitespace());
    rows.filter_map(|mut row| Some((row.next()?, row.next()?)))
        .find(|(_, destination)| *destination == "00000000")
        .map(|(device, _)| device)
}

/// Sizes of trees, counted now and then.
#[derive(Debug, Default)]
pub(in crate::server) struct Disks(Mutex<BTreeMap<PathBuf, Counted>>);

/// When, and how many bytes and files.
type Counted = (Instant, (u64, u64));

impl Disks {
    /// Bytes and files of a tree, as of a minute ago or later.
    fn tree(&self, dir: &Path) -> (u64, u64) {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = |at: &Instant| at.elapsed() < DISK_AGE;
        if let Some((_, size)) = lock().get(dir).filter(|(at, _)| fresh(at)) {
            return *size;
        }
        let size = measure::tree(dir);
        let mut known = lock();
        // Those of pods that have gone go by themselves.
        known.retain(|_, (at, _)| fresh(at));
        known.insert(dir.to_owned(), (Instant::now(), size));
        size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_the_kernel() {
        let table = "Inter-|   Receive\n face |bytes    packets errs\n    lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n  \
            eth0: 2000 4 1 2 0 0 0 0 300 2 3 4 0 0 0 0\n";
        let found = devices(table);
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].received, found[0].sent),
            ([2000, 4, 1, 2], [300, 2, 3, 4])
        );
        let route =
            "Iface\tDestination\tGateway\nrkube0\t00004D0A\t00000000\neth1\t00000000\t0101A8C0\n";
        assert_eq!(default_device(route), Some("eth1"));
        let memory = meminfo("MemTotal:  1000 kB\nHugePages_Total:   3\n");
        assert_eq!(
            (memory["MemTotal"], memory["HugePages_Total"]),
            (1_024_000, 3)
        );
        let stat = "cpu  100 200 300 5000 50 10 20 30 7 0\ncpu0 1 1\nbtime 1700000000\n";
        assert_eq!(busy(stat), Duration::from_millis(6600));
        assert_eq!(booted(stat).as_second(), 1_700_000_000);
    }

    #[test]
    fn this_host_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let paths = Paths {
            root: dir.path().to_owned(),
            ..Paths::default()
        };
        let host = Host::read(&paths).unwrap();
        let (used, working_set) = host.memory_used();
        assert!(host.cpu > Duration::ZERO && working_set <= used && used < host.memory("MemTotal"));
        let disks = Disks::default();
        std::fs::write(dir.path().join("file"), "x").unwrap();
        let size = disks.tree(dir.path());
        std::fs::write(dir.path().join("other"), "x").unwrap();
        assert_eq!(disks.tree(dir.path()), size, "counted once a minute");
    }
}
