//! Changes to objects as clients send them: JSON patch, merge patch, strategic merge patch, server-side apply.
//!
//! All of it is pure: values in, values out. What comes out need not fit its type; [`crate::strict::check`] sees to that.
pub mod apply;
pub mod json;
pub mod merge;
pub mod strategic;

use serde_json::Value;

/// A patch that cannot be applied.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PatchError {
    /// The patch itself makes no sense: 400.
    #[error("error decoding patch: {0}")]
    Malformed(String),
    /// It makes sense, but not for this object: 422.
    #[error("{0}")]
    Rejected(String),
    /// It asks for too much: 413.
    #[error("{0}")]
    TooLarge(String),
}

/// No object is deeper than this after a patch: what is deeper could not be read again.
const MOST_DEPTH: usize = 120;

/// How many lists and objects are within each other.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or_default(),
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or_default(),
        _ => 0,
    }
}
