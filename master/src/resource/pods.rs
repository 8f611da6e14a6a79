//! `pods`: containers that run together on a node.
mod binding;
mod change;
pub mod eviction;
mod row;
pub(super) mod template;

use super::cells::{AGE, NAME, at, is, list, number, text, wide};
use super::{Answered, Column, Names, Part, Resource, Subresource, checks};
use crate::error::ApiError;
use k8s_openapi::api::core::v1::Pod;
use rkube_api::validate::FieldError;
use serde_json::{Value, json};

/// `pods`.
#[derive(Debug)]
pub(super) struct Pods;

const NAMES: Names = Names {
    short: &["po"],
    categories: &["all"],
    prefix: "/registry/pods",
    schema: "io.k8s.api.core.v1.Pod",
    ..Names::core("pods", "pod", "Pod")
};

/// A subresource that is a connection to the pod's node.
const fn connection(name: &'static str, kind: &'static str) -> Subresource {
    Subresource {
        name,
        group_version: None,
        kind,
        verbs: &["create", "get"],
        projected: false,
    }
}

const SUBRESOURCES: &[Subresource] = &[
    connection("attach", "PodAttachOptions"),
    Subresource {
        verbs: &["create"],
        projected: true,
        ..connection("binding", "Binding")
    },
    Subresource::part("ephemeralcontainers", "Pod"),
    Subresource {
        group_version: Some(("policy", "v1")),
        verbs: &["create"],
        ..connection("eviction", "Eviction")
    },
    connection("exec", "PodExecOptions"),
    Subresource {
        verbs: &["get"],
        ..connection("log", "Pod")
    },
    connection("portforward", "PodPortForwardOptions"),
    Subresource {
        verbs: &["create", "delete", "get", "patch", "update"],
        ..connection("proxy", "PodProxyOptions")
    },
    Subresource::part("resize", "Pod"),
    Subresource::status("Pod"),
];

impl Resource for Pods {
    fn names(&self) -> &Names {
        &NAMES
    }
    fn subresources(&self) -> &'static [Subresource] {
        SUBRESOURCES
    }
    fn default(&self, object: &mut Value) {
        template::default_spec(object, "/spec");
    }
    fn prepare_create(&self, object: &mut Value) {
        let mut status = json!({"phase": "Pending"});
        if let Ok(pod) = checks::typed::<Pod>(object, "")
            && let Some(spec) = &pod.spec
        {
            status["qosClass"] = rkube_api::qos::class(spec).as_str().into();
        }
        if let Some(map) = object.as_object_mut() {
            map.insert("status".to_owned(), status);
        }
    }
    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part) {
        change::restore(new, old, part);
    }
    fn validate(&self, object: &Value, old: Option<&Value>, part: Part) -> Vec<FieldError> {
        match (old, part) {
            (None, _) => template::check_spec(object.get("spec"), "spec"),
            (Some(_), Part::Status) => Vec::new(),
            (Some(old), part) => change::check(object, old, part),
        }
    }
    fn fields(&self) -> &'static [&'static str] {
        &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        ]
    }
    fn field(&self, object: &Value, field: &str) -> String {
        match field {
            "spec.hostNetwork" => is(object, "/spec/hostNetwork").to_string(),
            "status.podIPs" => {
                let all = list(object, "/status/podIPs").iter();
                all.map(|one| at(one, "/ip")).collect::<Vec<_>>().join(",")
            }
            field => at(object, &format!("/{}", field.replace('.', "/"))).to_owned(),
        }
    }
    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                text(
                    "Ready",
                    "How many of its containers are ready for requests.",
                ),
                text("Status", "What becomes of it, in a word."),
                text(
                    "Restarts",
                    "How often its containers have been started again.",
                ),
                AGE,
                wide(text("IP", "Its address.")),
                wide(text("Node", "Where it runs.")),
                wide(text("Nominated Node", "Where room is being made for it.")),
                wide(text(
                    "Readiness Gates",
                    "How many conditions of others say that it is ready.",
                )),
            ]
        }
    }
    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        row::cells(object, now)
    }
    fn grace(&self, object: &Value, asked: Option<i64>) -> Option<i64> {
        let phase = at(object, "/status/phase");
        if at(object, "/spec/nodeName").is_empty() || matches!(phase, "Succeeded" | "Failed") {
            return Some(0);
        }
        let usual = object.pointer("/spec/terminationGracePeriodSeconds");
        let usual = usual.map_or(rkube_api::defaults::GRACE_PERIOD_SECONDS, |_| {
            number(object, "/spec/terminationGracePeriodSeconds")
        });
        let grace = asked.unwrap_or(usual);
        Some(if grace < 0 { 1 } else { grace })
    }
    fn returns_deleted(&self) -> bool {
        true
    }
    fn write_sub(&self, sub: &str, object: &mut Value, body: &Value) -> Result<Answered, ApiError> {
        match sub {
            "binding" => binding::bind(object, body),
            _ => Err(ApiError::no_resource()),
        }
    }
}
