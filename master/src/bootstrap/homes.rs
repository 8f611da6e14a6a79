//! Each namespace has an account and the cluster's CA while it lives; one that is deleted loses all that is in it, then its
//! finalizer.
use super::first::{self, call};
use crate::admission::homes::first_objects;
use crate::call::{Call, Verb};
use crate::error::ApiError;
use crate::meta;
use crate::registry::{Registry, now, stored};
use crate::resource::namespaces;
use crate::store::Range;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// How many objects are looked at at once.
const PAGE: usize = 500;

/// Looks at all namespaces; whether nothing is left to do.
pub(super) async fn pass(registry: &Registry, ca: &str) -> Result<bool, ApiError> {
    let mut done = true;
    let mut range = Range {
        prefix: format!("{}/", namespaces::PREFIX),
        limit: PAGE,
        ..Range::default()
    };
    loop {
        let listing = registry.store().list(&range).await?;
        for entry in &listing.entries {
            let namespace = stored::parse(&entry.value)?;
            let name = meta::name(&namespace);
            let one = if meta::text(&namespace, "deletionTimestamp").is_empty() {
                complete(registry, name, ca).await.map(|()| true)
            } else {
                end(registry, name).await
            };
            // One that cannot be served now does not keep the others waiting.
            done &= one.unwrap_or_else(|err| {
                tracing::warn!(namespace = name, %err, "will look at it again");
                false
            });
        }
        match listing.entries.last() {
            Some(last) if listing.remaining > 0 => range.after = Some(last.key.to_string()),
            _ => return Ok(done),
        }
    }
}

/// Makes what the namespace should have and has lost.
async fn complete(registry: &Registry, namespace: &str, ca: &str) -> Result<(), ApiError> {
    for (key, object) in first_objects(namespace, ca) {
        let there = registry.store().get(&key).await?;
        let plural = match object["kind"].as_str() {
            Some("ServiceAccount") => "serviceaccounts",
            _ => "configmaps",
        };
        let at = call("", plural, namespace, meta::name(&object));
        let Some(entry) = there else {
            let made = first::ensure(registry, &at, object).await;
            // It may be gone by now.
            match made {
                Err(err) if err.reason == "NotFound" || err.reason == "Forbidden" => continue,
                other => other?,
            };
            continue;
        };
        let mut has = stored::parse(&entry.value)?;
        if has.get("data") != object.get("data") && plural == "configmaps" {
            has["data"] = object["data"].clone();
            let update = Call {
                verb: Verb::Update,
                ..at
            };
            registry.update(&update, has.into()).await?;
        }
    }
    Ok(())
}

/// Takes a namespace's content away, then the namespace; whether it is gone.
async fn end(registry: &Registry, namespace: &str) -> Result<bool, ApiError> {
    let mut seen = BTreeSet::new();
    let mut left = BTreeMap::new();
    let mut finalizers = BTreeMap::<String, usize>::new();
    for resource in registry.resources() {
        let names = resource.names();
        let lasting = names.namespaced && resource.verbs().contains(&"delete");
        if !lasting || !seen.insert(names.prefix) {
            continue;
        }
        let prefix = format!("{}/{namespace}/", names.prefix);
        for object in all(registry, &prefix).await? {
            let delete = Call {
                version: names.version.to_owned(),
                verb: Verb::Delete,
                ..call(names.group, names.plural, namespace, meta::name(&object))
            };
            if meta::text(&object, "deletionTimestamp").is_empty() {
                let options = json!({"propagationPolicy": "Background", "preconditions": {"uid": meta::uid(&object)}});
                match registry.delete(&delete, Some(options)).await {
                    Ok(_) => {}
                    Err(err) if matches!(err.reason, "NotFound" | "Conflict") => {}
                    Err(err) => return Err(err),
                }
            }
        }
        let rest = all(registry, &prefix).await?;
        if !rest.is_empty() {
            left.insert(qualified(names.group, names.plural), rest.len());
        }
        let held = rest
            .iter()
            .filter_map(|object| meta::of(object).get("finalizers"));
        for finalizer in held
            .filter_map(Value::as_array)
            .flatten()
            .filter_map(Value::as_str)
        {
            *finalizers.entry(finalizer.to_owned()).or_default() += 1;
        }
    }
    if left.is_empty() {
        return finalize(registry, namespace).await;
    }
    report(registry, namespace, &left, &finalizers).await?;
    Ok(false)
}

fn qualified(group: &str, plural: &str) -> String {
    match group {
        "" => format!("{plural}."),
        group => format!("{plural}.{group}"),
    }
}

/// All objects under a prefix.
async fn all(registry: &Registry, prefix: &str) -> Result<Vec<Value>, ApiError> {
    let mut objects = Vec::new();
    let mut range = Range {
        prefix: prefix.to_owned(),
        limit: PAGE,
        ..Range::default()
    };
    loop {
        let listing = registry.store().list(&range).await?;
        for entry in &listing.entries {
            objects.push(stored::parse(&entry.value)?);
        }
        match listing.entries.last() {
            Some(last) if listing.remaining > 0 => range.after = Some(last.key.to_string()),
            _ => return Ok(objects),
        }
    }
}

/// Lets go of an empty namespace; whether nobody else holds it.
async fn finalize(registry: &Registry, name: &str) -> Result<bool, ApiError> {
    let at = call("", "namespaces", "", name);
    let Some(mut namespace) = registry.find(&at).await? else {
        return Ok(true);
    };
    let finalizers = namespace
        .pointer_mut("/spec/finalizers")
        .and_then(Value::as_array_mut);
    let Some(finalizers) = finalizers else {
        return Ok(false);
    };
    finalizers.retain(|one| one != "kubernetes");
    let last = finalizers.is_empty();
    let update = Call {
        verb: Verb::Update,
        ..at.sub("finalize")
    };
    registry.update(&update, namespace.into()).await?;
    Ok(last)
}

/// Says in the namespace's status what it still waits for.
async fn report(
    registry: &Registry,
    name: &str,
    left: &BTreeMap<String, usize>,
    finalizers: &BTreeMap<String, usize>,
) -> Result<(), ApiError> {
    let at = call("", "namespaces", "", name);
    let Some(mut namespace) = registry.find(&at).await? else {
        return Ok(());
    };
    let count = |all: &BTreeMap<String, usize>, words: &str| {
        let each = all
            .iter()
            .map(|(what, count)| format!("{what} {words} {count} resource instances"));
        each.collect::<Vec<_>>().join(", ")
    };
    let wanted = [
        (
            "NamespaceDeletionContentFailure",
            false,
            "ContentDeleted",
            String::from("All content successfully deleted, may be waiting on finalization"),
        ),
        (
            "NamespaceContentRemaining",
            true,
            "SomeResourcesRemain",
            format!("Some resources are remaining: {}", count(left, "has")),
        ),
        (
            "NamespaceFinalizersRemaining",
            !finalizers.is_empty(),
            if finalizers.is_empty() {
                "ContentHasNoFinalizers"
            } else {
                "SomeFinalizersRemain"
            },
            if finalizers.is_empty() {
                String::from("All content-preserving finalizers finished")
            } else {
                format!(
                    "Some content in the namespace has finalizers remaining: {}",
                    count(finalizers, "in")
                )
            },
        ),
    ];
    let before = namespace
        .pointer("/status/conditions")
        .and_then(Value::as_array);
    let before = before.cloned().unwrap_or_default();
    let mut conditions = before.clone();
    for (kind, is_true, reason, message) in wanted {
        let status = if is_true { "True" } else { "False" };
        let same = |one: &Value| {
            one["type"] == kind && one["status"] == status && one["message"] == message
        };
        if !conditions.iter().any(same) {
            conditions.retain(|one| one["type"] != kind);
            conditions.push(
                json!({"type": kind, "status": status, "reason": reason, "message": message,
                "lastTransitionTime": now()}),
            );
        }
    }
    if conditions == before {
        return Ok(());
    }
    namespace["status"]["conditions"] = conditions.into();
    let update = Call {
        verb: Verb::Update,
        ..at.sub("status")
    };
    registry.update(&update, namespace.into()).await.map(drop)
}
