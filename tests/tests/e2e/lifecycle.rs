//! The life of a pod under the daemon: what changes in place, what is started again, and how all of it ends.
use crate::support::{pod, sh, with};
use rkube_tests::{Host, eventually};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const LOOP: &str = "trap 'exit 0' TERM; echo up; while :; do sleep 0.05; done";

fn volumes(more: Value) -> Value {
    let base = json!({"restartPolicy": "Always", "terminationGracePeriodSeconds": 2,
        "volumes": [{"name": "v", "emptyDir": {}}]});
    with(base, more)
}

/// A container with the shared volume at /v.
fn shared(name: &str, script: &str) -> Value {
    let mounts = json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]});
    with(sh(name, script), mounts)
}

/// The status of the container of that name.
fn status<'a>(pod: &'a Value, container: &str) -> &'a Value {
    let all = ["initContainerStatuses", "containerStatuses"];
    let all = all.iter().filter_map(|kind| pod["status"][kind].as_array());
    let mut all = all.flatten();
    all.find(|one| one["name"] == container)
        .unwrap_or(&Value::Null)
}

/// Waits until the container of that name looks right; its status then.
#[track_caller]
fn until(host: &Host, pod: &str, container: &str, what: &str, right: fn(&Value) -> bool) -> Value {
    eventually(30, &format!("{pod}/{container}: {what}"), || {
        let listed = host.listed(pod)?;
        let status = status(&listed, container);
        right(status).then(|| status.clone())
    })
}

fn condition<'a>(pod: &'a Value, kind: &str) -> &'a Value {
    let all = pod["status"]["conditions"].as_array();
    let mut all = all.into_iter().flatten();
    all.find(|one| one["type"] == kind).unwrap_or(&Value::Null)
}

/// The events of a pod, as far as it is there.
fn events(host: &Host, pod: &str) -> String {
    host.rkubelet(&["inspect", pod, "--events"]).run().stdout
}

#[track_caller]
fn exec(host: &Host, pod: &str, container: &str, script: &str) -> String {
    let all = ["exec", pod, "-c", container, "--", "sh", "-c", script];
    host.rkubelet(&all).run().ok().stdout
}

/// Another image starts the one container again, and labels none; both are seen inside.
#[test]
fn image_and_labels_change_in_place() {
    let Some(host) = Host::new() else { return };
    let image = host.image();
    host.rkubelet(&["images", "tag", image, "other:2"])
        .run()
        .ok();
    let manifest = |tag: &str, label: &str| {
        let mounts = json!({"volumeMounts": [{"name": "about", "mountPath": "/about"}]});
        let changed = with(
            sh("changed", LOOP),
            json!({"image": tag, "imagePullPolicy": "IfNotPresent"}),
        );
        let text = pod(
            "p",
            &[changed, with(sh("kept", LOOP), mounts)],
            json!({"restartPolicy": "Never", "volumes": [{"name": "about", "downwardAPI":
                {"items": [{"path": "color", "fieldRef": {"fieldPath": "metadata.labels['color']"}}]}}]}),
        );
        let mut manifest: Value = serde_json::from_str(&text).unwrap();
        manifest["metadata"]["labels"] = json!({"color": label});
        manifest.to_string()
    };
    host.manifest("p", &manifest(image, "red"));
    let daemon = host.serve(&[]);
    let first = host.await_phase("p", "Running");
    assert_eq!(exec(&host, "p", "kept", "cat /about/color"), "red");

    host.manifest("p", &manifest(image, "blue"));
    eventually(20, "the label is seen in the container", || {
        (exec(&host, "p", "kept", "cat /about/color") == "blue").then_some(())
    });
    host.manifest("p", &manifest("other:2", "blue"));
    let changed = until(&host, "p", "changed", "runs the other image", |one| {
        one["image"] == "other:2" && one["restartCount"] == 1 && one["state"]["running"].is_object()
    });
    assert_eq!(
        changed["lastState"]["terminated"]["exitCode"], 0,
        "{changed}"
    );
    let last = host.listed("p").unwrap();
    assert_eq!(last["metadata"]["uid"], first["metadata"]["uid"]);
    assert_eq!(last["metadata"]["labels"]["color"], "blue");
    assert_eq!(
        status(&last, "kept")["state"],
        status(&first, "kept")["state"]
    );
    assert_eq!(status(&last, "kept")["restartCount"], 0);
    daemon.stop();
}

/// What v1 does not let change makes another pod: the old one ends first, and the new one has its name.
#[test]
fn all_else_replaces_the_pod() {
    let Some(host) = Host::new() else { return };
    let manifest = |value: &str| {
        let env = json!({"env": [{"name": "WHO", "value": value}]});
        pod(
            "p",
            &[with(sh("c", LOOP), env)],
            json!({"restartPolicy": "Always"}),
        )
    };
    host.manifest("p", &manifest("old"));
    let daemon = host.serve(&[]);
    let old = host.await_phase("p", "Running");
    host.manifest("p", &manifest("new"));
    let new = eventually(30, "another pod runs under the name", || {
        host.listed("p").filter(|new| {
            new["metadata"]["uid"] != old["metadata"]["uid"] && new["status"]["phase"] == "Running"
        })
    });
    assert_eq!(exec(&host, "p", "c", "echo $WHO").trim(), "new", "{new}");
    daemon.stop();
}

/// Status as v1 has it, from a pod that runs and one that crashes.
#[test]
fn the_status_is_that_of_v1() {
    let Some(host) = Host::new() else { return };
    let limits = json!({"resources": {"limits": {"cpu": "100m", "memory": "32Mi"}},
        "securityContext": {"runAsUser": 7, "runAsGroup": 8}});
    let init = with(sh("i", "true"), json!({}));
    let spec = json!({"restartPolicy": "Always", "initContainers": [init]});
    host.manifest("good", &pod("good", &[with(sh("c", LOOP), limits)], spec));
    let crash = pod(
        "bad",
        &[sh("c", "exit 3")],
        json!({"restartPolicy": "Always"}),
    );
    host.manifest("bad", &crash);
    let daemon = host.serve(&[]);
    let good = eventually(30, "the pod is ready", || {
        let good = host.listed("good")?;
        (condition(&good, "Ready")["status"] == "True").then_some(good)
    });
    let of = |pointer: &str| good.pointer(pointer).cloned().unwrap_or_default();
    assert_eq!(of("/status/phase"), "Running");
    assert_eq!(of("/status/qosClass"), "Burstable");
    assert_eq!(of("/status/podIP"), of("/status/podIPs/0/ip"));
    assert_eq!(of("/status/hostIP"), of("/status/hostIPs/0/ip"));
    let kinds: Vec<_> = [
        "PodReadyToStartContainers",
        "Initialized",
        "Ready",
        "ContainersReady",
        "PodScheduled",
    ]
    .iter()
    .map(|kind| {
        (
            condition(&good, kind)["status"].clone(),
            condition(&good, kind)["lastTransitionTime"].is_string(),
        )
    })
    .collect();
    assert_eq!(kinds, vec![(json!("True"), true); 5], "{good}");
    let main = status(&good, "c");
    assert_eq!(main["user"]["linux"], json!({"uid": 7, "gid": 8}), "{main}");
    assert_eq!(
        main["allocatedResources"],
        json!({"cpu": "100m", "memory": "32Mi"})
    );
    assert_eq!(
        (&main["ready"], &main["started"]),
        (&json!(true), &json!(true))
    );
    assert_eq!(
        status(&good, "i")["state"]["terminated"]["reason"],
        "Completed"
    );

    let bad = until(&host, "bad", "c", "waits for its next try", |one| {
        one["state"]["waiting"]["reason"] == "CrashLoopBackOff"
    });
    assert_eq!(bad["lastState"]["terminated"]["exitCode"], 3, "{bad}");
    assert_eq!(
        bad["containerID"],
        bad["lastState"]["terminated"]["containerID"]
    );
    let message = bad["state"]["waiting"]["message"].as_str().unwrap();
    assert!(
        message.starts_with(
            "back-off 10s restarting failed container=c pod=default/bad; next try at 2"
        ),
        "{message}"
    );
    let listed = host.listed("bad").unwrap();
    let ready = condition(&listed, "Ready");
    assert_eq!(
        ready["message"], "containers with unready status: [c]",
        "{ready}"
    );
    daemon.stop();
}

/// A deadline counts from the pod's start, whichever kubelet looks at the clock.
#[test]
fn a_deadline_outlives_the_kubelet() {
    let Some(host) = Host::new() else { return };
    let spec = json!({"restartPolicy": "Always", "activeDeadlineSeconds": 6, "terminationGracePeriodSeconds": 1});
    host.manifest("p", &pod("p", &[sh("c", LOOP)], spec));
    let daemon = host.serve(&[]);
    let begun = Instant::now();
    host.await_phase("p", "Running");
    daemon.kill();
    let daemon = host.serve(&[]);
    assert_eq!(
        host.await_phase("p", "Running")["status"]["containerStatuses"][0]["restartCount"],
        0
    );
    let over = host.await_phase("p", "Failed");
    assert_eq!(over["status"]["reason"], "DeadlineExceeded", "{over}");
    let took = begun.elapsed();
    assert!(
        took < rkube_tests::limit(Duration::from_secs(11)),
        "after {took:?}"
    );
    daemon.stop();
}

/// A kubelet that comes back goes on where the last one was: nothing is ready, unready or started again by that.
#[test]
fn readiness_does_not_flip_when_the_kubelet_comes_back() {
    let Some(host) = Host::new() else { return };
    let probe = json!({"readinessProbe": {"exec": {"command": ["cat", "/tmp/ok"]}, "periodSeconds": 1,
        "initialDelaySeconds": 1, "successThreshold": 2}});
    let script = "touch /tmp/ok; exec sleep 1000";
    host.manifest(
        "p",
        &pod("p", &[with(sh("c", script), probe)], volumes(json!({}))),
    );
    let daemon = host.serve(&[]);
    let ready = || {
        let listed = host.listed("p")?;
        (condition(&listed, "Ready")["status"] == "True").then_some(listed)
    };
    let first = eventually(20, "the pod is ready", ready);
    daemon.kill();
    let daemon = host.serve(&[]);
    let attended = || {
        let events = events(&host, "p");
        events.contains("Adopted").then_some(())
    };
    eventually(20, "the pod is adopted", attended);
    let then = Instant::now();
    while then.elapsed() < Duration::from_secs(3) {
        let now = ready().expect("ready all the time");
        assert_eq!(condition(&now, "Ready"), condition(&first, "Ready"));
        assert_eq!(status(&now, "c")["state"], status(&first, "c")["state"]);
    }
    exec(&host, "p", "c", "rm /tmp/ok");
    eventually(20, "the new kubelet sees it unready", || {
        ready().is_none().then_some(())
    });
    daemon.stop();
}

/// A registry that takes a connection and says nothing holds up nobody who wants the pod gone.
#[test]
fn a_pod_can_be_stopped_while_its_image_is_pulled() {
    let Some(host) = Host::new() else { return };
    let listener = host
        .netns()
        .inside(|| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let port = listener.local_addr().unwrap().port();
    let hanging = json!({"image": format!("127.0.0.1:{port}/never:1")});
    let containers = [with(sh("c", LOOP), hanging), sh("after", LOOP)];
    host.manifest("p", &pod("p", &containers, volumes(json!({}))));
    let daemon = host.serve(&[]);
    let (_asked, _) = listener.accept().unwrap();
    let listed = host.listed("p").unwrap();
    assert_eq!(
        status(&listed, "c")["state"]["waiting"]["reason"],
        "ContainerCreating"
    );
    assert!(
        status(&listed, "after")["state"]["running"].is_null(),
        "containers start in order"
    );
    let (uids, begun) = (host.uids(), Instant::now());
    host.remove_manifest("p");
    eventually(10, "the pod is gone or over", || {
        host.listed("p")
            .is_none_or(|pod| pod["status"]["phase"] == "Failed")
            .then_some(())
    });
    assert!(begun.elapsed() < rkube_tests::limit(Duration::from_secs(5)));
    daemon.stop();
    host.rkubelet(&["rm", "p"]).run().ok();
    host.assert_no_pods(&uids);
}

/// The hook of one container is done before the next one starts, and is no reason to wait for a stop.
#[test]
fn containers_start_in_order_and_wait_for_hooks() {
    let Some(host) = Host::new() else { return };
    let hook = |script: &str| json!({"lifecycle": {"postStart": {"exec": {"command": ["sh", "-c", script]}}}});
    let first = with(
        shared("first", LOOP),
        hook("until [ -e /v/go ]; do sleep 0.05; done; echo hook >> /v/log"),
    );
    let second = shared("second", &format!("echo second >> /v/log; {LOOP}"));
    host.manifest("p", &pod("p", &[first, second], volumes(json!({}))));
    let hanging = with(sh("c", LOOP), hook("sleep 1000"));
    host.manifest("q", &pod("q", &[hanging], volumes(json!({}))));
    let daemon = host.serve(&[]);
    let waits = until(&host, "p", "first", "runs", |one| {
        one["state"]["running"].is_object()
    });
    assert_eq!(
        (&waits["started"], &waits["ready"]),
        (&json!(false), &json!(false))
    );
    let second = host.listed("p").unwrap();
    assert_eq!(
        status(&second, "second")["state"]["waiting"]["reason"],
        "ContainerCreating"
    );
    exec(&host, "p", "first", "touch /v/go");
    until(&host, "p", "second", "runs", |one| one["ready"] == true);
    assert_eq!(exec(&host, "p", "second", "cat /v/log"), "hook\nsecond\n");

    until(&host, "q", "c", "runs", |one| {
        one["state"]["running"].is_object()
    });
    let begun = Instant::now();
    host.rkubelet(&["stop", "--until-changed", "q"]).run().ok();
    host.remove_manifest("q");
    eventually(10, "the pod with the hanging hook is over", || {
        host.listed("q")
            .is_none_or(|pod| pod["status"]["phase"] != "Running")
            .then_some(())
    });
    assert!(begun.elapsed() < rkube_tests::limit(Duration::from_secs(8)));
    daemon.stop();
}

/// One container's long grace is no other's: who crashes meanwhile is started again at once.
#[test]
fn a_slow_end_of_one_container_holds_up_no_other() {
    let Some(host) = Host::new() else { return };
    let probe = json!({"livenessProbe": {"exec": {"command": ["false"]}, "periodSeconds": 1, "failureThreshold": 1,
        "terminationGracePeriodSeconds": 600}});
    let stubborn = with(
        sh("stubborn", "trap '' TERM; while :; do sleep 0.05; done"),
        probe,
    );
    let crashing = shared(
        "crashing",
        "until [ -e /v/go ]; do sleep 0.05; done; rm /v/go; exit 1",
    );
    host.manifest("p", &pod("p", &[stubborn, crashing], volumes(json!({}))));
    let daemon = host.serve(&[]);
    eventually(20, "the stubborn one is told to end", || {
        let events = events(&host, "p");
        events.contains("signal 15, 600 s of grace").then_some(())
    });
    exec(&host, "p", "crashing", "touch /v/go");
    let again = until(&host, "p", "crashing", "runs again", |one| {
        one["restartCount"] == 1 && one["state"]["running"].is_object()
    });
    assert_eq!(again["lastState"]["terminated"]["exitCode"], 1);
    let listed = host.listed("p").unwrap();
    assert_eq!(status(&listed, "stubborn")["restartCount"], 0);
    assert_eq!(
        status(&listed, "stubborn")["ready"],
        false,
        "who is being ended is not ready"
    );
    let begun = Instant::now();
    host.rkubelet(&["stop", "--until-changed", "p", "-t", "1"])
        .run()
        .ok();
    assert!(
        begun.elapsed() < rkube_tests::limit(Duration::from_secs(8)),
        "a shorter stop cuts it short"
    );
    daemon.stop();
}

/// Sidecars count for readiness, start in order, and end after the main containers, the last one first.
#[test]
fn sidecars_are_there_first_and_last() {
    let Some(host) = Host::new() else { return };
    let dir = host.dir().join("shared");
    std::fs::create_dir(&dir).unwrap();
    let log = |name: &str, more: Value| {
        let script = format!(
            "echo +{name} >> /v/log; trap 'echo -{name} >> /v/log; exit 0' TERM; while :; do sleep 0.05; done"
        );
        with(shared(name, &script), more)
    };
    let always = |more: Value| with(json!({"restartPolicy": "Always"}), more);
    let started = json!({"startupProbe": {"exec": {"command": ["sh", "-c", "[ -e /v/first ]"]}, "periodSeconds": 1,
        "failureThreshold": 100}});
    let ready = json!({"readinessProbe": {"exec": {"command": ["sh", "-c", "[ -e /v/ready ]"]}, "periodSeconds": 1}});
    let spec = json!({
        "restartPolicy": "Always", "terminationGracePeriodSeconds": 5,
        "volumes": [{"name": "v", "hostPath": {"path": dir}}],
        "initContainers": [log("a", always(started)), log("b", always(ready))],
    });
    host.manifest("p", &pod("p", &[log("m", json!({}))], spec));
    let daemon = host.serve(&[]);
    until(&host, "p", "a", "runs", |one| {
        one["state"]["running"].is_object()
    });
    let pending = host.listed("p").unwrap();
    assert_eq!(
        pending["status"]["phase"], "Pending",
        "b waits for a's startup probe"
    );
    assert_eq!(
        status(&pending, "b")["state"]["waiting"]["reason"],
        "PodInitializing"
    );
    std::fs::write(dir.join("first"), "").unwrap();
    let running = host.await_phase("p", "Running");
    assert_eq!(
        condition(&running, "Ready")["message"],
        "containers with unready status: [b]"
    );
    std::fs::write(dir.join("ready"), "").unwrap();
    eventually(20, "the pod is ready", || {
        (condition(&host.listed("p")?, "Ready")["status"] == "True").then_some(())
    });
    host.remove_manifest("p");
    eventually(20, "the pod has ended in order", || {
        let log = std::fs::read_to_string(dir.join("log")).unwrap();
        (log == "+a\n+b\n+m\n-m\n-b\n-a\n").then_some(())
    });
    daemon.stop();
}

/// A pod whose supervisor died gets a new one; what init containers did in the old one they do again.
#[test]
fn a_lost_sandbox_is_made_again_with_its_init_containers() {
    let Some(host) = Host::new() else { return };
    let init = shared("i", "echo init >> /v/log");
    let main = shared("m", &format!("echo main >> /v/log; {LOOP}"));
    let spec = volumes(json!({"initContainers": [init]}));
    host.manifest("p", &pod("p", &[main], spec));
    let daemon = host.serve(&[]);
    host.await_phase("p", "Running");
    let supervisor = host.state("p").unwrap()["supervisor"].as_i64().unwrap();
    let supervisor = Pid::from_raw(i32::try_from(supervisor).unwrap()).unwrap();
    kill_process(supervisor, Signal::KILL).unwrap();
    let main = until(&host, "p", "m", "runs again", |one| {
        one["restartCount"] == 1 && one["state"]["running"].is_object()
    });
    assert_eq!(main["lastState"]["terminated"]["exitCode"], 137, "{main}");
    let listed = host.listed("p").unwrap();
    assert_eq!(status(&listed, "i")["restartCount"], 1);
    assert_eq!(
        exec(&host, "p", "m", "cat /v/log"),
        "init\nmain\ninit\nmain\n"
    );
    daemon.stop();
}

/// Exit codes may have rules of their own.
#[test]
fn restart_rules_decide_by_exit_code() {
    let Some(host) = Host::new() else { return };
    let rules = json!({"restartPolicy": "Never", "restartPolicyRules":
        [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]});
    let script = "echo try >> /v/n; [ $(wc -l < /v/n) = 2 ] && exit 7; exit 42";
    host.manifest(
        "p",
        &pod("p", &[with(shared("c", script), rules)], volumes(json!({}))),
    );
    let daemon = host.serve(&[]);
    let over = host.await_phase("p", "Failed");
    let one = status(&over, "c");
    assert_eq!(
        (
            &one["restartCount"],
            &one["state"]["terminated"]["exitCode"]
        ),
        (&json!(1), &json!(7))
    );
    daemon.stop();
}

/// An exec probe that never ends is killed at its time-out, with what it has started.
#[test]
fn a_probe_that_never_ends_is_killed() {
    let Some(host) = Host::new() else { return };
    let probe = json!({"readinessProbe": {"exec": {"command": ["sh", "-c", "sleep 4242; true"]}, "periodSeconds": 1,
        "timeoutSeconds": 1}});
    host.manifest(
        "p",
        &pod(
            "p",
            &[with(sh("c", "exec sleep 1000"), probe)],
            volumes(json!({})),
        ),
    );
    let daemon = host.serve(&[]);
    let failures = || {
        let events = events(&host, "p");
        events
            .lines()
            .filter(|line| line.contains("Unhealthy"))
            .count()
    };
    eventually(30, "some probes have failed", || {
        (failures() >= 3).then_some(())
    });
    // A shell and its sleep, of the probe that runs now.
    let sleeping = exec(
        &host,
        "p",
        "c",
        "ps -o args | grep -c '[s]leep 4242' || true",
    );
    assert!(
        sleeping.trim().parse::<u32>().unwrap() <= 2,
        "{sleeping} of them"
    );
    daemon.stop();
}

/// A health service as gRPC's own library makes it.
const HEALTH: &str = r#"
import sys, grpc
from concurrent import futures
state = {b"": b"\x08\x01", b"\x0a\x02db": b"\x08\x02"}
def check(request, context):
    if request not in state:
        context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
    return state[request]
class Health(grpc.GenericRpcHandler):
    def service(self, call):
        if call.method == "/grpc.health.v1.Health/Check":
            return grpc.unary_unary_rpc_method_handler(check)
server = grpc.server(futures.ThreadPoolExecutor())
server.add_generic_rpc_handlers((Health(),))
print(server.add_insecure_port("127.0.0.1:0"), flush=True)
server.start()
sys.stdin.readline()
state[b"\x0a\x02db"] = b"\x08\x01"
sys.stdin.read()
"#;

#[test]
fn grpc_probes_ask_the_health_service() {
    let python = "/usr/bin/python3";
    let grpc = Command::new(python)
        .args(["-c", "import grpc"])
        .stderr(Stdio::null())
        .status();
    if !grpc.is_ok_and(|status| status.success()) {
        println!("SKIP grpc_probes_ask_the_health_service: no grpc module for {python}");
        return;
    }
    let Some(host) = Host::new() else { return };
    let mut server = host.command(python);
    server
        .args(["-c", HEALTH])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut server = server.spawn().unwrap();
    let mut port = String::new();
    BufReader::new(server.stdout.take().unwrap())
        .read_line(&mut port)
        .unwrap();
    let port: u16 = port.trim().parse().unwrap();
    let probe = |service: &str| json!({"readinessProbe": {"grpc": {"port": port, "service": service}, "periodSeconds": 1}});
    let containers = [
        with(sh("all", LOOP), probe("")),
        with(sh("db", LOOP), probe("db")),
        with(sh("stranger", LOOP), probe("stranger")),
    ];
    host.manifest("p", &pod("p", &containers, json!({"hostNetwork": true})));
    let daemon = host.serve(&[]);
    until(&host, "p", "all", "is ready", |one| one["ready"] == true);
    eventually(20, "the others have failed", || {
        let events = events(&host, "p");
        let both = events.contains("service \"db\" is NOT_SERVING")
            && events.contains("does not know the service");
        both.then_some(())
    });
    use std::io::Write;
    server.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    until(&host, "p", "db", "is ready", |one| one["ready"] == true);
    let listed = host.listed("p").unwrap();
    assert_eq!(status(&listed, "stranger")["ready"], false);
    daemon.stop();
    drop(server.stdin.take());
    server.wait().unwrap();
}

/// A pod whose processes take no signal (here they are frozen, and so is their supervisor) ends all the same: what cannot
/// be killed is given up after a bound, said aloud, and nothing is left in the end.
#[test]
fn a_pod_that_cannot_be_killed_ends() {
    let Some(host) = Host::new() else { return };
    host.manifest(
        "p",
        &pod("p", &[sh("c", LOOP)], json!({"restartPolicy": "Always"})),
    );
    host.manifest(
        "q",
        &pod("q", &[sh("c", LOOP)], json!({"restartPolicy": "Always"})),
    );
    let daemon = host.serve(&[]);
    host.await_phase("p", "Running");
    host.await_phase("q", "Running");
    let state = host.state("p").unwrap();
    let pid = &state["containers"][0]["state"]["Running"]["pid"];
    let cgroups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    let freezer = cgroups
        .lines()
        .find_map(|line| line.split_once(":freezer:"));
    let Some((_, path)) = freezer else {
        // Who is frozen by the new freezer can be killed.
        println!("SKIP a_pod_that_cannot_be_killed_ends: needs the old freezer");
        return;
    };
    let container = std::path::PathBuf::from(format!("/sys/fs/cgroup/freezer{path}"));
    let frozen = container.parent().unwrap().join("freezer.state");
    std::fs::write(&frozen, "FROZEN").unwrap();
    let (uids, begun) = (host.uids(), Instant::now());
    host.rkubelet(&["stop", "--until-changed", "p", "-t", "1"])
        .within(120)
        .run()
        .ok();
    let over = host.await_phase("p", "Failed");
    assert!(
        begun.elapsed() < rkube_tests::limit(Duration::from_secs(60)),
        "{:?}",
        begun.elapsed()
    );
    let end = &status(&over, "c")["state"]["terminated"];
    assert_eq!(end["reason"], "ContainerStatusUnknown", "{over}");
    assert!(
        events(&host, "p").contains("survives SIGKILL"),
        "{}",
        events(&host, "p")
    );
    assert_eq!(
        host.listed("q").unwrap()["status"]["phase"],
        "Running",
        "others go on"
    );
    for pod in ["p", "q"] {
        host.remove_manifest(pod);
        eventually(20, "it is gone or can be removed", || {
            let over = host
                .listed(pod)
                .is_none_or(|pod| pod["status"]["phase"] != "Running");
            let gone = || host.listed(pod).is_none() || host.rkubelet(&["rm", pod]).run().code == 0;
            (over && gone()).then_some(())
        });
    }
    eventually(60, "nothing of it is left", || {
        (!container.exists()).then_some(())
    });
    host.assert_no_pods(&uids);
    daemon.stop();
}
