//! What a cgroup has used.
//!
//! The numbers are the same on both versions; a part is `None` where its controller is missing.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use super::{Cgroup, CgroupError, Node, Version, is_missing, processes, read_file, subdirs};

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Processor time.
    pub cpu: Option<CpuStats>,
    /// Memory.
    pub memory: Option<MemoryStats>,
    /// Processes and threads.
    pub pids: Option<PidsStats>,
    /// Block devices that were used.
    pub io: Vec<IoStats>,
    /// Huge pages, by page size (`2MB`).
    pub hugetlb: BTreeMap<String, HugetlbStats>,
}

/// Processor time used and withheld.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuStats {
    /// In all.
    pub usage: Duration,
    /// In user mode.
    pub user: Duration,
    /// In the kernel.
    pub system: Duration,
    /// Enforcement periods that passed.
    pub periods: u64,
    /// Periods in which the quota ran out.
    pub throttled_periods: u64,
    /// How long it was throttled.
    pub throttled: Duration,
}

/// Memory in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryStats {
    /// In use, page cache included.
    pub usage: u64,
    /// In use without the page cache that is easily given up: what counts towards an OOM kill.
    pub working_set: u64,
    /// The limit, if there is one.
    pub limit: Option<u64>,
    /// The most that was in use (v2: since 5.19).
    pub peak: Option<u64>,
    /// Swap in use, where it is accounted for.
    pub swap: Option<u64>,
    /// How often the limit was hit. (v1 of Linux 6.18 does not count it.)
    pub failures: u64,
    /// Processes killed for memory, here and below.
    pub oom_kills: u64,
    /// `memory.stat`, whose names differ between the versions.
    pub detail: BTreeMap<String, u64>,
}

/// Processes and threads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PidsStats {
    /// Now.
    pub current: u64,
    /// The limit, if there is one.
    pub limit: Option<u64>,
}

/// What was read from and written to one device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IoStats {
    /// The device.
    pub major: u32,
    /// The device.
    pub minor: u32,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub write_bytes: u64,
    /// Reads.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
}

/// Huge pages of one size, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HugetlbStats {
    /// In use.
    pub usage: u64,
    /// The most that was in use (v1 only).
    pub peak: Option<u64>,
    /// How often the limit was hit.
    pub failures: u64,
}

/// v1 says "no limit" with the largest number of pages.
const V1_UNLIMITED: u64 = 0x7fff_ffff_ffff_f000;

impl Cgroup {
    /// Reads everything.
    pub fn stats(&self) -> Result<Stats, CgroupError> {
        Ok(Stats {
            cpu: self.cpu_stats()?,
            memory: self.memory_stats()?,
            pids: self.pids_stats()?,
            io: self.io_stats()?,
            hugetlb: self.hugetlb_stats()?,
        })
    }

    /// How many processes were killed for memory, here and below, since the cgroup was made.
    pub fn oom_kills(&self) -> Result<u64, CgroupError> {
        match self.files("memory") {
            Some(files) if files.version == Version::V1 => oom_kills_v1(files.dir),
            Some(files) => Ok(files
                .table("memory.events")?
                .get("oom_kill")
                .copied()
                .unwrap_or(0)),
            None => Ok(0),
        }
    }

    /// Memory in use, if that is known here.
    pub(super) fn memory_usage(&self) -> Option<u64> {
        let files = self.files("memory")?;
        files
            .number(files.pick("memory.usage_in_bytes", "memory.current"))
            .ok()
            .flatten()
    }

    fn cpu_stats(&self) -> Result<Option<CpuStats>, CgroupError> {
        let mut out = CpuStats::default();
        // The unified tree counts time without any controller, but only for those that are in it.
        if let Some(files) = self.files("cpuacct") {
            let nanos = |name| {
                files
                    .number(name)
                    .map(|n| Duration::from_nanos(n.unwrap_or(0)))
            };
            out.usage = nanos("cpuacct.usage")?;
            out.user = nanos("cpuacct.usage_user")?;
            out.system = nanos("cpuacct.usage_sys")?;
        }
        let Some(files) = self.files("cpu").or_else(|| self.unified_files()) else {
            return Ok(None);
        };
        let table = files.table("cpu.stat")?;
        let count = |name: &str| table.get(name).copied().unwrap_or(0);
        let micros = |name: &str| Duration::from_micros(count(name));
        (out.periods, out.throttled_periods) = (count("nr_periods"), count("nr_throttled"));
        if files.version == Version::V1 {
            out.throttled = Duration::from_nanos(count("throttled_time"));
        } else {
            out.throttled = micros("throttled_usec");
            out.usage = micros("usage_usec");
            (out.user, out.system) = (micros("user_usec"), micros("system_usec"));
        }
        Ok(Some(out))
    }

    fn memory_stats(&self) -> Result<Option<MemoryStats>, CgroupError> {
        let Some(files) = self.files("memory") else {
            return Ok(None);
        };
        let v1 = files.version == Version::V1;
        let Some(usage) = files.number(files.pick("memory.usage_in_bytes", "memory.current"))?
        else {
            return Ok(None);
        };
        let detail = files.table("memory.stat")?;
        let inactive = files.pick("total_inactive_file", "inactive_file");
        let with_swap = |name| {
            files
                .number(name)
                .map(|n| n.map(|n| n.saturating_sub(usage)))
        };
        Ok(Some(MemoryStats {
            usage,
            working_set: usage.saturating_sub(detail.get(inactive).copied().unwrap_or(0)),
            limit: files.limit(files.pick("memory.limit_in_bytes", "memory.max"))?,
            peak: files.number(files.pick("memory.max_usage_in_bytes", "memory.peak"))?,
            swap: match v1 {
                true => with_swap("memory.memsw.usage_in_bytes")?,
                false => files.number("memory.swap.current")?,
            },
            failures: match v1 {
                // Where swap is limited with it, the sum of both is what stops a process.
                true => {
                    let failures = |name| files.number(name).map(|n| n.unwrap_or(0));
                    failures("memory.failcnt")? + failures("memory.memsw.failcnt")?
                }
                false => files
                    .table("memory.events")?
                    .get("max")
                    .copied()
                    .unwrap_or(0),
            },
            oom_kills: self.oom_kills()?,
            detail,
        }))
    }

    fn pids_stats(&self) -> Result<Option<PidsStats>, CgroupError> {
        let Some(files) = self.files("pids") else {
            return Ok(None);
        };
        let Some(current) = files.number("pids.current")? else {
            return Ok(None);
        };
        Ok(Some(PidsStats {
            current,
            limit: files.limit("pids.max")?,
        }))
    }

    fn io_stats(&self) -> Result<Vec<IoStats>, CgroupError> {
        let Some(files) = self.files("io") else {
            return Ok(Vec::new());
        };
        let read = |name| files.text(name).map(Option::unwrap_or_default);
        let mut devices = BTreeMap::new();
        if files.version == Version::V2 {
            io_v2(&read("io.stat")?, &mut devices);
        } else {
            let bytes = read("blkio.throttle.io_service_bytes_recursive")?;
            io_v1(&bytes, &mut devices, |io| {
                (&mut io.read_bytes, &mut io.write_bytes)
            });
            let count = read("blkio.throttle.io_serviced_recursive")?;
            io_v1(&count, &mut devices, |io| (&mut io.reads, &mut io.writes));
        }
        Ok(devices.into_values().collect())
    }

    fn hugetlb_stats(&self) -> Result<BTreeMap<String, HugetlbStats>, CgroupError> {
        let mut out = BTreeMap::new();
        let Some(files) = self.files("hugetlb") else {
            return Ok(out);
        };
        let suffix = files.pick(".usage_in_bytes", ".current");
        let entries = fs::read_dir(files.dir).map_err(|source| CgroupError::Read {
            file: files.dir.to_owned(),
            source,
        })?;
        for entry in entries.flatten() {
            let name = entry.file_name();
            let size = name.to_str().and_then(|name| name.strip_prefix("hugetlb."));
            let Some(size) = size.and_then(|name| name.strip_suffix(suffix)) else {
                continue;
            };
            // `hugetlb.2MB.rsvd.current` is about reservations.
            if size.contains('.') {
                continue;
            }
            let file = |last: &str| format!("hugetlb.{size}{last}");
            let failures = match files.version {
                Version::V1 => files.number(&file(".failcnt"))?.unwrap_or(0),
                Version::V2 => files
                    .table(&file(".events"))?
                    .get("max")
                    .copied()
                    .unwrap_or(0),
            };
            let stats = HugetlbStats {
                usage: files.number(&file(suffix))?.unwrap_or(0),
                peak: files.number(&file(".max_usage_in_bytes"))?,
                failures,
            };
            out.insert(size.to_owned(), stats);
        }
        Ok(out)
    }

    fn files(&self, controller: &str) -> Option<Files<'_>> {
        self.node(controller).map(Files::of)
    }

    fn unified_files(&self) -> Option<Files<'_>> {
        self.unified().map(Files::of)
    }
}

/// The one reader of numbers: a directory and how its files are called.
struct Files<'a> {
    dir: &'a Path,
    version: Version,
}

impl<'a> Files<'a> {
    fn of(node: &'a Node) -> Self {
        Self {
            dir: &node.dir,
            version: node.version,
        }
    }

    fn pick(&self, v1: &'static str, v2: &'static str) -> &'static str {
        match self.version {
            Version::V1 => v1,
            Version::V2 => v2,
        }
    }

    /// `None` if this kernel has no such file or the controller was not handed down.
    fn text(&self, name: &str) -> Result<Option<String>, CgroupError> {
        match read_file(&self.dir.join(name)) {
            Ok(text) => Ok(Some(text)),
            Err(CgroupError::Read { source, .. }) if is_missing(&source) && self.dir.is_dir() => {
                Ok(None)
            }
            Err(err) => Err(err),
        }
    }

    /// A file with one number; `max` and the like are none.
    fn number(&self, name: &str) -> Result<Option<u64>, CgroupError> {
        Ok(self.text(name)?.and_then(|text| text.trim().parse().ok()))
    }

    fn limit(&self, name: &str) -> Result<Option<u64>, CgroupError> {
        Ok(self.number(name)?.filter(|&limit| limit < V1_UNLIMITED))
    }

    /// A file with lines of `name number`.
    fn table(&self, name: &str) -> Result<BTreeMap<String, u64>, CgroupError> {
        Ok(table(&self.text(name)?.unwrap_or_default()))
    }
}

fn table(text: &str) -> BTreeMap<String, u64> {
    let pairs = text.lines().filter_map(|line| line.split_once(' '));
    pairs
        .filter_map(|(name, n)| Some((name.to_owned(), n.trim().parse().ok()?)))
        .collect()
}

/// v1 counts in the cgroup of the victim only, so those below are added up.
fn oom_kills_v1(dir: &Path) -> Result<u64, CgroupError> {
    let control = table(&read_file(&dir.join("memory.oom_control"))?);
    let mut sum = control.get("oom_kill").copied().unwrap_or(0);
    for child in subdirs(dir)? {
        sum += match oom_kills_v1(&dir.join(child)) {
            // Removed while we were looking.
            Err(CgroupError::Read { source, .. }) if processes::gone(&source) => 0,
            other => other?,
        };
    }
    Ok(sum)
}

type Devices = BTreeMap<(u32, u32), IoStats>;

/// `254:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6`
fn io_v2(text: &str, devices: &mut Devices) {
    for line in text.lines() {
        let mut words = line.split(' ');
        let Some(io) = words.next().and_then(|id| device(id, devices)) else {
            continue;
        };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let slot = match key {
                "rbytes" => &mut io.read_bytes,
                "wbytes" => &mut io.write_bytes,
                "rios" => &mut io.reads,
                "wios" => &mut io.writes,
                _ => continue,
            };
            *slot = value.parse().unwrap_or(0);
        }
    }
}

/// `254:0 Read 4096`, and at the end `Total 4096`.
fn io_v1(text: &str, devices: &mut Devices, slots: fn(&mut IoStats) -> (&mut u64, &mut u64)) {
    for line in text.lines() {
        let mut words = line.split(' ');
        let (Some(id), Some(what), Some(n)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let Some(io) = device(id, devices) else {
            continue;
        };
        let (read, written) = slots(io);
        match what {
            "Read" => *read = n.parse().unwrap_or(0),
            "Write" => *written = n.parse().unwrap_or(0),
            _ => {}
        }
    }
}

fn device<'a>(id: &str, devices: &'a mut Devices) -> Option<&'a mut IoStats> {
    let (major, minor) = id.split_once(':')?;
    let (major, minor) = (major.parse().ok()?, minor.parse().ok()?);
    let entry = devices.entry((major, minor));
    Some(entry.or_insert_with(|| IoStats {
        major,
        minor,
        ..IoStats::default()
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_of_block_io() {
        let mut v1 = Devices::new();
        io_v1(
            "254:0 Read 4096\n254:0 Write 8192\n254:0 Total 12288\nTotal 12288\n",
            &mut v1,
            |io| (&mut io.read_bytes, &mut io.write_bytes),
        );
        io_v1("254:0 Read 1\n254:0 Write 2\n", &mut v1, |io| {
            (&mut io.reads, &mut io.writes)
        });
        let mut v2 = Devices::new();
        io_v2(
            "254:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=7 dios=9\nnonsense\n",
            &mut v2,
        );
        let want = IoStats {
            major: 254,
            minor: 0,
            read_bytes: 4096,
            write_bytes: 8192,
            reads: 1,
            writes: 2,
        };
        assert_eq!(v1, [((254, 0), want)].into());
        assert_eq!(v2, v1);
    }

    #[test]
    fn tables_skip_what_is_no_number() {
        let got = table("oom_kill_disable 0\nunder_oom 0\noom_kill 3\nodd line here\n");
        let want = [("oom_kill", 3), ("oom_kill_disable", 0), ("under_oom", 0)];
        assert_eq!(got, want.map(|(name, n)| (name.to_owned(), n)).into());
    }
}
