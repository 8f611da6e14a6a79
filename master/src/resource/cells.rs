//! What tables are made of: columns, ages, and values that may not be there.
use super::Column;
use serde_json::Value;

/// What stands for nothing (k8s.io/kubernetes, pkg/printers).
pub(super) const NONE: &str = "<none>";
const UNKNOWN: &str = "<unknown>";

/// The column every table begins with.
pub(super) const NAME: Column = Column {
    name: "Name",
    kind: "string",
    format: "name",
    description: "Name must be unique within a namespace, and says which object it is.",
    priority: 0,
};
/// How long ago the object was made.
pub(super) const AGE: Column = text("Age", "How long ago the object was made.");
/// The only other column of kinds that have no special ones.
pub(super) const CREATED: Column = Column {
    name: "Created At",
    kind: "date",
    format: "",
    description: "When the object was made.",
    priority: 0,
};

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

/// A row's value for [`CREATED`].
pub(super) fn created(object: &Value) -> Value {
    crate::meta::text(object, "creationTimestamp").into()
}

/// How long ago an object was made.
#[must_use]
pub fn age(object: &Value, now: i64) -> String {
    since(crate::meta::text(object, "creationTimestamp"), now)
}

/// How long ago a time of RFC 3339 was; `<unknown>` for none.
pub(super) fn since(time: &str, now: i64) -> String {
    match seconds(time) {
        Some(then) => human(now - then),
        None => UNKNOWN.to_owned(),
    }
}

/// Seconds since 1970 of a time in RFC 3339.
pub(super) fn seconds(time: &str) -> Option<i64> {
    let time: jiff::Timestamp = time.parse().ok()?;
    Some(time.as_second())
}

/// A length of time as people say it (k8s.io/apimachinery, `duration.HumanDuration`): never more than two units.
#[must_use]
pub fn human(seconds: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    const YEAR: i64 = 365 * DAY;
    let two = |big: i64, unit: &str, rest: i64, small: &str| match rest {
        0 => format!("{big}{unit}"),
        rest => format!("{big}{unit}{rest}{small}"),
    };
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        120..600 => two(seconds / MINUTE, "m", seconds % MINUTE, "s"),
        600..10_800 => format!("{}m", seconds / MINUTE),
        10_800..28_800 => two(seconds / HOUR, "h", seconds % HOUR / MINUTE, "m"),
        28_800..172_800 => format!("{}h", seconds / HOUR),
        172_800..691_200 => two(seconds / DAY, "d", seconds % DAY / HOUR, "h"),
        691_200..63_072_000 => format!("{}d", seconds / DAY),
        63_072_000..252_288_000 => two(seconds / YEAR, "y", seconds % YEAR / DAY, "d"),
        _ => format!("{}y", seconds / YEAR),
    }
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
    object
        .pointer(pointer)
        .and_then(Value::as_i64)
        .unwrap_or(0)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time() {
        let cases = [
            (-5, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (125, "2m5s"),
            (180, "3m"),
            (7500, "125m"),
            (10_800, "3h"),
            (11_400, "3h10m"),
            (169_200, "47h"),
            (172_800, "2d"),
            (442_800, "5d3h"),
            (8_640_000, "100d"),
            (65_664_000, "2y30d"),
            (283_824_000, "9y"),
        ];
        for (seconds, want) in cases {
            assert_eq!(human(seconds), want, "{seconds}");
        }
    }

    #[test]
    fn times_since() {
        assert_eq!(since("2026-01-01T00:00:00Z", 1_767_225_610), "10s");
        assert_eq!(since("", 5), "<unknown>");
        assert_eq!(since("yesterday", 5), "<unknown>");
    }
}
