//! `namespaces`: where names are unique. One that is deleted stays until all that is in it is gone.
use super::cells::{AGE, NAME, age, at, list, text};
use super::{Column, Names, Part, Resource, Subresource};
use rkube_api::names::Form;
use rkube_api::validate::FieldError;
use serde_json::{Value, json};

/// `namespaces`.
#[derive(Debug)]
pub(super) struct Namespaces;

/// Where they are kept.
pub(crate) const PREFIX: &str = "/registry/namespaces";
/// The label that says the name, for selectors.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

const NAMES: Names = Names {
    short: &["ns"],
    namespaced: false,
    prefix: PREFIX,
    schema: "io.k8s.api.core.v1.Namespace",
    ..Names::core("namespaces", "namespace", "Namespace")
};

impl Resource for Namespaces {
    fn names(&self) -> &Names {
        &NAMES
    }
    fn verbs(&self) -> &'static [&'static str] {
        &[
            "create", "delete", "get", "list", "patch", "update", "watch",
        ]
    }
    fn subresources(&self) -> &'static [Subresource] {
        const FINALIZE: Subresource = Subresource {
            verbs: &["update"],
            ..Subresource::part("finalize", "Namespace")
        };
        const { &[FINALIZE, Subresource::status("Namespace")] }
    }
    fn default(&self, object: &mut Value) {
        let name = crate::meta::name(object).to_owned();
        if !name.is_empty() {
            let metadata = crate::meta::of_mut(object);
            crate::meta::member_mut(metadata, "labels").insert(NAME_LABEL.to_owned(), name.into());
        }
    }
    fn prepare_create(&self, object: &mut Value) {
        if let Some(map) = object.as_object_mut() {
            map.insert("status".to_owned(), json!({"phase": "Active"}));
            let spec = crate::meta::member_mut(map, "spec");
            let finalizers = spec.entry("finalizers").or_insert_with(|| json!([]));
            let kubernetes = Value::from("kubernetes");
            if let Some(list) = finalizers.as_array_mut()
                && !list.contains(&kubernetes)
            {
                list.push(kubernetes);
            }
        }
    }
    fn prepare_update(&self, new: &mut Value, old: &Value, part: Part) {
        let finalizers = old.pointer("/spec/finalizers").cloned();
        let Some(map) = new.as_object_mut() else {
            return;
        };
        match part {
            // Only `finalize` changes what holds a namespace.
            Part::Main | Part::Status => {
                if let Some(finalizers) = finalizers {
                    crate::meta::member_mut(map, "spec")
                        .insert("finalizers".to_owned(), finalizers);
                }
            }
            Part::Other(_) => {
                let finalizers = map.get("spec").cloned().unwrap_or_else(|| json!({}));
                *new = old.clone();
                new["spec"] = finalizers;
            }
        }
    }
    fn generation(&self, _: &Value, _: &Value) -> bool {
        false
    }
    fn validate(&self, object: &Value, old: Option<&Value>, _: Part) -> Vec<FieldError> {
        let mut errors = Vec::new();
        for (index, finalizer) in list(object, "/spec/finalizers").iter().enumerate() {
            let name = finalizer.as_str().unwrap_or("");
            let path = format!("spec.finalizers[{index}]");
            if let Some(why) = Form::LabelKey.kubernetes(name) {
                errors.push(FieldError::invalid(path, name, why));
            } else if name != "kubernetes" && !name.contains('/') {
                let why = "name is neither a standard finalizer name nor is it fully qualified";
                errors.push(FieldError::invalid(path, name, why));
            }
        }
        let phase = at(object, "/status/phase");
        let deleted = !crate::meta::text(object, "deletionTimestamp").is_empty();
        let wrong = match phase {
            "Active" => {
                deleted.then_some("may not be 'Active' if `deletionTimestamp` is not empty")
            }
            "Terminating" => (!deleted)
                .then_some("may only be 'Terminating' if `deletionTimestamp` is not empty"),
            _ => None,
        };
        if let (Some(why), Some(_)) = (wrong, old) {
            errors.push(FieldError::invalid("status.Phase", phase, why));
        }
        errors
    }
    fn name_problem(&self, name: &str) -> Option<String> {
        Form::Label.kubernetes(name)
    }
    fn fields(&self) -> &'static [&'static str] {
        &["status.phase"]
    }
    fn field(&self, object: &Value, _: &str) -> String {
        at(object, "/status/phase").to_owned()
    }
    fn columns(&self) -> &'static [Column] {
        const { &[NAME, text("Status", "The status of the namespace."), AGE] }
    }
    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        vec![
            crate::meta::name(object).into(),
            at(object, "/status/phase").into(),
            age(object, now).into(),
        ]
    }
    fn returns_deleted(&self) -> bool {
        true
    }
    fn holds(&self, object: &Value) -> bool {
        !list(object, "/spec/finalizers").is_empty()
    }
    fn terminating(&self, object: &mut Value) {
        if let Some(map) = object.as_object_mut() {
            let status = crate::meta::member_mut(map, "status");
            status.insert("phase".to_owned(), "Terminating".into());
        }
    }
}
