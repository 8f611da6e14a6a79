//! `/spec/`: the machine, as cAdvisor's MachineInfo has it.
use super::Api;
use super::request_error::RequestError;
use crate::housekeeping::measure::{self, HostInfo};
use crate::paths::Paths;
use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/spec", get(spec))
        .route("/spec/", get(spec))
}

async fn spec(State(api): State<Api>) -> Result<Json<Value>, RequestError> {
    let paths = api.kubelet.node.paths.clone();
    match tokio::task::spawn_blocking(move || machine(&paths)).await {
        Ok(Ok(machine)) => Ok(Json(machine)),
        Ok(Err(err)) => Err(RequestError::internal(&err)),
        Err(err) => Err(RequestError::internal(&err)),
    }
}

fn machine(paths: &Paths) -> io::Result<Value> {
    let info = HostInfo::read();
    let cpus = Processors::parse(&fs_err::read_to_string("/proc/cpuinfo")?);
    let (memory, _) = measure::memory()?;
    let disk = measure::file_system(&paths.root)?;
    let topology = cpus.sockets.iter().map(|(socket, cores)| {
        let cores = cores.iter().map(
            |(core, threads)| json!({"core_id": core, "thread_ids": threads, "socket_id": socket}),
        );
        json!({"node_id": socket, "memory": memory, "cores": cores.collect::<Vec<_>>()})
    });
    Ok(json!({
        "num_cores": cpus.count,
        "num_physical_cores": cpus.sockets.values().map(BTreeMap::len).sum::<usize>(),
        "num_sockets": cpus.sockets.len(),
        "cpu_frequency_khz": cpus.khz,
        "memory_capacity": memory,
        "machine_id": info.machine_id,
        "system_uuid": info.system_uuid,
        "boot_id": info.boot_id,
        "kernel_version": info.kernel,
        "os_image": info.os_image,
        "architecture": info.architecture,
        "filesystems": [{"device": paths.root, "capacity": disk.bytes.capacity, "type": "vfs",
            "inodes": disk.inodes.0, "has_inodes": disk.inodes.0 > 0}],
        "network_devices": devices(),
        "topology": topology.collect::<Vec<_>>(),
        "cloud_provider": "Unknown",
        "instance_type": "Unknown",
        "instance_id": "None",
    }))
}

fn devices() -> Vec<Value> {
    let Ok(entries) = fs_err::read_dir("/sys/class/net") else {
        return Vec::new();
    };
    let mut names: BTreeSet<_> = entries.flatten().map(|entry| entry.file_name()).collect();
    names.remove(std::ffi::OsStr::new("lo"));
    let device = |name: std::ffi::OsString| {
        let dir = std::path::Path::new("/sys/class/net").join(&name);
        let read = |file: &str| fs_err::read_to_string(dir.join(file)).unwrap_or_default();
        let speed: i64 = read("speed").trim().parse().unwrap_or(0);
        json!({"name": name.to_string_lossy(), "mac_address": read("address").trim(),
            "mtu": read("mtu").trim().parse::<u64>().unwrap_or(0), "speed": speed.max(0)})
    };
    names.into_iter().map(device).collect()
}

/// What /proc/cpuinfo says: threads by core by socket.
#[derive(Debug, Default, PartialEq)]
struct Processors {
    count: usize,
    khz: u64,
    sockets: BTreeMap<u64, BTreeMap<u64, Vec<u64>>>,
}

impl Processors {
    fn parse(text: &str) -> Self {
        let mut out = Processors::default();
        for block in text.split("\n\n") {
            let field = |name: &str| {
                let rows = block.lines().filter_map(|line| line.split_once(':'));
                let mut same = rows.filter(|(key, _)| key.trim() == name);
                same.next().map(|(_, value)| value.trim())
            };
            let number = |name: &str| field(name).and_then(|value| value.parse::<u64>().ok());
            let Some(thread) = number("processor") else {
                continue;
            };
            out.count += 1;
            // Machines that do not say have one socket and a core for every thread.
            let socket = number("physical id").unwrap_or(0);
            let core = number("core id").unwrap_or(thread);
            let cores = out.sockets.entry(socket).or_default();
            cores.entry(core).or_default().push(thread);
            if out.khz == 0 {
                out.khz = field("cpu MHz").and_then(khz).unwrap_or(0);
            }
        }
        out
    }
}

/// `2794.748` megahertz.
fn khz(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let part: String = part.chars().chain("000".chars()).take(3).collect();
    Some(whole.parse::<u64>().ok()? * 1000 + part.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors() {
        let x86 = "processor\t: 0\ncpu MHz\t\t: 2794.75\nphysical id\t: 0\ncore id\t\t: 0\n\n\
            processor\t: 1\nphysical id\t: 0\ncore id\t\t: 0\n\nprocessor\t: 2\nphysical id\t: 1\ncore id\t: 0\n\n";
        let found = Processors::parse(x86);
        assert_eq!(
            (found.count, found.khz, found.sockets.len()),
            (3, 2_794_750, 2)
        );
        assert_eq!(found.sockets[&0][&0], [0, 1]);
        let arm =
            Processors::parse("processor\t: 0\nBogoMIPS: 50\n\nprocessor\t: 1\n\nHardware: x\n");
        assert_eq!((arm.count, arm.sockets[&0].len()), (2, 2));
        let here = machine(&Paths {
            root: "/".into(),
            ..Paths::default()
        });
        let here = here.unwrap();
        assert!(here["num_cores"].as_u64() > Some(0) && here["memory_capacity"].as_u64() > Some(0));
    }
}
