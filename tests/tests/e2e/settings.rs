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
