//! The kubelet's HTTP API.
//!
//! ```text
//! 10250, TLS ------ token or certificate --.
//! <run>/kubelet.sock ---- root ------------+--> check --> routes: health, pods, stats, metrics, logs, streams ...
//! read-only port (off) --------------------'              (without what changes or shows secrets)
//! ```
//! Every wait is bounded (`connection.rs`), every queue limited (`seats.rs`), every body too (`body.rs`). What is refused says
//! why as a v1 `Status`. Nothing here is needed for pods to run.
pub mod caller;
mod configz;
mod files;
mod health;
mod legacy;
mod logs;
mod machine;
mod metrics;
pub mod own;
mod pods;
pub mod request_error;
mod stats;
mod streams;
mod submit;
mod tokens;

pub use request_error::RequestError;
pub use rkube_http::body;
pub use rkube_http::pki::PkiError;
pub use rkube_http::{Caller, Door};

use crate::config::KubeletConfig;
use crate::paths::Paths;
use crate::serve::Kubelet;
use axum::Router;
use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use metrics::Metrics;
use rkube_http::listen::{self, Hall, Port};
use rkube_http::pki::issue::{Issuer, Subject};
use rkube_http::pki::{self, Pki};
use rkube_http::seats::Seats;
use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokens::Tokens;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long an answer that is no stream may take.
const ANSWER_WAIT: Duration = Duration::from_secs(30);
/// Connections at once.
const SEATS: usize = 1024;
/// How long connections have when the server ends.
const DRAIN: Duration = Duration::from_secs(6);

/// What handlers have at hand. Clones share it.
#[derive(Clone, Debug)]
pub struct Api(Arc<Shared>);

/// See [`Api`].
#[derive(Debug)]
pub struct Shared {
    /// The daemon: this host, its pods, its settings.
    pub kubelet: Kubelet,
    /// Cancelled when the server is to end: streams say goodbye.
    pub closing: CancellationToken,
    tokens: Tokens,
    metrics: Metrics,
    hub: logs::Hub,
    rates: stats::Rates,
    disks: stats::reading::Disks,
    seats: Seats,
    sessions: streams::Sessions,
}

impl Deref for Api {
    type Target = Shared;
    fn deref(&self) -> &Shared {
        &self.0
    }
}

/// Why the API cannot be served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The certificates.
    #[error(transparent)]
    Pki(#[from] PkiError),
    /// The tokens or the socket.
    #[error("cannot serve the HTTP API")]
    Io(#[from] io::Error),
}

/// What is wrong with the files that the settings name for the server, each a line.
#[must_use]
pub fn check(config: &KubeletConfig) -> Vec<String> {
    let given = config.tls_cert_file.as_deref();
    let given = given.zip(config.tls_private_key_file.as_deref());
    let client_ca = config.authentication.x509.client_ca_file.as_deref();
    let pki = pki::check(given, client_ca).err();
    let mut wrong: Vec<_> = pki.iter().map(|err| crate::error::chain(err)).collect();
    wrong.extend(
        config
            .rkube
            .token_file
            .iter()
            .flat_map(|file| rkube_http::tokens::check(file)),
    );
    wrong
}

/// The server. It goes on until [`Server::close`].
#[derive(Debug)]
pub struct Server {
    hall: Hall,
}

impl Server {
    /// Opens the socket and, sooner or later, the ports.
    ///
    /// # Errors
    /// When certificates, tokens or the socket cannot be used.
    pub fn start(kubelet: &Kubelet) -> Result<Self, ServerError> {
        let (node, config) = (&kubelet.node, &kubelet.config);
        let hall = Hall {
            seats: Seats::new(SEATS),
            connections: TaskTracker::new(),
            closing: CancellationToken::new(),
        };
        let api = Api(Arc::new(Shared {
            kubelet: kubelet.clone(),
            closing: hall.closing.clone(),
            tokens: Tokens::open(&node.paths, config.rkube.token_file.as_deref())?,
            metrics: Metrics::new(node.counts.starts()),
            hub: logs::Hub::start(&node.registry)?,
            rates: stats::Rates::default(),
            disks: stats::reading::Disks::default(),
            seats: hall.seats.clone(),
            sessions: streams::Sessions::default(),
        }));
        let socket = listen::socket(&node.paths.api_socket())?;
        let local = router(&api, own::routes());
        tokio::spawn(hall.clone().local(socket, local));
        if config.enable_server {
            let pki = Arc::new(certificates(kubelet)?);
            let port = Port::new(SocketAddr::new(config.address, config.port));
            let router = router(&api, Router::new());
            tokio::spawn(hall.clone().tls(port, pki, router));
            if config.read_only_port != 0 {
                let port = Port::new(SocketAddr::new(config.address, config.read_only_port));
                tokio::spawn(hall.clone().plain(port, shown(&api)));
            }
        }
        Ok(Server { hall })
    }

    /// Takes no more requests, and gives those under way a little time.
    pub async fn close(self) {
        self.hall.closing.cancel();
        self.hall.connections.close();
        let _ = tokio::time::timeout(DRAIN, self.hall.connections.wait()).await;
    }
}

/// The server's certificate: the one that the settings name, or one of this host's own authority.
fn certificates(kubelet: &Kubelet) -> Result<Pki, PkiError> {
    let (node, config) = (&kubelet.node, &kubelet.config);
    let client_ca = config.authentication.x509.client_ca_file.clone();
    let given = config.tls_cert_file.clone();
    if let Some((cert, key)) = given.zip(config.tls_private_key_file.clone()) {
        return Pki::given(cert, key, client_ca);
    }
    let subject = Subject {
        stem: "kubelet",
        authority: format!("rkubelet of {}", node.name),
        name: format!("system:node:{}", node.name),
        group: Some("system:nodes".to_owned()),
        names: BTreeSet::from([node.name.to_string()]),
        shared: false,
    };
    let issuer = Issuer::open(&node.paths.pki(), subject)?;
    Pki::own(issuer, &[config.address], client_ca)
}

/// Where the certificate of our own authority is; nowhere where the settings give the server's certificate.
pub(crate) fn own_authority(paths: &Paths, config: &KubeletConfig) -> Option<PathBuf> {
    let given = config.tls_cert_file.is_some() && config.tls_private_key_file.is_some();
    (!given).then(|| paths.pki().join("ca.crt"))
}

/// All routes and `more`, for those who may.
fn router(api: &Api, more: Router<Api>) -> Router {
    let checked = middleware::from_fn_with_state(api.clone(), caller::check);
    let mut quick = shows().merge(configz::routes()).merge(more);
    let mut slow = Router::new();
    if api.kubelet.config.enable_debugging_handlers {
        quick = quick
            .merge(submit::routes())
            .merge(logs::routes())
            .merge(files::routes());
        slow = slow.merge(streams::routes());
    }
    let routes = quick
        .layer(middleware::from_fn(in_time))
        .merge(slow)
        .fallback(nothing)
        .layer(checked)
        .merge(health::routes());
    finish(api, routes)
}

/// The routes that change nothing and tell no secrets, for everybody.
fn shown(api: &Api) -> Router {
    let routes = shows()
        .layer(middleware::from_fn(in_time))
        .fallback(nothing)
        .merge(health::routes());
    finish(api, routes)
}

/// What is, and what is measured.
fn shows() -> Router<Api> {
    Router::new()
        .merge(pods::routes())
        .merge(legacy::routes())
        .merge(machine::routes())
        .merge(stats::routes())
        .merge(metrics::routes())
}

fn finish(api: &Api, routes: Router<Api>) -> Router {
    routes
        .layer(middleware::from_fn_with_state(api.clone(), metrics::count))
        .layer(middleware::from_fn(request_error::words))
        .with_state(api.clone())
}

async fn nothing(request: Request) -> RequestError {
    let error = RequestError::not_found(format!("there is no {}", request.uri().path()));
    body::drain(request.into_body()).await;
    error
}

/// Gives up an answer that takes too long.
async fn in_time(request: Request, next: Next) -> Response {
    let what = format!("{} {}", request.method(), request.uri().path());
    match tokio::time::timeout(ANSWER_WAIT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let message = format!("{what} took more than {} s", ANSWER_WAIT.as_secs());
            RequestError::new(StatusCode::GATEWAY_TIMEOUT, message).into_response()
        }
    }
}
