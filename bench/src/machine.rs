//! What was measured on: numbers without it mean little.

use std::path::Path;
use std::process::Command;

/// Facts about this machine, a line each.
pub(crate) fn facts() -> Vec<String> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let cores = cpuinfo
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name"));
    let model = model
        .unwrap_or(": unknown")
        .trim_start_matches([' ', '\t', ':'])
        .to_owned();
    let meminfo = read("/proc/meminfo");
    let memory = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"));
    let memory: u64 = memory
        .and_then(|text| text.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0);
    let release = read("/etc/os-release");
    let name = release
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="));
    vec![
        format!(
            "{}, Linux {}",
            name.unwrap_or("?").trim_matches('"'),
            read("/proc/sys/kernel/osrelease").trim()
        ),
        format!(
            "{cores} cores ({model}), {} GiB of memory, cgroups: {}",
            memory >> 20,
            cgroups()
        ),
        format!("load when it began: {}", read("/proc/loadavg").trim()),
    ]
}

/// How busy the machine is now, for the end of a run.
pub(crate) fn load() -> String {
    std::fs::read_to_string("/proc/loadavg")
        .unwrap_or_default()
        .trim()
        .to_owned()
}

fn cgroups() -> &'static str {
    let unified = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    let hybrid = Path::new("/sys/fs/cgroup/unified").exists();
    match (unified, hybrid) {
        (true, _) => "v2",
        (false, true) => "v1 with a v2 tree beside it (hybrid)",
        (false, false) => "v1",
    }
}

/// The peers that are here.
pub(crate) fn peers() -> String {
    let peers = ["crun", "runc", "youki", "conmon", "podman", "tar"];
    let versions: Vec<_> = peers.iter().filter_map(|peer| version(peer)).collect();
    format!("peers: {}", versions.join(", "))
}

/// The first line that a program says of its version, if it is here.
fn version(program: &str) -> Option<String> {
    let output = Command::new(crate::bed::find(program)?)
        .arg("--version")
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Some(text.lines().next().unwrap_or(program).trim().to_owned())
}
