//! `Summary` of `stats/v1alpha1`, as metrics-server and `kubectl top` know it.
use super::rates::{HOST, Rates, key};
use super::reading::{ContainerReading, Device, Host, PodReading, Use};
use crate::housekeeping::measure::FileSystem;
use jiff::Timestamp;
use serde_json::{Value, json};

/// All of it.
pub(super) fn summary(node: &str, host: &Host, pods: &[PodReading], rates: &Rates) -> Value {
    let (used, working_set) = host.memory_used();
    let at = host.at;
    let mut out = json!({
        "node": {
            "nodeName": node,
            "startTime": host.booted,
            "cpu": {"time": at, "usageNanoCores": rates.of(HOST),
                "usageCoreNanoSeconds": nanos(host.cpu)},
            "memory": {"time": at, "availableBytes": host.memory("MemTotal").saturating_sub(working_set),
                "usageBytes": used, "workingSetBytes": working_set, "rssBytes": host.memory("AnonPages"),
                "pageFaults": host.faults.0, "majorPageFaults": host.faults.1},
            "swap": {"time": at, "swapAvailableBytes": host.memory("SwapFree"),
                "swapUsageBytes": host.memory("SwapTotal").saturating_sub(host.memory("SwapFree"))},
            "network": network(&host.network, at),
            "fs": whole(&host.nodefs, at),
            "runtime": {"imageFs": whole(&host.imagefs, at), "containerFs": whole(&host.nodefs, at)},
            "rlimit": {"time": at, "maxpid": host.pids.0, "curproc": host.pids.1},
        },
        "pods": pods.iter().map(|pod| one(pod, rates)).collect::<Vec<_>>(),
    });
    without_nulls(&mut out);
    out
}

fn one(pod: &PodReading, rates: &Rates) -> Value {
    let record = &pod.pod.record;
    let at = pod
        .used
        .as_ref()
        .map_or_else(Timestamp::now, |used| used.at);
    let part = |used: (u64, u64)| pod.file_system.map(|system| part(&system, used, at));
    let container = |one: &ContainerReading| {
        json!({
            "name": one.name,
            "startTime": one.started,
            "cpu": cpu(&one.used, rates.of(&key(pod, &one.name))),
            "memory": memory(&one.used),
            "swap": swap(&one.used),
            "rootfs": one.disk.and_then(|(root, _)| part(root)),
            "logs": one.disk.and_then(|(_, logs)| part(logs)),
        })
    };
    let volumes = pod.volumes.iter().filter_map(|(name, used)| {
        let mut volume = part(*used)?;
        volume["name"] = json!(name);
        Some(volume)
    });
    let pids = pod.used.as_ref().and_then(|used| used.stats.pids.as_ref());
    json!({
        "podRef": {"name": record.name(), "namespace": record.namespace(), "uid": record.uid()},
        "startTime": pod.pod.state.start_time,
        "containers": pod.containers.iter().map(container).collect::<Vec<_>>(),
        "cpu": pod.used.as_ref().map(|used| cpu(used, rates.of(&pod.cgroup))),
        "memory": pod.used.as_ref().map(memory),
        "swap": pod.used.as_ref().map(swap),
        "network": network(&pod.network, at),
        "volume": volumes.collect::<Vec<_>>(),
        "ephemeral-storage": ephemeral(pod).and_then(part),
        "process_stats": {"process_count": pids.map(|pids| pids.current)},
    })
}

/// What containers have written, their logs, and volumes on disk; none if nothing was counted.
fn ephemeral(pod: &PodReading) -> Option<(u64, u64)> {
    let containers = pod.containers.iter().filter_map(|one| one.disk);
    let parts = containers.flat_map(|(root, logs)| [root, logs]);
    let all = parts.chain(pod.volumes.iter().map(|(_, used)| *used));
    all.reduce(|sum, more| (sum.0 + more.0, sum.1 + more.1))
}

fn cpu(used: &Use, rate: Option<u64>) -> Value {
    let total = used.stats.cpu.as_ref().map(|cpu| nanos(cpu.usage));
    json!({"time": used.at, "usageNanoCores": rate, "usageCoreNanoSeconds": total})
}

fn memory(used: &Use) -> Value {
    let memory = used.stats.memory.as_ref();
    let working_set = memory.map(|memory| memory.working_set);
    let available = memory
        .and_then(|memory| memory.limit)
        .map(|limit| limit.saturating_sub(working_set.unwrap_or(0)));
    json!({"time": used.at, "availableBytes": available,
        "usageBytes": memory.map(|memory| memory.usage), "workingSetBytes": working_set,
        "rssBytes": used.detail("anon", "total_rss"), "pageFaults": used.detail("pgfault", "total_pgfault"),
        "majorPageFaults": used.detail("pgmajfault", "total_pgmajfault")})
}

fn swap(used: &Use) -> Value {
    let swap = used.stats.memory.as_ref().and_then(|memory| memory.swap);
    json!({"time": used.at, "swapUsageBytes": swap.unwrap_or(0)})
}

fn network(devices: &[Device], at: Timestamp) -> Value {
    let Some(first) = devices.first() else {
        return Value::Null;
    };
    let mut out = device(first);
    out["time"] = json!(at);
    out["interfaces"] = devices.iter().map(device).collect();
    out
}

fn device(device: &Device) -> Value {
    json!({"name": device.name, "rxBytes": device.received[0], "rxErrors": device.received[2],
        "txBytes": device.sent[0], "txErrors": device.sent[2]})
}

fn whole(system: &FileSystem, at: Timestamp) -> Value {
    let used = system.bytes.capacity.saturating_sub(system.bytes.available);
    let inodes = system.inodes.0.saturating_sub(system.inodes.1);
    part(system, (used, inodes), at)
}

/// Part of a file system: so many bytes and files.
fn part(system: &FileSystem, (bytes, inodes): (u64, u64), at: Timestamp) -> Value {
    json!({"time": at, "availableBytes": system.bytes.available, "capacityBytes": system.bytes.capacity,
        "usedBytes": bytes, "inodesFree": system.inodes.1, "inodes": system.inodes.0, "inodesUsed": inodes})
}

fn nanos(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// What is not known is left out, as the type has it.
fn without_nulls(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(without_nulls);
        }
        Value::Array(all) => all.iter_mut().for_each(without_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
