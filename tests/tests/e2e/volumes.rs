//! Volumes: what containers find in them, and what a hostile container cannot make of them.
use crate::support::{documents, pod, sh, with};
use rkube_tests::{Host, Outcome};
use serde_json::{Value, json};

fn config_map(name: &str, data: Value) -> String {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
        .to_string()
}

fn secret(name: &str, data: Value) -> String {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": data})
        .to_string()
}

fn mount(name: &str, path: &str) -> Value {
    json!({"name": name, "mountPath": path})
}

/// A container that runs a script with these mounts.
fn mounting(name: &str, script: &str, mounts: &[Value]) -> Value {
    with(sh(name, script), json!({"volumeMounts": mounts}))
}

/// A pod of one container `c` with one volume `v` at `/v`.
fn one(script: &str, volume: Value, more: Value) -> String {
    let volume = with(json!({"name": "v"}), volume);
    let container = mounting("c", script, &[mount("v", "/v")]);
    pod("p", &[container], with(json!({"volumes": [volume]}), more))
}

#[test]
fn a_pod_reads_of_itself_in_files() {
    let Some(host) = Host::new() else { return };
    let item = |path: &str, field: &str| json!({"path": path, "fieldRef": {"fieldPath": field}});
    let items = json!([item("name", "metadata.name"), item("labels", "metadata.labels"),
        item("deep/app", "metadata.labels['app']"), {"path": "limit", "mode": 0o400,
            "resourceFieldRef": {"containerName": "c", "resource": "limits.memory", "divisor": "1Mi"}}]);
    let script = "cd /v; cat labels; echo; for f in name deep/app limit; do cat $f; echo; done; stat -Lc %a limit name; \
        readlink name; touch x 2>/dev/null || echo read-only";
    let manifest = one(script, json!({"downwardAPI": {"items": items}}), json!({}));
    let mut manifest: Value = serde_json::from_str(&manifest).unwrap();
    manifest["metadata"]["labels"] = json!({"app": "web", "tier": "back"});
    manifest["spec"]["containers"][0]["resources"] = json!({"limits": {"memory": "64Mi"}});
    let outcome = host.run(&manifest.to_string()).ok();
    let want = "app=\"web\"\ntier=\"back\"\np\nweb\n64\n400\n644\n..data/name\nread-only\n";
    assert_eq!(outcome.log("c"), want);
}

#[test]
fn a_projected_volume_brings_them_together() {
    let Some(host) = Host::new() else { return };
    let sources = json!([
        {"configMap": {"name": "m", "items": [{"key": "a", "path": "conf/a"}]}},
        {"secret": {"name": "s", "items": [{"key": "password", "path": "password", "mode": 0o400}]}},
        {"downwardAPI": {"items": [{"path": "conf/uid", "fieldRef": {"fieldPath": "metadata.uid"}}]}},
        {"secret": {"name": "gone", "optional": true}},
    ]);
    let script = "cd /v; ls; cat conf/a; echo; cat password; echo; test $(wc -c <conf/uid) = 36; id -G; stat -Lc '%a %g' password conf/a";
    let volume = json!({"projected": {"defaultMode": 0o440, "sources": sources}});
    let more = json!({"securityContext": {"runAsUser": 1001, "runAsGroup": 1001, "fsGroup": 2000}});
    let outcome = host
        .run(&documents(&[
            config_map("m", json!({"a": "from the map", "b": "not wanted"})),
            secret("s", json!({"password": "hush"})),
            one(script, volume, more),
        ]))
        .ok();
    let want = "conf\npassword\nfrom the map\nhush\n1001 2000\n440 2000\n440 2000\n";
    assert_eq!(outcome.log("c"), want);
}

/// Tokens come from a master; without one the field is refused, as are kinds that nobody here knows.
#[test]
fn what_nobody_here_can_give_is_refused_with_its_place() {
    let Some(host) = Host::new() else { return };
    let token = json!({"projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}});
    let field = "spec.volumes[0].projected.sources[0].serviceAccountToken";
    host.run(&one("true", token, json!({})))
        .code(2)
        .complains(field);
    assert!(host.uids().is_empty());
}

#[test]
fn a_sub_path_is_a_part_of_a_volume() {
    let Some(host) = Host::new() else { return };
    let part = |at: &str, more: Value| with(mount("v", at), more);
    let init = mounting(
        "init",
        "mkdir -p /v/a/b; echo file >/v/a/file; echo in b >/v/a/b/f; ln -s a /v/link",
        &[mount("v", "/v")],
    );
    let mounts = [
        part("/b", json!({"subPath": "a/b"})),
        part("/file", json!({"subPath": "link/file", "readOnly": true})),
        part("/own", json!({"subPathExpr": "logs/$(POD)"})),
        with(mount("m", "/etc/app.conf"), json!({"subPath": "conf"})),
    ];
    let script = "cat /b/f /file /etc/app.conf; ls -A /b; echo x 2>/dev/null >/file || echo read-only; echo log >/own/log";
    let env = json!({"env": [{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]});
    let user = with(env, json!({"securityContext": {"runAsUser": 1000}}));
    let c = with(mounting("c", script, &mounts), user);
    let last = mounting(
        "last",
        "until cat /v/logs/p/log 2>/dev/null; do sleep 0.01; done",
        &[mount("v", "/v")],
    );
    let volumes = json!([{"name": "v", "emptyDir": {}}, {"name": "m", "configMap": {"name": "m"}}]);
    let manifest = pod(
        "p",
        &[c, last],
        json!({"volumes": volumes, "initContainers": [init]}),
    );
    let outcome = host
        .run(&documents(&[
            config_map("m", json!({"conf": "setting\n"})),
            manifest,
        ]))
        .ok();
    assert_eq!(outcome.log("c"), "in b\nfile\nsetting\nf\nread-only\n");
    assert_eq!(outcome.log("last"), "log\n");
}

/// The files of a pod that runs change with its ConfigMap: all at once, without a restart, and not where a part is mounted.
#[test]
fn files_follow_their_config_map() {
    let Some(host) = Host::new() else { return };
    host.image();
    let part = with(mount("v", "/part"), json!({"subPath": "a"}));
    let script = "echo up; until [ \"$(cat /v/a)\" = new ]; do sleep 0.01; done; cat /v/b /part; ls /v; exec sleep 1000";
    let c = mounting("c", script, &[mount("v", "/v"), part]);
    let volumes = json!([{"name": "v", "configMap": {"name": "m"}}]);
    let manifest = pod("p", &[c], json!({"volumes": volumes}));
    host.manifest("m.json", &config_map("m", json!({"a": "old", "b": "old"})));
    host.manifest("p.json", &manifest);
    let daemon = host.serve(&[]);
    host.await_phase("p", "Running");
    let log = || host.rkubelet(&["logs", "p"]).run().stdout;
    rkube_tests::eventually(10, "it has read its files", || {
        log().contains("up").then_some(())
    });
    host.manifest(
        "m.json",
        &config_map("m", json!({"a": "new", "b": "new", "c": "more"})),
    );
    let seen = rkube_tests::eventually(30, "the new files are there", || {
        Some(log()).filter(|log| log.lines().count() > 1 && log.ends_with("c\n"))
    });
    assert_eq!(seen, "up\nnewolda\nb\nc\n");
    let pod = host.state("p").unwrap();
    assert_eq!(pod["containers"][0]["restarts"], 0, "{pod}");
    drop(daemon);
}

/// A canary beside the host's directories, to be reached by links of containers.
fn canary(host: &Host) -> String {
    let dir = host.dir().join("canary");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("secret"), "the secret\n").unwrap();
    dir.display().to_string()
}

#[track_caller]
fn untouched(host: &Host, outcome: &Outcome) {
    let dir = host.dir().join("canary");
    let names: Vec<_> = std::fs::read_dir(&dir).unwrap().collect();
    assert_eq!(names.len(), 1, "{outcome}");
    let text = std::fs::read_to_string(dir.join("secret")).unwrap();
    assert_eq!(text, "the secret\n", "{outcome}");
    assert!(!outcome.stdout.contains("the secret"), "{outcome}");
}

/// What an earlier container of the pod planted: links to the host, to be followed by the kubelet.
#[test]
fn a_sub_path_that_leads_out_is_refused() {
    let Some(host) = Host::new() else { return };
    let canary = canary(&host);
    let up = "../".repeat(16);
    let table = [
        ("an absolute link", format!("ln -s {canary} /v/x"), "x"),
        (
            "a file behind one",
            format!("ln -s {canary} /v/x"),
            "x/secret",
        ),
        (
            "a new directory behind one",
            format!("ln -s {canary} /v/x"),
            "x/new",
        ),
        ("a relative link", format!("ln -s {up}{canary} /v/x"), "x"),
        (
            "links over links",
            format!("ln -s y/z /v/x; mkdir /v/y; ln -s {up}{canary} /v/y/z"),
            "x/secret",
        ),
        (
            "a link of /proc",
            "ln -s /proc/self/root /v/x".to_owned(),
            "x/etc",
        ),
        ("a link to nothing", format!("ln -s {canary}/new /v/x"), "x"),
    ];
    for (what, plant, sub_path) in table {
        println!("---- {what}");
        let init = mounting("init", &plant, &[mount("v", "/v")]);
        let part = with(mount("v", "/x"), json!({"subPath": sub_path}));
        let c = mounting(
            "c",
            "find /x -xdev; cat /x/secret /x; echo x >/x/new",
            &[part],
        );
        let more = json!({"volumes": [{"name": "v", "emptyDir": {}}], "initContainers": [init]});
        let outcome = host.run(&pod("p", &[c], more));
        assert_eq!(outcome.code, 125, "{outcome}");
        let outcome = outcome.complains("volume \"v\": subPath");
        untouched(&host, &outcome);
    }
}

/// One container exchanges a directory for a link to the host all the time, another one is started again and again with
/// that directory as its `subPath`.
#[test]
fn a_race_for_a_sub_path_is_never_won() {
    let Some(host) = Host::new() else { return };
    let canary = canary(&host);
    let attack = format!(
        "cd /v; mkdir d; while :; do mv d e; ln -s {canary} d; rm d; mv e d; done 2>/dev/null"
    );
    let victims: Vec<Value> = (0..24)
        .map(|number| {
            let part = with(mount("v", "/x"), json!({"subPath": "d/x"}));
            mounting(
                &format!("c{number}"),
                "cat /x/secret; echo x >/x/new; true",
                &[part],
            )
        })
        .collect();
    let attacker = with(
        mounting("attacker", &attack, &[mount("v", "/v")]),
        json!({"restartPolicy": "Always"}),
    );
    let more = json!({"volumes": [{"name": "v", "emptyDir": {}}], "initContainers": [attacker]});
    let outcome = host.run(&pod("p", &victims, more));
    // Some are refused and some find a directory; which ones is chance.
    untouched(&host, &outcome);
}

#[test]
fn a_host_path_may_be_a_device_but_no_link_of_proc() {
    let Some(host) = Host::new() else { return };
    let null = json!({"hostPath": {"path": "/dev/null", "type": "CharDevice"}});
    host.run(&one("test -c /v", null, json!({}))).ok();
    let magic = json!({"hostPath": {"path": "/proc/self/root"}});
    let outcome = host.run(&one("ls /v", magic, json!({})));
    assert_eq!(outcome.code, 125, "{outcome}");
    outcome.complains("/proc/self/root");
}

#[test]
fn memory_for_files_is_memory_of_the_pod() {
    let Some(host) = Host::new() else { return };
    let size = |container: Value, source: Value| {
        let script = "grep ' /v ' /proc/mounts | tr , '\\n' | grep size=";
        let c = with(mounting("c", script, &[mount("v", "/v")]), container);
        let volumes = json!({"volumes": [{"name": "v", "emptyDir": source}]});
        host.run(&pod("p", &[c], volumes)).ok().log("c")
    };
    let limited = json!({"resources": {"limits": {"memory": "64Mi"}}});
    let memory = |limit: &str| json!({"medium": "Memory", "sizeLimit": limit});
    let table = [
        (
            limited.clone(),
            json!({"medium": "Memory"}),
            "size=65536k\n",
        ),
        (limited.clone(), memory("16Mi"), "size=16384k\n"),
        (limited, memory("1Gi"), "size=65536k\n"),
        (json!({}), memory("16Mi"), "size=16384k\n"),
    ];
    for (container, source, want) in table {
        assert_eq!(
            size(container.clone(), source.clone()),
            want,
            "{container} {source}"
        );
    }
}

/// A container makes directories deeper than paths may be long; the pod goes all the same, and leaves nothing.
#[test]
fn a_deep_tree_does_not_outlive_its_pod() {
    let Some(host) = Host::new() else { return };
    let name = "d".repeat(200);
    let deep = format!(
        "cd /v; i=0; while [ $i -lt 200 ]; do mkdir {name}; cd -P ./{name}; i=$((i+1)); done; echo bottom >file; cat file"
    );
    let outcome = host
        .run(&one(&deep, json!({"emptyDir": {}}), json!({})))
        .ok();
    assert_eq!(outcome.log("c"), "bottom\n");
    let uids = host.uids();
    host.assert_no_pods(&uids);
    assert_eq!(
        std::fs::read_dir(host.root().join("pods")).unwrap().count(),
        0
    );
}

/// What a Secret holds is never written to the disk.
#[test]
fn secrets_lie_in_memory() {
    let Some(host) = Host::new() else { return };
    let volume = json!({"secret": {"secretName": "s"}});
    let manifest = documents(&[
        secret("s", json!({"key": "in memory only"})),
        one(
            "grep ' /v ' /proc/mounts; cat /v/key; echo; exec sleep 1000",
            volume,
            json!({}),
        ),
    ]);
    let mut running = host.start(&manifest);
    running.await_stdout("in memory only");
    let dir = host
        .run_root()
        .join("pods")
        .join(&host.uids()[0])
        .join("volumes/v");
    let fs = rustix::fs::statfs(&dir).unwrap();
    assert_eq!(fs.f_type, 0x0102_1994, "a tmpfs");
    let mode =
        std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(dir.parent().unwrap()).unwrap());
    assert_eq!(mode & 0o077, 0, "only root gets there");
    assert!(
        running.stdout().contains("tmpfs ro"),
        "{}",
        running.stdout()
    );
    let uids = host.uids();
    running.signal(rustix::process::Signal::INT);
    running.signal(rustix::process::Signal::INT);
    running.wait();
    host.assert_no_pods(&uids);
}

/// A git server of the host's, with one repository `app` of two commits, the first of them tagged `v1`.
struct GitServer(std::process::Child);

impl GitServer {
    fn start(host: &Host) -> Option<Self> {
        let git = |arguments: &[&str]| {
            let mut git = host.command("git");
            git.args(["-c", "user.name=t", "-c", "user.email=t@example.com"]);
            git.args(["-c", "init.defaultBranch=main", "-C"])
                .arg(host.dir().join("repos/app"));
            let done = git.args(arguments).output().unwrap();
            assert!(done.status.success(), "git {arguments:?}: {done:?}");
        };
        if host.command("git").arg("--version").output().is_err() {
            println!("SKIP a git repository: needs git");
            return None;
        }
        let at = |name: &str| host.dir().join("repos/app").join(name);
        std::fs::create_dir_all(at("sub")).unwrap();
        git(&["init", "--quiet"]);
        std::fs::write(at("file"), "first\n").unwrap();
        std::fs::write(at("sub/run"), "#!/bin/sh\n").unwrap();
        std::os::unix::fs::symlink("/etc", at("out")).unwrap();
        let run = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(at("sub/run"), run).unwrap();
        git(&["add", "."]);
        git(&["commit", "--quiet", "-m", "first"]);
        git(&["tag", "v1"]);
        std::fs::write(at("file"), "second\n").unwrap();
        git(&["commit", "--quiet", "-am", "second"]);
        let mut daemon = host.command("git");
        daemon.args([
            "daemon",
            "--export-all",
            "--reuseaddr",
            "--listen=127.0.0.1",
            "--port=9418",
        ]);
        daemon.arg(format!(
            "--base-path={}",
            host.dir().join("repos").display()
        ));
        let server = GitServer(daemon.stderr(std::process::Stdio::null()).spawn().unwrap());
        rkube_tests::eventually(10, "the git server answers", || {
            let listing = ["ls-remote", "git://127.0.0.1/app"];
            let answer = host.command("git").args(listing).output().ok()?;
            answer.status.success().then_some(())
        });
        Some(server)
    }
}

impl Drop for GitServer {
    fn drop(&mut self) {
        // It forks a process for each request; `git daemon` itself is one that git has started.
        let children = format!("/proc/{0}/task/{0}/children", self.0.id());
        let children = std::fs::read_to_string(children).unwrap_or_default();
        for pid in children
            .split_whitespace()
            .filter_map(|pid| pid.parse().ok())
        {
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_repository_is_cloned_for_the_pod() {
    let Some(host) = Host::new() else { return };
    let Some(_server) = GitServer::start(&host) else {
        return;
    };
    let url = "git://127.0.0.1/app";
    let table = [
        (json!({}), "app", "second"),
        (json!({"directory": "."}), ".", "second"),
        (
            json!({"directory": "src/app", "revision": "v1"}),
            "src/app",
            "first",
        ),
    ];
    for (more, dir, want) in table {
        let source = with(json!({"repository": url}), more);
        let script = format!(
            "cd /v/{dir}; cat file; find . -user 0 | wc -l; find . ! -user 0; test -x sub/run && echo runs; echo x >new && echo writable"
        );
        let outcome = host
            .run(&one(&script, json!({"gitRepo": source}), json!({})))
            .ok();
        let log = outcome.log("c");
        let lines: Vec<&str> = log.lines().collect();
        assert_eq!(lines[0], want, "{outcome}");
        assert!(lines[1].parse::<u32>().unwrap() > 5, "{outcome}");
        assert_eq!(lines[2..], ["runs", "writable"], "{outcome}");
    }
    // The group that shares the volume may write to all of it.
    let shared = json!({"securityContext": {"runAsUser": 1001, "fsGroup": 2000}});
    let source = json!({"gitRepo": {"repository": url}});
    let script = "cd /v/app; echo x >>file && echo x >sub/new && stat -c %g . file sub sub/new";
    let outcome = host.run(&one(script, source, shared)).ok();
    assert_eq!(outcome.log("c"), "2000\n2000\n2000\n2000\n");
    let uids = host.uids();
    host.assert_no_pods(&uids);
}

/// A repository whose contents lead out is a volume whose parts lead out.
#[test]
fn links_of_a_repository_lead_nowhere() {
    let Some(host) = Host::new() else { return };
    let Some(_server) = GitServer::start(&host) else {
        return;
    };
    let part = with(mount("v", "/v"), json!({"subPath": "app/out/passwd"}));
    let volume = json!({"name": "v", "gitRepo": {"repository": "git://127.0.0.1/app"}});
    let c = mounting("c", "cat /v", &[part]);
    let outcome = host.run(&pod("p", &[c], json!({"volumes": [volume]})));
    assert_eq!(outcome.code, 125, "{outcome}");
    outcome.complains("leads out of the volume");
}

#[test]
fn what_cannot_be_cloned_is_said() {
    let Some(host) = Host::new() else { return };
    let Some(_server) = GitServer::start(&host) else {
        return;
    };
    let run = |source: Value| host.run(&one("true", json!({"gitRepo": source}), json!({})));
    let outcome = run(json!({"repository": "git://127.0.0.1/none"}));
    assert_eq!(outcome.code, 125, "{outcome}");
    outcome.complains("git failed (128)");
    let outcome = run(json!({"repository": "git://127.0.0.1/app", "revision": "none"}));
    assert_eq!(outcome.code, 125, "{outcome}");
    outcome.complains("invalid reference: none");
    for repository in [
        format!("file://{}/repos/app", host.dir().display()),
        format!("{}/repos/app", host.dir().display()),
        "ext::sh -c id".to_owned(),
        "git@127.0.0.1:app".to_owned(),
        "--upload-pack=id".to_owned(),
    ] {
        run(json!({"repository": repository}))
            .code(2)
            .complains("spec.volumes[0].gitRepo.repository: ");
    }
    let uids = host.uids();
    host.assert_no_pods(&uids);
}

/// A server that accepts and says nothing holds the pod up, but not its end.
#[test]
fn a_clone_that_hangs_ends_with_its_pod() {
    let Some(host) = Host::new() else { return };
    let listen = || std::net::TcpListener::bind("127.0.0.1:9419").unwrap();
    let silent = host.netns().inside(listen);
    let source = json!({"gitRepo": {"repository": "git://127.0.0.1:9419/app"}});
    let running = host.start(&one("true", source, json!({})));
    let (_connection, _) = silent.accept().unwrap();
    let uids = host.uids();
    running.signal(rustix::process::Signal::INT);
    let outcome = running.wait();
    assert!(outcome.code > 0, "{outcome}");
    host.assert_no_pods(&uids);
}

/// A daemon that is killed over a clone leaves it running; the next one begins it anew, and what the pod had goes with it.
#[test]
fn a_clone_survives_its_daemon_and_ends_with_its_pod() {
    let Some(host) = Host::new() else { return };
    host.image();
    let listen = || std::net::TcpListener::bind("127.0.0.1:9419").unwrap();
    let silent = host.netns().inside(listen);
    let source = json!({"gitRepo": {"repository": "git://127.0.0.1:9419/app"}});
    host.manifest("p.json", &one("true", source, json!({})));
    let daemon = host.serve(&[]);
    let (first, _) = silent.accept().unwrap();
    daemon.kill();
    let uids = host.uids();
    let daemon = host.serve(&[]);
    let (_second, _) = silent.accept().unwrap();
    // The one before it is gone: nobody holds its connection any more.
    first
        .set_read_timeout(Some(std::time::Duration::from_secs(20)))
        .unwrap();
    let mut rest = Vec::new();
    std::io::Read::read_to_end(&mut &first, &mut rest).unwrap();
    daemon.kill();
    host.remove_manifest("p.json");
    let daemon = host.serve(&[]);
    // Its record stays for those who ask; nothing else does.
    rkube_tests::eventually(20, "the pod is over", || {
        let removed = host.rkubelet(&["rm", "p"]).run();
        (removed.code == 0).then_some(())
    });
    host.assert_no_pods(&uids);
    drop(daemon);
}

#[test]
fn an_image_is_a_volume_to_read() {
    let Some(host) = Host::new() else { return };
    host.import(
        "localhost/data:v1",
        &rkube_tests::Rootfs::default()
            .file("etc/conf", 0o644, "of the image\n")
            .link("out", "/proc/self/root/etc")
            .tar(),
        &[],
    );
    let image = |reference: &str| json!({"image": {"reference": reference}});
    let part = with(mount("v", "/conf"), json!({"subPath": "etc/conf"}));
    let script = "cat /v/etc/conf /conf; for f in /v/new /v/etc/conf; do echo x 2>/dev/null >$f || echo read-only; done; grep -c ' /v .*ro,nosuid,nodev' /proc/mounts";
    let c = mounting("c", script, &[mount("v", "/v"), part]);
    let volume = with(json!({"name": "v"}), image("localhost/data:v1"));
    let outcome = host.run(&pod("p", &[c], json!({"volumes": [volume]}))).ok();
    assert_eq!(
        outcome.log("c"),
        "of the image\nof the image\nread-only\nread-only\n1\n"
    );

    // One of several layers, and one that a pod uses is kept.
    let mut running = host.start(&one(
        "cat /v/bin/busybox | wc -c; exec sleep 1000",
        image(Host::IMAGE),
        json!({}),
    ));
    running.await_stdout("c | ");
    let removed = host.rkubelet(&["images", "rm", Host::IMAGE]).run();
    assert_ne!(removed.code, 0, "{removed}");
    let uids = host.uids();
    running.signal(rustix::process::Signal::INT);
    running.signal(rustix::process::Signal::INT);
    running.wait();
    host.assert_no_pods(&uids);

    let outcome = host.run(&one(
        "true",
        json!({"image": {"reference": "localhost/none:v1", "pullPolicy": "Never"}}),
        json!({}),
    ));
    assert_eq!(outcome.code, 125, "{outcome}");
    outcome.complains("localhost/none:v1 is not on this host");
}
