//! `/metrics`: what Prometheus reads. Counters of the API live here; all else is looked up when somebody asks.
mod probes;
mod resource;
mod state;
mod text;

use super::Api;
use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::CONTENT_TYPE;
use http::{Method, StatusCode};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::time::Instant;

pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/metrics", get(all))
        .route("/metrics/resource", get(resource::resource))
        .route("/metrics/cadvisor", get(resource::cadvisor))
        .route("/metrics/probes", get(probes::probes))
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Asked {
    method: &'static str,
    path: String,
    code: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Code {
    code: u16,
}

/// What is counted here.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    requests: Family<Asked, Counter>,
    durations: Histogram,
    refused: Family<Code, Counter>,
    connections: Gauge,
}

impl Metrics {
    /// `starts`: how long pods took to run.
    pub(super) fn new(starts: Histogram) -> Self {
        let mut registry = Registry::default();
        registry.register(
            "kubelet_pod_start_duration_seconds",
            "Time from a pod's admission to when it ran for the first time",
            starts,
        );
        let requests = Family::<Asked, Counter>::default();
        registry.register(
            "kubelet_http_requests",
            "Requests to the HTTP API",
            requests.clone(),
        );
        let durations = Histogram::new([0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 30.0]);
        registry.register(
            "kubelet_http_requests_duration_seconds",
            "Time to the head of an answer",
            durations.clone(),
        );
        let refused = Family::<Code, Counter>::default();
        registry.register(
            "kubelet_http_refused_callers",
            "Requests of callers who are unknown (401) or may not (403)",
            refused.clone(),
        );
        let connections = Gauge::default();
        registry.register(
            "kubelet_http_connections",
            "Connections to the HTTP API",
            connections.clone(),
        );
        Metrics {
            connections,
            registry,
            requests,
            durations,
            refused,
        }
    }

    /// Somebody was sent away.
    pub(super) fn refused(&self, code: StatusCode) {
        let code = code.as_u16();
        self.refused.get_or_create(&Code { code }).inc();
    }
}

/// Counts requests by route, never by path: there are as many of those as a client likes.
pub(super) async fn count(State(api): State<Api>, request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>();
    let path = path.map_or_else(|| "other".to_owned(), |path| path.as_str().to_owned());
    let method = match *request.method() {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        _ => "other",
    };
    let begun = Instant::now();
    let response = next.run(request).await;
    let code = response.status().as_u16();
    let asked = Asked { method, path, code };
    api.metrics.requests.get_or_create(&asked).inc();
    let took = begun.elapsed().as_secs_f64();
    api.metrics.durations.observe(took);
    response
}

async fn all(State(api): State<Api>) -> Response {
    let mut text = state::page(&api.kubelet);
    let connections = i64::try_from(api.seats.taken()).unwrap_or(i64::MAX);
    api.metrics.connections.set(connections);
    // Writing to a string cannot fail.
    let _ = prometheus_client::encoding::text::encode(&mut text, &api.metrics.registry);
    ([(CONTENT_TYPE, text::KIND)], text).into_response()
}
