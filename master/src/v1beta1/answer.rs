//! Answers as 2014 gave them.
use super::Hub;
use super::path::Asked;
use crate::error::ApiError;
use axum::body::Body;
use http::{Response, StatusCode, header};
use rkube_api::v1beta1::status::status;
use rkube_api::v1beta1::table::{self, Kind, Version};
use serde_json::{Value, json};

/// Plain text.
pub(super) fn text(code: StatusCode, text: String) -> Response<Body> {
    made(code, "text/plain; charset=utf-8", text.into())
}

/// JSON.
pub(super) fn json(code: StatusCode, value: &Value) -> Response<Body> {
    made(code, "application/json", value.to_string().into())
}

pub(super) fn made(code: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    let kind = http::HeaderValue::from_static(kind);
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// An error, about what was asked for.
pub(super) fn failure(error: &ApiError, asked: &Asked) -> Response<Body> {
    let (code, value) = failed(error, asked);
    let mut response = json(code, &value);
    if let Some(seconds) = error.retry_after {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// The Status of an error.
pub(super) fn failed(error: &ApiError, asked: &Asked) -> (StatusCode, Value) {
    let mut shown = status(&error.status(), asked.kind, &asked.id);
    shown["apiVersion"] = asked.version.as_str().into();
    (error.code, shown)
}

/// A Status that says that it is done.
pub(super) fn success(version: Version) -> Value {
    json!({"kind": "Status", "creationTimestamp": null, "status": "Success", "apiVersion": version.as_str()})
}

impl Hub {
    /// An object in a version, with its link; `alone` is one that is not in a list.
    pub(super) fn finish(&self, kind: Kind, version: Version, alone: bool, object: &mut Value) {
        let id = object["id"].as_str().unwrap_or_default();
        object["selfLink"] = format!("{}/{id}", self.link(kind, version)).into();
        if alone {
            object["kind"] = kind.name().into();
            object["apiVersion"] = version.as_str().into();
        }
        table::show(version, object);
    }
    /// Where all objects of a kind are.
    pub(super) fn link(&self, kind: Kind, version: Version) -> String {
        format!("{}/{}/{}", self.prefix, version.as_str(), kind.resource())
    }
}
