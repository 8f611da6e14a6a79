//! Reading the kernel's counters, and what two readings say.
use crate::paths::Paths;
use crate::state::StoredPod;
use crate::worker::cgroup_of;
use rkube_runtime::cgroup::{Cgroup, Hierarchies, Stats};
use rkube_runtime::supervisor::Supervisor;
use serde::Serialize;
use std::path::Path;
use std::time::Instant;

/// One reading of one container.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pod: String,
    container: String,
    at: Instant,
    stats: Stats,
    network: Option<(u64, u64)>,
}

/// What a container uses.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Usage {
    /// `namespace/name`.
    pub(super) pod: String,
    pub(super) container: String,
    /// Of one core, between the two readings.
    pub(super) cpu_percent: Option<f64>,
    /// Since the container's cgroup was made.
    pub(super) cpu_seconds: Option<f64>,
    /// The share of scheduling periods in which it was held back, between the two readings.
    pub(super) throttled_percent: Option<f64>,
    /// The working set.
    pub(super) memory_bytes: Option<u64>,
    pub(super) memory_limit_bytes: Option<u64>,
    pub(super) pids: Option<u64>,
    pub(super) pids_limit: Option<u64>,
    pub(super) oom_kills: u64,
    /// Of the whole pod, since it was plugged in.
    pub(super) network_in_bytes: Option<u64>,
    pub(super) network_out_bytes: Option<u64>,
}

impl Sample {
    /// Reads all containers of a pod that run.
    pub(super) fn of_pod(paths: &Paths, pod: &StoredPod, hierarchies: &Hierarchies) -> Vec<Self> {
        let record = &pod.record;
        let spec = record.pod.spec.as_ref();
        let on_host = spec.and_then(|spec| spec.host_network).unwrap_or(false);
        let network = Supervisor::connect(&paths.pod_run(record.uid()))
            .ok()
            .filter(|_| !on_host)
            .and_then(|supervisor| {
                let table = format!("/proc/{}/net/dev", supervisor.pid());
                fs_err::read_to_string(table).ok()
            })
            .map(|table| traffic(&table));
        let parent = cgroup_of(&record.pod);
        let running = pod.state.containers.iter().filter(|one| one.running());
        let sample = |name: &str| {
            let cgroup = Cgroup::open(hierarchies, &Path::new(&parent).join(name)).ok()?;
            Some(Sample {
                pod: record.full_name(),
                container: name.to_owned(),
                stats: cgroup.stats().ok()?,
                at: Instant::now(),
                network,
            })
        };
        running.filter_map(|one| sample(&one.name)).collect()
    }
}

/// What was used between two readings. A container without a first one is new, and has no rates yet.
pub(super) fn usages(before: &[Sample], after: &[Sample]) -> Vec<Usage> {
    let usage = |now: &Sample| {
        let then = before
            .iter()
            .find(|then| then.pod == now.pod && then.container == now.container);
        usage(then, now)
    };
    after.iter().map(usage).collect()
}

fn usage(then: Option<&Sample>, now: &Sample) -> Usage {
    let memory = now.stats.memory.as_ref();
    let pids = now.stats.pids.as_ref();
    let cpu = now.stats.cpu.as_ref();
    let old = then.and_then(|then| Some((then, then.stats.cpu.as_ref()?)));
    let rates = cpu.zip(old).map(|(cpu, (then, old))| {
        let span = now.at.duration_since(then.at).as_secs_f64();
        let used = cpu.usage.saturating_sub(old.usage).as_secs_f64();
        let periods = cpu.periods.saturating_sub(old.periods);
        let held = cpu.throttled_periods.saturating_sub(old.throttled_periods);
        // A share of few periods is exact in a double.
        #[expect(
            clippy::cast_precision_loss,
            reason = "periods of 100 ms between two readings"
        )]
        let throttled = (periods > 0).then(|| held as f64 * 100.0 / periods as f64);
        let percent = (span > 0.0).then(|| used * 100.0 / span);
        (percent, throttled)
    });
    let (cpu_percent, throttled_percent) = rates.unwrap_or_default();
    Usage {
        pod: now.pod.clone(),
        container: now.container.clone(),
        cpu_percent,
        cpu_seconds: cpu.map(|cpu| cpu.usage.as_secs_f64()),
        throttled_percent,
        memory_bytes: memory.map(|memory| memory.working_set),
        memory_limit_bytes: memory.and_then(|memory| memory.limit),
        pids: pids.map(|pids| pids.current),
        pids_limit: pids.and_then(|pids| pids.limit),
        oom_kills: memory.map_or(0, |memory| memory.oom_kills),
        network_in_bytes: now.network.map(|(received, _)| received),
        network_out_bytes: now.network.map(|(_, sent)| sent),
    }
}

/// Bytes received and sent by all devices but the loopback, of /proc/net/dev.
fn traffic(table: &str) -> (u64, u64) {
    let devices = table.lines().filter_map(|line| line.split_once(':'));
    let others = devices.filter(|(name, _)| name.trim() != "lo");
    others.fold((0, 0), |(received, sent), (_, numbers)| {
        let column = |index| {
            let number = numbers.split_whitespace().nth(index);
            number
                .and_then(|number| number.parse::<u64>().ok())
                .unwrap_or(0)
        };
        (received + column(0), sent + column(8))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rkube_runtime::cgroup::Stats;
    use std::time::Duration;

    #[test]
    fn traffic_is_summed() {
        let table = "Inter-|   Receive  |  Transmit\n face |bytes    packets errs\n    \
            lo: 100 1 0 0 0 0 0 0 100 1 0 0 0 0 0 0\n  \
            eth0: 2000 4 0 0 0 0 0 0 300 2 0 0 0 0 0 0\n";
        assert_eq!(traffic(table), (2000, 300));
        assert_eq!(traffic(""), (0, 0));
    }

    #[test]
    fn rates_are_of_the_time_between() {
        let start = Instant::now();
        let sample = |millis, usage, periods, throttled| {
            let mut stats = Stats::default();
            let cpu = stats.cpu.get_or_insert_default();
            cpu.usage = Duration::from_millis(usage);
            cpu.periods = periods;
            cpu.throttled_periods = throttled;
            Sample {
                pod: "p".into(),
                container: "c".into(),
                at: start + Duration::from_millis(millis),
                stats,
                network: None,
            }
        };
        let used = usages(&[sample(0, 100, 10, 1)], &[sample(500, 850, 20, 6)]);
        assert_eq!(used[0].cpu_percent, Some(150.0));
        assert_eq!(used[0].throttled_percent, Some(50.0));
        assert_eq!(used[0].cpu_seconds, Some(0.85));
        // New since the first reading; or started again, with counters from nothing.
        assert_eq!(usages(&[], &[sample(500, 850, 0, 0)])[0].cpu_percent, None);
        let again = usages(&[sample(0, 900, 0, 0)], &[sample(500, 10, 0, 0)]);
        assert_eq!(again[0].cpu_percent, Some(0.0));
        assert_eq!(again[0].throttled_percent, None);
    }
}
