//! Containers: from prepared to forgotten, and how they end.

use rkube_runtime::supervisor::{ContainerState, Event, Failure, SupervisorError};

use crate::bed::{Pod, Wishes, able, children, eventually, exists, open_fds, status};

#[test]
fn a_container_runs_and_its_exit_code_is_told() {
    if !able("a_container_runs_and_its_exit_code_is_told") {
        return;
    }
    let mut pod = Pod::new();
    let prepared = pod.prepare(
        "web",
        "echo out; echo err >&2; exit 7",
        Wishes {
            attempt: 3,
            ..Wishes::default()
        },
    );
    let shown = pod.supervisor.snapshot().unwrap();
    assert_eq!(
        (shown[0].name.as_str(), shown[0].state),
        ("web", ContainerState::Parked)
    );
    assert!(shown[0].pidfd.is_some() && exists(prepared.pid));
    assert_eq!(
        status(prepared.pid, "NSpid").split_whitespace().last(),
        Some("1")
    );
    assert_eq!(pod.log("web.log"), "", "a parked container says nothing");

    let started = pod.supervisor.start("web").unwrap();
    assert!(matches!(
        pod.supervisor.wait_event(crate::bed::LONG).unwrap(),
        Some(Event::Started(_))
    ));
    let ended = pod.exited("web");
    assert_eq!(
        (ended.exited.code, ended.exited.signal, ended.attempt),
        (7, 0, 3)
    );
    assert_eq!(ended.exited.started, started);
    assert!(ended.exited.exited > started);
    let mut lines = pod.lines("web.log");
    lines.sort();
    assert_eq!(lines, ["stderr F err", "stdout F out"]);
    pod.supervisor.forget("web").unwrap();
    assert!(pod.supervisor.snapshot().unwrap().is_empty());
    assert!(!exists(prepared.pid));
}

#[test]
fn a_signal_ends_a_container_and_all_its_processes() {
    if !able("a_signal_ends_a_container_and_all_its_processes") {
        return;
    }
    let mut pod = Pod::new();
    let prepared = pod.run(
        "web",
        "sleep 1000 & sleep 1000 & echo up; wait",
        Wishes::default(),
    );
    eventually("its children run", || children(prepared.pid).len() == 2);
    let inner = children(prepared.pid);
    // The first process of a pid namespace takes only signals it has a handler for, and SIGKILL
    // from outside.
    pod.supervisor.signal("web", 15).unwrap();
    assert!(pod.supervisor.snapshot().unwrap()[0].state == ContainerState::Running);
    pod.supervisor.kill_all("web").unwrap();
    let ended = pod.exited("web");
    assert_eq!((ended.exited.code, ended.exited.signal), (0, 9));
    assert!(inner.into_iter().all(|pid| !exists(pid)));
    assert!(matches!(
        pod.supervisor.kill_all("web"),
        Err(SupervisorError::Refused {
            failure: Failure::State,
            ..
        })
    ));
}

#[test]
fn a_start_that_fails_says_why() {
    if !able("a_start_that_fails_says_why") {
        return;
    }
    let mut pod = Pod::new();
    std::fs::remove_file(pod.logs().join("../rootfs/bin/sh")).unwrap();
    pod.prepare("web", "", Wishes::default());
    let err = pod.supervisor.start("web").unwrap_err();
    let failure = err.failure().unwrap();
    assert_eq!(failure.exit_code(), 127);
    assert!(
        err.to_string().starts_with("container web: cannot "),
        "{err}"
    );
    assert!(
        err.to_string().contains("No such file or directory"),
        "{err}"
    );
    let ended = pod.exited("web");
    assert_eq!(ended.failure.as_ref(), Some(failure));
    assert_eq!(ended.exited.code, 127);
}

#[test]
fn names_are_unique_among_the_living() {
    if !able("names_are_unique_among_the_living") {
        return;
    }
    let mut pod = Pod::new();
    pod.run("web", "exec sleep 1000", Wishes::default());
    let launch = pod.compile("true", Wishes::default());
    let again = rkube_runtime::supervisor::Prepare {
        name: "web",
        attempt: 1,
        launch: &launch,
        log: None,
        stdin: false,
        tty: false,
    };
    let err = pod.supervisor.prepare(&again).unwrap_err();
    assert!(
        matches!(
            err,
            SupervisorError::Refused {
                failure: Failure::Exists,
                ..
            }
        ),
        "{err}"
    );
    pod.supervisor.kill_all("web").unwrap();
    pod.exited("web");
    pod.supervisor.prepare(&again).unwrap();
    pod.supervisor.start("web").unwrap();
    assert_eq!(pod.exited("web").attempt, 1);
    assert!(matches!(
        pod.supervisor.start("other"),
        Err(SupervisorError::Unknown { .. })
    ));
}

#[test]
fn many_containers_leave_nothing_behind() {
    if !able("many_containers_leave_nothing_behind") {
        return;
    }
    let mut pod = Pod::new();
    let pid = pod.supervisor.pid();
    let before = open_fds(pid);
    for round in 0..2 {
        for n in 0..64 {
            pod.prepare(
                &format!("c{n}"),
                "exec cat",
                Wishes {
                    attempt: round,
                    ..Wishes::default()
                },
            );
        }
        let launch = pod.compile("true", Wishes::default());
        let one_more = rkube_runtime::supervisor::Prepare {
            name: "more",
            attempt: 0,
            launch: &launch,
            log: None,
            stdin: false,
            tty: false,
        };
        let err = pod.supervisor.prepare(&one_more).unwrap_err();
        assert!(
            matches!(
                err,
                SupervisorError::Refused {
                    failure: Failure::Full,
                    ..
                }
            ),
            "{err}"
        );
        for n in 0..64 {
            pod.supervisor.start(&format!("c{n}")).unwrap();
        }
        for n in 0..64 {
            let name = format!("c{n}");
            eventually("it has ended", || {
                let shown = pod.supervisor.snapshot().unwrap();
                shown.iter().any(|c| {
                    c.name == name && c.state == ContainerState::Exited && c.exited.code == 0
                })
            });
            pod.supervisor.forget(&name).unwrap();
        }
    }
    assert!(children(pid).is_empty());
    assert_eq!(open_fds(pid).len(), before.len(), "{:?}", open_fds(pid));
}

#[test]
fn a_shared_pid_namespace_has_its_orphans_reaped() {
    if !able("a_shared_pid_namespace_has_its_orphans_reaped") {
        return;
    }
    let mut pod = Pod::new();
    let pid = pod.supervisor.pid();
    let wishes = Wishes {
        share_pid: true,
        ..Wishes::default()
    };
    let script = "for i in 1 2 3 4 5; do (sleep 0 & ) ; done; echo done; exec sleep 1000";
    let prepared = pod.run("web", script, wishes);
    assert_ne!(
        status(prepared.pid, "NSpid").split_whitespace().last(),
        Some("1")
    );
    eventually("the orphans are gone", || {
        pod.log("web.log").contains("done") && children(pid) == [prepared.pid]
    });
}

#[test]
fn a_killed_stub_is_not_taken_for_a_started_program() {
    if !able("a_killed_stub_is_not_taken_for_a_started_program") {
        return;
    }
    let mut pod = Pod::new();
    pod.prepare("web", "true", Wishes::default());
    pod.supervisor.kill_all("web").unwrap();
    assert_eq!(pod.exited("web").exited.signal, 9);
    assert!(matches!(
        pod.supervisor.start("web"),
        Err(SupervisorError::Refused { .. })
    ));
}

#[test]
fn the_program_inherits_nothing() {
    if !able("the_program_inherits_nothing") {
        return;
    }
    let mut pod = Pod::new();
    pod.prepare(
        "other",
        "true",
        Wishes {
            stdin: true,
            ..Wishes::default()
        },
    );
    let prepared = pod.run("web", "echo up; exec sleep 1000", Wishes::default());
    eventually("it runs", || pod.log("web.log").contains("up"));
    assert_eq!(
        open_fds(prepared.pid).len(),
        3,
        "{:?}",
        open_fds(prepared.pid)
    );
    assert_eq!(status(prepared.pid, "SigBlk"), "0000000000000000");
    assert_eq!(status(prepared.pid, "SigIgn"), "0000000000000000");
}
