//! The documents of OpenAPI, made when first asked for and kept packed.
use super::answer;
use crate::error::ApiError;
use crate::resource::Resource;
use axum::body::Body;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, ETAG, EXPIRES, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use rkube_api::openapi::{Served, ServedPart, hash, v2, v3};
use rkube_api::schema::Schemas;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// What clients call protobuf here; the dot, since Go's reader takes no `@`.
const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// The documents.
#[derive(Debug)]
pub struct OpenApi {
    resources: Vec<Arc<dyn Resource>>,
    /// By path; compressed, since they are large and seldom read.
    made: Mutex<BTreeMap<String, Made>>,
}

#[derive(Clone, Debug)]
struct Made {
    packed: Bytes,
    tag: String,
    content_type: &'static str,
}

impl OpenApi {
    /// For what is served.
    #[must_use]
    pub fn new(resources: &[Arc<dyn Resource>]) -> Self {
        OpenApi {
            resources: resources.to_vec(),
            made: Mutex::default(),
        }
    }

    /// The document of a path; none where there is none.
    ///
    /// # Errors
    /// It cannot be packed.
    pub(super) async fn answer(
        self: &Arc<Self>,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<Option<Response<Body>>, ApiError> {
        let accept = headers.get(http::header::ACCEPT);
        let accept = accept.and_then(|accept| accept.to_str().ok()).unwrap_or("");
        let protobuf = path == "/openapi/v2" && accept.contains("protobuf");
        let key = format!("{path}{}", if protobuf { "#protobuf" } else { "" });
        let found = self
            .made
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
            .cloned();
        let made = match found {
            Some(made) => made,
            None => {
                let (own, path) = (self.clone(), path.to_owned());
                let made = tokio::task::spawn_blocking(move || own.make(&path, protobuf)).await;
                let made = made.map_err(|err| ApiError::internal(err.to_string()))??;
                let Some(made) = made else { return Ok(None) };
                let mut all = self.made.lock().unwrap_or_else(PoisonError::into_inner);
                all.insert(key, made.clone());
                made
            }
        };
        send(&made, headers).map(Some)
    }

    fn make(&self, path: &str, protobuf: bool) -> Result<Option<Made>, ApiError> {
        let schemas = Schemas::builtin();
        let served: Vec<Served<'_>> = self.resources.iter().map(|resource| of(resource)).collect();
        let document = match path {
            "/openapi/v2" => Some(v2::document(&served, schemas)),
            "/openapi/v3" => Some(v3::index(&served, schemas)),
            other => {
                let group_version = other.strip_prefix("/openapi/v3/");
                let found =
                    group_version.and_then(|rest| match rest.split('/').collect::<Vec<_>>()[..] {
                        ["api", version] => Some(("", version)),
                        ["apis", group, version] => Some((group, version)),
                        _ => None,
                    });
                found.and_then(|(group, version)| v3::document(group, version, &served, schemas))
            }
        };
        let Some(document) = document else {
            return Ok(None);
        };
        let (bytes, content_type) = match protobuf {
            true => (v2::protobuf(&document), PROTOBUF),
            false => (document.to_string().into_bytes(), answer::JSON),
        };
        let packed = answer::gzip(&bytes).map_err(|err| ApiError::internal(err.to_string()))?;
        Ok(Some(Made {
            packed,
            tag: format!("\"{}\"", hash(&served, schemas)),
            content_type,
        }))
    }
}

fn send(made: &Made, headers: &HeaderMap) -> Result<Response<Body>, ApiError> {
    let known = headers
        .get(IF_NONE_MATCH)
        .and_then(|known| known.to_str().ok());
    let mut response = if known == Some(made.tag.as_str()) {
        answer::content(StatusCode::NOT_MODIFIED, made.content_type, Body::empty())
    } else if super::accept::takes_gzip(headers) {
        let mut response = answer::content(
            StatusCode::OK,
            made.content_type,
            made.packed.clone().into(),
        );
        let gzip = HeaderValue::from_static("gzip");
        response
            .headers_mut()
            .insert(http::header::CONTENT_ENCODING, gzip);
        response
    } else {
        let plain = answer::ungzip(&made.packed);
        let plain = plain.map_err(|err| ApiError::internal(err.to_string()))?;
        answer::content(StatusCode::OK, made.content_type, plain.into())
    };
    let own = response.headers_mut();
    if let Ok(tag) = HeaderValue::from_str(&made.tag) {
        own.insert(ETAG, tag);
    }
    own.insert(VARY, HeaderValue::from_static("Accept-Encoding, Accept"));
    own.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
    own.remove(EXPIRES);
    Ok(response)
}

fn of(resource: &Arc<dyn Resource>) -> Served<'_> {
    let names = resource.names();
    let parts = resource.subresources().iter().map(|sub| ServedPart {
        name: sub.name,
        group_version: sub.group_version,
        kind: sub.kind,
        verbs: sub.verbs,
    });
    Served {
        group: names.group,
        version: names.version,
        plural: names.plural,
        kind: names.kind,
        namespaced: names.namespaced,
        schema: names.schema,
        verbs: resource.verbs(),
        subresources: parts.collect(),
    }
}
