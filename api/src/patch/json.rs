//! JSON patch (RFC 6902), one operation after the other, with the bounds of the Kubernetes API server.
use super::{MOST_DEPTH, PatchError, depth};
use json_patch::{Patch, PatchOperation};
use serde_json::Value;

/// As many operations as the API server takes.
const MOST_OPERATIONS: usize = 10_000;
/// What `copy` may add to an object in all, as JSON: the size of a request.
const MOST_COPIED: usize = 3 << 20;

/// Changes `object` as the operations say; on an error it is as it was.
///
/// # Errors
/// A patch that is no list of operations, a `test` that fails, a path that is not there, or growth without bounds.
pub fn apply(object: &mut Value, patch: &Value) -> Result<(), PatchError> {
    if let Some(operations) = patch.as_array()
        && operations.len() > MOST_OPERATIONS
    {
        return Err(PatchError::TooLarge(format!(
            "The allowed maximum operations in a JSON patch is {MOST_OPERATIONS}, got {}",
            operations.len()
        )));
    }
    let Patch(operations) = serde_json::from_value(patch.clone())
        .map_err(|err| PatchError::Malformed(err.to_string()))?;
    let mut changed = object.clone();
    let mut copied = 0;
    for (at, operation) in operations.iter().enumerate() {
        copied += bounded(&changed, operation)?;
        if copied > MOST_COPIED {
            return Err(PatchError::TooLarge(format!(
                "the copies of a JSON patch may have {MOST_COPIED} bytes in all"
            )));
        }
        json_patch::patch(&mut changed, std::slice::from_ref(operation))
            .map_err(|err| PatchError::Rejected(refused(at, operation, &err)))?;
    }
    *object = changed;
    Ok(())
}

/// Refuses what would make the object too deep; how many bytes a copy adds.
fn bounded(object: &Value, operation: &PatchOperation) -> Result<usize, PatchError> {
    let taken = match operation {
        PatchOperation::Add(add) => Some(&add.value),
        PatchOperation::Replace(replace) => Some(&replace.value),
        PatchOperation::Move(moved) => moved.from.resolve(object).ok(),
        PatchOperation::Copy(copy) => copy.from.resolve(object).ok(),
        PatchOperation::Remove(_) | PatchOperation::Test(_) => None,
    };
    let below = taken.map_or(0, depth);
    if operation.path().count() + below > MOST_DEPTH {
        return Err(PatchError::TooLarge(format!(
            "the patch makes more than {MOST_DEPTH} lists and objects within each other"
        )));
    }
    match (operation, taken) {
        (PatchOperation::Copy(_), Some(value)) => Ok(value.to_string().len()),
        _ => Ok(0),
    }
}

fn refused(at: usize, operation: &PatchOperation, err: &json_patch::PatchError) -> String {
    let path = operation.path();
    match operation {
        PatchOperation::Test(_) => format!("testing value {path} failed: test failed"),
        PatchOperation::Remove(_) => format!(
            "remove operation does not apply: doc is missing path: \"{path}\": missing value"
        ),
        PatchOperation::Replace(_) => {
            format!("replace operation does not apply: doc is missing key: {path}: missing value")
        }
        PatchOperation::Add(_) => {
            format!("add operation does not apply: doc is missing path: \"{path}\": missing value")
        }
        PatchOperation::Move(_) | PatchOperation::Copy(_) => {
            format!("operation {at} does not apply: {}", err.kind)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn patched(object: &Value, patch: &Value) -> Result<Value, PatchError> {
        let mut out = object.clone();
        apply(&mut out, patch).map(|()| out)
    }

    #[test]
    fn operations_apply_in_order_or_not_at_all() {
        let object = json!({"metadata": {"name": "a", "labels": {"x": "1"}}, "list": [1, 2]});
        let patch = json!([
            {"op": "test", "path": "/metadata/name", "value": "a"},
            {"op": "replace", "path": "/metadata/labels/x", "value": "2"},
            {"op": "add", "path": "/list/-", "value": 3},
            {"op": "move", "from": "/list/0", "path": "/first"},
            {"op": "remove", "path": "/metadata/labels/x"},
        ]);
        let want = json!({"metadata": {"name": "a", "labels": {}}, "list": [2, 3], "first": 1});
        assert_eq!(patched(&object, &patch).unwrap(), want);
        let failing = json!([
            {"op": "add", "path": "/new", "value": 1},
            {"op": "test", "path": "/metadata/name", "value": "b"},
        ]);
        let mut same = object.clone();
        let err = apply(&mut same, &failing).unwrap_err();
        assert_eq!(
            err,
            PatchError::Rejected("testing value /metadata/name failed: test failed".to_owned())
        );
        assert_eq!(same, object);
    }

    #[test]
    fn what_makes_no_sense_is_malformed() {
        for patch in [
            json!({}),
            json!([{"op": "jump", "path": "/a"}]),
            json!([{"path": "/a"}]),
            json!("x"),
        ] {
            assert!(
                matches!(patched(&json!({}), &patch), Err(PatchError::Malformed(_))),
                "{patch}"
            );
        }
        let missing = patched(&json!({}), &json!([{"op": "remove", "path": "/a"}])).unwrap_err();
        assert!(
            missing.to_string().contains("missing path: \"/a\""),
            "{missing}"
        );
    }

    #[test]
    fn growth_is_bounded() {
        let many = Value::Array(vec![
            json!({"op": "test", "path": "", "value": {}});
            MOST_OPERATIONS + 1
        ]);
        assert!(matches!(
            patched(&json!({}), &many),
            Err(PatchError::TooLarge(_))
        ));
        let doubling = json!({"op": "copy", "from": "/a", "path": "/a/-"});
        let doubling = Value::Array(vec![doubling; 40]);
        assert!(matches!(
            patched(&json!({"a": ["x"]}), &doubling),
            Err(PatchError::TooLarge(_))
        ));
        let deeper: Vec<Value> = (1..2000)
            .map(|n| json!({"op": "add", "path": "/a".repeat(n), "value": {}}))
            .collect();
        let err = patched(&json!({}), &Value::Array(deeper));
        assert!(matches!(err, Err(PatchError::TooLarge(_))));
    }

    proptest! {
        #[test]
        fn no_patch_makes_it_panic(paths in prop::collection::vec("(/[a-c0-3~-]{0,2}){0,3}", 1..6), pick in prop::collection::vec(0..6_usize, 6)) {
            let ops = ["add", "remove", "replace", "move", "copy", "test"];
            let patch: Vec<Value> = paths.iter().zip(&pick)
                .map(|(path, op)| json!({"op": ops[*op], "path": path, "from": paths[0], "value": {"a": [1]}}))
                .collect();
            let _ = patched(&json!({"a": {"b": [1, 2, {"c": 1}]}}), &Value::Array(patch));
        }
    }
}
