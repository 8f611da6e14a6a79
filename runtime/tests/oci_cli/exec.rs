//! exec: exit codes, identity, streams, detaching.
use std::fs;
use std::process::Stdio;

use super::lab::{Lab, alive, wait_for_text};

/// A running container.
fn running(lab: &Lab) -> String {
    let bundle = lab.bundle("exec sleep 1000");
    let id = lab.id();
    lab.detached(&["run", "--detach", "--bundle", bundle.dir(), &id]);
    id
}

#[test]
fn exec_returns_what_the_program_returned() {
    let Some(lab) = Lab::open("exec_returns_what_the_program_returned") else {
        return;
    };
    let id = running(&lab);
    for (script, want) in [("exit 0", 0), ("exit 42", 42), ("kill -9 $$", 137)] {
        let output = lab.run(&["exec", &id, "sh", "-c", script]);
        assert_eq!(output.status.code(), Some(want), "{script}: {output:?}");
    }
    let output = lab.run(&["exec", &id, "no-such-program"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("executable file not found"), "{said}");
    if lab.is_ours() {
        assert_eq!(output.status.code(), Some(127));
        assert_eq!(
            lab.run(&["exec", &id, "/etc/inside"]).status.code(),
            Some(126)
        );
        assert_eq!(lab.run(&["exec", &id]).status.code(), Some(255));
    }
}

#[test]
fn exec_joins_the_container() {
    let Some(lab) = Lab::open("exec_joins_the_container") else {
        return;
    };
    let id = running(&lab);
    let script = "hostname; cat /etc/inside; echo $LAB; pwd; id -u; echo -n $0 \"$1\"; cat";
    let mut command = lab.command(&["exec", &id, "sh", "-c", script, "zero", "-a b"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), b" typed").unwrap();
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text, "lab\nyes\nyes\n/\n0\nzero -a b typed");
    let namespaces = |who: &str| {
        let list = "for n in pid mnt uts ipc net; do readlink /proc/NN/ns/$n; done";
        lab.ok(&["exec", &id, "sh", "-c", &list.replace("NN", who)])
    };
    assert_eq!(namespaces("self"), namespaces("1"));
    assert!(
        lab.ok(&["exec", &id, "grep", "CapInh", "/proc/self/status"])
            .contains("\t0000000000000000")
    );
}

#[test]
fn exec_takes_who_where_and_what() {
    let Some(lab) = Lab::open("exec_takes_who_where_and_what") else {
        return;
    };
    let id = running(&lab);
    let text = lab.ok(&[
        "exec",
        "--user",
        "12:34",
        "--additional-gids",
        "56",
        "--cwd",
        "/etc",
        "--env",
        "A=b c",
        &id,
        "sh",
        "-c",
        "id -u; id -g; id -G; pwd; echo $A",
    ]);
    assert_eq!(text, "12\n34\n34 56\n/etc\nb c\n");
    let process = lab.path("process.json");
    let object = serde_json::json!({
        "user": { "uid": 7, "gid": 8 }, "args": ["sh", "-c", "id -u; pwd; echo $X; exit 5"],
        "env": ["PATH=/bin", "X=y"], "cwd": "/tmp",
    });
    fs::write(&process, object.to_string()).unwrap();
    let output = lab.run(&["exec", "--process", process.to_str().unwrap(), &id]);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "7\n/tmp\ny\n",
        "{output:?}"
    );
    assert_eq!(output.status.code(), Some(5));
    lab.fails(&["exec", "--cwd", "/no/such/dir", &id, "true"]);
    lab.fails(&["exec", "--process", "/nonexistent", &id]);
}

#[test]
fn exec_can_be_detached() {
    let Some(lab) = Lab::open("exec_can_be_detached") else {
        return;
    };
    let id = running(&lab);
    let (pid_file, out) = (lab.path("exec.pid"), lab.path("exec.out"));
    let args = [
        "exec",
        "--detach",
        "--pid-file",
        pid_file.to_str().unwrap(),
        &id,
        "sh",
        "-c",
        "echo begun; exec sleep 1000",
    ];
    let status = lab
        .command(&args)
        .stdout(fs::File::create(&out).unwrap())
        .status()
        .unwrap();
    assert!(status.success());
    wait_for_text(&out, "begun");
    let pid: i64 = fs::read_to_string(&pid_file).unwrap().parse().unwrap();
    assert!(alive(pid));
    let pids: Vec<i64> = serde_json::from_str(&lab.ok(&["ps", "--format", "json", &id])).unwrap();
    assert!(pids.contains(&pid) && pids.len() == 2, "{pids:?}");
    let table = lab.ok(&["ps", &id]);
    assert!(
        table.contains("PID") && table.contains("sleep 1000"),
        "{table}"
    );
    lab.ok(&["kill", "--all", &id, "KILL"]);
    super::lab::reap(&pid_file);
    lab.wait_for_status(&id, "stopped");
}

/// Of root in the image's passwd, and of a user that is not in it.
#[test]
fn home_is_that_of_the_user() {
    let Some(lab) = Lab::open("home_is_that_of_the_user") else {
        return;
    };
    let bundle = lab.bundle("echo $HOME; exec sleep 1000");
    fs::write(
        bundle.path.join("rootfs/etc/passwd"),
        "root:x:0:0:root:/root:/bin/sh\nu:x:7:7::/srv:/bin/sh\n",
    )
    .unwrap();
    let id = lab.id();
    let log = lab.detached(&["run", "--detach", "--bundle", bundle.dir(), &id]);
    wait_for_text(&log, "/root\n");
    let home = |user: &str| lab.ok(&["exec", "--user", user, &id, "sh", "-c", "echo $HOME"]);
    assert_eq!(home("7"), "/srv\n");
    assert_eq!(home("8"), "/\n");
}
