//! `/metrics/probes`: what probes said, under Kubernetes' names.
use super::text::{KIND, Page, number};
use crate::server::Api;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;

/// Outcomes of all probes of the pods that are looked after, since this kubelet does so.
pub(super) async fn probes(State(api): State<Api>) -> Response {
    let node = &api.kubelet.node;
    let mut out = Page::default();
    out.family(
        "prober_probe_total",
        "counter",
        "Cumulative number of a liveness, readiness or startup probe for a container by result",
    );
    for (uid, probed) in node.counts.probes() {
        let Some(pod) = node.registry.get(&uid) else {
            continue;
        };
        for (container, kind, said) in probed.list() {
            for (result, count) in [("successful", said.well), ("failed", said.ill)] {
                let labels = [
                    ("container", container.as_str()),
                    ("namespace", pod.record.namespace()),
                    ("pod", pod.record.name()),
                    ("pod_uid", &uid),
                    ("probe_type", kind.as_str()),
                    ("result", result),
                ];
                if count > 0 {
                    out.sample(&labels, number(count), None);
                }
            }
        }
    }
    ([(CONTENT_TYPE, KIND)], out.finish()).into_response()
}
