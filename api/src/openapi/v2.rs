//! OpenAPI 2: one document for everything that is served.
//!
//! Clients that still ask for it look at the definitions only, and at the operations' kinds to tell what is served.
use super::operations::{id, parameters, paths};
use super::schema::Dialect;
use super::{Served, closure, gnostic, prose};
use crate::schema::Schemas;
use serde_json::{Map, Value, json};

/// The media type of the protobuf form, as Go's clients can read it (with a dot, not an `@`).
pub const PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// `/openapi/v2` as JSON.
#[must_use]
pub fn document(served: &[Served<'_>], schemas: &Schemas) -> Value {
    let types = closure(served, schemas);
    let mut all = Map::new();
    for each in served {
        for path in paths(each) {
            let mut item = Map::new();
            for operation in &path.operations {
                let (group, version, kind) = operation.kind;
                let query: Vec<Value> = parameters(operation.action)
                    .iter()
                    .map(|(name, shape, text)| {
                        json!({"name": name, "in": "query", "type": shape, "description": text, "uniqueItems": true})
                    })
                    .collect();
                let named = json!({
                    "operationId": id(operation, &path, each),
                    "parameters": query,
                    "responses": {"200": {"description": "OK"}},
                    "x-kubernetes-action": operation.action,
                    "x-kubernetes-group-version-kind": {"group": group, "kind": kind, "version": version},
                });
                item.insert(operation.method.to_owned(), named);
            }
            all.insert(path.path, Value::Object(item));
        }
    }
    json!({
        "swagger": "2.0",
        "info": {"title": "Kubernetes", "version": concat!("rkube-", env!("CARGO_PKG_VERSION"))},
        "paths": all,
        "definitions": Dialect::V2.schemas(&types, schemas, &prose()),
    })
}

/// The same as gnostic's protobuf (`openapi_v2.Document`).
#[must_use]
pub fn protobuf(document: &Value) -> Vec<u8> {
    gnostic::document(document)
}
