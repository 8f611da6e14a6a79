//! What a pod leaves on this host once it is over, and how it goes in the end.
use super::Node;
use crate::paths::Paths;
use std::time::Duration;

/// The first wait before another try.
const AGAIN: Duration = Duration::from_secs(2);
/// The longest.
const LONGEST: Duration = Duration::from_secs(300);
/// So many tries; what is left then is for the house-keeping that looks for orphans.
const TRIES: u32 = 20;

/// Processes, cgroups, mounts, addresses and rules of one pod.
#[derive(Debug)]
pub(super) struct Leftovers {
    pub(super) node: Node,
    pub(super) pod: String,
    pub(super) uid: String,
    pub(super) cgroup: String,
    /// Whether the pod's volumes and layers go as well.
    pub(super) files: bool,
}

impl Leftovers {
    /// Takes it all away as far as it can be; says what could not be.
    pub(super) async fn remove(&self) -> Vec<String> {
        // The packet filter and the cgroups have nothing to do with each other, and both take milliseconds.
        let dir = self.node.paths.pod_run(&self.uid);
        let (withdrawn, removed) = tokio::join!(
            self.node.network.withdraw(&self.uid),
            crate::sandbox::remove(&dir, &self.node.cgroups, &self.cgroup),
        );
        let mut left: Vec<String> = [
            withdrawn.err().map(|err| crate::error::chain(&err)),
            removed.err().map(|err| crate::error::chain(&err)),
        ]
        .into_iter()
        .flatten()
        .collect();
        if self.files {
            left.extend(remove_files(&self.node.paths, &self.uid).await);
        }
        left
    }

    /// Goes on trying behind the pod's back: a process that waits for a disk may come back to life and die.
    pub(super) async fn remove_in_the_end(self) {
        let mut wait = AGAIN;
        for _ in 0..TRIES {
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST);
            let left = self.remove().await;
            let (pod, uid) = (&self.pod, &self.uid);
            if left.is_empty() {
                tracing::info!(pod, uid, "what the pod had left is gone");
                return;
            }
            tracing::warn!(
                pod,
                uid,
                left = left.join("; "),
                "a pod that is over has left something"
            );
        }
    }
}

/// Volumes in memory and writable layers go with the pod; its record and logs stay. Gives what could not be removed.
pub(super) async fn remove_files(paths: &Paths, uid: &str) -> Vec<String> {
    let (paths, uid) = (paths.clone(), uid.to_owned());
    let removed = tokio::task::spawn_blocking(move || {
        let volumes = crate::volume::remove(&paths, &uid);
        let layers =
            ["containers", "volumes"].map(|name| crate::disk::remove(&paths.pod(&uid).join(name)));
        std::iter::once(volumes)
            .chain(layers)
            .filter_map(Result::err)
            .map(|err| crate::error::chain(&err))
            .collect()
    });
    removed.await.unwrap_or_default()
}
