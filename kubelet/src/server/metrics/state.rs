//! What the kubelet knows of its pods and of itself, as of the moment that somebody asks.
use super::text::{Page, number, seconds};
use crate::serve::Kubelet;
use crate::state::{ContainerState, Phase};
use std::collections::BTreeMap;

/// Pods, containers, restarts, problems; and this process.
pub(super) fn page(kubelet: &Kubelet) -> String {
    let mut out = Page::default();
    let pods = kubelet.node.registry.list();
    let mut phases: BTreeMap<&str, u64> = BTreeMap::new();
    let mut states: BTreeMap<&str, u64> = BTreeMap::new();
    let mut ready = 0;
    for pod in &pods {
        *phases.entry(pod.state.phase.as_str()).or_default() += 1;
        for container in &pod.state.containers {
            let state = match container.state {
                ContainerState::Waiting { .. } => "waiting",
                ContainerState::Running { .. } => "running",
                ContainerState::Terminated(_) => "exited",
            };
            *states.entry(state).or_default() += 1;
            ready += u64::from(container.ready);
        }
    }
    let running = pods
        .iter()
        .filter(|pod| pod.state.phase == Phase::Running)
        .count();
    out.family("kubelet_running_pods", "gauge", "Pods that run");
    out.sample(&[], number(running as u64), None);
    out.family("kubelet_pods", "gauge", "Pods by phase");
    for (phase, count) in phases {
        out.sample(&[("phase", phase)], number(count), None);
    }
    out.family("kubelet_running_containers", "gauge", "Containers by state");
    for (state, count) in states {
        out.sample(&[("container_state", state)], number(count), None);
    }
    out.family(
        "kubelet_ready_containers",
        "gauge",
        "Containers that are ready",
    );
    out.sample(&[], number(ready), None);
    out.family(
        "kubelet_container_restarts_total",
        "counter",
        "Restarts of containers of pods that are here",
    );
    for pod in &pods {
        let (namespace, name) = (pod.record.namespace(), pod.record.name());
        for container in pod.state.containers.iter().filter(|one| one.restarts > 0) {
            let labels = [
                ("container", container.name.as_str()),
                ("namespace", namespace),
                ("pod", name),
            ];
            out.sample(&labels, f64::from(container.restarts), None);
        }
    }
    let problems = kubelet.problems.get();
    out.family(
        "kubelet_refused_pods",
        "gauge",
        "Pods that sources want and that are not let in",
    );
    out.sample(&[], number(problems.refused.len() as u64), None);
    out.family(
        "kubelet_source_problems",
        "gauge",
        "Places of sources that cannot be used",
    );
    out.sample(&[], number(problems.places.len() as u64), None);
    out.family("kubelet_node_name", "gauge", "The name of this node");
    out.sample(&[("node", &kubelet.node.name)], 1.0, None);
    process(&mut out);
    out.finish()
}

/// What client libraries say of a process.
fn process(out: &mut Page) {
    let Ok(stat) = fs_err::read_to_string("/proc/self/stat") else {
        return;
    };
    // The name, in brackets, may hold anything.
    let fields: Vec<u64> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .map(|field| field.parse().unwrap_or(0))
        .collect();
    let field = |number: usize| fields.get(number - 3).copied().unwrap_or(0);
    let ticks = number(rustix::param::clock_ticks_per_second().max(1));
    let page = rustix::param::page_size() as u64;
    out.family(
        "process_cpu_seconds_total",
        "counter",
        "Processor time of this kubelet",
    );
    out.sample(&[], (number(field(14)) + number(field(15))) / ticks, None);
    out.family(
        "process_resident_memory_bytes",
        "gauge",
        "Memory of this kubelet",
    );
    out.sample(&[], number(field(24) * page), None);
    if let Ok(entries) = fs_err::read_dir("/proc/self/fd") {
        out.family(
            "process_open_fds",
            "gauge",
            "Open descriptors of this kubelet",
        );
        out.sample(&[], number(entries.count() as u64), None);
    }
    let boot = fs_err::read_to_string("/proc/stat").unwrap_or_default();
    let boot = boot
        .lines()
        .find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok());
    let started = boot.and_then(|boot| jiff::Timestamp::from_second(boot).ok());
    if let Some(boot) = started {
        out.family(
            "process_start_time_seconds",
            "gauge",
            "When this kubelet was started",
        );
        out.sample(&[], seconds(boot) + number(field(22)) / ticks, None);
    }
}
