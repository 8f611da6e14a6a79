//! The spec of a pod, also as it stands in the templates of other kinds.
use super::super::cells::at;
use super::super::checks;
use k8s_openapi::api::core::v1::PodSpec;
use rkube_api::names::Form;
use rkube_api::validate::FieldError;
use serde_json::Value;

/// Gives the spec at this place its defaults.
pub(in super::super) fn default_spec(object: &mut Value, pointer: &str) {
    let Some(spec) = object.pointer_mut(pointer) else {
        return;
    };
    // The old name of a field that both old and new clients read.
    let (new, old) = (
        at(spec, "/serviceAccountName").to_owned(),
        at(spec, "/serviceAccount").to_owned(),
    );
    checks::set(spec, "serviceAccountName", old);
    if !new.is_empty() {
        spec["serviceAccount"] = new.into();
    }
    if at(spec, "/serviceAccountName").is_empty()
        && let Some(map) = spec.as_object_mut()
    {
        map.remove("serviceAccountName");
    }
    checks::through(object, pointer, rkube_api::defaults::pod_spec);
}

/// What is wrong with a spec that has its defaults.
pub(in super::super) fn check_spec(spec: Option<&Value>, path: &str) -> Vec<FieldError> {
    let Some(spec) = spec.filter(|spec| spec.is_object()) else {
        return vec![FieldError::required(path, "")];
    };
    match checks::typed::<PodSpec>(spec, path) {
        Ok(spec) => rkube_api::validate::pod_spec(&spec, path),
        Err(wrong) => vec![wrong],
    }
}

/// What is wrong with a template of pods: its labels, and its spec.
pub(in super::super) fn check(template: Option<&Value>, path: &str) -> Vec<FieldError> {
    let Some(template) = template.filter(|template| template.is_object()) else {
        return vec![FieldError::required(path, "")];
    };
    let mut errors = Vec::new();
    let labels = template
        .pointer("/metadata/labels")
        .and_then(Value::as_object);
    for (key, value) in labels.into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        let path = format!("{path}.metadata.labels");
        if let Some(why) = Form::LabelKey.kubernetes(key) {
            errors.push(FieldError::invalid(path.clone(), key, why));
        }
        if let Some(why) = Form::LabelValue.kubernetes(value) {
            errors.push(FieldError::invalid(path, value, why));
        }
    }
    errors.extend(check_spec(template.get("spec"), &format!("{path}.spec")));
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn mistakes_in_kubernetes_words() {
        let mut pod = json!({"spec": {"restartPolicy": "Sometimes", "terminationGracePeriodSeconds": -1, "containers": [
            {"name": "Bad_Name", "ports": [{"containerPort": 99999}], "volumeMounts": [{"name": "v", "mountPath": "/x"}]},
            {"name": "d", "image": "x"}, {"name": "d", "image": "x"}]}});
        default_spec(&mut pod, "/spec");
        let said = check_spec(pod.get("spec"), "spec.template.spec");
        let said: Vec<String> = said.iter().map(ToString::to_string).collect();
        let label = Form::Label.kubernetes("Bad_Name").unwrap();
        assert_eq!(
            said,
            [
                "spec.template.spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \
                 \"OnFailure\", \"Never\"",
                "spec.template.spec.terminationGracePeriodSeconds: Invalid value: -1: must be greater than or equal to 0",
                &format!(
                    "spec.template.spec.containers[0].name: Invalid value: \"Bad_Name\": {label}"
                ),
                "spec.template.spec.containers[0].image: Required value",
                "spec.template.spec.containers[0].ports[0].containerPort: Invalid value: 99999: must be between 1 and \
                 65535, inclusive",
                "spec.template.spec.containers[0].volumeMounts[0].name: Not found: \"v\"",
                "spec.template.spec.containers[2].name: Duplicate value: \"d\"",
            ]
        );
        assert_eq!(
            check_spec(None, "spec")[0].to_string(),
            "spec: Required value"
        );
    }

    /// The mistakes of a pod with these fields in its spec, and these in its container.
    fn said(spec: &Value, container: &Value) -> Vec<String> {
        let mut one = json!({"name": "c", "image": "i"});
        let mut pod = json!({"spec": {}});
        for (key, value) in container.as_object().unwrap() {
            one[key] = value.clone();
        }
        pod["spec"]["containers"] = json!([one]);
        for (key, value) in spec.as_object().unwrap() {
            pod["spec"][key] = value.clone();
        }
        default_spec(&mut pod, "/spec");
        let errors = check_spec(pod.get("spec"), "spec");
        errors.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn containers_in_kubernetes_words() {
        let cases = [
            (
                json!({"image": " i"}),
                "image: Invalid value: \" i\": must not have leading or trailing whitespace",
            ),
            (
                json!({"ports": [{"containerPort": 1, "protocol": "X"}]}),
                "ports[0].protocol: Unsupported value: \"X\": supported values: \"SCTP\", \"TCP\", \"UDP\"",
            ),
            (
                json!({"livenessProbe": {}}),
                "livenessProbe: Required value: must specify a handler type",
            ),
            (
                json!({"livenessProbe": {"exec": {"command": ["a"]}, "tcpSocket": {"port": 80}}}),
                "livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type",
            ),
            (
                json!({"livenessProbe": {"tcpSocket": {"port": 80}, "successThreshold": 2}}),
                "livenessProbe.successThreshold: Invalid value: 2: must be 1",
            ),
            (
                json!({"readinessProbe": {"tcpSocket": {"port": 80}, "periodSeconds": -1}}),
                "readinessProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0",
            ),
            (
                json!({"livenessProbe": {"tcpSocket": {"port": 0}}}),
                "livenessProbe.tcpSocket.port: Invalid value: 0: must be between 1 and 65535, inclusive",
            ),
            (
                json!({"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}),
                "resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
            ),
            (
                json!({"resources": {"requests": {"cpu": "-1"}}}),
                "resources.requests[cpu]: Invalid value: \"-1\": must be greater than or equal to 0",
            ),
            (
                json!({"env": [{"name": "a", "value": "b", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]}),
                "env[0].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty",
            ),
            (
                json!({"env": [{"name": "a", "valueFrom": {"fieldRef": {"fieldPath": "spec.x"}}}]}),
                "env[0].valueFrom.fieldRef.fieldPath: Invalid value: \"spec.x\": error converting fieldPath: field label \
              not supported: spec.x",
            ),
            (
                json!({"env": [{"name": "a", "valueFrom": {"fieldRef": {"fieldPath": "status.phase"}}}]}),
                "env[0].valueFrom.fieldRef.fieldPath: Unsupported value: \"status.phase\": supported values: \
              \"metadata.name\", \"metadata.namespace\", \"metadata.uid\", \"spec.nodeName\", \
              \"spec.serviceAccountName\", \"status.hostIP\", \"status.hostIPs\", \"status.podIP\", \"status.podIPs\"",
            ),
            (
                json!({"securityContext": {"privileged": true, "allowPrivilegeEscalation": false}}),
                "securityContext: Invalid value: {\"allowPrivilegeEscalation\":false,\"privileged\":true}: cannot set \
              `allowPrivilegeEscalation` to false and `privileged` to true",
            ),
            (
                json!({"securityContext": {"seccompProfile": {"type": "Localhost"}}}),
                "securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost",
            ),
        ];
        for (container, expected) in cases {
            let expected = format!("spec.containers[0].{expected}");
            assert_eq!(said(&json!({}), &container), [expected], "{container}");
        }
    }

    #[test]
    fn places_in_kubernetes_words() {
        let required = "requiredDuringSchedulingIgnoredDuringExecution";
        let cases = [
            (
                json!({"dnsPolicy": "None"}),
                "dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None",
            ),
            (
                json!({"volumes": [{"name": "v", "emptyDir": {}, "hostPath": {"path": "/a"}}]}),
                "volumes[0].hostPath: Forbidden: may not specify more than 1 volume type",
            ),
            (
                json!({"volumes": [{"name": "v", "configMap": {"name": "m", "defaultMode": 9999}}]}),
                "volumes[0].configMap.defaultMode: Invalid value: 9999: must be a number between 0 and 0777 (octal), both \
              inclusive",
            ),
            (
                json!({"shareProcessNamespace": true, "hostPID": true}),
                "shareProcessNamespace: Invalid value: true: ShareProcessNamespace and HostPID cannot both be enabled",
            ),
            (
                json!({"ephemeralContainers": [{"name": "e", "image": "i"}]}),
                "ephemeralContainers: Forbidden: cannot be set on create",
            ),
            (
                json!({"preemptionPolicy": "X"}),
                "preemptionPolicy: Unsupported value: \"X\": supported values: \"Never\", \"PreemptLowerPriority\"",
            ),
            (
                json!({"tolerations": [{"key": "a", "operator": "X"}]}),
                "tolerations[0].operator: Unsupported value: \"X\": supported values: \"Equal\", \"Exists\"",
            ),
            (
                json!({"tolerations": [{"key": "a", "operator": "Exists", "value": "b"}]}),
                "tolerations[0].operator: Invalid value: {\"key\":\"a\",\"operator\":\"Exists\",\"value\":\"b\"}: value \
              must be empty when `operator` is 'Exists'",
            ),
            (
                json!({"tolerations": [{"value": "b"}]}),
                "tolerations[0].operator: Invalid value: \"\": operator must be Exists when `key` is empty, which means \
              \"match all values and all keys\"",
            ),
            (
                json!({"tolerations": [{"operator": "Exists", "tolerationSeconds": 1}]}),
                "tolerations[0].effect: Invalid value: \"\": effect must be 'NoExecute' when `tolerationSeconds` is set",
            ),
            (
                json!({"affinity": {"nodeAffinity": {required: {"nodeSelectorTerms": []}}}}),
                "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms: Required value: must \
              have at least one node selector term",
            ),
            (
                json!({"affinity": {"podAntiAffinity": {required: [{"topologyKey": ""}]}}}),
                "affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey: Required value: can \
              not be empty",
            ),
            (
                json!({"topologySpreadConstraints": [{"maxSkew": 0, "topologyKey": "a", "whenUnsatisfiable": "DoNotSchedule"}]}),
                "topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero",
            ),
            (
                json!({"schedulingGates": [{"name": "a"}], "nodeName": "n"}),
                "nodeName: Forbidden: cannot be set until all schedulingGates have been cleared",
            ),
        ];
        for (spec, expected) in cases {
            assert_eq!(
                said(&spec, &json!({})),
                [format!("spec.{expected}")],
                "{spec}"
            );
        }
        let all = json!({"tolerations": [{"operator": "Exists"}, {"key": "a", "effect": "NoExecute", "tolerationSeconds": 5}],
            "schedulingGates": [{"name": "example.com/x"}], "readinessGates": [{"conditionType": "example.com/y"}],
            "affinity": {"nodeAffinity": {required: {"nodeSelectorTerms": [{"matchExpressions": [
                {"key": "a", "operator": "In", "values": ["b"]}, {"key": "c", "operator": "Exists"}]}]}}}});
        assert_eq!(said(&all, &json!({})), Vec::<String>::new());
    }
}
