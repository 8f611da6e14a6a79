//! Checks that several kinds share, with Kubernetes' messages.
use rkube_api::names::Form;
use rkube_api::validate::FieldError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// All the data of a ConfigMap or Secret together.
pub(super) const MAX_DATA: usize = 1 << 20;
/// What Kubernetes says of a field that never changes.
pub(super) const IMMUTABLE: &str = "field is immutable";

/// A part of an object as the type it should be; the mistake if it is not.
pub(super) fn typed<T: DeserializeOwned>(value: &Value, path: &str) -> Result<T, FieldError> {
    serde::Deserialize::deserialize(value).map_err(|err| FieldError::new(path, err.to_string()))
}

/// Passes a part of an object through a function on its type, and writes it back. A part of another shape stays as it
/// is: validation tells.
pub(super) fn through<T: DeserializeOwned + Serialize>(
    object: &mut Value,
    pointer: &str,
    change: impl FnOnce(&mut T),
) {
    let Some(part) = object.pointer_mut(pointer) else {
        return;
    };
    let Ok(mut typed) = <T as serde::Deserialize>::deserialize(&*part) else {
        return;
    };
    change(&mut typed);
    if let Ok(value) = serde_json::to_value(typed) {
        *part = value;
    }
}

/// The mistake of a field that has changed and must not.
pub(super) fn unchanged(
    new: &Value,
    old: Option<&Value>,
    pointer: &str,
    path: &str,
) -> Option<FieldError> {
    let (new, old) = (new.pointer(pointer), old?.pointer(pointer));
    (new != old).then(|| FieldError::invalid(path, new, IMMUTABLE))
}

/// The names of a ConfigMap's or Secret's data.
pub(super) fn keys(object: &Value, field: &str, errors: &mut Vec<FieldError>) {
    let map = object.get(field).and_then(Value::as_object);
    for key in map.into_iter().flat_map(serde_json::Map::keys) {
        if let Some(why) = Form::ConfigKey.kubernetes(key) {
            errors.push(FieldError::invalid(format!("{field}[{key}]"), key, why));
        }
    }
}

/// What an object that says `immutable: true` must not change.
pub(super) fn frozen(
    new: &Value,
    old: Option<&Value>,
    fields: &[&str],
    errors: &mut Vec<FieldError>,
) {
    const WHY: &str = "field is immutable when `immutable` is set";
    let Some(old) = old.filter(|old| old.get("immutable") == Some(&Value::Bool(true))) else {
        return;
    };
    if new.get("immutable") != old.get("immutable") {
        errors.push(FieldError::forbidden("immutable", WHY));
    }
    for field in fields {
        if new.get(*field) != old.get(*field) {
            errors.push(FieldError::forbidden(*field, WHY));
        }
    }
}

/// Sets a member of a JSON object where there is none, or an empty text.
pub(super) fn set(object: &mut Value, name: &str, default: impl Into<Value>) {
    let Some(map) = object.as_object_mut() else {
        return;
    };
    let unset = match map.get(name) {
        None | Some(Value::Null) => true,
        Some(Value::String(text)) => text.is_empty(),
        Some(_) => false,
    };
    if unset {
        map.insert(name.to_owned(), default.into());
    }
}

/// Sets a member that is a map where there is none, or an empty one.
pub(super) fn set_map(object: &mut Value, name: &str, default: &Value) {
    let Some(map) = object.as_object_mut() else {
        return;
    };
    let unset = match map.get(name) {
        None | Some(Value::Null) => true,
        Some(Value::Object(map)) => map.is_empty(),
        Some(_) => false,
    };
    if unset {
        map.insert(name.to_owned(), default.clone());
    }
}

/// A number that must not be below 0.
pub(super) fn not_negative(object: &Value, pointer: &str, errors: &mut Vec<FieldError>) {
    let number = super::cells::number(object, pointer);
    if number < 0 {
        let path = pointer.trim_start_matches('/').replace('/', ".");
        let why = "must be greater than or equal to 0";
        errors.push(FieldError::invalid(path, number, why));
    }
}

/// A port's number.
pub(super) fn port(number: i64, path: &str, errors: &mut Vec<FieldError>) {
    if !(1..=65535).contains(&number) {
        let why = "must be between 1 and 65535, inclusive";
        errors.push(FieldError::invalid(path, number, why));
    }
}

/// A port's protocol.
pub(super) fn protocol(protocol: &str, path: &str, errors: &mut Vec<FieldError>) {
    const KNOWN: &[&str] = &["SCTP", "TCP", "UDP"];
    if protocol.is_empty() {
        errors.push(FieldError::required(path, ""));
    } else if !KNOWN.contains(&protocol) {
        errors.push(FieldError::unsupported(path, protocol, KNOWN));
    }
}
