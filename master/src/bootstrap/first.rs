//! The namespaces that every cluster has.
use crate::call::{Call, User, Verb};
use crate::error::ApiError;
use crate::registry::Registry;
use serde_json::{Value, json};

/// Their names.
pub(super) const NAMESPACES: &[&str] =
    &["default", "kube-system", "kube-public", "kube-node-lease"];

/// Makes those that are missing.
pub(super) async fn namespaces(registry: &Registry) -> Result<(), ApiError> {
    for name in NAMESPACES {
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        ensure(registry, &call("", "namespaces", "", name), namespace).await?;
    }
    Ok(())
}

/// A call of the master itself about one object.
pub(super) fn call(group: &str, plural: &str, namespace: &str, name: &str) -> Call {
    Call::new(User::master(), Verb::Get, group, "v1", plural)
        .within(namespace)
        .named(name)
}

/// Makes the object if it is not there; as it is there now.
pub(super) async fn ensure(
    registry: &Registry,
    call: &Call,
    object: Value,
) -> Result<Value, ApiError> {
    if let Some(there) = registry.find(call).await? {
        return Ok(there);
    }
    let new = Call {
        verb: Verb::Create,
        name: String::new(),
        ..call.clone()
    };
    match registry.create(&new, object.into()).await {
        Ok(answer) => answer.value(),
        // Another master was faster.
        Err(err) if err.reason == "AlreadyExists" => {
            let there = registry.find(call).await?;
            there.ok_or(err)
        }
        Err(err) => Err(err),
    }
}
