//! The front of the API server: from a request to a call, and from what came of it to an answer.
//!
//! ```text
//! request --who--> --route--> page | 2014's API | Call --may?--> --a place?--> registry, cache, kubelet --> answer
//! ```
//! Nothing a client sends ends in more than a `Status`: bodies are bounded, waits too, and a panic is an answer with 500.
pub mod accept;
mod answer;
mod body;
mod call;
pub mod limits;
mod old;
pub mod openapi;
mod pages;
mod parts;
pub mod route;

use crate::audit::{Audit, Trail};
use crate::auth::{Authorizer, Decision, Identify, Wish, authorize, identify};
use crate::cache::Caches;
use crate::call::User;
use crate::connect::Connector;
use crate::discovery::Discovery;
use crate::error::ApiError;
use crate::metrics::{Metrics, Note};
use crate::registry::Registry;
use axum::Router;
use axum::body::Body;
use futures::FutureExt;
use http::{Method, Request, Response, StatusCode};
use limits::Limits;
use rkube_http::Door;
use route::{PathError, Route};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

/// All that requests are answered with.
#[derive(Debug)]
pub struct Front {
    /// The objects.
    pub registry: Arc<Registry>,
    /// The objects in memory, for lists and watches.
    pub caches: Arc<Caches>,
    /// The way to kubelets, pods and services.
    pub connector: Connector,
    /// Who asks.
    pub identify: Identify,
    /// Whether they may.
    pub authorizer: Authorizer,
    /// What there is, for programs.
    pub openapi: Arc<openapi::OpenApi>,
    /// Where it is written who did what.
    pub audit: Option<Audit>,
    /// How many at once.
    pub limits: Limits,
    /// How long a request may take that does not last by its nature.
    pub patience: Duration,
    /// Where the API is: `/api`.
    pub prefix: String,
    /// What is served, for clients that ask first.
    pub discovery: Discovery,
    /// What is counted.
    pub metrics: Metrics,
    /// 2014's API.
    pub old: crate::v1beta1::Edge,
    /// The key of service accounts' tokens, which others may check.
    pub key: Arc<crate::auth::tokens::Key>,
}

/// Through which door requests come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entrance {
    /// With TLS: who asks has to show who they are.
    Secure,
    /// 2014's plain port, of this host alone: everybody may do everything.
    Unsecured,
}

impl Front {
    /// The routes of one door.
    pub fn router(self: &Arc<Self>, entrance: Entrance) -> Router {
        let front = self.clone();
        Router::new().fallback_service(tower::service_fn(move |request: Request<Body>| {
            let front = front.clone();
            async move { Ok::<_, std::convert::Infallible>(front.answer(request, entrance).await) }
        }))
    }

    async fn answer(&self, mut request: Request<Body>, entrance: Entrance) -> Response<Body> {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let begun = self.metrics.begin(!method.is_safe());
        let note = Note::default();
        request.extensions_mut().insert(note.clone());
        let (received, mut trail) = (jiff::Timestamp::now(), trail(&request));
        let served = AssertUnwindSafe(self.serve(request, entrance, &mut trail)).catch_unwind();
        let response = served.await.unwrap_or_else(|_| {
            tracing::error!(%method, path, "a panic; this is a bug");
            Err(ApiError::internal(
                "something went wrong in the server; its log says more",
            ))
        });
        let response = response.unwrap_or_else(|error| answer::failure(&error));
        if let (Some(audit), false) = (&self.audit, trail.verb.is_empty()) {
            audit.done(&trail, response.status().as_u16(), received);
        }
        tracing::debug!(%method, path, code = response.status().as_u16());
        self.metrics.end(&begun, &note, response.status().as_u16());
        response
    }

    async fn serve(
        &self,
        request: Request<Body>,
        entrance: Entrance,
        trail: &mut Trail,
    ) -> Result<Response<Body>, ApiError> {
        let path = request.uri().path().to_owned();
        if let Some(page) = pages::open(self, request.method(), &path, request.uri().query()).await
        {
            return Ok(page);
        }
        trail.verb = request.method().as_str().to_ascii_lowercase();
        let door = request.extensions().get::<Door>().cloned();
        let user = match self.user(door, request.headers().clone(), entrance).await {
            Ok(user) => user,
            Err(error) => {
                rkube_http::body::drain(request.into_body()).await;
                return Err(error);
            }
        };
        trail.user = Some(user.clone());
        match route::route(&path, &self.prefix) {
            Ok(Route::Page(path)) => {
                let wish = Wish::page(request.method(), &path);
                self.allowed(&user, &wish).await?;
                if path == "/validate" {
                    return Ok(answer::value(StatusCode::OK, &self.old.validate().await));
                }
                if path.starts_with("/openapi/") {
                    let headers = request.headers().clone();
                    let found = self
                        .openapi
                        .answer(path.trim_end_matches('/'), &headers)
                        .await?;
                    return found.ok_or_else(ApiError::no_resource);
                }
                pages::page(self, request.method(), &path, request.headers())
            }
            Ok(Route::Old { version, rest }) => {
                old::serve(self, request, (version, &rest), user).await
            }
            Ok(Route::Resource(target)) => call::serve(self, request, *target, user, trail).await,
            Err(error) => refuse(error, request.method(), &path),
        }
    }

    /// Who asks.
    async fn user(
        &self,
        door: Option<Door>,
        headers: http::HeaderMap,
        entrance: Entrance,
    ) -> Result<User, ApiError> {
        if entrance == Entrance::Unsecured {
            // A page of the web that a browser of this host shows is not somebody of this host.
            if !is_of_this_host(&headers) {
                return Err(ApiError::new(
                    StatusCode::FORBIDDEN,
                    "Forbidden",
                    "this port is for programs of this host: use it as 127.0.0.1 or localhost, and not from a web page",
                ));
            }
            return Ok(identify::unsecured());
        }
        let door = door.ok_or_else(identify::unauthorized)?;
        let user = self.identify.user(&door, &headers).await?;
        user.ok_or_else(identify::unauthorized)
    }

    /// Lets nobody through who may not.
    async fn allowed(&self, user: &User, wish: &Wish) -> Result<(), ApiError> {
        match self.authorizer.decide(user, wish).await? {
            Decision::Allow(_) => Ok(()),
            Decision::Deny(why) => Err(authorize::forbidden(user, wish, &why)),
        }
    }
}

/// Whether a request names this host by a name of its own, and comes from no page of another.
fn is_of_this_host(headers: &http::HeaderMap) -> bool {
    let host = headers.get(http::header::HOST);
    let host = host.and_then(|host| host.to_str().ok()).unwrap_or("");
    let own = |host: &str| {
        let name = match host.strip_prefix('[') {
            Some(six) => six.split(']').next().unwrap_or_default(),
            None => host.split(':').next().unwrap_or_default(),
        };
        let address = name.parse::<std::net::IpAddr>();
        name.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
    };
    own(host) && !headers.contains_key(http::header::ORIGIN)
}

/// What is known of a request before anything is asked.
fn trail(request: &Request<Body>) -> Trail {
    let from = request.extensions().get::<Door>().map(ToString::to_string);
    let from = from.unwrap_or_default();
    let address = from.parse::<std::net::SocketAddr>();
    let agent = request.headers().get(http::header::USER_AGENT);
    let agent = agent.and_then(|agent| agent.to_str().ok());
    Trail {
        from: address.map_or(from, |address| address.ip().to_string()),
        uri: request
            .uri()
            .path_and_query()
            .map_or_else(String::new, ToString::to_string),
        agent: agent.unwrap_or_default().to_owned(),
        ..Trail::default()
    }
}

/// An answer for a path that names nothing.
fn refuse(error: PathError, method: &Method, path: &str) -> Result<Response<Body>, ApiError> {
    tracing::debug!(%method, path, %error, "no such path");
    match error {
        PathError::Tricks => Err(ApiError::bad_request(error.to_string())),
        PathError::Nothing => Err(ApiError::no_resource()),
        PathError::TooLong => Err(ApiError::new(
            StatusCode::URI_TOO_LONG,
            "RequestURITooLong",
            error.to_string(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plain_port_is_for_programs_of_this_host() {
        for (host, origin, expected) in [
            ("127.0.0.1:8080", None, true),
            ("localhost", None, true),
            ("[::1]:8080", None, true),
            ("evil.example:8080", None, false),
            ("localhost.evil.example", None, false),
            ("10.0.0.5", None, false),
            ("", None, false),
            ("localhost:8080", Some("https://evil.example"), false),
        ] {
            let mut headers = http::HeaderMap::new();
            headers.insert(http::header::HOST, host.parse().unwrap());
            if let Some(origin) = origin {
                headers.insert(http::header::ORIGIN, origin.parse().unwrap());
            }
            assert_eq!(is_of_this_host(&headers), expected, "{host} {origin:?}");
        }
    }
}
