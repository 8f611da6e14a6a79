//! Where pods come from. Every source delivers the full set of what it wants on this node; nothing overrides anything.
//!
//! ```text
//! file, url, etcd, http, api --Delivery--> union: who is let in, who is refused and why --> pods' workers
//! ```
//! A source that fails says so and its last good set goes on; a file of a directory that turns bad is a [`Problem`] of
//! that place alone, and what came from the place before goes on as well.
pub mod api;
mod backoff;
pub mod client;
pub mod content;
pub mod etcd;
pub mod file;
pub mod http;
mod known;
mod speaker;
pub mod url;

use crate::admission::Companions;
use crate::config::KubeletConfig;
use crate::serve::Kubelet;
use crate::state::SourceKind;
use client::TlsFiles;
use content::Naming;
use k8s_openapi::api::core::v1::{Pod, Service};
use std::path::Path;
use std::sync::Arc;
use tokio::sync::mpsc;

/// What a source says.
#[derive(Clone, Debug)]
pub enum Delivery {
    /// All that it wants now.
    Set(Set),
    /// It could not be read: the last set stays as it is.
    Failed(Failed),
}

impl Delivery {
    /// The source that speaks.
    #[must_use]
    pub fn source(&self) -> SourceKind {
        match self {
            Delivery::Set(set) => set.source,
            Delivery::Failed(failed) => failed.source,
        }
    }
}

/// All pods that a source wants on this node, parsed, defaulted, validated and of fields that are honoured here.
#[derive(Clone, Debug, Default)]
pub struct Set {
    /// The source.
    pub source: SourceKind,
    /// Its pods.
    pub pods: Vec<Wanted>,
    /// What serves them.
    pub companions: Arc<Companions>,
    /// The services that pods are told of by environment variables; empty where none are known.
    pub services: Vec<Service>,
    /// Places that could not be used. Pods that came from such a place before stay: those of its last good content are
    /// among `pods`, and those that only another process has seen are not missed.
    pub problems: Vec<Problem>,
}

/// A pod and the place that it stands at.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// The pod; its uid is the source's own, or none.
    pub pod: Arc<Pod>,
    /// The file, the URL, the key.
    pub place: String,
}

/// A place of a source that could not be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, the URL, the key.
    pub place: String,
    /// One line: what is wrong and what to do.
    pub message: String,
}

/// A source that could not be read at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// The source.
    pub source: SourceKind,
    /// What could not be used, and why.
    pub problem: Problem,
}

/// Where sources deliver to: a source that is ahead of the kubelet waits.
pub type Deliveries = mpsc::Sender<Delivery>;

/// Starts all sources that the settings name, but for requests over HTTP and the API servers. They end when nobody takes their deliveries any
/// more.
pub fn spawn(config: &KubeletConfig, node: &str, deliveries: &Deliveries) {
    if let Some(path) = &config.static_pod_path {
        let settings = file::Settings {
            path: path.clone(),
            period: config.file_check_frequency.get(),
            // With an API server all nodes' pods stand in one list, and the same file may lie on many nodes.
            naming: naming(node, config.rkube.asks_api_servers()),
        };
        file::spawn(settings, deliveries.clone());
    }
    if let Some(url) = &config.static_pod_url {
        let settings = url::Settings {
            url: url.clone(),
            headers: config.static_pod_url_header.clone(),
            tls: TlsFiles {
                ca: config.rkube.static_pod_url_ca_file.clone(),
                cert: config.rkube.static_pod_url_cert_file.clone(),
                key: config.rkube.static_pod_url_key_file.clone(),
                ..TlsFiles::default()
            },
            period: config.http_check_frequency.get(),
            patience: None,
            naming: naming(node, true),
        };
        url::spawn(settings, deliveries.clone());
    }
    if !config.rkube.etcd_servers.is_empty() {
        let settings = etcd::Settings {
            endpoints: config.rkube.etcd_servers.clone(),
            tls: TlsFiles {
                ca: config.rkube.etcd_ca_file.clone(),
                cert: config.rkube.etcd_cert_file.clone(),
                key: config.rkube.etcd_key_file.clone(),
                ..TlsFiles::default()
            },
            node: node.to_owned(),
            patience: etcd::PATIENCE,
        };
        etcd::spawn(settings, deliveries.clone());
    }
}

/// Starts the API source, where the settings name servers, with its reports of this node.
pub fn spawn_api(kubelet: &Kubelet, deliveries: &Deliveries) {
    let config = &kubelet.config.rkube;
    if !config.asks_api_servers() {
        return;
    }
    let file = config.kubeconfig.as_deref();
    let known = match file.map(api::kubeconfig).transpose() {
        Ok(known) => known.unwrap_or_default(),
        Err(err) => {
            let problem = Problem {
                place: file.unwrap_or(Path::new("")).to_string_lossy().into_owned(),
                message: format!("no API server is asked: {}", crate::error::chain(&err)),
            };
            let failed = Failed {
                source: SourceKind::Api,
                problem,
            };
            // Nobody has spoken yet, so there is room.
            let _ = deliveries.try_send(Delivery::Failed(failed));
            return;
        }
    };
    let mut settings = api::Settings {
        node: kubelet.node.name.clone(),
        ..known
    };
    if !config.api_servers.is_empty() {
        settings.servers = config.api_servers.clone();
    }
    let (vitals, node) = (kubelet.vitals.clone(), kubelet.node.clone());
    let authority = crate::server::own_authority(&node.paths, &kubelet.config);
    let told = api::Told {
        authority,
        registry: node.registry.clone(),
        problems: kubelet.problems.clone(),
        events: node.events.clone(),
        host_ip: node.network.host_ip(),
        status: Box::new(move || vitals.node_status(&node)),
    };
    api::spawn(settings, told, deliveries.clone());
}

pub(crate) fn naming(node: &str, append: bool) -> Naming {
    Naming {
        node: node.to_owned(),
        append,
        uids: false,
    }
}
