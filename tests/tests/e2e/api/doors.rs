//! Who comes in, and who does not; and that nobody keeps others out.
use super::{ask, ca, connect, curl, path, token};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
};
use rkube_tests::{Host, eventually};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

/// An authority, and what it signs.
struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        Authority { pem, issuer }
    }

    /// Writes `<name>.crt` and `<name>.key` of a client.
    fn client(&self, host: &Host, name: &str, group: &str, until: i32) -> [String; 2] {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params
            .distinguished_name
            .push(DnType::OrganizationName, group);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        [
            host.file(&format!("{name}.crt"), cert.pem()),
            host.file(&format!("{name}.key"), key.serialize_pem()),
        ]
    }
}

#[test]
fn only_health_is_for_everybody() {
    let Some(host) = Host::new() else { return };
    let _daemon = host.serve(&[]);
    let ca = ca(&host);
    let get = |arguments: &[&str]| {
        let mut all = vec!["--cacert", ca.as_str()];
        all.extend(arguments);
        curl(&host, &all)
    };
    assert_eq!(get(&["/healthz"]).code(200).text(), "ok");
    assert_eq!(get(&["/healthz/syncloop"]).code(200).text(), "ok");
    assert!(
        get(&["/healthz?verbose"])
            .code(200)
            .text()
            .contains("[+]syncloop ok")
    );
    get(&["/healthz/no-such-check"])
        .code(404)
        .status("NotFound");
    for path in [
        "/pods",
        "/",
        "/metrics",
        "/stats/summary",
        "/no/such/path",
        "/healthz/../pods",
    ] {
        let got = get(&[path]).code(401);
        got.status("Unauthorized");
        assert!(
            got.head.to_lowercase().contains("www-authenticate: bearer"),
            "{}",
            got.head
        );
    }
    for wrong in [
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        "Basic cm9vdDo=",
        "bearer 0000000000000000000000000000000000000000000000000000000000000000",
    ] {
        let header = format!("Authorization: {wrong}");
        get(&["-H", &header, "/pods"])
            .code(401)
            .status("Unauthorized");
    }
    let token = token(&host);
    assert_eq!(
        get(&["-H", &token, "/pods"]).code(200).json()["kind"],
        "PodList"
    );
    get(&["-H", &token, "/no/such/path"])
        .code(404)
        .status("NotFound");
    get(&["-H", &token, "-X", "PATCH", "/pods"])
        .code(405)
        .status("MethodNotAllowed");
    // Both protocols; and words alone for who asks for no JSON, as API servers do.
    for version in ["--http1.1", "--http2"] {
        get(&[version, "-H", &token, "/pods"]).code(200);
        let said = get(&[version, "-H", "Accept:", "/pods"]).code(401).text();
        assert!(said.starts_with("Unauthorized: "), "{said}");
    }
    let mode = |name: &str| {
        let meta = std::fs::metadata(path(&host, name)).unwrap();
        meta.permissions().mode() & 0o777
    };
    for secret in ["token", "ca.key", "kubelet.key"] {
        assert_eq!(mode(secret), 0o600, "{secret}");
    }
}

#[test]
fn certificates_and_tokens_of_files() {
    let Some(host) = Host::new() else { return };
    let authority = Authority::new("clients");
    let clients = host.file("clients.crt", &authority.pem);
    let tokens = host.file(
        "tokens",
        "one,admin\ntwo,prometheus,1,\"system:monitoring\"\n",
    );
    let daemon = host.serve(&["--client-ca-file", &clients, "--token-file", &tokens]);
    let ca = ca(&host);
    let with = |pair: &[String; 2], target: &str| {
        curl(
            &host,
            &[
                "--cacert", &ca, "--cert", &pair[0], "--key", &pair[1], target,
            ],
        )
    };
    let master = authority.client(&host, "master", "system:masters", 2200);
    with(&master, "/pods").code(200);
    let node = authority.client(&host, "node", "system:nodes", 2200);
    let said = with(&node, "/pods").code(403).status("Forbidden");
    assert!(
        said.contains("user=node") && said.contains("system:masters"),
        "{said}"
    );
    let monitor = authority.client(&host, "monitor", "system:monitoring", 2200);
    with(&monitor, "/metrics").code(200);
    with(&monitor, "/pods").code(403);
    // Of another authority, and too old: an answer that says so, not a connection that breaks off.
    let stranger = Authority::new("others").client(&host, "stranger", "system:masters", 2200);
    let said = with(&stranger, "/pods").code(401).status("Unauthorized");
    assert!(said.contains("client certificate is refused"), "{said}");
    assert_eq!(with(&stranger, "/healthz").code(200).text(), "ok");
    let old = authority.client(&host, "old", "system:masters", 2021);
    let said = with(&old, "/pods").code(401).status("Unauthorized");
    assert!(said.contains("xpired"), "{said}");
    let bearer = |token: &str, target: &str| {
        let header = format!("Authorization: Bearer {token}");
        curl(&host, &["--cacert", &ca, "-H", &header, target])
    };
    bearer("one", "/pods").code(200);
    bearer("two", "/metrics").code(200);
    bearer("two", "/pods").code(403);
    bearer("three", "/pods").code(401);
    // Files that change are taken up.
    host.file("tokens", "three,admin\n");
    bearer("three", "/pods").code(200);
    bearer("one", "/pods").code(401);
    let next = Authority::new("next");
    host.file("clients.crt", &next.pem);
    with(&master, "/pods").code(401);
    let newer = next.client(&host, "newer", "system:masters", 2200);
    with(&newer, "/pods").code(200);
    drop(daemon);
}

#[test]
fn the_certificate_is_for_the_address_that_is_asked() {
    let Some(host) = Host::new() else { return };
    let neighbour = host.neighbour();
    let _daemon = host.serve(&["--address", "0.0.0.0"]);
    let before = std::fs::read(path(&host, "kubelet.crt")).unwrap();
    let url = format!("https://{}:10250/healthz", Host::ADDRESS);
    let ask = || {
        let mut command = neighbour.command("curl");
        command.args([
            "--silent",
            "--show-error",
            "--max-time",
            "20",
            "--cacert",
            &ca(&host),
            &url,
        ]);
        command.output().unwrap()
    };
    let answer = ask();
    assert_eq!(
        answer.stdout,
        b"ok",
        "{}",
        String::from_utf8_lossy(&answer.stderr)
    );
    let made = std::fs::read(path(&host, "kubelet.crt")).unwrap();
    assert_ne!(before, made);
    assert_eq!(ask().stdout, b"ok");
    assert_eq!(std::fs::read(path(&host, "kubelet.crt")).unwrap(), made);
}

#[test]
fn slow_and_silent_clients_keep_nobody_out() {
    let Some(host) = Host::new() else { return };
    let _daemon = host.serve(&[]);
    let begun = Instant::now();
    // More than one address may have as a stranger.
    let mut silent: Vec<_> = (0..100).map(|_| connect(&host)).collect();
    let mut half = Vec::new();
    for _ in 0..8 {
        let mut command = host.command("openssl");
        command.args(["s_client", "-quiet", "-connect", "127.0.0.1:10250"]);
        command
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::null());
        let mut child = command.stderr(std::process::Stdio::null()).spawn().unwrap();
        let said = b"GET /pods HTTP/1.1\r\nHost: x\r\nX-Slow: ";
        child.stdin.as_mut().unwrap().write_all(said).unwrap();
        half.push(child);
    }
    // Root's socket has places of its own, and those that were taken come free.
    let socket = host
        .run_root()
        .join("kubelet.sock")
        .to_string_lossy()
        .into_owned();
    curl(&host, &["--unix-socket", &socket, "http://localhost/pods"]).code(200);
    eventually(40, "the port answers", || {
        (ask(&host, &["/healthz"]).code == 200).then_some(())
    });
    for stream in &mut silent {
        // Closed, whether politely or not, and within the time that a handshake has.
        let _ = stream.read_to_end(&mut Vec::new());
    }
    for mut child in half {
        eventually(40, "half a request is given up", || {
            child.try_wait().unwrap()
        });
    }
    assert!(begun.elapsed().as_secs() < 60);
}

#[test]
fn what_is_too_large_is_refused() {
    let Some(host) = Host::new() else { return };
    let daemon = host.serve(&[]);
    let header = format!("X-Large: {}", "x".repeat(100 * 1024));
    let refused = ask(&host, &["--http1.1", "-H", &header, "/pods"]);
    assert!(matches!(refused.code, 431 | 0), "{}", refused.head);
    let refused = ask(&host, &["--http2", "-H", &header, "/pods"]);
    assert!(matches!(refused.code, 431 | 0), "{}", refused.head);
    let long = format!("/{}", "a".repeat(80 * 1024));
    assert!(matches!(
        ask(&host, &["--http1.1", &long]).code,
        414 | 431 | 0
    ));
    // Rubbish instead of TLS, and TLS that breaks off.
    for said in [
        &b"GET /pods HTTP/1.1\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01",
        b"\0\0\0\0",
    ] {
        let mut stream = connect(&host);
        stream.write_all(said).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    }
    ask(&host, &["/pods"]).code(200);
    let _ = daemon.get("/healthz").status(200);
}

#[test]
fn the_port_that_only_shows() {
    let Some(host) = Host::new() else { return };
    let daemon = host.serve(&["--read-only-port", "10255"]);
    let get = |path: &str, method: &str| {
        curl(
            &host,
            &["-X", method, &format!("http://127.0.0.1:10255{path}")],
        )
    };
    eventually(10, "it listens", || {
        (get("/healthz", "GET").code == 200).then_some(())
    });
    for path in [
        "/pods",
        "/metrics",
        "/stats/summary",
        "/spec/",
        "/runningpods",
    ] {
        get(path, "GET").code(200);
    }
    for path in [
        "/configz",
        "/logs/",
        "/containerLogs/default/a/b",
        "/exec/default/a/b",
        "/run/default/a/b",
    ] {
        get(path, "GET").code(404);
    }
    get("/container", "POST").code(404);
    get("/pods/default/a", "DELETE").code(404);
    drop(daemon);
    let _plain = host.serve(&[]);
    let none = get("/healthz", "GET");
    assert_eq!(none.code, 0, "there is no such port unless it is asked for");
}

#[test]
fn a_port_that_is_taken_is_waited_for() {
    let Some(host) = Host::new() else { return };
    let taken = host
        .netns()
        .inside(|| std::net::TcpListener::bind("127.0.0.1:10250"))
        .unwrap();
    let daemon = host.serve(&[]);
    // The socket is there, and pods run.
    let _ = daemon.get("/pods").status(200);
    eventually(10, "the log says who has the port", || {
        daemon
            .log()
            .contains("the port is taken by process")
            .then_some(())
    });
    drop(taken);
    eventually(40, "the port answers", || {
        (ask(&host, &["/healthz"]).code == 200).then_some(())
    });
    daemon.stop();
}
