//! What the columns of tables have in common: names, ages, and the two columns of kinds that have none of their own.
//!
//! Texts are those that Kubernetes' own server prints (k8s.io/apimachinery, pkg/util/duration; pkg/printers).
use crate::meta;
use crate::resource::Column;
use serde_json::Value;

/// What a cell shows where there is no value.
pub const NONE: &str = "<none>";
/// What a cell shows where a time is not known.
pub const UNKNOWN: &str = "<unknown>";

const NAME_SAYS: &str = "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to \
                         request the generation of an appropriate name automatically.";
const AGE_SAYS: &str =
    "CreationTimestamp is a timestamp representing the server time when this object was created.";

/// The column of names.
pub const NAME: Column = Column {
    name: "Name",
    kind: "string",
    format: "name",
    description: NAME_SAYS,
    priority: 0,
};
/// The column of ages.
pub const AGE: Column = column("Age", "string", AGE_SAYS);
/// The columns of a kind without columns of its own; see [`generic_row`].
pub const GENERIC: &[Column] = &[NAME, column("Created At", "date", AGE_SAYS)];

/// A column that is always shown; `kind` is `string`, `integer`, `boolean`.
#[must_use]
pub const fn column(name: &'static str, kind: &'static str, description: &'static str) -> Column {
    Column {
        name,
        kind,
        format: "",
        description,
        priority: 0,
    }
}

/// A column of text that `-o wide` shows.
#[must_use]
pub const fn wide(name: &'static str, description: &'static str) -> Column {
    Column {
        priority: 1,
        ..column(name, "string", description)
    }
}

/// The row for [`GENERIC`].
#[must_use]
pub fn generic_row(object: &Value) -> Vec<Value> {
    vec![
        meta::name(object).into(),
        meta::text(object, "creationTimestamp").into(),
    ]
}

/// The cell for [`AGE`].
#[must_use]
pub fn age_of(object: &Value, now: i64) -> Value {
    since(meta::text(object, "creationTimestamp"), now).into()
}

/// How long ago an RFC 3339 time was, for people.
#[must_use]
pub fn since(time: &str, now: i64) -> String {
    match time.parse::<jiff::Timestamp>() {
        Ok(time) => age(now - time.as_second()),
        Err(_) => UNKNOWN.to_owned(),
    }
}

/// So many seconds, for people: `5d3h`. Two seconds of the future are clocks that differ.
#[must_use]
pub fn age(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        120..600 => two(minutes, "m", seconds % 60, "s"),
        600..10_800 => format!("{minutes}m"),
        10_800..28_800 => two(hours, "h", minutes % 60, "m"),
        28_800..172_800 => format!("{hours}h"),
        172_800..691_200 => two(days, "d", hours % 24, "h"),
        691_200..63_072_000 => format!("{days}d"),
        63_072_000..252_288_000 => two(days / 365, "y", days % 365, "d"),
        _ => format!("{}y", days / 365),
    }
}

/// The second part is left out where it is nothing.
fn two(large: i64, of: &str, small: i64, unit: &str) -> String {
    if small == 0 {
        format!("{large}{of}")
    } else {
        format!("{large}{of}{small}{unit}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ages() {
        let (minute, hour, day, year) = (60, 3600, 86_400, 365 * 86_400);
        for (seconds, want) in [
            (-2, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (10 * minute - 1, "9m59s"),
            (10 * minute, "10m"),
            (125 * minute + 7, "125m"),
            (3 * hour, "3h"),
            (3 * hour + 10 * minute, "3h10m"),
            (8 * hour, "8h"),
            (47 * hour + 59 * minute, "47h"),
            (2 * day, "2d"),
            (5 * day + 3 * hour, "5d3h"),
            (8 * day, "8d"),
            (100 * day + hour, "100d"),
            (2 * year, "2y"),
            (2 * year + 30 * day, "2y30d"),
            (8 * year, "8y"),
            (9 * year + 300 * day, "9y"),
        ] {
            assert_eq!(age(seconds), want, "{seconds}");
        }
    }

    #[test]
    fn times() {
        assert_eq!(since("1970-01-01T00:01:00Z", 70), "10s");
        assert_eq!(since("", 70), UNKNOWN);
        let object =
            json!({"metadata": {"name": "a", "creationTimestamp": "1970-01-01T00:01:00Z"}});
        assert_eq!(age_of(&object, 70), json!("10s"));
        assert_eq!(
            generic_row(&object),
            [json!("a"), json!("1970-01-01T00:01:00Z")]
        );
    }
}
