//! The daemon: manifests become pods, pods outlive it, and one daemon takes over from another.
use crate::support::{pod, sh};
use rkube_tests::{Host, Running, eventually};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::path::PathBuf;

const LOOP: &str = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done";

fn manifests(host: &Host) -> PathBuf {
    let dir = host.dir().join("manifests");
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

fn write(host: &Host, name: &str, text: &str) {
    let path = manifests(host).join(format!("{name}.yaml"));
    std::fs::write(path, text).unwrap();
}

fn serve(host: &Host) -> Running {
    host.image();
    let dir = manifests(host);
    host.rkubelet(&["serve", "--config", dir.to_str().unwrap()])
        .start()
}

fn long(name: &str) -> String {
    pod(name, &[sh("c", LOOP)], json!({"restartPolicy": "Always"}))
}

fn listed(host: &Host, name: &str) -> Option<Value> {
    let list = host.rkubelet(&["ps", "-a", "-o", "json"]).run().ok().stdout;
    let list: Value = serde_json::from_str(&list).unwrap();
    let pods = list["items"].as_array().unwrap();
    pods.iter()
        .find(|pod| pod["metadata"]["name"] == name)
        .cloned()
}

fn runs(host: &Host, name: &str) -> Value {
    eventually(20, "the pod runs", || {
        listed(host, name).filter(|pod| pod["status"]["phase"] == "Running")
    })
}

#[test]
fn pods_of_a_directory_run_and_outlive_the_daemon() {
    let Some(host) = Host::new() else { return };
    write(&host, "a", &long("a"));
    write(&host, "b", &long("b"));
    let daemon = serve(&host);
    let first = runs(&host, "a");
    runs(&host, "b");
    daemon.signal(Signal::TERM);
    daemon.wait().ok();
    assert!(host.agents().is_empty(), "no detached pod needs an agent");
    host.rkubelet(&["exec", "a", "--", "true"]).run().ok();
    let daemon = serve(&host);
    eventually(10, "the pod is looked after", || {
        let status = host.rkubelet(&["ps"]).run().ok().stdout;
        (!status.contains("unattended")).then_some(())
    });
    let second = runs(&host, "a");
    for field in [
        "/metadata/uid",
        "/status/containerStatuses/0/state",
        "/status/containerStatuses/0/restartCount",
    ] {
        assert_eq!(first.pointer(field), second.pointer(field), "{field}");
    }
    let uids = host.uids();
    for name in ["a", "b"] {
        host.rkubelet(&["stop", name]).run().ok();
        host.rkubelet(&["rm", name]).run().ok();
    }
    host.assert_no_pods(&uids);
    daemon.signal(Signal::TERM);
    daemon.wait().ok();
}
