//! The daemon's settings: a file, flags over it, and every mistake told at once.
use crate::support::{pod, sh, with};
use rkube_tests::{Host, eventually};
use serde_json::json;

const SLEEP: &str = "echo node $NODE; trap 'exit 0' TERM; while :; do sleep 0.05; done";

#[test]
fn the_file_is_read_and_flags_win() {
    let Some(host) = Host::new() else { return };
    let node = json!({"env": [{"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}]});
    host.manifest("web", &pod("web", &[with(sh("c", SLEEP), node)], json!({})));
    let file = host.file(
        "kubelet.yaml",
        "cgroupDriver: systemd\nevictionHard: {memory.available: 1Mi}\nport: 10251\nstaticPodPath: nowhere\nrkube: {nodeName: minion-7}\n",
    );
    // The harness says --config, which wins over staticPodPath.
    let daemon = host.serve(&["--config-file", &file, "-v=0"]);
    host.await_phase("web", "Running");
    eventually(5, "the pod knows its node", || {
        let logs = host.rkubelet(&["logs", "web"]).run().stdout;
        logs.contains("node minion-7").then_some(())
    });
    let log = daemon.log();
    assert!(
        log.contains("line 1: cgroupDriver: has no effect here"),
        "{log}"
    );
    daemon.stop();
}

#[test]
fn check_tells_every_mistake_at_once() {
    let Some(host) = Host::new() else { return };
    host.manifest("good", &pod("good", &[sh("c", SLEEP)], json!({})));
    host.manifest(
        "bad",
        "kind: Pod\napiVersion: v1\nmetadata: {name: bad}\nspec: {contaners: []}\n",
    );
    let tokens = host.file("tokens", "secret,admin\nno name\n");
    let ca = host.file("ca.pem", "nothing");
    let file = host.file(
        "kubelet.yaml",
        format!(
            "staticPodPath: manifests\nlogging: {{}}\nauthentication: {{x509: {{clientCAFile: {ca}}}}}\n\
             evictionHard: {{memory.available: 1Mi}}\nrkube: {{tokenFile: {tokens}, etcdServers: [http://127.0.0.1:1], etcdCAFile: gone.pem}}\n"
        ),
    );
    let check = || {
        host.rkubelet(&["serve", "--check", "--config-file", &file])
            .run()
    };
    let dir = host.dir().display().to_string();
    let found = check().code(2).says("line 2: logging: has no effect here");
    let found = found.says("tokens can be read by others than root");
    for mistake in [
        "4 mistakes:".to_owned(),
        format!("{dir}/ca.pem: "),
        format!("{dir}/tokens: line 2: "),
        format!("rkube.etcdCAFile: failed to open file `{dir}/gone.pem`"),
        format!("{dir}/manifests/bad.yaml: line 4: Pod bad: spec.contaners: unknown field"),
    ] {
        assert!(found.stderr.contains(&mistake), "{mistake}: {found}");
    }
    assert!(
        !found.stderr.contains("no name"),
        "a line of tokens is not shown: {found}"
    );
    host.file(
        "kubelet.yaml",
        "staticPodPath: manifests\nmaxPod: 3\nport: 0\n",
    );
    let found = check()
        .code(2)
        .complains("line 2: maxPod: unknown field; did you mean maxPods?");
    found.complains("line 3: port: 0 is not a port");
    host.file("kubelet.yaml", "staticPodPath: manifests\n");
    host.remove_manifest("bad");
    check().ok().says("all is well: ").says("1 pod in ");
    assert!(host.uids().is_empty(), "nothing was started");
}
