//! Who goes when the node runs short, and who is not let in meanwhile: the documented order.
//!
//! Those that use more than they asked for go first, of these those of the lowest priority, of these the one that is
//! furthest over its request. A pod within its requests goes only when nobody else is left; a critical one never, and none
//! that has next to nothing on a disk that is full.
use super::signals::{Condition, Met, Signal};
use k8s_openapi::api::core::v1::{PodSpec, ResourceRequirements};
use rkube_api::qos::{QosClass, class};
use rkube_api::quantity::Quantity;
use std::cmp::Reverse;

/// A priority from which on a pod is the system's own.
const CRITICAL: i32 = 2_000_000_000;
/// What tolerates a best-effort pod under memory pressure.
const MEMORY_TAINT: &str = "node.kubernetes.io/memory-pressure";

/// What a pod uses of the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// The working set in bytes.
    pub memory: u64,
    /// Bytes on disk: writable layers, volumes, logs.
    pub disk: u64,
    /// Files on disk.
    pub inodes: u64,
    /// Processes and threads.
    pub pids: u64,
}

/// A pod that runs.
#[derive(Clone, Debug)]
pub struct Candidate<'a> {
    /// Its uid.
    pub uid: &'a str,
    /// Its name, to be decided by where all else is equal.
    pub name: String,
    /// What it is.
    pub spec: &'a PodSpec,
    /// What it uses.
    pub usage: Usage,
}

/// The one that is to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Victim {
    /// Its uid.
    pub uid: String,
    /// Why, for its status and the event.
    pub message: String,
    /// Seconds that it gets to end.
    pub grace_seconds: u32,
}

/// The priority of a pod; the two classes of the system are known without a master.
#[must_use]
pub fn priority(spec: &PodSpec) -> i32 {
    match (spec.priority, spec.priority_class_name.as_deref()) {
        (Some(priority), _) => priority,
        (None, Some("system-node-critical")) => CRITICAL + 1000,
        (None, Some("system-cluster-critical")) => CRITICAL,
        (None, _) => 0,
    }
}

/// Whether the node would be worse off without the pod.
#[must_use]
pub fn is_critical(spec: &PodSpec) -> bool {
    priority(spec) >= CRITICAL
}

/// What a pod asks for of a resource, in whole units (milli for `cpu`).
///
/// The containers' sum, or the largest init container with the sidecars before it where that is more, plus overhead; or
/// the pod's own request, where it has one.
#[must_use]
pub fn request(spec: &PodSpec, resource: &str) -> u64 {
    let own = spec
        .resources
        .as_ref()
        .and_then(|resources| amount(Some(resources), resource));
    let of_containers = || {
        let (mut sidecars, mut most) = (0_u64, 0_u64);
        for init in spec.init_containers.iter().flatten() {
            let asked = amount(init.resources.as_ref(), resource).unwrap_or(0);
            if init.restart_policy.as_deref() == Some("Always") {
                sidecars = sidecars.saturating_add(asked);
                most = most.max(sidecars);
            } else {
                most = most.max(sidecars.saturating_add(asked));
            }
        }
        let mains = spec.containers.iter().fold(sidecars, |sum, container| {
            sum.saturating_add(amount(container.resources.as_ref(), resource).unwrap_or(0))
        });
        mains.max(most)
    };
    let overhead = spec.overhead.as_ref().and_then(|map| map.get(resource));
    let overhead = overhead.map_or(0, |quantity| units(&quantity.0, resource));
    own.unwrap_or_else(of_containers).saturating_add(overhead)
}

/// A request, or the limit that stands for one.
fn amount(resources: Option<&ResourceRequirements>, resource: &str) -> Option<u64> {
    let resources = resources?;
    let requests = resources
        .requests
        .as_ref()
        .and_then(|map| map.get(resource));
    let limits = resources.limits.as_ref().and_then(|map| map.get(resource));
    Some(units(&requests.or(limits)?.0, resource))
}

fn units(text: &str, resource: &str) -> u64 {
    let quantity = text.parse::<Quantity>();
    let units = quantity.map_or(0, |quantity| match resource {
        "cpu" => quantity.milli(),
        _ => quantity.units(),
    });
    u64::try_from(units).unwrap_or(0)
}

/// The pods that may go, the first to go first.
#[must_use]
pub fn rank<'a>(pods: &[Candidate<'a>], signal: Signal) -> Vec<Candidate<'a>> {
    let mut order: Vec<Candidate<'a>> = pods
        .iter()
        .filter(|pod| !is_critical(pod.spec) && account(pod, signal).0 >= worth(signal))
        .cloned()
        .collect();
    order.sort_by_cached_key(|pod| {
        let (used, asked) = account(pod, signal);
        let over = i128::from(used) - i128::from(asked);
        // Requests do not count processes: there only the priority and the number decide.
        let exceeds = signal != Signal::PidAvailable && over > 0;
        (
            Reverse(exceeds),
            priority(pod.spec),
            Reverse(over),
            pod.name.clone(),
        )
    });
    order
}

/// What a pod must use for its end to be of any help: a disk that others have filled is no reason to end the pods.
fn worth(signal: Signal) -> u64 {
    match signal {
        Signal::NodefsAvailable | Signal::ImagefsAvailable => 1 << 20,
        Signal::NodefsInodesFree | Signal::ImagefsInodesFree => 100,
        Signal::MemoryAvailable | Signal::PidAvailable => 0,
    }
}

/// What the pod uses of what is short, and what it asked for.
fn account(pod: &Candidate<'_>, signal: Signal) -> (u64, u64) {
    match signal {
        Signal::MemoryAvailable => (pod.usage.memory, request(pod.spec, "memory")),
        Signal::NodefsAvailable | Signal::ImagefsAvailable => {
            (pod.usage.disk, request(pod.spec, "ephemeral-storage"))
        }
        Signal::NodefsInodesFree | Signal::ImagefsInodesFree => (pod.usage.inodes, 0),
        Signal::PidAvailable => (pod.usage.pids, 0),
    }
}

/// The pod that goes for a threshold, if there is one that may and whose end would help.
#[must_use]
pub fn victim(pods: &[Candidate<'_>], met: &Met, most_grace: u32) -> Option<Victim> {
    let signal = met.threshold.signal;
    let first = rank(pods, signal).into_iter().next()?;
    let (used, asked) = account(&first, signal);
    let own = first.spec.termination_grace_period_seconds.unwrap_or(30);
    let own = u32::try_from(own).unwrap_or(0);
    Some(Victim {
        uid: first.uid.to_owned(),
        message: format!(
            "{} Pod was using {}, request is {}.",
            met.message(),
            signal.amount(used),
            signal.amount(asked)
        ),
        grace_seconds: match met.threshold.grace {
            None => 0,
            Some(_) => own.min(most_grace),
        },
    })
}

/// Whether a pod may start while the node is short of something.
///
/// # Errors
/// In Kubernetes' words.
pub fn admits(spec: &PodSpec, conditions: &[Condition]) -> Result<(), String> {
    if conditions.is_empty() || is_critical(spec) {
        return Ok(());
    }
    let only_memory = conditions == [Condition::Memory];
    if only_memory && (class(spec) != QosClass::BestEffort || tolerates(spec, MEMORY_TAINT)) {
        return Ok(());
    }
    takes_back(conditions)
}

/// Whether a pod that was evicted may start again: when nothing is short any more. Whatever its class, it was one of
/// those that used too much.
///
/// # Errors
/// In Kubernetes' words.
pub fn takes_back(conditions: &[Condition]) -> Result<(), String> {
    if conditions.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = conditions.iter().map(|one| one.as_str()).collect();
    Err(format!(
        "The node had condition: [{}]; the pod starts when that is over",
        names.join(" ")
    ))
}

fn tolerates(spec: &PodSpec, taint: &str) -> bool {
    let effect = |effect: Option<&str>| matches!(effect, None | Some("" | "NoSchedule"));
    spec.tolerations.iter().flatten().any(|toleration| {
        let key = toleration.key.as_deref().unwrap_or_default();
        let exists = toleration.operator.as_deref() == Some("Exists");
        let of_key =
            key == taint && (exists || toleration.value.as_deref().unwrap_or_default().is_empty());
        (of_key || key.is_empty() && exists) && effect(toleration.effect.as_deref())
    })
}

#[cfg(test)]
mod tests;
