//! Hooks: their order, what they see, and what their failures mean.
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::lab::{Lab, cgroups_of};

const STAGES: [&str; 6] = [
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
];

/// A hook for each stage that appends its name and the status it is told to `log`.
fn recording(log: &Path) -> Value {
    let hook = |stage: &str, log: &Path| {
        let script = format!(
            "read -r state; echo \"$state\" | grep -o '\"status\": *\"[a-z]*\"' | \
             while IFS='\"' read -r _ _ _ status _; do echo {stage} $status $WHO; done >> {}",
            log.display()
        );
        json!([{ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin", "WHO=me"] }])
    };
    let mut hooks = json!({});
    for stage in STAGES {
        // Inside the container there is another file system.
        let log = if stage == "startContainer" {
            Path::new("/hooks")
        } else {
            log
        };
        hooks[stage] = hook(stage, log);
    }
    hooks
}

#[test]
fn hooks_run_in_order_with_the_state() {
    let Some(lab) = Lab::open("hooks_run_in_order_with_the_state") else {
        return;
    };
    let log = lab.path("hooks");
    let bundle = lab
        .bundle("cat /hooks; exec sleep 1000")
        .with(|config| config["hooks"] = recording(&log));
    let id = lab.id();
    let out = lab.detached(&["create", "--bundle", bundle.dir(), &id]);
    let created = "prestart creating me\ncreateRuntime creating me\ncreateContainer creating me\n";
    let seen = fs::read_to_string(&log).unwrap();
    // runc 1.1 runs poststart at the end of create.
    let poststart = if lab.is_ours() {
        "poststart running me\n"
    } else {
        ""
    };
    assert!(
        seen == created || !lab.is_ours() && seen.starts_with(created),
        "{seen}"
    );
    lab.ok(&["start", &id]);
    super::lab::wait_for_text(&out, "startContainer created me\n");
    let started = if lab.is_ours() {
        format!("{created}{poststart}")
    } else {
        seen
    };
    assert_eq!(fs::read_to_string(&log).unwrap(), started);
    lab.ok(&["delete", "--force", &id]);
    assert_eq!(
        fs::read_to_string(&log).unwrap(),
        format!("{started}poststop stopped me\n")
    );
}

#[test]
fn run_calls_all_hooks_too() {
    let Some(lab) = Lab::open("run_calls_all_hooks_too") else {
        return;
    };
    let log = lab.path("hooks");
    let bundle = lab
        .bundle("cat /hooks")
        .with(|config| config["hooks"] = recording(&log));
    let output = lab.run(&["run", "--bundle", bundle.dir(), &lab.id()]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "startContainer created me\n"
    );
    let stages: Vec<String> = fs::read_to_string(&log)
        .unwrap()
        .lines()
        .map(|line| line.split(' ').next().unwrap().to_owned())
        .collect();
    assert_eq!(
        stages,
        [
            "prestart",
            "createRuntime",
            "createContainer",
            "poststart",
            "poststop"
        ]
    );
}

#[test]
fn hooks_run_in_the_right_namespaces() {
    let Some(lab) = Lab::open("hooks_run_in_the_right_namespaces") else {
        return;
    };
    let bundle = lab
        .bundle("readlink /proc/self/ns/uts; exec sleep 1000")
        .with(|config| {
            config["hooks"] = json!({});
        });
    let (runtime, container) = (lab.path("runtime"), lab.path("container"));
    let bundle = bundle.with(|config| {
        let hook = |script: String| json!([{ "path": "/bin/sh", "args": ["sh", "-c", script] }]);
        let uts = |out: &Path| format!("readlink /proc/self/ns/uts > {}", out.display());
        config["hooks"]["createRuntime"] = hook(uts(&runtime));
        config["hooks"]["createContainer"] = hook(uts(&container));
    });
    let id = lab.id();
    let out = lab.detached(&["create", "--bundle", bundle.dir(), &id]);
    lab.ok(&["start", &id]);
    super::lab::wait_for_text(&out, "uts:");
    let inside = fs::read_to_string(&out).unwrap();
    let own = fs::read_link("/proc/self/ns/uts").unwrap();
    assert_eq!(
        fs::read_to_string(&runtime).unwrap().trim(),
        own.to_str().unwrap()
    );
    let seen = fs::read_to_string(&container).unwrap();
    assert_ne!(seen.lines().next(), own.to_str());
    assert!(
        seen.lines().next() == inside.lines().next() || !lab.is_ours(),
        "{seen} {inside}"
    );
}

#[test]
fn a_failing_hook_ends_create_and_leaves_nothing() {
    let Some(lab) = Lab::open("a_failing_hook_ends_create_and_leaves_nothing") else {
        return;
    };
    for stage in ["prestart", "createRuntime", "createContainer"] {
        let bundle = lab.bundle("true").with(|config| {
            let script = "echo this is why >&2; exit 3";
            config["hooks"] =
                json!({ stage: [{ "path": "/bin/sh", "args": ["sh", "-c", script] }] });
        });
        let id = lab.id();
        let said = lab.fails(&["create", "--bundle", bundle.dir(), &id]);
        if lab.is_ours() {
            assert!(
                said.contains(stage) && said.contains("this is why"),
                "{said}"
            );
        }
        assert!(lab.fails(&["state", &id]).contains("does not exist"));
        assert!(cgroups_of(&id).is_empty());
    }
}

#[test]
fn a_failing_start_hook_ends_start() {
    let Some(lab) = Lab::open("a_failing_start_hook_ends_start") else {
        return;
    };
    let bundle = lab.bundle("exec sleep 1000").with(|config| {
        config["hooks"] = json!({
            "startContainer": [{ "path": "/bin/false" }],
        });
    });
    let id = lab.id();
    lab.detached(&["create", "--bundle", bundle.dir(), &id]);
    if lab.is_ours() {
        // runc's start does not wait for its init's hooks.
        assert!(lab.fails(&["start", &id]).contains("startContainer"));
    } else {
        lab.run(&["start", &id]);
    }
    lab.wait_for_status(&id, "stopped");
}

#[test]
fn a_hook_that_takes_too_long_is_killed() {
    let Some(lab) = Lab::open("a_hook_that_takes_too_long_is_killed") else {
        return;
    };
    let bundle = lab.bundle("true").with(|config| {
        config["hooks"] = json!({
            "createRuntime": [{ "path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1 }],
        });
    });
    let id = lab.id();
    lab.fails(&["create", "--bundle", bundle.dir(), &id]);
    assert!(lab.fails(&["state", &id]).contains("does not exist"));
}
