//! Probes and hooks: what they start, stop and delay.
use crate::support::{pod, sh, with};
use rkube_tests::{Host, eventually};
use rustix::process::Signal;
use serde_json::json;

const VOLUME: &str = r#"{"volumeMounts": [{"name": "v", "mountPath": "/v"}]}"#;

fn shared(name: &str, script: &str) -> serde_json::Value {
    with(sh(name, script), serde_json::from_str(VOLUME).unwrap())
}

fn volumes() -> serde_json::Value {
    json!({"restartPolicy": "Always", "terminationGracePeriodSeconds": 0, "volumes": [{"name": "v", "emptyDir": {}}]})
}

#[test]
fn a_failing_liveness_probe_starts_the_container_again() {
    let Some(host) = Host::new() else { return };
    let script = "echo started >> /v/n; touch /tmp/ok; if [ $(wc -l < /v/n) = 1 ]; then rm /tmp/ok; fi; echo try $(wc -l < /v/n); exec sleep 1000";
    let probe = json!({"livenessProbe": {"exec": {"command": ["cat", "/tmp/ok"]}, "periodSeconds": 1, "failureThreshold": 1}});
    let mut running = host.start(&pod("p", &[with(shared("c", script), probe)], volumes()));
    running.await_stdout("try 2");
    assert!(
        running.stderr().contains("Liveness probe failed"),
        "{}",
        running.stderr()
    );
    running.signal(Signal::TERM);
    running.wait();
}

#[test]
fn a_startup_probe_gates_the_others() {
    let Some(host) = Host::new() else { return };
    let script =
        "touch /tmp/alive; until [ -e /v/go ]; do sleep 0.05; done; touch /tmp/up; exec sleep 1000";
    let more = json!({
        "startupProbe": {"exec": {"command": ["cat", "/tmp/up"]}, "periodSeconds": 1, "failureThreshold": 100},
        "livenessProbe": {"exec": {"command": ["sh", "-c", "echo probed >> /v/probes"]}, "periodSeconds": 1},
    });
    let releaser = "echo $(ls /v | wc -l) before; touch /v/go; until [ -e /v/probes ]; do sleep 0.05; done; echo after; exec sleep 1000";
    let mut running = host.start(&pod(
        "p",
        &[with(shared("c", script), more), shared("r", releaser)],
        volumes(),
    ));
    running.await_stdout("after");
    assert!(
        running.stdout().contains("0 before"),
        "{}",
        running.stdout()
    );
    running.signal(Signal::TERM);
    running.wait();
}

/// Readiness by HTTP and TCP is what `ps` shows, and follows the server.
#[test]
fn readiness_is_shown() {
    let Some(host) = Host::new() else { return };
    let script = "mkdir /www; echo ok > /www/health; httpd -p 80 -h /www; until [ -e /v/break ]; do sleep 0.05; done; rm /www/health; exec sleep 1000";
    let http = json!({"readinessProbe": {"httpGet": {"path": "/health", "port": "web"}, "periodSeconds": 1, "failureThreshold": 1},
        "ports": [{"name": "web", "containerPort": 80}]});
    let tcp = json!({"readinessProbe": {"tcpSocket": {"port": 81}, "periodSeconds": 1}});
    let containers = [
        with(shared("http", script), http),
        with(shared("tcp", "sleep 1000"), tcp),
    ];
    let running = host.start(&pod("p", &containers, volumes()));
    let ready = |name: &str| {
        let state = host.state("p")?;
        let all = state["containers"].as_array()?;
        all.iter().find(|container| container["name"] == name)?["ready"].as_bool()
    };
    eventually(10, "the HTTP server is ready", || {
        ready("http").filter(|ready| *ready)
    });
    assert_eq!(ready("tcp"), Some(false), "nobody listens on port 81");
    host.rkubelet(&["exec", "p", "-c", "http", "--", "touch", "/v/break"])
        .run()
        .ok();
    eventually(10, "the HTTP server is not ready any more", || {
        ready("http").filter(|ready| !*ready)
    });
    running.signal(Signal::TERM);
    running.wait();
}

/// postStart runs beside the command, preStop before the signal.
#[test]
fn hooks_run_in_their_places() {
    let Some(host) = Host::new() else { return };
    let script = "trap 'cat /v/log; exit 0' TERM; until [ -e /v/log ]; do sleep 0.05; done; echo up; while :; do sleep 0.05; done";
    let hooks = json!({"lifecycle": {
        "postStart": {"exec": {"command": ["sh", "-c", "echo post >> /v/log"]}},
        "preStop": {"exec": {"command": ["sh", "-c", "echo pre >> /v/log"]}},
    }});
    let more = with(
        volumes(),
        json!({"restartPolicy": "Never", "terminationGracePeriodSeconds": 10}),
    );
    let mut running = host.start(&pod("p", &[with(shared("c", script), hooks)], more));
    running.await_stdout("up");
    running.signal(Signal::INT);
    assert_eq!(running.wait().log("c"), "up\npost\npre\n");
}
