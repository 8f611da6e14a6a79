//! What every object carries, read from and written to its JSON.
use serde_json::{Map, Value};

/// An object's `metadata`; an empty one where it has none.
#[must_use]
pub fn of(object: &Value) -> &Map<String, Value> {
    static NONE: std::sync::LazyLock<Map<String, Value>> = std::sync::LazyLock::new(Map::new);
    object
        .get("metadata")
        .and_then(Value::as_object)
        .unwrap_or(&NONE)
}

/// A text of the metadata; empty where there is none.
#[must_use]
pub fn text<'o>(object: &'o Value, field: &str) -> &'o str {
    of(object).get(field).and_then(Value::as_str).unwrap_or("")
}

/// `metadata.name`.
#[must_use]
pub fn name(object: &Value) -> &str {
    text(object, "name")
}

/// `metadata.namespace`.
#[must_use]
pub fn namespace(object: &Value) -> &str {
    text(object, "namespace")
}

/// `metadata.uid`.
#[must_use]
pub fn uid(object: &Value) -> &str {
    text(object, "uid")
}

/// The metadata to write to, made where there is none. An object that is no JSON object becomes one.
pub fn of_mut(object: &mut Value) -> &mut Map<String, Value> {
    member_mut(as_map(object), "metadata")
}

/// A member that is a JSON object, made (or made one) where it is not.
pub fn member_mut<'m>(map: &'m mut Map<String, Value>, name: &str) -> &'m mut Map<String, Value> {
    as_map(map.entry(name).or_insert_with(|| Value::Object(Map::new())))
}

fn as_map(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(map) => map,
        _ => unreachable!("it was made an object just now"),
    }
}
