//! Pods by request: `PUT`, `GET`, `DELETE /pods/<namespace>/<name>`, and 2014's `POST /container` and `/containers`.
use super::body;
use super::request_error::RequestError;
use super::{Api, pods};
use crate::source::http::{Accepted, HttpError};
use crate::state::SourceKind;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use http::header::WARNING;
use http::{HeaderValue, StatusCode};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;

/// The largest manifest.
const LIMIT: usize = 4 << 20;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/pods/{namespace}/{name}", get(one).put(put).delete(delete))
        .route("/container", post(container).put(container))
        .route("/containers", post(containers).put(containers))
}

async fn one(
    State(api): State<Api>,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<Response, RequestError> {
    let host_ip = api.kubelet.node.network.host_ip();
    if let Ok(pod) = pods::named(&api, &namespace, &name) {
        return Ok(Json(pods::with_status(&pod, host_ip)).into_response());
    }
    // Wanted, and not let in: the reason is among the problems.
    let wanted =
        api.kubelet.http.get(&namespace, &name).ok_or_else(|| {
            RequestError::not_found(format!("pod \"{namespace}/{name}\" not found"))
        })?;
    let listing = api.kubelet.problems.get();
    let refused = listing
        .refused
        .iter()
        .find(|refused| refused.namespace == namespace && refused.name == name);
    let mut pod = (*wanted).clone();
    let status = pod.status.get_or_insert_default();
    status.phase = Some("Pending".to_owned());
    if let Some(refused) = refused {
        status.reason = Some("Refused".to_owned());
        status.message = Some(refused.message.clone());
    }
    Ok(Json(pod).into_response())
}

async fn put(
    State(api): State<Api>,
    Path((namespace, name)): Path<(String, String)>,
    body: Body,
) -> Result<Response, RequestError> {
    let text = body::read(body, LIMIT).await?.to_vec();
    let accepted = api.kubelet.http.put(&namespace, &name, text).await;
    let accepted = accepted.map_err(|err| refused(&err))?;
    let code = match accepted.created {
        true => StatusCode::CREATED,
        false => StatusCode::OK,
    };
    let pod = accepted.pods.first().map(|pod| (**pod).clone());
    let mut response = (code, Json(pod)).into_response();
    warn(&mut response, &accepted);
    Ok(response)
}

async fn delete(
    State(api): State<Api>,
    Path((namespace, name)): Path<(String, String)>,
) -> Result<Response, RequestError> {
    let deleted = api.kubelet.http.delete(&namespace, &name).await;
    if !deleted.map_err(|err| refused(&err))?.pods.is_empty() {
        return Ok(Json(Status {
            status: Some("Success".to_owned()),
            message: Some(format!("pod \"{namespace}/{name}\" is wanted no longer")),
            code: Some(200),
            ..Status::default()
        })
        .into_response());
    }
    let pod = pods::named(&api, &namespace, &name)?;
    let origin = &pod.record.origin;
    let whose = match origin.source {
        SourceKind::Command => "was started by a command: use `rkubelet stop`".to_owned(),
        source => format!(
            "comes from {} {}: remove it there",
            source.as_str(),
            origin.place
        ),
    };
    Err(RequestError::new(
        StatusCode::CONFLICT,
        format!("pod \"{namespace}/{name}\" was not asked for over HTTP; it {whose}"),
    ))
}

async fn container(api: State<Api>, body: Body) -> Result<Response, RequestError> {
    replace(api, "/container", body).await
}

async fn containers(api: State<Api>, body: Body) -> Result<Response, RequestError> {
    replace(api, "/containers", body).await
}

/// As in 2014: all that was asked for over HTTP before is wanted no longer, and the answer is empty.
async fn replace(
    State(api): State<Api>,
    place: &str,
    body: Body,
) -> Result<Response, RequestError> {
    let text = body::read(body, LIMIT).await?.to_vec();
    let accepted = api.kubelet.http.replace_all(place, text).await;
    let accepted = accepted.map_err(|err| refused(&err))?;
    let mut response = StatusCode::OK.into_response();
    warn(&mut response, &accepted);
    Ok(response)
}

/// What has no effect is said in the headers that kubectl shows.
fn warn(response: &mut Response, accepted: &Accepted) {
    for warning in &accepted.warnings {
        let text = warning.replace(['"', '\\'], "'");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{text}\"")) {
            response.headers_mut().append(WARNING, value);
        }
    }
}

fn refused(err: &HttpError) -> RequestError {
    let code = match err {
        HttpError::Invalid(_) => StatusCode::UNPROCESSABLE_ENTITY,
        HttpError::Full => StatusCode::PAYLOAD_TOO_LARGE,
        HttpError::Store(_) | HttpError::Unusable(_) => StatusCode::INTERNAL_SERVER_ERROR,
        HttpError::Ending => StatusCode::SERVICE_UNAVAILABLE,
    };
    RequestError::new(code, crate::error::chain(err))
}
