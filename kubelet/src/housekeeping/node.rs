//! What the node has, what is left of it for pods, and what Kubernetes calls its status.
use super::eviction::request;
use super::signals::{Condition, Signal, Threshold};
use crate::config::KubeletConfig;
use jiff::Timestamp;
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::api::resource;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use rkube_api::quantity::Quantity;
use std::collections::BTreeMap;
use std::net::IpAddr;

/// The version that `status.nodeInfo` names.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// How many images a node status names at most.
const IMAGES: usize = 50;

/// Amounts of what a node has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// Thousandths of a core.
    pub cpu_milli: u64,
    /// Bytes of memory.
    pub memory: u64,
    /// Bytes on the disk of the pods.
    pub disk: u64,
    /// Processes and threads.
    pub pids: u64,
    /// Pods.
    pub pods: u64,
}

/// What is kept from the pods.
///
/// # Errors
/// Every mistake, each with the field.
pub fn reserved(config: &KubeletConfig) -> Result<Resources, Vec<String>> {
    let (mut sum, mut mistakes) = (Resources::default(), Vec::new());
    let fields = [
        ("systemReserved", &config.system_reserved),
        ("kubeReserved", &config.kube_reserved),
    ];
    for (field, map) in fields {
        for (name, text) in map {
            let quantity = match text.parse::<Quantity>() {
                Ok(quantity) if !quantity.is_negative() => quantity,
                Ok(_) => {
                    mistakes.push(format!("{field}[{name}]: \"{text}\" is below zero"));
                    continue;
                }
                Err(err) => {
                    mistakes.push(format!("{field}[{name}]: {err}"));
                    continue;
                }
            };
            let units = u64::try_from(quantity.units()).unwrap_or(0);
            match name.as_str() {
                "cpu" => sum.cpu_milli += u64::try_from(quantity.milli()).unwrap_or(0),
                "memory" => sum.memory = sum.memory.saturating_add(units),
                "ephemeral-storage" => sum.disk = sum.disk.saturating_add(units),
                "pid" => sum.pids = sum.pids.saturating_add(units),
                _ => mistakes.push(format!(
                    "{field}[{name}]: unknown resource; there are cpu, memory, ephemeral-storage, pid"
                )),
            }
        }
    }
    if mistakes.is_empty() {
        Ok(sum)
    } else {
        Err(mistakes)
    }
}

/// What pods may have together: the limits of their common cgroup.
#[must_use]
pub fn without(capacity: Resources, reserved: Resources) -> Resources {
    Resources {
        cpu_milli: capacity.cpu_milli.saturating_sub(reserved.cpu_milli),
        memory: capacity.memory.saturating_sub(reserved.memory),
        disk: capacity.disk.saturating_sub(reserved.disk),
        pids: capacity.pids.saturating_sub(reserved.pids),
        pods: capacity.pods,
    }
}

/// What pods may ask for together: what is left over, less what a hard eviction threshold keeps free.
#[must_use]
pub fn allocatable(
    capacity: Resources,
    reserved: Resources,
    thresholds: &[Threshold],
) -> Resources {
    let kept = |signal: Signal, of: u64| {
        let hard = thresholds
            .iter()
            .filter(|one| one.signal == signal && one.grace.is_none());
        hard.map(|one| one.amount.of(of)).max().unwrap_or(0)
    };
    let left = without(capacity, reserved);
    Resources {
        memory: left
            .memory
            .saturating_sub(kept(Signal::MemoryAvailable, capacity.memory)),
        disk: left
            .disk
            .saturating_sub(kept(Signal::NodefsAvailable, capacity.disk)),
        ..left
    }
}

/// Why a pod does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misfit {
    /// Kubernetes' word: `OutOfcpu`, `OutOfmemory`, `OutOfephemeral-storage`, `OutOfpods`.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

/// Whether a pod's requests fit beside those of the pods that are here.
///
/// # Errors
/// Names what is short.
pub fn fits<'a>(
    pod: &core::PodSpec,
    others: impl IntoIterator<Item = &'a core::PodSpec>,
    allocatable: &Resources,
) -> Result<(), Misfit> {
    let rows: [(&str, &'static str, u64); 3] = [
        ("cpu", "OutOfcpu", allocatable.cpu_milli),
        ("memory", "OutOfmemory", allocatable.memory),
        (
            "ephemeral-storage",
            "OutOfephemeral-storage",
            allocatable.disk,
        ),
    ];
    let others: Vec<_> = others.into_iter().collect();
    let count = others.len() as u64;
    let misfit = |resource: &str, reason, asked: u64, used: u64, capacity: u64| Misfit {
        reason,
        message: format!(
            "Node didn't have enough resource: {resource}, requested: {asked}, used: {used}, capacity: {capacity}"
        ),
    };
    if count >= allocatable.pods {
        return Err(misfit("pods", "OutOfpods", 1, count, allocatable.pods));
    }
    for (resource, reason, capacity) in rows {
        let asked = request(pod, resource);
        if asked == 0 {
            continue;
        }
        let requests = others.iter().map(|other| request(other, resource));
        let used = requests.fold(0, u64::saturating_add);
        if used.saturating_add(asked) > capacity {
            return Err(misfit(resource, reason, asked, used, capacity));
        }
    }
    Ok(())
}

/// A condition of the node and since when it is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Since {
    /// Whether it is on.
    pub on: bool,
    /// When that last changed.
    pub at: Timestamp,
}

/// All that a node's status is made of.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The node's name.
    pub name: String,
    /// Its address.
    pub address: Option<IpAddr>,
    /// The port of its HTTP API.
    pub port: u16,
    /// What it has.
    pub capacity: Resources,
    /// What pods may ask for.
    pub allocatable: Resources,
    /// Its conditions.
    pub conditions: BTreeMap<Condition, Since>,
    /// When they were last looked at.
    pub looked: Timestamp,
    /// Since when the kubelet runs.
    pub started: Timestamp,
    /// Names and bytes of images.
    pub images: Vec<(Vec<String>, u64)>,
    /// What the host says of itself.
    pub info: super::measure::HostInfo,
}

/// `v1.NodeStatus`.
#[must_use]
pub fn status(facts: &Facts) -> core::NodeStatus {
    let address = |kind: &str, address: String| core::NodeAddress {
        address,
        type_: kind.to_owned(),
    };
    let mut addresses: Vec<_> = facts
        .address
        .map(|ip| address("InternalIP", ip.to_string()))
        .into_iter()
        .collect();
    addresses.push(address("Hostname", facts.name.clone()));
    let mut images = facts.images.clone();
    images.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    core::NodeStatus {
        addresses: Some(addresses),
        capacity: Some(amounts(&facts.capacity)),
        allocatable: Some(amounts(&facts.allocatable)),
        conditions: Some(conditions(facts)),
        daemon_endpoints: Some(core::NodeDaemonEndpoints {
            kubelet_endpoint: Some(core::DaemonEndpoint {
                port: i32::from(facts.port),
            }),
        }),
        images: Some(
            images
                .into_iter()
                .take(IMAGES)
                .map(|(names, bytes)| core::ContainerImage {
                    names: Some(names),
                    size_bytes: Some(i64::try_from(bytes).unwrap_or(i64::MAX)),
                })
                .collect(),
        ),
        node_info: Some(core::NodeSystemInfo {
            architecture: facts.info.architecture.clone(),
            boot_id: facts.info.boot_id.clone(),
            container_runtime_version: format!("rkube://{VERSION}"),
            kernel_version: facts.info.kernel.clone(),
            kubelet_version: format!("v{VERSION}"),
            machine_id: facts.info.machine_id.clone(),
            operating_system: "linux".to_owned(),
            os_image: facts.info.os_image.clone(),
            system_uuid: facts.info.system_uuid.clone(),
            ..core::NodeSystemInfo::default()
        }),
        ..core::NodeStatus::default()
    }
}

fn amounts(resources: &Resources) -> BTreeMap<String, resource::Quantity> {
    let signed = |units: u64| i64::try_from(units).unwrap_or(i64::MAX);
    let bytes = |units: u64| Quantity::from_bytes(signed(units)).into();
    [
        (
            "cpu",
            Quantity::from_milli(signed(resources.cpu_milli)).into(),
        ),
        ("memory", bytes(resources.memory)),
        ("ephemeral-storage", bytes(resources.disk)),
        ("pods", Quantity::from_units(signed(resources.pods)).into()),
    ]
    .map(|(name, quantity)| (name.to_owned(), quantity))
    .into()
}

/// In Kubernetes' words.
fn conditions(facts: &Facts) -> Vec<core::NodeCondition> {
    let words = |condition| match condition {
        Condition::Memory => (
            (
                "KubeletHasInsufficientMemory",
                "kubelet has insufficient memory available",
            ),
            (
                "KubeletHasSufficientMemory",
                "kubelet has sufficient memory available",
            ),
        ),
        Condition::Disk => (
            ("KubeletHasDiskPressure", "kubelet has disk pressure"),
            ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ),
        Condition::Pid => (
            (
                "KubeletHasInsufficientPID",
                "kubelet has insufficient PID available",
            ),
            (
                "KubeletHasSufficientPID",
                "kubelet has sufficient PID available",
            ),
        ),
    };
    let one = |kind: &str, on: bool, at, (reason, message): (&str, &str)| core::NodeCondition {
        type_: kind.to_owned(),
        status: if on { "True" } else { "False" }.to_owned(),
        last_heartbeat_time: Some(Time(facts.looked)),
        last_transition_time: Some(Time(at)),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
    };
    let pressures = Condition::ALL.into_iter().map(|condition| {
        let since = facts.conditions.get(&condition).copied().unwrap_or(Since {
            on: false,
            at: facts.started,
        });
        let (bad, good) = words(condition);
        one(
            condition.as_str(),
            since.on,
            since.at,
            if since.on { bad } else { good },
        )
    });
    let ready = ("KubeletReady", "kubelet is posting ready status");
    pressures
        .chain([one("Ready", true, facts.started, ready)])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::housekeeping::signals::thresholds;
    use serde_json::json;

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    const NODE: Resources = Resources {
        cpu_milli: 2000,
        memory: 1 << 30,
        disk: 1000,
        pids: 32_768,
        pods: 3,
    };

    #[test]
    fn reservations_are_taken_from_the_pods() {
        let config = KubeletConfig {
            system_reserved: map(&[("cpu", "500m"), ("memory", "100Mi"), ("pid", "1000")]),
            kube_reserved: map(&[("memory", "24Mi"), ("ephemeral-storage", "100")]),
            eviction_hard: map(&[("memory.available", "100Mi"), ("nodefs.available", "10%")]),
            ..KubeletConfig::default()
        };
        let kept = reserved(&config).unwrap();
        let limits = without(NODE, kept);
        assert_eq!(
            (limits.cpu_milli, limits.memory, limits.pids),
            (1500, 900 << 20, 31_768)
        );
        let left = allocatable(NODE, kept, &thresholds(&config).unwrap());
        assert_eq!((left.memory, left.disk, left.pods), (800 << 20, 800, 3));
        let wrong = KubeletConfig {
            system_reserved: map(&[("cpu", "-1"), ("memory", "much"), ("gpu", "1")]),
            ..KubeletConfig::default()
        };
        assert_eq!(reserved(&wrong).unwrap_err().len(), 3);
        let more = Resources {
            memory: 2 << 30,
            ..Resources::default()
        };
        assert_eq!(without(NODE, more).memory, 0);
    }

    fn pod(cpu: &str, memory: &str) -> core::PodSpec {
        let requests = json!({"cpu": cpu, "memory": memory});
        serde_json::from_value(
            json!({"containers": [{"name": "c", "resources": {"requests": requests}}]}),
        )
        .unwrap()
    }

    #[test]
    fn a_pod_fits_or_not() {
        let check = |pod: &core::PodSpec, others: &[core::PodSpec], want: Result<(), &str>| {
            let got = fits(pod, others, &NODE).map_err(|misfit| misfit.reason);
            assert_eq!(got, want);
        };
        let half = pod("1", "512Mi");
        check(&half, std::slice::from_ref(&half), Ok(()));
        check(&half, &[half.clone(), half.clone()], Err("OutOfcpu"));
        check(
            &pod("0", "513Mi"),
            std::slice::from_ref(&half),
            Err("OutOfmemory"),
        );
        let nothing = pod("0", "0");
        let others = vec![nothing.clone(); 3];
        check(&nothing, &others, Err("OutOfpods"));
        // One that asks for nothing fits on a node that is asked for too much.
        check(&nothing, &[pod("9", "9Gi")], Ok(()));
        let misfit = fits(&half, &[half.clone(), half.clone()], &NODE).unwrap_err();
        assert_eq!(
            misfit.message,
            "Node didn't have enough resource: cpu, requested: 1000, used: 2000, capacity: 2000"
        );
    }

    #[test]
    fn the_status_is_as_kubernetes_has_it() {
        let since = Since {
            on: true,
            at: Timestamp::UNIX_EPOCH,
        };
        let facts = Facts {
            name: "n1".to_owned(),
            address: Some([10, 0, 0, 1].into()),
            port: 10250,
            capacity: NODE,
            allocatable: NODE,
            conditions: [(Condition::Disk, since)].into(),
            looked: Timestamp::UNIX_EPOCH,
            started: Timestamp::UNIX_EPOCH,
            images: vec![(vec!["small".into()], 1), (vec!["big".into()], 9)],
            info: crate::housekeeping::measure::HostInfo::default(),
        };
        let status = serde_json::to_value(status(&facts)).unwrap();
        assert_eq!(
            status["capacity"],
            json!({"cpu": "2", "memory": "1Gi", "ephemeral-storage": "1k", "pods": "3"})
        );
        let conditions: Vec<_> = status["conditions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| format!("{}={}", one["type"], one["status"]).replace('"', ""))
            .collect();
        assert_eq!(
            conditions,
            [
                "MemoryPressure=False",
                "DiskPressure=True",
                "PIDPressure=False",
                "Ready=True"
            ]
        );
        assert_eq!(status["images"][0]["names"], json!(["big"]));
        assert_eq!(status["addresses"][1]["address"], "n1");
        assert_eq!(status["daemonEndpoints"]["kubeletEndpoint"]["Port"], 10250);
    }
}
