//! What of a pod may still be changed, and by which of its subresources.
use super::super::Part;
use super::super::cells::{at, list, number};
use super::template;
use rkube_api::validate::FieldError;
use serde_json::Value;

const ALLOWED: &str = "pod updates may not change fields other than `spec.containers[*].image`,\
    `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing \
    tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)";

/// Brings back what this part of a pod does not write.
pub(super) fn restore(new: &mut Value, old: &Value, part: Part) {
    match part {
        Part::Main => keep(new, old, "ephemeralContainers"),
        Part::Status => {
            // The class is decided once.
            if let (Some(class), Some(status)) = (
                old.pointer("/status/qosClass"),
                new.get_mut("status").and_then(Value::as_object_mut),
            ) {
                status.insert("qosClass".to_owned(), class.clone());
            }
        }
        Part::Other("ephemeralcontainers") => {
            let added = new.pointer("/spec/ephemeralContainers").cloned();
            let metadata = new.get("metadata").cloned();
            *new = old.clone();
            put_back(new, "metadata", metadata);
            if let Some(added) = added {
                new["spec"]["ephemeralContainers"] = added;
            }
            template::default_spec(new, "/spec");
        }
        Part::Other("resize") => {
            let asked = new.clone();
            *new = old.clone();
            put_back(new, "metadata", asked.get("metadata").cloned());
            for kind in ["containers", "initContainers"] {
                resize(new, &asked, kind);
            }
        }
        Part::Other(_) => {}
    }
}

fn put_back(object: &mut Value, field: &str, value: Option<Value>) {
    if let Some(value) = value {
        object[field] = value;
    }
}

fn keep(new: &mut Value, old: &Value, field: &str) {
    let Some(spec) = new.get_mut("spec").and_then(Value::as_object_mut) else {
        return;
    };
    match old.pointer(&format!("/spec/{field}")) {
        Some(value) => spec.insert(field.to_owned(), value.clone()),
        None => spec.remove(field),
    };
}

/// Takes over what the containers of that list need, and how they take it.
fn resize(new: &mut Value, asked: &Value, kind: &str) {
    let pointer = format!("/spec/{kind}");
    let Some(containers) = new.pointer_mut(&pointer).and_then(Value::as_array_mut) else {
        return;
    };
    for container in containers {
        let asked = list(asked, &pointer);
        let Some(asked) = asked
            .iter()
            .find(|one| one.get("name") == container.get("name"))
        else {
            continue;
        };
        for field in ["resources", "resizePolicy"] {
            put_back(container, field, asked.get(field).cloned());
        }
    }
}

/// What is wrong with a change.
pub(super) fn check(new: &Value, old: &Value, part: Part) -> Vec<FieldError> {
    match part {
        Part::Main => updated(new, old),
        Part::Other("ephemeralcontainers") => added(new, old),
        Part::Other("resize") => resized(new),
        Part::Other(_) | Part::Status => Vec::new(),
    }
}

/// A spec with other resources is checked as a new one; the ephemeral containers, which a new one cannot have, are not
/// resized.
fn resized(new: &Value) -> Vec<FieldError> {
    let mut spec = new.get("spec").cloned().unwrap_or(Value::Null);
    put(&mut spec, "ephemeralContainers", None);
    template::check_spec(Some(&spec), "spec")
}

fn updated(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for kind in ["containers", "initContainers"] {
        let pointer = format!("/spec/{kind}");
        let (new, old) = (list(new, &pointer), list(old, &pointer));
        if new.len() != old.len() {
            let why = "pod updates may not add or remove containers";
            errors.push(FieldError::forbidden(format!("spec.{kind}"), why));
            return errors;
        }
        for (index, one) in new.iter().enumerate() {
            if at(one, "/image").is_empty() {
                errors.push(FieldError::required(
                    format!("spec.{kind}[{index}].image"),
                    "",
                ));
            }
        }
    }
    deadline(new, old, &mut errors);
    let tolerations = list(new, "/spec/tolerations");
    for one in list(old, "/spec/tolerations") {
        if !tolerations.iter().any(|new| same_but_seconds(new, one)) {
            let why = "existing toleration can not be modified except its tolerationSeconds";
            errors.push(FieldError::forbidden("spec.tolerations", why));
            break;
        }
    }
    if !errors.is_empty() {
        return errors;
    }
    if allowed(new, old) != *old.get("spec").unwrap_or(&Value::Null) {
        errors.push(FieldError::forbidden("spec", ALLOWED));
    }
    errors
}

fn deadline(new: &Value, old: &Value, errors: &mut Vec<FieldError>) {
    const POINTER: &str = "/spec/activeDeadlineSeconds";
    const PATH: &str = "spec.activeDeadlineSeconds";
    match (new.pointer(POINTER), old.pointer(POINTER)) {
        (None, Some(_)) => {
            let why = "must not update from a positive integer to nil value";
            errors.push(FieldError::invalid(PATH, Value::Null, why));
        }
        (Some(value), before) => {
            let seconds = number(new, POINTER);
            if !(1..=i64::from(i32::MAX)).contains(&seconds) {
                let why = "must be between 1 and 2147483647, inclusive";
                errors.push(FieldError::invalid(PATH, value, why));
            } else if before.is_some() && number(old, POINTER) < seconds {
                let why = "must be less than or equal to previous value";
                errors.push(FieldError::invalid(PATH, value, why));
            }
        }
        (None, None) => {}
    }
}

fn same_but_seconds(one: &Value, other: &Value) -> bool {
    ["key", "operator", "value", "effect"]
        .iter()
        .all(|field| one.get(*field) == other.get(*field))
}

/// The new spec with all that may change as it was.
fn allowed(new: &Value, old: &Value) -> Value {
    let mut spec = new.get("spec").cloned().unwrap_or(Value::Null);
    let before = old.get("spec").unwrap_or(&Value::Null);
    for kind in ["containers", "initContainers"] {
        let old = list(old, &format!("/spec/{kind}"));
        let new = spec.get_mut(kind).and_then(Value::as_array_mut);
        for (one, old) in new.into_iter().flatten().zip(old) {
            put(one, "image", old.get("image"));
        }
    }
    put(
        &mut spec,
        "activeDeadlineSeconds",
        before.get("activeDeadlineSeconds"),
    );
    put(&mut spec, "tolerations", before.get("tolerations"));
    let grace = "terminationGracePeriodSeconds";
    if number(old, "/spec/terminationGracePeriodSeconds") < 0
        && number(new, "/spec/terminationGracePeriodSeconds") == 1
    {
        put(&mut spec, grace, before.get(grace));
    }
    ungated(&mut spec, before);
    spec
}

/// A pod that waits for its gates may have some of them taken away, and be kept to fewer nodes.
fn ungated(spec: &mut Value, before: &Value) {
    let (new, old) = (
        list(spec, "/schedulingGates"),
        list(before, "/schedulingGates"),
    );
    if old.is_empty() || !new.iter().all(|gate| old.contains(gate)) {
        return;
    }
    put(spec, "schedulingGates", before.get("schedulingGates"));
    let narrower = before
        .get("nodeSelector")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
        .all(|(key, value)| spec.get("nodeSelector").and_then(|all| all.get(key)) == Some(value));
    if narrower {
        put(spec, "nodeSelector", before.get("nodeSelector"));
    }
}

fn put(object: &mut Value, field: &str, value: Option<&Value>) {
    let Some(map) = object.as_object_mut() else {
        return;
    };
    match value {
        Some(value) => map.insert(field.to_owned(), value.clone()),
        None => map.remove(field),
    };
}

/// Ephemeral containers can be added, and that is all.
fn added(new: &Value, old: &Value) -> Vec<FieldError> {
    const PATH: &str = "spec.ephemeralContainers";
    let mut errors = Vec::new();
    let (now, before) = (
        list(new, "/spec/ephemeralContainers"),
        list(old, "/spec/ephemeralContainers"),
    );
    let named =
        |all: &[Value], name: &str| all.iter().find(|one| at(one, "/name") == name).cloned();
    for one in before {
        let name = at(one, "/name");
        match named(now, name) {
            None => {
                let why = format!("existing ephemeral containers {name:?} may not be removed\n");
                errors.push(FieldError::forbidden(PATH, why));
            }
            Some(other) if other != *one => {
                let why = format!("existing ephemeral containers {name:?} may not be changed\n");
                errors.push(FieldError::forbidden(PATH, why));
            }
            Some(_) => {}
        }
    }
    let others: Vec<&Value> = ["/spec/containers", "/spec/initContainers"]
        .iter()
        .flat_map(|pointer| list(new, pointer))
        .collect();
    for (index, one) in now.iter().enumerate() {
        let (path, name) = (format!("{PATH}[{index}]"), at(one, "/name"));
        if let Some(why) = rkube_api::names::Form::Label.kubernetes(name) {
            errors.push(FieldError::invalid(format!("{path}.name"), name, why));
        }
        let mut earlier = now[..index].iter().chain(others.iter().copied());
        if earlier.any(|one| at(one, "/name") == name) {
            errors.push(FieldError::duplicate(format!("{path}.name"), name));
        }
        if at(one, "/image").is_empty() {
            errors.push(FieldError::required(format!("{path}.image"), ""));
        }
        let forbidden = [
            "ports",
            "livenessProbe",
            "readinessProbe",
            "startupProbe",
            "lifecycle",
        ];
        for field in forbidden
            .iter()
            .filter(|field| one.get(**field).is_some_and(filled))
        {
            let why = "cannot be set for an Ephemeral Container";
            errors.push(FieldError::forbidden(format!("{path}.{field}"), why));
        }
        let target = at(one, "/targetContainerName");
        if !target.is_empty() && !others.iter().any(|one| at(one, "/name") == target) {
            errors.push(FieldError::not_found(
                format!("{path}.targetContainerName"),
                target,
            ));
        }
    }
    errors
}

fn filled(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Array(list) => !list.is_empty(),
        Value::Object(map) => !map.is_empty(),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod() -> Value {
        let mut pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "a:1"}],
            "activeDeadlineSeconds": 10,
            "tolerations": [{"key": "k", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}]}});
        template::default_spec(&mut pod, "/spec");
        pod
    }

    /// What is said when this value is put there.
    fn said(pointer: &str, value: Value) -> Vec<String> {
        let (old, mut new) = (pod(), pod());
        *new.pointer_mut(pointer).unwrap() = value;
        let found = check(&new, &old, Part::Main);
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_may_change() {
        assert!(said("/spec/containers/0/image", json!("a:2")).is_empty());
        assert!(said("/spec/activeDeadlineSeconds", json!(5)).is_empty());
        assert!(said("/spec/tolerations/0/tolerationSeconds", json!(5)).is_empty());
    }

    #[test]
    fn what_may_not() {
        let cases = [
            (
                "/spec/containers/0/name",
                json!("d"),
                "spec: Forbidden: pod updates may not change",
            ),
            (
                "/spec/restartPolicy",
                json!("Never"),
                "spec: Forbidden: pod updates may not change",
            ),
            (
                "/spec/containers",
                json!([]),
                "spec.containers: Forbidden: pod updates may not add or remove",
            ),
            (
                "/spec/containers/0/image",
                json!(""),
                "spec.containers[0].image: Required value",
            ),
            (
                "/spec/activeDeadlineSeconds",
                json!(11),
                "must be less than or equal to previous value",
            ),
            (
                "/spec/tolerations",
                json!([]),
                "spec.tolerations: Forbidden: existing toleration",
            ),
        ];
        for (pointer, value, want) in cases {
            let said = said(pointer, value);
            assert!(
                said.len() == 1 && said[0].contains(want),
                "{pointer}: {said:?}"
            );
        }
    }

    #[test]
    fn ephemeral_containers_are_only_added() {
        let old = pod();
        let mut new = old.clone();
        new["spec"]["ephemeralContainers"] = json!([{"name": "debug", "image": "busybox"}]);
        new["spec"]["restartPolicy"] = "Never".into();
        restore(&mut new, &old, Part::Other("ephemeralcontainers"));
        assert_eq!(new["spec"]["restartPolicy"], "Always");
        assert_eq!(added(&new, &old), []);
        let said = added(&old, &new);
        assert!(said[0].problem.contains("may not be removed"), "{said:?}");
        let mut twice = new.clone();
        twice["spec"]["ephemeralContainers"][0]["name"] = "c".into();
        let said = added(&twice, &old);
        assert!(
            said[0].problem.contains("Duplicate value: \"c\""),
            "{said:?}"
        );
    }

    #[test]
    fn resizing_changes_resources_only() {
        let old = pod();
        let mut new = old.clone();
        new["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "1"}});
        new["spec"]["containers"][0]["image"] = "b".into();
        restore(&mut new, &old, Part::Other("resize"));
        assert_eq!(new["spec"]["containers"][0]["image"], "a:1");
        assert_eq!(
            new["spec"]["containers"][0]["resources"]["limits"]["cpu"],
            "1"
        );
    }

    #[test]
    fn a_pod_with_ephemeral_containers_is_resized() {
        let mut old = pod();
        old["spec"]["ephemeralContainers"] = json!([{"name": "shell", "image": "sh"}]);
        let mut new = old.clone();
        new["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "1"}});
        let said = |new: &Value| {
            let errors = check(new, &old, Part::Other("resize"));
            errors
                .into_iter()
                .map(|error| error.path)
                .collect::<Vec<_>>()
        };
        assert!(!said(&new).contains(&"spec.ephemeralContainers".to_owned()));
        new["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "-1"}});
        assert!(said(&new).contains(&"spec.containers[0].resources.limits[cpu]".to_owned()));
    }
}
