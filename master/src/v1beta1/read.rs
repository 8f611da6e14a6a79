//! Looking at objects.
use super::path::Asked;
use super::{Hub, answer};
use crate::call::Call;
use crate::error::ApiError;
use crate::list;
use axum::body::Body;
use http::{HeaderValue, Response, StatusCode, header};
use rkube_api::v1beta1::table::{Kind, Version};
use rkube_api::v1beta1::{hub, state};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What is looked up once for all objects that are shown.
#[derive(Debug, Default)]
pub(super) struct Around {
    /// The minions that are well.
    hosts: HashSet<String>,
    /// Namespace and labels of all pods.
    pods: Vec<(String, BTreeMap<String, String>)>,
}

/// Whether a node is well, or nobody has said otherwise.
pub(super) fn is_well(node: &Value) -> bool {
    let conditions = node["status"]["conditions"].as_array();
    let ready = conditions
        .into_iter()
        .flatten()
        .find(|condition| condition["type"] == "Ready");
    ready.is_none_or(|ready| ready["status"] == "True")
}

impl Hub {
    /// What objects of a kind need around them.
    pub(super) fn around(&self, kind: Kind) -> Around {
        let mut around = Around::default();
        if kind == Kind::Pod {
            let well = self.nodes().into_iter().filter(is_well);
            around.hosts = well
                .map(|node| crate::meta::name(&node).to_owned())
                .collect();
        }
        if let (Kind::ReplicationController, Some(cache)) = (kind, self.caches.of("/registry/pods"))
        {
            let (_, pods) = cache.under("/registry/pods/");
            let pods = pods.iter();
            around.pods = pods
                .map(|pod| (pod.namespace().to_owned(), pod.labels().clone()))
                .collect();
        }
        around
    }

    /// An object as it is shown.
    pub(super) fn show(
        &self,
        asked: &Asked,
        stored: &Value,
        around: &Around,
        alone: bool,
    ) -> Value {
        let mut shown = hub::shown(asked.kind, stored);
        match asked.kind {
            Kind::Pod => {
                let host = stored["spec"]["nodeName"].as_str().unwrap_or_default();
                state::of_pod(stored, around.hosts.contains(host), &mut shown);
            }
            Kind::ReplicationController => {
                let namespace = crate::meta::namespace(stored);
                let selector = stored["spec"]["selector"].as_object();
                let selected = |labels: &BTreeMap<String, String>| {
                    selector.is_some_and(|selector| {
                        selector.iter().all(|(key, value)| {
                            labels.get(key).map(String::as_str) == value.as_str()
                        })
                    })
                };
                let pods = around.pods.iter().filter(|(of, _)| of == namespace);
                let count = pods.filter(|(_, labels)| selected(labels)).count();
                shown["currentState"]["replicas"] = count.into();
            }
            _ => {}
        }
        self.finish(asked.kind, asked.version, alone, &mut shown);
        shown
    }

    pub(super) async fn get(&self, asked: &Asked, call: &Call) -> Result<Response<Body>, ApiError> {
        let stored = self.registry.get(call).await?.value()?;
        if asked.kind == Kind::Minion && !is_well(&stored) {
            return Err(ApiError::internal("The requested minion is not healthy."));
        }
        self.caches.fresh().await?;
        let shown = self.show(asked, &stored, &self.around(asked.kind), true);
        Ok(answer::json(StatusCode::OK, &shown))
    }

    pub(super) async fn list(
        &self,
        asked: &Asked,
        call: &Call,
    ) -> Result<Response<Body>, ApiError> {
        let selected = list::select(&self.caches, self.resource(asked.kind)?, call).await?;
        let around = self.around(asked.kind);
        let stored = selected.items.iter().map(|object| object.value());
        let stored = stored.filter(|object| asked.kind != Kind::Minion || is_well(object));
        let items: Vec<Value> = stored
            .map(|object| self.show(asked, &object, &around, false))
            .collect();
        let mut shown = json!({
            "kind": format!("{}List", asked.kind.name()), "apiVersion": asked.version.as_str(), "creationTimestamp": null,
            "selfLink": self.link(asked.kind, asked.version), "resourceVersion": selected.meta.revision,
        });
        if (asked.kind, asked.version) == (Kind::Minion, Version::V1beta1) && !items.is_empty() {
            shown["minions"] = items.clone().into();
        }
        shown["items"] = items.into();
        Ok(answer::json(StatusCode::OK, &shown))
    }

    /// Where a service or a minion is.
    pub(super) async fn redirect(
        &self,
        asked: &Asked,
        mut call: Call,
    ) -> Result<Response<Body>, ApiError> {
        let place = if asked.kind == Kind::Minion {
            let node = self.registry.get(&call).await?.value()?;
            let shown = hub::shown(Kind::Minion, &node);
            let ip = shown["hostIP"].as_str().unwrap_or(call.name.as_str());
            let port = node["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"].as_u64();
            format!("{ip}:{}", port.unwrap_or(10250))
        } else {
            Kind::Endpoints.v1_plural().clone_into(&mut call.resource);
            let endpoints = self.registry.find(&call).await?.unwrap_or_default();
            let shown = hub::shown(Kind::Endpoints, &endpoints);
            let all = shown["endpoints"].as_array().cloned().unwrap_or_default();
            // One after the other, so that none carries all.
            static NEXT: AtomicUsize = AtomicUsize::new(0);
            let turn = NEXT.fetch_add(1, Ordering::Relaxed) % all.len().max(1);
            let found = all.get(turn).and_then(Value::as_str);
            let found = found.ok_or_else(|| ApiError::not_found("", "endpoints", &asked.id))?;
            found.to_owned()
        };
        let place = HeaderValue::try_from(format!("http://{place}"))
            .map_err(|_| ApiError::internal("the address is none"))?;
        let mut response = answer::text(StatusCode::TEMPORARY_REDIRECT, String::new());
        response.headers_mut().insert(header::LOCATION, place);
        Ok(response)
    }
}
