//! Answers: objects in the form that was asked for, `Status`es, pages; packed where that pays.
use super::accept::{Accepted, Text};
use crate::error::ApiError;
use crate::registry::Answer;
use crate::render::{self, Form};
use crate::resource::Resource;
use axum::body::Body;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, VARY, WWW_AUTHENTICATE,
};
use http::{HeaderName, HeaderValue, Response, StatusCode};
use serde_json::Value;
use std::io::Write;
use std::sync::Arc;

/// What is said in `Content-Type`.
pub(super) const JSON: &str = "application/json";
const YAML: &str = "application/yaml";
/// Below this nothing is packed, as with Kubernetes' own server.
const PACKED_FROM: usize = 128 * 1024;
/// The longest warning; the longest of all together.
const WARNING: usize = 4 * 1024;

/// A page of text.
pub(super) fn text(status: StatusCode, text: impl Into<Body>) -> Response<Body> {
    content(status, "text/plain; charset=utf-8", text.into())
}

/// JSON as it is.
pub(super) fn json(status: StatusCode, bytes: impl Into<Body>) -> Response<Body> {
    content(status, JSON, bytes.into())
}

/// A value as JSON.
pub(super) fn value(status: StatusCode, value: &Value) -> Response<Body> {
    json(status, value.to_string())
}

pub(super) fn content(status: StatusCode, of: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(of));
    headers.insert(
        "x-content-type-options",
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(
        http::header::CACHE_CONTROL,
        HeaderValue::from_static("no-cache, private"),
    );
    response
}

/// What came of a call to the registry.
pub(super) fn object(
    answer: &Answer,
    resource: Option<&Arc<dyn Resource>>,
    accepted: Accepted,
) -> Result<Response<Body>, ApiError> {
    let mut bytes = answer.content.bytes();
    // A `Status` is what it is, whatever form was asked for.
    let is_object = resource.is_some_and(|resource| is_of(&bytes, resource.names().kind));
    if let (Some(resource), true) = (resource, is_object && accepted.form != Form::Plain) {
        bytes = render::object(resource, accepted.form, &bytes);
    }
    let mut response = written(answer.status, bytes, accepted.text)?;
    warn(&mut response, &answer.warnings);
    Ok(response)
}

/// Whether JSON text is of an object of this kind, from what stands near its beginning.
fn is_of(bytes: &[u8], kind: &str) -> bool {
    let head = bytes.get(..256).unwrap_or(bytes);
    let wanted = format!("\"kind\":\"{kind}\"");
    let at_start = head
        .windows(wanted.len())
        .any(|window| window == wanted.as_bytes());
    at_start || serde_json::from_slice::<Kind>(bytes).is_ok_and(|found| found.kind == kind)
}

#[derive(serde::Deserialize)]
struct Kind<'b> {
    #[serde(borrow)]
    kind: std::borrow::Cow<'b, str>,
}

/// JSON bytes in the wished kind of text.
pub(super) fn written(
    status: StatusCode,
    bytes: Bytes,
    text: Text,
) -> Result<Response<Body>, ApiError> {
    let parse = |bytes: &[u8]| {
        serde_json::from_slice::<Value>(bytes)
            .map_err(|err| ApiError::internal(format!("an answer is no JSON: {err}")))
    };
    Ok(match text {
        Text::Json => json(status, bytes),
        Text::Pretty => json(status, format!("{:#}\n", parse(&bytes)?)),
        Text::Yaml => {
            let yaml = rkube_api::yaml::to_string(&parse(&bytes)?);
            let yaml = yaml.map_err(|err| ApiError::internal(err.to_string()))?;
            content(status, YAML, yaml.into())
        }
    })
}

/// An error as a `Status`.
pub(super) fn failure(error: &ApiError) -> Response<Body> {
    let mut response = value(error.code, &error.status());
    let headers = response.headers_mut();
    if let Some(seconds) = error.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if error.code == StatusCode::UNAUTHORIZED {
        let how = HeaderValue::from_static("Bearer realm=\"rkube\"");
        headers.insert(WWW_AUTHENTICATE, how);
    }
    response
}

/// Adds `Warning` headers (RFC 7234, 5.5), as kubectl prints them.
pub(super) fn warn(response: &mut Response<Body>, warnings: &[String]) {
    let mut room = WARNING;
    for warning in warnings {
        let text: String = warning
            .chars()
            .map(|letter| if letter.is_control() { ' ' } else { letter })
            .collect();
        let text = text.replace('\\', "\\\\").replace('"', "\\\"");
        let Some(left) = room.checked_sub(text.len()) else {
            return;
        };
        room = left;
        if let Ok(value) = HeaderValue::from_bytes(format!("299 - \"{text}\"").as_bytes()) {
            response.headers_mut().append(http::header::WARNING, value);
        }
    }
}

/// Packed bytes.
pub(super) fn gzip(bytes: &[u8]) -> std::io::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(6));
    encoder.write_all(bytes)?;
    encoder.finish().map(Bytes::from)
}

/// Bytes that [`gzip`] packed.
pub(super) fn ungzip(bytes: &[u8]) -> std::io::Result<Bytes> {
    let mut plain = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(bytes), &mut plain)?;
    Ok(plain.into())
}

/// Packs an answer whose length is known and pays.
pub(super) async fn packed(response: Response<Body>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    let length = hyper::body::Body::size_hint(&body).exact();
    let plain = !parts.headers.contains_key(CONTENT_ENCODING);
    let Some(length) = length.and_then(|length| usize::try_from(length).ok()) else {
        return Response::from_parts(parts, body);
    };
    if length < PACKED_FROM || !plain {
        return Response::from_parts(parts, body);
    }
    let name: HeaderName = VARY;
    parts
        .headers
        .append(name, HeaderValue::from_static("Accept-Encoding"));
    parts
        .headers
        .insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    parts.headers.remove(CONTENT_LENGTH);
    Response::from_parts(parts, Body::from_stream(pack(body)))
}

/// Packs what comes while it comes: a list is never held twice.
fn pack(body: Body) -> impl futures::Stream<Item = Result<Bytes, axum::Error>> + Send {
    let encoder = GzEncoder::new(Vec::new(), Compression::new(1));
    let start = (body.into_data_stream(), Some(encoder));
    futures::stream::try_unfold(start, |(mut body, encoder)| async move {
        use futures::StreamExt;
        let Some(mut encoder) = encoder else {
            return Ok(None);
        };
        while let Some(piece) = body.next().await {
            encoder.write_all(&piece?).map_err(axum::Error::new)?;
            if encoder.get_ref().len() >= 32 * 1024 {
                let ready = std::mem::take(encoder.get_mut());
                return Ok(Some((Bytes::from(ready), (body, Some(encoder)))));
            }
        }
        let last = encoder.finish().map_err(axum::Error::new)?;
        Ok(Some((Bytes::from(last), (body, None))))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;
    use std::io::Read;

    #[tokio::test]
    async fn large_answers_are_packed_and_small_ones_not() {
        let large = "{\"a\":\"b\"}".repeat(60_000);
        let packed_one = packed(json(StatusCode::OK, large.clone())).await;
        assert_eq!(packed_one.headers()[CONTENT_ENCODING], "gzip");
        let bytes = packed_one.into_body().collect().await.unwrap().to_bytes();
        assert!(bytes.len() < large.len() / 10);
        let mut text = String::new();
        flate2::read::GzDecoder::new(&bytes[..])
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!(text, large);
        let small = packed(json(StatusCode::OK, "{}")).await;
        assert!(!small.headers().contains_key(CONTENT_ENCODING));
    }

    #[test]
    fn warnings_are_one_line_each_and_bounded() {
        let mut response = json(StatusCode::OK, "{}");
        let long = "x".repeat(WARNING);
        warn(&mut response, &["unknown field \"a\"\n".to_owned(), long]);
        let all: Vec<_> = response.headers().get_all("warning").iter().collect();
        assert_eq!(all, ["299 - \"unknown field \\\"a\\\" \""]);
    }

    #[test]
    fn yaml_and_json_for_people() {
        let bytes = Bytes::from_static(b"{\"a\":[1]}");
        let pretty = written(StatusCode::OK, bytes.clone(), Text::Pretty).unwrap();
        assert_eq!(pretty.headers()[CONTENT_TYPE], JSON);
        let yaml = written(StatusCode::OK, bytes, Text::Yaml).unwrap();
        assert_eq!(yaml.headers()[CONTENT_TYPE], YAML);
        assert!(is_of(b"{\"metadata\":{},\"kind\":\"Pod\"}", "Pod"));
        assert!(!is_of(b"{\"kind\":\"Status\"}", "Pod"));
    }
}
