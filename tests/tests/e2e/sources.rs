//! Pods from etcd, from a web server, from requests and from files, side by side on one host.
use crate::support::{pod, sh, with};
use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rkube_tests::{Host, eventually};
use serde_json::{Value, json};
use std::process::Stdio;

const ETCD: &str = "http://127.0.0.1:2379";
const ETCD_TLS: &str = "https://127.0.0.1:2379";

/// A program of the host's that runs as long as the value.
struct Service(std::process::Child);

impl Service {
    fn start(host: &Host, program: &str, arguments: &[&str]) -> std::io::Result<Self> {
        let mut command = host.command(program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.spawn().map(Service)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// etcd on the host; none, and why, where it is not installed.
fn etcd(host: &Host) -> Option<Service> {
    etcd_at(host, ETCD, &[], &[])
}

/// The same at `url`, with more flags for it and for its client.
fn etcd_at(host: &Host, url: &str, flags: &[&str], client: &[&str]) -> Option<Service> {
    let data = host.dir().join("etcd");
    let mut arguments = vec!["--data-dir", data.to_str().unwrap()];
    arguments.extend(["--listen-client-urls", url, "--advertise-client-urls", url]);
    arguments.extend(flags);
    let Ok(service) = Service::start(host, "etcd", &arguments) else {
        let thread = std::thread::current();
        println!(
            "SKIP {}: needs etcd (package etcd-server)",
            thread.name().unwrap_or("?")
        );
        return None;
    };
    eventually(20, "etcd answers", || {
        etcdctl(host, &[client, &["endpoint", "health"]].concat()).then_some(())
    });
    Some(service)
}

fn etcdctl(host: &Host, arguments: &[&str]) -> bool {
    let mut command = host.command("etcdctl");
    command.env("ETCDCTL_API", "3");
    if !arguments.contains(&"--endpoints") {
        command.args(["--endpoints", ETCD]);
    }
    command.args(arguments);
    command.output().is_ok_and(|out| out.status.success())
}

/// Files of an authority and of what it has signed for both ends: authority, server's and client's certificate and key.
fn pki(host: &Host, of: &str) -> [String; 5] {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let ca = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let signed = |name: &str, usage| {
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &issuer).unwrap().pem();
        [
            host.file(&format!("{of}-{name}.crt"), cert),
            host.file(&format!("{of}-{name}.key"), key.serialize_pem()),
        ]
    };
    let [cert, key] = signed("server", ExtendedKeyUsagePurpose::ServerAuth);
    let [shown, shown_key] = signed("client", ExtendedKeyUsagePurpose::ClientAuth);
    let ca = host.file(&format!("{of}-ca.crt"), ca);
    [ca, cert, key, shown, shown_key]
}

fn put(host: &Host, key: &str, value: &str) {
    assert!(etcdctl(host, &["put", key, value]), "put {key}");
}

fn long(name: &str) -> String {
    let script = "trap 'exit 0' TERM; while :; do sleep 0.1; done";
    pod(name, &[sh("c", script)], json!({"restartPolicy": "Always"}))
}

/// The same bound to a node, as a master stores it.
fn bound(name: &str, node: &str) -> String {
    let mut pod: Value = serde_json::from_str(&long(name)).unwrap();
    pod["metadata"] = with(
        pod["metadata"].clone(),
        json!({"namespace": "default", "uid": format!("uid-of-{name}")}),
    );
    pod["spec"]["nodeName"] = json!(node);
    pod.to_string()
}

fn started(host: &Host, name: &str) -> Value {
    let pod = host.await_phase(name, "Running");
    // Times are in seconds, and two pods may start within one.
    let since = &pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"];
    json!([pod["metadata"]["uid"], since])
}

fn is_gone(host: &Host, name: &str) {
    eventually(30, &format!("pod {name} does not run any more"), || {
        let pod = host.listed(name);
        pod.is_none_or(|pod| pod["status"]["phase"] != "Running")
            .then_some(())
    });
}

/// What `ps` says of what does not run.
fn explained(host: &Host, says: &str) {
    eventually(20, &format!("ps says {says:?}"), || {
        let ps = host.rkubelet(&["ps", "-a"]).run();
        format!("{}{}", ps.stdout, ps.stderr)
            .contains(says)
            .then_some(())
    });
}

#[test]
fn pods_of_etcd_outlive_etcd_and_the_daemon() {
    let Some(host) = Host::new() else { return };
    let Some(service) = etcd(&host) else { return };
    let flags = ["--etcd-servers", ETCD, "--hostname-override", "minion"];
    let daemon = host.serve(&flags);
    put(
        &host,
        "/registry/pods/default/bound",
        &bound("bound", "minion"),
    );
    put(
        &host,
        "/registry/pods/default/other",
        &bound("other", "elsewhere"),
    );
    put(
        &host,
        "/registry/nodes/minion/manifests/hand",
        &long("hand"),
    );
    let before = (started(&host, "bound"), started(&host, "hand"));
    assert_eq!(
        host.listed("bound").unwrap()["metadata"]["uid"],
        "uid-of-bound"
    );
    assert_eq!(host.listed("other"), None);

    drop(service);
    explained(&host, ETCD);
    let _ = daemon.kill();
    let daemon = host.serve(&flags);
    explained(&host, ETCD);
    assert_eq!((started(&host, "bound"), started(&host, "hand")), before);

    let Some(_service) = etcd(&host) else { return };
    assert!(etcdctl(&host, &["del", "/registry/pods/default/bound"]));
    is_gone(&host, "bound");
    assert_eq!(started(&host, "hand"), before.1);
    drop(daemon);
}

/// Both ends show a certificate, and take only those of one authority.
#[test]
fn etcd_over_tls() {
    let Some(host) = Host::new() else { return };
    let [ca, cert, key, shown, shown_key] = pki(&host, "ours");
    let server = [
        "--cert-file",
        &cert,
        "--key-file",
        &key,
        "--client-cert-auth",
        "--trusted-ca-file",
        &ca,
    ];
    let client = [
        "--endpoints",
        ETCD_TLS,
        "--cacert",
        &ca,
        "--cert",
        &shown,
        "--key",
        &shown_key,
    ];
    let Some(_service) = etcd_at(&host, ETCD_TLS, &server, &client) else {
        return;
    };
    let place = "/registry/nodes/minion/manifests/hand";
    assert!(etcdctl(
        &host,
        &[&client[..], &["put", place, &long("hand")]].concat()
    ));
    let serve = |ca: &str, cert: &str, key: &str| {
        let settings = format!(
            "evictionHard: {{memory.available: 1Mi}}\nrkube: {{nodeName: minion, etcdServers: [{ETCD_TLS}], \
             etcdCAFile: {ca}, etcdCertFile: {cert}, etcdKeyFile: {key}}}\n"
        );
        host.serve(&["--config-file", &host.file("kubelet.yaml", settings)])
    };
    let [other_ca, _, _, other, other_key] = pki(&host, "theirs");
    // Who is not known to etcd, and what etcd is not, come to nothing, and are said.
    for files in [[&ca, &other, &other_key], [&other_ca, &shown, &shown_key]] {
        let daemon = serve(files[0], files[1], files[2]);
        explained(&host, ETCD_TLS);
        assert_eq!(host.listed("hand"), None);
        let _ = daemon.stop();
    }
    let daemon = serve(&ca, &shown, &shown_key);
    started(&host, "hand");
    assert!(etcdctl(&host, &[&client[..], &["del", place]].concat()));
    is_gone(&host, "hand");
    drop(daemon);
}

#[test]
fn pods_of_a_web_server_carry_the_nodes_name_and_outlive_it() {
    let Some(host) = Host::new() else { return };
    let site = host.dir().join("site");
    std::fs::create_dir(&site).unwrap();
    std::fs::write(site.join("pods"), long("web")).unwrap();
    let site_path = site.to_string_lossy().into_owned();
    let arguments = ["httpd", "-f", "-p", "127.0.0.1:8000", "-h", &site_path];
    let service = Service::start(&host, "busybox", &arguments).unwrap();
    let url = "http://127.0.0.1:8000/pods";
    let daemon = host.serve(&[
        "--manifest-url",
        url,
        "--http-check-frequency",
        "1s",
        "--hostname-override",
        "minion",
    ]);
    let before = started(&host, "web-minion");
    std::fs::write(site.join("pods"), "<html>").unwrap();
    explained(&host, url);
    assert_eq!(started(&host, "web-minion"), before);
    drop(service);
    explained(&host, "refused");
    assert_eq!(started(&host, "web-minion"), before);
    std::fs::write(site.join("pods"), "[]").unwrap();
    let _service = Service::start(&host, "busybox", &arguments).unwrap();
    is_gone(&host, "web-minion");
    drop(daemon);
}

#[test]
fn pods_that_were_asked_for_are_back_after_a_restart() {
    follow_asked(&[]);
}

/// Root's socket is there without any port, and so is what was asked for over it, even when it cannot be read any more.
#[test]
fn pods_that_were_asked_for_need_no_port() {
    let flags = ["--enable-server=false"];
    follow_asked(&flags);
    let Some(host) = Host::new() else { return };
    let daemon = host.serve(&flags);
    let answer = daemon.ask("PUT", "/pods/default/asked", long("asked").as_bytes());
    assert!([200, 201].contains(&answer.status), "{}", answer.text());
    let before = started(&host, "asked");
    let _ = daemon.stop();
    let kept = host.root().join("sources/http.json");
    assert!(kept.exists(), "{}", kept.display());
    std::fs::write(&kept, "{").unwrap();
    let _daemon = host.serve(&flags);
    explained(&host, "http.json");
    assert_eq!(started(&host, "asked"), before);
}

fn follow_asked(flags: &[&str]) {
    let Some(host) = Host::new() else { return };
    let daemon = host.serve(flags);
    let answer = daemon.ask("PUT", "/pods/default/asked", long("asked").as_bytes());
    assert!([200, 201].contains(&answer.status), "{}", answer.text());
    let before = started(&host, "asked");
    let _ = daemon.kill();
    let daemon = host.serve(flags);
    assert_eq!(started(&host, "asked"), before);
    assert_eq!(
        daemon.ask("DELETE", "/pods/default/asked", b"").status / 100,
        2
    );
    is_gone(&host, "asked");
}

#[test]
fn a_name_that_two_sources_want_is_the_first_ones_until_it_lets_go() {
    let Some(host) = Host::new() else { return };
    let daemon = host.serve(&[]);
    host.manifest("twin", &long("twin"));
    let before = started(&host, "twin");
    let answer = daemon.ask("PUT", "/pods/default/twin", long("twin").as_bytes());
    assert!([200, 201].contains(&answer.status), "{}", answer.text());
    explained(&host, "twin.yaml");
    assert_eq!(started(&host, "twin"), before);
    host.remove_manifest("twin");
    eventually(30, "the other source's pod runs", || {
        (started(&host, "twin") != before).then_some(())
    });
}

#[test]
fn what_is_no_manifest_harms_nobody() {
    let Some(host) = Host::new() else { return };
    let _daemon = host.serve(&[]);
    host.manifest("good", &long("good"));
    let before = started(&host, "good");
    let dir = host.manifests();
    assert!(
        host.command("mkfifo")
            .arg(dir.join("fifo.yaml"))
            .status()
            .unwrap()
            .success()
    );
    std::os::unix::fs::symlink("/dev/zero", dir.join("endless.yaml")).unwrap();
    std::os::unix::fs::symlink("loop.yaml", dir.join("loop.yaml")).unwrap();
    let huge = std::fs::File::create(dir.join("huge.yaml")).unwrap();
    huge.set_len(1 << 34).unwrap();
    drop(huge);
    host.manifest("good", "kind: [");
    for place in [
        "fifo.yaml",
        "endless.yaml",
        "loop.yaml",
        "huge.yaml",
        "good.yaml",
    ] {
        explained(&host, place);
    }
    host.manifest("next", &long("next"));
    started(&host, "next");
    assert_eq!(started(&host, "good"), before);
}
