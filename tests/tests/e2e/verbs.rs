//! The verbs beside `run`: logs, exec, attach, inspect, stats, images, stop, rm, reset, as a user types them.
use crate::support::{pod, sh, with};
use rkube_tests::{Host, Outcome, eventually};
use rustix::process::Signal;
use serde_json::{Value, json};

fn rk(host: &Host, arguments: &[&str]) -> Outcome {
    host.rkubelet(arguments).run()
}

fn json_of(outcome: Outcome) -> Value {
    serde_json::from_str(&outcome.ok().stdout).unwrap()
}

/// Two containers that run until they are stopped; `a` has input.
fn two() -> String {
    let wait = "trap 'exit 0' TERM; while :; do sleep 0.05; done";
    let a = with(
        sh("a", "while read line; do echo got $line; done; exit 4"),
        json!({"stdin": true, "stdinOnce": true}),
    );
    pod("two", &[a, sh("b", wait)], json!({}))
}

#[test]
fn exec_has_the_commands_streams_and_code() {
    let Some(host) = Host::new() else { return };
    host.detach(&two()).ok();
    let exec = |script: &str| rk(&host, &["exec", "two", "-c", "b", "--", "sh", "-c", script]);
    exec("echo out; echo err >&2; exit 7")
        .code(7)
        .says("out\n")
        .complains("err\n");
    exec("kill -9 $$").code(137);
    rk(&host, &["exec", "two", "-c", "b", "nosuch"]).code(127);
    rk(&host, &["exec", "two", "-c", "b", "/etc"]).code(126);
    rk(&host, &["exec", "two", "-c", "c", "ls"])
        .code(1)
        .complains("it has a, b");
    // Without -i there is nothing to read; with it, all bytes come through both ways.
    let cat = ["exec", "two", "-c", "b", "--", "cat"];
    assert_eq!(host.rkubelet(&cat).stdin("lost").run().ok().stdout, "");
    let bytes: String = (0..100_000).map(|number| format!("{number}\n")).collect();
    let cat = ["exec", "-i", "two", "-c", "b", "--", "cat"];
    let back = host.rkubelet(&cat).stdin(bytes.clone()).run().ok();
    assert!(
        back.stdout == bytes,
        "{} bytes came back",
        back.stdout.len()
    );
    // A signal goes to the command, and ends it alone.
    let script = "trap 'echo got; exit 9' INT; echo ready; while :; do sleep 0.05; done";
    let mut running = host
        .rkubelet(&["exec", "two", "-c", "b", "--", "sh", "-c", script])
        .start();
    running.await_stdout("ready");
    running.signal(Signal::INT);
    running.wait().code(9).says("got");
    // A terminal is the container's own.
    rk(&host, &["exec", "-t", "two", "-c", "b", "--", "tty"])
        .ok()
        .says("/dev/pts/");
    rk(&host, &["rm", "-f", "two"]).ok();
    rk(&host, &["exec", "two", "ls"])
        .code(1)
        .complains("no pod");
}

#[test]
fn attach_joins_input_and_output() {
    let Some(host) = Host::new() else { return };
    host.detach(&two()).ok();
    rk(&host, &["attach", "-i", "two", "-c", "b"])
        .code(1)
        .complains("stdin: true");
    // The manifest says stdinOnce: the container reads the end of what the first one types, and ends.
    let attach = ["attach", "-i", "two", "-c", "a"];
    host.rkubelet(&attach)
        .stdin("one\ntwo\n")
        .run()
        .code(4)
        .says("got one\ngot two\n");
    rk(&host, &["attach", "two", "-c", "a"])
        .code(1)
        .complains("is not running");
    rk(&host, &["rm", "-f", "two"]).ok();
}

#[test]
fn logs_are_read_from_either_end() {
    let Some(host) = Host::new() else { return };
    let script = "seq 1 5000; echo last; printf 'no end'; test -e /v/again && exec sleep 600; touch /v/again; exit 3";
    let a = with(
        sh("a", script),
        json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]}),
    );
    let more = json!({"restartPolicy": "OnFailure", "volumes": [{"name": "v", "emptyDir": {}}],
        "terminationGracePeriodSeconds": 1});
    host.detach(&pod("chatty", &[a, sh("b", "echo hello; sleep 600")], more))
        .ok();
    eventually(20, "the second try has written", || {
        let logs = rk(&host, &["logs", "chatty", "-c", "a", "-p"]);
        (logs.code == 0).then_some(())
    });
    let lines = |arguments: &[&str]| -> Vec<String> {
        let all = [&["logs", "chatty", "-c", "a"], arguments].concat();
        let stdout = rk(&host, &all).ok().stdout;
        stdout.lines().map(str::to_owned).collect()
    };
    assert_eq!(lines(&["-p"]).len(), 5002);
    assert_eq!(lines(&["-p", "--tail", "3"]), ["5000", "last", "no end"]);
    assert_eq!(lines(&["-p", "--tail", "0"]), [""; 0]);
    assert!(lines(&["-p", "--since", "0s"]).is_empty());
    assert_eq!(lines(&["-p", "--since", "1h"]).len(), 5002);
    let stamped = &lines(&["-p", "--tail", "1", "--timestamps"])[0];
    let (time, text) = stamped.split_once(' ').unwrap();
    assert!(time.ends_with('Z') && text == "no end", "{stamped}");
    rk(
        &host,
        &[
            "logs",
            "chatty",
            "--all-containers",
            "--prefix",
            "--tail",
            "1",
        ],
    )
    .ok()
    .says("b | hello\n");
    // Following ends with the pod.
    let follow = host.rkubelet(&["logs", "chatty", "-c", "b", "-f"]).start();
    rk(&host, &["stop", "chatty"])
        .ok()
        .says("default/chatty stopped");
    follow.wait().ok().says("hello");
    rk(&host, &["logs", "chatty"])
        .ok()
        .complains("choose with -c");
    rk(&host, &["rm", "chatty"]).ok();
}

#[test]
fn what_is_known_of_a_pod() {
    let Some(host) = Host::new() else { return };
    host.detach(&two()).ok();
    let pod = json_of(rk(&host, &["inspect", "two", "-o", "json"]));
    assert_eq!(pod["kind"], "Pod");
    assert_eq!(pod["status"]["phase"], "Running");
    rk(&host, &["inspect", "two"]).ok().says("podIP: \"10.");
    rk(&host, &["inspect", "two", "--events"])
        .ok()
        .says("Started");
    let spec = json_of(rk(&host, &["inspect", "two", "--spec", "b"]));
    assert_eq!(spec["process"]["args"][0], "sh");
    let stats = json_of(rk(&host, &["stats", "-o", "json"]));
    let b = &stats.as_array().unwrap()[1];
    assert_eq!(
        (&b["pod"], &b["container"]),
        (&json!("default/two"), &json!("b"))
    );
    assert!(b["cpuSeconds"].as_f64().unwrap() > 0.0, "{b}");
    assert!(b["pids"].as_u64().unwrap() >= 1, "{b}");
    rk(&host, &["stats", "two"]).ok().says("CONTAINER");
    rk(&host, &["rm", "two"]).code(1).complains("is not over");
    rk(&host, &["rm", "-f", "two"]).ok();
}

#[test]
fn a_pod_whose_command_was_killed_can_be_seen_and_stopped() {
    let Some(host) = Host::new() else { return };
    let mut foreground = host.start(&two());
    foreground.await_stderr("two/b: Started");
    foreground.signal(Signal::KILL);
    foreground.wait();
    rk(&host, &["ps"]).ok().says("(unattended)");
    rk(&host, &["exec", "two", "-c", "b", "--", "echo", "still"])
        .ok()
        .says("still");
    let uids = host.uids();
    rk(&host, &["stop", "two"]).ok();
    rk(&host, &["rm", "two"]).ok();
    host.assert_no_pods(&uids);
}

#[test]
fn images_in_use_stay() {
    let Some(host) = Host::new() else { return };
    host.detach(&two()).ok();
    rk(&host, &["images", "rm", Host::IMAGE])
        .code(1)
        .complains("default/two");
    rk(&host, &["images", "tag", Host::IMAGE, "localhost/other:v1"]).ok();
    rk(&host, &["images", "rm", "localhost/other:v1"])
        .ok()
        .says("untagged");
    rk(&host, &["images", "prune", "--all", "--older-than", "0s"]).ok();
    rk(&host, &["images", "fsck"]).ok();
    rk(&host, &["rm", "-f", "two"]).ok();
    let archive = host.dir().join("images.tar");
    let archive = archive.to_str().unwrap();
    rk(&host, &["images", "export", Host::IMAGE, "-o", archive]).ok();
    rk(&host, &["images", "pin", Host::IMAGE]).ok();
    rk(&host, &["images", "rm", Host::IMAGE])
        .code(1)
        .complains("pinned");
    rk(&host, &["images", "unpin", Host::IMAGE]).ok();
    rk(&host, &["images", "rm", Host::IMAGE])
        .ok()
        .says("removed sha256:");
    rk(&host, &["images", "import", archive]).ok();
    rk(&host, &["images", "list", "-o", "name"])
        .ok()
        .says(Host::IMAGE);
}

#[test]
fn a_reset_leaves_nothing() {
    let Some(host) = Host::new() else { return };
    host.detach(&two()).ok();
    let mut foreground = host.start(&pod("fg", &[sh("c", "sleep 600")], json!({})));
    foreground.await_stderr("fg/c: Started");
    let uids = host.uids();
    assert_eq!(uids.len(), 2);
    // A record that nobody can read is no reason to leave the pod.
    std::fs::write(
        host.root().join("pods").join(&uids[0]).join("pod.json"),
        "{",
    )
    .unwrap();
    rk(&host, &["reset"]).code(2).complains("--force");
    rk(&host, &["reset", "--force"]).ok().says("removed bridge");
    foreground.wait();
    host.assert_no_pods(&uids);
    for tree in [host.root(), host.run_root(), host.log_root()] {
        assert!(!tree.exists(), "{}", tree.display());
    }
    rk(&host, &["reset", "--force"])
        .ok()
        .complains("nothing to remove");
}

#[test]
fn a_damaged_record_does_not_hide_the_others() {
    let Some(host) = Host::new() else { return };
    host.detach(&two()).ok();
    let uid = host.uids().remove(0);
    host.detach(&pod(
        "other",
        &[sh("c", "sleep 600")],
        json!({"terminationGracePeriodSeconds": 0}),
    ))
    .ok();
    std::fs::write(host.root().join("pods").join(&uid).join("pod.json"), "{").unwrap();
    rk(&host, &["ps"]).ok().says("other").complains(&uid);
    rk(&host, &["rm", "-f", &uid]).ok();
    rk(&host, &["ps"]).ok().says("other");
    let other = host.uids().remove(0);
    rk(&host, &["rm", "-f", "other"]).ok();
    host.assert_no_pods(&[uid, other]);
}

#[test]
fn the_host_is_checked_without_being_changed() {
    let Some(host) = Host::new() else { return };
    let before = host.snapshot();
    let findings = json_of(rk(&host, &["check", "-o", "json"]));
    let overlay = findings
        .as_array()
        .unwrap()
        .iter()
        .find(|finding| finding["check"] == "overlayfs");
    assert_eq!(overlay.unwrap()["status"], "OK");
    assert_eq!(host.snapshot(), before);
    rk(&host, &["check", "--pod-subnet", "127.0.0.0/16"])
        .code(1)
        .says("FAIL")
        .says("-> ");
}
