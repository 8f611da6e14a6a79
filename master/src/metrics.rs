//! `/metrics`: what Prometheus reads, under the names that dashboards of Kubernetes know.
mod process;

use crate::cache::Caches;
use crate::call::Call;
use crate::registry;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

/// The media type of the page.
pub const KIND: &str = "text/plain; version=0.0.4; charset=utf-8";

const BUCKETS: [f64; 9] = [0.001, 0.005, 0.01, 0.025, 0.1, 0.5, 1.0, 5.0, 30.0];

/// What is counted.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<Asked, Counter>,
    durations: Family<What, Histogram, fn() -> Histogram>,
    inflight: Family<Inflight, Gauge>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Asked {
    verb: &'static str,
    group: &'static str,
    version: &'static str,
    resource: &'static str,
    subresource: String,
    code: u16,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct What {
    verb: &'static str,
    resource: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Inflight {
    request_kind: &'static str,
}

/// What a request was about. It travels with the request, and is filled in by whoever knows.
#[derive(Clone, Debug, Default)]
pub struct Note(Arc<OnceLock<Known>>);

#[derive(Clone, Debug, Default)]
struct Known {
    verb: &'static str,
    group: &'static str,
    version: &'static str,
    resource: &'static str,
    subresource: String,
}

impl Note {
    /// It is about this. Only names that are served are kept: clients must not be able to make up series.
    pub fn about(&self, call: &Call, served: &registry::Registry) {
        let Some(resource) = served.resource(&call.group, &call.version, &call.resource) else {
            return;
        };
        let names = resource.names();
        let subs = resource.subresources();
        let known = subs.iter().find(|sub| sub.name == call.subresource);
        // Filled in once, by the one who serves it.
        let _ = self.0.set(Known {
            verb: call.verb.as_str(),
            group: names.group,
            version: names.version,
            resource: names.plural,
            subresource: known.map(|sub| sub.name.to_owned()).unwrap_or_default(),
        });
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let requests = Family::<Asked, Counter>::default();
        registry.register(
            "apiserver_request",
            "Requests, by what was asked and how it ended",
            requests.clone(),
        );
        let durations = Family::<What, Histogram, fn() -> Histogram>::new_with_constructor(|| {
            Histogram::new(BUCKETS)
        });
        registry.register(
            "apiserver_request_duration_seconds",
            "Time to the head of an answer",
            durations.clone(),
        );
        let inflight = Family::<Inflight, Gauge>::default();
        registry.register(
            "apiserver_current_inflight_requests",
            "Requests that are worked on now",
            inflight.clone(),
        );
        Metrics {
            registry,
            requests,
            durations,
            inflight,
        }
    }
}

impl Metrics {
    /// A request comes in.
    #[must_use]
    pub fn begin(&self, writes: bool) -> Begun {
        let request_kind = if writes { "mutating" } else { "readOnly" };
        let inflight = self.inflight.get_or_create(&Inflight { request_kind });
        inflight.inc();
        Begun {
            inflight: inflight.clone(),
            at: Instant::now(),
        }
    }

    /// It has been answered with this code.
    pub fn end(&self, begun: &Begun, note: &Note, code: u16) {
        let known = note.0.get().cloned().unwrap_or_else(|| Known {
            verb: "other",
            ..Known::default()
        });
        let (verb, resource) = (known.verb, known.resource);
        let took = begun.at.elapsed().as_secs_f64();
        let what = What { verb, resource };
        self.durations.get_or_create(&what).observe(took);
        let asked = Asked {
            verb,
            group: known.group,
            version: known.version,
            resource,
            subresource: known.subresource,
            code,
        };
        self.requests.get_or_create(&asked).inc();
    }

    /// The page.
    #[must_use]
    pub fn page(&self, caches: &Caches) -> String {
        let mut page = String::new();
        state(&mut page, caches);
        process::page(&mut page);
        // Writing to a string cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut page, &self.registry);
        page
    }
}

/// A request on its way, until it is dropped.
#[derive(Debug)]
pub struct Begun {
    inflight: Gauge,
    at: Instant,
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.inflight.dec();
    }
}

/// A metric with one value.
fn gauge(page: &mut String, name: &str, help: &str, value: impl std::fmt::Display) {
    family(page, name, "gauge", help);
    let _ = writeln!(page, "{name} {value}");
}

fn family(page: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(page, "# HELP {name} {help}.\n# TYPE {name} {kind}");
}

fn state(page: &mut String, caches: &Caches) {
    let name = "rkube_build_info";
    family(page, name, "gauge", "What is running");
    let version = env!("CARGO_PKG_VERSION");
    let _ = writeln!(page, "{name}{{version=\"{version}\"}} 1");
    let name = "apiserver_storage_objects";
    family(page, name, "gauge", "Objects of each resource");
    for cache in caches.all() {
        for resource in cache.resources() {
            let names = resource.names();
            let group = if names.group.is_empty() { "" } else { "." };
            let _ = writeln!(
                page,
                "{name}{{resource=\"{}{group}{}\"}} {}",
                names.plural,
                names.group,
                cache.len()
            );
        }
    }
    let newest = caches.revision();
    let name = "apiserver_watch_cache_resource_version";
    gauge(
        page,
        name,
        "Up to which revision the caches know everything",
        newest,
    );
    let watches = caches.watchers();
    let name = "apiserver_longrunning_requests";
    family(page, name, "gauge", "Requests that last");
    let _ = writeln!(page, "{name}{{verb=\"WATCH\"}} {watches}");
    let follows = u8::from(caches.trouble().is_none());
    let name = "rkube_store_followed";
    gauge(
        page,
        name,
        "Whether the store tells the caches what changes",
        follows,
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::tests::{Bed, call};
    use crate::call::Verb;
    use serde_json::json;

    #[tokio::test]
    async fn what_is_counted_is_shown() {
        let bed = Bed::new().await;
        bed.pod("default/a", json!({}), "").await;
        bed.caches.fresh().await.unwrap();
        let served = registry::Registry::new(bed.store.clone(), crate::resource::all(), Vec::new());
        let metrics = Metrics::default();
        let note = Note::default();
        note.about(&call(Verb::List, "", ""), &served);
        let mut made_up = call(Verb::Get, "", "");
        made_up.resource = "made-up".to_owned();
        let other = Note::default();
        other.about(&made_up, &served);
        let begun = metrics.begin(false);
        let during = metrics.page(&bed.caches);
        metrics.end(&begun, &note, 200);
        metrics.end(&begun, &other, 404);
        drop(begun);
        let page = metrics.page(&bed.caches);
        let count = "apiserver_request_total{verb=\"list\",group=\"\",version=\"v1\",resource=\"pods\",subresource=\"\",code=\"200\"} 1";
        assert!(page.contains(count), "{page}");
        assert!(!page.contains("made-up"));
        assert!(
            during.contains("apiserver_current_inflight_requests{request_kind=\"readOnly\"} 1")
        );
        assert!(page.contains("apiserver_current_inflight_requests{request_kind=\"readOnly\"} 0"));
        assert!(page.contains("apiserver_storage_objects{resource=\"pods\"} 1"));
        let memory = page
            .lines()
            .find_map(|line| line.strip_prefix("process_resident_memory_bytes "));
        assert!(memory.unwrap().parse::<u64>().unwrap() > 1 << 20);
    }
}
