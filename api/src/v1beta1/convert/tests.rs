//! 2014 in, `v1` out, as JSON: what is left out of an expectation is not set.

use serde_json::{Value, json};

use super::*;
use crate::decode::decode;
use crate::yaml;

/// The spec of a manifest, before defaults, with what was noted.
fn converted(text: &str) -> Converted {
    let nodes = yaml::documents(text).unwrap();
    let decoded = decode::<ContainerManifest>(&nodes[0], "");
    assert_eq!(decoded.misfits, []);
    manifest(decoded.value.unwrap())
}

/// A manifest with these fields becomes a spec with these fields.
#[track_caller]
fn check(fields: &str, want: &Value) {
    let converted = converted(&format!("{{version: v1beta1, id: a, {fields}}}"));
    assert_eq!(converted.errors, []);
    let mut spec = serde_json::to_value(converted.pod.spec.unwrap()).unwrap();
    if want.get("containers").is_none() {
        spec.as_object_mut().unwrap().remove("containers");
    }
    assert_eq!(&spec, want, "{fields}");
}

/// A container with these fields becomes one with these.
#[track_caller]
fn check_container(fields: &str, mut want: Value) {
    let container = want.as_object_mut().unwrap();
    container.insert("name".to_owned(), json!("a"));
    container
        .entry("imagePullPolicy")
        .or_insert(json!("IfNotPresent"));
    check(
        &format!("containers: [{{name: a, {fields}}}]"),
        &json!({"containers": [want]}),
    );
}

#[test]
fn restart_policies() {
    check("restartPolicy: {}", &json!({"restartPolicy": "Always"}));
    check(
        "restartPolicy: {always: {}}",
        &json!({"restartPolicy": "Always"}),
    );
    check(
        "restartPolicy: {onFailure: {}}",
        &json!({"restartPolicy": "OnFailure"}),
    );
    check(
        "restartPolicy: {never: {}}",
        &json!({"restartPolicy": "Never"}),
    );
    check("restartPolicy: null", &json!({}));
    let two = converted("{version: v1beta1, restartPolicy: {always: {}, never: {}}}");
    assert_eq!(two.errors[0].path, "restartPolicy");
}

#[test]
fn volumes() {
    check("volumes: null", &json!({}));
    check(
        "volumes: [{name: v}]",
        &json!({"volumes": [{"name": "v", "emptyDir": {}}]}),
    );
    check(
        "volumes: [{name: v, source: null}]",
        &json!({"volumes": [{"name": "v", "emptyDir": {}}]}),
    );
    check(
        "volumes: [{name: v, source: {emptyDir: {}, hostDir: null, persistentDisk: null, gitRepo: null}}]",
        &json!({"volumes": [{"name": "v", "emptyDir": {}}]}),
    );
    check(
        "volumes: [{name: v, source: {hostDir: {path: /data}}}]",
        &json!({"volumes": [{"name": "v", "hostPath": {"path": "/data"}}]}),
    );
    check(
        "volumes: [{name: v, source: {persistentDisk: {pdName: d, fsType: ext4, partition: 1, readOnly: true}}}]",
        &json!({"volumes": [{"name": "v", "gcePersistentDisk":
            {"pdName": "d", "fsType": "ext4", "partition": 1, "readOnly": true}}]}),
    );
    check(
        "volumes: [{name: v, source: {gitRepo: {repository: r, revision: h}}}]",
        &json!({"volumes": [{"name": "v", "gitRepo": {"repository": "r", "revision": "h"}}]}),
    );
}

#[test]
fn containers() {
    check_container(
        "image: i, command: [a, b], workingDir: /w",
        json!({
            "image": "i", "args": ["a", "b"], "workingDir": "/w",
        }),
    );
    check_container(
        "cpu: 250, memory: 64",
        json!({
            "resources": {"requests": {"cpu": "250m"}, "limits": {"memory": "64"}},
        }),
    );
    check_container("cpu: 0, memory: 0, resources: {}", json!({}));
    check_container(
        "privileged: true",
        json!({"securityContext": {"privileged": true}}),
    );
    check_container(
        "ports: [{containerPort: 80, hostPort: 8080, protocol: tcp, name: web, hostIP: 10.0.0.1}]",
        json!({
            "ports": [{"containerPort": 80, "hostPort": 8080, "protocol": "TCP", "name": "web", "hostIP": "10.0.0.1"}],
        }),
    );
    check_container(
        "ports: [{containerPort: 80, hostPort: 0, protocol: ''}]",
        json!({"ports": [{"containerPort": 80}]}),
    );
    check_container(
        "env: [{name: A, value: b}, {key: C, value: d}, {name: E, key: E, value: f}]",
        json!({
            "env": [{"name": "A", "value": "b"}, {"name": "C", "value": "d"}, {"name": "E", "value": "f"}],
        }),
    );
    check_container(
        "volumeMounts: [{name: v, mountPath: /m, readOnly: true}, {name: v, path: /p, mountType: LOCAL}]",
        json!({"volumeMounts": [
            {"name": "v", "mountPath": "/m", "readOnly": true}, {"name": "v", "mountPath": "/p"},
        ]}),
    );
    check_container(
        "terminationMessagePath: /t",
        json!({"terminationMessagePath": "/t"}),
    );
}

#[test]
fn pull_policies() {
    let cases = [
        ("image: i", "IfNotPresent"),
        ("image: 'i:1'", "IfNotPresent"),
        ("image: 'i:latest'", "Always"),
        ("image: 'i:latest', imagePullPolicy: ''", "Always"),
        ("image: i, imagePullPolicy: PullAlways", "Always"),
        (
            "image: 'i:latest', imagePullPolicy: pullifnotpresent",
            "IfNotPresent",
        ),
        ("image: i, imagePullPolicy: PULLNEVER", "Never"),
    ];
    for (fields, want) in cases {
        let text = format!("{{version: v1beta1, containers: [{{name: a, {fields}}}]}}");
        let spec = converted(&text).pod.spec.unwrap();
        assert_eq!(
            spec.containers[0].image_pull_policy.as_deref(),
            Some(want),
            "{fields}"
        );
    }
    let wrong =
        converted("{version: v1beta1, containers: [{name: a, image: i, imagePullPolicy: Always}]}");
    assert_eq!(
        wrong.errors,
        [FieldError::new(
            "containers[0].imagePullPolicy",
            "unsupported value \"Always\": must be PullAlways, PullIfNotPresent or PullNever"
        )]
    );
}

#[test]
fn probes_and_hooks() {
    check_container(
        "livenessProbe: {httpGet: {path: /a, port: 80, host: h}, initialDelaySeconds: 30}",
        json!({
            "livenessProbe": {"httpGet": {"path": "/a", "port": 80, "host": "h"}, "initialDelaySeconds": 30},
        }),
    );
    check_container(
        "livenessProbe: {tcpSocket: {port: web}}",
        json!({"livenessProbe": {"tcpSocket": {"port": "web"}}}),
    );
    check_container(
        "livenessProbe: {exec: {command: [a]}}",
        json!({"livenessProbe": {"exec": {"command": ["a"]}}}),
    );
    check_container("livenessProbe: {enabled: false, type: http}", json!({}));
    check_container(
        "lifecycle: {postStart: {exec: {command: [a]}}, preStop: {httpGet: {path: /, port: 80}}}",
        json!({
            "lifecycle": {
                "postStart": {"exec": {"command": ["a"]}}, "preStop": {"httpGet": {"path": "/", "port": 80}},
            },
        }),
    );
    check_container(
        "lifecycle: {preStop: {exec: {command: [a]}, httpGet: {port: 80}}}",
        json!({
            "lifecycle": {"preStop": {"exec": {"command": ["a"]}}},
        }),
    );
}

#[test]
fn versions() {
    let problem = |text: &str| {
        converted(text)
            .errors
            .first()
            .map(|error| error.problem.clone())
    };
    assert_eq!(problem("{version: v1beta2}"), None);
    assert_eq!(problem("{version: V1BETA1}"), None);
    assert_eq!(
        problem("{id: a}").as_deref(),
        Some("required value: v1beta1 or v1beta2")
    );
    assert_eq!(
        problem("{version: v1beta3}").as_deref(),
        Some("unsupported value \"v1beta3\": must be v1beta1 or v1beta2")
    );
}

#[test]
fn what_a_server_of_2014_printed() {
    let text = r#"{"kind":"Pod","id":"web","uid":"u","creationTimestamp":null,"selfLink":"/x","resourceVersion":7,
        "apiVersion":"v1beta1","namespace":"default","labels":{"name":"web"},"nodeSelector":{"disk":"ssd"},
        "desiredState":{"manifest":{"version":"v1beta2","id":"","uuid":"w","volumes":null,"containers":[{"name":"a",
        "image":"i","ports":[{"containerPort":80,"protocol":"TCP"}],"resources":{},"imagePullPolicy":""}],
        "restartPolicy":{"always":{}}},"status":"Running"},
        "currentState":{"manifest":{"version":"","id":"","volumes":null,"containers":null,"restartPolicy":{}},
        "status":"Waiting","host":"10.0.0.2","info":{"net":{"state":{}}}}}"#;
    let nodes = yaml::documents(text).unwrap();
    let decoded = decode::<Pod>(&nodes[0], "");
    assert_eq!(decoded.misfits, []);
    let converted = pod(decoded.value.unwrap());
    assert_eq!((converted.errors, converted.warnings), (vec![], vec![]));
    let want = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web", "uid": "u", "namespace": "default", "labels": {"name": "web"}},
        "spec": {
            "containers": [{
                "name": "a", "image": "i", "imagePullPolicy": "IfNotPresent",
                "ports": [{"containerPort": 80, "protocol": "TCP"}],
            }],
            "restartPolicy": "Always", "nodeSelector": {"disk": "ssd"},
        },
    });
    assert_eq!(serde_json::to_value(converted.pod).unwrap(), want);
}

#[test]
fn paths_go_back_to_the_text() {
    let cases = [
        ("metadata.name", "id", "id"),
        ("metadata.labels[a]", "labels[a]", "labels[a]"),
        (
            "spec.containers[0].image",
            "desiredState.manifest.containers[0].image",
            "containers[0].image",
        ),
        (
            "spec.containers[0].args[1]",
            "desiredState.manifest.containers[0].command[1]",
            "containers[0].command[1]",
        ),
        (
            "spec.volumes[1].hostPath.path",
            "desiredState.manifest.volumes[1].source.hostDir.path",
            "volumes[1].source.hostDir.path",
        ),
        (
            "spec.containers[0].resources.limits.memory",
            "desiredState.manifest.containers[0].memory",
            "containers[0].memory",
        ),
    ];
    for (v1, in_pod, alone) in cases {
        assert_eq!(
            (
                field_path(v1, true).as_str(),
                field_path(v1, false).as_str()
            ),
            (in_pod, alone)
        );
    }
}
