//! The daemon may be killed at any instant, and the machine restarted: pods go on, and nothing of them is lost.
use crate::support::{pod, sh, with};
use rkube_tests::{Host, eventually};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Jobs are looked at, and taken away, after so many rounds.
const BATCH: usize = 15;
/// How many lines a job writes.
const LINES: usize = 40;

fn rounds() -> usize {
    if std::env::var_os("RKUBE_SOAK").is_some() {
        300
    } else {
        30
    }
}

/// A number that differs from round to round in no obvious way (the splitmix64 sequence).
fn scatter(round: usize) -> u64 {
    let mut number = (round as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number ^ (number >> 27)
}

/// Starts a daemon and kills it after `moment`, wherever it stands then.
fn serve_for(host: &Host, moment: Duration) {
    let manifests = host.manifests();
    let arguments = [
        "serve",
        "--config",
        manifests.to_str().unwrap(),
        "--eviction-hard=memory.available<1Mi",
    ];
    let started = Instant::now();
    let daemon = host.rkubelet(&arguments).start();
    while started.elapsed() < moment {
        std::thread::yield_now();
    }
    daemon.signal(Signal::KILL);
    daemon.wait().code(137);
}

fn job(round: usize) -> String {
    let script = format!(
        "n=0; while [ $n -lt {LINES} ]; do n=$((n+1)); echo line $n; done; exit {}",
        round % 5
    );
    pod(
        &format!("job-{round}"),
        &[sh("c", &script)],
        json!({"restartPolicy": "Never"}),
    )
}

fn steady() -> String {
    let script = "n=0; while :; do n=$((n+1)); echo line $n; sleep 0.02; done";
    pod(
        "steady",
        &[sh("c", script)],
        json!({"restartPolicy": "Always", "terminationGracePeriodSeconds": 0}),
    )
}

fn probed() -> String {
    let probe = json!({"readinessProbe": {"exec": {"command": ["true"]}, "periodSeconds": 1}});
    let more = json!({"restartPolicy": "Always", "terminationGracePeriodSeconds": 0});
    pod("probed", &[with(sh("c", "sleep 100000"), probe)], more)
}

fn container(state: &Value) -> &Value {
    &state["containers"][0]
}

/// The job as it is on disk, once it is over.
fn ended(host: &Host, round: usize) -> Value {
    eventually(30, "the job is over", || {
        host.state(&format!("job-{round}"))
            .filter(|state| ["Failed", "Succeeded"].contains(&state["phase"].as_str().unwrap()))
    })
}

/// Insists that the numbered lines of a log are all there, each once, in order.
#[track_caller]
fn assert_lines(host: &Host, name: &str, whole: Option<usize>) {
    let log = host.rkubelet(&["logs", name]).run().ok().stdout;
    let lines: Vec<&str> = log.lines().collect();
    for (index, line) in lines.iter().enumerate() {
        assert_eq!(*line, format!("line {}", index + 1), "{name}");
    }
    assert!(
        whole.is_none_or(|whole| whole == lines.len()),
        "{name}: {} lines",
        lines.len()
    );
    assert!(!lines.is_empty(), "{name} wrote nothing");
}

/// Looks at the jobs of some rounds under a daemon that is left alone, and takes them away.
fn settle(host: &Host, jobs: std::ops::Range<usize>, uids: &mut BTreeSet<String>) {
    let daemon = host.serve(&[]);
    for round in jobs.clone() {
        let state = ended(host, round);
        let end = &container(&state)["state"]["Terminated"];
        assert_eq!(end["exit_code"], round % 5, "job {round}: {state}");
        assert_eq!(container(&state)["restarts"], 0, "job {round} ran twice");
        assert_lines(host, &format!("job-{round}"), Some(LINES));
    }
    uids.extend(host.uids());
    for round in jobs {
        host.remove_manifest(&format!("job-{round}"));
    }
    daemon.stop();
}

/// However often it is killed: what runs runs on, what ends is noted once, what is asked for is started once.
#[test]
fn daemons_killed_at_random_lose_nothing() {
    let Some(host) = Host::new() else { return };
    host.image();
    host.manifest("steady", &steady());
    host.manifest("probed", &probed());
    let daemon = host.serve(&[]);
    let is_ready = |state: &Value| container(state)["ready"] == true;
    let ready = eventually(20, "the probe has passed", || {
        host.state("probed").filter(is_ready)
    });
    let before = eventually(20, "it runs", || {
        host.state("steady")
            .filter(|state| state["phase"] == "Running")
    });
    daemon.kill();
    let mut uids = BTreeSet::new();
    let mut first = 0;
    for round in 0..rounds() {
        host.manifest(&format!("job-{round}"), &job(round));
        serve_for(&host, Duration::from_micros(scatter(round) % 250_000));
        let state = host.state("probed").expect("its record");
        assert_eq!(
            container(&state)["ready"],
            true,
            "round {round}: readiness flipped"
        );
        if (round + 1) % BATCH == 0 {
            settle(&host, first..round + 1, &mut uids);
            first = round + 1;
        }
    }
    let daemon = host.serve(&[]);
    let after = host.state("steady").expect("its record");
    for field in ["state", "restarts"] {
        assert_eq!(
            container(&before)[field],
            container(&after)[field],
            "{field}"
        );
    }
    assert_eq!(
        container(&ready)["state"],
        container(&host.state("probed").expect("its record"))["state"]
    );
    assert_lines(&host, "steady", None);
    let running = host
        .processes()
        .iter()
        .filter(|(_, name)| name.contains("rkube-pau"))
        .count();
    assert_eq!(running, 2, "supervisors of the two pods that run");
    host.remove_manifest("steady");
    host.remove_manifest("probed");
    eventually(20, "both have ended", || {
        let over = |name| {
            host.state(name)
                .is_none_or(|state| state["phase"] != "Running")
        };
        (over("steady") && over("probed")).then_some(())
    });
    uids.extend(host.uids());
    host.rkubelet(&["rm", "--all"]).run().ok();
    daemon.stop();
    host.assert_no_pods(&uids.into_iter().collect::<Vec<_>>());
}

/// A daemon that is killed while a pod ends finishes that when it comes back, once.
#[test]
fn daemons_killed_while_pods_end_finish_their_work() {
    let Some(host) = Host::new() else { return };
    host.image();
    let script = "trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.01; done";
    let more = json!({"restartPolicy": "Always", "terminationGracePeriodSeconds": 5});
    let mut uids = BTreeSet::new();
    for round in 0..rounds() / 3 {
        let name = format!("p{round}");
        host.manifest(&name, &pod(&name, &[sh("c", script)], more.clone()));
        let daemon = host.serve(&[]);
        eventually(20, "it runs", || {
            host.state(&name)
                .filter(|state| state["phase"] == "Running")
        });
        eventually(10, "it listens", || {
            host.rkubelet(&["logs", &name])
                .run()
                .stdout
                .contains("up")
                .then_some(())
        });
        uids.extend(host.uids());
        host.remove_manifest(&name);
        let moment = Instant::now() + Duration::from_micros(scatter(round) % 60_000);
        while Instant::now() < moment {
            std::thread::yield_now();
        }
        daemon.kill();
        let daemon = host.serve(&[]);
        let state = eventually(20, "it is over", || {
            host.state(&name).filter(|state| state["phase"] == "Failed")
        });
        let end = &container(&state)["state"]["Terminated"];
        assert_eq!(end["exit_code"], 7, "{state}");
        host.rkubelet(&["logs", &name]).run().ok().says("up\nbye\n");
        daemon.stop();
        host.rkubelet(&["rm", "--all"]).run().ok();
    }
    host.assert_no_pods(&uids.into_iter().collect::<Vec<_>>());
}

fn supervisors(host: &Host) -> Vec<i32> {
    let all = host.processes().into_iter();
    all.filter(|(_, name)| name.contains("rkube-pau"))
        .map(|(pid, _)| pid)
        .collect()
}

/// Takes away what a restart of the machine takes away: all processes, and everything under /run.
fn restart_machine(host: &Host) {
    for pid in supervisors(host) {
        kill_process(Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    }
    eventually(10, "all processes are gone", || {
        supervisors(host).is_empty().then_some(())
    });
    for uid in host.uids() {
        let shm = host.run_root().join("pods").join(&uid).join("shm");
        let _ = rustix::mount::unmount(&shm, rustix::mount::UnmountFlags::DETACH);
        let path = host.root().join("pods").join(&uid).join("state.json");
        let text = std::fs::read_to_string(&path).unwrap();
        let mut state: Value = serde_json::from_str(&text).unwrap();
        state["boot_id"] = json!("the boot before");
        std::fs::write(&path, state.to_string()).unwrap();
    }
    std::fs::remove_dir_all(host.run_root()).unwrap();
}

/// After a restart of the machine all pods that are to run are back, with the files they had, and no master is asked.
#[test]
fn pods_come_back_after_a_restart_of_the_machine() {
    let Some(host) = Host::new() else { return };
    host.image();
    let script = "echo boot >> /v/boots; cat /v/boots; exec sleep 100000";
    let kept = json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]});
    let more = json!({"restartPolicy": "Always", "terminationGracePeriodSeconds": 0, "volumes": [{"name": "v", "emptyDir": {}}]});
    host.manifest("p", &pod("p", &[with(sh("c", script), kept)], more));
    host.manifest("job-4", &job(4));
    let daemon = host.serve(&[]);
    let job = ended(&host, 4);
    eventually(10, "it has written", || {
        host.rkubelet(&["logs", "p"])
            .run()
            .stdout
            .contains("boot")
            .then_some(())
    });
    let uids = host.uids();
    daemon.kill();
    restart_machine(&host);
    let daemon = host.serve(&[]);
    let after = eventually(20, "it runs again", || {
        host.state("p")
            .filter(|state| state["phase"] == "Running" && container(state)["restarts"] == 1)
    });
    assert_eq!(host.uids(), uids, "the same pods");
    assert_eq!(container(&after)["last"]["exit_code"], 137);
    eventually(10, "its files are there", || {
        host.rkubelet(&["logs", "p"])
            .run()
            .stdout
            .contains("boot\nboot\n")
            .then_some(())
    });
    host.rkubelet(&["logs", "p", "--previous"])
        .run()
        .ok()
        .says("boot\n");
    let over = host.state("job-4").expect("its record");
    assert_eq!(
        over["containers"], job["containers"],
        "what was over stays so"
    );
    host.remove_manifest("p");
    host.remove_manifest("job-4");
    eventually(20, "its end", || {
        host.state("p").filter(|state| state["phase"] == "Failed")
    });
    daemon.stop();
    host.rkubelet(&["rm", "--all"]).run().ok();
    host.assert_no_pods(&uids);
}

/// A pod whose supervisor dies is taken down cleanly and started again.
#[test]
fn a_killed_supervisor_restarts_its_pod() {
    let Some(host) = Host::new() else { return };
    host.image();
    host.manifest("steady", &steady());
    host.manifest("probed", &probed());
    let daemon = host.serve(&[]);
    let other = eventually(20, "it runs", || {
        host.state("probed")
            .filter(|state| container(state)["ready"] == true)
    });
    let state = eventually(20, "it runs", || {
        host.state("steady")
            .filter(|state| state["phase"] == "Running")
    });
    let supervisor = i32::try_from(state["supervisor"].as_i64().unwrap()).unwrap();
    kill_process(Pid::from_raw(supervisor).unwrap(), Signal::KILL).unwrap();
    eventually(20, "it runs again", || {
        host.state("steady")
            .filter(|state| state["phase"] == "Running" && container(state)["restarts"] == 1)
    });
    assert_eq!(
        other["containers"],
        host.state("probed").expect("its record")["containers"]
    );
    let uids = host.uids();
    for name in ["steady", "probed"] {
        host.remove_manifest(name);
    }
    for name in ["steady", "probed"] {
        host.await_phase(name, "Failed");
    }
    daemon.stop();
    host.rkubelet(&["rm", "--all"]).run().ok();
    host.assert_no_pods(&uids);
}

/// With a grace period for it, the end of the host ends the pods in order; they come back with the host.
#[test]
fn the_end_of_the_host_ends_pods_in_order_and_they_come_back() {
    let Some(host) = Host::new() else { return };
    host.image();
    let order = host.dir().join("order");
    std::fs::create_dir(&order).unwrap();
    let manifest = |name: &str, priority: i64| {
        let script =
            format!("trap 'echo {name} >> /v/order; exit 0' TERM; while :; do sleep 0.01; done");
        let mounts = json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]});
        let more = json!({"restartPolicy": "Always", "priority": priority,
            "volumes": [{"name": "v", "hostPath": {"path": order}}]});
        pod(name, &[with(sh("c", &script), mounts)], more)
    };
    host.manifest("critical", &manifest("critical", 2_000_000_000));
    host.manifest("plain", &manifest("plain", 0));
    // Stands for the service manager of a host that is going down.
    let bin = host.dir().join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::fs::write(bin.join("systemctl"), "#!/bin/sh\necho stopping\nexit 1\n").unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(bin.join("systemctl"), executable).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let settings = host.file(
        "shutdown.yaml",
        "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nshutdownGracePeriod: 20s\n\
         shutdownGracePeriodCriticalPods: 10s\nevictionHard: {memory.available: 1Mi}\n",
    );
    let daemon = host.serve_env(&["--config-file", &settings], &[("PATH", &path)]);
    for name in ["plain", "critical"] {
        host.await_phase(name, "Running");
        eventually(10, "its shell listens", || {
            host.rkubelet(&["exec", name, "--", "true"])
                .run()
                .code
                .eq(&0)
                .then_some(())
        });
    }
    let uids = host.uids();
    daemon.stop();
    assert_eq!(supervisors(&host), [0; 0], "nothing runs on");
    let ended = std::fs::read_to_string(order.join("order")).unwrap();
    assert_eq!(ended, "plain\ncritical\n");
    for name in ["plain", "critical"] {
        let state = host.state(name).unwrap();
        assert_eq!(state["reason"], "Terminated");
        assert!(state["message"].as_str().unwrap().contains("node shutdown"));
    }
    let daemon = host.serve(&[]);
    for name in ["plain", "critical"] {
        eventually(20, "it runs again", || {
            host.state(name)
                .filter(|state| state["phase"] == "Running" && container(state)["restarts"] == 1)
        });
    }
    for name in ["plain", "critical"] {
        assert_eq!(host.state(name).unwrap()["reason"], "");
    }
    assert_eq!(host.uids(), uids, "the same pods");
    daemon.stop();
}

/// What a power cut tore is found out again: nothing happens to the pod's containers.
#[test]
fn a_damaged_state_is_found_out_again() {
    let Some(host) = Host::new() else { return };
    host.image();
    let script = [sh("c", "exec sleep 100000")];
    host.manifest(
        "p",
        &pod("p", &script, json!({"terminationGracePeriodSeconds": 0})),
    );
    let runs = || host.state("p").filter(|state| state["phase"] == "Running");
    let daemon = host.serve(&[]);
    let before = eventually(10, "it runs", runs);
    daemon.kill();
    let state = host
        .root()
        .join("pods")
        .join(&host.uids()[0])
        .join("state.json");
    std::fs::write(state, "{\"version\":1,\"boot_id\":\"").unwrap();
    let daemon = host.serve(&[]);
    let after = eventually(10, "it is known to run", runs);
    assert_eq!(container(&after)["restarts"], 0);
    let pid = |state: &Value| container(state)["state"]["Running"]["pid"].clone();
    assert_eq!(pid(&after), pid(&before));
    host.remove_manifest("p");
    eventually(10, "it is gone", || {
        host.uids().is_empty().then_some(()).or_else(|| {
            let state = host.state("p")?;
            (state["phase"] == "Failed" || state["phase"] == "Succeeded").then_some(())
        })
    });
    drop(daemon);
}
