//! What a kubelet may: see what its pods need, report what it does, and nothing of other nodes
//! (<https://kubernetes.io/docs/reference/access-authn-authz/node/>).
use super::Wish;
use crate::cache::Caches;
use crate::error::ApiError;
use serde_json::Value;
use std::sync::Arc;

/// Knows which pods are on which node.
#[derive(Clone, Debug)]
pub struct NodePods {
    caches: Arc<Caches>,
}

impl NodePods {
    /// From the objects in memory.
    #[must_use]
    pub fn new(caches: Arc<Caches>) -> Self {
        NodePods { caches }
    }

    /// Whether a pod of the namespace that is on the node has what is asked for; a bound pod is looked for once more in
    /// the newest state, since a kubelet may hear of it before this cache does.
    async fn any(
        &self,
        node: &str,
        namespace: &str,
        has: impl Fn(&Value) -> bool + Send,
    ) -> Result<bool, ApiError> {
        if self.look(node, namespace, &has) {
            return Ok(true);
        }
        self.caches.fresh().await?;
        Ok(self.look(node, namespace, &has))
    }

    fn look(&self, node: &str, namespace: &str, has: &impl Fn(&Value) -> bool) -> bool {
        let Some(cache) = self.caches.of("/registry/pods") else {
            return false;
        };
        let (_, pods) = cache.under(&format!("/registry/pods/{namespace}/"));
        // Text is looked at before it is parsed: most pods are on other nodes.
        let bound = format!("\"nodeName\":{}", Value::from(node));
        pods.iter()
            .filter(|pod| memchr(&pod.bytes, bound.as_bytes()))
            .map(|pod| pod.value())
            .any(|pod| text(&pod, "/spec/nodeName") == node && has(&pod))
    }
}

fn memchr(bytes: &[u8], wanted: &[u8]) -> bool {
    let first = wanted.first().copied().unwrap_or_default();
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| *byte == first) {
        rest = rest.get(at..).unwrap_or_default();
        if rest.starts_with(wanted) {
            return true;
        }
        rest = rest.get(1..).unwrap_or_default();
    }
    false
}

fn text<'o>(object: &'o Value, pointer: &str) -> &'o str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// Whether the node may; if not, why.
pub(super) async fn decide(
    pods: &NodePods,
    node: &str,
    wish: &Wish,
) -> Result<Result<(), String>, ApiError> {
    if plainly(node, wish) {
        return Ok(Ok(()));
    }
    let refuse = |why: &str| Ok(Err(why.to_owned()));
    let (namespace, name) = (wish.namespace.as_str(), wish.name.as_str());
    let one = wish.reads() && !namespace.is_empty();
    // A list or a watch of one object, as kubelets keep up with what a pod mounts.
    let name = match wish.fields.strip_prefix("metadata.name=") {
        Some(only) if name.is_empty() && !only.contains(',') => only,
        _ => name,
    };
    let found = match (
        wish.group.as_str(),
        wish.resource.as_str(),
        wish.subresource.as_str(),
    ) {
        ("", "secrets" | "configmaps" | "persistentvolumeclaims", "")
            if one && !name.is_empty() =>
        {
            let kind = wish.resource.as_str();
            pods.any(node, namespace, |pod| needs(pod, kind, name))
                .await?
        }
        ("", "pods", "") if wish.verb == "get" => {
            pods.any(node, namespace, |pod| crate::meta::name(pod) == name)
                .await?
        }
        ("", "serviceaccounts", "") if wish.verb == "get" => {
            pods.any(node, namespace, |pod| account(pod) == name)
                .await?
        }
        ("", "serviceaccounts", "token") if wish.verb == "create" => {
            pods.any(node, namespace, |pod| account(pod) == name)
                .await?
        }
        _ => return refuse("that is not a node's business"),
    };
    match found {
        true => Ok(Ok(())),
        false => refuse("no relationship found between the node and this object"),
    }
}

fn account(pod: &Value) -> &str {
    match text(pod, "/spec/serviceAccountName") {
        "" => "default",
        name => name,
    }
}

/// What needs no look at pods. What exactly it may write is for admission (restriction.rs).
fn plainly(node: &str, wish: &Wish) -> bool {
    let verb = wish.verb.as_str();
    let own = wish.name == node;
    match (
        wish.group.as_str(),
        wish.resource.as_str(),
        wish.subresource.as_str(),
    ) {
        ("", "nodes", "") => match verb {
            "create" => true,
            "get" | "update" | "patch" => own,
            "list" | "watch" => wish.fields == format!("metadata.name={node}"),
            _ => false,
        },
        ("", "nodes", "status") => own && matches!(verb, "get" | "update" | "patch"),
        ("", "pods", "") => match verb {
            "list" | "watch" => wish.fields.split(',').any(|term| {
                let term = term.replacen("==", "=", 1);
                term == format!("spec.nodeName={node}")
            }),
            "create" | "delete" => true,
            _ => false,
        },
        ("", "pods", "status") => matches!(verb, "get" | "update" | "patch"),
        ("", "pods", "eviction") => verb == "create",
        ("" | "events.k8s.io", "events", "") => matches!(verb, "create" | "update" | "patch"),
        ("", "services" | "endpoints", "") | ("discovery.k8s.io", "endpointslices", "") => {
            wish.reads()
        }
        ("", "namespaces", "") => wish.reads(),
        ("coordination.k8s.io", "leases", "") => {
            let there = wish.namespace == "kube-node-lease";
            there
                && (own || verb == "create")
                && matches!(verb, "create" | "get" | "update" | "patch" | "delete")
        }
        ("node.k8s.io", "runtimeclasses", "") | ("storage.k8s.io", "csidrivers", "") => {
            wish.reads()
        }
        ("authentication.k8s.io", "tokenreviews", "")
        | ("authorization.k8s.io", "subjectaccessreviews" | "localsubjectaccessreviews", "") => {
            verb == "create"
        }
        _ => false,
    }
}

/// Whether a pod mounts or reads an object.
fn needs(pod: &Value, kind: &str, name: &str) -> bool {
    let spec = pod.get("spec").unwrap_or(&Value::Null);
    let list = |of: &Value, field: &str| {
        of.get(field)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let names = |of: &Value, pointers: &[&str]| {
        !name.is_empty() && pointers.iter().any(|pointer| text(of, pointer) == name)
    };
    let volumes: &[&str] = match kind {
        "secrets" => &["/secret/secretName"],
        "configmaps" => &["/configMap/name"],
        _ => &["/persistentVolumeClaim/claimName"],
    };
    let (key, whole, projected) = match kind {
        "secrets" => (
            "/valueFrom/secretKeyRef/name",
            "/secretRef/name",
            "/secret/name",
        ),
        "configmaps" => (
            "/valueFrom/configMapKeyRef/name",
            "/configMapRef/name",
            "/configMap/name",
        ),
        _ => {
            return list(spec, "volumes")
                .iter()
                .any(|volume| names(volume, volumes));
        }
    };
    let in_volumes = list(spec, "volumes").iter().any(|volume| {
        let sources = volume
            .pointer("/projected")
            .map(|projected| list(projected, "sources"));
        names(volume, volumes)
            || sources
                .unwrap_or_default()
                .iter()
                .any(|source| names(source, &[projected]))
    });
    let containers = ["initContainers", "containers", "ephemeralContainers"];
    let in_containers = containers
        .iter()
        .flat_map(|field| list(spec, field))
        .any(|container| {
            list(&container, "env").iter().any(|env| names(env, &[key]))
                || list(&container, "envFrom")
                    .iter()
                    .any(|from| names(from, &[whole]))
        });
    let pulls = kind == "secrets"
        && list(spec, "imagePullSecrets")
            .iter()
            .any(|secret| names(secret, &["/name"]));
    in_volumes || in_containers || pulls
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(wish: [&str; 5], fields: &str, expected: bool) {
        let [verb, group, resource, namespace, name] = wish.map(str::to_owned);
        let (resource, subresource) = match resource.split_once('/') {
            Some((resource, sub)) => (resource.to_owned(), sub.to_owned()),
            None => (resource, String::new()),
        };
        let wish = Wish {
            verb,
            group,
            resource,
            subresource,
            namespace,
            name,
            fields: fields.to_owned(),
            ..Wish::default()
        };
        assert_eq!(plainly("n1", &wish), expected, "{wish:?}");
    }

    #[test]
    fn a_node_and_others() {
        check(["get", "", "nodes", "", "n1"], "", true);
        check(["get", "", "nodes", "", "n2"], "", false);
        check(["delete", "", "nodes", "", "n1"], "", false);
        check(["patch", "", "nodes/status", "", "n1"], "", true);
        check(["patch", "", "nodes/status", "", "n2"], "", false);
        check(["list", "", "pods", "", ""], "spec.nodeName=n1", true);
        check(
            ["watch", "", "pods", "", ""],
            "spec.nodeName==n1,status.phase!=Failed",
            true,
        );
        check(["list", "", "pods", "", ""], "spec.nodeName=n12", false);
        check(["list", "", "pods", "", ""], "spec.nodeName!=n1", false);
        check(["list", "", "pods", "", ""], "", false);
        check(["list", "", "secrets", "", ""], "", false);
        check(["get", "", "secrets", "a", "b"], "", false);
        check(["list", "", "services", "", ""], "", true);
        check(["create", "", "services", "a", ""], "", false);
        check(
            [
                "update",
                "coordination.k8s.io",
                "leases",
                "kube-node-lease",
                "n1",
            ],
            "",
            true,
        );
        check(
            [
                "update",
                "coordination.k8s.io",
                "leases",
                "kube-node-lease",
                "n2",
            ],
            "",
            false,
        );
        check(
            ["update", "coordination.k8s.io", "leases", "default", "n1"],
            "",
            false,
        );
        check(["get", "", "pods/exec", "a", "b"], "", false);
    }

    #[test]
    fn what_a_pod_needs() {
        let pod = json!({"spec": {
            "volumes": [{"secret": {"secretName": "vol"}}, {"projected": {"sources": [{"secret": {"name": "pro"}}, {"configMap": {"name": "ca"}}]}},
                {"persistentVolumeClaim": {"claimName": "disk"}}],
            "imagePullSecrets": [{"name": "pull"}],
            "containers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "env"}}}], "envFrom": [{"configMapRef": {"name": "all"}}]}],
            "initContainers": [{"envFrom": [{"secretRef": {"name": "init"}}]}]}});
        for name in ["vol", "pro", "pull", "env", "init"] {
            assert!(needs(&pod, "secrets", name), "{name}");
            assert!(!needs(&pod, "configmaps", name), "{name}");
        }
        for name in ["ca", "all"] {
            assert!(
                needs(&pod, "configmaps", name) && !needs(&pod, "secrets", name),
                "{name}"
            );
        }
        assert!(needs(&pod, "persistentvolumeclaims", "disk"));
        assert!(!needs(&json!({}), "secrets", ""));
    }
}
