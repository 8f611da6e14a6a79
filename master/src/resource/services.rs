//! `services`: one address for many pods.
mod addresses;
mod check;
mod row;

use super::cells::{AGE, NAME, at, text, wide};
use super::{Column, Names, Part, Resource, Settings, Subresource, checks};
use crate::admission::Admission;
use crate::error::ApiError;
use async_trait::async_trait;
use rkube_api::names::Form;
use rkube_api::validate::FieldError;
use serde_json::{Value, json};

/// `services`.
#[derive(Debug)]
pub(super) struct Services {
    settings: Settings,
}

const NAMES: Names = Names {
    short: &["svc"],
    categories: &["all"],
    prefix: "/registry/services/specs",
    schema: "io.k8s.api.core.v1.Service",
    ..Names::core("services", "service", "Service")
};

impl Services {
    /// With addresses and ports as these settings have them.
    pub(super) fn new(settings: &Settings) -> Self {
        Services {
            settings: settings.clone(),
        }
    }
}

#[async_trait]
impl Resource for Services {
    fn names(&self) -> &Names {
        &NAMES
    }
    fn subresources(&self) -> &'static [Subresource] {
        const PROXY: Subresource = Subresource {
            name: "proxy",
            group_version: None,
            kind: "ServiceProxyOptions",
            verbs: &["create", "delete", "get", "patch", "update"],
            projected: false,
        };
        const { &[PROXY, Subresource::status("Service")] }
    }
    fn default(&self, object: &mut Value) {
        let Some(spec) = object.get_mut("spec").filter(|spec| spec.is_object()) else {
            return;
        };
        checks::set(spec, "type", "ClusterIP");
        checks::set(spec, "sessionAffinity", "None");
        if at(spec, "/sessionAffinity") == "ClientIP" {
            let usual = json!({"clientIP": {"timeoutSeconds": 10800}});
            checks::set_map(spec, "sessionAffinityConfig", &usual);
        }
        let kind = at(spec, "/type").to_owned();
        if kind != "ExternalName" {
            checks::set(spec, "internalTrafficPolicy", "Cluster");
            checks::set(spec, "ipFamilies", json!(["IPv4"]));
            checks::set(spec, "ipFamilyPolicy", "SingleStack");
        }
        if matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
            checks::set(spec, "externalTrafficPolicy", "Cluster");
        }
        if kind == "LoadBalancer" {
            checks::set(spec, "allocateLoadBalancerNodePorts", true);
        }
        let ports = spec.get_mut("ports").and_then(Value::as_array_mut);
        for port in ports.into_iter().flatten() {
            checks::set(port, "protocol", "TCP");
            let own = port.get("port").cloned().unwrap_or(Value::Null);
            if port.get("targetPort") == Some(&json!(0)) {
                port["targetPort"] = own;
            } else if !own.is_null() {
                checks::set(port, "targetPort", own);
            }
        }
    }
    fn prepare_create(&self, object: &mut Value) {
        if let Some(map) = object.as_object_mut() {
            map.insert("status".to_owned(), json!({"loadBalancer": {}}));
        }
        addresses::in_step(object, None);
    }
    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part) {
        if part == Part::Main {
            addresses::carry_over(new, old);
            addresses::in_step(new, Some(old));
        }
    }
    fn generation(&self, _: &Value, _: &Value) -> bool {
        false
    }
    fn validate(&self, object: &Value, old: Option<&Value>, part: Part) -> Vec<FieldError> {
        match part {
            Part::Main => check::service(object, old),
            Part::Status | Part::Other(_) => Vec::new(),
        }
    }
    fn name_problem(&self, name: &str) -> Option<String> {
        Form::ServiceName.kubernetes(name)
    }
    fn fields(&self) -> &'static [&'static str] {
        &["spec.clusterIP", "spec.type"]
    }
    fn field(&self, object: &Value, field: &str) -> String {
        at(object, &format!("/{}", field.replace('.', "/"))).to_owned()
    }
    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                text("Type", "Who can reach it."),
                text("Cluster-IP", "Its address inside the cluster."),
                text("External-IP", "Its addresses for others."),
                text("Port(s)", "Its ports."),
                AGE,
                wide(text("Selector", "Which pods answer.")),
            ]
        }
    }
    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        row::cells(object, now)
    }
    fn create_on_update(&self) -> bool {
        true
    }
    fn returns_deleted(&self) -> bool {
        true
    }
    async fn admit(&self, admission: &mut Admission<'_>) -> Result<(), ApiError> {
        addresses::admit(&self.settings, admission).await
    }
}
