//! `pods/binding`: a scheduler says on which node a pod runs. Once.
use super::super::Answered;
use super::super::cells::{at, list};
use crate::error::ApiError;
use crate::meta;
use rkube_api::validate::FieldError;
use serde_json::{Value, json};

/// Puts the pod on the node of the binding.
pub(super) fn bind(pod: &mut Value, binding: &Value) -> Result<Answered, ApiError> {
    let name = meta::name(pod).to_owned();
    let (kind, node) = (at(binding, "/target/kind"), at(binding, "/target/name"));
    let mut mistakes = Vec::new();
    if !matches!(kind, "" | "Node") {
        let known = ["Node", "<empty>"];
        mistakes.push(FieldError::unsupported("target.kind", kind, &known));
    }
    if node.is_empty() {
        mistakes.push(FieldError::required("target.name", ""));
    }
    if !mistakes.is_empty() {
        return Err(ApiError::invalid("", "Binding", &name, &mistakes));
    }
    let uid = meta::uid(binding);
    let refused = |why: &str| Err(ApiError::conflict("", "pods/binding", &name, why));
    if !uid.is_empty() && uid != meta::uid(pod) {
        let has = meta::uid(pod);
        return refused(&format!(
            "Precondition failed: UID in precondition: {uid}, UID in object meta: {has}"
        ));
    }
    if !meta::text(pod, "deletionTimestamp").is_empty() {
        return refused(&format!(
            "pod {name} is being deleted, cannot be assigned to a host"
        ));
    }
    let on = at(pod, "/spec/nodeName");
    if !on.is_empty() {
        return refused(&format!("pod {name} is already assigned to node {on:?}"));
    }
    if !list(pod, "/spec/schedulingGates").is_empty() {
        return refused(&format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    write(pod, binding, node);
    Ok(Answered::Success(201))
}

fn write(pod: &mut Value, binding: &Value, node: &str) {
    let notes = meta::of(binding)
        .get("annotations")
        .and_then(Value::as_object);
    if let Some(notes) = notes.filter(|notes| !notes.is_empty()) {
        let all = meta::member_mut(meta::of_mut(pod), "annotations");
        all.extend(notes.clone());
    }
    let Some(map) = pod.as_object_mut() else {
        return;
    };
    meta::member_mut(map, "spec").insert("nodeName".to_owned(), node.into());
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ");
    let condition = json!({
        "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now.to_string(),
    });
    let status = meta::member_mut(map, "status");
    let conditions = status.entry("conditions").or_insert_with(|| json!([]));
    if let Some(conditions) = conditions.as_array_mut() {
        conditions.retain(|one| at(one, "/type") != "PodScheduled");
        conditions.push(condition);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod() -> Value {
        json!({"metadata": {"name": "p", "uid": "u"}, "spec": {}, "status": {"conditions": [
            {"type": "PodScheduled", "status": "False"}, {"type": "Ready", "status": "False"}]}})
    }

    #[test]
    fn binds_once() {
        let mut pod = pod();
        let binding = json!({"metadata": {"uid": "u", "annotations": {"a": "b"}}, "target": {"kind": "Node", "name": "n1"}});
        assert_eq!(bind(&mut pod, &binding).unwrap(), Answered::Success(201));
        assert_eq!(pod["spec"]["nodeName"], "n1");
        assert_eq!(pod["metadata"]["annotations"]["a"], "b");
        let scheduled: Vec<_> = list(&pod, "/status/conditions")
            .iter()
            .filter(|one| one["type"] == "PodScheduled")
            .map(|one| one["status"].clone())
            .collect();
        assert_eq!(scheduled, ["True"]);
        let again = bind(&mut pod, &binding).unwrap_err();
        assert_eq!((again.code.as_u16(), again.reason), (409, "Conflict"));
        assert!(
            again
                .message
                .ends_with("pod p is already assigned to node \"n1\""),
            "{again}"
        );
    }

    #[test]
    fn refuses() {
        let cases = [
            (
                json!({"target": {"kind": "Minion", "name": "n"}}),
                422,
                "target.kind",
            ),
            (json!({}), 422, "target.name: Required value"),
            (
                json!({"metadata": {"uid": "other"}, "target": {"name": "n"}}),
                409,
                "UID",
            ),
        ];
        for (binding, code, says) in cases {
            let err = bind(&mut pod(), &binding).unwrap_err();
            assert_eq!(err.code.as_u16(), code, "{err}");
            assert!(err.message.contains(says), "{err}");
        }
        let mut going = pod();
        going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        let err = bind(&mut going, &json!({"target": {"name": "n"}})).unwrap_err();
        assert!(err.message.contains("is being deleted"), "{err}");
    }
}
