//! What a new pod gets from its cluster: who it is, how important it is, and how long it stays on a lost node.
use super::{Admission, Operation, Plugin};
use crate::call::User;
use crate::error::ApiError;
use crate::registry::stored;
use crate::resource::{Names, Part, serviceaccounts};
use async_trait::async_trait;
use serde_json::{Map, Value, json};

/// Where a pod finds its token, the cluster's CA and the name of its namespace.
const MOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// The annotation of pods that a kubelet shows of its own.
const MIRROR: &str = "kubernetes.io/config.mirror";

/// Completes pods.
#[derive(Debug)]
pub struct Pods;

#[async_trait]
impl Plugin for Pods {
    async fn admit(
        &self,
        _: &User,
        names: &Names,
        admission: &mut Admission<'_>,
    ) -> Result<(), ApiError> {
        let new = admission.operation == Operation::Create && admission.part == Part::Main;
        if !new || !names.group.is_empty() || names.plural != "pods" {
            return Ok(());
        }
        if !admission.object.get("spec").is_some_and(Value::is_object) {
            // Validation tells.
            return Ok(());
        }
        account(admission).await?;
        priority(admission).await?;
        tolerations(&mut admission.object["spec"]);
        Ok(())
    }
}

fn refused(admission: &Admission<'_>, why: &str) -> ApiError {
    ApiError::forbidden("", "pods", admission.name, why)
}

/// Gives the pod its service account, and the token to prove it.
async fn account(admission: &mut Admission<'_>) -> Result<(), ApiError> {
    let annotations = admission.object.pointer("/metadata/annotations");
    if annotations.is_some_and(|all| all.get(MIRROR).is_some()) {
        let named = admission.object.pointer("/spec/serviceAccountName");
        return match named.and_then(Value::as_str) {
            None | Some("") => Ok(()),
            Some(_) => Err(refused(
                admission,
                "a mirror pod may not reference service accounts",
            )),
        };
    }
    let spec = &mut admission.object["spec"];
    let name = match spec.get("serviceAccountName").and_then(Value::as_str) {
        None | Some("") => "default".to_owned(),
        Some(name) => name.to_owned(),
    };
    for field in ["serviceAccountName", "serviceAccount"] {
        spec[field] = name.clone().into();
    }
    let home = admission.namespace;
    let key = format!("{}/{home}/{name}", serviceaccounts::PREFIX);
    let Some(entry) = admission.store.get(&key).await? else {
        let why = format!(
            "error looking up service account {home}/{name}: serviceaccount {name:?} not found"
        );
        return Err(refused(admission, &why));
    };
    let account = stored::parse(&entry.value)?;
    let spec = &mut admission.object["spec"];
    let secrets = account.get("imagePullSecrets").and_then(Value::as_array);
    let own = spec.get("imagePullSecrets").and_then(Value::as_array);
    if let (Some(secrets), true) = (secrets, own.is_none_or(Vec::is_empty)) {
        spec["imagePullSecrets"] = secrets.clone().into();
    }
    let wanted = spec
        .get("automountServiceAccountToken")
        .or_else(|| account.get("automountServiceAccountToken"));
    if wanted != Some(&Value::Bool(false)) {
        mount(spec);
    }
    Ok(())
}

/// Mounts the token into every container that has nothing there.
fn mount(spec: &mut Value) {
    let volume = format!("kube-api-access-{}", crate::registry::letters());
    let mut used = false;
    for kind in ["initContainers", "containers"] {
        let containers = spec.get_mut(kind).and_then(Value::as_array_mut);
        for container in containers
            .into_iter()
            .flatten()
            .filter_map(Value::as_object_mut)
        {
            let mounts = container.entry("volumeMounts").or_insert_with(|| json!([]));
            if mounts.is_null() {
                *mounts = json!([]);
            }
            let Some(mounts) = mounts.as_array_mut() else {
                continue;
            };
            let taken = |one: &Value| one.get("mountPath").and_then(Value::as_str) == Some(MOUNT);
            if !mounts.iter().any(taken) {
                mounts.push(json!({"name": volume, "mountPath": MOUNT, "readOnly": true}));
                used = true;
            }
        }
    }
    let Some(spec) = spec.as_object_mut().filter(|_| used) else {
        return;
    };
    let volumes = spec.entry("volumes").or_insert_with(|| json!([]));
    if volumes.is_null() {
        *volumes = json!([]);
    }
    if let Some(volumes) = volumes.as_array_mut() {
        volumes.push(json!({"name": volume, "projected": {"defaultMode": 0o644, "sources": [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": {"name": super::homes::ROOT_CA, "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace",
                "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}}]}},
        ]}}));
    }
}

/// Turns the name of a class into a number.
async fn priority(admission: &mut Admission<'_>) -> Result<(), ApiError> {
    let spec = &admission.object["spec"];
    let class = spec
        .get("priorityClassName")
        .and_then(Value::as_str)
        .unwrap_or("");
    let (value, policy) = match class {
        "" => (0, None),
        "system-cluster-critical" => (2_000_000_000, None),
        "system-node-critical" => (2_000_001_000, None),
        name => {
            let key = format!("/registry/priorityclasses/{name}");
            let Some(entry) = admission.store.get(&key).await? else {
                let why = format!("no PriorityClass with name {name} was found");
                return Err(refused(admission, &why));
            };
            let class = stored::parse(&entry.value)?;
            let policy = class.get("preemptionPolicy").cloned();
            (
                class.get("value").and_then(Value::as_i64).unwrap_or(0),
                policy,
            )
        }
    };
    if let Some(asked) = spec.get("priority").and_then(Value::as_i64)
        && asked != value
    {
        let why = format!(
            "the integer value of priority ({asked}) must not be provided in pod spec; priority admission controller \
             computed {value} from the given PriorityClass name"
        );
        return Err(refused(admission, &why));
    }
    let spec = &mut admission.object["spec"];
    spec["priority"] = value.into();
    if spec.get("preemptionPolicy").is_none_or(Value::is_null) {
        spec["preemptionPolicy"] = policy.unwrap_or_else(|| "PreemptLowerPriority".into());
    }
    Ok(())
}

/// A pod stays for five minutes on a node that is lost or not ready, unless it says otherwise.
fn tolerations(spec: &mut Value) {
    let Some(spec) = spec.as_object_mut() else {
        return;
    };
    let all = spec.entry("tolerations").or_insert_with(|| json!([]));
    if all.is_null() {
        *all = json!([]);
    }
    let Some(all) = all.as_array_mut() else {
        return;
    };
    for key in [
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
    ] {
        if !all
            .iter()
            .filter_map(Value::as_object)
            .any(|one| tolerates(one, key))
        {
            all.push(json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300}));
        }
    }
}

fn tolerates(one: &Map<String, Value>, key: &str) -> bool {
    let text = |field: &str| one.get(field).and_then(Value::as_str).unwrap_or("");
    matches!(text("key"), "" | "*")
        && text("operator") == "Exists"
        && matches!(text("effect"), "" | "NoExecute")
        || text("key") == key && matches!(text("effect"), "" | "NoExecute")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_mounted_once() {
        let mut spec = json!({"containers": [{"name": "a"}, {"name": "b", "volumeMounts": [{"name": "x", "mountPath": MOUNT}]}]});
        mount(&mut spec);
        assert_eq!(spec["containers"][0]["volumeMounts"][0]["mountPath"], MOUNT);
        assert_eq!(
            spec["containers"][1]["volumeMounts"]
                .as_array()
                .unwrap()
                .len(),
            1
        );
        assert_eq!(spec["volumes"].as_array().unwrap().len(), 1);
        mount(&mut spec);
        assert_eq!(spec["volumes"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn usual_tolerations() {
        let with = |given: Value| {
            let mut spec = json!({ "tolerations": given });
            tolerations(&mut spec);
            spec["tolerations"].as_array().unwrap().len()
        };
        assert_eq!(with(Value::Null), 2);
        assert_eq!(with(json!([{"operator": "Exists"}])), 1);
        let own = json!([{"key": "node.kubernetes.io/not-ready", "effect": "NoExecute", "tolerationSeconds": 5}]);
        assert_eq!(with(own), 2);
        assert_eq!(with(json!([{"key": "other", "operator": "Exists"}])), 3);
    }
}
