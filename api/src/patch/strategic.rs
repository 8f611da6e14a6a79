//! Strategic merge patch: a merge patch that knows which lists are merged, and by which key.
//!
//! As `k8s.io/apimachinery/pkg/util/strategicpatch` does it, with all its directives:
//! `$patch: replace|delete|merge`, `$retainKeys`, `$setElementOrder/<list>` and `$deleteFromPrimitiveList/<list>`
//! (<https://kubernetes.io/docs/tasks/manage-kubernetes-objects/update-api-object-kubectl-patch/>).
mod list;

use super::PatchError;
use crate::schema::{Field, Merge, Schemas, Shape, Type};
use serde_json::{Map, Value};

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const ORDER: &str = "$setElementOrder/";
const DELETE: &str = "$deleteFromPrimitiveList/";

type Object = Map<String, Value>;

/// Changes `object`, which is of type `of`, as `patch` says; on an error it is as it was.
///
/// # Errors
/// A patch that is no object, or a directive that makes no sense.
pub fn apply(
    object: &mut Value,
    patch: &Value,
    of: &Type,
    schemas: &Schemas,
) -> Result<(), PatchError> {
    let (Value::Object(patch), Value::Object(old)) = (patch, &*object) else {
        return Err(PatchError::Malformed(
            "a strategic merge patch is a JSON object".to_owned(),
        ));
    };
    let context = Context {
        schemas,
        of: Some(of),
        values: None,
    };
    *object = Value::Object(context.merge(old.clone(), patch)?);
    Ok(())
}

/// What is known of the object that is being merged.
#[derive(Clone, Copy)]
struct Context<'a> {
    schemas: &'a Schemas,
    /// Its type.
    of: Option<&'a Type>,
    /// What its values are, if it is a map.
    values: Option<&'a Shape>,
}

/// How a field is merged that the table says nothing of.
const PLAIN: &Merge = &Merge {
    patch_key: None,
    patch_set: false,
    patch_replace: false,
    retain_keys: false,
    list: crate::schema::ListKind::Default,
};

impl<'a> Context<'a> {
    /// The context of what is in the field `key`, and how it is merged.
    fn field(self, key: &str) -> (Context<'a>, &'a Merge) {
        let field: Option<&'a Field> = self.of.and_then(|of| of.field(key));
        match field {
            Some(field) => (self.inside(&field.shape), &field.merge),
            None => (
                self.values.map_or(self.nothing(), |of| self.inside(of)),
                PLAIN,
            ),
        }
    }

    /// The context of a value of this shape; of a list, that of its items.
    fn inside(self, shape: &'a Shape) -> Context<'a> {
        match shape {
            Shape::Type(name) => Context {
                of: self.schemas.get(name),
                ..self.nothing()
            },
            Shape::Map(inner) => Context {
                values: Some(inner),
                ..self.nothing()
            },
            Shape::List(inner) => self.inside(inner),
            _ => self.nothing(),
        }
    }

    fn nothing(self) -> Context<'a> {
        Context {
            of: None,
            values: None,
            ..self
        }
    }

    fn merge(self, mut old: Object, patch: &Object) -> Result<Object, PatchError> {
        if let Some(directive) = patch.get(DIRECTIVE) {
            match directive.as_str() {
                Some("replace") => return Ok(without_directives(patch)),
                Some("delete") => return Ok(Map::new()),
                Some("merge") => {}
                _ => return Err(unknown_directive(directive)),
            }
        }
        if let Some(keys) = patch.get(RETAIN_KEYS) {
            retain(&mut old, patch, keys)?;
        }
        self.merge_ordered(&mut old, patch)?;
        for (key, change) in patch {
            if key == DIRECTIVE || key == RETAIN_KEYS || key.starts_with(ORDER) {
                continue;
            }
            if let Some(list) = key.strip_prefix(DELETE) {
                list::delete_values(&mut old, list, change)?;
            } else if !patch.contains_key(&format!("{ORDER}{key}")) {
                self.merge_field(&mut old, key, change)?;
            }
        }
        Ok(old)
    }

    fn merge_field(self, old: &mut Object, key: &str, change: &Value) -> Result<(), PatchError> {
        let (below, merge) = self.field(key);
        let merged = match (old.remove(key), change) {
            (_, Value::Null) => return Ok(()),
            (None, change) => added(change),
            (Some(Value::Object(was)), Value::Object(change)) if !merge.patch_replace => {
                Some(Value::Object(below.merge(was, change)?))
            }
            (Some(Value::Array(was)), Value::Array(change)) => {
                Some(Value::Array(below.list(merge, was, change)?))
            }
            (Some(_), change) => added(change),
        };
        if let Some(merged) = merged {
            old.insert(key.to_owned(), merged);
        }
        Ok(())
    }

    /// The lists whose order the patch gives, whether it changes their items or not.
    fn merge_ordered(self, old: &mut Object, patch: &Object) -> Result<(), PatchError> {
        for (directive, order) in patch {
            let Some(key) = directive.strip_prefix(ORDER) else {
                continue;
            };
            let Value::Array(order) = order else {
                return Err(PatchError::Malformed(format!("{directive} is not a list")));
            };
            let (below, merge) = self.field(key);
            let was = match old.get(key) {
                Some(Value::Array(items)) => Some(items.clone()),
                _ => None,
            };
            let change = match patch.get(key) {
                Some(Value::Array(items)) => Some(items),
                Some(Value::Null) => {
                    old.remove(key);
                    continue;
                }
                _ => None,
            };
            let merge_key = merge.patch_key.as_deref();
            if let Some(change) = change {
                list::check_order(key, change, order, merge_key)?;
            }
            let merged = match (&was, change) {
                (Some(was), None) => was.clone(),
                (None, Some(change)) => change.iter().filter_map(added).collect(),
                (Some(was), Some(change)) => below.list(merge, was.clone(), change)?,
                (None, None) => continue,
            };
            let ordered = list::ordered(merged, order, &was.unwrap_or_default(), merge_key);
            old.insert(key.to_owned(), Value::Array(ordered));
        }
        Ok(())
    }

    /// Two lists become one.
    fn list(
        self,
        merge: &Merge,
        old: Vec<Value>,
        patch: &[Value],
    ) -> Result<Vec<Value>, PatchError> {
        match &merge.patch_key {
            Some(key) => self.keyed_list(key, old, patch),
            None if merge.patch_set => Ok(list::union(old, patch)),
            None => Ok(patch.iter().filter_map(added).collect()),
        }
    }

    fn keyed_list(
        self,
        key: &str,
        old: Vec<Value>,
        patch: &[Value],
    ) -> Result<Vec<Value>, PatchError> {
        let was = old.clone();
        let Some((mut merged, items)) = list::deletions(key, old, patch)? else {
            let replace = patch.iter().filter(|item| item.get(DIRECTIVE).is_none());
            return Ok(replace.filter_map(added).collect());
        };
        let mut known = list::places(&merged, Some(key));
        for item in &items {
            let Value::Object(change) = item else {
                return Err(PatchError::Malformed(format!(
                    "an item of a list by {key} is not an object"
                )));
            };
            let identity = list::identity(item, Some(key)).ok_or_else(|| no_key(item, key))?;
            match known.get(&identity).and_then(|at| merged.get_mut(*at)) {
                Some(Value::Object(known)) => {
                    *known = self.merge(std::mem::take(known), change)?;
                }
                _ => {
                    known.insert(identity, merged.len());
                    merged.extend(added(item));
                }
            }
        }
        Ok(list::ordered(merged, &items, &was, Some(key)))
    }
}

/// What a patch adds where nothing was: nulls and directives say nothing there.
fn added(change: &Value) -> Option<Value> {
    match change {
        Value::Null => None,
        Value::Object(map) if map.get(DIRECTIVE).is_some_and(|word| word == "delete") => None,
        Value::Object(map) => Some(Value::Object(without_directives(map))),
        Value::Array(items) => Some(items.iter().filter_map(added).collect()),
        other => Some(other.clone()),
    }
}

fn without_directives(patch: &Object) -> Object {
    let plain = patch.iter().filter(|(key, _)| {
        let key = key.as_str();
        key != DIRECTIVE
            && key != RETAIN_KEYS
            && !key.starts_with(ORDER)
            && !key.starts_with(DELETE)
    });
    plain
        .filter_map(|(key, value)| Some((key.clone(), added(value)?)))
        .collect()
}

/// Only these keys stay; a patch that sets another contradicts itself.
fn retain(old: &mut Object, patch: &Object, keys: &Value) -> Result<(), PatchError> {
    let Value::Array(keys) = keys else {
        return Err(PatchError::Malformed(format!(
            "{RETAIN_KEYS} is not a list"
        )));
    };
    for (key, change) in patch {
        let plain = !key.starts_with('$') && !change.is_null();
        if plain && !keys.iter().any(|retained| retained == key.as_str()) {
            let problem = format!("{key} is set, but is not in the list of {RETAIN_KEYS}");
            return Err(PatchError::Malformed(problem));
        }
    }
    old.retain(|key, _| keys.iter().any(|retained| retained == key.as_str()));
    Ok(())
}

fn unknown_directive(directive: &Value) -> PatchError {
    PatchError::Malformed(format!("Unknown patch directive: {directive}"))
}

fn no_key(item: &Value, key: &str) -> PatchError {
    let shown = crate::node::shorten(&item.to_string());
    PatchError::Malformed(format!(
        "map: {shown} does not contain declared merge key: {key}"
    ))
}

#[cfg(test)]
mod tests;
