//! `nodes`: where pods run; 2014's minions.
use super::cells::{AGE, NAME, age, at, is, list, or_none, text, wide};
use super::{Column, Names, Part, Resource, Subresource};
use rkube_api::names::Form;
use rkube_api::validate::FieldError;
use serde_json::Value;

/// `nodes`.
#[derive(Debug)]
pub(super) struct Nodes;

const NAMES: Names = Names {
    short: &["no"],
    namespaced: false,
    prefix: "/registry/minions",
    schema: "io.k8s.api.core.v1.Node",
    ..Names::core("nodes", "node", "Node")
};

impl Resource for Nodes {
    fn names(&self) -> &Names {
        &NAMES
    }
    fn subresources(&self) -> &'static [Subresource] {
        const PROXY: Subresource = Subresource {
            name: "proxy",
            group_version: None,
            kind: "NodeProxyOptions",
            verbs: &["create", "delete", "get", "patch", "update"],
            projected: false,
        };
        const { &[PROXY, Subresource::status("Node")] }
    }
    // A kubelet registers itself with its status.
    fn prepare_create(&self, _: &mut Value) {}
    fn validate(&self, object: &Value, old: Option<&Value>, _: Part) -> Vec<FieldError> {
        let mut errors = Vec::new();
        taints(object, &mut errors);
        for field in ["podCIDR", "providerID"] {
            let old = old.map_or("", |old| at(old, &format!("/spec/{field}")));
            let new = at(object, &format!("/spec/{field}"));
            if !old.is_empty() && new != old {
                let path = format!("spec.{field}");
                let why = "node updates may not change it except from \"\" to valid";
                errors.push(FieldError::forbidden(path, why));
            }
        }
        for (index, address) in list(object, "/status/addresses").iter().enumerate() {
            if list(object, "/status/addresses")[..index].contains(address) {
                let path = format!("status.addresses[{index}]");
                errors.push(FieldError::duplicate(path, address));
            }
        }
        errors
    }
    fn fields(&self) -> &'static [&'static str] {
        &["spec.unschedulable"]
    }
    fn field(&self, object: &Value, _: &str) -> String {
        is(object, "/spec/unschedulable").to_string()
    }
    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                text("Status", "Whether it is ready for pods."),
                text("Roles", "What its labels say that it is for."),
                AGE,
                text("Version", "The version of its kubelet."),
                wide(text("Internal-IP", "Its address inside the cluster.")),
                wide(text("External-IP", "Its address for others.")),
                wide(text("OS-Image", "Its system.")),
                wide(text("Kernel-Version", "Its kernel.")),
                wide(text("Container-Runtime", "What runs its containers.")),
            ]
        }
    }
    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        let info = |field: &str| {
            let value = at(object, &format!("/status/nodeInfo/{field}"));
            if value.is_empty() { "<unknown>" } else { value }
        };
        let mut kernel = info("kernelVersion").to_owned();
        let architecture = at(object, "/status/nodeInfo/architecture");
        if !architecture.is_empty() {
            kernel = format!("{kernel} ({architecture})");
        }
        vec![
            crate::meta::name(object).into(),
            status(object).into(),
            roles(object).into(),
            age(object, now).into(),
            at(object, "/status/nodeInfo/kubeletVersion").into(),
            address(object, "InternalIP").into(),
            address(object, "ExternalIP").into(),
            info("osImage").into(),
            kernel.into(),
            info("containerRuntimeVersion").into(),
        ]
    }
    fn returns_deleted(&self) -> bool {
        false
    }
}

fn status(object: &Value) -> String {
    let conditions = list(object, "/status/conditions");
    let ready = conditions.iter().find(|one| at(one, "/type") == "Ready");
    let mut words = vec![match ready.map(|one| at(one, "/status")) {
        Some("True") => "Ready",
        Some(_) => "NotReady",
        None => "Unknown",
    }];
    if is(object, "/spec/unschedulable") {
        words.push("SchedulingDisabled");
    }
    words.join(",")
}

fn roles(object: &Value) -> String {
    let labels = object
        .pointer("/metadata/labels")
        .and_then(Value::as_object);
    let mut roles: Vec<&str> = labels
        .into_iter()
        .flatten()
        .filter_map(|(key, value)| match key.as_str() {
            "kubernetes.io/role" => value.as_str(),
            key => key.strip_prefix("node-role.kubernetes.io/"),
        })
        .filter(|role| !role.is_empty())
        .collect();
    roles.sort_unstable();
    roles.dedup();
    or_none(roles.join(","))
}

fn address(object: &Value, kind: &str) -> String {
    let all = list(object, "/status/addresses");
    let found = all.iter().find(|one| at(one, "/type") == kind);
    or_none(found.map_or("", |one| at(one, "/address")))
}

fn taints(object: &Value, errors: &mut Vec<FieldError>) {
    let taints = list(object, "/spec/taints");
    for (index, taint) in taints.iter().enumerate() {
        let path = format!("spec.taints[{index}]");
        let (key, effect) = (at(taint, "/key"), at(taint, "/effect"));
        if let Some(why) = Form::LabelKey.kubernetes(key) {
            errors.push(FieldError::invalid(format!("{path}.key"), key, why));
        }
        if let Some(why) = Form::LabelValue.kubernetes(at(taint, "/value")) {
            errors.push(FieldError::invalid(
                format!("{path}.value"),
                at(taint, "/value"),
                why,
            ));
        }
        let effects = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
        if effect.is_empty() {
            errors.push(FieldError::required(format!("{path}.effect"), ""));
        } else if !effects.contains(&effect) {
            errors.push(FieldError::unsupported(
                format!("{path}.effect"),
                effect,
                &effects,
            ));
        }
        let same = |one: &&Value| at(one, "/key") == key && at(one, "/effect") == effect;
        if taints[..index].iter().any(|one| same(&one)) {
            let mut duplicate = FieldError::duplicate(path, taint);
            duplicate
                .problem
                .push_str(": taints must be unique by key and effect pair");
            errors.push(duplicate);
        }
    }
}
