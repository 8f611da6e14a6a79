//! The types of all objects as data: what a field is called, what it holds, how lists of it are merged.
//!
//! One table serves decoding (unknown fields, wrong types), protobuf, strategic merge patch, server-side apply and
//! OpenAPI. Its facts come from Kubernetes' own published types; custom resources add types at run time.
mod builtin;

pub use builtin::Descriptions;

use serde_json::{Map, Value};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

/// A type of objects or of parts of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Type {
    /// Its full name: `io.k8s.api.core.v1.Pod`.
    pub name: Arc<str>,
    /// Its fields, sorted by name.
    pub fields: Vec<Field>,
    /// To server-side apply it is one value, owned as a whole (`structType=atomic`).
    pub atomic: bool,
    /// The kinds that are written with it.
    pub kinds: Vec<Kind>,
}

/// What an object says it is: `apiVersion` in two parts, and `kind`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kind {
    /// The API group; empty for the core.
    pub group: Arc<str>,
    /// Its version.
    pub version: Arc<str>,
    /// `Pod`.
    pub kind: Arc<str>,
}

impl Type {
    /// The field of this name, as JSON has it.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&Field> {
        let at = self
            .fields
            .binary_search_by(|field| (*field.name).cmp(name));
        at.ok().and_then(|at| self.fields.get(at))
    }
}

/// A field of a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// As JSON has it.
    pub name: Arc<str>,
    /// Its number in protobuf messages; 0 where it has none.
    pub tag: u32,
    /// Protobuf has it in an embedded message with this number; 0 where not.
    pub within: u32,
    /// What it holds.
    pub shape: Shape,
    /// Whether it must be there.
    pub required: bool,
    /// Whether `0`, `false` or empty text in it is not the same as nothing (a pointer in Go's types).
    pub zero_counts: bool,
    /// How two lists (or maps) become one.
    pub merge: Merge,
    /// What it is where it is left out, as JSON (`+default`).
    pub default: Option<Arc<str>>,
}

/// What a value may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Text.
    String,
    /// A whole number of so many bits.
    Integer(u8),
    /// Any number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// Base64 of bytes.
    Bytes,
    /// RFC 3339; with microseconds or not.
    Time,
    /// See [`Shape::Time`].
    MicroTime,
    /// `100m`, or a number.
    Quantity,
    /// A whole number or text.
    IntOrString,
    /// Any JSON: raw extensions, managed fields.
    Any,
    /// Another type, by its full name; [`Schemas::get`] finds it.
    Type(Arc<str>),
    /// A list.
    List(Box<Shape>),
    /// From text to something.
    Map(Box<Shape>),
}

impl Shape {
    /// What Go has where a list or map holds a null: the type's zero.
    #[must_use]
    pub fn zero(&self) -> Value {
        match self {
            Shape::String | Shape::Bytes => Value::String(String::new()),
            Shape::Integer(_) | Shape::Number | Shape::IntOrString => 0.into(),
            Shape::Boolean => false.into(),
            Shape::Quantity => "0".into(),
            Shape::List(_) => Value::Array(Vec::new()),
            Shape::Type(_) | Shape::Map(_) => Value::Object(Map::new()),
            Shape::Any | Shape::Time | Shape::MicroTime => Value::Null,
        }
    }
}

/// How two lists become one: in a strategic merge patch, and in server-side apply.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Merge {
    /// A strategic merge patch merges items with the same value of this field (`patchMergeKey`).
    pub patch_key: Option<Arc<str>>,
    /// A strategic merge patch merges a list of plain values (`patchStrategy=merge` without a key).
    pub patch_set: bool,
    /// A strategic merge patch replaces the object as a whole (`patchStrategy=replace`).
    pub patch_replace: bool,
    /// `patchStrategy=retainKeys`.
    pub retain_keys: bool,
    /// For server-side apply.
    pub list: ListKind,
}

/// What a list (or a struct marked atomic) is to server-side apply.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ListKind {
    /// One value, owned as a whole (for structs and maps: each field by itself).
    #[default]
    Default,
    /// `listType=atomic`, `structType=atomic`, `mapType=atomic`: one value, owned as a whole.
    Atomic,
    /// `structType=granular`, `mapType=granular`: each field by itself, whatever the type says.
    Granular,
    /// `listType=set`.
    Set,
    /// `listType=map` with these keys.
    Map(Vec<Arc<str>>),
}

/// All types that are known, by name and by kind.
#[derive(Clone, Debug, Default)]
pub struct Schemas {
    types: HashMap<Arc<str>, Arc<Type>>,
    kinds: HashMap<Kind, Arc<Type>>,
}

/// The type of `metadata` of every object.
pub const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
/// The type of `metadata` of every list.
pub const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";
/// Before the names of types that belong to every group.
const META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1";

impl Schemas {
    /// Kubernetes' own types. They are read when first asked for.
    #[must_use]
    pub fn builtin() -> &'static Arc<Schemas> {
        static BUILTIN: LazyLock<Arc<Schemas>> = LazyLock::new(|| Arc::new(builtin::read()));
        &BUILTIN
    }

    /// The type of this full name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Type> {
        self.types.get(name).map(Arc::as_ref)
    }

    /// The type of this kind; `DeleteOptions` and their like belong to every group.
    #[must_use]
    pub fn of_kind(&self, group: &str, version: &str, kind: &str) -> Option<&Type> {
        let asked = Kind {
            group: group.into(),
            version: version.into(),
            kind: kind.into(),
        };
        if let Some(found) = self.kinds.get(&asked) {
            return Some(found);
        }
        match kind {
            "DeleteOptions" | "Status" => self.get(&format!("{META}.{kind}")),
            _ => None,
        }
    }

    /// Adds a type, or replaces the one of this name.
    pub fn insert(&mut self, new: Type) {
        self.remove(&new.name.clone());
        let new = Arc::new(new);
        for kind in &new.kinds {
            self.kinds.insert(kind.clone(), Arc::clone(&new));
        }
        self.types.insert(Arc::clone(&new.name), new);
    }

    /// Forgets a type and its kinds.
    pub fn remove(&mut self, name: &str) {
        if let Some(old) = self.types.remove(name) {
            self.kinds.retain(|_, of| !Arc::ptr_eq(of, &old));
        }
    }

    /// All types, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Type> {
        self.types.values().map(Arc::as_ref)
    }
}

#[cfg(test)]
mod tests;
