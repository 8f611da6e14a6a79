//! Values seen through their type: what can be owned in them, how they differ, how they are merged and pruned.
//!
//! As structured-merge-diff does it (<https://github.com/kubernetes-sigs/structured-merge-diff>): scalars, atomic lists and maps are
//! owned as wholes, objects field by field, keyed lists item by item.
use super::fields::Fields;
use crate::schema::{Field, ListKind, Schemas, Shape, Type};
use serde_json::{Map, Value};
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

/// What a value is to server-side apply.
#[derive(Clone, Copy)]
pub(super) struct Typed<'a> {
    schemas: &'a Schemas,
    what: What<'a>,
    /// Whether becoming empty is a change. It is where a client wrote so, and not where an apply took the last item away.
    emptying: bool,
}

#[derive(Clone, Copy)]
enum What<'a> {
    /// Owned as a whole.
    Leaf,
    /// Fields of a type, each by itself.
    Fields(&'a Type),
    /// Keys of a map, each by itself.
    Keys(&'a Shape),
    /// Items by their keys.
    Items(&'a Shape, &'a [Arc<str>]),
    /// Plain values.
    Set,
}

/// What came and changed, and what went.
#[derive(Debug, Default)]
pub(super) struct Difference {
    pub(super) changed: Fields,
    pub(super) removed: Fields,
}

impl<'a> Typed<'a> {
    pub(super) fn root(of: &'a Type, schemas: &'a Schemas) -> Typed<'a> {
        Typed {
            schemas,
            what: What::Fields(of),
            emptying: false,
        }
    }

    /// The same, but what becomes empty has changed.
    pub(super) fn with_emptying(self) -> Typed<'a> {
        Typed {
            emptying: true,
            ..self
        }
    }

    fn shaped(self, shape: &'a Shape, kind: &'a ListKind) -> Typed<'a> {
        let what = match (shape, kind) {
            (_, ListKind::Atomic) => What::Leaf,
            (Shape::Type(name), kind) => match self.schemas.get(name) {
                Some(of) if !of.atomic || *kind == ListKind::Granular => What::Fields(of),
                _ => What::Leaf,
            },
            (Shape::Map(inner), _) => What::Keys(inner),
            (Shape::List(inner), ListKind::Map(keys)) => What::Items(inner, keys),
            (Shape::List(_), ListKind::Set) => What::Set,
            _ => What::Leaf,
        };
        Typed { what, ..self }
    }

    /// What is in a field or under a key, and whether it is a field that the type knows.
    fn field(self, name: &str) -> (Typed<'a>, bool) {
        let leaf = Typed {
            what: What::Leaf,
            ..self
        };
        match self.what {
            What::Fields(of) => match of.field(name) {
                Some(Field { shape, merge, .. }) => (self.shaped(shape, &merge.list), true),
                None => (leaf, false),
            },
            What::Keys(inner) => (self.shaped(inner, &ListKind::Default), false),
            What::Leaf | What::Items(..) | What::Set => (leaf, false),
        }
    }

    fn item(self) -> Typed<'a> {
        match self.what {
            What::Items(shape, _) => self.shaped(shape, &ListKind::Default),
            _ => Typed {
                what: What::Leaf,
                ..self
            },
        }
    }

    /// What tells an item of the list apart; none where it cannot be told.
    fn element(self, item: &Value) -> Option<String> {
        let What::Items(shape, keys) = self.what else {
            return Some(format!("v:{item}"));
        };
        let of = match shape {
            Shape::Type(name) => self.schemas.get(name),
            _ => None,
        };
        let mut named = Map::new();
        let mut given = false;
        for key in keys {
            if let Some(value) = item.get(&**key) {
                given = true;
                named.insert(key.to_string(), value.clone());
            } else if let Some(default) = of.and_then(|of| of.field(key)?.default.as_deref())
                && let Ok(value) = serde_json::from_str(default)
            {
                named.insert(key.to_string(), value);
            }
        }
        given.then(|| format!("k:{}", Value::Object(named)))
    }

    /// Everything that can be owned in a value.
    pub(super) fn all(self, value: &Value) -> Fields {
        let mut fields = Fields::default();
        match (self.what, value) {
            (What::Fields(_) | What::Keys(_), Value::Object(map)) => {
                for (name, value) in map {
                    let (typed, known) = self.field(name);
                    let mut below = typed.all(value);
                    if !known || is_hollow(value) {
                        below = below.with_own();
                    }
                    fields.add(format!("f:{name}"), below);
                }
            }
            (What::Items(..) | What::Set, Value::Array(items)) => {
                for item in items {
                    if let Some(element) = self.element(item) {
                        fields.add(element, self.item().all(item).with_own());
                    }
                }
            }
            _ => return Fields::leaf(),
        }
        fields
    }

    /// How `new` differs from `old`.
    pub(super) fn compare(self, old: &Value, new: &Value) -> Difference {
        let mut out = Difference::default();
        if old == new {
            return out;
        }
        match (self.what, old, new) {
            (What::Fields(_) | What::Keys(_), Value::Object(was), Value::Object(is)) => {
                let names: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
                for name in names {
                    let (typed, known) = self.field(name);
                    let element = format!("f:{name}");
                    out.add(element, typed, was.get(name), is.get(name), !known);
                }
            }
            (What::Items(..) | What::Set, Value::Array(was), Value::Array(is)) => {
                let (was, is) = (self.index(was), self.index(is));
                let elements: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
                for element in elements {
                    let (before, after) = (was.get(element), is.get(element));
                    out.add(
                        element.clone(),
                        self.item(),
                        before.copied(),
                        after.copied(),
                        true,
                    );
                }
            }
            _ => out.changed = Fields::leaf(),
        }
        // What is empty is a value of its own.
        match (is_hollow(old), is_hollow(new)) {
            (false, true) if self.emptying => out.changed.join(Fields::leaf()),
            (true, false) if self.emptying => out.removed.join(Fields::leaf()),
            _ => {}
        }
        out
    }

    /// The first item of each kind.
    fn index(self, items: &[Value]) -> HashMap<String, &Value> {
        let mut index = HashMap::with_capacity(items.len());
        for item in items {
            if let Some(element) = self.element(item) {
                index.entry(element).or_insert(item);
            }
        }
        index
    }

    /// `live` with all that `config` says.
    ///
    /// # Errors
    /// Items of keyed lists in `config` without their keys, or twice.
    pub(super) fn merge(self, live: &mut Value, config: &Value) -> Result<(), String> {
        match (self.what, live, config) {
            (What::Fields(_) | What::Keys(_), Value::Object(live), Value::Object(config)) => {
                for (name, value) in config {
                    let (typed, _) = self.field(name);
                    let place = live.entry(name.as_str()).or_insert(Value::Null);
                    typed
                        .merge(place, value)
                        .map_err(|err| format!(".{name}{err}"))?;
                }
                Ok(())
            }
            (What::Items(..) | What::Set, place, Value::Array(config)) => {
                let live = match place.take() {
                    Value::Array(items) => items,
                    _ => Vec::new(),
                };
                *place = Value::Array(self.merge_items(live, config)?);
                Ok(())
            }
            (What::Fields(_) | What::Keys(_), place, Value::Object(_)) => {
                *place = Value::Object(Map::new());
                self.merge(place, config)
            }
            (_, live, config) => {
                *live = config.clone();
                Ok(())
            }
        }
    }

    /// Items of `config` in its order; those that only `live` has keep their places among them.
    fn merge_items(self, live: Vec<Value>, config: &[Value]) -> Result<Vec<Value>, String> {
        let mut wanted = HashSet::with_capacity(config.len());
        let mut elements = Vec::with_capacity(config.len());
        for item in config {
            let Some(element) = self.element(item) else {
                let keys = match self.what {
                    What::Items(_, keys) => keys.join(", "),
                    _ => String::new(),
                };
                return Err(format!(
                    ": element {}: associative list with keys has an element that omits key field {keys:?}",
                    wanted.len()
                ));
            };
            if !wanted.insert(element.clone()) {
                return Err(format!(
                    ": duplicate entries for key {}",
                    element.get(2..).unwrap_or_default()
                ));
            }
            elements.push(element);
        }
        let mut shared: HashMap<String, Value> = HashMap::new();
        let mut out = Vec::with_capacity(live.len() + config.len());
        // Runs of items that only `live` has, each before the next shared one.
        let mut queue: Vec<Vec<Value>> = vec![Vec::new()];
        for item in live {
            let element = self.element(&item);
            match element.filter(|element| wanted.contains(element)) {
                Some(element) => {
                    shared.entry(element).or_insert(item);
                    queue.push(Vec::new());
                }
                None => {
                    if let Some(run) = queue.last_mut() {
                        run.push(item);
                    }
                }
            }
        }
        let mut runs = queue.into_iter();
        out.extend(runs.next().into_iter().flatten());
        for (element, item) in elements.iter().zip(config) {
            let was = shared.remove(element);
            let known = was.is_some();
            let mut merged = was.unwrap_or(Value::Null);
            self.item().merge(&mut merged, item)?;
            out.push(merged);
            if known {
                out.extend(runs.next().into_iter().flatten());
            }
        }
        out.extend(runs.flatten());
        Ok(out)
    }

    /// Takes out of `value` what is in `gone` and what nobody in `owned` has.
    pub(super) fn prune(self, value: &mut Value, gone: &Fields, owned: &Fields) {
        match (self.what, value) {
            (What::Fields(_) | What::Keys(_), Value::Object(map)) => {
                for (element, below) in gone.elements() {
                    let Some(name) = element.strip_prefix("f:") else {
                        continue;
                    };
                    match owned.get(element) {
                        None => {
                            map.remove(name);
                        }
                        Some(owned) => {
                            if let Some(value) = map.get_mut(name) {
                                self.field(name).0.prune(value, below, owned);
                            }
                        }
                    }
                }
            }
            (What::Items(..) | What::Set, Value::Array(items)) => {
                items.retain_mut(|item| {
                    let Some(element) = self.element(item) else {
                        return true;
                    };
                    let Some(below) = gone.get(&element) else {
                        return true;
                    };
                    let Some(owned) = owned.get(&element) else {
                        return false;
                    };
                    self.item().prune(item, below, owned);
                    true
                });
            }
            _ => {}
        }
    }
}

impl Difference {
    /// What became of one element; `counts`: the element itself can be owned, not only what is in it.
    fn add(
        &mut self,
        element: String,
        typed: Typed<'_>,
        old: Option<&Value>,
        new: Option<&Value>,
        counts: bool,
    ) {
        let whole = |value: &Value| {
            let all = typed.all(value);
            let own = counts || is_hollow(value);
            if own { all.with_own() } else { all }
        };
        match (old, new) {
            (Some(old), Some(new)) => {
                let below = typed.compare(old, new);
                self.changed.add(element.clone(), below.changed);
                self.removed.add(element, below.removed);
            }
            (None, Some(new)) => self.changed.add(element, whole(new)),
            (Some(old), None) => self.removed.add(element, whole(old)),
            (None, None) => {}
        }
    }
}

fn is_hollow(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}
