//! What the server gets told of its pods: their status when it changes, and that they are gone.
use super::pods::Going;
use super::talk::{Talk, Trouble};
use crate::registry::Registry;
use crate::source::backoff::Backoff;
use crate::state::{SourceKind, StoredPod};
use crate::status;
use k8s_openapi::api::core::v1::PodStatus;
use reqwest::StatusCode;
use serde_json::json;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;

/// Waits between two tries.
const FIRST_RETRY: Duration = Duration::from_millis(500);
const LAST_RETRY: Duration = Duration::from_secs(30);

/// Never returns. Level-triggered: whatever happens, all pods are compared with what was told of them.
pub(super) async fn run(
    talk: Arc<Talk>,
    registry: Registry,
    host_ip: Option<IpAddr>,
    going: Going,
) {
    let mut changes = registry.listen();
    let mut told: BTreeMap<String, PodStatus> = BTreeMap::new();
    let mut backoff = Backoff::new(FIRST_RETRY, LAST_RETRY);
    loop {
        let outcome = tell(&talk, &registry, host_ip, &mut told).await;
        let outcome = match outcome {
            Ok(()) => bury(&talk, &registry, &going).await,
            Err(trouble) => Err(trouble),
        };
        if let Err(trouble) = outcome {
            tracing::debug!(%trouble, "cannot report to the API server");
            tokio::time::sleep(backoff.wait()).await;
            continue;
        }
        backoff.reset();
        tokio::select! {
            change = changes.recv() => if matches!(change, Err(RecvError::Closed)) {
                return std::future::pending().await;
            },
            () = going.changed.notified() => {}
        }
        // What happens at the same time is told at the same time.
        while changes.try_recv().is_ok() {}
    }
}

async fn tell(
    talk: &Talk,
    registry: &Registry,
    host_ip: Option<IpAddr>,
    told: &mut BTreeMap<String, PodStatus>,
) -> Result<(), Trouble> {
    let mine = |pod: &Arc<StoredPod>| pod.record.origin.source == SourceKind::Api;
    let pods: Vec<_> = registry.list().into_iter().filter(mine).collect();
    told.retain(|uid, _| pods.iter().any(|pod| pod.record.uid() == uid));
    for pod in pods {
        let (uid, record) = (pod.record.uid(), &pod.record);
        let status = status::status(record, &pod.state, host_ip);
        if told.get(uid) == Some(&status) {
            continue;
        }
        let path = format!("{}/status", path(record.namespace(), record.name()));
        // A pod of that name with another uid is another pod, and the server refuses.
        let patch = json!({"metadata": {"uid": uid}, "status": status});
        match talk.patch(&path, patch).await {
            Ok(_) => {}
            Err(Trouble::Refused(status, message)) if is_final(status) => {
                tracing::debug!(uid, %status, message, "the API server takes no status of this pod");
            }
            Err(trouble) => return Err(trouble),
        }
        told.insert(uid.to_owned(), status);
    }
    Ok(())
}

/// Tells of pods that were to go and have.
async fn bury(talk: &Talk, registry: &Registry, going: &Going) -> Result<(), Trouble> {
    for (uid, (namespace, name)) in going.list() {
        if registry
            .get(&uid)
            .is_some_and(|pod| !pod.state.phase.ended())
        {
            continue;
        }
        let options = json!({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0,
            "preconditions": {"uid": uid}});
        match talk.delete(&path(&namespace, &name), options).await {
            Ok(_) => {}
            Err(Trouble::Refused(status, _)) if is_final(status) => {}
            Err(trouble) => return Err(trouble),
        }
    }
    Ok(())
}

/// Whether to ask again would bring the same answer.
fn is_final(status: StatusCode) -> bool {
    status.is_client_error()
        && !matches!(
            status,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS
        )
}

fn path(namespace: &str, name: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/pods/{name}")
}
