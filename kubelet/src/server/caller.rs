//! Who asks, and whether that is enough.
//!
//! ```text
//! connection (certificate, socket) --+
//! Authorization: Bearer <token> -----+--> Caller{name, groups} --allowed(class of the path)--> handler
//! ```
//! Only `/healthz` asks nobody.
use super::Api;
use super::request_error::RequestError;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::header::AUTHORIZATION;
use http::{HeaderMap, Method, StatusCode};
use rkube_http::{Caller, Door};

/// Groups that may do everything.
const MASTERS: [&str; 2] = ["system:masters", "kubeadm:cluster-admins"];
/// The group that may read what is measured, and nothing else.
const MONITORING: &str = "system:monitoring";

/// Somebody who may do everything.
pub(super) fn master(name: &str) -> Caller {
    Caller {
        name: name.to_owned(),
        groups: vec![MASTERS[0].to_owned()],
    }
}

fn may(caller: &Caller, method: &Method, path: &str) -> bool {
    let is_in = |group: &str| caller.groups.iter().any(|own| own == group);
    let reads = matches!(*method, Method::GET | Method::HEAD);
    MASTERS.iter().any(|group| is_in(group)) || (is_in(MONITORING) && reads && measures(path))
}

/// Whether the path is of numbers alone.
fn measures(path: &str) -> bool {
    let first = path.split('/').nth(1).unwrap_or_default();
    matches!(first, "metrics" | "stats" | "spec" | "healthz")
}

/// Lets nobody through who may not.
pub(super) async fn check(State(api): State<Api>, mut request: Request, next: Next) -> Response {
    let Some(door) = request.extensions().get::<Door>().cloned() else {
        return RequestError::new(StatusCode::UNAUTHORIZED, "Unauthorized").into_response();
    };
    let refused = match identify(&api, &door, request.headers()) {
        Ok(caller) => {
            door.known();
            let (method, path) = (request.method(), request.uri().path());
            if may(&caller, method, path) {
                request.extensions_mut().insert(caller);
                return next.run(request).await;
            }
            let message = format!(
                "Forbidden (user={}, method={method}, path={path}): it needs the group {}",
                caller.name, MASTERS[0]
            );
            RequestError::new(StatusCode::FORBIDDEN, message)
        }
        Err(why) => RequestError::new(StatusCode::UNAUTHORIZED, format!("Unauthorized: {why}")),
    };
    api.metrics.refused(refused.code());
    let (path, why) = (request.uri().path(), refused.message());
    tracing::debug!(door = %door, path, why, "refused");
    super::body::drain(request.into_body()).await;
    refused.into_response()
}

/// A token says more about the request than the connection does, so it goes first, as with an API server.
fn identify(api: &Api, door: &Door, headers: &HeaderMap) -> Result<Caller, String> {
    if door.is_local() {
        return Ok(master("root"));
    }
    if let Some(header) = headers.get(AUTHORIZATION) {
        let token = header
            .to_str()
            .ok()
            .and_then(|header| header.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map(|(_, token)| token.trim());
        return match token {
            Some(token) => api
                .tokens
                .caller(token)
                .ok_or_else(|| "nobody has this token".to_owned()),
            None => Err("only bearer tokens are understood".to_owned()),
        };
    }
    match door.certificate() {
        Some(certificate) => certificate.caller(jiff::Timestamp::now()),
        None => Err("a client certificate or a bearer token is needed".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(groups: &[&str], method: &Method, path: &str, expected: bool) {
        let caller = Caller {
            name: "somebody".to_owned(),
            groups: groups.iter().map(|&group| group.to_owned()).collect(),
        };
        assert_eq!(may(&caller, method, path), expected, "{groups:?} {path}");
    }

    #[test]
    fn who_may_what() {
        for path in ["/pods", "/exec/default/web/a", "/", "/metrics"] {
            check(&["system:masters"], &Method::POST, path, true);
            check(&["a", "kubeadm:cluster-admins"], &Method::GET, path, true);
            check(&[], &Method::GET, path, false);
            check(&["system:nodes", "masters"], &Method::GET, path, false);
        }
        let readers = &["system:monitoring"];
        for path in ["/metrics", "/metrics/resource", "/stats/summary", "/spec/"] {
            check(readers, &Method::GET, path, true);
            check(readers, &Method::POST, path, false);
        }
        for path in [
            "/pods",
            "/metricsx",
            "//metrics",
            "/logs/metrics",
            "/exec/metrics/a/b",
        ] {
            check(readers, &Method::GET, path, false);
        }
    }
}
