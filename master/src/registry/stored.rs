//! How objects lie in the store: compact JSON without its `resourceVersion`, which is the revision that wrote it.
//!
//! `apiVersion`, `kind` and `metadata` come first, so that a reader stamps the revision in by a splice and a look at the
//! first bytes tells what it is; all other members are in the order of their names.
use crate::error::ApiError;
use crate::meta;
use crate::store::Revision;
use bytes::Bytes;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use serde_json::{Map, Value};

const FIRST: [&str; 3] = ["apiVersion", "kind", "metadata"];
const METADATA: &[u8] = b"\"metadata\":{";

/// The bytes to keep; an object's `resourceVersion` is not among them.
pub(crate) fn encode(object: &Value) -> Bytes {
    json(&Ordered(object))
}

/// JSON of a value. Values cannot fail to be JSON; one that did would be an empty text, which no reader takes.
pub(super) fn json<T: Serialize>(value: &T) -> Bytes {
    serde_json::to_vec(value).unwrap_or_default().into()
}

/// A value from stored JSON.
pub(crate) fn parse(bytes: &[u8]) -> Result<Value, ApiError> {
    serde_json::from_slice(bytes)
        .map_err(|err| ApiError::internal(format!("a stored object is no JSON: {err}")))
}

/// The object that was written at a revision.
pub(super) fn decode(bytes: &[u8], revision: Revision) -> Result<Value, ApiError> {
    let mut object = parse(bytes)?;
    set_revision(&mut object, revision);
    Ok(object)
}

/// Says which revision wrote the object.
pub(super) fn set_revision(object: &mut Value, revision: Revision) {
    meta::of_mut(object).insert("resourceVersion".into(), revision.to_string().into());
}

/// The stored bytes with the revision in them.
pub(super) fn stamp(bytes: &[u8], revision: Revision) -> Result<Bytes, ApiError> {
    let start = bytes
        .windows(METADATA.len())
        .position(|window| window == METADATA)
        .ok_or_else(|| ApiError::internal("a stored object has no metadata"))?
        + METADATA.len();
    let rest = bytes.get(start..).unwrap_or_default();
    let comma = if rest.first() == Some(&b'}') { "" } else { "," };
    let stamp = format!("\"resourceVersion\":\"{revision}\"{comma}");
    let head = bytes.get(..start).unwrap_or_default();
    Ok([head, stamp.as_bytes(), rest].concat().into())
}

/// Whether stored bytes are of this version and kind, as they lie there.
pub(super) fn is_of(bytes: &[u8], api_version: &str, kind: &str) -> bool {
    let rest = bytes.strip_prefix(b"{\"apiVersion\":\"".as_slice());
    let rest = rest.and_then(|rest| rest.strip_prefix(api_version.as_bytes()));
    let rest = rest.and_then(|rest| rest.strip_prefix(b"\",\"kind\":\"".as_slice()));
    let rest = rest.and_then(|rest| rest.strip_prefix(kind.as_bytes()));
    rest.is_some_and(|rest| rest.starts_with(b"\""))
}

/// An object whose first members are the ones every object has.
struct Ordered<'v>(&'v Value);

impl Serialize for Ordered<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let Some(members) = self.0.as_object() else {
            return self.0.serialize(to);
        };
        let mut map = to.serialize_map(Some(members.len()))?;
        for name in FIRST {
            match members.get(name) {
                Some(Value::Object(meta)) if name == "metadata" => {
                    map.serialize_entry(name, &Metadata(meta))?;
                }
                Some(value) => map.serialize_entry(name, value)?,
                None => {}
            }
        }
        for (name, value) in members {
            if !FIRST.contains(&name.as_str()) {
                map.serialize_entry(name, value)?;
            }
        }
        map.end()
    }
}

/// Metadata without its `resourceVersion`.
struct Metadata<'v>(&'v Map<String, Value>);

impl Serialize for Metadata<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().filter(|(name, _)| *name != "resourceVersion"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn what_is_kept_begins_alike() {
        let map = json!({"data": {"a": "b"}, "kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "x"}});
        let bytes = encode(&map);
        assert_eq!(
            bytes,
            r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"},"data":{"a":"b"}}"#
        );
        assert!(is_of(&bytes, "v1", "ConfigMap"));
        assert!(!is_of(&bytes, "v1", "Config"));
        assert!(!is_of(&bytes, "v2", "ConfigMap"));
        assert!(!is_of(b"", "v1", "ConfigMap"));
    }

    #[test]
    fn metadata_that_is_not_there_is_no_panic() {
        assert!(stamp(b"{}", 3).is_err());
        assert_eq!(
            stamp(br#"{"metadata":{}}"#, 3).unwrap(),
            r#"{"metadata":{"resourceVersion":"3"}}"#
        );
    }

    proptest! {
        #[test]
        fn a_stamp_is_the_revision_and_nothing_else(text in ".*", revision in 1u64..) {
            let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": text}, "data": {"metadata\":{": text}});
            let kept = encode(&object);
            let stamped = parse(&stamp(&kept, revision).unwrap()).unwrap();
            prop_assert_eq!(&stamped, &decode(&kept, revision).unwrap());
            let mut expected = object;
            set_revision(&mut expected, revision);
            prop_assert_eq!(encode(&expected), kept);
            prop_assert_eq!(stamped, expected);
        }
    }
}
