//! What a master keeps: over kill -9, over a restart, in a real etcd, with another master beside it.
use rkube_tests::{Invocation, Master, NetNs, Running, client, eventually};
use serde_json::{Value, json};
use std::path::Path;

fn config(name: &str, value: usize) -> String {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"v": value.to_string()}})
        .to_string()
}

fn create(master: &Master, name: &str, value: usize) -> Value {
    let answer = master
        .curl(&[
            "/api/v1/namespaces/default/configmaps",
            "-H",
            "Content-Type: application/json",
            "-d",
            &config(name, value),
        ])
        .ok();
    serde_json::from_str(&answer.stdout).unwrap()
}

#[test]
fn what_was_acknowledged_is_there_after_a_kill() {
    let Some(mut master) = Master::start() else {
        return;
    };
    let mut last = 0;
    for round in 0..5 {
        let names: Vec<String> = (0..10).map(|n| format!("c-{round}-{n}")).collect();
        for name in &names {
            let made = create(&master, name, round);
            let revision: u64 = made["metadata"]["resourceVersion"]
                .as_str()
                .unwrap()
                .parse()
                .unwrap();
            assert!(revision > last, "revisions only grow");
            last = revision;
        }
        master.kill();
        master.resume();
        for name in &names {
            let path = format!("/api/v1/namespaces/default/configmaps/{name}");
            assert_eq!(master.get(&path)["data"]["v"], round.to_string(), "{name}");
        }
    }
    let all = master.get("/api/v1/namespaces/default/configmaps");
    assert!(all["items"].as_array().unwrap().len() >= 50);
}

#[test]
fn a_restart_keeps_certificates_tokens_and_addresses() {
    let Some(mut master) = Master::start() else {
        return;
    };
    eventually(10, "the first service", || {
        let answer = master.curl(&["/api/v1/namespaces/default/services/kubernetes"]);
        answer.stdout.contains("clusterIP").then_some(())
    });
    let before = (
        std::fs::read(master.data().join("pki/ca.crt")).unwrap(),
        master.get("/api/v1/namespaces/default/services/kubernetes")["spec"]["clusterIP"].clone(),
        master.get("/api/v1/namespaces/kube-system")["metadata"]["uid"].clone(),
    );
    let token = master
        .curl(&[
            "/api/v1/namespaces/default/serviceaccounts/default/token",
            "-X",
            "POST",
            "-H",
            "Content-Type: application/json",
            "-d",
            r#"{"apiVersion":"authentication.k8s.io/v1","kind":"TokenRequest","spec":{}}"#,
        ])
        .ok();
    let token: Value = serde_json::from_str(&token.stdout).unwrap();
    let bearer = format!(
        "Authorization: Bearer {}",
        token["status"]["token"].as_str().unwrap()
    );
    assert_eq!(master.stop().code, 0);
    master.resume();
    let after = (
        std::fs::read(master.data().join("pki/ca.crt")).unwrap(),
        master.get("/api/v1/namespaces/default/services/kubernetes")["spec"]["clusterIP"].clone(),
        master.get("/api/v1/namespaces/kube-system")["metadata"]["uid"].clone(),
    );
    assert_eq!(before, after);
    let review = master
        .stranger(&[
            "/apis/authentication.k8s.io/v1/selfsubjectreviews",
            "-H",
            &bearer,
            "-H",
            "Content-Type: application/json",
            "-d",
            r#"{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}"#,
        ])
        .ok();
    let review: Value = serde_json::from_str(&review.stdout).unwrap();
    assert_eq!(
        review["status"]["userInfo"]["username"],
        "system:serviceaccount:default:default"
    );
    // Private files are private.
    for file in ["admin.kubeconfig", "pki/ca.key", "pki/admin.key"] {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(master.data().join(file))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

#[test]
fn secrets_are_not_readable_on_disk() {
    let Some(mut master) = Master::start() else {
        return;
    };
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"},
        "stringData": {"password": "hunter2-and-more"}});
    master
        .curl(&[
            "/api/v1/namespaces/default/secrets",
            "-H",
            "Content-Type: application/json",
            "-d",
            &secret.to_string(),
        ])
        .ok();
    create(&master, "marker", 4711);
    master.stop();
    let encoded = "aHVudGVyMi1hbmQtbW9yZQ==";
    let mut marked = false;
    let mut queue = vec![master.data()];
    while let Some(dir) = queue.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                queue.push(path);
                continue;
            }
            if !path.is_file() {
                continue;
            }
            let bytes = std::fs::read(&path).unwrap();
            let has = |text: &str| {
                bytes
                    .windows(text.len())
                    .any(|window| window == text.as_bytes())
            };
            assert!(
                !has(encoded) && !has("hunter2-and-more"),
                "{}",
                path.display()
            );
            marked |= has("4711");
        }
    }
    assert!(
        marked,
        "what is not secret can be found, or this test looks in the wrong place"
    );
    master.resume();
    let got = master.get("/api/v1/namespaces/default/secrets/s");
    assert_eq!(got["data"]["password"], encoded);
}

/// An etcd in the master's namespace.
struct Etcd {
    running: Option<Running>,
}

impl Etcd {
    fn start(netns: &NetNs, dir: &Path) -> Option<Self> {
        let mut command = netns.command("etcd");
        command.arg("--data-dir").arg(dir.join("etcd"));
        command.args([
            "--listen-client-urls",
            "http://127.0.0.1:2379",
            "--advertise-client-urls",
            "http://127.0.0.1:2379",
            "--listen-peer-urls",
            "http://127.0.0.1:2380",
            "--log-level",
            "error",
        ]);
        let running = Invocation::new(command, "etcd".to_owned())
            .within(300)
            .start();
        let etcd = Etcd {
            running: Some(running),
        };
        eventually(20, "etcd serves", || {
            let mut command = netns.command("curl");
            command.args(["--silent", "http://127.0.0.1:2379/health"]);
            let answer = Invocation::new(command, "curl".to_owned()).run();
            answer.stdout.contains("true").then_some(())
        });
        Some(etcd)
    }

    fn kill(&mut self) {
        let running = self.running.take().unwrap();
        running.signal(rustix::process::Signal::KILL);
        running.wait();
    }
}

fn etcdctl(master: &Master, arguments: &[&str]) -> String {
    let mut command = master.command("etcdctl");
    command.env("ETCDCTL_API", "3").args(arguments);
    Invocation::new(command, format!("etcdctl {}", arguments.join(" ")))
        .run()
        .ok()
        .stdout
}

#[test]
fn the_same_on_a_real_etcd() {
    let Some(mut master) = Master::stopped(&["--etcd-servers", "http://127.0.0.1:2379"]) else {
        return;
    };
    let Some(mut etcd) = Etcd::start(master.netns(), master.dir()) else {
        return;
    };
    master.resume();
    create(&master, "c", 1);
    // What is stored is where Kubernetes has it, and readable.
    let stored = etcdctl(
        &master,
        &[
            "get",
            "--print-value-only",
            "/registry/configmaps/default/c",
        ],
    );
    let stored: Value = serde_json::from_str(&stored).unwrap();
    assert_eq!(stored["data"]["v"], "1");
    assert_eq!(stored["kind"], "ConfigMap");
    // What others write there is seen.
    let mut other = stored.clone();
    other["data"]["v"] = json!("2");
    etcdctl(
        &master,
        &["put", "/registry/configmaps/default/c", &other.to_string()],
    );
    let path = "/api/v1/namespaces/default/configmaps/c";
    eventually(10, "the change from outside", || {
        (master.get(path)["data"]["v"] == "2").then_some(())
    });
    // etcd away: a bounded refusal that says when to come back; then all is well by itself.
    etcd.kill();
    let refused = master
        .curl(&[
            "/api/v1/namespaces/default/configmaps",
            "-i",
            "-H",
            "Content-Type: application/json",
            "-d",
            &config("d", 1),
        ])
        .ok();
    assert!(
        refused.stdout.contains(" 503") || refused.stdout.contains(" 504"),
        "{refused}"
    );
    assert!(
        refused.stdout.to_lowercase().contains("retry-after:"),
        "{refused}"
    );
    assert!(refused.stdout.contains("\"kind\":\"Status\""), "{refused}");
    let _etcd = Etcd::start(master.netns(), master.dir()).unwrap();
    eventually(30, "it works again", || {
        let answer = master.curl(&[
            "/api/v1/namespaces/default/configmaps",
            "-H",
            "Content-Type: application/json",
            "-d",
            &config("e", 1),
        ]);
        (answer.stdout.contains("\"uid\"") || answer.stdout.contains("AlreadyExists")).then_some(())
    });
    if client("kubectl").is_some() {
        master.kubectl(&["get", "configmap", "e"]).ok();
    }
}

/// The addresses of the service `kubernetes`, as a master tells them.
fn masters_of(master: &Master) -> Vec<String> {
    let endpoints = master.get("/api/v1/namespaces/default/endpoints/kubernetes");
    let addresses = endpoints["subsets"][0]["addresses"].as_array().cloned();
    let ip = |one: &Value| one["ip"].as_str().unwrap().to_owned();
    addresses
        .into_iter()
        .flatten()
        .map(|one| ip(&one))
        .collect()
}

#[test]
fn two_masters_share_an_etcd() {
    let etcd = ["--etcd-servers", "http://127.0.0.1:2379"];
    let Some(mut first) = Master::stopped(&etcd) else {
        return;
    };
    let Some(_etcd) = Etcd::start(first.netns(), first.dir()) else {
        return;
    };
    let netns = first.netns();
    for address in ["10.9.8.1", "10.9.8.2"] {
        netns.ip(&format!("address add {address}/32 dev lo"));
    }
    first.argue(&["--bind-address", "10.9.8.1"]);
    first.resume();
    // The cluster's keys are what makes another master one of this cluster.
    let mut second = first.beside(&[&etcd[..], &["--bind-address", "10.9.8.2"]].concat());
    for (from, to) in [("pki", "pki"), ("secrets.keys", "secrets.keys")] {
        copy(&first.data().join(from), &second.data().join(to));
    }
    second.resume();
    for master in [&first, &second] {
        eventually(10, "each tells of both", || {
            (masters_of(master) == ["10.9.8.1", "10.9.8.2"]).then_some(())
        });
    }

    // What one has acknowledged the other one knows, at once; and what one watches the other one writes.
    for round in 0..50 {
        let (writer, reader) = match round % 2 {
            0 => (&first, &second),
            _ => (&second, &first),
        };
        let name = format!("m{round}");
        create(writer, &name, round);
        let got = reader.get(&format!("/api/v1/namespaces/default/configmaps/{name}"));
        assert_eq!(got["data"]["v"], round.to_string());
    }
    let encoded = "c2VzYW1l";
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "data": {"word": encoded}});
    let made = first.curl(&[
        "/api/v1/namespaces/default/secrets",
        "-H",
        "Content-Type: application/json",
        "-d",
        &secret.to_string(),
    ]);
    made.ok();
    let got = second.get("/api/v1/namespaces/default/secrets/s");
    assert_eq!(got["data"]["word"], encoded);

    first.kill();
    eventually(30, "the one that is gone is missed", || {
        (masters_of(&second) == ["10.9.8.2"]).then_some(())
    });
    create(&second, "alone", 1);
    first.resume();
    eventually(10, "it is back", || {
        (masters_of(&second) == ["10.9.8.1", "10.9.8.2"]).then_some(())
    });
    let got = first.get("/api/v1/namespaces/default/configmaps/alone");
    assert_eq!(got["data"]["v"], "1");
    second.stop().ok();
    eventually(5, "one that ends in order is missed at once", || {
        (masters_of(&first) == ["10.9.8.1"]).then_some(())
    });
}

/// A file, or a directory of files.
fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(from, to).unwrap();
    }
}
