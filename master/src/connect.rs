//! Subresources that are connections: logs, exec, attach, port-forward of pods, and the proxies to pods, services and nodes.
//!
//! Nothing is interpreted on the way: the request is put in the kubelet's own words (or a pod's address) and its answer,
//! or the connection it becomes, is handed through.
//!
//! ```text
//!   client ==TLS==> API server --find pod, node--> target --TLS, own certificate--> kubelet of the node
//!                                                    `-----plain or TLS-----------> pod, endpoint of a service
//! ```
mod address;
mod dial;
mod node;
mod pod;
mod service;
mod trust;
mod tunnel;

pub use trust::{KubeletTrust, TrustError};

use crate::call::Call;
use crate::error::ApiError;
use crate::store::Store;
use axum::body::Body;
use http::{Request, Response};
use serde_json::Value;
use std::sync::Arc;

/// What connections are made with.
#[derive(Clone, Debug)]
pub struct Connector {
    store: Arc<dyn Store>,
    trust: KubeletTrust,
    kubelet_port: u16,
}

impl Connector {
    /// `kubelet_port` serves nodes that do not say theirs.
    #[must_use]
    pub fn new(store: Arc<dyn Store>, trust: KubeletTrust, kubelet_port: u16) -> Self {
        Connector {
            store,
            trust,
            kubelet_port,
        }
    }

    /// Whether a call is one of these.
    #[must_use]
    pub fn takes(call: &Call) -> bool {
        call.group.is_empty()
            && matches!(
                (call.resource.as_str(), call.subresource.as_str()),
                ("pods", "log" | "exec" | "attach" | "portforward" | "proxy")
                    | ("services" | "nodes", "proxy")
            )
    }

    /// Answers a call that this [takes](Connector::takes). `request` is the client's own, for its body and its upgrade.
    ///
    /// # Errors
    /// A Status: the object is not there, the request makes no sense, or the other side cannot be reached (503).
    pub async fn serve(
        &self,
        call: &Call,
        request: Request<Body>,
    ) -> Result<Response<Body>, ApiError> {
        let target = match (call.resource.as_str(), call.subresource.as_str()) {
            ("nodes", _) => self.node_proxy(call).await?,
            ("services", _) => self.service_proxy(call).await?,
            ("pods", "proxy") => self.pod_proxy(call).await?,
            _ => match self.pod_stream(call).await? {
                Some(target) => target,
                None => return Ok(tunnel::nothing()),
            },
        };
        tunnel::through(&target, request).await
    }

    /// An object as the store has it.
    async fn find(
        &self,
        prefix: &str,
        plural: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Value, ApiError> {
        let key = match namespace {
            "" => format!("{prefix}/{name}"),
            namespace => format!("{prefix}/{namespace}/{name}"),
        };
        let found = self.store.get(&key).await?;
        let entry = found.ok_or_else(|| ApiError::not_found("", plural, name))?;
        serde_json::from_slice(&entry.value)
            .map_err(|err| ApiError::internal(format!("{key} cannot be read: {err}")))
    }
}

/// Where a request goes.
#[derive(Clone, Debug)]
struct Target {
    /// What it is, for messages: `pod "web"`.
    what: String,
    /// Host and port to dial.
    host: String,
    port: u16,
    /// How it is spoken with.
    security: Security,
    /// Path and query there.
    path: String,
    /// What a path there is called here; where links lead back to.
    mount: Option<String>,
}

/// How the other side is spoken with.
#[derive(Clone, Debug)]
enum Security {
    /// As it is.
    Plain,
    /// TLS, with this trust; the name that the certificate should have.
    Tls(Arc<rustls::ClientConfig>),
}
