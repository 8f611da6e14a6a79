//! Bodies of requests: bounded, of a type that is understood, decoded by the kind they are to be.
use crate::call::Call;
use crate::error::ApiError;
use crate::registry::{Body, Patch, PatchKind};
use crate::resource::Resource;
use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use rkube_api::schema::{Schemas, Type};
use rkube_api::strict::{self, ACCEPTED, FieldValidation, Media};
use rkube_api::validate::FieldError;
use rkube_http::body::BodyError;
use serde_json::Value;
use std::sync::Arc;

/// The largest body, as with Kubernetes' own server.
const LIMIT: usize = 3 << 20;

/// The whole body.
pub(super) async fn read(call: &Call, body: axum::body::Body) -> Result<Bytes, ApiError> {
    if call.headers.contains_key(CONTENT_ENCODING) {
        rkube_http::body::drain(body).await;
        return Err(unsupported_type(
            "bodies are not to be packed (Content-Encoding)",
        ));
    }
    let read = rkube_http::body::read(body, LIMIT).await;
    read.map_err(|err| {
        let reason = match err {
            BodyError::TooLarge { .. } => "RequestEntityTooLarge",
            BodyError::Late(_) => "Timeout",
            BodyError::Broken(_) => "BadRequest",
        };
        let message = match &err {
            BodyError::TooLarge { .. } => {
                format!("Request entity too large: limit is {LIMIT}")
            }
            other => other.to_string(),
        };
        ApiError::new(err.code(), reason, message)
    })
}

/// What `Content-Type` says.
pub(super) fn content_type(call: &Call) -> &str {
    let found = call.headers.get(CONTENT_TYPE);
    found
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

fn media(call: &Call) -> Result<Media, ApiError> {
    Media::parse(Some(content_type(call))).ok_or_else(|| unsupported(ACCEPTED))
}

/// 415.
pub(super) fn unsupported(accepted: &str) -> ApiError {
    unsupported_type(&format!(
        "the body of the request was in an unknown format - accepted media types include: {accepted}"
    ))
}

fn unsupported_type(message: &str) -> ApiError {
    ApiError::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "UnsupportedMediaType",
        message,
    )
}

/// An object of the resource, or of the kind its subresource takes.
pub(super) async fn object(
    resource: &Arc<dyn Resource>,
    call: &Call,
    body: axum::body::Body,
) -> Result<Body, ApiError> {
    let names = resource.names();
    let sub = resource
        .subresources()
        .iter()
        .find(|sub| sub.name == call.subresource);
    let (group, version, kind) = match sub {
        Some(sub) => {
            let (group, version) = sub.group_version.unwrap_or((names.group, names.version));
            (group, version, sub.kind)
        }
        None => (names.group, names.version, names.kind),
    };
    let bytes = read(call, body).await?;
    decode(call, &bytes, [group, version, kind])
}

/// Bytes as an object of a kind.
pub(super) fn decode(call: &Call, bytes: &[u8], kind: [&str; 3]) -> Result<Body, ApiError> {
    let [group, version, kind] = kind;
    let schemas = Schemas::builtin();
    let of = schemas.of_kind(group, version, kind);
    let of = of.ok_or_else(|| ApiError::internal(format!("the type of {kind} is not known")))?;
    let api_version = match group {
        "" => version.to_owned(),
        group => format!("{group}/{version}"),
    };
    let decoded = typed(call, bytes, of, (&api_version, kind))?;
    Ok(Body {
        value: decoded.value,
        warnings: decoded.warnings,
    })
}

fn typed(
    call: &Call,
    bytes: &[u8],
    of: &Type,
    (api_version, kind): (&str, &str),
) -> Result<strict::Decoded, ApiError> {
    let mode = field_validation(call)?;
    let decoded = strict::decode(bytes, media(call)?, of, Schemas::builtin(), mode);
    decoded.map_err(|err| ApiError::bad_request(err.refusal(api_version, kind)))
}

/// A patch, by its `Content-Type`.
pub(super) async fn patch(call: &Call, body: axum::body::Body) -> Result<Patch, ApiError> {
    const KINDS: &str = "application/json-patch+json, application/merge-patch+json, \
                         application/strategic-merge-patch+json, application/apply-patch+yaml";
    let kind = PatchKind::parse(content_type(call)).ok_or_else(|| unsupported(KINDS))?;
    let bytes = read(call, body).await?;
    let media = match kind {
        PatchKind::Apply => Media::Yaml,
        PatchKind::Json | PatchKind::Merge | PatchKind::Strategic => Media::Json,
    };
    let value = strict::untyped(&bytes, media);
    let value = value.map_err(|err| ApiError::bad_request(err.to_string()))?;
    Ok(Patch { kind, value })
}

/// What happens to unknown fields.
fn field_validation(call: &Call) -> Result<FieldValidation, ApiError> {
    let word = call.parameter("fieldValidation");
    FieldValidation::parse(word).ok_or_else(|| {
        let wrong = FieldError::unsupported(
            "fieldValidation",
            word.unwrap_or_default(),
            &["Ignore", "Strict", "Warn"],
        );
        ApiError::invalid("meta.k8s.io", "CreateOptions", "", &[wrong])
    })
}

/// The `DeleteOptions` of a body, if there is one.
pub(super) async fn delete_options(
    call: &Call,
    body: axum::body::Body,
) -> Result<Option<Value>, ApiError> {
    let bytes = read(call, body).await?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let schemas = Schemas::builtin();
    let of = schemas.of_kind("", "v1", "DeleteOptions");
    let of = of.ok_or_else(|| ApiError::internal("the type of DeleteOptions is not known"))?;
    let decoded = typed(call, &bytes, of, ("v1", "DeleteOptions"))?;
    Ok(Some(decoded.value))
}
