//! Pages that are no resources: health, version, what there is.
use super::{Front, answer};
use crate::error::ApiError;
use axum::body::Body;
use http::{HeaderMap, Method, Response, StatusCode};
use serde_json::{Value, json};

/// The version of Kubernetes whose API this is.
const MINOR: &str = "37";

/// What this server says it is: a version that clients can compare, and what it really is behind the `+`.
#[must_use]
pub(super) fn version() -> Value {
    json!({
        "major": "1", "minor": MINOR,
        "gitVersion": format!("v1.{MINOR}.0+rkube-{}", env!("CARGO_PKG_VERSION")),
        "gitCommit": "", "gitTreeState": "clean", "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none", "compiler": "rustc",
        "platform": format!("linux/{}", architecture()),
    })
}

/// As Go calls it.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The pages for everybody: health and version.
pub(super) async fn open(
    front: &Front,
    method: &Method,
    path: &str,
    query: Option<&str>,
) -> Option<Response<Body>> {
    if path == "/version" || path == "/version/" {
        return Some(reading(method, || {
            answer::value(StatusCode::OK, &version())
        }));
    }
    let (page, check) = match path
        .trim_start_matches('/')
        .trim_end_matches('/')
        .split_once('/')
    {
        Some((page, check)) => (page, Some(check)),
        None => (path.trim_matches('/'), None),
    };
    if !matches!(page, "healthz" | "livez" | "readyz") {
        return None;
    }
    let verbose = query.is_some_and(|query| {
        query
            .split('&')
            .any(|pair| pair == "verbose" || pair.starts_with("verbose="))
    });
    let checks = checks(front, page == "livez").await;
    Some(reading(method, || health(page, check, verbose, &checks)))
}

fn reading(method: &Method, page: impl FnOnce() -> Response<Body>) -> Response<Body> {
    match *method {
        Method::GET | Method::HEAD => page(),
        _ => answer::failure(&super::call::not_allowed()),
    }
}

/// What is looked at, and what is wrong with it.
type Checks = Vec<(&'static str, Result<(), String>)>;

/// A server lives though its store is away; it is not ready then.
async fn checks(front: &Front, alive: bool) -> Checks {
    let mut checks: Checks = vec![("ping", Ok(()))];
    if !alive {
        let store = front.registry.store().revision().await;
        checks.push(("etcd", store.map(drop).map_err(|err| err.to_string())));
        let trouble = front.caches.trouble();
        checks.push(("informer-sync", trouble.map_or(Ok(()), Err)));
    }
    checks
}

fn health(page: &str, only: Option<&str>, verbose: bool, checks: &Checks) -> Response<Body> {
    let chosen: Vec<_> = checks
        .iter()
        .filter(|(name, _)| only.is_none_or(|only| only == *name))
        .collect();
    if chosen.is_empty() {
        return answer::text(StatusCode::NOT_FOUND, "404 page not found\n");
    }
    let good = chosen.iter().all(|(_, check)| check.is_ok());
    let code = match good {
        true => StatusCode::OK,
        false if page == "readyz" || page == "healthz" => StatusCode::INTERNAL_SERVER_ERROR,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    if good && !verbose {
        return answer::text(code, "ok");
    }
    let mut text = String::new();
    for (name, check) in chosen {
        text += &match check {
            Ok(()) => format!("[+]{name} ok\n"),
            Err(why) => format!("[-]{name} failed: {why}\n"),
        };
    }
    text += &format!("{page} check {}\n", if good { "passed" } else { "failed" });
    answer::text(code, text)
}

/// The other pages, for those who may see them.
pub(super) fn page(
    front: &Front,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
) -> Result<Response<Body>, ApiError> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return Err(super::call::not_allowed());
    }
    if let Some(known) = front.discovery.answer(path, headers) {
        return Ok(known);
    }
    let trimmed = match path.trim_end_matches('/') {
        "" => "/",
        path => path,
    };
    Ok(match trimmed {
        "/" => answer::value(StatusCode::OK, &json!({"paths": paths(front)})),
        "/metrics" => {
            let page = front.metrics.page(&front.caches);
            answer::content(StatusCode::OK, crate::metrics::KIND, page.into())
        }
        "/openid/v1/jwks" => {
            let jwks = front.key.jwks().to_string();
            answer::content(StatusCode::OK, "application/jwk-set+json", jwks.into())
        }
        "/.well-known/openid-configuration" => {
            let base = crate::auth::tokens::Signer::issuer(&*front.key).trim_end_matches('/');
            let jwks = format!("{base}/openid/v1/jwks");
            answer::value(StatusCode::OK, &front.key.configuration(&jwks))
        }
        _ => return missing(trimmed),
    })
}

/// 404: a `Status` below the API, text elsewhere.
fn missing(path: &str) -> Result<Response<Body>, ApiError> {
    match path.starts_with("/api/") || path.starts_with("/apis/") {
        true => Err(ApiError::no_resource()),
        false => Ok(answer::text(StatusCode::NOT_FOUND, "404 page not found\n")),
    }
}

fn paths(front: &Front) -> Vec<String> {
    let mut all: std::collections::BTreeSet<String> = [
        "/.well-known/openid-configuration",
        "/healthz",
        "/livez",
        "/metrics",
        "/openapi/v2",
        "/openapi/v3",
        "/openid/v1/jwks",
        "/readyz",
        "/version",
    ]
    .map(str::to_owned)
    .into();
    all.extend(front.discovery.paths().iter().cloned());
    all.into_iter().collect()
}
