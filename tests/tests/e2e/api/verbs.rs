//! `ps`, `inspect`, `stats`, `logs` and `stop` beside a daemon that answers, one that was killed, and one that hangs.
use super::ask;
use crate::support::{documents, pod, sh};
use rkube_tests::{Daemon, Host, eventually, limit};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const LOOP: &str = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done";
/// The route of records.
const PODS: &str = "/rkube/v1/pods";
/// The route of logs.
const LOGS: &str = "/containerLogs/{namespace}/{pod}/{container}";

fn long(name: &str) -> String {
    pod(name, &[sh("c", LOOP)], json!({}))
}

/// How often the daemon was asked for this, and answered.
fn answered(daemon: &Daemon, route: &str) -> u64 {
    let line = format!("path=\"{route}\",code=\"200\"}} ");
    let text = daemon.get("/metrics").status(200).text();
    let found = text.lines().find(|one| one.contains(&line));
    found.map_or(0, |one| one.rsplit(' ').next().unwrap().parse().unwrap())
}

/// The host with a pod of the daemon, and one of a command in the foreground, both of which have said `up`.
fn with_two(host: &Host) -> (Daemon, rkube_tests::Running) {
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"},
        "stringData": {"word": "sesame"}});
    host.manifest("web", &documents(&[secret.to_string(), long("web")]));
    let daemon = host.serve(&[]);
    let front = host.start(&long("front"));
    for name in ["web", "front"] {
        host.await_phase(name, "Running");
        eventually(10, "it says that it is up", || {
            let logs = host.rkubelet(&["logs", name]).run().ok().stdout;
            (logs == "up\n").then_some(())
        });
    }
    (daemon, front)
}

fn verb(host: &Host, arguments: &[&str]) -> String {
    host.rkubelet(arguments).run().ok().stdout
}

/// What the verbs say of both pods, whoever tells them.
fn both_are_shown(host: &Host, web: &Value) {
    let names = verb(host, &["ps", "-o", "name"]);
    let mut names: Vec<_> = names.lines().collect();
    names.sort_unstable();
    assert_eq!(names, ["default/front", "default/web"]);
    let shown: Value =
        serde_json::from_str(&verb(host, &["inspect", "web", "-o", "json"])).unwrap();
    assert_eq!(&shown, web);
    verb(host, &["inspect", "front"]);
    let stats = verb(host, &["stats", "-o", "json"]);
    let stats: Value = serde_json::from_str(&stats).unwrap();
    let pods = stats.as_array().unwrap().iter();
    let mut pods: Vec<_> = pods.map(|one| one["pod"].as_str().unwrap()).collect();
    pods.sort_unstable();
    assert_eq!(pods, ["default/front", "default/web"], "{stats}");
    assert_eq!(verb(host, &["logs", "web"]), "up\n");
    assert_eq!(verb(host, &["logs", "front"]), "up\n");
    assert_eq!(verb(host, &["logs", "web", "--tail", "0"]), "");
    let stamped = verb(host, &["logs", "web", "--since", "1h", "--timestamps"]);
    let (time, text) = stamped.split_once(' ').unwrap();
    assert!(time.starts_with("20") && text == "up\n", "{stamped}");
    // What the daemon refuses is refused in the same words.
    let previous = host.rkubelet(&["logs", "web", "-p"]).run();
    assert_ne!(previous.code, 0);
    assert!(previous.stderr.contains("default/web"), "{previous}");
}

#[test]
fn verbs_ask_the_daemon_and_do_without_it() {
    let Some(host) = Host::new() else { return };
    let (daemon, front) = with_two(&host);
    let web = verb(&host, &["inspect", "web", "-o", "json"]);
    let web: Value = serde_json::from_str(&web).unwrap();
    let asks = |route: &str, arguments: &[&str]| {
        let before = answered(&daemon, route);
        verb(&host, arguments);
        assert_eq!(answered(&daemon, route), before + 1, "{arguments:?}");
    };
    asks(PODS, &["ps"]);
    asks(PODS, &["inspect", "web"]);
    asks(PODS, &["stats", "-1"]);
    asks(LOGS, &["logs", "web", "--tail", "3"]);
    both_are_shown(&host, &web);
    // Records are for root on this host, and even that gets no secrets from here.
    let records = daemon.get(PODS).status(200);
    assert_eq!(
        records.json()[0]["record"]["pod"]["metadata"]["name"],
        "web"
    );
    assert!(!records.text().contains("c2VzYW1l"), "{}", records.text());
    ask(&host, &[PODS]).code(404).status("NotFound");
    daemon.kill();
    both_are_shown(&host, &web);
    host.rkubelet(&["ps"]).run().ok().says("unattended");
    host.rkubelet(&["stop", "--until-changed", "web"])
        .run()
        .ok();
    let ended = host.listed("web").unwrap();
    assert_eq!(ended["status"]["phase"], "Succeeded", "{ended}");
    assert_eq!(verb(&host, &["logs", "web"]), "up\nbye\n");
    front.signal(Signal::TERM);
    front.wait();
}

#[test]
fn a_daemon_that_hangs_costs_a_verb_no_more_than_a_second() {
    let Some(host) = Host::new() else { return };
    let (mut daemon, front) = with_two(&host);
    let web = verb(&host, &["inspect", "web", "-o", "json"]);
    let web: Value = serde_json::from_str(&web).unwrap();
    daemon.running().signal(Signal::STOP);
    let verbs: [&[&str]; 5] = [
        &["ps"],
        &["inspect", "web"],
        &["stats", "-1"],
        &["logs", "web"],
        &["exec", "web", "--", "true"],
    ];
    for arguments in verbs {
        let begun = Instant::now();
        verb(&host, arguments);
        let took = begun.elapsed();
        assert!(
            took < limit(Duration::from_secs(4)),
            "{arguments:?}: {took:?}"
        );
    }
    both_are_shown(&host, &web);
    daemon.running().signal(Signal::CONT);
    // It first answers those who have long gone.
    eventually(10, "the daemon is asked again, and by nobody else", || {
        let before = answered(&daemon, PODS);
        verb(&host, &["ps"]);
        (answered(&daemon, PODS) == before + 1).then_some(())
    });
    host.rkubelet(&["stop", "--until-changed", "web"])
        .run()
        .ok();
    front.signal(Signal::TERM);
    front.wait();
    daemon.stop();
}
