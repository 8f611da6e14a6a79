//! What `v1` has no room for, kept beside the object: each place where what a 2014 client gave is not what `v1` gives back.
//!
//! An entry holds as long as `v1` gives back at its place what it gave when the entry was made. So a change made through
//! `v1` always shows, and whatever came through `v1beta1` comes back as it was.
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The annotation that keeps it, as JSON.
pub const ANNOTATION: &str = "rkube.io/v1beta1";

/// One place.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Place {
    /// The members and indices that lead there.
    at: Vec<String>,
    /// What `v1` gives back; none where it gives nothing.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "present")]
    v1: Option<Value>,
    /// What was given; none where nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "present")]
    given: Option<Value>,
}

/// A member that is there is something, even if it is null.
mod present {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use serde_json::Value;

    #[expect(clippy::ref_option, reason = "the shape serde asks for")]
    pub(super) fn serialize<S: Serializer>(
        value: &Option<Value>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        value.serialize(to)
    }
    pub(super) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<Option<Value>, D::Error> {
        Value::deserialize(from).map(Some)
    }
}

/// What must be kept so that `given` can be shown from what `v1` gives back; none if nothing.
#[must_use]
pub fn record(given: &Value, v1: &Value) -> Option<String> {
    let mut places = Vec::new();
    compare(&mut Vec::new(), Some(given), Some(v1), &mut places);
    if places.is_empty() {
        return None;
    }
    serde_json::to_string(&places).ok()
}

/// Shows what was given, where `v1` still says what it said then. A record that is damaged is none.
pub fn restore(record: &str, shown: &mut Value) {
    let places: Vec<Place> = serde_json::from_str(record).unwrap_or_default();
    for place in places {
        let Some((last, way)) = place.at.split_last() else {
            continue;
        };
        let Some(parent) = walk(shown, way) else {
            continue;
        };
        match parent {
            Value::Object(map) if map.get(last) == place.v1.as_ref() => put(map, last, place.given),
            Value::Array(items) => {
                let item = last.parse().ok().and_then(|at: usize| items.get_mut(at));
                if let (Some(item), Some(v1), Some(given)) = (item, place.v1, place.given)
                    && *item == v1
                {
                    *item = given;
                }
            }
            _ => {}
        }
    }
}

fn put(map: &mut Map<String, Value>, name: &str, value: Option<Value>) {
    match value {
        Some(value) => {
            map.insert(name.to_owned(), value);
        }
        None => {
            map.remove(name);
        }
    }
}

fn walk<'v>(value: &'v mut Value, way: &[String]) -> Option<&'v mut Value> {
    way.iter().try_fold(value, |value, step| match value {
        Value::Object(map) => map.get_mut(step),
        Value::Array(items) => items.get_mut(step.parse::<usize>().ok()?),
        _ => None,
    })
}

fn compare(
    at: &mut Vec<String>,
    given: Option<&Value>,
    v1: Option<&Value>,
    places: &mut Vec<Place>,
) {
    match (given, v1) {
        (given, v1) if given == v1 => {}
        (Some(Value::Object(given)), Some(Value::Object(v1))) => {
            let names = given
                .keys()
                .chain(v1.keys().filter(|name| !given.contains_key(*name)));
            for name in names {
                at.push(name.clone());
                compare(at, given.get(name), v1.get(name), places);
                at.pop();
            }
        }
        (Some(Value::Array(given)), Some(Value::Array(v1))) if given.len() == v1.len() => {
            for (index, (given, v1)) in given.iter().zip(v1).enumerate() {
                at.push(index.to_string());
                compare(at, Some(given), Some(v1), places);
                at.pop();
            }
        }
        (given, v1) => places.push(Place {
            at: at.clone(),
            v1: v1.cloned(),
            given: given.cloned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn what_v1_changed_since_shows() {
        let given = json!({"a": {"b": "x", "gone": 1}, "l": [{"p": "8080"}], "n": null});
        let v1 = json!({"a": {"b": "y"}, "l": [{"p": 8080}], "more": 3});
        let record = record(&given, &v1).unwrap();
        let mut shown = v1.clone();
        restore(&record, &mut shown);
        assert_eq!(shown, given);
        let mut changed = json!({"a": {"b": "z"}, "l": [{"p": 8080}, {"p": 1}]});
        restore(&record, &mut changed);
        let want = json!({"a": {"b": "z", "gone": 1}, "l": [{"p": "8080"}, {"p": 1}], "n": null});
        assert_eq!(changed, want);
        restore("no JSON", &mut changed);
        assert_eq!(changed, want);
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            (0..3).prop_map(Value::from)
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..3).prop_map(Value::from),
                prop::collection::btree_map("[abc]", inner, 0..3)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn whatever_was_given_comes_back(given in value(), v1 in value()) {
            let (given, v1) = (json!({"o": given}), json!({"o": v1}));
            let mut shown = v1.clone();
            if let Some(record) = record(&given, &v1) {
                restore(&record, &mut shown);
            }
            prop_assert_eq!(shown, given);
        }
        #[test]
        fn no_record_does_harm(text in ".{0,60}", mut shown in value()) {
            restore(&text, &mut shown);
        }
    }
}
