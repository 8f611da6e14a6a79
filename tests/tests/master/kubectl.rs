//! kubectl, of today and of 2020.
use rkube_tests::{Master, client};
use serde_json::json;

const POD: &str = r#"
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}}
spec:
  containers:
  - name: httpd
    image: demo/httpd
    ports: [{containerPort: 80}]
"#;

/// A master and kubectl, or nothing and why.
fn master() -> Option<Master> {
    client("kubectl")?;
    Master::start()
}

#[test]
fn the_first_look_of_a_new_user() {
    let Some(master) = master() else { return };
    master
        .kubectl(&["version"])
        .ok()
        .says("Server Version: v1.");
    master
        .kubectl(&["get", "namespaces"])
        .ok()
        .says("NAME")
        .says("default")
        .says("kube-node-lease")
        .says("kube-public")
        .says("kube-system");
    let services = master.kubectl(&["get", "services"]).ok();
    assert!(
        services.stdout.contains("kubernetes   ClusterIP   10."),
        "{}",
        services.stdout
    );
    assert!(services.stdout.contains("443/TCP"), "{}", services.stdout);
    master
        .kubectl(&["get", "nodes"])
        .ok()
        .complains("No resources found");
    master.kubectl(&["cluster-info"]).ok().says("is running at");
    let resources = master.kubectl(&["api-resources"]).ok();
    for kind in [
        "pods",
        "services",
        "replicationcontrollers",
        "configmaps",
        "secrets",
        "events",
        "nodes",
        "namespaces",
        "endpoints",
        "endpointslices",
        "leases",
        "serviceaccounts",
    ] {
        assert!(
            resources.stdout.contains(&format!("\n{kind} ")) || resources.stdout.starts_with(kind),
            "{kind}: {}",
            resources.stdout
        );
    }
    master
        .kubectl(&["auth", "whoami"])
        .ok()
        .says("system:masters");
    master
        .kubectl(&["auth", "can-i", "create", "pods"])
        .ok()
        .says("yes");
    master
        .kubectl(&["get", "--raw", "/readyz?verbose"])
        .ok()
        .says("readyz check passed");
}

#[test]
fn a_pod_from_a_file_and_back() {
    let Some(master) = master() else { return };
    master
        .kubectl_reading(&["create", "-f", "-"], POD)
        .ok()
        .says("pod/web created");
    master
        .kubectl_reading(&["create", "-f", "-"], POD)
        .code(1)
        .complains("Error from server (AlreadyExists)")
        .complains("pods \"web\" already exists");
    let table = master.kubectl(&["get", "pods", "-o", "wide"]).ok();
    let mut lines = table.stdout.lines();
    let head: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(
        head,
        [
            "NAME",
            "READY",
            "STATUS",
            "RESTARTS",
            "AGE",
            "IP",
            "NODE",
            "NOMINATED",
            "NODE",
            "READINESS",
            "GATES"
        ]
    );
    let row: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
    assert_eq!(&row[..4], ["web", "0/1", "Pending", "0"]);
    let pod = master.object(&["pod", "web"]);
    for (field, value) in [
        ("/spec/restartPolicy", json!("Always")),
        ("/spec/dnsPolicy", json!("ClusterFirst")),
        ("/spec/terminationGracePeriodSeconds", json!(30)),
        ("/spec/schedulerName", json!("default-scheduler")),
        ("/spec/enableServiceLinks", json!(true)),
        ("/spec/serviceAccountName", json!("default")),
        ("/spec/containers/0/imagePullPolicy", json!("Always")),
        ("/spec/containers/0/ports/0/protocol", json!("TCP")),
        ("/status/phase", json!("Pending")),
        ("/status/qosClass", json!("BestEffort")),
        ("/metadata/namespace", json!("default")),
        ("/metadata/generation", json!(1)),
    ] {
        assert_eq!(pod.pointer(field), Some(&value), "{field}");
    }
}

#[test]
fn a_pod_is_changed_and_deleted() {
    let Some(master) = master() else { return };
    master.kubectl_reading(&["create", "-f", "-"], POD).ok();
    master
        .kubectl(&["describe", "pod", "web"])
        .ok()
        .says("Name:")
        .says("demo/httpd");
    master
        .kubectl(&["label", "pod", "web", "tier=front"])
        .ok()
        .says("labeled");
    master
        .kubectl(&["get", "pods", "-l", "tier=front", "-o", "name"])
        .ok()
        .says("pod/web");
    let others = ["get", "pods", "-l", "tier notin (front)", "-o", "name"];
    assert_eq!(master.kubectl(&others).ok().stdout, "");
    master
        .kubectl(&["annotate", "pod", "web", "note=hello"])
        .ok();
    master
        .kubectl(&["set", "image", "pod/web", "httpd=demo/httpd:2"])
        .ok()
        .says("image updated");
    assert_eq!(
        master.object(&["pod", "web"])["spec"]["containers"][0]["image"],
        "demo/httpd:2"
    );
    master
        .kubectl(&[
            "patch",
            "pod",
            "web",
            "-p",
            r#"{"spec":{"restartPolicy":"Never"}}"#,
        ])
        .code(1)
        .complains("is invalid: spec: Forbidden");
    // Nobody has taken it to a node: it goes at once.
    master
        .kubectl(&["delete", "pod", "web"])
        .ok()
        .says("pod \"web\" deleted");
    master
        .kubectl(&["get", "pod", "web"])
        .code(1)
        .complains("Error from server (NotFound): pods \"web\" not found");
}

#[test]
fn mistakes_are_named() {
    let Some(master) = master() else { return };
    let typo = POD.replace("image:", "imagee:");
    master
        .kubectl_reading(&["create", "-f", "-"], &typo)
        .code(1)
        .complains("strict decoding error: unknown field \"spec.containers[0].imagee\"");
    let warned = master.kubectl_reading(
        &["create", "--validate=warn", "-f", "-"],
        &POD.replace("spec:", "spec:\n  hostNetwrk: true"),
    );
    warned.ok().complains("unknown field \"spec.hostNetwrk\"");
    master
        .kubectl_reading(
            &["create", "-f", "-"],
            &POD.replace("name: web,", "name: Web_1,"),
        )
        .code(1)
        .complains("metadata.name: Invalid value: \"Web_1\": a lowercase RFC 1123 subdomain");
    master
        .kubectl_reading(
            &["create", "--validate=false", "-f", "-"],
            &POD.replace("image: demo/httpd", "imagePullPolicy: Never"),
        )
        .code(1)
        .complains("spec.containers[0].image: Required value");
    master
        .kubectl_reading(&["create", "-f", "-", "-n", "nowhere"], POD)
        .code(1)
        .complains("namespaces \"nowhere\" not found");
    master
        .kubectl(&["get", "pods", "--field-selector", "spec.foo=1"])
        .code(1)
        .complains("field label not supported: spec.foo");
    master.kubectl(&["get", "pods", "-l", "a=b=c"]).code(1);
    master
        .kubectl(&["get", "gizmos"])
        .code(1)
        .complains("the server doesn't have a resource type \"gizmos\"");
}

#[test]
fn create_makes_what_its_generators_send() {
    let Some(master) = master() else { return };
    // These bodies are protobuf.
    master.kubectl(&["create", "namespace", "shop"]).ok();
    master
        .kubectl(&[
            "-n",
            "shop",
            "create",
            "configmap",
            "c",
            "--from-literal=a=1",
            "--from-literal=b=2",
        ])
        .ok()
        .says("configmap/c created");
    master
        .kubectl(&[
            "-n",
            "shop",
            "create",
            "secret",
            "generic",
            "s",
            "--from-literal=password=hidden",
        ])
        .ok();
    master
        .kubectl(&["-n", "shop", "create", "serviceaccount", "robot"])
        .ok();
    master
        .kubectl(&[
            "-n",
            "shop",
            "create",
            "service",
            "clusterip",
            "db",
            "--tcp=5432:5432",
        ])
        .ok();
    master
        .kubectl(&[
            "-n",
            "shop",
            "create",
            "service",
            "nodeport",
            "web",
            "--tcp=80:8080",
        ])
        .ok();
    let config = master.object(&["-n", "shop", "configmap", "c"]);
    assert_eq!(config["data"], json!({"a": "1", "b": "2"}));
    let secret = master.object(&["-n", "shop", "secret", "s"]);
    assert_eq!(secret["data"]["password"], "aGlkZGVu");
    assert_eq!(secret["type"], "Opaque");
    let service = master.object(&["-n", "shop", "service", "web"]);
    let port = service["spec"]["ports"][0]["nodePort"].as_u64().unwrap();
    assert!((30000..32768).contains(&port), "{port}");
    assert_eq!(service["spec"]["ports"][0]["targetPort"], 8080);
    let ip = service["spec"]["clusterIP"].as_str().unwrap();
    assert_eq!(service["spec"]["clusterIPs"], json!([ip]));
    let token = master
        .kubectl(&["-n", "shop", "create", "token", "robot"])
        .ok();
    assert_eq!(token.stdout.trim().split('.').count(), 3);
    master
        .kubectl(&["-n", "shop", "get", "all"])
        .ok()
        .says("service/db")
        .says("service/web");
    // All of it goes with the namespace.
    master
        .kubectl(&["delete", "namespace", "shop"])
        .ok()
        .says("deleted");
    master
        .kubectl(&["-n", "shop", "get", "configmap", "c"])
        .code(1)
        .complains("NotFound");
}

#[test]
fn a_replication_controller_is_scaled() {
    let Some(master) = master() else { return };
    let text = r#"
apiVersion: v1
kind: ReplicationController
metadata: {name: web}
spec:
  replicas: 2
  selector: {app: web}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: c, image: demo/httpd}]}
"#;
    master.kubectl_reading(&["create", "-f", "-"], text).ok();
    let table = master.kubectl(&["get", "rc"]).ok();
    assert!(
        table
            .stdout
            .starts_with("NAME   DESIRED   CURRENT   READY   AGE\nweb    2         0         0"),
        "{}",
        table.stdout
    );
    master
        .kubectl(&["scale", "rc", "web", "--replicas=5"])
        .ok()
        .says("scaled");
    master
        .kubectl(&["scale", "rc", "web", "--current-replicas=5", "--replicas=3"])
        .ok();
    let rc = master.object(&["rc", "web"]);
    assert_eq!(rc["spec"]["replicas"], 3);
    assert_eq!(rc["metadata"]["generation"], 3);
    master
        .kubectl(&["expose", "rc", "web", "--port=80", "--target-port=8080"])
        .ok();
    assert_eq!(
        master.object(&["service", "web"])["spec"]["selector"],
        json!({"app": "web"})
    );
    master.kubectl(&["delete", "rc", "web"]).ok();
}

#[test]
fn explain_and_dry_run() {
    let Some(master) = master() else { return };
    master
        .kubectl(&["explain", "pod.spec.containers"])
        .ok()
        .says("image")
        .says("<string>");
    master
        .kubectl(&["explain", "service.spec.ports.targetPort"])
        .ok();
    master
        .kubectl_reading(&["create", "--dry-run=server", "-f", "-"], POD)
        .ok()
        .says("pod/web created (server dry run)");
    master.kubectl(&["get", "pod", "web"]).code(1);
}

#[test]
fn a_node_is_cordoned_tainted_and_drained() {
    let Some(master) = master() else { return };
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"},
        "status": {"conditions": [{"type": "Ready", "status": "True", "reason": "Up", "message": "",
            "lastHeartbeatTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2026-01-01T00:00:00Z"}],
        "nodeInfo": {"kubeletVersion": "v1.37.0", "architecture": "amd64", "bootID": "", "containerRuntimeVersion": "",
            "kernelVersion": "6", "kubeProxyVersion": "", "machineID": "", "operatingSystem": "linux", "osImage": "x",
            "systemUUID": ""}}});
    master
        .kubectl_reading(&["create", "-f", "-"], &node.to_string())
        .ok();
    let table = master.kubectl(&["get", "nodes"]).ok();
    let row: Vec<&str> = table
        .stdout
        .lines()
        .nth(1)
        .unwrap()
        .split_whitespace()
        .collect();
    assert_eq!(&row[..3], ["n1", "Ready", "<none>"]);
    assert_eq!(row[4], "v1.37.0");
    master.kubectl(&["cordon", "n1"]).ok().says("cordoned");
    master
        .kubectl(&["get", "nodes"])
        .ok()
        .says("Ready,SchedulingDisabled");
    master
        .kubectl(&["taint", "node", "n1", "key=value:NoSchedule"])
        .ok();
    let bound = POD.replace(
        "spec:",
        "spec:\n  nodeName: n1\n  terminationGracePeriodSeconds: 0",
    );
    master.kubectl_reading(&["create", "-f", "-"], &bound).ok();
    master
        .kubectl(&["drain", "n1", "--force", "--timeout=30s"])
        .ok()
        .says("evicting pod default/web");
    master.kubectl(&["get", "pod", "web"]).code(1);
    master.kubectl(&["uncordon", "n1"]).ok();
    assert_eq!(
        master.object(&["node", "n1"])["spec"]["unschedulable"],
        json!(null)
    );
    master
        .kubectl(&["describe", "node", "n1"])
        .ok()
        .says("key=value:NoSchedule");
    master.kubectl(&["delete", "node", "n1"]).ok();
}

#[test]
fn watching_and_waiting() {
    let Some(master) = master() else { return };
    let mut watch = master
        .client("kubectl", &["get", "pods", "--watch"])
        .unwrap()
        .start();
    let mut wait = master
        .client(
            "kubectl",
            &["wait", "--for=create", "pod/web", "--timeout=60s"],
        )
        .unwrap()
        .start();
    master.kubectl_reading(&["create", "-f", "-"], POD).ok();
    watch.await_stdout("web    0/1     Pending");
    wait.await_stdout("pod/web condition met");
    let gone = master
        .client(
            "kubectl",
            &["wait", "--for=delete", "pod/web", "--timeout=60s"],
        )
        .unwrap()
        .start();
    master
        .kubectl(&["delete", "pod", "web", "--wait=false"])
        .ok();
    // It may have found nothing to wait for.
    wait.wait().ok();
    gone.wait().ok();
    drop(watch);
}

#[test]
fn kubectl_of_2020() {
    let Some(master) = Master::start() else {
        return;
    };
    if client("kubectl-1.20").is_none() {
        return;
    }
    let old = |arguments: &[&str]| master.client("kubectl-1.20", arguments).unwrap();
    old(&["version"]).run().ok();
    old(&["create", "-f", "-"])
        .stdin(POD)
        .run()
        .ok()
        .says("pod/web created");
    old(&["get", "pods", "-o", "wide"])
        .run()
        .ok()
        .says("web    0/1     Pending");
    old(&["apply", "-f", "-"])
        .stdin(POD.replace("app: web", "app: other"))
        .run()
        .ok()
        .says("configured");
    old(&["get", "all", "-A"])
        .run()
        .ok()
        .says("service/kubernetes");
    old(&["describe", "pod", "web"])
        .run()
        .ok()
        .says("app=other");
    old(&["delete", "pod", "web"]).run().ok().says("deleted");
}
