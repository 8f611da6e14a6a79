//! `/pods`, `/runningpods`: the pods of this kubelet as v1 has them.
use super::Api;
use super::request_error::RequestError;
use crate::state::StoredPod;
use crate::status;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use k8s_openapi::List;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use std::net::IpAddr;
use std::sync::Arc;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/pods", get(all))
        .route("/pods/", get(all))
        .route("/runningpods", get(running))
        .route("/runningpods/", get(running))
}

fn list(pods: impl Iterator<Item = Pod>) -> Response {
    Json(List::<Pod> {
        items: pods.collect(),
        ..List::default()
    })
    .into_response()
}

/// All pods with their status.
async fn all(State(api): State<Api>) -> Response {
    let host_ip = api.kubelet.node.network.host_ip();
    let pods = api.kubelet.node.registry.list();
    list(pods.iter().map(|pod| with_status(pod, host_ip)))
}

/// The pod of that name.
pub(super) fn named(
    api: &Api,
    namespace: &str,
    name: &str,
) -> Result<Arc<StoredPod>, RequestError> {
    api.kubelet
        .node
        .registry
        .named(namespace, name)
        .ok_or_else(|| RequestError::not_found(format!("pod \"{namespace}/{name}\" not found")))
}

pub(super) fn with_status(pod: &Arc<StoredPod>, host_ip: Option<IpAddr>) -> Pod {
    status::pod_with_status(&pod.record, &pod.state, host_ip)
}

/// What runs: pods with the containers that have a process, and no more of their manifest than that.
async fn running(State(api): State<Api>) -> Response {
    let pods = api.kubelet.node.registry.list();
    list(pods.iter().filter_map(|pod| run_of(pod)))
}

fn run_of(pod: &StoredPod) -> Option<Pod> {
    let running = |name: &str| pod.state.container(name).is_some_and(|one| one.running());
    let of = |containers: Option<&Vec<Container>>| -> Vec<Container> {
        let all = containers.into_iter().flatten();
        all.filter(|one| running(&one.name))
            .map(|one| Container {
                name: one.name.clone(),
                image: one.image.clone(),
                ..Container::default()
            })
            .collect()
    };
    let (asked, meta) = (pod.record.pod.spec.as_ref()?, &pod.record.pod.metadata);
    let spec = PodSpec {
        init_containers: Some(of(asked.init_containers.as_ref())).filter(|all| !all.is_empty()),
        containers: of(Some(&asked.containers)),
        ..PodSpec::default()
    };
    if spec.containers.is_empty() && spec.init_containers.is_none() {
        return None;
    }
    let mut out = Pod {
        spec: Some(spec),
        ..Pod::default()
    };
    out.metadata.name.clone_from(&meta.name);
    out.metadata.namespace.clone_from(&meta.namespace);
    out.metadata.uid.clone_from(&meta.uid);
    Some(out)
}
