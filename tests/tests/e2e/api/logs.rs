//! What containers wrote, and the files of /var/log.
use super::{ask, ca, token};
use crate::support::{documents, pod, sh};
use rkube_tests::{Host, Running, eventually};
use serde_json::json;
use std::path::PathBuf;

const TALK: &str =
    "trap 'echo bye; exit 0' TERM; echo one; echo two; echo three; while :; do sleep 0.05; done";

fn served(manifests: &[String]) -> Option<(Host, rkube_tests::Daemon)> {
    let host = Host::new()?;
    host.manifest("all", &documents(manifests));
    let daemon = host.serve(&[]);
    Some((host, daemon))
}

fn get(host: &Host, query: &str) -> String {
    ask(host, &[&format!("/containerLogs/default/{query}")])
        .code(200)
        .text()
}

/// curl that goes on reading.
fn follow(host: &Host, target: &str) -> Running {
    let mut command = host.command("curl");
    command.args([
        "--silent",
        "--no-buffer",
        "--cacert",
        &ca(host),
        "-H",
        &token(host),
    ]);
    command.arg(format!("{}{target}", super::URL));
    rkube_tests::Invocation::new(command, format!("curl {target}")).start()
}

#[test]
fn logs_as_they_are_asked_for() {
    let crash = "echo $(cat /tmp/n 2>/dev/null || echo first); echo again; exit 1";
    let manifests = [
        pod("talk", &[sh("c", TALK)], json!({"restartPolicy": "Always"})),
        pod(
            "crash",
            &[sh("c", crash)],
            json!({"restartPolicy": "Always"}),
        ),
        pod(
            "wait",
            &[json!({"name": "c", "image": "localhost/none:v1", "imagePullPolicy": "Never"})],
            json!({}),
        ),
    ];
    let Some((host, _daemon)) = served(&manifests) else {
        return;
    };
    eventually(30, "it has talked", || {
        let got = ask(&host, &["/containerLogs/default/talk/c"]);
        (got.text() == "one\ntwo\nthree\n").then_some(())
    });
    assert_eq!(get(&host, "talk/c?tailLines=2"), "two\nthree\n");
    assert_eq!(get(&host, "talk/c?tail=1"), "three\n");
    assert_eq!(get(&host, "talk/c?limitBytes=5"), "one\nt");
    assert_eq!(get(&host, "talk/c?sinceTime=2100-01-01T00:00:00Z"), "");
    assert_eq!(get(&host, "talk/c?sinceSeconds=3600"), "one\ntwo\nthree\n");
    let stamped = get(&host, "talk/c?timestamps=true");
    for (line, word) in stamped.lines().zip(["one", "two", "three"]) {
        let (time, text) = line.split_once(' ').unwrap();
        assert!(time.starts_with("20") && time.ends_with('Z'), "{line}");
        assert_eq!(text, word);
    }
    assert_eq!(
        ask(&host, &["/containerLogs/talk/c"]).code(200).text(),
        "one\ntwo\nthree\n"
    );
    for bad in [
        "tailLines=x",
        "limitBytes=0",
        "follow=perhaps",
        "sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z",
    ] {
        ask(&host, &[&format!("/containerLogs/default/talk/c?{bad}")])
            .code(422)
            .status("Invalid");
    }
    ask(&host, &["/containerLogs/default/none/c"])
        .code(404)
        .status("NotFound");
    ask(&host, &["/containerLogs/default/talk/none"])
        .code(404)
        .status("NotFound");
    ask(&host, &["/containerLogs/default/..%2f..%2fetc/passwd"]).code(404);
    let said = ask(&host, &["/containerLogs/default/talk/c?previous=true"])
        .code(400)
        .status("BadRequest");
    assert!(
        said.contains("previous terminated container \"c\""),
        "{said}"
    );
    let waits = eventually(30, "the image is missed", || {
        let got = ask(&host, &["/containerLogs/default/wait/c"]);
        (got.code == 400).then(|| got.status("BadRequest"))
    });
    assert!(waits.contains("is waiting to start"), "{waits}");
    eventually(60, "it was started again", || {
        let got = ask(&host, &["/containerLogs/default/crash/c?previous=true"]);
        (got.code == 200 && got.text().contains("again")).then_some(())
    });
}

#[test]
fn followers_see_all_of_it_and_cost_nothing_when_they_go() {
    let count = "for i in $(seq 500); do echo line $i; done; sleep 1; for i in $(seq 501 1000); do echo line $i; done";
    let manifests = [
        pod("count", &[sh("c", count)], json!({})),
        pod("talk", &[sh("c", TALK)], json!({"restartPolicy": "Always"})),
    ];
    let Some((host, daemon)) = served(&manifests) else {
        return;
    };
    eventually(30, "both run", || {
        let both = ["count", "talk"].map(|name| {
            ask(&host, &[&format!("/containerLogs/default/{name}/c")])
                .text()
                .lines()
                .count()
                > 2
        });
        both.into_iter().all(|one| one).then_some(())
    });
    let all = follow(&host, "/containerLogs/default/count/c?follow=true");
    let fds = || {
        std::fs::read_dir(format!("/proc/{}/fd", daemon.pid()))
            .unwrap()
            .count()
    };
    let before = fds();
    let mut others: Vec<Running> = (0..20)
        .map(|_| follow(&host, "/containerLogs/default/talk/c?follow=true"))
        .collect();
    for other in &mut others {
        other.await_stdout("three");
    }
    // A connection and a file each, and nothing else.
    assert!(fds() <= before + 45, "{} and {before}", fds());
    for other in others {
        other.signal(rustix::process::Signal::KILL);
        other.wait();
    }
    eventually(30, "followers that went are forgotten", || {
        (fds() <= before).then_some(())
    });
    let expected: String = (1..=1000)
        .map(|number| format!("line {number}\n"))
        .collect();
    // It ends by itself when the container does.
    assert_eq!(all.wait().ok().stdout, expected);
    // Those that are there when the daemon ends are let go.
    let mut last = follow(&host, "/containerLogs/default/talk/c?follow=true");
    last.await_stdout("three");
    daemon.stop();
    assert!(last.wait().stdout.starts_with("one\ntwo\nthree\n"));
}

/// A folder of /var/log that goes with the value.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let name = format!("/var/log/rkube-e2e-{}", std::process::id());
        std::fs::create_dir_all(&name).unwrap();
        Folder(name.into())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn files_of_var_log_and_no_others() {
    let Some((host, _daemon)) = served(&[]) else {
        return;
    };
    let folder = Folder::new();
    let name = folder.0.file_name().unwrap().to_string_lossy().into_owned();
    std::fs::write(folder.0.join("a.log"), "0123456789").unwrap();
    std::fs::create_dir(folder.0.join("sub")).unwrap();
    let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, folder.0.join(name)).unwrap();
    link("/etc/passwd", "absolute");
    link("../../../etc/passwd", "relative");
    link("/", "root");
    link("a.log", "inner");
    let pipe = folder.0.join("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    let get = |path: &str| ask(&host, &[&format!("/logs/{name}/{path}")]);
    assert_eq!(get("a.log").code(200).text(), "0123456789");
    assert_eq!(get("inner").code(200).text(), "0123456789");
    assert_eq!(get("../").code, 200, "the folder above is /var/log itself");
    let page = get("").code(200).text();
    assert!(
        page.contains("<a href=\"a.log\">") && page.contains("<a href=\"sub/\">"),
        "{page}"
    );
    assert_eq!(get("sub").code, 308);
    let range = ask(
        &host,
        &["-H", "Range: bytes=2-4", &format!("/logs/{name}/a.log")],
    )
    .code(206);
    assert_eq!(range.text(), "234");
    assert!(
        range
            .head
            .to_lowercase()
            .contains("content-range: bytes 2-4/10"),
        "{}",
        range.head
    );
    ask(
        &host,
        &["-H", "Range: bytes=10-", &format!("/logs/{name}/a.log")],
    )
    .code(416);
    for path in ["absolute", "relative", "root/etc/passwd", "pipe"] {
        get(path).code(403).status("Forbidden");
    }
    for path in [
        "/logs/../etc/passwd",
        "/logs/..%2f..%2fetc%2fpasswd",
        "/logs/%2e%2e/%2e%2e/etc/passwd",
        "/logs//etc/passwd",
        "/logs/%00",
        "/logs/none",
        "/logs/....//....//etc/passwd",
    ] {
        let got = ask(&host, &[path]);
        assert!((400..500).contains(&got.code), "{path}: {}", got.code);
        assert!(!got.text().contains("root:"), "{path}");
    }
}
