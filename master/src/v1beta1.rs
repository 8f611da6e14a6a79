//! 2014's API, `v1beta1` and `v1beta2`: converted here, then done by the registry as everything else.
//!
//! ```text
//! path::parse -> Asked -> Call (v1) -> House::allowed -> registry / caches / kubelets
//!                                        | v1 objects        ^ hub::store, hub::update
//!                                        v hub::shown, status, selfLink
//! ```
//! `docs/v1beta1.md` says what means what, and where this is saner than the original.
mod answer;
mod bodies;
mod operations;
pub mod path;
mod read;
mod select;
mod watch;
mod write;

#[cfg(test)]
mod tests;

use crate::cache::Caches;
use crate::call::{Call, User, Verb};
use crate::error::ApiError;
use crate::registry::Registry;
use async_trait::async_trait;
use axum::body::Body;
use http::{Request, Response, StatusCode};
use operations::Operations;
use path::{Action, Asked};
use rkube_api::v1beta1::table::{Kind, Version};
use serde_json::{Value, json};
use std::sync::Arc;

/// What the edge needs of the server around it.
#[async_trait]
pub trait House: Send + Sync {
    /// Whether the call's user may make it.
    ///
    /// # Errors
    /// 403.
    async fn allowed(&self, call: &Call) -> Result<(), ApiError>;
    /// Makes a connection to a node or a service.
    ///
    /// # Errors
    /// It cannot be made.
    async fn connect(
        &self,
        call: &Call,
        request: Request<Body>,
    ) -> Result<Response<Body>, ApiError>;
}

/// The edge.
#[derive(Debug)]
pub struct Edge {
    hub: Hub,
    operations: Arc<Operations>,
}

/// What work needs that goes on by itself.
#[derive(Clone, Debug)]
struct Hub {
    registry: Arc<Registry>,
    caches: Arc<Caches>,
    /// Where the API is: `/api`.
    prefix: Arc<str>,
}

impl Edge {
    /// In front of these objects; `prefix` is where the API is: `/api`.
    #[must_use]
    pub fn new(registry: Arc<Registry>, caches: Arc<Caches>, prefix: &str) -> Self {
        let hub = Hub {
            registry,
            caches,
            prefix: prefix.into(),
        };
        Edge {
            hub,
            operations: Arc::default(),
        }
    }

    /// Answers a request for `/<prefix>/<version>/<rest>`; `query` is decoded. Whatever goes wrong is an answer too.
    pub async fn serve(
        &self,
        house: &dyn House,
        (version, rest): (Version, &str),
        request: Request<Body>,
        query: &[(String, String)],
        user: User,
    ) -> Response<Body> {
        let asked = match path::parse(request.method(), rest, version, query) {
            Ok(asked) => asked,
            Err(refused) => return refused.answer(request.uri()),
        };
        let done = self.dispatch(house, &asked, request, user).await;
        done.unwrap_or_else(|err| answer::failure(&err, &asked))
    }

    async fn dispatch(
        &self,
        house: &dyn House,
        asked: &Asked,
        request: Request<Body>,
        user: User,
    ) -> Result<Response<Body>, ApiError> {
        match &asked.action {
            Action::Operations => return Ok(self.operations.list(&user, asked.version)),
            Action::Operation(id) => return self.operations.answer(&user, id, asked.version),
            _ => {}
        }
        let call = asked.call(user)?;
        house.allowed(&call).await?;
        match asked.action {
            Action::Get => self.hub.get(asked, &call).await,
            Action::List => self.hub.list(asked, &call).await,
            Action::Watch => watch::answer(&self.hub, asked, call, request).await,
            Action::Redirect => self.hub.redirect(asked, call).await,
            Action::Proxy(_) => house.connect(&call, request).await,
            Action::Create | Action::Update => {
                let given = bodies::read(asked, request).await?;
                let hub = self.hub.clone();
                let user = call.user.name.clone();
                let work = write::work(hub, asked.clone(), call, Some(given))?;
                Ok(self.operations.run(asked, (user, work)).await)
            }
            Action::Delete => {
                let user = call.user.name.clone();
                let work = write::work(self.hub.clone(), asked.clone(), call, None)?;
                Ok(self.operations.run(asked, (user, work)).await)
            }
            Action::Operations | Action::Operation(_) => Err(ApiError::no_resource()),
        }
    }

    /// The page `/validate`: how the parts of the cluster are.
    pub async fn validate(&self) -> Value {
        let store = self.hub.registry.store().revision().await;
        let mut parts = vec![component("etcd-0", store.err().map(|err| err.to_string()))];
        for (index, node) in self.hub.nodes().into_iter().enumerate() {
            let well = read::is_well(&node);
            let problem = (!well).then(|| "the node is not ready".to_owned());
            parts.push(component(&format!("node-{index}"), problem));
        }
        Value::Array(parts)
    }
}

fn component(name: &str, problem: Option<String>) -> Value {
    match problem {
        None => json!({"component": name, "health": "healthy", "msg": "ok", "err": "nil"}),
        Some(problem) => {
            json!({"component": name, "health": "unhealthy", "healthCode": 1, "msg": "", "err": problem})
        }
    }
}

impl Hub {
    fn resource(&self, kind: Kind) -> Result<&Arc<dyn crate::resource::Resource>, ApiError> {
        let found = self.registry.resource("", "v1", kind.v1_plural());
        found.ok_or_else(ApiError::no_resource)
    }
    /// All nodes, as objects of `v1`.
    fn nodes(&self) -> Vec<Value> {
        let Some(cache) = self.caches.of("/registry/minions") else {
            return Vec::new();
        };
        let (_, nodes) = cache.under("/registry/minions/");
        nodes.iter().map(|node| node.value()).collect()
    }
}

/// A call of `v1` for what is asked.
impl Asked {
    fn call(&self, user: User) -> Result<Call, ApiError> {
        let verb = match self.action {
            Action::Get | Action::Redirect => Verb::Get,
            Action::List => Verb::List,
            Action::Watch => Verb::Watch,
            Action::Create => Verb::Create,
            Action::Update => Verb::Update,
            Action::Delete => Verb::Delete,
            Action::Proxy(_) => Verb::Connect,
            Action::Operations | Action::Operation(_) => return Err(ApiError::no_resource()),
        };
        let plural = match self.kind {
            Kind::Binding => Kind::Pod.v1_plural(),
            kind => kind.v1_plural(),
        };
        let mut call = Call::new(user, verb, "", "v1", plural);
        if self.kind.namespaced() {
            let all = matches!(self.action, Action::List | Action::Watch);
            let default = if all { "" } else { "default" };
            call = call.within(self.parameter("namespace").unwrap_or(default));
        }
        if self.kind == Kind::Binding {
            call = call.sub("binding");
        }
        if !self.id.is_empty() {
            call = call.named(&rkube_api::v1beta1::hub::name(self.kind, &self.id));
        }
        if let Action::Proxy(rest) = &self.action {
            call = call.sub("proxy");
            call.rest.clone_from(rest);
            call.query.clone_from(&self.query);
            call.query.retain(|(name, _)| name != "namespace");
        }
        if matches!(self.action, Action::List | Action::Watch) {
            call.query = select::query(self)?;
        }
        Ok(call)
    }
}

/// An error of a kind that 2014 had no method for.
fn unsupported(message: &str) -> ApiError {
    ApiError::new(StatusCode::BAD_REQUEST, "BadRequest", message)
}
