//! Detached pods: they outlive their command, their agent, and everything but their supervisor.
use crate::support::{pod, sh, with};
use rkube_tests::{Host, Outcome, eventually};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

fn long(name: &str, policy: &str) -> String {
    let script = "trap 'echo bye; exit 0' TERM; echo up; n=0; while :; do n=$((n+1)); echo line $n; sleep 0.05; done";
    pod(
        name,
        &[sh("c", script)],
        json!({"restartPolicy": policy, "terminationGracePeriodSeconds": 5}),
    )
}

fn processes(host: &Host, name: &str) -> Vec<i32> {
    host.processes()
        .into_iter()
        .filter(|(_, comm)| comm.contains(name))
        .map(|(pid, _)| pid)
        .collect()
}

/// The agent: the only `rkubelet` that is left when no command runs.
fn agent(host: &Host) -> i32 {
    eventually(10, "an agent", || host.agents().first().copied())
}

fn kill(pid: i32) {
    kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    eventually(10, "the process is gone", || {
        (!std::path::Path::new(&format!("/proc/{pid}/fd/0")).exists()).then_some(())
    });
}

fn rk(host: &Host, arguments: &[&str]) -> Outcome {
    host.rkubelet(arguments).run()
}

/// The pod as `ps -o json` has it.
fn listed(host: &Host, name: &str) -> Option<Value> {
    let list: Value =
        serde_json::from_str(&rk(host, &["ps", "-a", "-o", "json"]).ok().stdout).unwrap();
    list["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|pod| pod["metadata"]["name"] == name)
        .cloned()
}

fn restarts(host: &Host, name: &str) -> i64 {
    listed(host, name).map_or(0, |pod| {
        pod["status"]["containerStatuses"][0]["restartCount"]
            .as_i64()
            .unwrap()
    })
}

#[test]
fn a_detached_pod_outlives_its_command_and_the_agent_ends_with_it() {
    let Some(host) = Host::new() else { return };
    host.detach(&long("a", "Always")).ok().says("default/a");
    host.detach(&long("b", "Always")).ok();
    let agent = agent(&host);
    assert_eq!(host.agents(), [agent], "one agent for all pods");
    rk(&host, &["ps"])
        .ok()
        .says("a ")
        .says("b ")
        .says("Running");
    let uids = host.uids();
    rk(&host, &["stop", "a"]).ok();
    rk(&host, &["logs", "a", "--tail", "1"]).ok().says("bye");
    rk(&host, &["rm", "a"]).ok();
    assert_eq!(host.uids().len(), 1);
    assert_eq!(host.agents(), [agent]);
    rk(&host, &["rm", "-f", "b"]).ok();
    eventually(10, "the agent has ended with its last pod", || {
        host.agents().is_empty().then_some(())
    });
    host.assert_no_pods(&uids);
    assert!(!host.run_root().join("agent.sock").exists());
}

#[test]
fn a_killed_agent_is_replaced_and_misses_nothing() {
    let Some(host) = Host::new() else { return };
    let script = "echo up; until [ -e /v/go ]; do sleep 0.02; done; echo went; exit 7";
    let volume = host.dir().join("shared");
    std::fs::create_dir(&volume).unwrap();
    let container = with(
        sh("c", script),
        json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]}),
    );
    let volumes = json!({"volumes": [{"name": "v", "hostPath": {"path": volume}}]});
    host.detach(&pod("p", &[container], volumes)).ok();
    let supervisor = processes(&host, "rkube-pau");
    kill(agent(&host));
    // Nobody watches while the container ends; its exit and its last words are kept.
    std::fs::write(volume.join("go"), "").unwrap();
    eventually(10, "the last line in the log", || {
        rk(&host, &["logs", "p"])
            .stdout
            .contains("went")
            .then_some(())
    });
    let status = eventually(10, "the pod's end", || {
        let pod = listed(&host, "p")?;
        let state = &pod["status"]["containerStatuses"][0]["state"];
        state["terminated"]["exitCode"].as_i64()
    });
    assert_eq!(status, 7);
    eventually(10, "the pod is over", || {
        (listed(&host, "p")?["status"]["phase"] == "Failed").then_some(())
    });
    assert_eq!(supervisor.len(), 1);
    rk(&host, &["logs", "p"]).ok().says("up\nwent\n");
    rk(&host, &["rm", "p"]).ok();
}

/// However often the agent is killed, at whatever moment: the container runs on and is never started twice.
#[test]
fn agents_killed_at_random_lose_no_container() {
    let Some(host) = Host::new() else { return };
    host.detach(&long("p", "Always")).ok();
    let supervisor = processes(&host, "rkube-pau");
    let rounds = if std::env::var_os("RKUBE_SOAK").is_some() {
        200
    } else {
        8
    };
    for round in 0..rounds {
        // `ps` wakes an agent if there is none; it dies somewhere on its way up, later each time.
        let waker = host.rkubelet(&["ps"]).start();
        let started = std::time::Instant::now();
        let moment = std::time::Duration::from_micros(u64::try_from(round % 40).unwrap() * 700);
        while started.elapsed() < moment {
            std::thread::yield_now();
        }
        for pid in host.agents() {
            // It may have ended by itself.
            let _ = kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL);
        }
        drop(waker.wait());
    }
    rk(&host, &["ps"]).ok().says("Running");
    assert_eq!(
        processes(&host, "rkube-pau"),
        supervisor,
        "one supervisor, the same"
    );
    assert_eq!(restarts(&host, "p"), 0);
    rk(&host, &["stop", "p"]).ok();
    rk(&host, &["logs", "p", "--tail", "1"]).ok().says("bye");
    let uids = host.uids();
    rk(&host, &["rm", "p"]).ok();
    host.assert_no_pods(&uids);
}

/// The kernel ends a pod whose supervisor dies; the agent starts it again.
#[test]
fn a_killed_supervisor_is_replaced() {
    let Some(host) = Host::new() else { return };
    host.detach(&long("p", "Always")).ok();
    let [supervisor] = processes(&host, "rkube-pau")[..] else {
        panic!("one supervisor")
    };
    eventually(20, "the container has spoken", || {
        let said = rk(&host, &["logs", "p"]).stdout;
        said.contains("up").then_some(())
    });
    kill(supervisor);
    eventually(20, "another supervisor", || {
        let now = processes(&host, "rkube-pau");
        (now.len() == 1 && now[0] != supervisor).then_some(())
    });
    eventually(20, "the container runs again", || {
        let pod = listed(&host, "p")?;
        let one = &pod["status"]["containerStatuses"][0];
        (one["restartCount"] == 1 && one["state"]["running"].is_object()).then_some(())
    });
    rk(&host, &["exec", "p", "--", "true"]).ok();
    rk(&host, &["logs", "p", "--previous"]).ok().says("up");
    rk(&host, &["rm", "-f", "p"]).ok();
}

#[test]
fn a_name_is_taken_until_its_pod_is_over() {
    let Some(host) = Host::new() else { return };
    host.detach(&long("p", "Always")).ok();
    host.detach(&long("p", "Always"))
        .code(1)
        .complains("default/p");
    rk(&host, &["rm", "p"]).code(1).complains("p");
    rk(&host, &["stop", "p"]).ok();
    host.detach(&long("p", "Always")).ok();
    assert_eq!(host.uids().len(), 1);
    rk(&host, &["rm", "-f", "p"]).ok();
}

/// The pod of a foreground command that was killed goes on, and can be looked at and stopped.
#[test]
fn a_killed_foreground_leaves_a_pod_that_can_be_stopped() {
    let Some(host) = Host::new() else { return };
    let mut running = host.start(&long("p", "Always"));
    running.await_stdout("line 1");
    running.signal(Signal::KILL);
    assert_eq!(running.wait().code, 137);
    let uids = host.uids();
    rk(&host, &["ps"]).ok().says("p ");
    rk(&host, &["exec", "p", "--", "true"]).ok();
    rk(&host, &["stop", "p"]).ok();
    rk(&host, &["logs", "p", "--tail", "1"]).ok().says("bye");
    rk(&host, &["rm", "p"]).ok();
    host.assert_no_pods(&uids);
}

/// A detached pod that does not come up says why, and is gone.
#[test]
fn a_detached_pod_that_cannot_start_is_refused() {
    let Some(host) = Host::new() else { return };
    let bad = pod(
        "p",
        &[json!({"name": "c", "image": Host::IMAGE, "command": ["nosuch"]})],
        json!({}),
    );
    host.detach(&bad).code(127).complains("nosuch");
    assert_eq!(host.uids(), Vec::<String>::new());
    eventually(10, "the agent has ended", || {
        host.agents().is_empty().then_some(())
    });
}

#[test]
fn a_short_detached_pod_is_kept_with_its_end() {
    let Some(host) = Host::new() else { return };
    host.detach(&pod("p", &[sh("c", "echo done; exit 3")], json!({})))
        .ok();
    let phase = eventually(10, "the pod's end", || {
        listed(&host, "p").filter(|pod| pod["status"]["phase"] == "Failed")
    });
    assert_eq!(
        phase["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"],
        3
    );
    rk(&host, &["logs", "p"]).ok().says("done");
    rk(&host, &["rm", "--all"]).ok();
    assert_eq!(host.uids(), Vec::<String>::new());
}

/// Last words come from the file for them, or from the log if the policy says so and there was a failure.
#[test]
fn last_words_are_kept() {
    let Some(host) = Host::new() else { return };
    let fallback = json!({"terminationMessagePolicy": "FallbackToLogsOnError"});
    let containers = [
        sh(
            "file",
            "echo written > /dev/termination-log; echo logged; exit 1",
        ),
        with(
            sh("other", "echo elsewhere > /tmp/why; exit 1"),
            json!({"terminationMessagePath": "/tmp/why"}),
        ),
        with(sh("log", "echo logged; exit 1"), fallback.clone()),
        with(sh("fine", "echo logged"), fallback),
        sh("silent", "echo logged; exit 1"),
    ];
    host.detach(&pod("p", &containers, json!({}))).ok();
    let pod = eventually(10, "the pod's end", || {
        listed(&host, "p").filter(|pod| pod["status"]["phase"] == "Failed")
    });
    let statuses = pod["status"]["containerStatuses"].as_array().unwrap();
    let said: Vec<&str> = statuses
        .iter()
        .map(|status| {
            status["state"]["terminated"]["message"]
                .as_str()
                .unwrap_or("")
                .trim_end()
        })
        .collect();
    assert_eq!(said, ["written", "elsewhere", "logged", "", ""]);
    rk(&host, &["rm", "p"]).ok();
}

#[test]
fn reset_leaves_no_trace() {
    let Some(host) = Host::new() else { return };
    let _ = host.neighbour();
    let before = host.snapshot();
    let more = json!({"ports": [{"containerPort": 80, "hostPort": 8080}], "volumeMounts": [{"name": "m", "mountPath": "/m"}]});
    let spec = json!({"restartPolicy": "Always", "volumes": [{"name": "m", "emptyDir": {"medium": "Memory"}}]});
    host.detach(&pod("a", &[with(sh("c", "exec sleep 1000"), more)], spec))
        .ok();
    host.detach(&long("b", "Always")).ok();
    kill(agent(&host));
    let uids = host.uids();
    rk(&host, &["reset"]).code(2).complains("--force");
    assert_eq!(host.uids(), uids, "without --force nothing is touched");
    rk(&host, &["reset", "--force"]).ok();
    host.assert_no_pods(&uids);
    assert_eq!(host.snapshot().since(&before), Vec::<String>::new());
    for dir in [host.root(), host.run_root(), host.log_root()] {
        assert!(!dir.exists(), "{} is left", dir.display());
    }
    rk(&host, &["reset", "--force"]).ok();
}
