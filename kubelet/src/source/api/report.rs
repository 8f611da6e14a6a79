//! What the server gets told of its pods: their status when it changes, why they cannot be, and that they are gone.
use super::pods::Going;
use super::talk::{Talk, Trouble};
use crate::pods::{BAD, Problems, REFUSED};
use crate::registry::Registry;
use crate::source::backoff::Backoff;
use crate::state::{SourceKind, StoredPod};
use crate::status;
use k8s_openapi::api::core::v1::PodStatus;
use reqwest::StatusCode;
use serde_json::{Value, json};
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
    problems: Problems,
    host_ip: Option<IpAddr>,
    going: Going,
) {
    let mut changes = registry.listen();
    let mut refusals = problems.listen();
    let (mut told, mut excused) = (BTreeMap::new(), BTreeMap::new());
    let mut backoff = Backoff::new(FIRST_RETRY, LAST_RETRY);
    loop {
        refusals.mark_unchanged();
        let outcome = async {
            tell(&talk, &registry, host_ip, &mut told).await?;
            excuse(&talk, &registry, &problems, &mut excused).await?;
            bury(&talk, &registry, &going).await
        };
        if let Err(trouble) = outcome.await {
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
            // It cannot be closed: we hold one end.
            _ = refusals.changed() => {}
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
        let patch = json!({"metadata": {"uid": uid}, "status": whole(&status)});
        match talk.patch_status(&path, patch).await {
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

/// The status as a patch that leaves nothing of an older one, but for the conditions of others.
fn whole(status: &PodStatus) -> Value {
    let mut patch = json!(status);
    for field in ["reason", "message", "podIP"] {
        if patch.get(field).is_none() {
            patch[field] = Value::Null;
        }
    }
    // These lists are merged unless it is said that they are not.
    for field in ["podIPs", "hostIPs"] {
        match patch.get_mut(field).and_then(Value::as_array_mut) {
            Some(list) => list.insert(0, json!({"$patch": "replace"})),
            None => patch[field] = Value::Null,
        }
    }
    patch
}

/// Why pods that are wanted here do not run: by name, the reason and the words.
fn refused(problems: &Problems) -> BTreeMap<(String, String), (&'static str, String)> {
    let listing = problems.get();
    let places = listing
        .places
        .iter()
        .filter(|one| one.source == SourceKind::Api);
    let places = places.filter_map(|one| Some((one.pod()?, (BAD, one.message.clone()))));
    let refused = listing
        .refused
        .iter()
        .filter(|one| one.source == SourceKind::Api)
        .map(|one| {
            (
                (&*one.namespace, &*one.name),
                (REFUSED, one.message.clone()),
            )
        });
    places
        .chain(refused)
        .map(|((namespace, name), why)| ((namespace.to_owned(), name.to_owned()), why))
        .collect()
}

/// Tells of pods that cannot be let in: they wait, and their status says for what.
async fn excuse(
    talk: &Talk,
    registry: &Registry,
    problems: &Problems,
    told: &mut BTreeMap<(String, String), (&'static str, String)>,
) -> Result<(), Trouble> {
    let refused = refused(problems);
    told.retain(|pod, _| refused.contains_key(pod));
    for (pod, why) in refused {
        let runs = |pod: Arc<StoredPod>| pod.record.origin.source == SourceKind::Api;
        if told.get(&pod) == Some(&why) || registry.named(&pod.0, &pod.1).is_some_and(runs) {
            continue;
        }
        let (reason, message) = &why;
        let status = json!({"phase": "Pending", "reason": reason, "message": message});
        let path = format!("{}/status", path(&pod.0, &pod.1));
        match talk.patch_status(&path, json!({"status": status})).await {
            Ok(_) => {}
            Err(Trouble::Refused(status, _)) if is_final(status) => {}
            Err(trouble) => return Err(trouble),
        }
        told.insert(pod, why);
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
