//! What crashes leave behind of pods that nobody knows any more: processes, cgroups, mounts, addresses, rules, folders.
//!
//! Only what our own trees name is touched. `kubepods` may hold pods of another kubelet, and nothing there says whose they
//! are; but a pod's folder under /run is made before its cgroup and goes after it.
use crate::events::{NodeEvent, NodeEvents};
use crate::lock::Lock;
use crate::network::NetworkError;
use crate::paths::Paths;
use crate::sandbox;
use crate::state::StoredPod;
use crate::worker::{Node, cgroup_of};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

/// Where a pod's cgroup may be, by its quality of service.
const CLASSES: [&str; 3] = ["kubepods", "kubepods/burstable", "kubepods/besteffort"];

/// Removes what is left. Every step takes "nothing there" for success, and the next pass goes on where one failed.
pub async fn sweep(node: &Node) {
    match strangers(&node.paths) {
        Ok(strangers) => {
            for uid in strangers {
                note(&node.events, &uid, stranger(node, &uid).await);
            }
        }
        Err(err) => tracing::warn!(%err, "cannot look for what pods left behind"),
    }
    let mounts = crate::mounts::below(&node.paths.run.join("pods"));
    let pods = node.registry.list();
    let half_ended = pods.iter().filter(|pod| {
        let dir = node.paths.pod_run(pod.record.uid());
        pod.state.phase.ended() && has_traces(&dir, &mounts)
    });
    for pod in half_ended {
        if let Some(_lock) = free(&node.paths, pod.record.uid()) {
            note(&node.events, pod.record.uid(), ended(node, pod).await);
        }
    }
    let known = node.paths.clone();
    let gone = move |uid: &str| !known.pod(uid).join("pod.json").exists();
    match node.network.repair(gone).await {
        Ok(repaired) => {
            for what in repaired {
                node.events.append(NodeEvent::node("NetworkRepaired", what));
            }
        }
        Err(err) => {
            let message = crate::error::chain(&err);
            node.events
                .append(NodeEvent::node("NetworkRepairFailed", message).warning());
        }
    }
}

fn note(events: &NodeEvents, uid: &str, removed: Result<(), LeftoverError>) {
    match removed {
        Ok(()) => events.append(NodeEvent::node(
            "LeftoversRemoved",
            format!("what a pod of uid {uid} had left behind is removed"),
        )),
        Err(err) => {
            let message = format!("pod of uid {uid}: {}", crate::error::chain(&err));
            events.append(NodeEvent::node("LeftoversStay", message).warning());
        }
    }
}

/// Why something stays. The next pass tries again.
#[derive(Debug, thiserror::Error)]
enum LeftoverError {
    #[error(transparent)]
    Sandbox(#[from] sandbox::SandboxError),
    #[error(transparent)]
    Network(#[from] NetworkError),
    #[error("cannot remove its files")]
    Files(#[from] io::Error),
}

/// Folders of pods without a record, which no process holds. Pods are let in under a lock: while we have it, such a folder
/// is not that of a pod that is just coming.
fn strangers(paths: &Paths) -> io::Result<BTreeSet<String>> {
    let _lock = crate::lock::exclusive(&paths.admission_lock())?;
    let folders = [paths.pods(), paths.run.join("pods")];
    let entries = folders
        .iter()
        .flat_map(|dir| fs_err::read_dir(dir).into_iter().flatten().flatten());
    let all = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|uid| !paths.pod(uid).join("pod.json").exists() && free(paths, uid).is_some());
    Ok(all.collect())
}

/// The pod's lock, where nobody has it.
fn free(paths: &Paths, uid: &str) -> Option<Option<Lock>> {
    let dir = paths.pod_run(uid);
    if !dir.is_dir() {
        return Some(None);
    }
    match crate::lock::try_exclusive(&dir.join("lock")) {
        Ok(lock @ Some(_)) => Some(lock),
        Ok(None) | Err(_) => None,
    }
}

/// Whether a pod that is over still has something of its sandbox.
fn has_traces(dir: &Path, mounts: &[PathBuf]) -> bool {
    let files = ["s", "meta"].iter().any(|name| dir.join(name).exists());
    files || mounts.iter().any(|mount| mount.starts_with(dir))
}

async fn stranger(node: &Node, uid: &str) -> Result<(), LeftoverError> {
    for class in CLASSES {
        let cgroup = format!("{class}/pod{uid}");
        sandbox::remove(&node.paths.pod_run(uid), &node.cgroups, &cgroup).await?;
    }
    node.network.withdraw(uid).await?;
    unmount(&node.paths, uid)?;
    for dir in [node.paths.pod_run(uid), node.paths.pod(uid)] {
        crate::disk::remove(&dir)?;
    }
    Ok(())
}

/// A pod whose teardown did not come to its end.
async fn ended(node: &Node, pod: &StoredPod) -> Result<(), LeftoverError> {
    let uid = pod.record.uid();
    let cgroup = cgroup_of(&pod.record.pod);
    sandbox::remove(&node.paths.pod_run(uid), &node.cgroups, &cgroup).await?;
    node.network.withdraw(uid).await?;
    Ok(unmount(&node.paths, uid)?)
}

fn unmount(paths: &Paths, uid: &str) -> io::Result<()> {
    for tree in [paths.pod_run(uid), paths.pod(uid)] {
        for mount in crate::mounts::below(&tree) {
            crate::sys::unmount(&mount)?;
        }
    }
    Ok(())
}
