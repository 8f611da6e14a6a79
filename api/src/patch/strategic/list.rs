//! Lists of a strategic merge patch: what goes, what comes, and in which order they are then.
use super::{DIRECTIVE, Object, PatchError, no_key, unknown_directive};
use serde_json::Value;
use std::collections::{HashMap, HashSet};

/// What tells items of a list apart, as text: the value under the merge key, or the item itself. Numbers and their text
/// are the same, as in Kubernetes.
pub(super) fn identity(item: &Value, key: Option<&str>) -> Option<String> {
    let value = match key {
        Some(key) => item.get(key)?,
        None => item,
    };
    Some(
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned),
    )
}

/// Where in a list each identity is first.
pub(super) fn places(items: &[Value], key: Option<&str>) -> HashMap<String, usize> {
    let mut places = HashMap::with_capacity(items.len());
    for (at, item) in items.iter().enumerate() {
        if let Some(identity) = identity(item, key) {
            places.entry(identity).or_insert(at);
        }
    }
    places
}

/// What is left of a list, and the items of the patch that are no deletions.
pub(super) type Remaining = (Vec<Value>, Vec<Value>);

/// Removes what `$patch: delete` names; the rest, and the items of the patch that remain. None for `$patch: replace`.
pub(super) fn deletions(
    key: &str,
    mut old: Vec<Value>,
    patch: &[Value],
) -> Result<Option<Remaining>, PatchError> {
    let mut items = Vec::new();
    let mut gone = HashSet::new();
    let mut replace = false;
    for item in patch {
        let Some(directive) = item.get(DIRECTIVE) else {
            items.push(item.clone());
            continue;
        };
        match directive.as_str() {
            Some("delete") => {
                gone.insert(identity(item, Some(key)).ok_or_else(|| no_key(item, key))?);
            }
            Some("replace") => replace = true,
            Some("merge") => {
                let problem = "merging lists cannot yet be specified in the patch";
                return Err(PatchError::Malformed(problem.to_owned()));
            }
            _ => return Err(unknown_directive(directive)),
        }
    }
    if !gone.is_empty() {
        old.retain(|old| identity(old, Some(key)).is_none_or(|found| !gone.contains(&found)));
    }
    Ok((!replace).then_some((old, items)))
}

/// Plain values of both, each once.
pub(super) fn union(old: Vec<Value>, patch: &[Value]) -> Vec<Value> {
    let mut seen = HashSet::new();
    let both = old.into_iter().chain(patch.iter().cloned());
    both.filter(|item| seen.insert(item.to_string())).collect()
}

/// `$deleteFromPrimitiveList/<list>`.
pub(super) fn delete_values(old: &mut Object, list: &str, gone: &Value) -> Result<(), PatchError> {
    let Value::Array(gone) = gone else {
        return Err(PatchError::Malformed(format!(
            "the values to delete from {list} are not a list"
        )));
    };
    if let Some(Value::Array(items)) = old.get_mut(list) {
        let gone: HashSet<String> = gone.iter().map(Value::to_string).collect();
        items.retain(|item| !gone.contains(&item.to_string()));
    }
    Ok(())
}

/// What `$setElementOrder` must name: every item that the patch sets.
pub(super) fn check_order(
    list: &str,
    patch: &[Value],
    order: &[Value],
    key: Option<&str>,
) -> Result<(), PatchError> {
    let order = places(order, key);
    for item in patch.iter().filter(|item| item.get(DIRECTIVE).is_none()) {
        if identity(item, key).is_none_or(|found| !order.contains_key(&found)) {
            let shown = crate::node::shorten(&item.to_string());
            return Err(PatchError::Malformed(format!(
                "The order in patch list: {shown} doesn't match $setElementOrder/{list}"
            )));
        }
    }
    Ok(())
}

/// Items that `order` names come in its order; the others keep their places in `was` among them.
pub(super) fn ordered(
    merged: Vec<Value>,
    order: &[Value],
    was: &[Value],
    key: Option<&str>,
) -> Vec<Value> {
    let size = merged.len();
    let (mut named, mut others) = (Vec::new(), Vec::new());
    let (order, was) = (places(order, key), places(was, key));
    for item in merged {
        let identity = identity(&item, key).unwrap_or_default();
        let before = was.get(&identity).copied();
        match order.get(&identity).copied() {
            Some(at) => named.push((at, before, item)),
            None => others.push((before, item)),
        }
    }
    named.sort_by_key(|(at, ..)| *at);
    others.sort_by_key(|(before, _)| before.unwrap_or(usize::MAX));
    let mut named = named
        .into_iter()
        .map(|(_, before, item)| (before, item))
        .peekable();
    let mut others = others.into_iter().peekable();
    let mut out = Vec::with_capacity(size);
    loop {
        let other_first = match (others.peek(), named.peek()) {
            (Some((Some(other), _)), Some((Some(named), _))) => other < named,
            (Some(_), Some(_)) => false,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => return out,
        };
        let next = if other_first {
            others.next()
        } else {
            named.next()
        };
        out.extend(next.map(|(_, item)| item));
    }
}
