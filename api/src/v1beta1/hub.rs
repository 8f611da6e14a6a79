//! Between 2014's objects and the `v1` objects that everything else works with.
//!
//! ```text
//!   given --table::read--> complete --> parts: v1 fields  + names  + residue     (store, update)
//!   v1 --> parts: 2014's fields --table::read--> residue::restore --> shown      (shown)
//! ```
//! What `v1` says of an object and 2014 cannot say is not shown, and stays through an update ([`merge`]). What 2014 said and
//! `v1` cannot say is kept in an annotation ([`residue`]) as long as nobody changes that place through `v1`.
mod parts;
mod pod;
mod probe;

pub use parts::FIRST_PORT;

use super::merge::merge;
use super::table::{self, Kind, Version};
use super::{names, residue};
use crate::names::Form;
use crate::validate::{FieldError, Reason};
use serde_json::{Map, Value, json};

/// Our own annotations, which 2014's clients neither see nor set.
const OURS: [&str; 3] = [residue::ANNOTATION, names::GIVEN, FIRST_PORT];

/// The `v1` name of the object of this kind with this id.
#[must_use]
pub fn name(kind: Kind, id: &str) -> String {
    match kind {
        // 2014 was stricter about these than `v1` is.
        Kind::Service | Kind::Endpoints => id.to_owned(),
        _ => names::name(id, Form::Subdomain),
    }
}

/// What a server of 2014 filled in before it stored an object. `given` is what [`table::read`] made of it.
pub fn complete(kind: Kind, given: &mut Value) {
    if let Some(annotations) = given.get_mut("annotations").and_then(Value::as_object_mut) {
        OURS.iter().for_each(|ours| {
            annotations.remove(*ours);
        });
        if annotations.is_empty() {
            remove(given, &[], "annotations");
        }
    }
    match kind {
        Kind::Pod => pod::complete(&mut given["desiredState"]["manifest"]),
        Kind::ReplicationController => {
            pod::complete(&mut given["desiredState"]["podTemplate"]["desiredState"]["manifest"]);
        }
        Kind::Service => parts::complete_service(given),
        Kind::Endpoints | Kind::Minion | Kind::Event | Kind::Binding => {}
    }
}

/// The `v1` object for a new object of 2014.
///
/// # Errors
/// What is wrong with it that `v1` could not say; paths are those of 2014.
pub fn store(kind: Kind, given: &Value) -> Result<Value, Vec<FieldError>> {
    let mut given = given.clone();
    complete(kind, &mut given);
    if kind == Kind::Service {
        // A port of the proxy is the server's to give.
        remove(&mut given, &[], "proxyPort");
    }
    let mut object = project(kind, &given)?;
    keep(kind, &given, &mut object);
    Ok(object)
}

/// The `v1` object that comes of an update with an object of 2014.
///
/// # Errors
/// As for [`store`].
pub fn update(kind: Kind, stored: &Value, given: &Value) -> Result<Value, Vec<FieldError>> {
    let mut given = given.clone();
    complete(kind, &mut given);
    let mut before = shown(kind, stored);
    complete(kind, &mut before);
    match kind {
        Kind::Service => parts::keep_address(&before, &mut given),
        Kind::Minion => {
            for status in ["resources", "hostIP"] {
                copy(&before, &mut given, status);
            }
        }
        _ => {}
    }
    let mut after = project(kind, &given)?;
    // What is stored may break the rules of 2014; it is only a view then.
    let seen = view(kind, &before).0;
    if kind == Kind::Pod {
        pod::keep_pull_policies(&before, &given, &seen, &mut after);
    }
    let mut object = merge(stored, &seen, &after);
    if kind == Kind::Endpoints {
        parts::keep_addresses(stored, &mut object);
    }
    keep(kind, &given, &mut object);
    Ok(object)
}

/// A `v1` object as 2014 shows it, in the fullest shape; without `kind`, `apiVersion` and `selfLink`, and without the current
/// state, which [`super::state`] knows.
#[must_use]
pub fn shown(kind: Kind, stored: &Value) -> Value {
    let mut object = derived(kind, stored);
    let record = &stored["metadata"]["annotations"][residue::ANNOTATION];
    if let Some(record) = record.as_str() {
        residue::restore(record, &mut object);
    }
    object
}

/// What is shown where nothing is remembered.
fn derived(kind: Kind, stored: &Value) -> Value {
    let mut object = Map::new();
    show_metadata(kind, &stored["metadata"], &mut object);
    match kind {
        Kind::Pod => {
            let mut state = json!({"status": "Running", "manifest": pod::show(&stored["spec"])});
            state["manifest"]["id"] = object.get("id").cloned().unwrap_or_default();
            state["manifest"]["uuid"] = stored["metadata"]["uid"].clone();
            state["host"] = stored["spec"]["nodeName"].clone();
            object.insert("desiredState".to_owned(), state);
            let nodes = stored["spec"]["nodeSelector"].clone();
            object.insert("nodeSelector".to_owned(), nodes);
        }
        Kind::ReplicationController => {
            let spec = &stored["spec"];
            let template = json!({
                "desiredState": {"manifest": pod::show(&spec["template"]["spec"])},
                "labels": spec["template"]["metadata"]["labels"],
            });
            let state = json!({
                "replicas": spec["replicas"], "replicaSelector": spec["selector"], "podTemplate": template,
            });
            object.insert("desiredState".to_owned(), state);
            let replicas = json!({"replicas": stored["status"]["replicas"]});
            object.insert("currentState".to_owned(), replicas);
        }
        Kind::Service => parts::show_service(stored, &mut object),
        Kind::Endpoints => parts::show_endpoints(stored, &mut object),
        Kind::Minion => parts::show_minion(stored, &mut object),
        Kind::Event => parts::show_event(stored, &mut object),
        Kind::Binding => {}
    }
    table::read(kind, Version::V1beta1, &Value::Object(object))
}

fn show_metadata(kind: Kind, metadata: &Value, object: &mut Map<String, Value>) {
    let mut put = |name: &str, value: Value| object.insert(name.to_owned(), value);
    let stored = metadata["name"].as_str().unwrap_or_default();
    let given = metadata["annotations"][names::GIVEN].as_str();
    let given = given.filter(|given| name(kind, given) == stored);
    put("id", given.unwrap_or(stored).into());
    for field in ["uid", "creationTimestamp", "namespace", "labels"] {
        put(field, metadata[field].clone());
    }
    let revision = metadata["resourceVersion"].as_str();
    let revision = revision.and_then(|text| text.parse::<u64>().ok());
    put("resourceVersion", revision.into());
    let annotations = metadata["annotations"].as_object();
    let others = annotations
        .into_iter()
        .flatten()
        .filter(|(name, _)| !OURS.contains(&name.as_str()));
    let others = others.map(|(name, value)| (name.clone(), value.clone()));
    put("annotations", Value::Object(others.collect()));
}

/// The `v1` fields for an object of 2014, or all its mistakes.
fn project(kind: Kind, given: &Value) -> Result<Value, Vec<FieldError>> {
    let (object, mistakes) = view(kind, given);
    match mistakes.is_empty() {
        true => Ok(object),
        false => Err(mistakes),
    }
}

/// The `v1` fields for an object of 2014, and its mistakes.
fn view(kind: Kind, given: &Value) -> (Value, Vec<FieldError>) {
    let mut mistakes = Vec::new();
    let mut object =
        json!({"apiVersion": "v1", "kind": kind.v1_kind(), "metadata": metadata(kind, given)});
    match kind {
        Kind::Pod => {
            let at = "desiredState.manifest.";
            object["spec"] = pod::spec(&given["desiredState"]["manifest"], at, &mut mistakes);
            set(
                &mut object["spec"],
                "nodeSelector",
                labels(&given["nodeSelector"]),
            );
        }
        Kind::ReplicationController => {
            let state = &given["desiredState"];
            let template = &state["podTemplate"];
            let at = "spec.template.spec.";
            let spec = pod::spec(&template["desiredState"]["manifest"], at, &mut mistakes);
            object["spec"] = json!({"replicas": state["replicas"], "template": {"spec": spec}});
            let selector = labels(&state["replicaSelector"]);
            if selector.is_none() {
                mistakes.push(required("spec.selector"));
            }
            set(&mut object["spec"], "selector", selector);
            if let Some(labels) = labels(&template["labels"]) {
                object["spec"]["template"]["metadata"] = json!({"labels": labels});
            }
        }
        Kind::Service => parts::service(given, &mut object, &mut mistakes),
        Kind::Endpoints => parts::endpoints(given, &mut object, &mut mistakes),
        Kind::Minion => parts::minion(given, &mut object),
        Kind::Event => parts::event(given, &mut object),
        Kind::Binding => {
            let host = name(Kind::Minion, text(given, "host").unwrap_or_default());
            object["metadata"]["name"] =
                name(Kind::Pod, text(given, "podID").unwrap_or_default()).into();
            object["target"] = json!({"kind": "Node", "name": host});
        }
    }
    (object, mistakes)
}

fn metadata(kind: Kind, given: &Value) -> Value {
    let mut metadata = json!({});
    let id = text(given, "id").unwrap_or_default();
    let stored = name(kind, id);
    let mut annotations = given["annotations"]
        .as_object()
        .cloned()
        .unwrap_or_default();
    if stored != id {
        annotations.insert(names::GIVEN.to_owned(), id.into());
    }
    if !annotations.is_empty() {
        metadata["annotations"] = Value::Object(annotations);
    }
    if !stored.is_empty() {
        metadata["name"] = stored.into();
    }
    if kind.namespaced() {
        set(
            &mut metadata,
            "namespace",
            text(given, "namespace").map(Value::from),
        );
    }
    set(&mut metadata, "labels", labels(&given["labels"]));
    metadata
}

/// Writes down beside the object what it does not say of what was given.
fn keep(kind: Kind, given: &Value, object: &mut Value) {
    remove(object, &["metadata", "annotations"], residue::ANNOTATION);
    let (given, said) = (own(kind, given), own(kind, &derived(kind, object)));
    if let Some(record) = residue::record(&given, &said) {
        let metadata = &mut object["metadata"];
        if !metadata["annotations"].is_object() {
            metadata["annotations"] = json!({});
        }
        metadata["annotations"][residue::ANNOTATION] = record.into();
    }
}

/// What is the client's of an object: nothing that the server decides.
#[must_use]
pub fn own(kind: Kind, object: &Value) -> Value {
    let mut object = object.clone();
    const SERVERS: [&str; 9] = [
        "kind",
        "id",
        "uid",
        "creationTimestamp",
        "selfLink",
        "resourceVersion",
        "apiVersion",
        "namespace",
        "currentState",
    ];
    for field in SERVERS {
        remove(&mut object, &[], field);
    }
    let state: &[&str] = match kind {
        Kind::Pod => &["desiredState"],
        Kind::ReplicationController => {
            for unused in ["id", "uuid"] {
                let manifest = ["desiredState", "podTemplate", "desiredState", "manifest"];
                remove(&mut object, &manifest, unused);
            }
            &["desiredState", "podTemplate", "desiredState"]
        }
        _ => return object,
    };
    if kind == Kind::Pod {
        for unused in ["id", "uuid"] {
            remove(&mut object, &["desiredState", "manifest"], unused);
        }
    }
    for field in ["status", "message", "host", "hostIP", "podIP", "info"] {
        remove(&mut object, state, field);
    }
    object
}

/// Labels or a selector, with values that `v1` allows; none if there are none.
fn labels(given: &Value) -> Option<Value> {
    let given = given.as_object().filter(|given| !given.is_empty())?;
    let labels = given.iter().map(|(name, value)| {
        let value = names::label(value.as_str().unwrap_or_default());
        (name.clone(), Value::from(value))
    });
    Some(Value::Object(labels.collect()))
}

fn required(path: impl Into<String>) -> FieldError {
    FieldError::new(path, "required value").because(Reason::Required)
}

/// A text that is not empty.
fn text<'v>(value: &'v Value, name: &str) -> Option<&'v str> {
    value.get(name)?.as_str().filter(|text| !text.is_empty())
}

fn set(object: &mut Value, name: &str, value: Option<Value>) {
    if let Some(value) = value {
        object[name] = value;
    }
}

fn copy(from: &Value, to: &mut Value, name: &str) {
    match from.get(name) {
        Some(value) => to[name] = value.clone(),
        None => remove(to, &[], name),
    }
}

fn remove(object: &mut Value, way: &[&str], name: &str) {
    let parent = way
        .iter()
        .try_fold(object, |value, step| value.get_mut(*step));
    if let Some(map) = parent.and_then(Value::as_object_mut) {
        map.remove(name);
    }
}

#[cfg(test)]
mod tests;
