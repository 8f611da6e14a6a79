//! What keeps a node usable: eviction, image garbage collection, dead pods, log bounds, what crashes leave behind.
use crate::support::{pod, sh, with};
use rkube_tests::{Daemon, Disk, Host, Rootfs, eventually};
use serde_json::{Value, json};

const MI: u64 = 1 << 20;

/// A pod that holds so many MiB in memory until it is told to end.
fn holder(name: &str, mib: u64, requests: Value, more: Value) -> String {
    let script = format!(
        "dd if=/dev/zero of=/dev/shm/held bs=1M count={mib} 2>/dev/null; echo holding; \
         trap 'exit 0' TERM; while :; do sleep 0.05; done"
    );
    let container = with(
        sh("c", &script),
        json!({"resources": {"requests": requests}}),
    );
    pod(
        name,
        &[container],
        with(json!({"restartPolicy": "Always"}), more),
    )
}

fn serve_with(host: &Host, settings: Value) -> Daemon {
    // The tests' machine may be short of disk.
    let usual =
        json!({"evictionHard": {"memory.available": "1Mi"}, "imageGCHighThresholdPercent": 100});
    let file = host.file("kubelet.yaml", with(usual, settings).to_string());
    host.serve(&["--config-file", &file])
}

/// The node's events: reason and message.
fn events(host: &Host) -> Vec<(String, String)> {
    let text = std::fs::read_to_string(host.root().join("events.jsonl")).unwrap_or_default();
    let lines = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let word = |event: &Value, field: &str| event[field].as_str().unwrap_or_default().to_owned();
    lines
        .map(|event| (word(&event, "reason"), word(&event, "message")))
        .collect()
}

fn messages(host: &Host, reason: &str) -> Vec<String> {
    let all = events(host).into_iter();
    all.filter(|(of, _)| of == reason)
        .map(|(_, message)| message)
        .collect()
}

#[track_caller]
fn await_log(host: &Host, name: &str, words: &str) {
    eventually(20, &format!("{name} says {words}"), || {
        let logs = host.rkubelet(&["logs", name]).run();
        logs.stdout.contains(words).then_some(())
    });
}

/// The pod, once it was evicted and is over.
fn evicted(host: &Host, name: &str) -> Option<Value> {
    let pod = host.listed(name)?;
    (status(&pod, "reason") == "Evicted" && status(&pod, "phase") == "Failed").then_some(pod)
}

fn status<'a>(pod: &'a Value, field: &str) -> &'a str {
    pod["status"][field].as_str().unwrap_or_default()
}

#[test]
fn memory_pressure_evicts_in_the_documented_order() {
    let Some(host) = Host::new() else { return };
    let critical = json!({"priorityClassName": "system-node-critical"});
    let important = json!({"priority": 100});
    let none = json!({});
    for manifest in [
        ("critical", holder("critical", 48, none.clone(), critical)),
        (
            "within",
            holder("within", 16, json!({"memory": "400Mi"}), none.clone()),
        ),
        (
            "over",
            holder("over", 24, json!({"memory": "1Mi"}), none.clone()),
        ),
        ("effort", holder("effort", 40, none.clone(), none.clone())),
        (
            "important",
            holder("important", 48, none.clone(), important),
        ),
    ] {
        host.manifest(manifest.0, &manifest.1);
    }
    let names = ["critical", "within", "over", "effort", "important"];
    let daemon = host.serve(&[]);
    for name in names {
        await_log(&host, name, "holding");
    }
    daemon.stop();
    // More than the machine has: pods go one by one until only the critical one is left.
    let _daemon = serve_with(&host, json!({"evictionHard": {"memory.available": "99%"}}));
    let mut gone: Vec<(String, &str)> = ["within", "over", "effort", "important"]
        .into_iter()
        .map(|name| {
            let pod = eventually(40, &format!("{name} is evicted"), || evicted(&host, name));
            let message = status(&pod, "message");
            assert!(
                message.starts_with("The node was low on resource: memory. Threshold quantity:"),
                "{message}"
            );
            let ended = &pod["status"]["containerStatuses"][0]["state"]["terminated"];
            (ended["finishedAt"].as_str().unwrap().to_owned(), name)
        })
        .collect();
    gone.sort();
    let order: Vec<_> = gone.into_iter().map(|(_, name)| name).collect();
    assert_eq!(order, ["effort", "over", "important", "within"]);
    assert_eq!(
        status(&host.listed("critical").unwrap(), "phase"),
        "Running"
    );
    assert_eq!(messages(&host, "NodeHasInsufficientMemory").len(), 1);
    let said = host.rkubelet(&["events", "--warnings"]).run().ok();
    said.says("NodeHasInsufficientMemory").says("pod/effort");
}

/// An image of so many MiB that cannot be compressed.
fn import(host: &Host, name: &str, mib: usize) {
    let seed = |state: u64, byte: u8| (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let mut state = name.bytes().fold(0x9e37_79b9_7f4a_7c15, seed);
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .take((mib << 20) / 8)
    .flatten()
    .collect();
    let tar = Rootfs::default().file("noise", 0o644, noise).tar();
    host.import(name, &tar, &[]);
}

fn images(host: &Host) -> String {
    host.rkubelet(&["images", "list"]).run().ok().stdout
}

#[test]
fn a_full_disk_takes_unused_images_before_pods() {
    let Some(disk) = Disk::new(128) else { return };
    let Some(host) = Host::on(&disk) else { return };
    host.image();
    import(&host, "localhost/unused:v1", 12);
    let writer = |name: &str, mib: u64| {
        let script = format!(
            "dd if=/dev/zero of=/held bs=1M count={mib} 2>/dev/null; echo holding; \
             trap 'exit 0' TERM; while :; do sleep 0.05; done"
        );
        pod(
            name,
            &[sh("c", &script)],
            json!({"restartPolicy": "Always"}),
        )
    };
    host.manifest("small", &writer("small", 1));
    host.manifest("large", &writer("large", 16));
    let settings = json!({
        "evictionHard": {"nodefs.available": "40Mi", "imagefs.available": "40Mi"},
        "imageMinimumGCAge": "0s", "imageGCHighThresholdPercent": 100,
    });
    let _daemon = serve_with(&host, settings);
    await_log(&host, "small", "holding");
    await_log(&host, "large", "holding");
    // Without the unused image there is room again, without a pod there is not.
    let filler = disk.fill(30 * MI);
    let deleted = eventually(40, "the unused image goes", || {
        messages(&host, "ImageDeleted").pop()
    });
    assert!(
        deleted.contains("localhost/unused:v1")
            && deleted.ends_with("the node is under disk pressure"),
        "{deleted}"
    );
    assert!(!images(&host).contains("unused"));
    let (small, large) = (host.listed("small").unwrap(), host.listed("large").unwrap());
    assert_eq!(
        (status(&small, "phase"), status(&large, "phase")),
        ("Running", "Running")
    );
    std::fs::remove_file(filler).unwrap();
    let _filler = disk.fill(30 * MI);
    let large = eventually(40, "the largest pod goes", || evicted(&host, "large"));
    let message = status(&large, "message");
    assert!(
        message.contains("low on resource: ephemeral-storage"),
        "{message}"
    );
    assert_eq!(status(&host.listed("small").unwrap(), "phase"), "Running");
    assert!(images(&host).contains(Host::IMAGE.split(':').next().unwrap()));
}

#[test]
fn images_go_by_threshold_unless_pinned_or_used() {
    let Some(disk) = Disk::new(128) else { return };
    let Some(host) = Host::on(&disk) else { return };
    host.image();
    for name in ["old", "pinned", "new"] {
        import(&host, &format!("localhost/{name}:v1"), 6 + name.len());
    }
    host.rkubelet(&["images", "pin", "localhost/pinned:v1"])
        .run()
        .ok();
    host.manifest("web", &holder("web", 1, json!({}), json!({})));
    let used = 100 - disk.free() * 100 / (128 * MI);
    // High enough that one image must go, and one is enough.
    let settings = json!({
        "imageMinimumGCAge": "0s", "evictionHard": {"nodefs.available": "1Mi"},
        "imageGCHighThresholdPercent": used - 2, "imageGCLowThresholdPercent": used - 5,
    });
    let daemon = serve_with(&host, settings);
    let deleted = eventually(20, "an image goes", || {
        let deleted = messages(&host, "ImageDeleted");
        (!deleted.is_empty()).then_some(deleted)
    });
    assert_eq!(deleted.len(), 1, "{deleted:?}");
    assert!(deleted[0].contains("localhost/old:v1"), "{deleted:?}");
    assert!(
        deleted[0].contains("over imageGCHighThresholdPercent"),
        "{deleted:?}"
    );
    let left = images(&host);
    assert!(
        !left.contains("localhost/old") && left.contains("localhost/new"),
        "{left}"
    );
    await_log(&host, "web", "holding");
    daemon.stop();
    // Nothing but what is pinned or used is left to go: it says so.
    let settings = json!({
        "imageMinimumGCAge": "0s", "evictionHard": {"nodefs.available": "1Mi"},
        "imageGCHighThresholdPercent": 2, "imageGCLowThresholdPercent": 1,
    });
    let _daemon = serve_with(&host, settings);
    let said = eventually(20, "the failure is told", || {
        messages(&host, "FreeDiskSpaceFailed").pop()
    });
    assert!(said.contains("no other image is unused"), "{said}");
    let left = images(&host);
    assert!(
        left.contains("localhost/pinned") && !left.contains("localhost/new"),
        "{left}"
    );
    assert!(left.contains("localhost/busybox"), "{left}");
}

#[test]
fn only_the_newest_dead_pods_are_kept() {
    let Some(host) = Host::new() else { return };
    for name in ["first", "second", "third"] {
        host.detach(&pod(name, &[sh("c", "sleep 0.3")], json!({})))
            .ok();
        host.await_phase(name, "Succeeded");
    }
    host.manifest("job", &pod("job", &[sh("c", "echo job")], json!({})));
    let settings = json!({"rkube": {"maximumDeadPods": 1, "minimumContainerTTLDuration": "0s"}});
    let _daemon = serve_with(&host, settings);
    eventually(20, "the older ones are forgotten", || {
        let left = |name| host.listed(name).is_some();
        (!left("first") && !left("second")).then_some(())
    });
    assert!(host.listed("third").is_some());
    host.await_phase("job", "Succeeded");
    let logs = std::fs::read_dir(host.log_root()).unwrap().count();
    assert_eq!(logs, 2, "the logs go with the pods");
    assert_eq!(messages(&host, "Forgotten").len(), 2);
}

#[test]
fn logs_are_bounded_as_configured() {
    let Some(host) = Host::new() else { return };
    let script = "n=0; while [ $n -lt 4000 ]; do echo line $n xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx; \
                  n=$((n + 1)); done; echo all; trap 'exit 0' TERM; while :; do sleep 0.05; done";
    host.manifest(
        "chatty",
        &pod(
            "chatty",
            &[sh("c", script)],
            json!({"restartPolicy": "Always"}),
        ),
    );
    let settings = json!({"containerLogMaxSize": "64Ki", "containerLogMaxFiles": 3});
    let _daemon = serve_with(&host, settings);
    await_log(&host, "chatty", "all");
    let pod = std::fs::read_dir(host.log_root())
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let files: Vec<(String, u64)> = std::fs::read_dir(pod.path().join("c"))
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, entry.metadata().unwrap().len())
        })
        .collect();
    assert_eq!(files.len(), 3, "{files:?}");
    assert!(files.iter().all(|(_, size)| *size <= 64 << 10), "{files:?}");
}

#[test]
fn old_tries_leave_no_logs() {
    let Some(host) = Host::new() else { return };
    host.manifest(
        "crash",
        &pod(
            "crash",
            &[sh("c", "exit 1")],
            json!({"restartPolicy": "Always"}),
        ),
    );
    let settings = json!({
        "crashLoopBackOff": {"maxContainerRestartPeriod": "1s"},
        "rkube": {"initialContainerRestartPeriod": "1s", "maximumDeadContainersPerContainer": 1},
    });
    let _daemon = serve_with(&host, settings);
    eventually(30, "it has crashed four times", || {
        let pod = host.listed("crash")?;
        let count = pod["status"]["containerStatuses"][0]["restartCount"].as_u64();
        count.filter(|count| *count >= 4)
    });
    let pod = std::fs::read_dir(host.log_root())
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let logs = std::fs::read_dir(pod.path().join("c")).unwrap().count();
    assert!((1..=3).contains(&logs), "{logs}");
}

#[test]
fn a_pod_has_its_share_of_processes() {
    let Some(host) = Host::new() else { return };
    let script = "n=0; while [ $n -lt 40 ]; do sleep 600 & n=$((n + 1)); done; echo never";
    host.manifest("bomb", &pod("bomb", &[sh("c", script)], json!({})));
    host.manifest(
        "tame",
        &pod("tame", &[sh("c", "sleep 0.1 & wait; echo fine")], json!({})),
    );
    let _daemon = serve_with(&host, json!({"podPidsLimit": 20}));
    host.await_phase("tame", "Succeeded");
    host.await_phase("bomb", "Failed");
    let logs = host.rkubelet(&["logs", "bomb"]).run();
    assert!(!logs.stdout.contains("never"), "{}", logs.stdout);
}

#[test]
fn what_nobody_knows_is_removed() {
    let Some(host) = Host::new() else { return };
    let port = json!({"ports": [{"containerPort": 80, "hostPort": 8080}]});
    let script = "trap 'exit 0' TERM; while :; do sleep 0.05; done";
    host.detach(&pod("lost", &[with(sh("c", script), port)], json!({})))
        .ok();
    let uids = host.uids();
    for agent in host.agents() {
        let pid = rustix::process::Pid::from_raw(agent).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    }
    // Its record is lost, and it has been so for a while.
    std::fs::remove_dir_all(host.root().join("pods").join(&uids[0])).unwrap();
    let touched = host
        .command("touch")
        .args(["-d", "2 hours ago"])
        .arg(host.run_root().join("pods").join(&uids[0]))
        .status();
    assert!(touched.unwrap().success());
    let _daemon = host.serve(&[]);
    eventually(20, "the leftovers are told of", || {
        messages(&host, "LeftoversRemoved").pop()
    });
    host.assert_no_pods(&uids);
    assert!(!host.run_root().join("pods").join(&uids[0]).exists());
}

#[test]
fn rules_that_somebody_flushed_are_written_again() {
    let Some(host) = Host::new() else { return };
    let port = json!({"ports": [{"containerPort": 80, "hostPort": 8080}]});
    let serve = "mkdir /www; echo hello > /www/index.html; exec httpd -f -p 80 -h /www";
    let manifest = pod(
        "web",
        &[with(sh("c", serve), port)],
        json!({"restartPolicy": "Always"}),
    );
    host.manifest("web", &manifest);
    let neighbour = host.neighbour();
    let daemon = host.serve(&[]);
    let get = || rkube_tests::http_get(Host::at(8080), "/index.html").ok();
    let answers = || neighbour.inside(get);
    eventually(20, "the port answers", || {
        answers().filter(|body| body.contains("hello"))
    });
    for table in ["nat", "filter"] {
        let flushed = host.command("iptables").args(["-t", table, "-F"]).status();
        assert!(flushed.unwrap().success());
    }
    daemon.stop();
    let _daemon = host.serve(&[]);
    eventually(20, "it answers again", || {
        answers().filter(|body| body.contains("hello"))
    });
    eventually(20, "it is said", || {
        let repaired = messages(&host, "NetworkRepaired");
        repaired
            .iter()
            .any(|what| what.contains("written anew"))
            .then_some(())
    });
}

#[test]
fn a_pod_over_its_limits_on_disk_is_evicted() {
    let Some(host) = Host::new() else { return };
    let write = |file: &str| {
        format!(
            "dd if=/dev/zero of={file} bs=1M count=3 2>/dev/null; echo written; \
             trap 'exit 0' TERM; while :; do sleep 0.05; done"
        )
    };
    let limit = json!({"resources": {"limits": {"ephemeral-storage": "2Mi"}}});
    let always = json!({"restartPolicy": "Always"});
    let volume = json!({"volumes": [{"name": "data", "emptyDir": {"sizeLimit": "2Mi"}}], "restartPolicy": "Always"});
    let mount = json!({"volumeMounts": [{"name": "data", "mountPath": "/data"}]});
    host.manifest(
        "layer",
        &pod(
            "layer",
            &[with(sh("c", &write("/held")), limit.clone())],
            always.clone(),
        ),
    );
    host.manifest(
        "volume",
        &pod(
            "volume",
            &[with(sh("c", &write("/data/held")), mount)],
            volume,
        ),
    );
    host.manifest(
        "within",
        &pod(
            "within",
            &[with(sh("c", "echo written; sleep 600"), limit)],
            always,
        ),
    );
    let _daemon = host.serve(&[]);
    for (name, words) in [
        (
            "layer",
            "Container c exceeded its local ephemeral storage limit \"2Mi\"",
        ),
        (
            "volume",
            "Usage of EmptyDir volume \"data\" exceeds the limit \"2Mi\"",
        ),
    ] {
        let evicted = eventually(40, &format!("{name} is evicted"), || evicted(&host, name));
        let message = status(&evicted, "message");
        assert!(message.starts_with(words), "{message}");
    }
    assert_eq!(status(&host.listed("within").unwrap(), "phase"), "Running");
}

#[test]
fn a_disk_without_any_room_ends_no_pod() {
    let Some(disk) = Disk::new(64) else { return };
    let Some(host) = Host::on(&disk) else { return };
    let script = "trap 'exit 0' TERM; until [ -e /run/end ]; do sleep 0.05; done; exit 7";
    let tmp = json!({"volumeMounts": [{"name": "run", "mountPath": "/run"}]});
    let volumes = json!({"volumes": [{"name": "run", "emptyDir": {"medium": "Memory"}}]});
    host.manifest("job", &pod("job", &[with(sh("c", script), tmp)], volumes));
    let _daemon = host.serve(&[]);
    host.await_phase("job", "Running");
    let filler = disk.fill(0);
    host.rkubelet(&["exec", "job", "--", "touch", "/run/end"])
        .run()
        .ok();
    // What cannot be written down now is written down once there is room, and the exit code is not lost.
    eventually(20, "the supervisor has nothing left to run", || {
        let processes = host.rkubelet(&["exec", "job", "--", "true"]).run();
        (processes.code != 0).then_some(())
    });
    std::fs::remove_file(filler).unwrap();
    let ended = host.await_phase("job", "Failed");
    let code = &ended["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"];
    assert_eq!(*code, 7);
}

#[test]
fn an_evicted_pod_comes_back_when_the_pressure_is_over() {
    let Some(disk) = Disk::new(96) else { return };
    let Some(host) = Host::on(&disk) else { return };
    let script = "dd if=/dev/zero of=/held bs=1M count=4 2>/dev/null; echo holding; \
                  trap 'exit 0' TERM; while :; do sleep 0.05; done";
    let always = json!({"restartPolicy": "Always"});
    host.manifest("web", &pod("web", &[sh("c", script)], always));
    let settings = json!({
        "evictionHard": {"nodefs.available": "30Mi"}, "evictionPressureTransitionPeriod": "0s",
    });
    let _daemon = serve_with(&host, settings);
    await_log(&host, "web", "holding");
    let first = host.listed("web").unwrap();
    let filler = disk.fill(20 << 20);
    eventually(40, "it is evicted", || evicted(&host, "web"));
    std::fs::remove_file(filler).unwrap();
    let second = host.await_phase("web", "Running");
    assert_ne!(first["metadata"]["uid"], second["metadata"]["uid"]);
    await_log(&host, "web", "holding");
}

#[test]
fn a_log_follows_new_bounds() {
    let Some(host) = Host::new() else { return };
    let script = "trap 'exit 0' TERM; n=0; while :; do [ -e /run/go ] && n=$((n + 1)) && \
                  echo line $n xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx || sleep 0.05; done";
    let always = json!({"restartPolicy": "Always"});
    let tmp = json!({"volumeMounts": [{"name": "run", "mountPath": "/run"}]});
    let volumes = json!({"volumes": [{"name": "run", "emptyDir": {}}]});
    host.manifest(
        "chatty",
        &pod(
            "chatty",
            &[with(sh("c", script), tmp)],
            with(always, volumes),
        ),
    );
    let daemon = serve_with(&host, json!({"containerLogMaxSize": "64Ki"}));
    let first = host.await_phase("chatty", "Running");
    daemon.stop();
    let _daemon = serve_with(
        &host,
        json!({"containerLogMaxSize": "4Ki", "containerLogMaxFiles": 2}),
    );
    let adopted = || {
        host.rkubelet(&["events", "chatty"])
            .run()
            .stdout
            .contains("Adopted")
    };
    eventually(20, "it is adopted", || adopted().then_some(()));
    host.rkubelet(&["exec", "chatty", "--", "touch", "/run/go"])
        .run()
        .ok();
    let pod = std::fs::read_dir(host.log_root())
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let log = pod.path().join("c/0.log.1");
    let size = eventually(20, "the log is rotated", || std::fs::metadata(&log).ok()).len();
    assert!(size <= 4 << 10, "{size}");
    assert!(!pod.path().join("c/0.log.2").exists());
    let now = host.listed("chatty").unwrap();
    assert_eq!(first["metadata"]["uid"], now["metadata"]["uid"]);
    assert_eq!(now["status"]["containerStatuses"][0]["restartCount"], 0);
}
