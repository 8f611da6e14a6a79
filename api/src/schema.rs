//! The types of all objects as data: what a field is called, what it holds, how lists of it are merged.
//!
//! One table serves decoding (unknown fields, wrong types), protobuf, strategic merge patch, server-side apply and
//! OpenAPI. Its facts come from Kubernetes' own published types; custom resources add types at run time.
use std::sync::Arc;

/// A type of objects or of parts of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Type {
    /// Its full name: `io.k8s.api.core.v1.Pod`.
    pub name: Arc<str>,
    /// Its fields, sorted by name.
    pub fields: Vec<Field>,
}

/// A field of a type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// As JSON has it.
    pub name: Arc<str>,
    /// Its number in protobuf messages; 0 where it has none.
    pub tag: u32,
    /// What it holds.
    pub shape: Shape,
    /// Whether it must be there.
    pub required: bool,
    /// How two lists (or maps) become one.
    pub merge: Merge,
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

/// How two lists become one: in a strategic merge patch, and in server-side apply.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Merge {
    /// A strategic merge patch merges items with the same value of this field (`patchMergeKey`).
    pub patch_key: Option<Arc<str>>,
    /// A strategic merge patch merges a list of plain values (`patchStrategy=merge` without a key).
    pub patch_set: bool,
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
    /// `listType=set`.
    Set,
    /// `listType=map` with these keys.
    Map(Vec<Arc<str>>),
}
