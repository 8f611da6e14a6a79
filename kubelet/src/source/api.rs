//! Pods from an API server, and what it gets told in return. The server may be away for any time; pods go on.
//!
//! ```text
//! pods.rs    list + watch /api/v1/pods?fieldSelector=spec.nodeName=<node>, what they refer to, services --> Set
//! report.rs  registry --PATCH--> /api/v1/namespaces/<ns>/pods/<pod>/status, DELETE of what was to go and has ended
//! tokens.rs  POST .../serviceaccounts/<account>/token, for the pods that mount one
//! node.rs    POST /api/v1/nodes, PATCH its status, a lease every ten seconds; events
//! talk.rs    one request: which server, whose name, bounds on time and size
//! ```
mod kubeconfig;
mod node;
mod pods;
mod report;
mod talk;
mod tokens;

use super::Deliveries;
use super::client::TlsFiles;
use crate::events::NodeEvents;
use crate::pods::Problems;
use crate::registry::Registry;
use k8s_openapi::api::core::v1::NodeStatus;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use talk::Talk;

pub use kubeconfig::{KubeconfigError, read as kubeconfig};

/// Which servers, and who is asking.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Their addresses; any will do.
    pub servers: Vec<String>,
    /// Whom to trust, and the certificate to show.
    pub tls: TlsFiles,
    /// The token to show.
    pub token: Option<String>,
    /// This node.
    pub node: String,
}

/// What the server gets told.
pub struct Told {
    /// The pods here.
    pub registry: Registry,
    /// What is wanted and does not run.
    pub problems: Problems,
    /// What happens here.
    pub events: NodeEvents,
    /// The node's own address.
    pub host_ip: Option<IpAddr>,
    /// Where the certificate is of the authority that signed our server's, if it is one of our own.
    pub authority: Option<PathBuf>,
    /// How the node is now.
    pub status: Box<dyn Fn() -> NodeStatus + Send + Sync>,
}

/// Starts the source and its reports. They end when nobody takes deliveries any more.
pub fn spawn(settings: Settings, told: Told, deliveries: Deliveries) {
    let talk = Arc::new(Talk::new(settings));
    let going = pods::Going::default();
    let ended = deliveries.clone();
    let reports = report::run(
        talk.clone(),
        told.registry.clone(),
        told.problems.clone(),
        told.host_ip,
        going.clone(),
    );
    let node = node::run(talk.clone(), told);
    tokio::spawn(async move {
        tokio::select! {
            () = pods::run(talk, going, deliveries) => {}
            () = reports => {}
            () = node => {}
            () = ended.closed() => {}
        }
    });
}

#[cfg(test)]
mod tests;
