//! `/run`, `/exec`, `/attach`, `/portForward`: what is done in a pod from outside, over one connection for as long as it takes.
//!
//! ```text
//! request --target, want--> upgrade::accept --101--> task: exec | attach | forward  --streams--> client
//!                                                       |
//!                                supervisor: program    |  ends with the client, and the client's connection with it
//! ```
//! Paths as kubelets have them: `/exec/<namespace>/<pod>[/<uid>]/<container>`, and for ports without the container.
//! Queries as API servers send them (`command`, `input`, `output`, `error`, `tty`) and as people know them from the
//! API (`stdin`, `stdout`, `stderr`).
mod attach;
mod exec;
mod forward;
mod pipes;
mod query;

use super::{Api, Door, RequestError};
use crate::state::StoredPod;
use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use http::StatusCode;
use hyper_util::rt::TokioIo;
use query::Query;
use rkube_stream::remote::{Remote, Want};
use rkube_stream::{Kind, Transport, upgrade};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Streams at once.
const SESSIONS: usize = 256;

/// Places for streams.
#[derive(Clone, Debug)]
pub(super) struct Sessions(Arc<Semaphore>);

impl Default for Sessions {
    fn default() -> Self {
        Sessions(Arc::new(Semaphore::new(SESSIONS)))
    }
}

impl Sessions {
    fn take(&self) -> Result<OwnedSemaphorePermit, RequestError> {
        self.0.clone().try_acquire_owned().map_err(|_| {
            let message =
                format!("there are {SESSIONS} streams already; try again when one has ended");
            RequestError::new(StatusCode::TOO_MANY_REQUESTS, message)
        })
    }
}

/// Every path with and without the pod's uid; clients ask by GET (WebSocket) and by POST (SPDY).
pub(super) fn routes() -> Router<Api> {
    fn all<H, T>(handler: H) -> MethodRouter<Api>
    where
        H: axum::handler::Handler<T, Api>,
        T: 'static,
    {
        get(handler.clone()).post(handler)
    }
    Router::new()
        .route("/run/{pod}/{container}", all(exec::run))
        .route("/run/{namespace}/{pod}/{container}", all(exec::run))
        .route("/run/{namespace}/{pod}/{uid}/{container}", all(exec::run))
        .route("/exec/{namespace}/{pod}/{container}", all(exec::start))
        .route(
            "/exec/{namespace}/{pod}/{uid}/{container}",
            all(exec::start),
        )
        .route("/attach/{namespace}/{pod}/{container}", all(attach::start))
        .route(
            "/attach/{namespace}/{pod}/{uid}/{container}",
            all(attach::start),
        )
        .route("/portForward/{namespace}/{pod}", all(forward::start))
        .route("/portForward/{namespace}/{pod}/{uid}", all(forward::start))
}

/// What a path names. Those of 2014 know no namespace.
#[derive(Debug, serde::Deserialize)]
struct Names {
    #[serde(default = "default_namespace")]
    namespace: String,
    pod: String,
    uid: Option<String>,
    #[serde(default)]
    container: String,
}

fn default_namespace() -> String {
    "default".to_owned()
}

/// A pod, and the container if the path names one.
#[derive(Clone, Debug)]
struct Target {
    pod: Arc<StoredPod>,
    container: String,
}

impl Target {
    fn find(api: &Api, names: Names) -> Result<Self, RequestError> {
        let Names {
            namespace,
            pod: name,
            uid,
            container,
        } = names;
        let found = api.kubelet.node.registry.named(&namespace, &name);
        let same = |pod: &Arc<StoredPod>| uid.as_deref().is_none_or(|uid| pod.record.uid() == uid);
        let pod = found.filter(same).ok_or_else(|| match &uid {
            Some(uid) => RequestError::not_found(format!(
                "pod \"{namespace}/{name}\" with uid {uid} not found"
            )),
            None => RequestError::not_found(format!("pod \"{namespace}/{name}\" not found")),
        })?;
        Ok(Target { pod, container })
    }

    /// Insists on a container that runs.
    fn running(self) -> Result<Self, RequestError> {
        let (name, pod) = (&self.container, &self.pod);
        if pod.record.container(name).is_none() {
            let message = format!(
                "container {name} not found in pod {}",
                pod.record.full_name()
            );
            return Err(RequestError::not_found(message));
        }
        if !pod
            .state
            .container(name)
            .is_some_and(|container| container.running())
        {
            let message = format!(
                "container {name} of pod {} is not running",
                pod.record.full_name()
            );
            return Err(RequestError::bad_request(message));
        }
        Ok(self)
    }
}

/// A connection that has been taken over from HTTP, with its place.
struct Taken {
    io: TokioIo<hyper::upgrade::Upgraded>,
    transport: Transport,
    idle: Duration,
    place: OwnedSemaphorePermit,
}

impl Taken {
    /// Has the client's channels, once all that it asks for are open; nothing if it goes first. The place is for as long
    /// as they are used.
    async fn join(self, want: Want, what: &str) -> Option<(Remote, OwnedSemaphorePermit)> {
        let Taken {
            io,
            transport,
            idle,
            place,
        } = self;
        match Remote::serve(io, transport, want, idle).await {
            Ok(remote) => Some((remote, place)),
            Err(err) => {
                tracing::debug!(%err, "a client of {what} went before it began");
                None
            }
        }
    }
}

/// Answers 101 and hands the connection to `serve`, which goes on by itself.
fn take_over<F>(
    api: &Api,
    door: &Door,
    kind: Kind,
    mut request: Request,
    serve: impl FnOnce(Taken) -> F + Send + 'static,
) -> Result<Response, RequestError>
where
    F: Future<Output = ()> + Send + 'static,
{
    let upgrade = match upgrade::accept(kind, request.headers()) {
        Ok(upgrade) => upgrade,
        Err(err) => {
            let mut response = RequestError::new(err.code(), err.to_string()).into_response();
            response.headers_mut().extend(err.headers());
            return Ok(response);
        }
    };
    let place = api.0.sessions.take()?;
    let idle = api.kubelet.config.streaming_connection_idle_timeout.get();
    door.streams(idle);
    let upgraded = hyper::upgrade::on(&mut request);
    let closing = api.closing.clone();
    tokio::spawn(async move {
        let io = match upgraded.await {
            Ok(io) => TokioIo::new(io),
            Err(err) => return tracing::debug!(%err, "a stream's client went before it began"),
        };
        let taken = Taken {
            io,
            transport: upgrade.transport,
            idle,
            place,
        };
        tokio::select! {
            () = serve(taken) => {}
            () = closing.cancelled() => {}
        }
    });
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    *response.headers_mut() = upgrade.response;
    Ok(response)
}
