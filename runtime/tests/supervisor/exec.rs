//! Exec: further processes in a running container.

use std::io::{PipeReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use rkube_runtime::supervisor::{Exec, ExecStreams, Failure, Supervisor, SupervisorError};

use crate::bed::{LONG, Pod, Wishes, able, children, eventually, open_fds};

/// Runs a script in a container with its output on a pipe.
fn exec(pod: &mut Pod, script: &str) -> Result<(Exec, PipeReader), SupervisorError> {
    let launch = pod.compile_exec(script, false);
    let (reader, writer) = std::io::pipe().unwrap();
    let null = std::fs::File::open("/dev/null").unwrap();
    let streams = ExecStreams::Fds([null.as_fd(), writer.as_fd(), writer.as_fd()]);
    Ok((pod.supervisor.exec("web", &launch, &streams)?, reader))
}

#[test]
fn it_runs_inside_and_its_exit_code_is_told() {
    if !able("it_runs_inside_and_its_exit_code_is_told") {
        return;
    }
    let mut pod = Pod::new();
    let prepared = pod.run("web", "exec sleep 1000", Wishes::default());
    let (run, mut output) = exec(
        &mut pod,
        "echo hello; readlink /proc/1/exe; exec 2>&1; exit 5",
    )
    .unwrap();
    assert_ne!(run.pid, prepared.pid);
    let exited = pod.supervisor.wait_exec(&run, LONG).unwrap();
    assert_eq!((exited.code, exited.signal), (5, 0));
    let mut text = String::new();
    output.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("hello\n"), "{text}");
    assert_eq!(
        pod.log("web.log"),
        "",
        "an exec's output is not the container's"
    );
}

#[test]
fn it_can_be_signalled_and_dies_with_its_container() {
    if !able("it_can_be_signalled_and_dies_with_its_container") {
        return;
    }
    let mut pod = Pod::new();
    pod.run("web", "exec sleep 1000", Wishes::default());
    let (first, _output) = exec(&mut pod, "exec sleep 1000").unwrap();
    let (second, _output) = exec(&mut pod, "exec sleep 1000").unwrap();
    pod.supervisor.signal_exec(&first, 15).unwrap();
    assert_eq!(pod.supervisor.wait_exec(&first, LONG).unwrap().signal, 15);
    pod.supervisor.kill_all("web").unwrap();
    assert_eq!(pod.supervisor.wait_exec(&second, LONG).unwrap().signal, 9);
    pod.exited("web");
    assert!(matches!(
        exec(&mut pod, "true"),
        Err(SupervisorError::Refused {
            failure: Failure::State,
            ..
        })
    ));
}

#[test]
fn a_program_that_is_not_there_is_named() {
    if !able("a_program_that_is_not_there_is_named") {
        return;
    }
    let mut pod = Pod::new();
    pod.run("web", "exec sleep 1000", Wishes::default());
    std::fs::remove_file(pod.logs().join("../rootfs/bin/sh")).unwrap();
    let err = exec(&mut pod, "true").unwrap_err();
    assert_eq!(err.failure().unwrap().exit_code(), 127, "{err}");
    let pid = pod.supervisor.pid();
    eventually("it is reaped", || children(pid).len() == 1);
}

/// What has entered a pid namespace and not been reaped keeps its first process from ending.
#[test]
fn a_failed_exec_does_not_hold_up_the_containers_end() {
    if !able("a_failed_exec_does_not_hold_up_the_containers_end") {
        return;
    }
    let mut pod = Pod::new();
    pod.run("web", "exec sleep 1000", Wishes::default());
    let pid = pod.supervisor.pid();
    let fds = open_fds(pid).len();
    std::fs::remove_file(pod.logs().join("../rootfs/bin/sh")).unwrap();
    for _ in 0..20 {
        exec(&mut pod, "true").unwrap_err();
    }
    // Not even a look at its children lies between the last failure and the kill.
    pod.supervisor.kill_all("web").unwrap();
    let begun = Instant::now();
    assert_eq!(pod.exited("web").exited.signal, 9);
    println!("the end was noticed after {:?}", begun.elapsed());
    eventually("no zombie is left", || children(pid).is_empty());
    assert!(open_fds(pid).len() <= fds);
}

#[test]
fn a_terminal_is_handed_to_the_client() {
    if !able("a_terminal_is_handed_to_the_client") {
        return;
    }
    let mut pod = Pod::new();
    pod.run("web", "exec sleep 1000", Wishes::default());
    let launch = pod.compile_exec(
        "stty -echo; echo ready; read line; echo \"<$line>\"; [ -t 0 ] && exit 3",
        true,
    );
    let mut run = pod
        .supervisor
        .exec("web", &launch, &ExecStreams::Terminal)
        .unwrap();
    let mut terminal = std::fs::File::from(run.terminal.take().unwrap());
    let mut seen = String::new();
    let mut buffer = [0; 256];
    while !seen.contains("ready") {
        let got = terminal.read(&mut buffer).unwrap();
        seen.push_str(std::str::from_utf8(&buffer[..got]).unwrap());
    }
    terminal.write_all(b"typed\n").unwrap();
    while !seen.contains("<typed>\r\n") {
        let got = terminal.read(&mut buffer).unwrap();
        seen.push_str(std::str::from_utf8(&buffer[..got]).unwrap());
    }
    assert_eq!(pod.supervisor.wait_exec(&run, LONG).unwrap().code, 3);
}

#[test]
fn a_storm_leaves_no_zombie_and_no_descriptor() {
    if !able("a_storm_leaves_no_zombie_and_no_descriptor") {
        return;
    }
    let mut pod = Pod::new();
    pod.run("web", "exec sleep 1000", Wishes::default());
    let pid = pod.supervisor.pid();
    let before = open_fds(pid).len();
    let mut running: Vec<(Exec, OwnedFd)> = Vec::new();
    let begun = Instant::now();
    for n in 0..400 {
        let (run, output) = exec(&mut pod, "exit 4").unwrap();
        running.push((run, output.into()));
        if n % 50 == 49 {
            for (run, _) in running.drain(..) {
                assert_eq!(pod.supervisor.wait_exec(&run, LONG).unwrap().code, 4);
            }
        }
    }
    println!("400 execs in {:?}", begun.elapsed());
    assert_eq!(children(pid).len(), 1, "only the container is left");
    assert_eq!(open_fds(pid).len(), before);
}

#[test]
fn two_clients_hear_only_of_their_own() {
    if !able("two_clients_hear_only_of_their_own") {
        return;
    }
    let mut pod = Pod::new();
    pod.run("web", "exec sleep 1000", Wishes::default());
    let launch = pod.compile_exec("exit 6", false);
    let mut other = Supervisor::connect(&pod.dir).unwrap();
    let null = std::fs::File::open("/dev/null").unwrap();
    let run = other
        .exec("web", &launch, &ExecStreams::Fds([null.as_fd(); 3]))
        .unwrap();
    assert_eq!(other.wait_exec(&run, LONG).unwrap().code, 6);
    pod.supervisor.kill_all("web").unwrap();
    pod.exited("web");
    let event = other.wait_event(LONG).unwrap();
    assert!(
        matches!(event, Some(rkube_runtime::supervisor::Event::Exited(_))),
        "{event:?}"
    );
}

#[test]
fn what_is_tied_to_a_connection_ends_with_it() {
    if !able("what_is_tied_to_a_connection_ends_with_it") {
        return;
    }
    let mut pod = Pod::new();
    pod.run("web", "exec sleep 1000", Wishes::default());
    let (free, _kept) = exec(&mut pod, "exec sleep 1000").unwrap();
    let launch = pod.compile_exec("sleep 1000 & echo up; wait", false);
    let (mut reader, writer) = std::io::pipe().unwrap();
    let null = std::fs::File::open("/dev/null").unwrap();
    let streams = ExecStreams::Fds([null.as_fd(), writer.as_fd(), writer.as_fd()]);
    let mut other = Supervisor::connect(pod.supervisor.dir()).unwrap();
    other.snapshot().unwrap();
    other.exec_tied("web", &launch, &streams).unwrap();
    drop(writer);
    let mut up = [0; 3];
    reader.read_exact(&mut up).unwrap();
    drop(other);
    // The end of the output is the end of the program and of what it has started.
    let mut rest = String::new();
    reader.read_to_string(&mut rest).unwrap();
    assert_eq!((&up[..], rest.as_str()), (&b"up\n"[..], ""));
    pod.supervisor.signal_exec(&free, 15).unwrap();
    assert_eq!(pod.supervisor.wait_exec(&free, LONG).unwrap().signal, 15);
}
