//! What was only ever sent to kubelets of 2014: lists whose items leave out what the list's kind, or its place, told.
//!
//! | text (JSON) | from | becomes |
//! |---|---|---|
//! | `{"kind": "BoundPods", "items": [{"id", "namespace", "uid", "spec"}]}` | etcd, `/registry/nodes/<node>/boundpods` | v1beta1 Pods |
//! | a manifest without `id`, alone or in an array | POST `/container`, `/containers`, URL | the same, called `1`, `2` ... |
//! | an array of pod specs, without `version` as well | POST `/containers` of 0.5 | manifests, likewise |
//!
//! Everything else is left as it is, and so is what does not look right: who reads it says what is wrong.
use serde_json::{Map, Value, json};
use std::borrow::Cow;

/// The text with everything in it that a reader of manifests asks for.
pub(super) fn in_full(text: &[u8]) -> Cow<'_, [u8]> {
    match serde_json::from_slice(text).ok().and_then(completed) {
        Some(value) => Cow::Owned(value.to_string().into_bytes()),
        None => Cow::Borrowed(text),
    }
}

/// None if nothing is missing.
fn completed(value: Value) -> Option<Value> {
    match value {
        Value::Object(list) if list.get("kind").is_some_and(|kind| kind == "BoundPods") => {
            bound_pods(list)
        }
        Value::Object(mut item) => complete(&mut item, 1).then_some(Value::Object(item)),
        Value::Array(mut items) => {
            let mut any = false;
            for (index, item) in items.iter_mut().enumerate() {
                any |= item
                    .as_object_mut()
                    .is_some_and(|item| complete(item, index + 1));
            }
            any.then_some(Value::Array(items))
        }
        _ => None,
    }
}

/// Names a container manifest by its place where it has no name; says whether that was so.
fn complete(item: &mut Map<String, Value>, number: usize) -> bool {
    let manifest = item.contains_key("containers")
        && !["kind", "apiVersion", "desiredState"]
            .iter()
            .any(|key| item.contains_key(*key));
    if !manifest {
        return false;
    }
    let unset =
        |value: Option<&Value>| matches!(value.map(|value| value.as_str()), None | Some(Some("")));
    let (version, id) = (unset(item.get("version")), unset(item.get("id")));
    if version {
        item.insert("version".to_owned(), json!("v1beta1"));
    }
    if id {
        item.insert("id".to_owned(), json!(number.to_string()));
    }
    version || id
}

fn bound_pods(mut list: Map<String, Value>) -> Option<Value> {
    let Some(Value::Array(items)) = list.remove("items") else {
        return Some(json!([]));
    };
    let pods = items
        .into_iter()
        .enumerate()
        .map(|(index, item)| match item {
            Value::Object(item) => bound_pod(item, index),
            other => other,
        });
    Some(pods.collect())
}

fn bound_pod(mut item: Map<String, Value>, index: usize) -> Value {
    let mut spec = match item.remove("spec") {
        Some(Value::Object(spec)) => spec,
        _ => Map::new(),
    };
    let id = match item.remove("id") {
        Some(Value::String(id)) if !id.is_empty() => id,
        _ => index.to_string(),
    };
    let selector = spec.remove("nodeSelector").unwrap_or_default();
    // It says which node the pod is bound to: this one.
    spec.remove("host");
    spec.insert("version".to_owned(), json!("v1beta1"));
    spec.insert("id".to_owned(), json!(id));
    item.insert("id".to_owned(), json!(id));
    item.insert("kind".to_owned(), json!("Pod"));
    item.insert("apiVersion".to_owned(), json!("v1beta1"));
    item.insert("nodeSelector".to_owned(), selector);
    item.insert("desiredState".to_owned(), json!({ "manifest": spec }));
    Value::Object(item)
}

#[cfg(test)]
mod tests {
    use super::super::{Naming, read};
    use serde_json::{Value, json};

    #[track_caller]
    fn check(text: &Value, want: &[&str]) {
        let naming = Naming {
            uids: true,
            ..Naming::default()
        };
        let content = read(text.to_string().as_bytes(), "p", &naming).unwrap();
        let pods = content.pods.iter().map(|pod| {
            let meta = &pod.metadata;
            format!(
                "{}/{} {} {}",
                meta.namespace.as_ref().unwrap(),
                meta.name.as_ref().unwrap(),
                meta.uid.as_deref().unwrap_or("-"),
                pod.spec.as_ref().unwrap().containers[0]
                    .image
                    .as_ref()
                    .unwrap()
            )
        });
        assert_eq!(pods.collect::<Vec<_>>(), want);
    }

    #[test]
    fn manifests_without_a_name_get_their_number() {
        let containers = json!([{"name": "c", "image": "i"}]);
        let named = json!({"version": "v1beta2", "id": "web", "containers": containers});
        let nameless =
            json!({"version": "v1beta1", "id": "", "containers": containers, "restartPolicy": {}});
        let spec =
            json!({"containers": containers, "volumes": null, "restartPolicy": {"always": {}}});
        check(&named, &["default/web - i"]);
        check(&nameless, &["default/1 - i"]);
        check(
            &json!([named, nameless, spec]),
            &["default/web - i", "default/2 - i", "default/3 - i"],
        );
    }

    #[test]
    fn what_a_master_of_2014_bound_is_read() {
        let spec = json!({"version": "", "containers": [{"name": "c", "image": "i"}], "host": "minion", "volumes": null,
            "restartPolicy": {"never": {}}});
        check(
            &json!({"kind": "BoundPods", "apiVersion": "v1beta1", "host": "", "creationTimestamp": null, "items": [
                {"id": "a", "namespace": "ns", "uid": "11-22", "spec": spec},
                {"id": "", "spec": spec}]}),
            &["ns/a 11-22 i", "default/1 - i"],
        );
        check(
            &json!({"kind": "BoundPods", "apiVersion": "v1beta1", "items": null}),
            &[],
        );
    }

    #[test]
    fn what_is_not_right_is_said() {
        for text in [
            json!({"kind": "BoundPods", "items": [7]}),
            json!([{"containers": [{"nam": "c"}]}]),
            json!({"containers": 7}),
        ] {
            read(text.to_string().as_bytes(), "p", &Naming::default()).unwrap_err();
        }
    }
}
