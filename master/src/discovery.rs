//! What is served: `/api`, `/apis` and below, for clients that ask before they do anything.
//!
//! <https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api>
//!
//! Today's clients ask twice, for all groups at once; those of before 1.27 ask for each group and version. All answers are
//! encoded once, when the resources are known.
mod groups;
mod reviews;
#[cfg(test)]
mod tests;

use crate::resource::Resource;
use axum::body::Body;
use bytes::Bytes;
use groups::{Group, Listed};
use http::header::{ACCEPT, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::sync::Arc;

const JSON: &str = "application/json";
/// The versions of the answer for all groups, which have the same shape.
const AGGREGATED: [&str; 2] = ["v2", "v2beta1"];

/// The answers.
#[derive(Debug)]
pub struct Discovery {
    plain: HashMap<String, Document>,
    /// With the path and the version of each.
    aggregated: Vec<(&'static str, &'static str, Document)>,
    paths: Vec<String>,
}

#[derive(Debug)]
struct Document {
    media: HeaderValue,
    body: Bytes,
    etag: HeaderValue,
}

impl Document {
    fn new(media: &str, content: &Value) -> Self {
        let body = Bytes::from(content.to_string());
        let digest = hex::encode_upper(Sha256::digest(&body));
        let header =
            |text: &str| HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static(JSON));
        Document {
            media: header(media),
            etag: header(&format!("\"{digest}\"")),
            body,
        }
    }
}

impl Discovery {
    /// What is served: these resources, and the reviews of who may do what.
    #[must_use]
    pub fn new(resources: &[Arc<dyn Resource>]) -> Self {
        let mut listed: Vec<Listed> = resources.iter().map(Listed::of).collect();
        listed.extend(reviews::all());
        let groups = groups::sort(listed);
        let (core, named): (Vec<&Group>, Vec<&Group>) =
            groups.iter().partition(|group| group.name.is_empty());
        let mut plain = HashMap::new();
        let mut add = |path: String, content: &Value| {
            plain.insert(path, Document::new(JSON, content));
        };
        add("/api".to_owned(), &versions(&core));
        let list: Vec<Value> = named.iter().map(|group| group.summary(false)).collect();
        let list = json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": list});
        add("/apis".to_owned(), &list);
        for group in &groups {
            if !group.name.is_empty() {
                add(format!("/apis/{}", group.name), &group.summary(true));
            }
            for (version, content) in group.lists() {
                add(group.path(version), &content);
            }
        }
        let mut aggregated = Vec::new();
        for version in AGGREGATED {
            let media =
                format!("{JSON};g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList");
            for (path, groups) in [("/api", &core), ("/apis", &named)] {
                let items: Vec<Value> = groups.iter().map(|group| group.aggregated()).collect();
                let content = json!({
                    "kind": "APIGroupDiscoveryList",
                    "apiVersion": format!("apidiscovery.k8s.io/{version}"),
                    "metadata": {},
                    "items": items,
                });
                aggregated.push((path, version, Document::new(&media, &content)));
            }
        }
        let mut paths: Vec<String> = plain.keys().cloned().collect();
        paths.sort();
        Discovery {
            plain,
            aggregated,
            paths,
        }
    }

    /// The answer to a GET of a path; none if it is not about what is served.
    #[must_use]
    pub fn answer(&self, path: &str, headers: &HeaderMap) -> Option<Response<Body>> {
        let path = path.strip_suffix('/').unwrap_or(path);
        let plain = self.plain.get(path)?;
        let document = self.asked_for(path, headers).unwrap_or(plain);
        let known = headers.get_all(IF_NONE_MATCH).iter().any(|known| {
            let etag = document.etag.to_str().unwrap_or_default();
            known
                .to_str()
                .is_ok_and(|known| known.split(',').any(|one| one.trim() == etag))
        });
        let mut response = Response::new(if known {
            Body::empty()
        } else {
            Body::from(document.body.clone())
        });
        let fields = response.headers_mut();
        fields.insert(CONTENT_TYPE, document.media.clone());
        if self.aggregated.iter().any(|(of, ..)| *of == path) {
            fields.insert(ETAG, document.etag.clone());
            fields.insert(VARY, HeaderValue::from_static("Accept"));
        }
        if known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        }
        Some(response)
    }

    /// The paths that are answered, in order: a part of what `/` lists.
    #[must_use]
    pub fn paths(&self) -> &[String] {
        &self.paths
    }

    /// The answer for all groups, if a media range asks for one before any asks for plain JSON.
    fn asked_for(&self, path: &str, headers: &HeaderMap) -> Option<&Document> {
        let accepted = headers.get_all(ACCEPT).iter();
        let ranges = accepted.filter_map(|value| value.to_str().ok());
        for range in ranges.flat_map(|value| value.split(',')) {
            let parts: Vec<&str> = range.split(';').map(str::trim).collect();
            if !parts.contains(&"as=APIGroupDiscoveryList") {
                if [JSON, "*/*", "application/*"].contains(&parts[0]) {
                    return None;
                }
                continue;
            }
            let version = parts.iter().find_map(|part| part.strip_prefix("v="));
            let mut all = self.aggregated.iter();
            let found = all.find(|(of, is, _)| *of == path && Some(*is) == version);
            if let Some((.., document)) = found {
                return Some(document);
            }
        }
        None
    }
}

/// `/api` has only the core's versions.
fn versions(core: &[&Group]) -> Value {
    let versions = core.iter().flat_map(|group| group.versions());
    json!({
        "kind": "APIVersions",
        "versions": versions.collect::<Vec<_>>(),
        "serverAddressByClientCIDRs": [],
    })
}
