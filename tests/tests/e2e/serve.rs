//! The daemon: manifests become pods, pods outlive it, and one daemon takes over from another.
use crate::support::{pod, sh};
use rkube_tests::{Host, Running, eventually};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::path::PathBuf;

/// What a pod keeps, whoever looks after it.
const UNCHANGED: [&str; 3] = [
    "/metadata/uid",
    "/status/containerStatuses/0/state",
    "/status/containerStatuses/0/restartCount",
];
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
    for field in UNCHANGED {
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

/// One daemon after another, and agents in between: a detached pod always has somebody, and never notices.
#[test]
fn detached_pods_go_from_hand_to_hand() {
    let Some(host) = Host::new() else { return };
    host.detach(&long("d")).ok();
    let before = runs(&host, "d");
    let agent = eventually(10, "an agent", || host.agents().first().copied());
    let mut daemon = serve(&host);
    eventually(10, "the agent has left", || {
        host.agents().is_empty().then_some(())
    });
    daemon.await_stderr("Adopted");
    host.detach(&long("e")).ok();
    assert!(host.agents().is_empty(), "the daemon looks after all");
    host.rkubelet(&["serve"])
        .run()
        .code(1)
        .complains(&format!("pid {}", daemon.pid()));
    daemon.signal(Signal::TERM);
    daemon.wait().ok();
    let next = eventually(10, "another agent", || host.agents().first().copied());
    assert_ne!(agent, next);
    let daemon = serve(&host);
    eventually(10, "that one has left", || {
        host.agents().is_empty().then_some(())
    });
    let after = runs(&host, "d");
    for field in UNCHANGED {
        assert_eq!(before.pointer(field), after.pointer(field), "{field}");
    }
    let uids = host.uids();
    for name in ["d", "e"] {
        host.rkubelet(&["rm", "-f", name]).run().ok();
    }
    daemon.signal(Signal::TERM);
    daemon.wait().ok();
    assert!(host.agents().is_empty(), "there is nothing to look after");
    host.assert_no_pods(&uids);
}

/// SIGHUP starts the daemon anew under the same pid; a mistake in the settings leaves it as it was.
#[test]
fn a_hang_up_reloads_the_settings() {
    let Some(host) = Host::new() else { return };
    host.image();
    write(&host, "a", &long("a"));
    let other = host.dir().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("b.yaml"), long("b")).unwrap();
    let settings = |text: String| host.file("kubelet.yaml", text);
    let kind = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n";
    let path = |dir: &std::path::Path| format!("{kind}staticPodPath: {}\n", dir.display());
    let file = settings(path(&manifests(&host)));
    let mut daemon = host.rkubelet(&["serve", "--config-file", &file]).start();
    let pid = daemon.pid();
    runs(&host, "a");
    settings(format!("{kind}maxPods: many\n"));
    daemon.signal(Signal::HUP);
    daemon.await_stderr("maxPods");
    settings(path(&other));
    daemon.signal(Signal::HUP);
    runs(&host, "b");
    assert_eq!(daemon.pid(), pid);
    eventually(20, "the pod of the first directory ends", || {
        let pod = listed(&host, "a")?;
        (pod["status"]["phase"] != "Running").then_some(())
    });
    let uids = host.uids();
    std::fs::remove_file(other.join("b.yaml")).unwrap();
    daemon.signal(Signal::HUP);
    eventually(20, "the other ends too", || {
        (listed(&host, "b")?["status"]["phase"] != "Running").then_some(())
    });
    daemon.signal(Signal::TERM);
    daemon.wait().ok();
    host.rkubelet(&["rm", "--all"]).run().ok();
    host.assert_no_pods(&uids);
}
