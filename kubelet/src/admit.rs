//! Which fields of a pod this kubelet honours; a field it does not know is never passed over in silence.
//!
//! `rkube-api` has parsed and validated the manifest: every field exists in v1 and has a legal value.
//! What is left to say here is whether *this kubelet* does anything with it. The pod is walked as JSON against
//! [`FIELDS`]: a path that is not listed is an error (a warning with `--lenient`).
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;

/// What becomes of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Treatment {
    /// Honoured.
    Honoured,
    /// Honoured, and so is everything below it.
    Whole,
    /// Means nothing on a host without a scheduler: said once, then left alone.
    Ignored,
    /// Honoured where an API server gives what it asks for.
    Issued,
}
use Treatment::{Honoured, Ignored, Issued, Whole};

/// `[]` stands for the elements of a list. The container rows hold for all kinds of containers.
const FIELDS: &[(&str, Treatment)] = &[
    ("apiVersion", Honoured),
    ("kind", Honoured),
    ("metadata", Whole),
    ("status", Ignored),
    ("spec.activeDeadlineSeconds", Honoured),
    ("spec.automountServiceAccountToken", Ignored),
    ("spec.affinity", Ignored),
    ("spec.dnsConfig", Whole),
    ("spec.dnsPolicy", Honoured),
    ("spec.enableServiceLinks", Honoured),
    ("spec.hostAliases", Whole),
    ("spec.hostIPC", Honoured),
    ("spec.hostNetwork", Honoured),
    ("spec.hostPID", Honoured),
    ("spec.hostname", Honoured),
    ("spec.imagePullSecrets", Whole),
    ("spec.nodeName", Ignored),
    ("spec.nodeSelector", Ignored),
    ("spec.preemptionPolicy", Ignored),
    ("spec.priority", Honoured),
    ("spec.priorityClassName", Honoured),
    ("spec.readinessGates", Whole),
    ("spec.restartPolicy", Honoured),
    ("spec.schedulerName", Ignored),
    ("spec.securityContext.fsGroup", Honoured),
    ("spec.securityContext.runAsGroup", Honoured),
    ("spec.securityContext.runAsNonRoot", Honoured),
    ("spec.securityContext.runAsUser", Honoured),
    ("spec.securityContext.seccompProfile", Whole),
    ("spec.securityContext.supplementalGroups", Whole),
    ("spec.securityContext.supplementalGroupsPolicy", Honoured),
    ("spec.securityContext.sysctls", Whole),
    ("spec.serviceAccount", Ignored),
    ("spec.serviceAccountName", Ignored),
    ("spec.setHostnameAsFQDN", Honoured),
    ("spec.shareProcessNamespace", Honoured),
    ("spec.subdomain", Honoured),
    ("spec.terminationGracePeriodSeconds", Honoured),
    ("spec.tolerations", Whole),
    ("spec.topologySpreadConstraints", Ignored),
    ("spec.volumes[].configMap", Whole),
    ("spec.volumes[].downwardAPI", Whole),
    ("spec.volumes[].emptyDir", Whole),
    ("spec.volumes[].gitRepo", Whole),
    ("spec.volumes[].hostPath", Whole),
    ("spec.volumes[].image", Whole),
    ("spec.volumes[].name", Honoured),
    ("spec.volumes[].projected.defaultMode", Honoured),
    ("spec.volumes[].projected.sources[].configMap", Whole),
    ("spec.volumes[].projected.sources[].downwardAPI", Whole),
    ("spec.volumes[].projected.sources[].secret", Whole),
    (
        "spec.volumes[].projected.sources[].serviceAccountToken",
        Issued,
    ),
    ("spec.volumes[].secret", Whole),
    ("C.args", Whole),
    ("C.command", Whole),
    ("C.env", Whole),
    ("C.envFrom", Whole),
    ("C.image", Honoured),
    ("C.imagePullPolicy", Honoured),
    ("C.lifecycle", Whole),
    ("C.livenessProbe.exec", Whole),
    ("C.livenessProbe.grpc", Whole),
    ("C.livenessProbe.httpGet", Whole),
    ("C.livenessProbe.tcpSocket", Whole),
    ("C.livenessProbe.failureThreshold", Honoured),
    ("C.livenessProbe.initialDelaySeconds", Honoured),
    ("C.livenessProbe.periodSeconds", Honoured),
    ("C.livenessProbe.successThreshold", Honoured),
    ("C.livenessProbe.terminationGracePeriodSeconds", Honoured),
    ("C.livenessProbe.timeoutSeconds", Honoured),
    ("C.name", Honoured),
    ("C.ports", Whole),
    ("C.readinessProbe.exec", Whole),
    ("C.readinessProbe.grpc", Whole),
    ("C.readinessProbe.httpGet", Whole),
    ("C.readinessProbe.tcpSocket", Whole),
    ("C.readinessProbe.failureThreshold", Honoured),
    ("C.readinessProbe.initialDelaySeconds", Honoured),
    ("C.readinessProbe.periodSeconds", Honoured),
    ("C.readinessProbe.successThreshold", Honoured),
    ("C.readinessProbe.terminationGracePeriodSeconds", Honoured),
    ("C.readinessProbe.timeoutSeconds", Honoured),
    ("C.resources.limits.cpu", Honoured),
    ("C.resources.limits.memory", Honoured),
    ("C.resources.requests.cpu", Honoured),
    ("C.resources.requests.memory", Honoured),
    ("C.resources.limits.ephemeral-storage", Honoured),
    ("C.resources.requests.ephemeral-storage", Honoured),
    ("C.restartPolicy", Honoured),
    ("C.restartPolicyRules", Whole),
    ("C.securityContext.allowPrivilegeEscalation", Honoured),
    ("C.securityContext.capabilities", Whole),
    ("C.securityContext.privileged", Honoured),
    ("C.securityContext.procMount", Honoured),
    ("C.securityContext.readOnlyRootFilesystem", Honoured),
    ("C.securityContext.runAsGroup", Honoured),
    ("C.securityContext.runAsNonRoot", Honoured),
    ("C.securityContext.runAsUser", Honoured),
    ("C.securityContext.seccompProfile", Whole),
    ("C.startupProbe.exec", Whole),
    ("C.startupProbe.grpc", Whole),
    ("C.startupProbe.httpGet", Whole),
    ("C.startupProbe.tcpSocket", Whole),
    ("C.startupProbe.failureThreshold", Honoured),
    ("C.startupProbe.initialDelaySeconds", Honoured),
    ("C.startupProbe.periodSeconds", Honoured),
    ("C.startupProbe.successThreshold", Honoured),
    ("C.startupProbe.terminationGracePeriodSeconds", Honoured),
    ("C.startupProbe.timeoutSeconds", Honoured),
    ("C.stdin", Honoured),
    ("C.stdinOnce", Honoured),
    ("C.terminationMessagePath", Honoured),
    ("C.terminationMessagePolicy", Honoured),
    ("C.tty", Honoured),
    ("C.volumeMounts[].mountPath", Honoured),
    ("C.volumeMounts[].mountPropagation", Honoured),
    ("C.volumeMounts[].name", Honoured),
    ("C.volumeMounts[].readOnly", Honoured),
    ("C.volumeMounts[].recursiveReadOnly", Honoured),
    ("C.volumeMounts[].subPath", Honoured),
    ("C.volumeMounts[].subPathExpr", Honoured),
    ("C.workingDir", Honoured),
];

/// What the walk found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Fields that this kubelet cannot honour, as `path: why`.
    pub unsupported: Vec<String>,
    /// Fields that mean nothing here.
    pub ignored: Vec<String>,
    /// Fields that only an API server's pods can have.
    pub issued: Vec<String>,
}

impl Findings {
    /// The same for a pod that no API server stands behind.
    #[must_use]
    pub fn without_server(mut self) -> Self {
        let lacking = |path| format!("{path} (only an API server issues tokens)");
        self.unsupported.extend(self.issued.drain(..).map(lacking));
        self
    }
}

/// Walks the pod.
#[must_use]
pub fn examine(pod: &Pod) -> Findings {
    let mut findings = Findings::default();
    let value = serde_json::to_value(pod).unwrap_or_default();
    walk(&value, "", "", &mut findings);
    // The one value of the one field of `os` that this host can honour.
    findings
        .unsupported
        .retain(|path| path != "spec.os.name" || value["spec"]["os"]["name"] != "linux");
    let volumes = pod
        .spec
        .iter()
        .flat_map(|spec| spec.volumes.iter().flatten());
    for (index, volume) in volumes.enumerate() {
        let checked = volume
            .git_repo
            .as_ref()
            .map_or(Ok(()), crate::volume::git::check);
        if let Err(problem) = checked {
            let problem = format!("spec.volumes[{index}].gitRepo.{problem}");
            findings.unsupported.push(problem);
        }
    }
    findings
}

/// `path` is what people read (`spec.containers[0].name`), `pattern` what the table has (`C.name`).
fn walk(value: &Value, path: &str, pattern: &str, findings: &mut Findings) {
    match FIELDS.iter().find(|(known, _)| *known == pattern) {
        Some((_, Whole)) => return,
        Some((_, Issued)) => {
            if !value.is_null() {
                findings.issued.push(path.to_owned());
            }
            return;
        }
        Some((_, Ignored)) => {
            if !is_empty(value) {
                findings.ignored.push(path.to_owned());
            }
            return;
        }
        Some((_, Honoured)) | None => {}
    }
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let dot = if path.is_empty() { "" } else { "." };
                let pattern = if pattern.is_empty() {
                    key.clone()
                } else {
                    format!("{pattern}.{key}")
                };
                walk(value, &format!("{path}{dot}{key}"), &pattern, findings);
            }
        }
        Value::Array(list) => {
            let container = matches!(pattern, "spec.containers" | "spec.initContainers");
            let pattern = if container {
                "C".to_owned()
            } else {
                format!("{pattern}[]")
            };
            for (index, value) in list.iter().enumerate() {
                walk(value, &format!("{path}[{index}]"), &pattern, findings);
            }
        }
        Value::Null => {}
        Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            if !FIELDS
                .iter()
                .any(|(known, treatment)| *known == pattern && *treatment == Honoured)
            {
                findings.unsupported.push(path.to_owned());
            }
        }
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.values().all(is_empty),
        Value::Array(list) => list.is_empty(),
        // What `rkube-api` fills in by default is not the user's wish.
        Value::String(text) => matches!(
            text.as_str(),
            "" | "default-scheduler" | "PreemptLowerPriority" | "default"
        ),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[track_caller]
    fn check(pod: &Value, unsupported: &[&str], ignored: &[&str]) {
        let pod: Pod = serde_json::from_value(pod.clone()).unwrap();
        let findings = examine(&pod);
        assert_eq!(findings.unsupported, unsupported);
        assert_eq!(findings.ignored, ignored);
    }

    #[test]
    fn what_is_honoured_passes() {
        check(
            &json!({"metadata": {"name": "a", "labels": {"x": "y"}}, "spec": {"containers": [
                {"name": "c", "image": "i", "env": [{"name": "A", "value": "b"}],
                 "volumeMounts": [{"name": "v", "mountPath": "/v"}], "resources": {"limits": {"cpu": "1"}}}],
                "volumes": [{"name": "v", "emptyDir": {}}]}}),
            &[],
            &[],
        );
    }

    #[test]
    fn what_is_not_honoured_is_named_with_its_place() {
        check(
            &json!({"spec": {"runtimeClassName": "kata", "containers": [
                {"name": "c", "volumeDevices": [{"name": "v", "devicePath": "/v"}]}],
                "initContainers": [{"name": "i", "resources": {"limits": {"nvidia.com/gpu": "1"}},
                    "livenessProbe": {"grpc": {"port": 1}}, "resizePolicy": [{"resourceName": "cpu", "restartPolicy": "NotRequired"}]}], "os": {"name": "windows"},
                "volumes": [{"name": "v", "nfs": {"server": "s", "path": "/"}}],
                "securityContext": {"seLinuxOptions": {"level": "s0"}}}}),
            &[
                "spec.containers[0].volumeDevices[0].devicePath",
                "spec.containers[0].volumeDevices[0].name",
                "spec.initContainers[0].resizePolicy[0].resourceName",
                "spec.initContainers[0].resizePolicy[0].restartPolicy",
                "spec.initContainers[0].resources.limits.nvidia.com/gpu",
                "spec.os.name",
                "spec.runtimeClassName",
                "spec.securityContext.seLinuxOptions.level",
                "spec.volumes[0].nfs.path",
                "spec.volumes[0].nfs.server",
            ],
            &[],
        );
    }

    #[test]
    fn what_a_server_issues_needs_one() {
        let pod = json!({"spec": {"containers": [], "volumes": [{"name": "v", "projected": {"sources": [
            {"serviceAccountToken": {"path": "token"}}]}}]}});
        check(&pod, &[], &[]);
        let findings = examine(&serde_json::from_value(pod).unwrap()).without_server();
        assert_eq!(
            findings.unsupported,
            [
                "spec.volumes[0].projected.sources[0].serviceAccountToken (only an API server issues tokens)"
            ]
        );
    }

    #[test]
    fn what_only_a_scheduler_reads_is_said_and_left() {
        check(
            &json!({"spec": {"containers": [], "nodeSelector": {"disk": "ssd"}, "schedulerName": "default-scheduler"}}),
            &[],
            &["spec.nodeSelector"],
        );
    }
}
