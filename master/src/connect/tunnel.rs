//! Hands a request through to the other side, and its answer back; where both agree to upgrade, bytes both ways.
use super::dial::{dial, unreachable};
use super::{Security, Target};
use crate::error::ApiError;
use axum::body::Body;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, COOKIE, HOST, HeaderName, LOCATION,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, Version};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::time::timeout;

/// How long the head of an answer may take; what follows may take for ever (logs, watches).
const FIRST_BYTE: Duration = Duration::from_secs(120);
/// What belongs to one connection only (RFC 9110, section 7.6.1).
const HOP: [HeaderName; 6] = [
    CONNECTION,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
];
/// Who the client is, is this server's business alone.
const IDENTITY: [HeaderName; 2] = [AUTHORIZATION, COOKIE];

/// 204: there is nothing to be had.
pub(super) fn nothing() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// Sends it there and brings the answer.
///
/// # Errors
/// 503 where the other side cannot be reached or breaks off, 504 where it does not answer.
pub(super) async fn through(
    target: &Target,
    request: Request<Body>,
) -> Result<Response<Body>, ApiError> {
    let mut sender = dial(target).await?;
    let (outgoing, ours) = outgoing(target, request)?;
    let answer = timeout(FIRST_BYTE, sender.send_request(outgoing))
        .await
        .map_err(|_| {
            let why = format!("no answer within {} s", FIRST_BYTE.as_secs());
            let mut error = unreachable(target, &why);
            (error.code, error.reason) = (StatusCode::GATEWAY_TIMEOUT, "Timeout");
            error
        })?
        .map_err(|err| unreachable(target, &err.to_string()))?;
    let (mut head, body) = answer.into_parts();
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        let theirs = hyper::upgrade::on(Response::from_parts(head.clone(), body));
        let Some(ours) = ours else {
            return Err(unreachable(target, "it upgraded a connection unasked"));
        };
        tokio::spawn(join(ours, theirs));
        return Ok(Response::from_parts(head, Body::empty()));
    }
    strip(&mut head.headers, &HOP);
    head.headers.remove(UPGRADE);
    // A pod's cookies are none of this server's.
    if target.mount.is_some() {
        head.headers.remove(SET_COOKIE);
    }
    relocate(&mut head.headers, target);
    Ok(Response::from_parts(head, Body::new(body)))
}

/// The request as the other side gets it, and the client's side of the upgrade it asks for.
fn outgoing(
    target: &Target,
    request: Request<Body>,
) -> Result<(Request<Body>, Option<OnUpgrade>), ApiError> {
    let (mut head, body) = request.into_parts();
    let wants = head.version == Version::HTTP_11
        && head
            .headers
            .get(CONNECTION)
            .and_then(|value| value.to_str().ok())
            .is_some_and(|value| {
                value
                    .split(',')
                    .any(|word| word.trim().eq_ignore_ascii_case("upgrade"))
            });
    let upgrade = wants
        .then(|| head.headers.get(UPGRADE).cloned())
        .flatten()
        .zip(head.extensions.remove::<OnUpgrade>());
    strip(&mut head.headers, &HOP);
    strip(&mut head.headers, &IDENTITY);
    head.headers.remove(UPGRADE);
    let authority = match target.host.contains(':') {
        true => format!("[{}]:{}", target.host.trim_matches(['[', ']']), target.port),
        false => format!("{}:{}", target.host, target.port),
    };
    let host = HeaderValue::try_from(authority)
        .map_err(|err| ApiError::internal(format!("{}: {err}", target.what)))?;
    head.headers.insert(HOST, host);
    head.version = Version::HTTP_11;
    head.uri = target
        .path
        .parse::<Uri>()
        .map_err(|err| ApiError::bad_request(format!("cannot proxy to that path: {err}")))?;
    let (body, ours) = match upgrade {
        Some((protocol, ours)) => {
            head.headers
                .insert(CONNECTION, HeaderValue::from_static("Upgrade"));
            head.headers.insert(UPGRADE, protocol);
            head.headers.remove(CONTENT_LENGTH);
            (Body::empty(), Some(ours))
        }
        None => (body, None),
    };
    head.extensions = http::Extensions::new();
    Ok((Request::from_parts(head, body), ours))
}

/// Takes away these, and what `Connection` names besides.
fn strip(headers: &mut HeaderMap, names: &[HeaderName]) {
    let named: Vec<HeaderName> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|word| word.trim().parse().ok())
        .filter(|name| *name != UPGRADE)
        .collect();
    if names.contains(&CONNECTION) {
        for name in named {
            headers.remove(name);
        }
    }
    for name in names {
        headers.remove(name);
    }
}

/// A redirection to a path over there leads through here.
fn relocate(headers: &mut HeaderMap, target: &Target) {
    let (Some(mount), Some(location)) = (&target.mount, headers.get(LOCATION)) else {
        return;
    };
    let Some(uri) = location
        .to_str()
        .ok()
        .and_then(|text| text.parse::<Uri>().ok())
    else {
        return;
    };
    let scheme = match target.security {
        Security::Plain => "http",
        Security::Tls(_) => "https",
    };
    let same = match uri.authority() {
        None => true,
        Some(authority) => {
            authority.host().trim_matches(['[', ']']) == target.host
                && uri.scheme_str() == Some(scheme)
        }
    };
    if !same || !uri.path().starts_with('/') {
        return;
    }
    let rest = uri
        .path_and_query()
        .map_or("/", http::uri::PathAndQuery::as_str);
    if let Ok(value) = HeaderValue::try_from(format!("{mount}{rest}")) {
        headers.insert(LOCATION, value);
    }
}

/// Bytes both ways, until one of the two has gone.
async fn join(ours: OnUpgrade, theirs: OnUpgrade) {
    let (ours, theirs) = match tokio::try_join!(ours, theirs) {
        Ok(both) => both,
        Err(err) => return tracing::debug!(%err, "an upgrade did not come about"),
    };
    let (mut ours, mut theirs) = (TokioIo::new(ours), TokioIo::new(theirs));
    if let Err(err) = tokio::io::copy_bidirectional(&mut ours, &mut theirs).await {
        tracing::debug!(%err, "a proxied connection ended");
    }
}
