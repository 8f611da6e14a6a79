//! Bodies: YAML of any kind, whatever the content type says.
use super::path::Asked;
use crate::error::ApiError;
use axum::body::Body;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Limited};
use rkube_api::strict::{Media, untyped};
use rkube_api::v1beta1::table::{self, Version};
use serde_json::Value;
use std::time::Duration;

/// The longest body that is read.
const MOST: usize = 3 << 20;
/// How long a client may take to send it.
const PATIENCE: Duration = Duration::from_secs(60);

/// The object in a body.
pub(super) async fn read(asked: &Asked, request: Request<Body>) -> Result<Value, ApiError> {
    let reading = Limited::new(request.into_body(), MOST).collect();
    let body = tokio::time::timeout(PATIENCE, reading).await;
    let body = body.map_err(|_| ApiError::bad_request("the body did not come in time"))?;
    let body = body.map_err(|err| match err.is::<http_body_util::LengthLimitError>() {
        true => {
            let why = format!("the body has more than {MOST} bytes");
            ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", why)
        }
        false => ApiError::bad_request(format!("the body cannot be read: {err}")),
    })?;
    object(asked, &body.to_bytes())
}

/// As [`read`], of bytes.
pub(super) fn object(asked: &Asked, body: &[u8]) -> Result<Value, ApiError> {
    if body.trim_ascii().is_empty() {
        return Err(ApiError::bad_request("empty input"));
    }
    let given = untyped(body, Media::Yaml).map_err(|err| ApiError::bad_request(err.to_string()))?;
    if !given.is_object() {
        return Err(ApiError::bad_request("the body is not an object"));
    }
    let version = match given["apiVersion"].as_str() {
        None | Some("") => asked.version,
        Some(word) => Version::parse(word).ok_or_else(|| {
            let path = format!("/api/{word}");
            let why = "is not for this path; send v1 objects to";
            ApiError::bad_request(format!("apiVersion {word:?} {why} {path}"))
        })?,
    };
    let kind = given["kind"].as_str().unwrap_or_default();
    if !kind.is_empty() && kind != asked.kind.name() {
        let want = asked.kind.name();
        return Err(ApiError::bad_request(format!(
            "data of kind '{kind}', obj of type '{want}'"
        )));
    }
    Ok(table::read(asked.kind, version, &given))
}
