//! `/rkube/v1/pods`, on the socket alone: the pods as this program keeps them, for its own verbs.
use super::Api;
use crate::state::{PodRecord, PodState, StoredPod};
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

/// The path.
pub const PODS: &str = "/rkube/v1/pods";

/// A pod of the answer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Known {
    /// What was asked for, without what comes beside the pod.
    pub record: PodRecord,
    /// What was last observed.
    pub state: PodState,
}

impl Known {
    fn of(pod: &StoredPod) -> Self {
        Known {
            record: pod.record.alone(),
            state: pod.state.clone(),
        }
    }
}

pub(super) fn routes() -> Router<Api> {
    Router::new().route(PODS, get(all))
}

/// All pods, oldest first.
async fn all(State(api): State<Api>) -> Response {
    let pods = api.kubelet.node.registry.list();
    let known: Vec<Known> = pods.iter().map(|pod| Known::of(pod)).collect();
    Json(known).into_response()
}
