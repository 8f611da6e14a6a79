//! Limits, the freezer, processes and figures.
use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::{Value, json};

use super::lab::{Lab, cgroups_of};

/// A running container with a memory limit of 64 MiB.
fn running(lab: &Lab) -> String {
    let id = lab.id();
    let bundle = lab.bundle("exec sleep 1000").with(|config| {
        config["linux"]["cgroupsPath"] = format!("/{id}").into();
        config["linux"]["resources"] =
            json!({ "memory": { "limit": 64 << 20 }, "pids": { "limit": 17 } });
    });
    lab.detached(&["run", "--detach", "--bundle", bundle.dir(), &id]);
    id
}

/// The first of these files in any of the container's cgroup directories.
#[track_caller]
fn control(id: &str, names: [&str; 2]) -> String {
    let files = cgroups_of(id)
        .into_iter()
        .flat_map(|dir| names.map(|name| dir.join(name)));
    let file: PathBuf = files
        .into_iter()
        .find(|file| file.exists())
        .expect("a control file");
    fs::read_to_string(file).unwrap().trim().to_owned()
}

const MEMORY: [&str; 2] = ["memory.limit_in_bytes", "memory.max"];
const PIDS: [&str; 2] = ["pids.max", "pids.max"];

#[test]
fn limits_are_set_and_changed() {
    let Some(lab) = Lab::open("limits_are_set_and_changed") else {
        return;
    };
    let id = running(&lab);
    assert_eq!(control(&id, MEMORY), (64 << 20).to_string());
    assert_eq!(control(&id, PIDS), "17");
    lab.ok(&["update", "--memory", "134217728", "--pids-limit", "23", &id]);
    assert_eq!(control(&id, MEMORY), "134217728");
    assert_eq!(control(&id, PIDS), "23");

    let mut command = lab.command(&["update", "--resources", "-", &id]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let object = json!({ "memory": { "limit": 96 << 20 } }).to_string();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(object.as_bytes())
        .unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(control(&id, MEMORY), (96 << 20).to_string());
    assert_eq!(control(&id, PIDS), "23", "what is not mentioned stays");

    let file = lab.path("resources");
    fs::write(&file, "nonsense").unwrap();
    lab.fails(&["update", "--resources", file.to_str().unwrap(), &id]);
    lab.fails(&["update", "--memory", "x", &id]);
    assert_eq!(control(&id, MEMORY), (96 << 20).to_string());
}

#[test]
fn a_container_can_be_paused() {
    let Some(lab) = Lab::open("a_container_can_be_paused") else {
        return;
    };
    let id = running(&lab);
    lab.ok(&["pause", &id]);
    assert_eq!(lab.status(&id), "paused");
    lab.fails(&["exec", &id, "true"]);
    lab.fails(&["delete", &id]);
    lab.ok(&["resume", &id]);
    assert_eq!(lab.status(&id), "running");
    lab.ok(&["exec", &id, "true"]);
    lab.fails(&["resume", &id]);
    lab.ok(&["pause", &id]);
    lab.ok(&["kill", &id, "KILL"]);
    lab.wait_for_status(&id, "stopped");
    lab.ok(&["delete", &id]);
    assert!(cgroups_of(&id).is_empty());
}

#[test]
fn a_paused_container_can_be_deleted_by_force() {
    let Some(lab) = Lab::open("a_paused_container_can_be_deleted_by_force") else {
        return;
    };
    let id = running(&lab);
    lab.ok(&["pause", &id]);
    lab.ok(&["delete", "--force", &id]);
    assert!(cgroups_of(&id).is_empty());
    assert!(lab.fails(&["state", &id]).contains("does not exist"));
}

#[test]
fn figures_are_printed() {
    let Some(lab) = Lab::open("figures_are_printed") else {
        return;
    };
    let id = running(&lab);
    let event: Value = serde_json::from_str(&lab.ok(&["events", "--stats", &id])).unwrap();
    assert_eq!(event["type"], "stats");
    assert_eq!(event["id"], id.as_str());
    let data = &event["data"];
    assert!(data["pids"]["current"].as_u64().unwrap() >= 1);
    assert_eq!(data["pids"]["limit"], 17);
    assert_eq!(data["memory"]["usage"]["limit"], 64 << 20);
    assert!(data["memory"]["usage"]["usage"].as_u64().unwrap() > 0);
    assert!(data["cpu"]["usage"]["total"].as_u64().unwrap() > 0);
}

#[test]
fn running_out_of_memory_is_told() {
    let Some(lab) = Lab::open("running_out_of_memory_is_told") else {
        return;
    };
    let id = lab.id();
    let bundle = lab.bundle("exec sleep 1000").with(|config| {
        config["linux"]["cgroupsPath"] = format!("/{id}").into();
        config["linux"]["resources"] = json!({ "memory": { "limit": 16 << 20, "swap": 16 << 20 } });
    });
    lab.detached(&["run", "--detach", "--bundle", bundle.dir(), &id]);
    let out = lab.path("events");
    let mut command = lab.command(&["events", "--interval", "100ms", &id]);
    let mut events = command
        .stdout(fs::File::create(&out).unwrap())
        .spawn()
        .unwrap();
    super::lab::wait_for_text(&out, "\"stats\"");
    let eater = "x=x; while :; do x=$x$x; done";
    let status = lab.run(&["exec", &id, "sh", "-c", eater]).status;
    assert!(!status.success());
    super::lab::wait_for_text(&out, "\"oom\"");
    lab.ok(&["delete", "--force", &id]);
    if lab.is_ours() {
        // The stream ends with the container.
        assert!(events.wait().unwrap().success());
    } else {
        events.kill().unwrap();
        events.wait().unwrap();
    }
}

#[test]
fn a_cgroup_with_processes_is_not_taken() {
    let Some(lab) = Lab::open("a_cgroup_with_processes_is_not_taken") else {
        return;
    };
    let id = running(&lab);
    let bundle = lab.bundle("true").with(|config| {
        config["linux"]["cgroupsPath"] = format!("/{id}").into();
    });
    if lab.is_ours() {
        let said = lab.fails(&["run", "--bundle", bundle.dir(), &lab.id()]);
        assert!(said.contains("not empty"), "{said}");
    }
    assert_eq!(
        lab.status(&id),
        "running",
        "the other container must not be hurt"
    );
    assert_eq!(control(&id, PIDS), "17");
}
