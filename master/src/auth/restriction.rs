//! What a node may write: its own Node, its own pods, and nothing that would make it another
//! (<https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction>).
use super::{MASTERS, node_of};
use crate::admission::{Admission, Operation, Plugin};
use crate::call::User;
use crate::error::ApiError;
use crate::meta;
use crate::resource::{Names, Part};
use async_trait::async_trait;
use serde_json::Value;

/// By which authority's certificate a kubelet is known; whoever writes it decides who is believed to be that node.
const AUTHORITY: &str = "rkube.io/kubelet-authority";
/// Labels that only others may give a node.
const RESTRICTED: &str = "node-restriction.kubernetes.io";

/// Holds nodes to what is theirs.
#[derive(Clone, Copy, Debug, Default)]
pub struct NodeRestriction;

#[async_trait]
impl Plugin for NodeRestriction {
    async fn admit(
        &self,
        user: &User,
        names: &Names,
        admission: &mut Admission<'_>,
    ) -> Result<(), ApiError> {
        let refuse =
            |why: String| ApiError::forbidden(names.group, names.plural, admission.name, &why);
        let node = node_of(user);
        let kind = (names.group, names.plural);
        if kind == ("", "nodes") && admission.operation != Operation::Delete {
            let trusted = user.groups.iter().any(|group| group == MASTERS);
            let new = annotation(admission.object);
            let old = admission.old.and_then(annotation);
            if new != old && !trusted && node != Some(admission.name) {
                return Err(refuse(format!(
                    "the annotation {AUTHORITY} is for the node itself to write"
                )));
            }
        }
        let Some(node) = node else {
            return Ok(());
        };
        let wrong = match kind {
            ("", "nodes") => node_problem(node, admission),
            ("", "pods") => pod_problem(node, admission),
            ("coordination.k8s.io", "leases") if admission.name != node => {
                Some(format!("node {node:?} may only write its own lease"))
            }
            _ => None,
        };
        wrong.map_or(Ok(()), |why| Err(refuse(why)))
    }
}

fn annotation(object: &Value) -> Option<&Value> {
    meta::of(object).get("annotations")?.get(AUTHORITY)
}

fn node_problem(node: &str, admission: &Admission<'_>) -> Option<String> {
    if admission.name != node {
        return Some(format!("node {node:?} may only write its own node"));
    }
    if admission.operation == Operation::Delete {
        return Some(format!("node {node:?} may not delete itself"));
    }
    let labels = |of: &Value| meta::of(of).get("labels").cloned().unwrap_or_default();
    let (new, old) = (
        labels(admission.object),
        admission.old.map(labels).unwrap_or_default(),
    );
    let empty = serde_json::Map::new();
    let (new, old) = (
        new.as_object().unwrap_or(&empty),
        old.as_object().unwrap_or(&empty),
    );
    let changed = new.keys().chain(old.keys()).find(|name| {
        let domain = name.split('/').next().unwrap_or_default();
        new.get(*name) != old.get(*name)
            && (domain == RESTRICTED || domain.ends_with(&format!(".{RESTRICTED}")))
    });
    if let Some(label) = changed {
        return Some(format!("is not allowed to modify labels: {label}"));
    }
    let taints = |of: &Value| of.pointer("/spec/taints").cloned();
    let updates = admission.operation == Operation::Update && admission.part == Part::Main;
    (updates
        && admission
            .old
            .is_some_and(|old| taints(old) != taints(admission.object)))
    .then(|| "is not allowed to modify taints".to_owned())
}

fn pod_problem(node: &str, admission: &Admission<'_>) -> Option<String> {
    let of = |pod: &Value| {
        pod.pointer("/spec/nodeName")
            .and_then(Value::as_str)
            .map(str::to_owned)
    };
    match admission.operation {
        Operation::Create => {
            let pod = &*admission.object;
            let mirror = meta::of(pod)
                .get("annotations")
                .and_then(|all| all.get("kubernetes.io/config.mirror"));
            if mirror.is_none() {
                return Some(format!(
                    "pod does not have \"kubernetes.io/config.mirror\" annotation, node {node:?} can only create mirror pods"
                ));
            }
            if of(pod).as_deref() != Some(node) {
                return Some(format!(
                    "node {node:?} can only create pods with spec.nodeName set to itself"
                ));
            }
            let volumes = pod.pointer("/spec/volumes").and_then(Value::as_array);
            let reads = ["secret", "configMap", "projected", "persistentVolumeClaim"];
            let reads_objects = volumes
                .into_iter()
                .flatten()
                .any(|volume| reads.iter().any(|source| volume.get(source).is_some()));
            let account = pod
                .pointer("/spec/serviceAccountName")
                .and_then(Value::as_str);
            (reads_objects || account.is_some_and(|name| !name.is_empty()))
                .then(|| format!("node {node:?} can not create pods that reference objects"))
        }
        Operation::Update | Operation::Delete => {
            let old = admission.old.unwrap_or(admission.object);
            (of(old).as_deref() != Some(node)).then(|| {
                format!("node {node:?} can only write pods with spec.nodeName set to itself")
            })
        }
    }
}
