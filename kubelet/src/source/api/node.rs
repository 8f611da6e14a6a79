//! What the server gets told of this node: that it is there, how it is, that it lives, and what happens here.
use super::Told;
use super::talk::{Talk, Trouble};
use crate::events::{About, NodeEvent};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use jiff::Timestamp;
use reqwest::StatusCode;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, MissedTickBehavior};

/// How often the lease is renewed.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// After so many seconds without, the node counts as dead.
const LEASE_SECONDS: u32 = 40;
/// How often the status is sent though nothing changed.
const STATUS: Duration = Duration::from_secs(300);

/// The annotation of the Node that tells the API server by which authority's certificate it knows this kubelet.
const AUTHORITY: &str = "rkube.io/kubelet-authority";

/// Never returns.
pub(super) async fn run(talk: Arc<Talk>, told: Told) {
    let mut events = told.events.listen();
    let mut beat = tokio::time::interval(HEARTBEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sent: Option<(Instant, Value)> = None;
    loop {
        tokio::select! {
            _ = beat.tick() => {
                if let Err(trouble) = present(&talk, &told, &mut sent).await {
                    tracing::debug!(%trouble, "cannot tell the API server of this node");
                    sent = None;
                }
            }
            event = events.recv() => match event {
                Ok(event) => {
                    if let Err(trouble) = tell(&talk, &event).await {
                        tracing::debug!(%trouble, "an event is known here only");
                    }
                }
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return std::future::pending().await,
            },
        }
    }
}

/// Registers the node, sends what is new of its status, renews its lease.
async fn present(
    talk: &Talk,
    told: &Told,
    sent: &mut Option<(Instant, Value)>,
) -> Result<(), Trouble> {
    let status = json!((told.status)());
    let stale = match sent {
        Some((at, last)) => at.elapsed() > STATUS || without_times(last) != without_times(&status),
        None => true,
    };
    if stale {
        register(talk, told, &status, sent.is_none()).await?;
        *sent = Some((Instant::now(), status));
    }
    renew(talk).await
}

/// Sends the status; makes the node where it is not there. What does not change is sent the first time.
async fn register(talk: &Talk, told: &Told, status: &Value, first: bool) -> Result<(), Trouble> {
    let node = talk.node();
    let annotations = told.authority.as_deref().and_then(authority);
    let annotations = annotations.map(|authority| json!({AUTHORITY: authority}));
    let path = format!("/api/v1/nodes/{node}");
    let patched = talk
        .patch(&format!("{path}/status"), json!({"status": status}))
        .await;
    if let Err(Trouble::Refused(StatusCode::NOT_FOUND, _)) = patched {
        let labels = json!({"kubernetes.io/hostname": node, "kubernetes.io/os": "linux",
            "kubernetes.io/arch": status["nodeInfo"]["architecture"]});
        let object = json!({"apiVersion": "v1", "kind": "Node",
            "metadata": {"name": node, "labels": labels, "annotations": annotations}, "status": status});
        return talk.post("/api/v1/nodes", object).await.map(drop);
    }
    patched?;
    if first && annotations.is_some() {
        let metadata = json!({"metadata": {"annotations": annotations}});
        talk.patch(&path, metadata).await?;
    }
    Ok(())
}

/// A certificate's DER form, in base64.
fn authority(path: &Path) -> Option<String> {
    let certificate = CertificateDer::from_pem_file(path).ok()?;
    Some(BASE64.encode(certificate))
}

/// The status without the times of the last look, which change every time.
fn without_times(status: &Value) -> Value {
    let mut status = status.clone();
    for condition in status["conditions"].as_array_mut().into_iter().flatten() {
        if let Some(condition) = condition.as_object_mut() {
            condition.remove("lastHeartbeatTime");
        }
    }
    status
}

async fn renew(talk: &Talk) -> Result<(), Trouble> {
    const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    let node = talk.node();
    let spec = json!({"holderIdentity": node, "leaseDurationSeconds": LEASE_SECONDS,
        "renewTime": format!("{:.6}", Timestamp::now())});
    match talk
        .patch(&format!("{LEASES}/{node}"), json!({"spec": spec}))
        .await
    {
        Err(Trouble::Refused(StatusCode::NOT_FOUND, _)) => {
            let lease = json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
                "metadata": {"name": node, "namespace": "kube-node-lease"}, "spec": spec});
            talk.post(LEASES, lease).await.map(drop)
        }
        outcome => outcome.map(drop),
    }
}

async fn uid_of(talk: &Talk, namespace: &str, name: &str) -> String {
    let path = format!("/api/v1/namespaces/{namespace}/pods/{name}");
    let pod = talk.get(&path).await.unwrap_or_default();
    pod["metadata"]["uid"].as_str().unwrap_or("").to_owned()
}

async fn tell(talk: &Talk, event: &NodeEvent) -> Result<(), Trouble> {
    let (namespace, involved) = match &event.about {
        About::Node => (
            "default",
            json!({"kind": "Node", "name": talk.node(), "uid": talk.node()}),
        ),
        About::Pod {
            namespace,
            name,
            uid,
        } => {
            let path = event
                .container
                .as_ref()
                .map(|name| format!("spec.containers{{{name}}}"));
            let uid = match uid.as_str() {
                // One that has no record here; what is written beside a pod is found by its uid.
                "" => uid_of(talk, namespace, name).await,
                uid => uid.to_owned(),
            };
            let pod = json!({"apiVersion": "v1", "kind": "Pod", "namespace": namespace, "name": name, "uid": uid,
                "fieldPath": path});
            (namespace.as_str(), pod)
        }
    };
    let name = involved["name"].as_str().unwrap_or_default();
    let object = json!({"apiVersion": "v1", "kind": "Event",
        "metadata": {"name": format!("{name}.{}", uuid::Uuid::new_v4().simple()), "namespace": namespace},
        "involvedObject": involved, "reason": event.reason, "message": event.message,
        "type": if event.warning { "Warning" } else { "Normal" }, "count": event.count,
        "firstTimestamp": event.first, "lastTimestamp": event.time,
        "source": {"component": "kubelet", "host": talk.node()},
        "reportingComponent": "kubelet", "reportingInstance": talk.node()});
    talk.post(&format!("/api/v1/namespaces/{namespace}/events"), object)
        .await
        .map(drop)
}
