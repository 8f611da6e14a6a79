//! An update through an API that sees only a part of the object: what that part changed is changed, the rest stays.
use serde_json::{Map, Value};

/// Members whose own members are independent of each other: taking one away leaves the others.
const LOOSE: [&str; 9] = [
    "metadata",
    "labels",
    "annotations",
    "nodeSelector",
    "selector",
    "resources",
    "requests",
    "limits",
    "securityContext",
];

/// By what the items of a list are told apart; others go by their place.
const KEYS: [(&str, &str); 4] = [
    ("containers", "name"),
    ("volumes", "name"),
    ("env", "name"),
    ("volumeMounts", "mountPath"),
];

/// Lists of objects that go by their place.
const PLACED: [&str; 1] = ["ports"];

/// `stored` with the changes that lead from `before` to `after`, the two being what can be seen of it.
#[must_use]
pub fn merge(stored: &Value, before: &Value, after: &Value) -> Value {
    member("", Some(stored), Some(before), Some(after)).unwrap_or_default()
}

fn member(
    name: &str,
    stored: Option<&Value>,
    before: Option<&Value>,
    after: Option<&Value>,
) -> Option<Value> {
    if before == after {
        return stored.cloned();
    }
    let nothing = Value::Object(Map::new());
    let loose = LOOSE.contains(&name);
    let (before, after) = match (before, after) {
        (None, Some(after)) if loose => (&nothing, after),
        (Some(before), None) if loose => (before, &nothing),
        (Some(before), Some(after)) => (before, after),
        (_, after) => return after.cloned(),
    };
    match (stored, before, after) {
        (Some(Value::Object(stored)), Value::Object(before), Value::Object(after)) => {
            let merged = object(stored, before, after);
            (!merged.is_empty() || !after.is_empty()).then_some(Value::Object(merged))
        }
        (Some(Value::Array(stored)), Value::Array(before), Value::Array(after)) => {
            Some(Value::Array(list(name, stored, before, after)))
        }
        (_, _, after) => Some(after.clone()),
    }
}

fn object(
    stored: &Map<String, Value>,
    before: &Map<String, Value>,
    after: &Map<String, Value>,
) -> Map<String, Value> {
    let mut names: Vec<&String> = stored.keys().chain(after.keys()).collect();
    names.sort_unstable();
    names.dedup();
    let merged = names.into_iter().filter_map(|name| {
        let value = member(name, stored.get(name), before.get(name), after.get(name))?;
        Some((name.clone(), value))
    });
    merged.collect()
}

fn list(name: &str, stored: &[Value], before: &[Value], after: &[Value]) -> Vec<Value> {
    if PLACED.contains(&name) {
        let placed = after.iter().enumerate().filter_map(|(at, after)| {
            member("", stored.get(at), before.get(at), Some(after)).or_else(|| Some(after.clone()))
        });
        let unseen = stored.iter().skip(before.len()).cloned();
        return placed.chain(unseen).collect();
    }
    let Some((_, key)) = KEYS.iter().find(|(list, _)| *list == name) else {
        return after.to_vec();
    };
    let kept = after.iter().enumerate().map(|(at, item)| {
        let occurrence = same(key, after, item).position(|(place, _)| place == at);
        let found = |items| Some(same(key, items, item).nth(occurrence?)?.1);
        let merged = member("", found(stored), found(before), Some(item));
        merged.unwrap_or_else(|| item.clone())
    });
    let unseen = stored
        .iter()
        .filter(|item| [before, after].map(|seen| same(key, seen, item).count()) == [0, 0]);
    kept.chain(unseen.cloned()).collect()
}

/// The items with the same key as `item`, with their places. There may be several: what 2014 took was not always valid, and
/// those go by their order.
fn same<'v>(
    key: &str,
    items: &'v [Value],
    item: &Value,
) -> impl Iterator<Item = (usize, &'v Value)> {
    let wanted = item.get(key).cloned();
    let key = key.to_owned();
    let alike = move |(_, other): &(usize, &Value)| other.get(&key) == wanted.as_ref();
    items.iter().enumerate().filter(alike)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn what_is_not_seen_stays() {
        let stored = json!({
            "metadata": {"labels": {"a": "1"}, "finalizers": ["x"]},
            "containers": [
                {"name": "a", "image": "i", "readinessProbe": {}, "env": [{"name": "H", "valueFrom": {}}, {"name": "E", "value": "v"}]},
                {"name": "b", "image": "j", "stdin": true}],
            "volumes": [{"name": "token", "projected": {}}, {"name": "v", "emptyDir": {"medium": "Memory"}}],
            "ports": [{"port": 80, "nodePort": 30000}, {"port": 81}],
        });
        let before = json!({
            "metadata": {"labels": {"a": "1"}},
            "containers": [{"name": "a", "image": "i", "env": [{"name": "E", "value": "v"}]}, {"name": "b", "image": "j"}],
            "volumes": [{"name": "v", "emptyDir": {}}],
            "ports": [{"port": 80}],
        });
        let after = json!({
            "containers": [{"name": "a", "image": "k", "env": [{"name": "F", "value": "w"}]}],
            "volumes": [{"name": "v", "emptyDir": {}}, {"name": "new", "hostPath": {"path": "/"}}],
            "ports": [{"port": 8080}],
        });
        let want = json!({
            "metadata": {"labels": {}, "finalizers": ["x"]},
            "containers": [{"name": "a", "image": "k", "readinessProbe": {},
                "env": [{"name": "F", "value": "w"}, {"name": "H", "valueFrom": {}}]}],
            "volumes": [{"name": "v", "emptyDir": {"medium": "Memory"}}, {"name": "new", "hostPath": {"path": "/"}},
                {"name": "token", "projected": {}}],
            "ports": [{"port": 8080, "nodePort": 30000}, {"port": 81}],
        });
        let mut merged = merge(&stored, &before, &after);
        // An empty map of labels is none.
        if merged["metadata"].get("labels").is_none() {
            merged["metadata"]["labels"] = json!({});
        }
        assert_eq!(merged, want);
    }

    fn seen() -> impl Strategy<Value = Value> {
        let container = ("[ab]", "[xyz]", any::<bool>()).prop_map(|(name, image, memory)| {
            let mut container = json!({"name": name, "image": image});
            if memory {
                container["resources"] = json!({"limits": {"memory": "1"}});
            }
            container
        });
        (
            prop::option::of("[xy]"),
            prop::collection::vec(container, 0..3),
        )
            .prop_map(|(label, mut containers)| {
                containers.sort_by_key(|container| container["name"].to_string());
                containers.dedup_by_key(|container| container["name"].clone());
                let mut seen = json!({"spec": {"containers": containers}});
                if let Some(label) = label {
                    seen["metadata"] = json!({"labels": {"a": label}});
                }
                seen
            })
    }

    proptest! {
        /// A whole that is seen whole becomes what is wanted.
        #[test]
        fn a_full_view_replaces(before in seen(), after in seen()) {
            prop_assert_eq!(merge(&before, &before, &after), after);
        }
        #[test]
        fn no_change_changes_nothing(stored in seen(), view in seen()) {
            prop_assert_eq!(merge(&stored, &view, &view), stored);
        }
    }
}
