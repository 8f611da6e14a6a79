//! The rules for `metadata` (k8s.io/apimachinery, `pkg/api/validation`), and what the server decides of it.
mod checks;
mod owners;

pub use checks::validate;

use super::target::{Target, api_version};
use crate::error::ApiError;
use crate::meta;
use crate::resource::Names;
use rkube_api::validate::FieldError;
use serde_json::{Map, Value};

/// What the server alone decides of an object's metadata.
const OWN: [&str; 6] = [
    "uid",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "generation",
    "selfLink",
];

/// The time as objects have it: seconds, UTC.
#[must_use]
pub fn time(of: jiff::Timestamp) -> String {
    of.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Says what the object is, where the client left it out.
///
/// # Errors
/// 400 if it is something else.
pub fn identify(names: &Names, object: &mut Value) -> Result<(), ApiError> {
    let Some(members) = object.as_object_mut() else {
        return Err(ApiError::bad_request(format!(
            "the body is no {}: it must be a JSON object",
            names.kind
        )));
    };
    let expected = api_version(names);
    let given = |name: &str| members.get(name).and_then(Value::as_str).unwrap_or("");
    let (version, kind) = (given("apiVersion"), given("kind"));
    if !kind.is_empty() && kind != names.kind {
        let version = if version.is_empty() {
            &expected
        } else {
            version
        };
        return Err(ApiError::bad_request(format!(
            "{kind} in version {version:?} cannot be handled as a {}: send it to the path of its own kind",
            names.kind
        )));
    }
    if !version.is_empty() && version != expected {
        return Err(ApiError::bad_request(format!(
            "the API version in the data ({version}) does not match the expected API version ({expected})"
        )));
    }
    members.insert("apiVersion".into(), expected.into());
    members.insert("kind".into(), names.kind.into());
    meta::of_mut(object);
    Ok(())
}

/// Puts the namespace of the path into the object.
///
/// # Errors
/// 400 if the object names another one.
pub fn place(names: &Names, namespace: &str, object: &mut Value) -> Result<(), ApiError> {
    let given = meta::namespace(object);
    if !names.namespaced {
        meta::of_mut(object).remove("namespace");
        return Ok(());
    }
    if !given.is_empty() && given != namespace {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    meta::of_mut(object).insert("namespace".into(), namespace.into());
    Ok(())
}

/// Gives a new object what the server decides: uid, time, generation.
pub(super) fn begin(object: &mut Value) {
    let counts = object.get("spec").is_some();
    let metadata = meta::of_mut(object);
    for name in OWN {
        metadata.remove(name);
    }
    tidy(metadata);
    metadata.insert("uid".into(), uuid::Uuid::new_v4().to_string().into());
    let now = time(jiff::Timestamp::now());
    metadata.insert("creationTimestamp".into(), now.into());
    if counts {
        metadata.insert("generation".into(), 1.into());
    }
}

/// Drops what says nothing: clients send `null`, `{}` and `[]` for what they do not set.
fn tidy(metadata: &mut Map<String, Value>) {
    metadata.retain(|name, value| match value {
        Value::Null => false,
        Value::Object(map) => !map.is_empty(),
        Value::Array(list) => !list.is_empty(),
        // Clients may send these empty.
        Value::String(text) => !text.is_empty() || name == "name",
        Value::Bool(_) | Value::Number(_) => true,
    });
}

/// Checks that the body is about the object of the path, and fills in what it leaves out of the metadata the server
/// decides.
///
/// # Errors
/// 400 for another name or namespace, 409 if a uid or `resourceVersion` is given that is not the object's.
pub(super) fn keep(target: &Target<'_>, new: &mut Value, old: &Value) -> Result<(), ApiError> {
    identify(target.names(), new)?;
    name_of_path(target, new)?;
    let uid = meta::uid(new);
    if !uid.is_empty() && uid != meta::uid(old) {
        return Err(target.conflict(&format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
            meta::uid(old)
        )));
    }
    let version = meta::text(new, "resourceVersion");
    if !version.is_empty() && version.parse::<u64>().is_err() {
        let detail = "must be one that an answer has given";
        let mistake = FieldError::invalid("metadata.resourceVersion", version, detail);
        return Err(target.invalid(&[mistake]));
    }
    if !matches!(version, "" | "0") && version != meta::text(old, "resourceVersion") {
        return Err(target.conflict(super::change::MODIFIED));
    }
    if matches!(version, "" | "0") && !target.resource.unconditional_update() {
        let detail = "must be specified for an update";
        let mistake = FieldError::invalid("metadata.resourceVersion", 0, detail);
        return Err(target.invalid(&[mistake]));
    }
    let metadata = meta::of_mut(new);
    metadata.remove("selfLink");
    tidy(metadata);
    let old = meta::of(old);
    for name in ["uid", "resourceVersion", "generation", "generateName"] {
        copy(metadata, old, name);
    }
    for name in [
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
    ] {
        if !metadata.contains_key(name) {
            copy(metadata, old, name);
        }
    }
    Ok(())
}

/// Checks and fills in name and namespace.
///
/// # Errors
/// 400 if the body names others than the path.
pub(super) fn name_of_path(target: &Target<'_>, object: &mut Value) -> Result<(), ApiError> {
    let name = meta::name(object);
    if !name.is_empty() && name != target.name {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            target.name
        )));
    }
    let (namespace, expected) = (meta::namespace(object), &target.call.namespace);
    if target.names().namespaced && !namespace.is_empty() && namespace != expected {
        return Err(ApiError::bad_request(format!(
            "the namespace of the object ({namespace}) does not match the namespace on the URL ({expected})"
        )));
    }
    place(target.names(), expected, object)?;
    meta::of_mut(object).insert("name".into(), target.name.as_str().into());
    Ok(())
}

/// Makes a member what it is in another map, or not there.
pub(super) fn copy(to: &mut Map<String, Value>, from: &Map<String, Value>, name: &str) {
    match from.get(name) {
        Some(value) => to.insert(name.to_owned(), value.clone()),
        None => to.remove(name),
    };
}

/// The object's finalizers.
pub(super) fn finalizers(object: &Value) -> Vec<&str> {
    let list = meta::of(object).get("finalizers").and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect()
}

/// Sets the finalizers; none are not there at all.
pub(super) fn set_finalizers(object: &mut Value, finalizers: &[&str]) {
    let metadata = meta::of_mut(object);
    if finalizers.is_empty() {
        metadata.remove("finalizers");
    } else {
        metadata.insert("finalizers".into(), finalizers.into());
    }
}

/// Counts a change of what the object asks for.
pub(super) fn count_generation(object: &mut Value) {
    let metadata = meta::of_mut(object);
    let generation = metadata.get("generation").and_then(Value::as_i64);
    if let Some(generation) = generation {
        metadata.insert("generation".into(), generation.saturating_add(1).into());
    }
}
