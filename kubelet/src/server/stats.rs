//! `/stats/summary`, and the older `/stats/...` in cAdvisor's words: what pods and the host use.
//!
//! Nothing is measured while nobody asks. A rate is that since somebody asked last; the first who asks waits for a moment.
mod cadvisor;
mod rates;
pub(super) mod reading;
mod summary;

pub(super) use rates::Rates;

use super::request_error::RequestError;
use super::{Api, pods};
use axum::extract::{Path, Query, State};
use axum::routing::get;
use axum::{Json, Router};
use reading::{Host, PodReading};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::Duration;

/// Between the two readings that give the first rates.
const MOMENT: Duration = Duration::from_millis(200);

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/stats/summary", get(summary).post(summary))
        .route("/stats", get(root).post(root))
        .route("/stats/", get(root).post(root))
        .route("/stats/{pod}", get(nothing).post(nothing))
        .route("/stats/{pod}/{container}", get(of_default).post(of_default))
        .route("/stats/{pod}/{uid}/{container}", get(of_uid).post(of_uid))
        .route(
            "/stats/{namespace}/{pod}/{uid}/{container}",
            get(named).post(named),
        )
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Asked {
    only_cpu_and_memory: bool,
}

async fn summary(
    State(api): State<Api>,
    Query(asked): Query<Asked>,
) -> Result<Json<Value>, RequestError> {
    let disks = !asked.only_cpu_and_memory;
    let mut read = read(&api, disks).await?;
    if !api.rates.knows(&read.0, &read.1) {
        tokio::time::sleep(MOMENT).await;
        read = self::read(&api, disks).await?;
    }
    let (host, pods) = read;
    let node = &api.kubelet.node.name;
    Ok(Json(summary::summary(node, &host, &pods, &api.rates)))
}

/// Everything, read on a thread for blocking work.
pub(super) async fn read(api: &Api, disks: bool) -> Result<(Host, Vec<PodReading>), RequestError> {
    let api = api.clone();
    let read = tokio::task::spawn_blocking(move || {
        let node = &api.kubelet.node;
        let pods = node.registry.list();
        let running = pods.iter().filter(|pod| !pod.state.phase.ended());
        let pods: Vec<_> = running
            .map(|pod| {
                let disk = disks.then_some(&api.disks);
                PodReading::of(&node.paths, &node.cgroups, pod, disk)
            })
            .collect();
        let host = Host::read(&node.paths)?;
        api.rates.note(&host, &pods);
        Ok::<_, std::io::Error>((host, pods))
    });
    match read.await {
        Ok(Ok(read)) => Ok(read),
        Ok(Err(err)) => Err(RequestError::internal(&err)),
        Err(err) => Err(RequestError::internal(&err)),
    }
}

async fn root(State(api): State<Api>) -> Result<Json<Value>, RequestError> {
    let (host, _) = read(&api, false).await?;
    Ok(Json(cadvisor::host(&host)))
}

/// As in 2014: a pod is no container.
async fn nothing() -> Json<Value> {
    Json(json!({}))
}

async fn of_default(
    api: State<Api>,
    Path((pod, container)): Path<(String, String)>,
) -> Result<Json<Value>, RequestError> {
    let names = ("default".to_owned(), pod, String::new(), container);
    named(api, Path(names)).await
}

async fn of_uid(
    api: State<Api>,
    Path((pod, uid, container)): Path<(String, String, String)>,
) -> Result<Json<Value>, RequestError> {
    named(api, Path(("default".to_owned(), pod, uid, container))).await
}

async fn named(
    State(api): State<Api>,
    Path((namespace, name, uid, container)): Path<(String, String, String, String)>,
) -> Result<Json<Value>, RequestError> {
    let pod = pods::named(&api, &namespace, &name)?;
    let not_found =
        |what: &str| RequestError::not_found(format!("pod \"{}\" {what}", pod.record.full_name()));
    if !uid.is_empty() && uid != pod.record.uid() {
        return Err(not_found("has another uid"));
    }
    if pod.state.container(&container).is_none() {
        return Err(not_found(&format!("has no container \"{container}\"")));
    }
    let node = api.kubelet.node.clone();
    let read =
        tokio::task::spawn_blocking(move || PodReading::of(&node.paths, &node.cgroups, &pod, None));
    let read = read.await.map_err(|err| RequestError::internal(&err))?;
    // One that does not run uses nothing.
    let info = cadvisor::container(&read, &container);
    Ok(Json(info.unwrap_or_else(|| json!({}))))
}
