//! What a pod that is asked for in other words needs: nothing, an update in place, or a new pod in its stead.
//!
//! The rules are those by which the API lets a pod be updated: images, labels, annotations, an earlier deadline,
//! further tolerations; and what comes beside the pod. All else makes another pod. A pure function: who calls it decides.
use crate::state::PodRecord;
use k8s_openapi::api::core::v1::{Container, Pod, PodCondition, PodSpec, Toleration};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

/// The most fields that are named.
const NAMED: usize = 5;

/// How the new words come into force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// They say the same.
    Same,
    /// The running pod takes them over; a container with another image is started again.
    InPlace,
    /// The pod has to end first, because of these fields.
    Replace {
        /// Their paths, such as `spec.volumes[0].hostPath.path`; at most five.
        fields: Vec<String>,
    },
}

/// Compares what runs with what is asked for now. Ids, times and the status say nothing about it.
#[must_use]
pub fn kind(old: &PodRecord, new: &PodRecord) -> Change {
    let mut fields = Vec::new();
    if old.full_name() != new.full_name() {
        fields.push("metadata.name".to_owned());
    }
    let spec = match (&old.pod.spec, &new.pod.spec) {
        (Some(old), Some(new)) => {
            let reachable = in_place(old, new);
            if reachable != *new {
                differing(&reachable, new, &mut fields);
            }
            old != new
        }
        (old, new) => {
            if old != new {
                fields.push("spec".to_owned());
            }
            false
        }
    };
    if !fields.is_empty() {
        return Change::Replace { fields };
    }
    let same = !spec
        && told(&old.pod.metadata) == told(&new.pod.metadata)
        && old.config_maps == new.config_maps
        && old.secrets == new.secrets
        && old.tokens == new.tokens
        && gates(&old.pod) == gates(&new.pod)
        && old.services == new.services
        && old.origin == new.origin;
    if same { Change::Same } else { Change::InPlace }
}

/// What of the metadata a pod may ask for.
fn told(meta: &ObjectMeta) -> impl PartialEq {
    // An empty map and none are the same wish.
    let some = |map: &Option<std::collections::BTreeMap<String, String>>| {
        map.clone().filter(|map| !map.is_empty())
    };
    (some(&meta.labels), some(&meta.annotations))
}

/// What others have said of the pod.
fn gates(pod: &Pod) -> Option<&[PodCondition]> {
    pod.status.as_ref()?.conditions.as_deref()
}

/// The old spec with all of the new one that can be had without another pod.
fn in_place(old: &PodSpec, new: &PodSpec) -> PodSpec {
    let mut reachable = old.clone();
    let containers = reachable.containers.iter_mut().zip(&new.containers).chain(
        reachable
            .init_containers
            .iter_mut()
            .flatten()
            .zip(new.init_containers.iter().flatten()),
    );
    containers.for_each(|(old, new)| take_image(old, new));
    let sooner = match (old.active_deadline_seconds, new.active_deadline_seconds) {
        (None, Some(_)) => true,
        (Some(old), Some(new)) => new < old,
        (None | Some(_), None) => false,
    };
    if sooner {
        reachable.active_deadline_seconds = new.active_deadline_seconds;
    }
    if grew(old.tolerations.as_deref(), new.tolerations.as_deref()) {
        reachable.tolerations.clone_from(&new.tolerations);
    }
    reachable
}

fn take_image(old: &mut Container, new: &Container) {
    if old.name == new.name {
        old.image.clone_from(&new.image);
        // Its default follows the image's tag, and it matters to the next start only.
        old.image_pull_policy.clone_from(&new.image_pull_policy);
    }
}

fn grew(old: Option<&[Toleration]>, new: Option<&[Toleration]>) -> bool {
    let new = new.unwrap_or_default();
    old.unwrap_or_default().iter().all(|old| new.contains(old))
}

/// The paths at which two specs differ.
fn differing(old: &PodSpec, new: &PodSpec, fields: &mut Vec<String>) {
    match (serde_json::to_value(old), serde_json::to_value(new)) {
        (Ok(old), Ok(new)) => compare("spec", &old, &new, fields),
        (Err(_), _) | (_, Err(_)) => {}
    }
    if fields.is_empty() {
        fields.push("spec".to_owned());
    }
}

fn compare(path: &str, old: &Value, new: &Value, fields: &mut Vec<String>) {
    if old == new || fields.len() == NAMED {
        return;
    }
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            let only_new = new.keys().filter(|key| !old.contains_key(*key));
            for key in old.keys().chain(only_new) {
                let of = |map: &serde_json::Map<_, _>| map.get(key).cloned().unwrap_or_default();
                compare(&format!("{path}.{key}"), &of(old), &of(new), fields);
            }
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (index, (old, new)) in old.iter().zip(new).enumerate() {
                compare(&format!("{path}[{index}]"), old, new, fields);
            }
        }
        (_, _) => fields.push(path.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use serde_json::json;

    const BASE: &str = r#"{"metadata": {"name": "p", "uid": "u"}, "spec": {
        "initContainers": [{"name": "i", "image": "init:1"}],
        "containers": [{"name": "c", "image": "web:1", "env": [{"name": "A", "value": "1"}]}],
        "tolerations": [{"key": "k", "operator": "Exists"}], "activeDeadlineSeconds": 60}}"#;

    fn record(change: impl FnOnce(&mut Value)) -> PodRecord {
        let mut pod: Value = serde_json::from_str(BASE).unwrap();
        change(&mut pod);
        PodRecord::new(serde_json::from_value(pod).unwrap(), Timestamp::UNIX_EPOCH)
    }

    /// Sets `pointer` of the base pod to `value`; `want` is `same`, `in place` or the fields.
    #[track_caller]
    fn check(pointer: &str, value: Value, want: &str) {
        let new = record(|pod| {
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            pod.pointer_mut(parent).unwrap()[key] = value;
        });
        let got = match kind(&record(|_| {}), &new) {
            Change::Same => "same".to_owned(),
            Change::InPlace => "in place".to_owned(),
            Change::Replace { fields } => fields.join(" "),
        };
        assert_eq!(got, want, "{pointer}");
    }

    #[test]
    fn what_v1_lets_change_changes_in_place() {
        let container = |image: &str| json!([{"name": "c", "image": image, "env": [{"name": "A", "value": "1"}]}]);
        check("/metadata/uid", json!("other"), "same");
        check(
            "/metadata/creationTimestamp",
            json!("2026-01-01T00:00:00Z"),
            "same",
        );
        check("/metadata/labels", json!({}), "same");
        check("/metadata/labels", json!({"a": "b"}), "in place");
        check("/metadata/annotations", json!({"a": "b"}), "in place");
        check("/spec/containers", container("web:1"), "same");
        check("/spec/containers", container("web:2"), "in place");
        check(
            "/spec/initContainers",
            json!([{"name": "i", "image": "init:2"}]),
            "in place",
        );
        check("/spec/activeDeadlineSeconds", json!(30), "in place");
        let more = json!([{"key": "l", "operator": "Exists"}, {"key": "k", "operator": "Exists"}]);
        check("/spec/tolerations", more, "in place");
    }

    #[test]
    fn all_else_makes_another_pod() {
        check("/metadata/name", json!("q"), "metadata.name");
        check(
            "/spec/activeDeadlineSeconds",
            json!(90),
            "spec.activeDeadlineSeconds",
        );
        check(
            "/spec/activeDeadlineSeconds",
            json!(null),
            "spec.activeDeadlineSeconds",
        );
        check("/spec/tolerations", json!([]), "spec.tolerations");
        check("/spec/hostNetwork", json!(true), "spec.hostNetwork");
        let env = json!([{"name": "c", "image": "web:2", "env": [{"name": "A", "value": "2"}]}]);
        check("/spec/containers", env, "spec.containers[0].env[0].value");
        let named = json!([{"name": "d", "image": "web:1", "env": [{"name": "A", "value": "1"}]}]);
        check("/spec/containers", named, "spec.containers[0].name");
        check("/spec/initContainers", json!([]), "spec.initContainers");
    }

    #[test]
    fn what_comes_beside_the_pod_is_taken_over() {
        let mut new = record(|_| {});
        new.config_maps.insert("m".to_owned(), Default::default());
        assert_eq!(kind(&record(|_| {}), &new), Change::InPlace);
    }
}
