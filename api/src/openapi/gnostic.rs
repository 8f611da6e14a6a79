//! OpenAPI 2 in gnostic's protobuf (<https://github.com/google/gnostic>, `openapiv2/OpenAPIv2.proto`): title, definitions, and of the paths
//! the operations with their parameters and extensions.
use crate::proto::wire::{put_bytes, put_varint};
use serde_json::{Map, Value};

/// `Document`: 1 swagger, 2 info, 8 paths, 9 definitions.
pub(super) fn document(document: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    text(&mut out, 1, &document["swagger"]);
    let mut info = Vec::new();
    text(&mut info, 1, &document["info"]["title"]);
    text(&mut info, 2, &document["info"]["version"]);
    put_bytes(&mut out, 2, &info);
    let mut paths = Vec::new();
    for (path, item) in entries(&document["paths"]) {
        put_bytes(&mut paths, 2, &pair(path, &path_item(item)));
    }
    put_bytes(&mut out, 8, &paths);
    put_bytes(&mut out, 9, &schemas(&document["definitions"]));
    out
}

/// `PathItem`: 2 get, 3 put, 4 post, 5 delete, 8 patch.
fn path_item(item: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    for (tag, method) in [
        (2, "get"),
        (3, "put"),
        (4, "post"),
        (5, "delete"),
        (8, "patch"),
    ] {
        if let Some(found) = item.get(method) {
            put_bytes(&mut out, tag, &operation(found));
        }
    }
    out
}

/// `Operation`: 5 `operation_id`, 8 parameters, 9 responses, 13 extensions.
fn operation(operation: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    text(&mut out, 5, &operation["operationId"]);
    for each in operation["parameters"].as_array().into_iter().flatten() {
        put_bytes(&mut out, 8, &parameter(each));
    }
    let mut responses = Vec::new();
    for (code, response) in entries(&operation["responses"]) {
        // Response: 1 description; ResponseValue: 1 response.
        let (mut inner, mut value) = (Vec::new(), Vec::new());
        text(&mut inner, 1, &response["description"]);
        put_bytes(&mut value, 1, &inner);
        put_bytes(&mut responses, 1, &pair(code, &value));
    }
    put_bytes(&mut out, 9, &responses);
    extensions(&mut out, 13, operation);
    out
}

/// `ParametersItem` {1 `Parameter` {2 `NonBodyParameter` {3 `QueryParameterSubSchema`: 2 in, 3 description, 4 name, 6 type}}}.
fn parameter(parameter: &Value) -> Vec<u8> {
    let mut query = Vec::new();
    text(&mut query, 2, &parameter["in"]);
    text(&mut query, 3, &parameter["description"]);
    text(&mut query, 4, &parameter["name"]);
    text(&mut query, 6, &parameter["type"]);
    [3, 2, 1].into_iter().fold(query, |inner, tag| {
        let mut outer = Vec::new();
        put_bytes(&mut outer, tag, &inner);
        outer
    })
}

/// `Definitions` and `Properties`: 1 named schemas.
fn schemas(all: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, each) in entries(all) {
        put_bytes(&mut out, 1, &pair(name, &schema(each)));
    }
    out
}

/// `Schema`: 1 $ref, 2 format, 4 description, 5 default, 19 required, 21 additionalProperties, 22 type, 23 items, 25 properties,
/// 31 extensions.
fn schema(schema_of: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    text(&mut out, 1, &schema_of["$ref"]);
    text(&mut out, 2, &schema_of["format"]);
    text(&mut out, 4, &schema_of["description"]);
    if let Some(default) = schema_of.get("default") {
        put_bytes(&mut out, 5, &any(default));
    }
    for each in schema_of["required"].as_array().into_iter().flatten() {
        text(&mut out, 19, each);
    }
    for (tag, key) in [(21, "additionalProperties"), (23, "items")] {
        if let Some(inner) = schema_of.get(key) {
            let mut item = Vec::new();
            put_bytes(&mut item, 1, &schema(inner));
            put_bytes(&mut out, tag, &item);
        }
    }
    if let Some(kind) = schema_of.get("type") {
        let mut item = Vec::new();
        text(&mut item, 1, kind);
        put_bytes(&mut out, 22, &item);
    }
    if let Some(properties) = schema_of.get("properties") {
        put_bytes(&mut out, 25, &schemas(properties));
    }
    extensions(&mut out, 31, schema_of);
    out
}

/// `NamedAny` for each `x-` key.
fn extensions(out: &mut Vec<u8>, tag: u32, of: &Value) {
    for (name, value) in entries(of).filter(|(name, _)| name.starts_with("x-")) {
        put_bytes(out, tag, &pair(name, &any(value)));
    }
}

/// `Any`: 2 YAML; JSON is YAML.
fn any(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(&mut out, 2, format!("{value}\n").as_bytes());
    out
}

/// `NamedSchema`, `NamedAny` and their like: 1 name, 2 value.
fn pair(name: &str, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_bytes(&mut out, 1, name.as_bytes());
    put_bytes(&mut out, 2, value);
    out
}

fn text(out: &mut Vec<u8>, tag: u32, value: &Value) {
    match value {
        Value::String(text) => put_bytes(out, tag, text.as_bytes()),
        Value::Bool(word) => put_varint(out, tag, u64::from(*word)),
        _ => {}
    }
}

fn entries(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value
        .as_object()
        .into_iter()
        .flat_map(Map::iter)
        .map(|(name, value)| (name.as_str(), value))
}
