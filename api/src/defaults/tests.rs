//! What is filled in, and that doing it twice changes nothing.

use super::*;
use crate::manifest::{Strictness, parse};

fn pod_with(spec: &str) -> Pod {
    let text = format!("{{apiVersion: v1, kind: Pod, metadata: {{name: a}}, spec: {spec}}}");
    parse(&text, "m", Strictness::Strict)
        .unwrap()
        .pods
        .remove(0)
}

#[test]
fn pull_policies() {
    let cases = [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("host:5000/nginx", "Always"),
        ("host:5000/nginx:latest", "Always"),
        ("nginx:1.0", "IfNotPresent"),
        ("host:5000/nginx:1.0", "IfNotPresent"),
        ("nginx@sha256:00", "IfNotPresent"),
        ("nginx:1.0@sha256:00", "IfNotPresent"),
        ("nginx:latest@sha256:00", "Always"),
        ("nginx:latest-1", "IfNotPresent"),
    ];
    for (image, want) in cases {
        assert_eq!(pull_policy(image), want, "{image}");
    }
}

#[test]
fn an_image_volume_has_a_pull_policy_too() {
    for (source, want) in [
        ("{reference: nginx}", "Always"),
        ("{reference: 'nginx:1'}", "IfNotPresent"),
        ("{reference: nginx, pullPolicy: Never}", "Never"),
    ] {
        let pod = pod_with(&format!(
            "{{containers: [{{name: a, image: b}}], volumes: [{{name: v, image: {source}}}]}}"
        ));
        let image = pod.spec.unwrap().volumes.unwrap()[0].image.clone().unwrap();
        assert_eq!(image.pull_policy.as_deref(), Some(want), "{source}");
    }
}

#[test]
fn everything_that_kubernetes_fills_in() {
    let pod = pod_with(
        "{containers: [{name: a, image: 'a:1', ports: [{containerPort: 80}], resources: {limits: {cpu: 1, memory: 1Gi}, \
         requests: {cpu: 500m}}, livenessProbe: {httpGet: {port: 80}, timeoutSeconds: 0}, lifecycle: {preStop: {httpGet: \
         {port: 80}}}, env: [{name: A, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]}], volumes: [{name: a}, {name: \
         b, configMap: {name: c}}, {name: c, secret: {secretName: c}}, {name: d, hostPath: {path: /}}, {name: e, \
         downwardAPI: {items: [{path: a, fieldRef: {fieldPath: metadata.name}}]}}, {name: f, projected: {sources: \
         [{serviceAccountToken: {path: t}}]}}]}",
    );
    let want = serde_json::json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "a", "namespace": "default"},
        "spec": {
            "restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler",
            "terminationGracePeriodSeconds": 30, "enableServiceLinks": true, "securityContext": {},
            "containers": [{
                "name": "a", "image": "a:1", "imagePullPolicy": "IfNotPresent",
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                "ports": [{"containerPort": 80, "protocol": "TCP"}],
                "resources": {
                    "limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m", "memory": "1Gi"},
                },
                "livenessProbe": {
                    "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
                    "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3,
                },
                "lifecycle": {"preStop": {"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}}},
                "env": [{"name": "A", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}}],
            }],
            "volumes": [
                {"name": "a", "emptyDir": {}},
                {"name": "b", "configMap": {"name": "c", "defaultMode": 0o644}},
                {"name": "c", "secret": {"secretName": "c", "defaultMode": 0o644}},
                {"name": "d", "hostPath": {"path": "/", "type": ""}},
                {"name": "e", "downwardAPI": {"defaultMode": 0o644, "items": [
                    {"path": "a", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}},
                ]}},
                {"name": "f", "projected": {"defaultMode": 0o644, "sources": [
                    {"serviceAccountToken": {"path": "t", "expirationSeconds": 3600}},
                ]}},
            ],
        },
    });
    assert_eq!(serde_json::to_value(&pod).unwrap(), want);
    let mut again = pod.clone();
    super::pod(&mut again);
    assert_eq!(again, pod);
}

#[test]
fn host_network_publishes_its_ports() {
    let pod = pod_with(
        "{hostNetwork: true, containers: [{name: a, image: a, ports: [{containerPort: 80}]}]}",
    );
    let ports = pod.spec.unwrap().containers.remove(0).ports.unwrap();
    assert_eq!(ports[0].host_port, Some(80));
}

#[test]
fn text_of_secrets_wins_over_their_data() {
    let mut one: Secret = serde_json::from_value(serde_json::json!({
        "metadata": {"name": "a"}, "data": {"a": "eA==", "b": "eA=="}, "stringData": {"a": "y"},
    }))
    .unwrap();
    secret(&mut one);
    let data = one.data.unwrap();
    assert_eq!(
        (data["a"].0.as_slice(), data["b"].0.as_slice()),
        (&b"y"[..], &b"x"[..])
    );
}
