//! OpenAPI documents: what `kubectl explain`, `create` and `apply` read of a server.
//!
//! Version 3 has one document per group and version (`/openapi/v3/api/v1`) and an index whose addresses change with what
//! they point at; version 2 (`/openapi/v2`) is one document for all, as JSON or as gnostic's protobuf, which is all that
//! kubectl before 1.27 understands.
mod gnostic;
mod operations;
mod schema;
pub mod v2;
pub mod v3;

use crate::schema::{Descriptions, Schemas};
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

/// A resource as documents name it.
#[derive(Clone, Debug, Hash)]
pub struct Served<'a> {
    /// The API group; empty for the core.
    pub group: &'a str,
    /// Its version.
    pub version: &'a str,
    /// As in paths: `pods`.
    pub plural: &'a str,
    /// `Pod`.
    pub kind: &'a str,
    /// Whether each object is in a namespace.
    pub namespaced: bool,
    /// The type in the schema: `io.k8s.api.core.v1.Pod`.
    pub schema: &'a str,
    /// What can be done with it, in the words of discovery.
    pub verbs: &'a [&'a str],
    /// Its subresources.
    pub subresources: Vec<ServedPart<'a>>,
}

/// A subresource as documents name it.
#[derive(Clone, Debug, Hash)]
pub struct ServedPart<'a> {
    /// `status`.
    pub name: &'a str,
    /// Group and version of its own kind, where it is another.
    pub group_version: Option<(&'a str, &'a str)>,
    /// Its kind.
    pub kind: &'a str,
    /// `get`, `create`, `update`, `patch`.
    pub verbs: &'a [&'a str],
}

/// `api/v1`, `apis/apps/v1`.
#[must_use]
pub fn root(group: &str, version: &str) -> String {
    if group.is_empty() {
        format!("api/{version}")
    } else {
        format!("apis/{group}/{version}")
    }
}

/// A name for what a document holds: it changes when that does.
#[must_use]
pub fn hash(served: &[Served<'_>], schemas: &Schemas) -> String {
    let mut hasher = DefaultHasher::new();
    env!("CARGO_PKG_VERSION").hash(&mut hasher);
    served.hash(&mut hasher);
    for name in closure(served, schemas) {
        format!("{:?}", schemas.get(&name)).hash(&mut hasher);
    }
    format!("{:016X}", hasher.finish())
}

/// The types that these resources need, by name.
fn closure(served: &[Served<'_>], schemas: &Schemas) -> BTreeSet<Arc<str>> {
    let mut found = BTreeSet::new();
    let mut open: Vec<Arc<str>> = Vec::new();
    for each in served {
        open.push(each.schema.into());
        let list = format!("{}List", each.kind);
        let parts = each.subresources.iter().map(|part| {
            let (group, version) = part.group_version.unwrap_or((each.group, each.version));
            (group, version, part.kind)
        });
        let kinds = parts.chain([
            (each.group, each.version, list.as_str()),
            (each.group, each.version, "DeleteOptions"),
            (each.group, each.version, "Status"),
        ]);
        for (group, version, kind) in kinds {
            open.extend(
                schemas
                    .of_kind(group, version, kind)
                    .map(|of| of.name.clone()),
            );
        }
    }
    while let Some(name) = open.pop() {
        if let Some(of) = schemas.get(&name)
            && found.insert(name)
        {
            for field in &of.fields {
                schema::named(&field.shape, &mut open);
            }
        }
    }
    found
}

/// The prose of Kubernetes' own types, where it is wanted.
fn prose() -> Descriptions {
    Descriptions::builtin()
}

#[cfg(test)]
mod tests;
