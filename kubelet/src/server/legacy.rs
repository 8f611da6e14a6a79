//! What kubelets of 2014 said of their pods: `/podInfo` and `/boundPods`, in v1beta1's words.
mod bound;

use super::Api;
use super::pods;
use super::request_error::RequestError;
use crate::state::{ContainerRecord, ContainerState, StoredPod};
use axum::extract::{Query, State};
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// The name of the container that held the pod's network.
const NET: &str = "net";

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/podInfo", get(pod_info))
        .route("/boundPods", get(bound_pods))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Asked {
    #[serde(rename = "podID")]
    pod: String,
    #[serde(rename = "podNamespace")]
    namespace: String,
    #[serde(rename = "UUID")]
    uid: String,
}

async fn pod_info(
    State(api): State<Api>,
    Query(asked): Query<Asked>,
) -> Result<Json<Value>, RequestError> {
    if asked.pod.is_empty() {
        return Err(RequestError::bad_request("Missing 'podID=' query entry."));
    }
    let namespace = match asked.namespace.as_str() {
        "" => "default",
        namespace => namespace,
    };
    let pod = pods::named(&api, namespace, &asked.pod)?;
    if !asked.uid.is_empty() && asked.uid != pod.record.uid() {
        return Err(RequestError::not_found(format!(
            "pod \"{namespace}/{}\" has another uid: {}",
            asked.pod,
            pod.record.uid()
        )));
    }
    info(&pod).map(Json)
}

fn info(pod: &StoredPod) -> Result<Value, RequestError> {
    let state = &pod.state;
    if state.start_time.is_none() {
        return Err(RequestError::not_found("no containers exist for this pod"));
    }
    if state.supervisor.is_none() && !state.phase.ended() {
        return Err(RequestError::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "Internal Error: No network container exists for this pod",
        ));
    }
    let images: Map<String, Value> = pod
        .record
        .containers()
        .map(|(_, one)| {
            (
                one.name.clone(),
                json!(one.image.clone().unwrap_or_default()),
            )
        })
        .collect();
    let mut all: Map<String, Value> = state
        .containers
        .iter()
        .map(|one| {
            let image = images.get(&one.name).cloned().unwrap_or_default();
            (one.name.clone(), status(one, &image))
        })
        .collect();
    // There is no such container here; the supervisor does its work.
    if let (Some(started), Some(_)) = (state.start_time, state.supervisor) {
        let mut net = json!({"state": {"running": {"startedAt": started}}, "restartCount": 0,
            "image": "rkube-pause"});
        if let Some(ip) = state.pod_ip {
            net["podIP"] = json!(ip);
        }
        all.insert(NET.to_owned(), net);
    }
    Ok(Value::Object(all))
}

fn status(container: &ContainerRecord, image: &Value) -> Value {
    let state = match &container.state {
        ContainerState::Waiting { reason, message } => {
            let reason = match message.as_str() {
                "" => reason.clone(),
                message => format!("{reason}: {message}"),
            };
            json!({"waiting": {"reason": reason}})
        }
        ContainerState::Running { started, .. } => json!({"running": {"startedAt": started}}),
        ContainerState::Terminated(end) => {
            let mut out = json!({"exitCode": end.exit_code, "reason": end.reason,
                "startedAt": end.started, "finishedAt": end.finished});
            if end.signal != 0 {
                out["signal"] = json!(end.signal);
            }
            if !end.message.is_empty() {
                out["message"] = json!(end.message);
            }
            json!({"termination": out})
        }
    };
    json!({"state": state, "restartCount": container.restarts, "image": image})
}

async fn bound_pods(State(api): State<Api>) -> Json<Value> {
    let pods = api.kubelet.node.registry.list();
    let items = pods.iter().filter(|pod| !pod.state.phase.ended());
    let items: Vec<Value> = items
        .filter_map(|pod| bound::pod(&pod.record.pod))
        .collect();
    Json(
        json!({"kind": "BoundPods", "apiVersion": "v1beta1", "creationTimestamp": null,
        "host": api.kubelet.node.name, "items": items}),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{PodRecord, PodState, Termination};
    use jiff::Timestamp;
    use std::sync::Arc;

    #[test]
    fn the_info_of_a_pod() {
        let pod = json!({"metadata": {"name": "web", "uid": "u"}, "spec": {"containers": [
            {"name": "a", "image": "nginx"}, {"name": "b", "image": "redis"}, {"name": "c"}]}});
        let record = PodRecord::new(serde_json::from_value(pod).unwrap(), Timestamp::UNIX_EPOCH);
        let state = PodState::new(&record, "boot");
        let mut pod = StoredPod {
            record: Arc::new(record),
            state,
        };
        assert_eq!(info(&pod).unwrap_err().code().as_u16(), 404);
        pod.state.start_time = Some(Timestamp::UNIX_EPOCH);
        assert_eq!(info(&pod).unwrap_err().code().as_u16(), 500);
        pod.state.supervisor = Some(1);
        pod.state.pod_ip = Some("10.77.0.2".parse().unwrap());
        pod.state.containers[0].state = ContainerState::Running {
            pid: 3,
            started: Timestamp::UNIX_EPOCH,
        };
        pod.state.containers[1].restarts = 2;
        pod.state.containers[1].state = ContainerState::Terminated(Termination {
            exit_code: 137,
            signal: 9,
            reason: "OOMKilled".into(),
            message: String::new(),
            started: Timestamp::UNIX_EPOCH,
            finished: Timestamp::UNIX_EPOCH,
        });
        let start = "1970-01-01T00:00:00Z";
        assert_eq!(
            info(&pod).unwrap(),
            json!({
                "net": {"state": {"running": {"startedAt": start}}, "restartCount": 0,
                    "image": "rkube-pause", "podIP": "10.77.0.2"},
                "a": {"state": {"running": {"startedAt": start}}, "restartCount": 0, "image": "nginx"},
                "b": {"state": {"termination": {"exitCode": 137, "signal": 9, "reason": "OOMKilled",
                    "startedAt": start, "finishedAt": start}}, "restartCount": 2, "image": "redis"},
                "c": {"state": {"waiting": {"reason": "ContainerCreating"}}, "restartCount": 0, "image": ""},
            })
        );
    }
}
