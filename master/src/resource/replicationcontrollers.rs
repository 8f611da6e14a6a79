//! `replicationcontrollers`: so many pods like this one.
use super::cells::{AGE, NAME, age, at, containers, images, integer, number, pairs, text, wide};
use super::pods::template;
use super::{Answered, Column, Names, Part, Resource, Subresource, checks, scale};
use crate::error::ApiError;
use rkube_api::validate::FieldError;
use serde_json::{Value, json};

/// `replicationcontrollers`.
#[derive(Debug)]
pub(super) struct ReplicationControllers;

const NAMES: Names = Names {
    short: &["rc"],
    categories: &["all"],
    prefix: "/registry/controllers",
    schema: "io.k8s.api.core.v1.ReplicationController",
    ..Names::core(
        "replicationcontrollers",
        "replicationcontroller",
        "ReplicationController",
    )
};

impl Resource for ReplicationControllers {
    fn names(&self) -> &Names {
        &NAMES
    }
    fn subresources(&self) -> &'static [Subresource] {
        const {
            &[
                scale::SUBRESOURCE,
                Subresource::status("ReplicationController"),
            ]
        }
    }
    fn default(&self, object: &mut Value) {
        let labels = object.pointer("/spec/template/metadata/labels").cloned();
        let labels = labels.filter(|labels| labels.as_object().is_some_and(|all| !all.is_empty()));
        if let Some(spec) = object.get_mut("spec") {
            checks::set(spec, "replicas", 1);
            if let Some(labels) = &labels {
                checks::set_map(spec, "selector", labels);
            }
        }
        if let (Some(labels), Some(metadata)) = (&labels, object.get_mut("metadata")) {
            checks::set_map(metadata, "labels", labels);
        }
        template::default_spec(object, "/spec/template/spec");
    }
    fn prepare_create(&self, object: &mut Value) {
        if let Some(map) = object.as_object_mut() {
            map.insert("status".to_owned(), json!({"replicas": 0}));
        }
    }
    fn validate(&self, object: &Value, _: Option<&Value>, part: Part) -> Vec<FieldError> {
        let mut errors = Vec::new();
        if part == Part::Status {
            return errors;
        }
        for field in ["replicas", "minReadySeconds"] {
            checks::not_negative(object, &format!("/spec/{field}"), &mut errors);
        }
        let selector = object.pointer("/spec/selector").and_then(Value::as_object);
        if selector.is_none_or(serde_json::Map::is_empty) {
            errors.push(FieldError::required("spec.selector", ""));
        }
        let Some(template) = object.pointer("/spec/template") else {
            errors.push(FieldError::required("spec.template", ""));
            return errors;
        };
        let labels = template.pointer("/metadata/labels");
        let mut pairs = selector.into_iter().flatten();
        if !pairs.all(|(key, value)| labels.and_then(|all| all.get(key)) == Some(value)) {
            let why = "`selector` does not match template `labels`";
            let path = "spec.template.metadata.labels";
            errors.push(FieldError::invalid(path, labels, why));
        }
        errors.extend(template::check(Some(template), "spec.template"));
        let policy = at(template, "/spec/restartPolicy");
        if policy != "Always" {
            let path = "spec.template.spec.restartPolicy";
            errors.push(FieldError::unsupported(path, policy, &["Always"]));
        }
        errors
    }
    fn fields(&self) -> &'static [&'static str] {
        &["status.replicas"]
    }
    fn field(&self, object: &Value, _: &str) -> String {
        number(object, "/status/replicas").to_string()
    }
    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                integer("Desired", "How many pods there should be."),
                integer("Current", "How many there are."),
                integer("Ready", "How many of them are ready for requests."),
                AGE,
                wide(text(
                    "Containers",
                    "The names of the containers of its pods.",
                )),
                wide(text("Images", "What they run.")),
                wide(text("Selector", "Which pods are its own.")),
            ]
        }
    }
    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        vec![
            crate::meta::name(object).into(),
            number(object, "/spec/replicas").into(),
            number(object, "/status/replicas").into(),
            number(object, "/status/readyReplicas").into(),
            age(object, now).into(),
            containers(object, "/spec/template/spec").into(),
            images(object, "/spec/template/spec").into(),
            pairs(object.pointer("/spec/selector")).into(),
        ]
    }
    fn orphans_by_default(&self) -> bool {
        true
    }
    fn show_sub(&self, _: &str, object: &Value) -> Result<Value, ApiError> {
        let selector = pairs(object.pointer("/spec/selector"));
        Ok(scale::show(object, &selector))
    }
    fn write_sub(&self, _: &str, object: &mut Value, body: &Value) -> Result<Answered, ApiError> {
        scale::write(object, body)
    }
}
