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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::NODES;
    use crate::store::{Store, embedded};
    use serde_json::json;
    use std::sync::Arc;

    fn user(name: &str, group: &str) -> User {
        User {
            name: name.to_owned(),
            groups: vec![group.to_owned()],
            ..User::default()
        }
    }

    fn n1() -> User {
        user("system:node:n1", NODES)
    }

    /// What is said of a write of the object `name`; nothing if it passes.
    async fn said(
        user: &User,
        plural: &str,
        name: &str,
        operation: Operation,
        (old, mut new): (Option<Value>, Value),
    ) -> String {
        let home = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(embedded::open(home.path()).unwrap());
        let mut admission = Admission {
            operation,
            namespace: "",
            name,
            part: Part::Main,
            object: &mut new,
            old: old.as_ref(),
            store: &store,
            along: Vec::new(),
            dry_run: false,
        };
        let kinds = crate::resource::all();
        let kind = kinds.iter().find(|kind| kind.names().plural == plural);
        let names = kind.unwrap().names();
        let admitted = NodeRestriction.admit(user, names, &mut admission).await;
        admitted.map_or_else(|error| error.message, |()| String::new())
    }

    fn node(labels: &Value, taint: &str) -> Value {
        json!({"metadata": {"name": "n1", "labels": labels}, "spec": {"taints": [{"key": taint}]}})
    }

    #[tokio::test]
    async fn a_node_writes_its_own_node() {
        let plain = || node(&json!({"a": "b"}), "t");
        let update = |new| (Some(plain()), new);
        let ours = "node-restriction.kubernetes.io/tier";
        let below = "x.node-restriction.kubernetes.io/tier";
        for (name, operation, change, expected) in [
            ("n1", Operation::Create, (None, plain()), ""),
            (
                "n2",
                Operation::Create,
                (None, plain()),
                "only write its own node",
            ),
            (
                "n1",
                Operation::Update,
                update(node(&json!({"a": "c"}), "t")),
                "",
            ),
            (
                "n1",
                Operation::Update,
                update(node(&json!({ ours: "x" }), "t")),
                ours,
            ),
            (
                "n1",
                Operation::Update,
                update(node(&json!({ below: "x" }), "t")),
                below,
            ),
            (
                "n1",
                Operation::Update,
                update(node(&json!({"a": "b"}), "u")),
                "modify taints",
            ),
            (
                "n1",
                Operation::Delete,
                update(plain()),
                "may not delete itself",
            ),
        ] {
            let what = format!("{name} {operation:?} {change:?}");
            let said = said(&n1(), "nodes", name, operation, change).await;
            assert!(said.contains(expected), "{what}: {said}");
            assert_eq!(said.is_empty(), expected.is_empty(), "{what}: {said}");
        }
        let jane = user("jane", "devs");
        let change = (Some(plain()), node(&json!({ ours: "x" }), "u"));
        assert_eq!(
            said(&jane, "nodes", "n1", Operation::Update, change).await,
            ""
        );
    }

    #[tokio::test]
    async fn who_is_believed_to_be_a_kubelet() {
        let with = |value: &str| json!({"metadata": {"annotations": { AUTHORITY: value }}});
        let change = || (Some(with("old")), with("new"));
        let master = user("root", MASTERS);
        let jane = user("jane", "devs");
        for (user, name, good) in [
            (&n1(), "n1", true),
            (&master, "n1", true),
            (&jane, "n1", false),
            (&n1(), "n2", false),
        ] {
            let said = said(user, "nodes", name, Operation::Update, change()).await;
            assert_eq!(said.is_empty(), good, "{} {name}: {said}", user.name);
        }
        // Taking it away is a change too; keeping it is none.
        let gone = (Some(with("old")), json!({"metadata": {}}));
        assert!(
            !said(&jane, "nodes", "n1", Operation::Update, gone)
                .await
                .is_empty()
        );
        let same = (Some(with("old")), with("old"));
        assert_eq!(
            said(&jane, "nodes", "n1", Operation::Update, same).await,
            ""
        );
    }

    fn mirror(spec: &Value) -> Value {
        json!({"metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}}, "spec": spec})
    }

    #[tokio::test]
    async fn a_node_writes_its_own_pods() {
        let on = |node: &str| json!({"metadata": {}, "spec": {"nodeName": node}});
        let secret =
            json!({"nodeName": "n1", "volumes": [{"name": "v", "secret": {"secretName": "s"}}]});
        let account = json!({"nodeName": "n1", "serviceAccountName": "admin"});
        for (operation, change, expected) in [
            (Operation::Create, (None, on("n1")), "mirror pods"),
            (
                Operation::Create,
                (None, mirror(&json!({"nodeName": "n1"}))),
                "",
            ),
            (
                Operation::Create,
                (None, mirror(&json!({"nodeName": "n2"}))),
                "set to itself",
            ),
            (
                Operation::Create,
                (None, mirror(&secret)),
                "reference objects",
            ),
            (
                Operation::Create,
                (None, mirror(&account)),
                "reference objects",
            ),
            (Operation::Update, (Some(on("n1")), on("n1")), ""),
            (
                Operation::Update,
                (Some(on("n2")), on("n1")),
                "set to itself",
            ),
            (Operation::Delete, (None, on("n2")), "set to itself"),
            (Operation::Delete, (None, on("n1")), ""),
        ] {
            let what = format!("{operation:?} {change:?}");
            let said = said(&n1(), "pods", "p", operation, change).await;
            assert!(said.contains(expected), "{what}: {said}");
            assert_eq!(said.is_empty(), expected.is_empty(), "{what}: {said}");
        }
    }

    #[tokio::test]
    async fn a_node_writes_its_own_lease() {
        for (name, good) in [("n1", true), ("n2", false)] {
            let said = said(&n1(), "leases", name, Operation::Update, (None, json!({}))).await;
            assert_eq!(said.is_empty(), good, "{name}: {said}");
        }
    }
}
