//! Every form of manifest becomes a running pod.
use crate::support::{once, pod, sh};
use rkube_tests::Host;
use serde_json::json;
use std::io::{Read, Write};

const V1: &str = "
apiVersion: v1
kind: Pod
metadata: {name: p}
spec:
  restartPolicy: Never
  containers:
  - name: c
    image: localhost/busybox:v1
    args: [echo, hello]
";

#[test]
fn yaml_and_json_from_a_file_and_standard_input() {
    let Some(host) = Host::new() else { return };
    assert_eq!(host.run(V1).ok().log("c"), "hello\n");
    assert_eq!(host.run(&once("echo json")).ok().log("c"), "json\n");
    let file = host.file("pod.yaml", V1);
    assert_eq!(
        host.rkubelet(&["run", &file]).run().ok().log("c"),
        "hello\n"
    );
}

#[test]
fn a_url() {
    let Some(host) = Host::new() else { return };
    host.image();
    let listener = host
        .netns()
        .inside(|| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let address = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        for answer in [
            format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{V1}",
                V1.len()
            ),
            "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned(),
        ] {
            let (mut stream, _) = listener.accept().unwrap();
            assert!(stream.read(&mut [0; 4096]).unwrap() > 0);
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    let url = format!("http://{address}/pod.yaml");
    assert_eq!(host.rkubelet(&["run", &url]).run().ok().log("c"), "hello\n");
    host.rkubelet(&["run", &url])
        .run()
        .code(2)
        .complains(&url)
        .complains("404");
    server.join().unwrap();
}

#[test]
fn lists_and_documents() {
    let Some(host) = Host::new() else { return };
    let one: serde_json::Value =
        serde_json::from_str(&pod("one", &[sh("c", "echo 1")], json!({}))).unwrap();
    let two: serde_json::Value =
        serde_json::from_str(&pod("two", &[sh("c", "echo 2")], json!({}))).unwrap();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": [one, two]}).to_string();
    let documents = format!("---\n{one}\n---\n# nothing here\n---\n{two}\n");
    for manifest in [list, documents] {
        let outcome = host.run(&manifest).ok();
        assert_eq!(
            (outcome.log("one/c").as_str(), outcome.log("two/c").as_str()),
            ("1\n", "2\n")
        );
    }
}

/// A Pod of 2014, and the bare manifest that its kubelet read from files.
#[test]
fn manifests_of_2014() {
    let Some(host) = Host::new() else { return };
    let bare = "
version: v1beta1
id: old
restartPolicy: {never: {}}
containers:
- name: c
  image: localhost/busybox:v1
  command: [sh, -c, 'echo $GREETING; cat /v/f 2>/dev/null; ls -d /v; exit 3']
  env: [{name: GREETING, value: hello}]
  volumeMounts: [{name: v, mountPath: /v}]
volumes: [{name: v, source: {emptyDir: {}}}]
";
    let outcome = host.run(bare).code(3);
    assert_eq!(outcome.log("c"), "hello\n/v\n");
    let v1beta1 = json!({"kind": "Pod", "apiVersion": "v1beta1", "id": "older", "labels": {"name": "x"}, "desiredState": {"manifest": {
        "version": "v1beta2", "id": "older", "restartPolicy": {"never": {}},
        "containers": [{"name": "c", "image": "localhost/busybox:v1", "command": ["sh", "-c", "hostname"], "ports": [{"containerPort": 80, "hostPort": 8080}]}]}}});
    assert_eq!(host.run(&v1beta1.to_string()).ok().log("c"), "older\n");
}

/// A field that nobody knows, or that this kubelet does not honour, is never passed over in silence.
#[test]
fn unknown_fields_are_errors_unless_lenient() {
    let Some(host) = Host::new() else { return };
    host.image();
    let misspelt = V1.replace("restartPolicy", "restartPolicie");
    let unsupported = V1.replace("spec:", "spec:\n  runtimeClassName: gvisor");
    let before = host.snapshot();
    for (manifest, field) in [
        (&misspelt, "restartPolicie"),
        (&unsupported, "runtimeClassName"),
    ] {
        let outcome = host.run(manifest).code(2).complains(field);
        assert_eq!(
            (outcome.stdout.as_str(), outcome.stderr.lines().count()),
            ("", 1),
            "{outcome}"
        );
    }
    assert_eq!(host.snapshot().since(&before), Vec::<String>::new());
    let lenient = host
        .rkubelet(&["run", "--lenient", "-"])
        .stdin(unsupported.as_str())
        .run()
        .ok();
    assert_eq!(
        lenient
            .complains("warning")
            .complains("runtimeClassName")
            .log("c"),
        "hello\n"
    );
}
