//! The daemon: manifests become pods, pods outlive it, and one daemon takes over from another.
use crate::support::{pod, sh, with};
use rkube_tests::{Host, eventually};
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// What a pod keeps, whoever looks after it.
const UNCHANGED: [&str; 3] = [
    "/metadata/uid",
    "/status/containerStatuses/0/state",
    "/status/containerStatuses/0/restartCount",
];
const LOOP: &str = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done";

fn long(name: &str) -> String {
    pod(name, &[sh("c", LOOP)], json!({"restartPolicy": "Always"}))
}

fn runs(host: &Host, name: &str) -> Value {
    eventually(20, "the pod runs", || {
        host.listed(name)
            .filter(|pod| pod["status"]["phase"] == "Running")
    })
}

#[test]
fn pods_of_a_directory_run_and_outlive_the_daemon() {
    let Some(host) = Host::new() else { return };
    host.manifest("a", &long("a"));
    host.manifest("b", &long("b"));
    let daemon = host.serve(&[]);
    let first = runs(&host, "a");
    runs(&host, "b");
    daemon.stop();
    assert!(host.agents().is_empty(), "no detached pod needs an agent");
    host.rkubelet(&["exec", "a", "--", "true"]).run().ok();
    let daemon = host.serve(&[]);
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
        host.remove_manifest(name);
        host.await_phase(name, "Succeeded");
        host.rkubelet(&["rm", name]).run().ok();
    }
    host.assert_no_pods(&uids);
    daemon.stop();
}

/// One daemon after another, and agents in between: a detached pod always has somebody, and never notices.
#[test]
fn detached_pods_go_from_hand_to_hand() {
    let Some(host) = Host::new() else { return };
    host.detach(&long("d")).ok();
    let before = runs(&host, "d");
    let agent = eventually(10, "an agent", || host.agents().first().copied());
    let daemon = host.serve(&[]);
    eventually(10, "the agent has left", || {
        host.agents().is_empty().then_some(())
    });
    eventually(10, "it was adopted", || {
        daemon.log().contains("Adopted").then_some(())
    });
    host.detach(&long("e")).ok();
    assert!(host.agents().is_empty(), "the daemon looks after all");
    host.rkubelet(&["serve"])
        .run()
        .code(1)
        .complains(&format!("pid {}", daemon.pid()));
    daemon.stop();
    let next = eventually(10, "another agent", || host.agents().first().copied());
    assert_ne!(agent, next);
    let daemon = host.serve(&[]);
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
    daemon.stop();
    assert!(host.agents().is_empty(), "there is nothing to look after");
    host.assert_no_pods(&uids);
}

/// However soon one follows the other, nobody finds the pods still taken.
#[test]
fn hands_may_change_quickly() {
    let Some(host) = Host::new() else { return };
    let names = ["a", "b", "c", "d"];
    for name in names {
        host.detach(&long(name)).ok();
    }
    for round in 1..=10 {
        eventually(10, "an agent", || host.agents().first().copied());
        let daemon = host.serve(&[]);
        eventually(10, "the daemon has them all", || {
            let log = daemon.log();
            assert!(
                !log.contains("another rkubelet looks after"),
                "{round}: {log}"
            );
            (log.matches("Adopted").count() == names.len()).then_some(())
        });
        daemon.stop();
    }
}

/// Whoever lets go of a pod late, because it takes its time to end: the pod has somebody as soon as it is free.
#[test]
fn a_pod_that_another_process_still_has_is_taken_up_later() {
    let Some(host) = Host::new() else { return };
    host.detach(&long("d")).ok();
    let pod = runs(&host, "d");
    let own = host.run_root().join("pods").join(uid(&pod));
    let hold = || {
        let lock = std::fs::File::open(own.join("lock")).unwrap();
        eventually(10, "the pod is free", || {
            flock(&lock, FlockOperation::NonBlockingLockExclusive).ok()
        });
        lock
    };
    let events = host
        .root()
        .join("pods")
        .join(uid(&pod))
        .join("events.jsonl");
    let attended = |times: usize| {
        eventually(20, "somebody takes it up", || {
            let events = std::fs::read_to_string(&events).unwrap();
            (events.matches("Adopted").count() == times).then_some(())
        });
    };
    let agent = eventually(10, "an agent", || host.agents().first().copied());
    kill_process(Pid::from_raw(agent).unwrap(), Signal::KILL).unwrap();
    let lock = hold();
    let daemon = host.serve(&[]);
    eventually(10, "the daemon sees that it is taken", || {
        daemon
            .log()
            .contains("another rkubelet looks after")
            .then_some(())
    });
    drop(lock);
    attended(1);
    daemon.kill();
    let lock = hold();
    host.detach(&long("e")).ok();
    drop(lock);
    attended(2);
}

/// SIGHUP starts the daemon anew under the same pid; a mistake in the settings leaves it as it was.
#[test]
fn a_hang_up_reloads_the_settings() {
    let Some(host) = Host::new() else { return };
    host.image();
    host.manifest("a", &long("a"));
    let other = host.dir().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("b.yaml"), long("b")).unwrap();
    let settings = |text: String| host.file("kubelet.yaml", text);
    let kind = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nevictionHard: {memory.available: 1Mi}\n";
    let path = |dir: &std::path::Path| format!("{kind}staticPodPath: {}\n", dir.display());
    let file = settings(path(&host.manifests()));
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
        let pod = host.listed("a")?;
        (pod["status"]["phase"] != "Running").then_some(())
    });
    let uids = host.uids();
    std::fs::remove_file(other.join("b.yaml")).unwrap();
    daemon.signal(Signal::HUP);
    eventually(20, "the other ends too", || {
        (host.listed("b")?["status"]["phase"] != "Running").then_some(())
    });
    daemon.signal(Signal::TERM);
    daemon.wait().ok();
    host.rkubelet(&["rm", "--all"]).run().ok();
    host.assert_no_pods(&uids);
}

fn uid(pod: &Value) -> &str {
    pod["metadata"]["uid"].as_str().unwrap()
}

/// The pod called `name` once `what` is true of it.
fn until(host: &Host, name: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    eventually(20, what, || host.listed(name).filter(|pod| is(pod)))
}

#[test]
fn a_changed_manifest_updates_the_pod_or_replaces_it() {
    let Some(host) = Host::new() else { return };
    let manifest = |label: &str, script: &str| {
        let mut pod: Value = serde_json::from_str(&pod(
            "p",
            &[sh("c", script)],
            json!({"restartPolicy": "Always"}),
        ))
        .unwrap();
        pod["metadata"]["labels"] = json!({"version": label});
        pod.to_string()
    };
    host.manifest("p", &manifest("one", LOOP));
    let daemon = host.serve(&[]);
    let first = runs(&host, "p");
    host.manifest("p", &manifest("two", LOOP));
    let second = until(&host, "p", "the new label", |pod| {
        pod["metadata"]["labels"]["version"] == "two"
    });
    for field in UNCHANGED {
        assert_eq!(first.pointer(field), second.pointer(field), "{field}");
    }
    // The same words in another file, and in another form, change nothing.
    host.remove_manifest("p");
    host.manifest("q", &manifest("two", LOOP));
    host.manifest("q", &manifest("three", &LOOP.replace("up", "other")));
    let third = until(&host, "p", "another pod", |pod| {
        uid(pod) != uid(&first) && pod["status"]["phase"] == "Running"
    });
    assert_eq!(third["metadata"]["labels"]["version"], "three");
    host.rkubelet(&["logs", "p"]).run().ok().says("other");
    assert_eq!(
        host.uids(),
        [uid(&third)],
        "nothing is left of the first one"
    );
    daemon.stop();
}

#[test]
fn a_removed_manifest_ends_its_pod_and_a_new_one_starts_afresh() {
    let Some(host) = Host::new() else { return };
    host.manifest("p", &long("p"));
    let daemon = host.serve(&[]);
    let first = runs(&host, "p");
    host.remove_manifest("p");
    until(&host, "p", "its end", |pod| {
        pod["status"]["phase"] == "Succeeded"
    });
    host.rkubelet(&["logs", "p", "--tail", "1"])
        .run()
        .ok()
        .says("bye");
    host.manifest("p", &long("p"));
    let second = until(&host, "p", "another pod", |pod| {
        pod["status"]["phase"] == "Running"
    });
    assert_ne!(uid(&first), uid(&second));
    daemon.stop();
}

#[test]
fn a_pod_that_clashes_is_refused_until_its_place_is_free() {
    let Some(host) = Host::new() else { return };
    let with_port = |name: &str| {
        let port = json!({"ports": [{"containerPort": 80, "hostPort": 8080}]});
        pod(
            name,
            &[with(sh("c", LOOP), port)],
            json!({"restartPolicy": "Always"}),
        )
    };
    host.detach(&long("name")).ok();
    host.manifest("name", &long("name"));
    host.manifest("a", &with_port("a"));
    let daemon = host.serve(&[]);
    runs(&host, "a");
    host.manifest("b", &with_port("b"));
    // Neither twice in one source.
    host.manifest("z", &long("a"));
    let refused = until(&host, "b", "the refusal", |pod| {
        pod["status"]["reason"] == "Refused"
    });
    let message = refused["status"]["message"].as_str().unwrap();
    assert!(
        message.contains("8080") && message.contains("default/a"),
        "{message}"
    );
    let shown = host.rkubelet(&["ps"]).run().ok();
    for words in [
        "name.yaml is refused: pod default/name runs already by `rkubelet run`",
        "z.yaml is refused: pod default/a is wanted by file",
    ] {
        assert!(shown.stderr.contains(words), "{words} in {}", shown.stderr);
    }
    assert!(
        daemon
            .log()
            .contains("host port 8080/TCP is taken by pod default/a"),
        "{}",
        daemon.log()
    );
    host.remove_manifest("z");
    host.remove_manifest("a");
    runs(&host, "b");
    let old = host.state("name").map(|state| state["start_time"].clone());
    host.rkubelet(&["stop", "name"]).run().ok();
    until(&host, "name", "the pod of the file", |pod| {
        pod["status"]["phase"] == "Running"
            && host.state("name").map(|state| state["start_time"].clone()) != old
    });
    daemon.stop();
    assert!(!host.run_root().join("problems.json").exists());
}

/// What is wrong with one of them is no concern of the others.
#[test]
fn broken_manifests_and_broken_records_harm_nobody_else() {
    let Some(host) = Host::new() else { return };
    host.manifest("good", &long("good"));
    host.manifest("turns", &long("turns"));
    let daemon = host.serve(&[]);
    let good = runs(&host, "good");
    let turns = runs(&host, "turns");
    host.manifest(
        "turns",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: turns}\nspec: {containers: [{nmae: c}]}\n",
    );
    host.manifest("bad", "{");
    eventually(20, "the reason", || {
        host.rkubelet(&["ps"])
            .run()
            .ok()
            .stderr
            .contains("nmae")
            .then_some(())
    });
    daemon.kill();
    let broken = host.root().join("pods").join("0000-broken");
    std::fs::create_dir(&broken).unwrap();
    std::fs::write(broken.join("pod.json"), "{").unwrap();
    let newer = host.root().join("pods").join("0000-newer");
    std::fs::create_dir(&newer).unwrap();
    let record =
        std::fs::read_to_string(host.root().join("pods").join(uid(&good)).join("pod.json"))
            .unwrap();
    std::fs::write(
        newer.join("pod.json"),
        record.replacen("\"version\":1", "\"version\":99", 1),
    )
    .unwrap();
    let daemon = host.serve(&[]);
    eventually(20, "both are looked after again", || {
        (!host
            .rkubelet(&["ps"])
            .run()
            .ok()
            .stdout
            .contains("unattended"))
        .then_some(())
    });
    for (name, before) in [("good", good), ("turns", turns)] {
        let after = runs(&host, name);
        for field in UNCHANGED {
            assert_eq!(
                before.pointer(field),
                after.pointer(field),
                "{name} {field}"
            );
        }
    }
    let log = daemon.log();
    assert!(
        log.contains("0000-broken") && log.contains("newer rkubelet"),
        "{log}"
    );
    assert!(
        newer.join("pod.json").exists(),
        "what a newer one wrote is kept for it"
    );
    daemon.stop();
}

/// What a source wants is not stopped by the way, and comes back in other words or when it is removed by force.
#[test]
fn a_pod_of_a_source_is_stopped_until_its_manifest_changes() {
    let Some(host) = Host::new() else { return };
    host.manifest("p", &long("p"));
    let daemon = host.serve(&[]);
    let first = runs(&host, "p");
    let rk = |words: &[&str]| host.rkubelet(words).run();
    rk(&["stop", "p"]).code(1).complains("p.yaml");
    rk(&["reset", "--force"])
        .code(1)
        .complains(&daemon.pid().to_string());
    runs(&host, "p");
    rk(&["stop", "--until-changed", "p"]).ok();
    host.await_phase("p", "Succeeded");
    rk(&["rm", "p"]).code(1).complains("p.yaml");
    daemon.stop();
    let daemon = host.serve(&[]);
    // The same words again: it stays ended.
    host.manifest("p", &long("p"));
    host.manifest("q", &long("q"));
    runs(&host, "q");
    assert_eq!(host.listed("p").unwrap()["status"]["phase"], "Succeeded");
    host.manifest("p", &long("p").replace("up", "changed"));
    let second = runs(&host, "p");
    assert_ne!(uid(&first), uid(&second));
    rk(&["rm", "-f", "p"]).ok();
    let third = until(&host, "p", "another one", |pod| {
        pod["status"]["phase"] == "Running" && uid(pod) != uid(&second)
    });
    assert_eq!(
        first["spec"]["containers"][0]["name"],
        third["spec"]["containers"][0]["name"]
    );
    daemon.stop();
}

/// A command in the foreground has a name for as long as it runs; the source's pod follows it.
#[test]
fn a_name_that_a_foreground_command_has_is_taken_up_when_it_ends() {
    let Some(host) = Host::new() else { return };
    let mut command = host.start(&long("p"));
    command.await_stdout("up");
    host.manifest("p", &long("p"));
    let daemon = host.serve(&[]);
    eventually(20, "the refusal", || {
        let shown = host.rkubelet(&["ps"]).run().ok().stderr;
        shown.contains("p.yaml is refused").then_some(())
    });
    command.signal(Signal::INT);
    command.wait().ok();
    let pod = runs(&host, "p");
    assert_eq!(host.uids(), [uid(&pod)]);
    daemon.stop();
}
