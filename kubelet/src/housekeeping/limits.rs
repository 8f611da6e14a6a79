//! Limits that the node sets: for every pod, and for all pods of a class together.
//!
//! ```text
//! kubepods                 what the node has, less what is reserved
//!   burstable              CPU shares of what its pods ask for
//!   besteffort             the least share
//!     pod<uid>             what its containers ask for and may have; processes
//! ```
use super::eviction::request;
use super::node::Resources;
use crate::config::KubeletConfig;
use crate::translate::resources::{quota_of, shares_of};
use k8s_openapi::api::core::v1::{Container, PodSpec};
use oci_spec::OciSpecError;
use oci_spec::runtime::{
    LinuxCpuBuilder, LinuxMemoryBuilder, LinuxPidsBuilder, LinuxResources, LinuxResourcesBuilder,
};
use rkube_api::qos::{QosClass, class};
use rkube_api::quantity::Quantity;
use rkube_runtime::cgroup::{Cgroup, CgroupError, Hierarchies};
use rkube_runtime::supervisor::LogLimits;
use std::path::Path;

/// The parent of all pods' cgroups.
pub const ROOT: &str = "kubepods";
/// The period that CPU limits are counted in, in microseconds.
const CPU_PERIOD: u64 = 100_000;
/// What the supervisor needs beside the containers, in bytes; it also writes their logs.
const SUPERVISOR_MEMORY: i64 = 4 << 20;
/// cgroups' word for no limit.
const UNLIMITED: i64 = -1;

/// What holds for every pod of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodLimits {
    /// How large a container's log may grow.
    pub log: LogLimits,
    /// Processes and threads of a pod.
    pub pids: Option<i64>,
    /// Tries of a container that have ended and whose files and logs are kept.
    pub kept_tries: u32,
}

impl Default for PodLimits {
    fn default() -> Self {
        PodLimits {
            log: LogLimits::default(),
            pids: None,
            kept_tries: crate::config::Extras::default().maximum_dead_containers_per_container,
        }
    }
}

impl PodLimits {
    /// As configured. A size that cannot be read is the default one: the configuration's own check has said so.
    #[must_use]
    pub fn of(config: &KubeletConfig) -> Self {
        let size = config.container_log_max_size.parse::<Quantity>().ok();
        let size = size.and_then(|size| u64::try_from(size.units()).ok());
        PodLimits {
            log: LogLimits {
                size: size
                    .filter(|size| *size > 0)
                    .unwrap_or(LogLimits::default().size),
                files: config.container_log_max_files.max(1),
            },
            pids: Some(config.pod_pids_limit).filter(|limit| *limit > 0),
            kept_tries: config.rkube.maximum_dead_containers_per_container,
        }
    }
}

/// The limits of a pod's own cgroup, by what its containers ask for and may have.
///
/// # Errors
/// Never with these values; the builder's signature says so.
pub fn of_pod(spec: &PodSpec, pids: Option<i64>) -> Result<LinuxResources, OciSpecError> {
    let asked = i64::try_from(request(spec, "cpu")).unwrap_or(i64::MAX);
    let mut cpu = LinuxCpuBuilder::default().shares(match class(spec) {
        QosClass::BestEffort => 2,
        QosClass::Guaranteed | QosClass::Burstable => shares_of(asked),
    });
    if let Some(limit) = limit(spec, "cpu") {
        cpu = cpu.period(CPU_PERIOD).quota(quota_of(limit));
    }
    let mut resources = LinuxResourcesBuilder::default().cpu(cpu.build()?);
    if let Some(limit) = limit(spec, "memory") {
        let bytes = limit.saturating_add(SUPERVISOR_MEMORY);
        let memory = LinuxMemoryBuilder::default().limit(bytes).swap(bytes);
        resources = resources.memory(memory.build()?);
    }
    if let Some(pids) = pids {
        resources = resources.pids(LinuxPidsBuilder::default().limit(pids).build()?);
    }
    resources.build()
}

/// What the pod may have of a resource in all: known only where every container has a limit, or the pod itself has.
pub(crate) fn limit(spec: &PodSpec, resource: &str) -> Option<i64> {
    let units = |quantity: Quantity| match resource {
        "cpu" => quantity.milli(),
        _ => quantity.units(),
    };
    let read = |limits: Option<&std::collections::BTreeMap<String, _>>| {
        let quantity: &k8s_openapi::apimachinery::pkg::api::resource::Quantity =
            limits?.get(resource)?;
        quantity.0.parse::<Quantity>().ok().map(units)
    };
    let of = |container: &Container| read(container.resources.as_ref()?.limits.as_ref());
    let own = spec
        .resources
        .as_ref()
        .and_then(|own| read(own.limits.as_ref()));
    if own.is_some() {
        return own;
    }
    let mains = sum(spec.containers.iter().map(of))?;
    let (mut sidecars, mut most) = (0_i64, 0_i64);
    for init in spec.init_containers.iter().flatten() {
        let limit = of(init)?;
        if init.restart_policy.as_deref() == Some("Always") {
            sidecars = sidecars.saturating_add(limit);
            most = most.max(sidecars);
        } else {
            most = most.max(sidecars.saturating_add(limit));
        }
    }
    let all = mains.saturating_add(sidecars).max(most);
    (all > 0).then_some(all)
}

fn sum(limits: impl Iterator<Item = Option<i64>>) -> Option<i64> {
    limits.sum::<Option<i64>>()
}

/// The parents' cgroups and their limits, for the pods that are not over. `most` is what pods may have together; none
/// where that is not enforced.
///
/// # Errors
/// Never with these values; the builder's signature says so.
pub fn of_parents<'a>(
    pods: impl Iterator<Item = &'a PodSpec>,
    cpu_milli: u64,
    most: Option<Resources>,
) -> Result<[(&'static str, LinuxResources); 3], OciSpecError> {
    let signed = |units: u64| i64::try_from(units).unwrap_or(i64::MAX);
    let burstable = pods
        .filter(|spec| class(spec) == QosClass::Burstable)
        .fold(0_u64, |sum, spec| sum.saturating_add(request(spec, "cpu")));
    let shares = |shares: u64| {
        let cpu = LinuxCpuBuilder::default().shares(shares).build()?;
        LinuxResourcesBuilder::default().cpu(cpu).build()
    };
    let memory = most.map_or(UNLIMITED, |most| signed(most.memory));
    let pids = most.map_or(UNLIMITED, |most| signed(most.pids));
    let mut root = shares(shares_of(signed(cpu_milli)))?;
    root.set_memory(Some(LinuxMemoryBuilder::default().limit(memory).build()?));
    root.set_pids(Some(LinuxPidsBuilder::default().limit(pids).build()?));
    Ok([
        (ROOT, root),
        ("kubepods/burstable", shares(shares_of(signed(burstable)))?),
        ("kubepods/besteffort", shares(2)?),
    ])
}

/// Makes the cgroup if need be, and limits it.
///
/// # Errors
/// Names the file that could not be written.
pub fn apply(
    hierarchies: &Hierarchies,
    path: &str,
    limits: &LinuxResources,
) -> Result<(), CgroupError> {
    Cgroup::create(hierarchies, Path::new(path))?.apply(limits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn spec(value: Value) -> PodSpec {
        serde_json::from_value(value).unwrap()
    }

    fn container(limits: &Value, requests: &Value) -> Value {
        json!({"name": "c", "resources": {"limits": limits, "requests": requests}})
    }

    /// Shares, quota, memory, pids.
    #[track_caller]
    fn check(value: Value, pids: Option<i64>, want: &str) {
        let limits = of_pod(&spec(value), pids).unwrap();
        let cpu = limits.cpu().as_ref().unwrap();
        let memory = limits
            .memory()
            .as_ref()
            .and_then(oci_spec::runtime::LinuxMemory::limit);
        let memory = memory.map(|bytes| bytes - SUPERVISOR_MEMORY);
        let got = format!(
            "{:?} {:?} {memory:?} {:?}",
            cpu.shares().unwrap(),
            cpu.quota(),
            limits
                .pids()
                .as_ref()
                .map(oci_spec::runtime::LinuxPids::limit)
        );
        assert_eq!(got, want);
    }

    #[test]
    fn a_pod_has_what_its_containers_have() {
        let none = json!({});
        check(
            json!({"containers": [{"name": "c"}]}),
            None,
            "2 None None None",
        );
        let full = json!({"cpu": "1", "memory": "100"});
        let two = json!([container(&full, &none), container(&full, &none)]);
        check(
            json!({"containers": two}),
            Some(50),
            "2048 Some(200000) Some(200) Some(50)",
        );
        // One without a limit: the pod has none.
        let half = json!([
            container(&full, &none),
            container(&none, &json!({"cpu": "500m"}))
        ]);
        check(json!({"containers": half}), None, "1536 None None None");
        // An init container that needs more than all others.
        let big = container(&json!({"cpu": "3", "memory": "50"}), &none);
        check(
            json!({"initContainers": [big], "containers": [container(&full, &none)]}),
            None,
            "3072 Some(300000) Some(100) None",
        );
        let own = json!({"limits": full, "requests": {"cpu": "250m"}});
        check(
            json!({"resources": own, "containers": [{"name": "c"}]}),
            None,
            "256 Some(100000) Some(100) None",
        );
    }

    #[test]
    fn parents_have_what_the_node_gives() {
        let pods = [
            spec(json!({"containers": [container(&json!({}), &json!({"cpu": "1500m"}))]})),
            spec(json!({"containers": [container(&json!({}), &json!({"memory": "1"}))]})),
            spec(json!({"containers": [{"name": "c"}]})),
            spec(
                json!({"containers": [container(&json!({"cpu": "2", "memory": "1"}), &json!({}))]}),
            ),
        ];
        let most = Resources {
            memory: 1000,
            pids: 99,
            ..Resources::default()
        };
        let limits = |most| of_parents(pods.iter(), 2000, most).unwrap();
        let [root, burstable, besteffort] = limits(Some(most));
        let shares = |limits: &LinuxResources| limits.cpu().as_ref().unwrap().shares().unwrap();
        assert_eq!(
            (shares(&root.1), shares(&burstable.1), shares(&besteffort.1)),
            (2048, 1536, 2)
        );
        let of_root = |limits: &LinuxResources| {
            (
                limits.memory().as_ref().unwrap().limit().unwrap(),
                limits.pids().as_ref().unwrap().limit(),
            )
        };
        assert_eq!(of_root(&root.1), (1000, 99));
        let [root, ..] = limits(None);
        assert_eq!(of_root(&root.1), (-1, -1));
    }

    #[test]
    fn settings_become_limits() {
        let config = KubeletConfig {
            container_log_max_size: "1Mi".to_owned(),
            container_log_max_files: 0,
            pod_pids_limit: 100,
            ..KubeletConfig::default()
        };
        let limits = PodLimits::of(&config);
        assert_eq!(
            (limits.log.size, limits.log.files, limits.pids),
            (1 << 20, 1, Some(100))
        );
        assert_eq!(
            PodLimits::of(&KubeletConfig::default()),
            PodLimits::default()
        );
    }

    #[test]
    fn limits_reach_the_kernel() {
        if !rustix::process::geteuid().is_root() {
            println!("SKIP limits_reach_the_kernel: needs root");
            return;
        }
        let hierarchies = Hierarchies::detect().unwrap();
        let name = format!("rkube-test-limits-{}", std::process::id());
        let read = |cgroup: &Cgroup| {
            let stats = cgroup.stats().unwrap();
            (stats.memory.unwrap().limit, stats.pids.unwrap().limit)
        };
        let [(_, root), ..] = of_parents(
            std::iter::empty(),
            1000,
            Some(Resources {
                memory: 1 << 30,
                pids: 1000,
                ..Resources::default()
            }),
        )
        .unwrap();
        apply(&hierarchies, &name, &root).unwrap();
        let cgroup = Cgroup::open(&hierarchies, Path::new(&name)).unwrap();
        let limited = read(&cgroup);
        let [(_, root), ..] = of_parents(std::iter::empty(), 1000, None).unwrap();
        apply(&hierarchies, &name, &root).unwrap();
        let unlimited = read(&cgroup);
        cgroup.delete().unwrap();
        assert_eq!(limited, (Some(1 << 30), Some(1000)));
        assert_eq!(unlimited, (None, None));
    }
}
