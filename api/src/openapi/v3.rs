//! OpenAPI 3: one document per group and version, and their index.
use super::operations::{Operation, PATCHES, Path, id, parameters, paths};
use super::schema::Dialect;
use super::{Served, closure, hash, prose, root};
use crate::schema::Schemas;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// `/openapi/v3`: where the documents are. The hash in an address makes it cacheable for ever.
#[must_use]
pub fn index(served: &[Served<'_>], schemas: &Schemas) -> Value {
    let mut groups: BTreeMap<String, Vec<Served<'_>>> = BTreeMap::new();
    for each in served {
        groups
            .entry(root(each.group, each.version))
            .or_default()
            .push(each.clone());
    }
    let paths: Map<String, Value> = groups
        .into_iter()
        .map(|(root, of)| {
            let url = format!("/openapi/v3/{root}?hash={}", hash(&of, schemas));
            (root, json!({"serverRelativeURL": url}))
        })
        .collect();
    json!({"paths": paths})
}

/// The document of a group and version; none where nothing of it is served.
#[must_use]
pub fn document(
    group: &str,
    version: &str,
    served: &[Served<'_>],
    schemas: &Schemas,
) -> Option<Value> {
    let of: Vec<Served<'_>> = served
        .iter()
        .filter(|each| each.group == group && each.version == version)
        .cloned()
        .collect();
    if of.is_empty() {
        return None;
    }
    let types = closure(&of, schemas);
    let mut all = Map::new();
    for each in &of {
        for path in paths(each) {
            let item = item(&path, each, schemas);
            all.insert(path.path, item);
        }
    }
    Some(json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": concat!("rkube-", env!("CARGO_PKG_VERSION"))},
        "paths": all,
        "components": {"schemas": Dialect::V3.schemas(&types, schemas, &prose())},
    }))
}

fn item(path: &Path<'_>, of: &Served<'_>, schemas: &Schemas) -> Value {
    let mut item = Map::new();
    for operation in &path.operations {
        item.insert(
            operation.method.to_owned(),
            one(operation, path, of, schemas),
        );
    }
    let mut shared = Vec::new();
    if path.namespaced {
        shared.push(parameter(
            "namespace",
            "path",
            "string",
            "The namespace of the objects.",
        ));
    }
    if path.path.contains("{name}") {
        shared.push(parameter(
            "name",
            "path",
            "string",
            "The name of the object.",
        ));
    }
    item.insert("parameters".to_owned(), Value::Array(shared));
    Value::Object(item)
}

fn one(operation: &Operation<'_>, path: &Path<'_>, of: &Served<'_>, schemas: &Schemas) -> Value {
    let (group, version, kind) = operation.kind;
    let body = |kind: &str| {
        let of = schemas.of_kind(group, version, kind);
        of.map_or_else(
            || json!({"type": "object"}),
            |of| Dialect::V3.reference(&of.name),
        )
    };
    let answer = match operation.action {
        "list" => body(&format!("{kind}List")),
        "deletecollection" => body("Status"),
        _ => body(kind),
    };
    let query = parameters(operation.action).iter();
    let query = query.map(|(name, shape, text)| parameter(name, "query", shape, text));
    let mut out = json!({
        "operationId": id(operation, path, of),
        "parameters": query.collect::<Vec<_>>(),
        "responses": {"200": {"description": "OK", "content": {"application/json": {"schema": answer}}}},
        "x-kubernetes-action": operation.action,
        "x-kubernetes-group-version-kind": {"group": group, "kind": kind, "version": version},
    });
    let content = match operation.action {
        "post" | "put" => json!({"*/*": {"schema": body(kind)}}),
        "patch" => PATCHES
            .iter()
            .map(|media| ((*media).to_owned(), json!({"schema": {"type": "object"}})))
            .collect::<Map<_, _>>()
            .into(),
        "delete" | "deletecollection" => json!({"*/*": {"schema": body("DeleteOptions")}}),
        _ => return out,
    };
    out["requestBody"] = json!({"content": content});
    out
}

fn parameter(name: &str, place: &str, shape: &str, text: &str) -> Value {
    let mut out =
        json!({"name": name, "in": place, "description": text, "schema": {"type": shape}});
    if place == "path" {
        out["required"] = true.into();
    }
    out
}
