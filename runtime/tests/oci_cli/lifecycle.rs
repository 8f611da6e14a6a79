//! create, start, state, kill, delete, run, list: what is legal when, and what stays.
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use super::lab::{Lab, alive, cgroups_of, eventually, wait_for_text};

#[test]
fn a_container_goes_through_its_life() {
    let Some(lab) = Lab::open("a_container_goes_through_its_life") else {
        return;
    };
    let bundle = lab.bundle("echo hello; exec sleep 1000").with(|config| {
        config["annotations"] = serde_json::json!({ "org.example.key": "value" });
    });
    let (id, pid_file) = (lab.id(), lab.path("pid"));
    let args = [
        "create",
        "--bundle",
        bundle.dir(),
        "--pid-file",
        pid_file.to_str().unwrap(),
        &id,
    ];
    let out = lab.detached(&args);
    let state = lab.state(&id);
    let pid = state["pid"].as_i64().unwrap();
    assert_eq!(state["status"], "created");
    assert_eq!(state["id"], id.as_str());
    assert_eq!(state["bundle"], bundle.dir());
    assert_eq!(state["annotations"]["org.example.key"], "value");
    assert_eq!(fs::read_to_string(&pid_file).unwrap(), pid.to_string());
    assert_eq!(
        parent(pid),
        i64::from(std::process::id()),
        "init belongs to the subreaper"
    );
    assert_eq!(
        fs::read_to_string(&out).unwrap(),
        "",
        "the program must not run before start"
    );

    lab.ok(&["start", &id]);
    assert_eq!(lab.status(&id), "running");
    wait_for_text(&out, "hello\n");
    assert!(lab.ok(&["list", "-q"]).lines().any(|line| line == id));
    let list: serde_json::Value =
        serde_json::from_str(&lab.ok(&["list", "--format", "json"])).unwrap();
    assert_eq!(list[0]["id"], id.as_str());
    assert_eq!(list[0]["pid"], pid);
    assert!(lab.ok(&["list"]).contains("running"));

    lab.ok(&["kill", &id, "KILL"]);
    lab.wait_for_status(&id, "stopped");
    assert_eq!(lab.state(&id)["pid"], 0);
    lab.ok(&["delete", &id]);
    assert!(lab.fails(&["state", &id]).contains("does not exist"));
    assert_eq!(cgroups_of(&id), Vec::<std::path::PathBuf>::new());
}

fn parent(pid: i64) -> i64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("PPid:"))
        .unwrap();
    line.trim().parse().unwrap()
}

#[test]
fn verbs_are_refused_in_the_wrong_status() {
    let Some(lab) = Lab::open("verbs_are_refused_in_the_wrong_status") else {
        return;
    };
    let bundle = lab.bundle("exec sleep 1000");
    let id = lab.id();
    lab.detached(&["create", "--bundle", bundle.dir(), &id]);
    assert!(
        lab.fails(&["create", "--bundle", bundle.dir(), &id])
            .contains("already exists")
    );
    assert_eq!(
        lab.status(&id),
        "created",
        "the failed create must not touch the container"
    );
    if lab.is_ours() {
        // The specification asks for it; runc deletes a created container all the same.
        assert!(lab.fails(&["delete", &id]).contains("not stopped"));
    }

    lab.ok(&["start", &id]);
    lab.fails(&["start", &id]);
    assert!(lab.fails(&["delete", &id]).contains("not stopped"));
    assert_eq!(lab.status(&id), "running");
    lab.fails(&["resume", &id]);

    lab.ok(&["kill", &id, "9"]);
    lab.wait_for_status(&id, "stopped");
    lab.fails(&["start", &id]);
    assert!(lab.fails(&["kill", &id, "9"]).contains("not running"));
    lab.fails(&["exec", &id, "true"]);
    lab.fails(&["pause", &id]);
    lab.ok(&["delete", &id]);
}

#[test]
fn what_does_not_exist_is_said_so() {
    let Some(lab) = Lab::open("what_does_not_exist_is_said_so") else {
        return;
    };
    for verb in ["state", "start", "delete", "pause", "resume", "ps"] {
        let said = lab.fails(&[verb, "nobody"]);
        assert!(said.contains("does not exist"), "{verb}: {said}");
    }
    assert!(
        lab.fails(&["kill", "nobody", "TERM"])
            .contains("does not exist")
    );
    assert!(
        lab.fails(&["exec", "nobody", "true"])
            .contains("does not exist")
    );
    lab.ok(&["delete", "--force", "nobody"]);
    assert!(!lab.ok(&["list"]).contains("nobody"));
}

#[test]
fn bad_ids_are_refused() {
    let Some(lab) = Lab::open("bad_ids_are_refused") else {
        return;
    };
    let bundle = lab.bundle("true");
    for bad in ["..", "a/b", "../../escape", "a b", ""] {
        lab.fails(&["create", "--bundle", bundle.dir(), bad]);
    }
    assert!(!lab.path("escape").exists());
}

#[test]
fn run_returns_what_the_program_returned() {
    let Some(lab) = Lab::open("run_returns_what_the_program_returned") else {
        return;
    };
    for (script, want) in [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137)] {
        // The first process of a pid namespace cannot be killed from inside, its child can.
        let bundle = lab.bundle(&format!("sh -c '{script}'; exit $?"));
        let id = lab.id();
        let output = lab.run(&["run", "--bundle", bundle.dir(), &id]);
        assert_eq!(output.status.code(), Some(want), "{script}: {output:?}");
        assert!(
            lab.fails(&["state", &id]).contains("does not exist"),
            "run deletes at the end"
        );
        assert!(cgroups_of(&id).is_empty());
    }
}

#[test]
fn run_gives_the_program_its_streams() {
    let Some(lab) = Lab::open("run_gives_the_program_its_streams") else {
        return;
    };
    let bundle = lab.bundle("cat; echo problem >&2; hostname; cat /etc/inside; echo $LAB");
    let mut command = lab.command(&["run", "--bundle", bundle.dir(), &lab.id()]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b"typed\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "typed\nlab\nyes\nyes\n"
    );
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "problem\n");
}

#[test]
fn a_program_that_is_not_there_leaves_nothing() {
    let Some(lab) = Lab::open("a_program_that_is_not_there_leaves_nothing") else {
        return;
    };
    for (program, code) in [("no-such-program", 127), ("/etc/inside", 126)] {
        let bundle = lab.bundle_of(&[program]);
        let id = lab.id();
        let output = lab.run(&["run", "--bundle", bundle.dir(), &id]);
        assert!(!output.status.success());
        if lab.is_ours() {
            assert_eq!(output.status.code(), Some(code), "{output:?}");
        }
        let said = lab.fails(&["create", "--bundle", bundle.dir(), &id]);
        let word = if code == 127 {
            "executable file not found"
        } else {
            "permission denied"
        };
        assert!(said.contains(word), "{said}");
        assert!(lab.fails(&["state", &id]).contains("does not exist"));
        assert!(cgroups_of(&id).is_empty());
    }
}

#[test]
fn a_detached_container_runs_on() {
    let Some(lab) = Lab::open("a_detached_container_runs_on") else {
        return;
    };
    let bundle = lab.bundle("echo here; exec sleep 1000");
    let (id, pid_file) = (lab.id(), lab.path("pid"));
    let pid_path = pid_file.to_str().unwrap();
    let out = lab.detached(&[
        "run",
        "--detach",
        "--pid-file",
        pid_path,
        "--bundle",
        bundle.dir(),
        &id,
    ]);
    assert_eq!(lab.status(&id), "running");
    wait_for_text(&out, "here");
    let pid: i64 = fs::read_to_string(&pid_file).unwrap().parse().unwrap();
    assert!(alive(pid));
    lab.ok(&["delete", "--force", &id]);
    eventually("the end", || !alive(pid));
    assert!(cgroups_of(&id).is_empty());
}

#[test]
fn signals_are_passed_on_in_the_foreground() {
    let Some(lab) = Lab::open("signals_are_passed_on_in_the_foreground") else {
        return;
    };
    let bundle = lab.bundle("trap 'exit 9' TERM; echo ready; while :; do sleep 0.05; done");
    let out = lab.path("out");
    let mut command = lab.command(&["run", "--bundle", bundle.dir(), &lab.id()]);
    let mut child = command
        .stdout(fs::File::create(&out).unwrap())
        .spawn()
        .unwrap();
    wait_for_text(&out, "ready");
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.code(), Some(9), "{status:?} {:?}", status.signal());
}

#[test]
fn descriptors_are_inherited_only_when_asked_for() {
    let Some(lab) = Lab::open("descriptors_are_inherited_only_when_asked_for") else {
        return;
    };
    let out = lab.path("three");
    let run = |script: &str, preserve: &str| {
        let bundle = lab.bundle(script);
        // A shell, because std opens everything close-on-exec.
        let line = format!(
            "exec {} --root {} run {preserve} --bundle {} {} 3>{} 4</dev/null",
            lab.runtime().display(),
            lab.path("state").display(),
            bundle.dir(),
            lab.id(),
            out.display()
        );
        let output = std::process::Command::new("sh")
            .arg("-c")
            .arg(line)
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(
        run("ls /proc/self/fd", ""),
        "0\n1\n2\n3\n",
        "3 is the directory that ls reads"
    );
    run("echo through >&3; ls /proc/self/fd", "--preserve-fds 1");
    assert_eq!(fs::read_to_string(&out).unwrap(), "through\n");
    let bundle = lab.bundle("true");
    lab.fails(&[
        "run",
        "--preserve-fds",
        "200",
        "--bundle",
        bundle.dir(),
        &lab.id(),
    ]);
}

#[test]
fn configs_that_make_no_sense_are_refused() {
    let Some(lab) = Lab::open("configs_that_make_no_sense_are_refused") else {
        return;
    };
    let refused = |bundle: &super::lab::Bundle| {
        let id = lab.id();
        let said = lab.fails(&["create", "--bundle", bundle.dir(), &id]);
        assert!(lab.fails(&["state", &id]).contains("does not exist"));
        assert!(cgroups_of(&id).is_empty());
        said
    };
    let bundle = lab.bundle("true");
    fs::write(bundle.path.join("config.json"), "{").unwrap();
    assert!(refused(&bundle).contains("unexpected") || lab.is_ours());
    refused(
        &lab.bundle("true")
            .with(|config| config["process"] = serde_json::Value::Null),
    );
    refused(
        &lab.bundle("true")
            .with(|config| config["process"]["args"] = serde_json::json!([])),
    );
    refused(
        &lab.bundle("true")
            .with(|config| config["process"]["cwd"] = "relative".into()),
    );
    refused(
        &lab.bundle("true")
            .with(|config| config["root"]["path"] = "elsewhere".into()),
    );
    if lab.is_ours() {
        let version = |text: &str| {
            refused(
                &lab.bundle("true")
                    .with(|config| config["ociVersion"] = text.into()),
            )
        };
        assert!(version("1.0").contains("semantic version"));
        assert!(version("2.0.0").contains("not supported"));
    }
    lab.fails(&["create", "--bundle", "/nonexistent", &lab.id()]);
}

#[test]
fn errors_are_logged_for_the_engine() {
    let Some(lab) = Lab::open("errors_are_logged_for_the_engine") else {
        return;
    };
    let log = lab.path("log.json");
    let path = log.to_str().unwrap();
    lab.fails(&["--log", path, "--log-format", "json", "state", "nobody"]);
    let text = fs::read_to_string(&log).unwrap();
    let line: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(line["level"], "error");
    assert!(line["msg"].as_str().unwrap().contains("does not exist"));
    assert!(line["time"].is_string());
}

/// A `create` that is killed must leave something that `delete --force` can take away.
#[test]
fn a_killed_create_can_be_cleaned_up() {
    let Some(lab) = Lab::open("a_killed_create_can_be_cleaned_up") else {
        return;
    };
    let started = lab.path("hook-started");
    let script = format!("cat > {}; exec sleep 1000", started.display());
    let bundle = lab.bundle("true").with(|config| {
        config["hooks"] = serde_json::json!({
            "createRuntime": [{ "path": "/bin/sh", "args": ["sh", "-c", script] }],
        });
    });
    let id = lab.id();
    let mut create = lab
        .command(&["create", "--bundle", bundle.dir(), &id])
        .spawn()
        .unwrap();
    wait_for_text(&started, "}");
    let state: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(&started).unwrap()).unwrap();
    assert_eq!(state["status"], "creating");
    let pid = state["pid"].as_i64().unwrap();
    assert!(alive(pid));
    create.kill().unwrap();
    create.wait().unwrap();
    if !lab.is_ours() {
        // runc writes its state after the hooks and forgets such a container.
        eventually("the end of init", || !alive(pid));
        eventually("its cgroups gone", || {
            cgroups_of(&id)
                .into_iter()
                .all(|dir| fs::remove_dir(dir).is_ok())
        });
        return;
    }
    lab.ok(&["delete", "--force", &id]);
    eventually("the end of init", || !alive(pid));
    assert!(cgroups_of(&id).is_empty());
    assert!(lab.fails(&["state", &id]).contains("does not exist"));
}

#[test]
fn the_version_and_the_features_can_be_read() {
    let Some(lab) = Lab::open("the_version_and_the_features_can_be_read") else {
        return;
    };
    for flag in ["--version", "-v"] {
        let text = lab.ok(&[flag]);
        assert!(text.lines().next().unwrap().contains(" version "), "{text}");
        assert!(text.contains("spec: 1."), "{text}");
    }
    let features: serde_json::Value = serde_json::from_str(&lab.ok(&["features"])).unwrap();
    assert_eq!(features["ociVersionMin"], "1.0.0");
    let has = |list: &serde_json::Value, wanted: &str| {
        list.as_array().unwrap().iter().any(|one| one == wanted)
    };
    assert!(has(&features["hooks"], "createContainer"));
    assert!(has(&features["mountOptions"], "rbind"));
    assert!(has(&features["linux"]["namespaces"], "cgroup"));
    assert!(has(&features["linux"]["capabilities"], "CAP_SYS_ADMIN"));
    assert_eq!(features["linux"]["cgroup"]["v1"], true);
    assert_eq!(features["linux"]["seccomp"]["enabled"], true);
}

#[test]
fn the_config_that_spec_writes_runs() {
    let Some(lab) = Lab::open("the_config_that_spec_writes_runs") else {
        return;
    };
    let bundle = lab.bundle("true");
    let file = bundle.path.join("config.json");
    fs::remove_file(&file).unwrap();
    lab.ok(&["spec", "--bundle", bundle.dir()]);
    lab.fails(&["spec", "--bundle", bundle.dir()]);
    let mut config: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    config["process"]["args"] = serde_json::json!(["sh", "-c", "echo ran; touch /x"]);
    config["process"]["terminal"] = false.into();
    fs::write(&file, config.to_string()).unwrap();
    let output = lab.run(&["run", "--bundle", bundle.dir(), &lab.id()]);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "ran\n",
        "{output:?}"
    );
    assert_ne!(output.status.code(), Some(0), "the root is read-only");
}

#[test]
fn what_is_not_supported_is_said_so() {
    let Some(lab) = Lab::open("what_is_not_supported_is_said_so") else {
        return;
    };
    if lab.is_ours() {
        let said = lab.fails(&["checkpoint", "--image-path", "/tmp", "x"]);
        assert!(said.contains("not supported"), "{said}");
    }
}
