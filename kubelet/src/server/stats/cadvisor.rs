//! `ContainerInfo`, as cAdvisor wrote it: one reading each.
use super::reading::{Device, Host, PodReading, Use};
use jiff::Timestamp;
use serde_json::{Value, json};

/// The container; none if it does not run.
pub(super) fn container(pod: &PodReading, name: &str) -> Option<Value> {
    let one = pod.containers.iter().find(|one| one.name == name)?;
    let id = format!("/{}/{name}", pod.cgroup.trim_start_matches('/'));
    let memory = one.used.stats.memory.as_ref();
    // No limit is the largest number, as cgroups have it.
    let limit = memory.and_then(|memory| memory.limit).unwrap_or(u64::MAX);
    Some(json!({
        "name": id,
        "aliases": [name, id],
        "namespace": "rkube",
        "spec": {"creation_time": one.started, "has_cpu": true, "cpu": {"limit": 1024, "max_limit": 0},
            "has_memory": true, "memory": {"limit": limit}, "has_network": !pod.network.is_empty(),
            "has_filesystem": false, "has_diskio": false, "image": one.image},
        "stats": [stats(&one.used, &pod.network)],
    }))
}

/// The host.
pub(super) fn host(host: &Host) -> Value {
    let (usage, working_set) = host.memory_used();
    let total = u64::try_from(host.cpu.as_nanos()).unwrap_or(u64::MAX);
    json!({
        "name": "/",
        "spec": {"creation_time": host.booted, "has_cpu": true, "has_memory": true, "has_network": true,
            "memory": {"limit": host.memory("MemTotal")}, "has_filesystem": true},
        "stats": [{
            "timestamp": host.at,
            "cpu": {"usage": {"total": total}},
            "memory": {"usage": usage, "working_set": working_set, "cache": host.memory("Cached"),
                "rss": host.memory("AnonPages")},
            "network": network(&host.network),
            "filesystem": [{"device": host.nodefs.device.to_string(), "type": "vfs",
                "capacity": host.nodefs.bytes.capacity,
                "usage": host.nodefs.bytes.capacity.saturating_sub(host.nodefs.bytes.available),
                "available": host.nodefs.bytes.available}],
        }],
    })
}

fn stats(used: &Use, devices: &[Device]) -> Value {
    let at: Timestamp = used.at;
    let nanos =
        |duration: std::time::Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let cpu = used.stats.cpu.clone().unwrap_or_default();
    let memory = used.stats.memory.clone().unwrap_or_default();
    let pids = used.stats.pids.as_ref().map_or(0, |pids| pids.current);
    json!({
        "timestamp": at,
        "cpu": {
            "usage": {"total": nanos(cpu.usage), "user": nanos(cpu.user), "system": nanos(cpu.system)},
            "cfs": {"periods": cpu.periods, "throttled_periods": cpu.throttled_periods,
                "throttled_time": nanos(cpu.throttled)},
        },
        "memory": {"usage": memory.usage, "max_usage": memory.peak.unwrap_or(0),
            "working_set": memory.working_set, "failcnt": memory.failures, "swap": memory.swap.unwrap_or(0),
            "cache": used.detail("file", "total_cache").unwrap_or(0),
            "rss": used.detail("anon", "total_rss").unwrap_or(0)},
        "network": network(devices),
        "processes": {"process_count": pids},
    })
}

fn network(devices: &[Device]) -> Value {
    let one = |device: &Device| {
        json!({"name": device.name, "rx_bytes": device.received[0], "rx_packets": device.received[1],
            "rx_errors": device.received[2], "rx_dropped": device.received[3], "tx_bytes": device.sent[0],
            "tx_packets": device.sent[1], "tx_errors": device.sent[2], "tx_dropped": device.sent[3]})
    };
    let mut out = devices.first().map_or_else(|| json!({}), one);
    out["interfaces"] = devices.iter().map(one).collect();
    out
}
