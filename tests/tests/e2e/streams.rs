//! `exec`, `attach`, `port-forward` and `run` through the daemon, by those who use them: kubectl of 2020 over SPDY, kubectl
//! of today over WebSocket and SPDY, Python over the channel protocols, `rkubelet` itself.
use crate::support::{pod, sh, with};
use rkube_tests::{ApiServer, Daemon, Host, Invocation, Running, eventually};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;

const SERVER: &str = "mkdir -p /www; echo hello > /www/index.html; head -c 3000000 /dev/zero > /www/big; \
    exec httpd -f -p 127.0.0.1:8080 -h /www";
const ECHO: &str =
    "while read -r line; do echo \"got $line\"; [ \"$line\" = end ] && exit 7; done; sleep 1000";

/// A daemon with pod `web`: container `c` serves HTTP on its loopback, `echo` answers what is typed to it.
fn web() -> Option<(Host, Daemon)> {
    let host = Host::new()?;
    let echo = with(sh("echo", ECHO), json!({"stdin": true}));
    host.manifest("web", &pod("web", &[sh("c", SERVER), echo], json!({})));
    let daemon = host.serve(&[]);
    host.await_phase("web", "Running");
    eventually(20, "the daemon knows both containers as running", || {
        let pods = daemon.get("/runningpods").status(200).json();
        let containers = pods["items"][0]["spec"]["containers"]
            .as_array()
            .map(Vec::len);
        (containers == Some(2)).then_some(())
    });
    // Its last word before it serves.
    eventually(20, "the server has made its files", || {
        let made = daemon.get("/run/default/web/c?cmd=cat+/www/index.html");
        (made.status == 200 && made.text() == "hello\n").then_some(())
    });
    Some((host, daemon))
}

/// A client of `hack/clients.sh`.
fn client(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../target/clients/bin")
        .join(name);
    if path.exists() {
        return Some(path);
    }
    let thread = std::thread::current();
    println!(
        "SKIP {}: needs {name} of hack/clients.sh",
        thread.name().unwrap_or("?")
    );
    None
}

fn kubectl(
    host: &Host,
    program: &Path,
    api: &ApiServer,
    spdy: bool,
    arguments: &[&str],
) -> Invocation {
    let mut command = Command::new(program);
    command
        .args(["--server", &api.url(), "--namespace", "default"])
        .args(arguments)
        .env("HOME", host.dir().join("home"))
        .env("KUBECONFIG", "/dev/null");
    if spdy {
        command.env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "false");
        command.env("KUBECTL_PORT_FORWARD_WEBSOCKETS", "false");
    }
    Invocation::new(
        command,
        format!("{} {}", program.display(), arguments.join(" ")),
    )
}

/// Where a forwarded port is, from what `text` says.
fn port(text: &str) -> Option<u16> {
    let (_, rest) = text.split_once("127.0.0.1:")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok().filter(|_| rest.len() > digits.len())
}

/// The body at `path` of the server behind a forwarded port.
fn fetch(port: u16, path: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let end = bytes
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .expect("a whole head");
    bytes.split_off(end + 4)
}

fn follow_kubectl(name: &str, upgrade: &str) {
    let Some(program) = client(name) else {
        return;
    };
    let Some((host, daemon)) = web() else {
        return;
    };
    let api = ApiServer::of(&daemon);
    let run = |arguments: &[&str]| kubectl(&host, &program, &api, upgrade == "spdy/3.1", arguments);
    let outcome = run(&[
        "exec",
        "web",
        "-c",
        "c",
        "--",
        "sh",
        "-c",
        "echo out; echo err >&2",
    ])
    .run()
    .ok();
    assert_eq!(outcome.stdout, "out\n");
    let _ = outcome.complains("err");
    let _ = run(&["exec", "web", "-c", "c", "--", "sh", "-c", "exit 3"])
        .run()
        .code(3);
    let missing = run(&["exec", "web", "-c", "c", "--", "no-such-program"])
        .run()
        .code(127);
    let _ = missing.complains("no-such-program");
    let million = "0123456789abcde\n".repeat(65_536);
    let outcome = run(&["exec", "-i", "web", "-c", "c", "--", "md5sum"])
        .stdin(million.clone())
        .run()
        .ok();
    let back = run(&["exec", "-i", "web", "-c", "c", "--", "cat"])
        .stdin(million.clone())
        .run()
        .ok();
    assert_eq!(back.stdout.len(), million.len());
    assert!(back.stdout == million, "what comes back is what was sent");
    assert!(outcome.stdout.ends_with("-\n"), "{outcome}");
    let attached = run(&["attach", "-i", "web", "-c", "echo"])
        .stdin("one\nend\n")
        .run();
    let _ = attached.code(7).says("got one\ngot end\n");
    forwards(run(&["port-forward", "pod/web", ":8080"]).start());
    let mut refused = run(&["port-forward", "pod/web", ":81"]).start();
    let there = eventually(20, "kubectl listens", || port(&refused.stdout()));
    let mut stream = TcpStream::connect(("127.0.0.1", there)).unwrap();
    let mut nothing = Vec::new();
    let _ = stream.read_to_end(&mut nothing);
    assert_eq!(nothing, b"");
    refused.await_stderr("Connection refused");
    let upgrades = api.upgrades();
    assert!(
        upgrades.len() >= 8 && upgrades.iter().all(|one| one == upgrade),
        "{upgrades:?}"
    );
}

/// Several requests through one forwarded port, a large one among them.
fn forwards(running: Running) {
    let there = eventually(20, "the port is forwarded", || {
        port(&running.stdout()).or_else(|| port(&running.stderr()))
    });
    assert_eq!(fetch(there, "/"), b"hello\n");
    let clients: Vec<_> = (0..4)
        .map(|_| std::thread::spawn(move || fetch(there, "/big").len()))
        .collect();
    for client in clients {
        assert_eq!(client.join().unwrap(), 3_000_000);
    }
    running.signal(Signal::INT);
    let _ = running.wait();
}

#[test]
fn kubectl_of_2020_over_spdy() {
    follow_kubectl("kubectl-1.20", "spdy/3.1");
}

#[test]
fn kubectl_of_today_over_spdy() {
    follow_kubectl("kubectl", "spdy/3.1");
}

#[test]
fn kubectl_of_today_over_websocket() {
    follow_kubectl("kubectl", "websocket");
}

#[test]
fn python_over_channels() {
    let Some(python) = client("python") else {
        return;
    };
    let Some((_host, daemon)) = web() else {
        return;
    };
    let api = ApiServer::of(&daemon);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/channels.py");
    let mut command = Command::new(python);
    command.arg(&script).arg(format!("ws://{}", api.address()));
    let outcome = Invocation::new(command, "python channels.py".to_owned())
        .run()
        .ok();
    let _ = outcome.says("all of it works");
}

/// As an API server has it: the kubelet's own port, its certificate checked, and a token.
#[test]
fn python_over_channels_and_tls() {
    let Some(python) = client("python") else {
        return;
    };
    let Some((host, _daemon)) = web() else {
        return;
    };
    let pki = host.root().join("pki");
    let token = std::fs::read_to_string(pki.join("token")).unwrap();
    let mut command = host.command(&python.to_string_lossy());
    command
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/channels.py"))
        .arg("wss://127.0.0.1:10250")
        .arg(pki.join("ca.crt"))
        .arg(token.trim());
    let outcome = Invocation::new(command, "python channels.py, TLS".to_owned())
        .run()
        .ok();
    let _ = outcome.says("all of it works");
}

/// How many programs run in container `c` whose arguments have the word.
fn running(host: &Host, word: &str) -> usize {
    let list = host
        .rkubelet(&["exec", "web", "-c", "c", "--", "ps"])
        .run()
        .ok()
        .stdout;
    list.lines().filter(|line| line.contains(word)).count()
}

#[test]
fn a_program_ends_with_its_client() {
    let Some((host, daemon)) = web() else {
        return;
    };
    let mut daemon = Some(daemon);
    for (number, by) in [(4001, "by way of the daemon"), (4002, "without it")] {
        if number == 4002 {
            let _ = daemon.take().map(Daemon::stop);
        }
        let word = format!("sleep {number}");
        let script = format!("{word} & echo up; wait");
        let mut client = host
            .rkubelet(&["exec", "web", "-c", "c", "--", "sh", "-c", &script])
            .start();
        client.await_stdout("up");
        assert!(running(&host, &word) > 0, "{by}");
        client.signal(Signal::KILL);
        let _ = client.wait();
        eventually(
            20,
            &format!("the program ends with its client, {by}"),
            || (running(&host, &word) == 0).then_some(()),
        );
    }
}

#[test]
fn rkubelet_by_way_of_the_daemon() {
    let Some((host, daemon)) = web() else {
        return;
    };
    let run = |arguments: &[&str]| host.rkubelet(arguments);
    let outcome = run(&[
        "exec",
        "web",
        "-c",
        "c",
        "--",
        "sh",
        "-c",
        "echo out; echo err >&2; exit 4",
    ])
    .run();
    let outcome = outcome.code(4).complains("err");
    assert_eq!(outcome.stdout, "out\n");
    let million = "x".repeat(1 << 20);
    let back = run(&["exec", "-i", "web", "-c", "c", "--", "cat"])
        .stdin(million.clone())
        .run()
        .ok();
    assert!(
        back.stdout == million,
        "{} bytes came back",
        back.stdout.len()
    );
    let _ = run(&["exec", "web", "-c", "c", "--", "/www"])
        .run()
        .code(126);
    let mut trapped = run(&[
        "exec",
        "web",
        "-c",
        "c",
        "--",
        "sh",
        "-c",
        "trap 'echo bye; exit 9' TERM; echo up; while :; do sleep 0.05; done",
    ])
    .start();
    trapped.await_stdout("up");
    trapped.signal(Signal::TERM);
    let _ = trapped.wait().code(9).says("bye");
    let _ = run(&["attach", "-i", "web", "-c", "c"])
        .stdin("x")
        .run()
        .code(1)
        .complains("takes no input");
    let _ = run(&["attach", "-i", "web", "-c", "echo"])
        .stdin("end\n")
        .run()
        .code(7)
        .says("got end");
    // In the host's namespace, where its ports are: another way in is needed to reach one.
    let mut forward = run(&["port-forward", "web", ":8080", ":81"]).start();
    forward.await_stderr("port 81");
    let there = port(&forward.stderr()).unwrap();
    let body = host.netns().inside(move || fetch(there, "/"));
    assert_eq!(body, b"hello\n");
    let _ = daemon.stop();
    let _ = forward.wait().code(1);
    // And without.
    let mut forward = run(&["port-forward", "web", ":8080"]).start();
    let there = eventually(20, "it listens", || port(&forward.stderr()));
    let body = host.netns().inside(move || fetch(there, "/big"));
    assert_eq!(body.len(), 3_000_000);
    assert!(!forward.ended());
    forward.signal(Signal::INT);
    let _ = forward.wait().ok();
}

#[test]
fn run_answers_with_the_output() {
    let Some((_host, daemon)) = web() else {
        return;
    };
    let answer = daemon
        .ask("POST", "/run/default/web/c?cmd=cat+/www/index.html", b"")
        .status(200);
    assert_eq!(answer.text(), "hello\n");
    // As in 2014, without the namespace.
    assert_eq!(
        daemon.get("/run/web/c?cmd=echo+a++b").status(200).text(),
        "a b\n"
    );
    let failed = daemon
        .get("/run/default/web/c?cmd=cat+/no/such/file")
        .status(500);
    assert!(failed.text().contains("exit code 1"), "{}", failed.text());
    let big = daemon
        .get("/run/default/web/c?cmd=cat+/www/big")
        .status(200);
    assert_eq!(big.body.len(), 1 << 20, "more is cut off");
}

#[test]
fn what_is_refused_says_why() {
    let Some((_host, daemon)) = web() else {
        return;
    };
    let check = |target: &str, status: u16, words: &str| {
        let answer = daemon.get(target).status(status);
        assert!(answer.text().contains(words), "{target}: {}", answer.text());
    };
    check(
        "/exec/default/web/c?command=ls&stdout=1",
        400,
        "upgraded to SPDY/3.1 or to a WebSocket",
    );
    check(
        "/exec/default/web/c?stdout=1",
        400,
        "you must specify a command",
    );
    check(
        "/exec/default/web/c?command=ls",
        400,
        "at least 1 of stdin, stdout, stderr",
    );
    check(
        "/exec/default/web/x?command=ls&stdout=1",
        404,
        "container x not found",
    );
    check(
        "/exec/default/nobody/c?command=ls&stdout=1",
        404,
        "not found",
    );
    check(
        "/exec/default/web/0000/c?command=ls&stdout=1",
        404,
        "with uid 0000",
    );
    check(
        "/attach/default/web/x?stdout=1",
        404,
        "container x not found",
    );
    check("/portForward/default/web?ports=http", 400, "is not a port");
    check("/portForward/default/nobody", 404, "not found");
    check("/run/default/web/c", 400, "you must specify a command");
    let list: Value = daemon.get("/pods").status(200).json();
    assert_eq!(
        list["items"][0]["metadata"]["name"], "web",
        "and it goes on"
    );
}
