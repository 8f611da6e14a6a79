//! `/metrics/resource`, which metrics-server reads, and `/metrics/cadvisor`, which dashboards do.
use super::text::{KIND, Page, number, seconds};
use crate::server::Api;
use crate::server::request_error::RequestError;
use crate::server::stats::read;
use crate::server::stats::reading::{ContainerReading, Device, Host, PodReading, Use};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;

/// What metrics-server reads.
pub(super) async fn resource(State(api): State<Api>) -> Result<Response, RequestError> {
    let (host, pods) = read(&api, false).await?;
    Ok(page(resources(&host, &pods)))
}

/// What dashboards read.
pub(super) async fn cadvisor(State(api): State<Api>) -> Result<Response, RequestError> {
    let (host, pods) = read(&api, false).await?;
    Ok(page(containers(&host, &pods)))
}

fn page(page: Page) -> Response {
    ([(CONTENT_TYPE, KIND)], page.finish()).into_response()
}

fn cpu(used: &Use) -> Option<f64> {
    used.stats.cpu.as_ref().map(|cpu| cpu.usage.as_secs_f64())
}

fn working_set(used: &Use) -> Option<f64> {
    used.stats
        .memory
        .as_ref()
        .map(|memory| number(memory.working_set))
}

fn swap(used: &Use) -> Option<f64> {
    used.stats
        .memory
        .as_ref()
        .map(|memory| number(memory.swap.unwrap_or(0)))
}

/// Name, type, meaning, and where it comes from.
type Resource = (
    &'static str,
    &'static str,
    &'static str,
    fn(&Use) -> Option<f64>,
);

const OF_CONTAINERS: [Resource; 3] = [
    (
        "container_cpu_usage_seconds_total",
        "counter",
        "Cumulative cpu time consumed by the container in core-seconds",
        cpu,
    ),
    (
        "container_memory_working_set_bytes",
        "gauge",
        "Current working set of the container in bytes",
        working_set,
    ),
    (
        "container_swap_usage_bytes",
        "gauge",
        "Current amount of the container swap usage in bytes",
        swap,
    ),
];
const OF_PODS: [Resource; 3] = [
    (
        "pod_cpu_usage_seconds_total",
        "counter",
        "Cumulative cpu time consumed by the pod in core-seconds",
        cpu,
    ),
    (
        "pod_memory_working_set_bytes",
        "gauge",
        "Current working set of the pod in bytes",
        working_set,
    ),
    (
        "pod_swap_usage_bytes",
        "gauge",
        "Current amount of the pod swap usage in bytes",
        swap,
    ),
];

fn resources(host: &Host, pods: &[PodReading]) -> Page {
    let mut out = Page::default();
    let all = || {
        pods.iter()
            .flat_map(|pod| pod.containers.iter().map(move |one| (pod, one)))
    };
    for (name, kind, help, value) in OF_CONTAINERS {
        out.family(name, kind, help);
        for (pod, one) in all() {
            if let Some(value) = value(&one.used) {
                out.sample(&labels(pod, one), value, Some(one.used.at));
            }
        }
    }
    out.family(
        "container_start_time_seconds",
        "gauge",
        "Start time of the container since unix epoch in seconds",
    );
    for (pod, one) in all() {
        out.sample(&labels(pod, one), seconds(one.started), None);
    }
    for (name, kind, help, value) in OF_PODS {
        out.family(name, kind, help);
        for pod in pods {
            let record = &pod.pod.record;
            let labels = [("namespace", record.namespace()), ("pod", record.name())];
            let found = pod
                .used
                .as_ref()
                .and_then(|used| Some((used, value(used)?)));
            if let Some((used, value)) = found {
                out.sample(&labels, value, Some(used.at));
            }
        }
    }
    node(&mut out, host);
    out.family(
        "resource_scrape_error",
        "gauge",
        "1 if there was an error while getting container metrics, 0 otherwise",
    );
    out.sample(&[], 0.0, None);
    out
}

fn node(out: &mut Page, host: &Host) {
    let swapped = host
        .memory("SwapTotal")
        .saturating_sub(host.memory("SwapFree"));
    for (name, kind, help, value) in [
        (
            "node_cpu_usage_seconds_total",
            "counter",
            "Cumulative cpu time consumed by the node in core-seconds",
            host.cpu.as_secs_f64(),
        ),
        (
            "node_memory_working_set_bytes",
            "gauge",
            "Current working set of the node in bytes",
            number(host.memory_used().1),
        ),
        (
            "node_swap_usage_bytes",
            "gauge",
            "Current swap usage of the node in bytes",
            number(swapped),
        ),
    ] {
        out.family(name, kind, help);
        out.sample(&[], value, Some(host.at));
    }
}

fn labels<'a>(pod: &'a PodReading, one: &'a ContainerReading) -> [(&'static str, &'a str); 3] {
    let record = &pod.pod.record;
    [
        ("container", one.name.as_str()),
        ("namespace", record.namespace()),
        ("pod", record.name()),
    ]
}

/// A number of a container, by the name that cAdvisor has for it.
type Number = (&'static str, &'static str, fn(&Use) -> Option<f64>);

const NUMBERS: [Number; 12] = [
    ("container_cpu_usage_seconds_total", "counter", cpu),
    ("container_cpu_user_seconds_total", "counter", |used| {
        Some(used.stats.cpu.as_ref()?.user.as_secs_f64())
    }),
    ("container_cpu_system_seconds_total", "counter", |used| {
        Some(used.stats.cpu.as_ref()?.system.as_secs_f64())
    }),
    ("container_cpu_cfs_periods_total", "counter", |used| {
        Some(number(used.stats.cpu.as_ref()?.periods))
    }),
    (
        "container_cpu_cfs_throttled_periods_total",
        "counter",
        |used| Some(number(used.stats.cpu.as_ref()?.throttled_periods)),
    ),
    ("container_memory_usage_bytes", "gauge", |used| {
        Some(number(used.stats.memory.as_ref()?.usage))
    }),
    ("container_memory_working_set_bytes", "gauge", working_set),
    ("container_memory_rss", "gauge", |used| {
        used.detail("anon", "total_rss").map(number)
    }),
    ("container_memory_cache", "gauge", |used| {
        used.detail("file", "total_cache").map(number)
    }),
    ("container_spec_memory_limit_bytes", "gauge", |used| {
        Some(number(used.stats.memory.as_ref()?.limit.unwrap_or(0)))
    }),
    ("container_oom_events_total", "counter", |used| {
        Some(number(used.stats.memory.as_ref()?.oom_kills))
    }),
    ("container_processes", "gauge", |used| {
        Some(number(used.stats.pids.as_ref()?.current))
    }),
];

/// A number of a network device.
type Traffic = (&'static str, fn(&Device) -> u64);

const TRAFFIC: [Traffic; 8] = [
    ("container_network_receive_bytes_total", |device| {
        device.received[0]
    }),
    ("container_network_receive_packets_total", |device| {
        device.received[1]
    }),
    ("container_network_receive_errors_total", |device| {
        device.received[2]
    }),
    (
        "container_network_receive_packets_dropped_total",
        |device| device.received[3],
    ),
    ("container_network_transmit_bytes_total", |device| {
        device.sent[0]
    }),
    ("container_network_transmit_packets_total", |device| {
        device.sent[1]
    }),
    ("container_network_transmit_errors_total", |device| {
        device.sent[2]
    }),
    (
        "container_network_transmit_packets_dropped_total",
        |device| device.sent[3],
    ),
];

fn containers(host: &Host, pods: &[PodReading]) -> Page {
    let mut out = Page::default();
    for (name, kind, value) in NUMBERS {
        out.family(
            name,
            kind,
            "Of a container, or of a whole pod where container is empty",
        );
        for pod in pods {
            let record = &pod.pod.record;
            let (namespace, name) = (record.namespace(), record.name());
            let own = pod
                .used
                .iter()
                .map(|used| ("", "", pod.cgroup.clone(), used));
            let all = pod.containers.iter().map(|one| {
                (
                    one.name.as_str(),
                    one.image.as_str(),
                    format!("{}/{}", pod.cgroup, one.name),
                    &one.used,
                )
            });
            for (container, image, id, used) in own.chain(all) {
                if let Some(value) = value(used) {
                    let labels = [
                        ("container", container),
                        ("id", &id),
                        ("image", image),
                        ("name", container),
                        ("namespace", namespace),
                        ("pod", name),
                    ];
                    out.sample(&labels, value, Some(used.at));
                }
            }
        }
    }
    for (name, value) in TRAFFIC {
        out.family(name, "counter", "Of a pod's network device");
        for pod in pods {
            let record = &pod.pod.record;
            for device in &pod.network {
                let labels = [
                    ("container", "POD"),
                    ("id", pod.cgroup.as_str()),
                    ("interface", device.name.as_str()),
                    ("namespace", record.namespace()),
                    ("pod", record.name()),
                ];
                out.sample(&labels, number(value(device)), None);
            }
        }
    }
    out.family("machine_memory_bytes", "gauge", "Memory of the machine");
    out.sample(&[], number(host.memory("MemTotal")), None);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    out.family("machine_cpu_cores", "gauge", "Processors of the machine");
    out.sample(&[], number(cores as u64), None);
    out
}
