//! What tables are made of: columns, ages, and values that may not be there.
use super::Column;
use serde_json::Value;

pub(super) use crate::table::{AGE, GENERIC, NAME, NONE, age as human, generic_row, since};

/// A column of text.
pub(super) const fn text(name: &'static str, description: &'static str) -> Column {
    Column {
        name,
        kind: "string",
        format: "",
        description,
        priority: 0,
    }
}

/// A column of whole numbers.
pub(super) const fn integer(name: &'static str, description: &'static str) -> Column {
    Column {
        kind: "integer",
        ..text(name, description)
    }
}

/// A column that only `-o wide` shows.
pub(super) const fn wide(column: Column) -> Column {
    Column {
        priority: 1,
        ..column
    }
}

/// How long ago an object was made.
pub(super) fn age(object: &Value, now: i64) -> String {
    since(crate::meta::text(object, "creationTimestamp"), now)
}

/// Seconds since 1970 of a time in RFC 3339.
pub(super) fn seconds(time: &str) -> Option<i64> {
    let time: jiff::Timestamp = time.parse().ok()?;
    Some(time.as_second())
}

/// A text somewhere in an object, by JSON pointer; empty where there is none.
pub(super) fn at<'o>(object: &'o Value, pointer: &str) -> &'o str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or("")
}

/// A whole number somewhere in an object; 0 where there is none.
pub(super) fn number(object: &Value, pointer: &str) -> i64 {
    object.pointer(pointer).and_then(Value::as_i64).unwrap_or(0)
}

/// A truth somewhere in an object.
pub(super) fn is(object: &Value, pointer: &str) -> bool {
    object.pointer(pointer) == Some(&Value::Bool(true))
}

/// The items of a list somewhere in an object; none where there is no list.
pub(super) fn list<'o>(object: &'o Value, pointer: &str) -> &'o [Value] {
    object
        .pointer(pointer)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// How many keys a JSON object has.
pub(super) fn size(object: &Value, pointer: &str) -> usize {
    object
        .pointer(pointer)
        .and_then(Value::as_object)
        .map_or(0, serde_json::Map::len)
}

/// `a=b,c=d`, or `<none>`.
pub(super) fn pairs(map: Option<&Value>) -> String {
    let pairs = map.and_then(Value::as_object).into_iter().flatten();
    let pairs: Vec<String> = pairs
        .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or("")))
        .collect();
    or_none(pairs.join(","))
}

/// The text, or `<none>` if there is none.
pub(super) fn or_none(text: impl Into<String>) -> String {
    let text = text.into();
    if text.is_empty() {
        NONE.to_owned()
    } else {
        text
    }
}

/// The names of the containers of a pod's spec.
pub(super) fn containers(object: &Value, spec: &str) -> String {
    of_containers(object, spec, "/name")
}

/// The images of the containers of a pod's spec.
pub(super) fn images(object: &Value, spec: &str) -> String {
    of_containers(object, spec, "/image")
}

fn of_containers(object: &Value, spec: &str, field: &str) -> String {
    let all = list(object, &format!("{spec}/containers")).iter();
    all.map(|one| at(one, field)).collect::<Vec<_>>().join(",")
}

/// The first three of many, and how many more there are.
pub(super) fn first_three(all: &[String]) -> String {
    const SHOWN: usize = 3;
    match all.len().checked_sub(SHOWN) {
        None | Some(0) => all.join(","),
        Some(more) => format!("{} + {more} more...", all[..SHOWN].join(",")),
    }
}
