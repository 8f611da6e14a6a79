//! House-keeping: what keeps a node usable for years without anybody looking after it.
//!
//! ```text
//! every 10 s, and when memory stalls:  measure -> signals -> conditions, reclaim, evict one pod
//! when pods come and go:               shares and limits of the pods' parent cgroups
//! every minute:                        leases, published ports, what pods left that nobody knows
//! every 5 minutes:                     image garbage collection, pods that are over
//! ```
//! Decisions are pure functions ([`gc`], [`eviction`], [`signals`], [`node`], [`limits`]); [`measure`] reads the kernel.
pub mod dead;
pub mod eviction;
pub mod gc;
pub mod images;
pub mod leftovers;
pub mod limits;
pub mod measure;
pub mod node;
mod round;
pub mod signals;
mod stall;
pub mod storage;
mod vitals;

pub use vitals::Vitals;

use crate::events::NodeEvent;
use crate::registry::Change;
use crate::serve::Kubelet;
use crate::worker::Node;
use gc::{DeadPolicy, ImagePolicy};
use oci_spec::runtime::LinuxResources;
use round::{After, Rounds};
use stall::Stall;
use std::time::Duration;
use tokio::sync::broadcast;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Between two looks at the node when nothing is short.
const LOOK: Duration = Duration::from_secs(10);
/// Between two looks while something is, and after memory has stalled.
const STRAINED_LOOK: Duration = Duration::from_secs(2);
/// Looks between two passes over what is left behind.
const SWEEP_EVERY: u32 = 6;
/// Looks between two passes over images and pods that are over.
const COLLECT_EVERY: u32 = 30;
/// Pods come and go in bursts; the parents' shares follow once.
const SETTLE: Duration = Duration::from_secs(1);

/// Keeps house until the daemon ends.
pub fn spawn(kubelet: &Kubelet) -> JoinHandle<()> {
    let kubelet = kubelet.clone();
    tokio::spawn(async move {
        let ending = kubelet.ending.clone();
        tokio::select! {
            () = ending.cancelled() => {}
            () = keep(kubelet) => {}
        }
    })
}

async fn keep(kubelet: Kubelet) {
    let mut rounds = Rounds::new(&kubelet);
    let mut stall = Stall::watch();
    let mut parents = Parents::default();
    let mut changes = kubelet.node.registry.listen();
    let (mut next_look, mut looks) = (Instant::now(), 0_u32);
    let mut next_limits = Some(Instant::now());
    let mut quiet_until = Instant::now();
    loop {
        let now = Instant::now();
        if next_look <= now {
            let after = rounds.look().await;
            passes(&kubelet, looks).await;
            looks = looks.wrapping_add(1);
            let span = match after {
                After::Calm => LOOK,
                After::Strained => STRAINED_LOOK,
            };
            quiet_until = Instant::now() + STRAINED_LOOK;
            next_look = Instant::now() + span;
        }
        if next_limits.is_some_and(|at| at <= now) {
            next_limits = None;
            parents.renew(&kubelet).await;
            // What came meanwhile was looked at.
            changes = changes.resubscribe();
        }
        let timer = next_limits.map_or(next_look, |at| at.min(next_look));
        tokio::select! {
            () = tokio::time::sleep_until(timer) => {}
            () = stall.next() => next_look = quiet_until.max(Instant::now()),
            changed = changes.recv(), if next_limits.is_none() => {
                if concerns_limits(&changed) {
                    next_limits = Some(Instant::now() + SETTLE);
                }
            }
        }
    }
}

/// A listener that lagged looks at everything.
fn concerns_limits(changed: &Result<Change, broadcast::error::RecvError>) -> bool {
    match changed {
        Ok(Change::Put(_) | Change::Removed(_)) | Err(broadcast::error::RecvError::Lagged(_)) => {
            true
        }
        Err(broadcast::error::RecvError::Closed) => false,
    }
}

/// What is done only now and then.
async fn passes(kubelet: &Kubelet, looks: u32) {
    if looks.is_multiple_of(SWEEP_EVERY) {
        leftovers::sweep(&kubelet.node).await;
    }
    if looks.is_multiple_of(COLLECT_EVERY) {
        collect(kubelet).await;
    }
}

/// Images and pods that are over.
async fn collect(kubelet: &Kubelet) {
    let node = kubelet.node.clone();
    let (image_policy, dead_policy) = (
        ImagePolicy::of(&kubelet.config),
        DeadPolicy::of(&kubelet.config),
    );
    let done = tokio::task::spawn_blocking(move || {
        let Node {
            paths,
            registry,
            events,
            ..
        } = &node;
        if let Err(err) = dead::forget(paths, registry, events, &dead_policy) {
            tracing::warn!(%err, "cannot forget pods that are over");
        }
        if let Err(err) = images::collect(paths, &node.images, &image_policy, events) {
            events.append(image_failure(&err));
        }
    });
    if let Err(err) = done.await {
        tracing::error!(%err, "house-keeping ended badly");
    }
}

fn image_failure(err: &images::CollectError) -> NodeEvent {
    NodeEvent::node("ImageGCFailed", crate::error::chain(err)).warning()
}

/// The cgroups above the pods': what was last written to them.
#[derive(Debug, Default)]
struct Parents(Vec<(&'static str, LinuxResources)>);

impl Parents {
    /// Writes the limits that differ from the last ones.
    async fn renew(&mut self, kubelet: &Kubelet) {
        let config = &kubelet.config;
        let enforced = config.enforce_node_allocatable.iter();
        let enforced = enforced.map(String::as_str).any(|what| what == "pods");
        let most = kubelet.vitals.for_pods();
        let pods = kubelet.node.registry.list();
        let specs = pods
            .iter()
            .filter(|pod| !pod.state.phase.ended())
            .filter_map(|pod| pod.record.pod.spec.as_ref());
        let wanted = limits::of_parents(specs, most.cpu_milli, Some(most).filter(|_| enforced));
        let wanted = match wanted {
            Ok(wanted) => Vec::from(wanted),
            Err(err) => return tracing::error!(%err, "cannot word the pods' limits"),
        };
        let changed: Vec<_> = wanted
            .iter()
            .filter(|limits| !self.0.contains(limits))
            .cloned()
            .collect();
        let hierarchies = kubelet.node.cgroups.clone();
        let failures = tokio::task::spawn_blocking(move || {
            let write = |(path, limits): &(&'static str, LinuxResources)| {
                limits::apply(&hierarchies, path, limits)
                    .map_err(|err| format!("cgroup {path}: {}", crate::error::chain(&err)))
                    .err()
            };
            changed.iter().filter_map(write).collect::<Vec<_>>()
        });
        let failures = failures.await.unwrap_or_default();
        for failure in &failures {
            let event = NodeEvent::node("FailedNodeAllocatableEnforcement", failure.as_str());
            kubelet.node.events.append(event.warning());
        }
        // What failed is written again with the next change.
        self.0 = if failures.is_empty() {
            wanted
        } else {
            Vec::new()
        };
    }
}
