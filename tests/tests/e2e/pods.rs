//! Pods: what their containers share, what each of them runs, how they end.
use crate::support::{once, once_with, pod, sh, with};
use rkube_tests::{Host, busybox_image, eventually};
use rustix::process::Signal;
use serde_json::{Value, json};

/// The containers of a pod reach each other on localhost, have one name, and share a volume.
#[test]
fn two_containers_share_localhost_and_a_volume() {
    let Some(host) = Host::new() else { return };
    let mount = |path: &str, read_only: bool| json!({"volumeMounts": [{"name": "v", "mountPath": path, "readOnly": read_only}]});
    let server = "echo page > /data/index.html; nc -l -p 8000 -e cat /data/index.html; hostname";
    let client = "until nc 127.0.0.1 8000 </dev/null 2>/dev/null; do :; done; cat /there/index.html; hostname";
    let containers = [
        with(sh("server", server), mount("/data", false)),
        with(sh("client", client), mount("/there", true)),
    ];
    let outcome = host
        .run(&pod(
            "pair",
            &containers,
            json!({"volumes": [{"name": "v", "emptyDir": {}}]}),
        ))
        .ok();
    assert_eq!(outcome.log("server"), "pair\n");
    assert_eq!(outcome.log("client"), "page\npage\npair\n");
}

/// Nothing of a foreground pod is left when its command has ended.
#[test]
fn a_pod_that_is_over_leaves_nothing() {
    let Some(host) = Host::new() else { return };
    let more = json!({"ports": [{"containerPort": 80, "hostPort": 8080}], "volumeMounts": [{"name": "m", "mountPath": "/m"}]});
    let volumes = json!({"volumes": [{"name": "m", "emptyDir": {"medium": "Memory"}}]});
    let mut running = host.start(&pod(
        "p",
        &[with(
            sh("c", "echo up; cat /m/fifo || exec sleep 1000"),
            more,
        )],
        volumes,
    ));
    running.await_stdout("up");
    let uids = host.uids();
    assert_eq!(uids.len(), 1);
    running.signal(Signal::INT);
    running.signal(Signal::INT);
    running.wait();
    host.assert_no_pods(&uids);
}

#[test]
fn command_and_args_follow_the_image() {
    let Some(host) = Host::new() else { return };
    let image = "localhost/entry:v1";
    host.import(
        image,
        busybox_image(),
        &[
            "--entrypoint",
            "/bin/echo",
            "--entrypoint",
            "entry",
            "--cmd",
            "cmd",
        ],
    );
    let table = [
        (json!({}), "entry cmd\n"),
        (json!({"args": ["args"]}), "entry args\n"),
        (json!({"command": ["echo", "command"]}), "command\n"),
        (
            json!({"command": ["echo", "command"], "args": ["args"]}),
            "command args\n",
        ),
        (
            json!({"args": ["$(X) $$(X) $(Y)"], "env": [{"name": "X", "value": "x"}]}),
            "entry x $(X) $(Y)\n",
        ),
    ];
    let containers: Vec<Value> = table
        .iter()
        .enumerate()
        .map(|(index, (more, _))| {
            with(
                json!({"name": format!("c{index}"), "image": image}),
                more.clone(),
            )
        })
        .collect();
    let outcome = host.run(&pod("p", &containers, json!({}))).ok();
    for (index, (more, want)) in table.iter().enumerate() {
        assert_eq!(outcome.log(&format!("c{index}")), *want, "{more}");
    }
}

#[test]
fn the_image_gives_environment_user_and_directory() {
    let Some(host) = Host::new() else { return };
    let image = "localhost/config:v1";
    let options = [
        "--env",
        "A=image",
        "--env",
        "B=image",
        "--workdir",
        "/var/made/here",
        "--user",
        "app",
    ];
    host.import(image, busybox_image(), &options);
    let script = "echo $A $B; pwd; id -u; id -g; id -G; echo $HOME";
    let of_image = with(sh("image", script), json!({"image": image}));
    let overridden = with(
        sh("own", script),
        json!({"image": image, "env": [{"name": "B", "value": "pod"}], "workingDir": "/tmp", "securityContext": {"runAsUser": 0}}),
    );
    let outcome = host.run(&pod("p", &[of_image, overridden], json!({}))).ok();
    assert_eq!(
        outcome.log("image"),
        "image image\n/var/made/here\n1000\n1000\n1000 50\n/home/app\n"
    );
    assert!(
        outcome.log("own").starts_with("image pod\n/tmp\n0\n0\n"),
        "{outcome}"
    );
}

#[test]
fn init_containers_run_in_order_before_the_others() {
    let Some(host) = Host::new() else { return };
    let mount = json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]});
    let step = |name: &str, script: &str| with(sh(name, script), mount.clone());
    let more = json!({
        "volumes": [{"name": "v", "emptyDir": {}}],
        "initContainers": [step("first", "echo first >> /v/log"), step("second", "echo second >> /v/log")],
    });
    let outcome = host
        .run(&pod("p", &[step("main", "cat /v/log")], more))
        .ok();
    assert_eq!(outcome.log("main"), "first\nsecond\n");
}

#[test]
fn a_failed_init_container_ends_the_pod() {
    let Some(host) = Host::new() else { return };
    let more = json!({"initContainers": [sh("init", "echo no; exit 9")]});
    let outcome = host
        .run(&pod("p", &[sh("main", "echo never")], more))
        .code(9);
    assert_eq!(outcome.log("init"), "no\n");
    assert_eq!(outcome.log("main"), "");
}

/// A sidecar starts before the containers, serves them, and ends after them; its end decides nothing.
#[test]
fn a_sidecar_lives_as_long_as_the_others() {
    let Some(host) = Host::new() else { return };
    let mount = json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]});
    let sidecar = with(
        sh(
            "sidecar",
            "trap 'echo asked; exit 3' TERM; echo ready > /v/ready; while :; do sleep 0.05; done",
        ),
        json!({"restartPolicy": "Always", "startupProbe": {"exec": {"command": ["cat", "/v/ready"]}, "periodSeconds": 1}}),
    );
    let more = json!({"volumes": [{"name": "v", "emptyDir": {}}], "initContainers": [with(sidecar, mount.clone())]});
    let outcome = host
        .run(&pod("p", &[with(sh("main", "cat /v/ready"), mount)], more))
        .ok();
    assert_eq!(outcome.log("main"), "ready\n");
    assert_eq!(outcome.log("sidecar"), "asked\n");
}

#[test]
fn the_exit_code_is_that_of_the_container_that_failed() {
    let Some(host) = Host::new() else { return };
    host.run(&once("exit 0")).ok();
    host.run(&once("exit 42")).code(42);
    // Process 1 of a namespace cannot signal itself: signals are tried where the pod shares one.
    let shared = |script: &str| {
        pod(
            "p",
            &[sh("c", script)],
            json!({"shareProcessNamespace": true}),
        )
    };
    host.run(&shared("kill -9 $$")).code(137);
    host.run(&shared("kill -TERM $$; exec sleep 100")).code(143);
    let table = [
        sh("good", "exit 0"),
        sh("bad", "exit 5"),
        sh("worse", "exit 6"),
    ];
    host.run(&pod("p", &table, json!({}))).code(5);
}

#[test]
fn commands_that_cannot_run_have_the_shells_codes() {
    let Some(host) = Host::new() else { return };
    let command = |words: &[&str]| {
        pod(
            "p",
            &[json!({"name": "c", "image": Host::IMAGE, "command": words})],
            json!({}),
        )
    };
    let before = host.snapshot();
    host.run(&command(&["/no/such"]))
        .code(127)
        .complains("/no/such");
    host.run(&command(&["nosuch", "--flag"]))
        .code(127)
        .complains("nosuch");
    host.run(&command(&["/etc/passwd"]))
        .code(126)
        .complains("/etc/passwd");
    host.run(&command(&["/etc"])).code(126).complains("/etc");
    assert_eq!(host.uids(), Vec::<String>::new());
    let left = host.snapshot().since(&before);
    assert!(
        !left
            .iter()
            .any(|line| line.starts_with("process") || line.starts_with("mount")),
        "{left:#?}"
    );
}

/// What a script does on its first and on its later tries, told apart by a file of the pod's volume.
fn counting(policy: &str, script: &str) -> String {
    let container = with(
        sh("c", script),
        json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]}),
    );
    pod(
        "p",
        &[container],
        json!({"restartPolicy": policy, "volumes": [{"name": "v", "emptyDir": {}}]}),
    )
}

#[test]
fn on_failure_starts_again_until_it_works() {
    let Some(host) = Host::new() else { return };
    let outcome = host
        .run(&counting(
            "OnFailure",
            "echo try >> /v/n; cat /v/n; [ $(wc -l < /v/n) = 2 ]",
        ))
        .ok();
    assert_eq!(
        outcome.log("c"),
        "try\ntry\ntry\n",
        "the first try wrote one line, the second two"
    );
}

#[test]
fn always_starts_again_after_success_and_waits_between_tries() {
    let Some(host) = Host::new() else { return };
    let mut running = host.start(&counting("Always", "echo run >> /v/n; wc -l < /v/n"));
    running.await_stdout("c | 2");
    let waiting = eventually(10, "the back-off in the pod's state", || {
        let state = host.state("p")?;
        let text = state.to_string();
        text.contains("CrashLoopBackOff").then_some(text)
    });
    assert!(waiting.contains("back-off"), "{waiting}");
    running.signal(Signal::TERM);
    running.wait();
}

/// Ctrl-C asks the containers to end; what they still say is shown.
#[test]
fn a_stop_is_graceful() {
    let Some(host) = Host::new() else { return };
    let script = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done";
    let mut running = host.start(&once(script));
    running.await_stdout("up");
    running.signal(Signal::INT);
    let outcome = running.wait();
    assert_eq!(outcome.log("c"), "up\nbye\n", "{outcome}");
}

#[test]
fn who_ignores_the_stop_is_killed_after_the_grace_period() {
    let Some(host) = Host::new() else { return };
    let script = "trap 'echo no' TERM; echo up; while :; do sleep 0.05; done";
    let more = json!({"terminationGracePeriodSeconds": 1});
    let mut running = host.start(&pod("p", &[sh("c", script)], more));
    running.await_stdout("up");
    let asked = std::time::Instant::now();
    running.signal(Signal::TERM);
    let outcome = running.wait();
    assert!(
        asked.elapsed() >= std::time::Duration::from_secs(1),
        "the grace period was cut short"
    );
    assert_eq!(
        (outcome.code, outcome.log("c").as_str()),
        (137, "up\nno\n"),
        "{outcome}"
    );
}

#[test]
fn the_image_chooses_the_signal() {
    let Some(host) = Host::new() else { return };
    let image = "localhost/usr1:v1";
    host.import(image, busybox_image(), &["--stop-signal", "SIGUSR1"]);
    let script = "trap 'echo term; exit 1' TERM; trap 'echo usr1; exit 0' USR1; echo up; while :; do sleep 0.05; done";
    let mut running = host.start(&once_with(script, json!({"image": image})));
    running.await_stdout("up");
    running.signal(Signal::INT);
    assert_eq!(running.wait().log("c"), "up\nusr1\n");
}

/// Also where processes of several containers see each other, a container's own all end with it.
#[test]
fn what_a_container_left_running_ends_with_it() {
    let Some(host) = Host::new() else { return };
    let leaver = "setsid sleep 4711 & echo $! > /v/pid; until [ -e /v/seen ]; do sleep 0.02; done";
    let watcher = "until [ -s /v/pid ]; do sleep 0.02; done; until ps | grep -q '[s]leep 4711'; do sleep 0.02; done
        touch /v/seen; while ps | grep -q '[s]leep 4711'; do sleep 0.02; done; echo gone";
    let mount = json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]});
    let containers = [
        with(sh("leaver", leaver), mount.clone()),
        with(sh("watcher", watcher), mount),
    ];
    let more = json!({"shareProcessNamespace": true, "volumes": [{"name": "v", "emptyDir": {}}]});
    assert_eq!(
        host.run(&pod("p", &containers, more)).ok().log("watcher"),
        "gone\n"
    );
}

#[test]
fn an_out_of_memory_kill_is_called_so() {
    let Some(host) = Host::new() else { return };
    let more =
        json!({"command": ["tail", "/dev/zero"], "resources": {"limits": {"memory": "16Mi"}}});
    host.run(&once_with("", more))
        .code(137)
        .complains("OOMKilled");
}

#[test]
fn a_deadline_ends_the_pod() {
    let Some(host) = Host::new() else { return };
    let outcome = host.run(&pod(
        "p",
        &[sh("c", "echo up; exec sleep 1000")],
        json!({"activeDeadlineSeconds": 1, "terminationGracePeriodSeconds": 0}),
    ));
    assert_ne!(outcome.code, 0);
    outcome.complains("DeadlineExceeded");
}

/// Several pods of one manifest run side by side; their lines name the pod too.
#[test]
fn several_pods_run_from_one_manifest() {
    let Some(host) = Host::new() else { return };
    let both = crate::support::documents(&[
        pod("one", &[sh("c", "echo 1")], json!({})),
        pod("two", &[sh("c", "echo 2; exit 4")], json!({})),
    ]);
    let outcome = host.run(&both).code(4);
    assert_eq!(
        (outcome.log("one/c").as_str(), outcome.log("two/c").as_str()),
        ("1\n", "2\n")
    );
}

/// With `hostNetwork` the pod is in the host's network; with `hostPID` it sees the host's processes; with `hostIPC`
/// it has the host's IPC namespace.
#[test]
fn host_namespaces_are_the_hosts() {
    let Some(host) = Host::new() else { return };
    let _ = host.neighbour();
    let script = "ip -o -4 addr show dev eth0 | grep -o '10.9.8.1/24'; hostname; readlink /proc/self/ns/ipc; readlink /proc/self/ns/pid";
    let more = json!({"hostNetwork": true, "hostPID": true, "hostIPC": true});
    let outcome = host.run(&pod("p", &[sh("c", script)], more)).ok();
    let own = |name: &str| {
        std::fs::read_link(format!("/proc/self/ns/{name}"))
            .unwrap()
            .display()
            .to_string()
    };
    let node = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    let want = format!("10.9.8.1/24\n{node}\n{}\n{}\n", own("ipc"), own("pid"));
    assert!(outcome.log("c").starts_with(&want), "{want}{outcome}");
}

#[test]
fn without_host_namespaces_nothing_is_the_hosts() {
    let Some(host) = Host::new() else { return };
    let script = "for n in ipc pid uts net mnt cgroup; do readlink /proc/self/ns/$n; done; echo $(ls -d /proc/[0-9]* | wc -l); echo $$";
    let outcome = host.run(&once(script)).ok();
    let log = outcome.log("c");
    let lines: Vec<&str> = log.lines().collect();
    for (line, name) in lines
        .iter()
        .zip(["ipc", "pid", "uts", "net", "mnt", "cgroup"])
    {
        let own = std::fs::read_link(format!("/proc/self/ns/{name}"))
            .unwrap()
            .display()
            .to_string();
        assert!(line.starts_with(name) && *line != own, "{name}: {outcome}");
    }
    assert_eq!(
        lines[7], "1",
        "the command is process 1 of its own namespace: {outcome}"
    );
}

#[test]
fn a_shared_process_namespace_shows_all_containers() {
    let Some(host) = Host::new() else { return };
    let watcher = "until ps | grep -q '[s]leep 31337'; do sleep 0.02; done; cat /proc/1/comm; kill $(pidof sleep)";
    let more = json!({"shareProcessNamespace": true});
    let outcome = host.run(&pod(
        "p",
        &[
            sh("sleeper", "sleep 31337 2>&1; echo code $?"),
            sh("watcher", watcher),
        ],
        more,
    ));
    assert!(outcome.log("sleeper").ends_with("code 143\n"), "{outcome}");
    assert!(outcome.log("watcher").contains("rkube-pau"), "{outcome}");
}
