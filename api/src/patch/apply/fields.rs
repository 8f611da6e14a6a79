//! Sets of fields: who owns what. Kept as `FieldsV1` (<https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management>).
//!
//! `f:name` is a field, `k:{..}` an item of a list by its keys, `v:..` an item of a set, `.` the thing itself.
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::fmt::Write;

/// A set of fields of one object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Fields {
    /// Whether the place itself is in the set.
    own: bool,
    below: BTreeMap<String, Fields>,
}

impl Fields {
    /// The set of nothing but the place itself.
    pub(super) fn leaf() -> Fields {
        Fields {
            own: true,
            below: BTreeMap::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.own && self.below.is_empty()
    }

    pub(super) fn get(&self, element: &str) -> Option<&Fields> {
        self.below.get(element)
    }

    pub(super) fn elements(&self) -> impl Iterator<Item = (&String, &Fields)> {
        self.below.iter()
    }

    /// Adds what is below `element`; an empty set adds nothing.
    pub(super) fn add(&mut self, element: String, fields: Fields) {
        if !fields.is_empty() {
            self.below.entry(element).or_default().join(fields);
        }
    }

    /// The same with the place itself.
    pub(super) fn with_own(mut self) -> Fields {
        self.own = true;
        self
    }

    /// All of both.
    pub(super) fn join(&mut self, other: Fields) {
        self.own |= other.own;
        for (element, fields) in other.below {
            self.add(element, fields);
        }
    }

    /// Takes out what is in `other`.
    pub(super) fn subtract(&mut self, other: &Fields) {
        self.own &= !other.own;
        for (element, gone) in &other.below {
            if let Some(fields) = self.below.get_mut(element) {
                fields.subtract(gone);
                if fields.is_empty() {
                    self.below.remove(element);
                }
            }
        }
    }

    /// Takes out a field with all that is below it.
    pub(super) fn drop_below(&mut self, path: &[&str]) {
        let Some((first, rest)) = path.split_first() else {
            return;
        };
        let element = format!("f:{first}");
        if rest.is_empty() {
            self.below.remove(&element);
        } else if let Some(fields) = self.below.get_mut(&element) {
            fields.drop_below(rest);
            if fields.is_empty() {
                self.below.remove(&element);
            }
        }
    }

    /// The paths that are in both, as people read them: `.spec.containers[name="c"].image`.
    pub(super) fn shared(&self, other: &Fields) -> Vec<String> {
        let mut paths = Vec::new();
        self.gather_shared(other, "", &mut paths);
        paths
    }

    fn gather_shared(&self, other: &Fields, path: &str, paths: &mut Vec<String>) {
        if self.own && other.own {
            paths.push(path.to_owned());
        }
        for (element, fields) in &self.below {
            if let Some(theirs) = other.below.get(element) {
                fields.gather_shared(theirs, &format!("{path}{}", readable(element)), paths);
            }
        }
    }

    /// As `fieldsV1` has it; elements that make no sense are left out.
    pub(super) fn read(value: &Value) -> Fields {
        let mut fields = Fields::default();
        let Some(map) = value.as_object() else {
            return fields;
        };
        fields.own = map.is_empty() || map.contains_key(".");
        for (element, below) in map {
            if let Some(element) = canonical(element) {
                fields.add(element, Fields::read(below));
            }
        }
        fields
    }

    /// For `fieldsV1`.
    pub(super) fn write(&self) -> Value {
        let mut map = Map::new();
        if self.own && !self.below.is_empty() {
            map.insert(".".to_owned(), Value::Object(Map::new()));
        }
        for (element, fields) in &self.below {
            map.insert(element.clone(), fields.write());
        }
        Value::Object(map)
    }
}

/// An element as we write it: keys sorted, no blanks.
fn canonical(element: &str) -> Option<String> {
    let (kind, text) = element.split_once(':')?;
    match kind {
        "f" => Some(element.to_owned()),
        "k" | "v" => {
            let value: Value = serde_json::from_str(text).ok()?;
            (kind == "v" || value.is_object()).then(|| format!("{kind}:{value}"))
        }
        _ => None,
    }
}

/// An element as messages have it.
fn readable(element: &str) -> String {
    match element.split_once(':') {
        Some(("f", name)) => format!(".{name}"),
        Some(("v", value)) => format!("[={value}]"),
        Some(("k", keys)) => {
            let keys: Map<String, Value> = serde_json::from_str(keys).unwrap_or_default();
            let mut out = String::new();
            for (key, value) in &keys {
                let comma = if out.is_empty() { "" } else { "," };
                // Writing to a text cannot fail.
                let _ = write!(out, "{comma}{key}={value}");
            }
            format!("[{out}]")
        }
        _ => element.to_owned(),
    }
}
