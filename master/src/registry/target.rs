//! Which object a call is about, and the way between the store and what clients see of it.
use super::answer::Content;
use super::{Registry, stored};
use crate::admission::{Admission, Operation};
use crate::call::Call;
use crate::error::ApiError;
use crate::resource::{Names, Part, Resource};
use crate::store::{Change, Entry, Guard, Op, Revision};
use bytes::Bytes;
use serde_json::Value;
use std::sync::Arc;

/// An object, by where it is.
#[derive(Clone, Debug)]
pub(super) struct Target<'c> {
    pub(super) call: &'c Call,
    pub(super) resource: &'c Arc<dyn Resource>,
    pub(super) name: String,
    pub(super) key: Arc<str>,
}

/// An object as it is in the store.
#[derive(Clone, Debug)]
pub(super) struct Loaded {
    /// As this version shows it, with its `resourceVersion`.
    pub(super) object: Value,
    /// The revision that wrote it.
    pub(super) revision: Revision,
    /// With which lease it ends.
    pub(super) lease: Option<crate::store::LeaseId>,
}

impl<'c> Target<'c> {
    /// The object of this name of the call's resource.
    pub(super) fn new(
        registry: &'c Registry,
        call: &'c Call,
        name: &str,
    ) -> Result<Self, ApiError> {
        let resource = registry.resource_of(call)?;
        let names = resource.names();
        let namespace = call.namespace.as_str();
        if names.namespaced == namespace.is_empty() {
            return Err(if names.namespaced {
                ApiError::bad_request(
                    "an empty namespace may not be set when a resource name is provided",
                )
            } else {
                ApiError::no_resource()
            });
        }
        for segment in [namespace, name] {
            if let Some(problem) = segment_problem(segment) {
                return Err(ApiError::bad_request(format!(
                    "invalid name {segment:?}: [{problem}]"
                )));
            }
        }
        let key = if names.namespaced {
            format!("{}/{namespace}/{name}", names.prefix)
        } else {
            format!("{}/{name}", names.prefix)
        };
        Ok(Target {
            call,
            resource,
            name: name.to_owned(),
            key: key.into(),
        })
    }
    /// The object the call names.
    pub(super) fn named(registry: &'c Registry, call: &'c Call) -> Result<Self, ApiError> {
        if call.name.is_empty() {
            return Err(ApiError::bad_request("name is required"));
        }
        Target::new(registry, call, &call.name)
    }
    pub(super) fn names(&self) -> &'c Names {
        self.resource.names()
    }
    /// Which part of the object the call's subresource is.
    pub(super) fn part(&self) -> Result<Part, ApiError> {
        match self.call.subresource.as_str() {
            "" => Ok(Part::Main),
            "status" if self.resource.has_status() => Ok(Part::Status),
            other => {
                let subs = self.resource.subresources().iter();
                let sub = { subs }.find(|sub| sub.name == other);
                sub.map(|sub| Part::Other(sub.name))
                    .ok_or_else(ApiError::no_resource)
            }
        }
    }
    /// Whether the call's subresource has a body of another kind than the object.
    pub(super) fn projected(&self) -> bool {
        let mut subs = self.resource.subresources().iter();
        subs.any(|sub| sub.name == self.call.subresource && sub.projected)
    }
    pub(super) fn not_found(&self) -> ApiError {
        let names = self.names();
        ApiError::not_found(names.group, names.plural, &self.name)
    }
    pub(super) fn already_exists(&self) -> ApiError {
        let names = self.names();
        ApiError::already_exists(names.group, names.plural, &self.name)
    }
    pub(super) fn conflict(&self, why: &str) -> ApiError {
        let names = self.names();
        ApiError::conflict(names.group, names.plural, &self.name, why)
    }
    pub(super) fn invalid(&self, mistakes: &[rkube_api::validate::FieldError]) -> ApiError {
        let names = self.names();
        ApiError::invalid(names.group, names.kind, &self.name, mistakes)
    }
    /// `v1`, `events.k8s.io/v1`.
    pub(super) fn api_version(&self) -> String {
        api_version(self.names())
    }

    /// What the store has under the key, as this version shows it.
    pub(super) fn load(&self, entry: &Entry) -> Result<Loaded, ApiError> {
        let mut object = stored::decode(&entry.value, entry.modified)?;
        if !self.lies_as_shown(&entry.value) {
            self.resource.show(&mut object);
        }
        Ok(Loaded {
            object,
            revision: entry.modified,
            lease: entry.lease,
        })
    }
    /// The bytes to store of an object.
    pub(super) fn encode(&self, object: &Value) -> Bytes {
        match self.resource.hide(object) {
            Some(hidden) => stored::encode(&hidden),
            None => stored::encode(object),
        }
    }
    /// What a client gets of stored bytes.
    pub(super) fn show(&self, bytes: &[u8], revision: Revision) -> Result<Content, ApiError> {
        if self.lies_as_shown(bytes) {
            return stored::stamp(bytes, revision).map(Content::Encoded);
        }
        let mut object = stored::decode(bytes, revision)?;
        self.resource.show(&mut object);
        Ok(Content::Value(object))
    }
    fn lies_as_shown(&self, bytes: &[u8]) -> bool {
        stored::is_of(bytes, &self.api_version(), self.names().kind)
    }
}

/// A write on its way through admission.
pub(super) struct Admitted<'w> {
    pub(super) operation: Operation,
    pub(super) part: Part,
    pub(super) object: &'w mut Value,
    pub(super) old: Option<&'w Value>,
    pub(super) dry_run: bool,
}

impl Registry {
    /// Asks all who have a say in a write; what they want done along with it.
    pub(super) async fn admit(
        &self,
        target: &Target<'_>,
        write: Admitted<'_>,
    ) -> Result<Vec<Op>, ApiError> {
        let mut admission = Admission {
            operation: write.operation,
            namespace: &target.call.namespace,
            name: &target.name,
            part: write.part,
            object: write.object,
            old: write.old,
            store: &self.store,
            along: Vec::new(),
            dry_run: write.dry_run,
        };
        for plugin in &self.plugins {
            plugin
                .admit(&target.call.user, target.names(), &mut admission)
                .await?;
        }
        if admission.operation != Operation::Delete {
            target.resource.default(admission.object);
        }
        target.resource.admit(&mut admission).await?;
        Ok(admission.along)
    }
}

/// One transaction of the object's own change and what goes along. A key is named once: what is only looked at gives way
/// to what is changed.
pub(super) fn transaction(own: Op, along: Vec<Op>) -> Vec<Op> {
    let mut ops = vec![own];
    for op in along {
        match ops.iter_mut().find(|other| other.key == op.key) {
            None => ops.push(op),
            Some(other) if other.change == Change::Check && other.guard != Guard::Any => {
                other.change = op.change;
            }
            Some(other) if other.change == Change::Check => *other = op,
            Some(_) => {}
        }
    }
    ops
}

/// `v1`, `events.k8s.io/v1`.
pub(super) fn api_version(names: &Names) -> String {
    joined(names.group, names.version)
}

/// A group and a version as `apiVersion` has them.
pub(super) fn joined(group: &str, version: &str) -> String {
    if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    }
}

/// What keeps a text from being a part of a path (k8s.io/apimachinery, `ValidatePathSegmentName`).
fn segment_problem(segment: &str) -> Option<String> {
    if matches!(segment, "." | "..") {
        return Some(format!("may not be '{segment}'"));
    }
    let bad = ['/', '%']
        .into_iter()
        .find(|&letter| segment.contains(letter))?;
    Some(format!("may not contain '{bad}'"))
}

/// 405: the subresource is there, but not to be written so.
pub(super) fn no_method() -> ApiError {
    ApiError::new(
        http::StatusCode::METHOD_NOT_ALLOWED,
        "MethodNotAllowed",
        "the server does not allow this method on the requested resource",
    )
}
