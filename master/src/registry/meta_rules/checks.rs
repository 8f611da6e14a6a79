//! What is wrong with an object's metadata, in Kubernetes' words.
use super::owners;
use crate::meta;
use crate::resource::Resource;
use rkube_api::names::Form;
use rkube_api::validate::FieldError;
use serde_json::{Map, Value};
use std::collections::BTreeSet;

/// All the annotations of an object together.
const MAX_ANNOTATION_BYTES: usize = 256 << 10;
/// What the core's own objects may have as finalizers without a domain.
const STANDARD_FINALIZERS: [&str; 3] = ["orphan", "foregroundDeletion", "kubernetes"];

/// Everything wrong with an object's metadata; `old` is what it was, if it is changed.
#[must_use]
pub fn validate(resource: &dyn Resource, object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut mistakes = Vec::new();
    let metadata = meta::of(object);
    types(metadata, &mut mistakes);
    if !mistakes.is_empty() {
        return mistakes;
    }
    if old.is_none() {
        names(resource, object, &mut mistakes);
    }
    labels(metadata, &mut mistakes);
    annotations(metadata, &mut mistakes);
    owners::check(metadata, &mut mistakes);
    finalizers(resource.names().group, object, &mut mistakes);
    if let Some(old) = old {
        change(object, old, &mut mistakes);
    }
    mistakes
}

/// The decoder has looked at bodies, but patches and programs inside can make anything.
fn types(metadata: &Map<String, Value>, mistakes: &mut Vec<FieldError>) {
    for (name, value) in metadata {
        let (good, expected) = match name.as_str() {
            "labels" | "annotations" => (
                value
                    .as_object()
                    .is_some_and(|map| map.values().all(Value::is_string)),
                "must be a map of strings",
            ),
            "finalizers" => (
                value
                    .as_array()
                    .is_some_and(|list| list.iter().all(Value::is_string)),
                "must be a list of strings",
            ),
            "ownerReferences" | "managedFields" => (
                value
                    .as_array()
                    .is_some_and(|list| list.iter().all(Value::is_object)),
                "must be a list of objects",
            ),
            "generation" | "deletionGracePeriodSeconds" => (value.is_i64(), "must be an integer"),
            _ => (value.is_string(), "must be a string"),
        };
        if !good {
            mistakes.push(FieldError::invalid(
                format!("metadata.{name}"),
                value,
                expected,
            ));
        }
    }
}

fn names(resource: &dyn Resource, object: &Value, mistakes: &mut Vec<FieldError>) {
    let prefix = meta::text(object, "generateName");
    if !prefix.is_empty() {
        // A dash at the end is what makes it readable, and the letters that follow make it good.
        let sample = prefix.strip_suffix('-').map(|start| format!("{start}a"));
        if let Some(problem) = resource.name_problem(sample.as_deref().unwrap_or(prefix)) {
            mistakes.push(FieldError::invalid(
                "metadata.generateName",
                prefix,
                problem,
            ));
        }
    }
    let name = meta::name(object);
    if name.is_empty() {
        let detail = "name or generateName is required";
        mistakes.push(FieldError::required("metadata.name", detail));
    } else if let Some(problem) = resource.name_problem(name) {
        mistakes.push(FieldError::invalid("metadata.name", name, problem));
    }
    let namespace = meta::namespace(object);
    if !namespace.is_empty()
        && let Some(problem) = Form::Label.kubernetes(namespace)
    {
        mistakes.push(FieldError::invalid(
            "metadata.namespace",
            namespace,
            problem,
        ));
    }
}

fn texts<'m>(
    metadata: &'m Map<String, Value>,
    name: &str,
) -> impl Iterator<Item = (&'m str, &'m str)> {
    let map = metadata.get(name).and_then(Value::as_object);
    let members = map.into_iter().flatten();
    members.filter_map(|(key, value)| Some((key.as_str(), value.as_str()?)))
}

fn labels(metadata: &Map<String, Value>, mistakes: &mut Vec<FieldError>) {
    const PATH: &str = "metadata.labels";
    for (key, value) in texts(metadata, "labels") {
        if let Some(problem) = Form::LabelKey.kubernetes(key) {
            mistakes.push(FieldError::invalid(PATH, key, problem));
        }
        if let Some(problem) = Form::LabelValue.kubernetes(value) {
            mistakes.push(FieldError::invalid(PATH, value, problem));
        }
    }
}

fn annotations(metadata: &Map<String, Value>, mistakes: &mut Vec<FieldError>) {
    const PATH: &str = "metadata.annotations";
    let mut size = 0;
    for (key, value) in texts(metadata, "annotations") {
        if let Some(problem) = Form::LabelKey.kubernetes(&key.to_lowercase()) {
            mistakes.push(FieldError::invalid(PATH, key, problem));
        }
        size += key.len() + value.len();
    }
    if size > MAX_ANNOTATION_BYTES {
        mistakes.push(FieldError::too_long(PATH, MAX_ANNOTATION_BYTES));
    }
}

fn finalizers(group: &str, object: &Value, mistakes: &mut Vec<FieldError>) {
    const PATH: &str = "metadata.finalizers";
    let all = super::finalizers(object);
    for finalizer in &all {
        if let Some(problem) = Form::LabelKey.kubernetes(finalizer) {
            mistakes.push(FieldError::invalid(PATH, finalizer, problem));
        } else if group.is_empty()
            && !finalizer.contains('/')
            && !STANDARD_FINALIZERS.contains(finalizer)
        {
            let detail = "name is neither a standard finalizer name nor is it fully qualified";
            mistakes.push(FieldError::invalid(PATH, finalizer, detail));
        }
    }
    if all.contains(&"orphan") && all.contains(&"foregroundDeletion") {
        let detail = "finalizer orphan and foregroundDeletion cannot be both set";
        mistakes.push(FieldError::invalid(PATH, &all, detail));
    }
}

/// What may not change (`ValidateObjectMetaAccessorUpdate`).
fn change(new: &Value, old: &Value, mistakes: &mut Vec<FieldError>) {
    let (now, before) = (meta::of(new), meta::of(old));
    if before.contains_key("deletionTimestamp") {
        let had: BTreeSet<&str> = super::finalizers(old).into_iter().collect();
        let all = super::finalizers(new).into_iter();
        let added: Vec<&str> = all.filter(|name| !had.contains(name)).collect();
        if !added.is_empty() {
            let list: Vec<String> = added.iter().map(|name| format!("{name:?}")).collect();
            let detail = format!(
                "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                list.join(", ")
            );
            mistakes.push(FieldError::forbidden("metadata.finalizers", detail));
        }
    }
    for name in [
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        if now.get(name) != before.get(name) {
            let value = now.get(name).unwrap_or(&Value::Null);
            let path = format!("metadata.{name}");
            mistakes.push(FieldError::invalid(path, value, "field is immutable"));
        }
    }
}
