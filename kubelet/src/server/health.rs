//! `/healthz`: for everybody, since it says nothing but that the kubelet does its work.
use super::Api;
use super::request_error::RequestError;
use axum::Router;
use axum::extract::{Path, RawQuery, State};
use axum::routing::get;
use http::StatusCode;
use std::time::Duration;

/// How long the pods' loop may take to answer: it waits for nothing.
const LOOP_WAIT: Duration = Duration::from_secs(2);

/// The checks by name.
const CHECKS: [&str; 2] = ["ping", "syncloop"];

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/healthz", get(all))
        .route("/healthz/{check}", get(one))
}

async fn all(State(api): State<Api>, RawQuery(query): RawQuery) -> Result<String, RequestError> {
    let mut lines = String::new();
    let mut failed = false;
    for check in CHECKS {
        match run(&api, check).await {
            Ok(()) => lines.push_str(&format!("[+]{check} ok\n")),
            Err(why) => {
                failed = true;
                lines.push_str(&format!("[-]{check} failed: {why}\n"));
            }
        }
    }
    let verbose = query.is_some_and(|query| {
        query
            .split('&')
            .any(|part| part == "verbose" || part.starts_with("verbose="))
    });
    match (failed, verbose) {
        (true, _) => Err(unhealthy(format!("{lines}healthz check failed"))),
        (false, true) => Ok(format!("{lines}healthz check passed\n")),
        (false, false) => Ok("ok".to_owned()),
    }
}

async fn one(State(api): State<Api>, Path(check): Path<String>) -> Result<String, RequestError> {
    if !CHECKS.contains(&check.as_str()) {
        let known = CHECKS.join(", ");
        return Err(RequestError::not_found(format!(
            "there is no check \"{check}\"; there are {known}"
        )));
    }
    match run(&api, &check).await {
        Ok(()) => Ok("ok".to_owned()),
        Err(why) => Err(unhealthy(why)),
    }
}

fn unhealthy(why: String) -> RequestError {
    RequestError::new(StatusCode::INTERNAL_SERVER_ERROR, why)
}

async fn run(api: &Api, check: &str) -> Result<(), String> {
    if check != "syncloop" {
        return Ok(());
    }
    match tokio::time::timeout(LOOP_WAIT, api.kubelet.pods.ping()).await {
        Ok(true) => Ok(()),
        Ok(false) => Err("the pods' loop has ended".to_owned()),
        Err(_) => Err(format!(
            "the pods' loop did not answer within {} s",
            LOOP_WAIT.as_secs()
        )),
    }
}
