//! What is left when one side dies: the client, or the supervisor.

use std::time::Instant;

use rkube_runtime::supervisor::{
    self, ContainerState, ExitOf, ExitRecord, Namespace, Supervisor, SupervisorError,
};

use crate::bed::{LONG, Pod, Wishes, able, children, eventually, exists};

#[test]
fn a_new_client_finds_everything() {
    if !able("a_new_client_finds_everything") {
        return;
    }
    let mut pod = Pod::new();
    let prepared = pod.run("web", "exec sleep 1000", Wishes::default());
    pod.run(
        "job",
        "echo the last words; exit 3",
        Wishes {
            attempt: 2,
            ..Wishes::default()
        },
    );
    // Nobody listens any more: the old connection is replaced, and everything it had not read goes
    // with it.
    let fresh = Supervisor::connect(&pod.dir).unwrap();
    let old = std::mem::replace(&mut pod.supervisor, fresh);
    let pid = old.pid();
    drop(old);
    eventually("the job has ended", || {
        supervisor::read_exits(&pod.dir)
            .unwrap()
            .iter()
            .any(|exit| exit.name.as_str() == "job")
    });
    let exits = supervisor::read_exits(&pod.dir).unwrap();
    assert_eq!(exits.len(), 1);
    let ExitRecord {
        what,
        attempt,
        exited,
        ..
    } = exits[0];
    assert_eq!(
        (what, attempt, exited.code, exited.signal),
        (ExitOf::Container, 2, 3, 0)
    );
    assert_eq!(pod.lines("job.log"), ["stdout F the last words"]);

    pod.supervisor = Supervisor::connect(&pod.dir).unwrap();
    assert_eq!(pod.supervisor.pid(), pid);
    let shown = pod.supervisor.snapshot().unwrap();
    let states: Vec<_> = shown.iter().map(|c| (c.name.as_str(), c.state)).collect();
    assert_eq!(
        states,
        [
            ("web", ContainerState::Running),
            ("job", ContainerState::Exited)
        ]
    );
    assert!(exists(prepared.pid));
    pod.supervisor.forget("job").unwrap();
    assert!(
        supervisor::read_exits(&pod.dir).unwrap().is_empty(),
        "acknowledged"
    );
    assert!(matches!(
        pod.supervisor.forget("web"),
        Err(SupervisorError::Refused { .. })
    ));
}

#[test]
fn a_client_that_is_killed_leaves_the_pod_running() {
    const CHILD: &str = "RKUBE_TEST_POD_DIR";
    if !able("a_client_that_is_killed_leaves_the_pod_running") {
        return;
    }
    if let Some(dir) = std::env::var_os(CHILD) {
        // The other half of this test: start a pod, say so, and wait to be killed.
        let config = supervisor::SandboxConfig {
            dir: dir.into(),
            ..Default::default()
        };
        let supervisor = Supervisor::launch(&config).unwrap();
        println!("launched {}", supervisor.pid());
        loop {
            std::thread::park();
        }
    }
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("pod");
    let mut client = std::process::Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "recovery::a_client_that_is_killed_leaves_the_pod_running",
            "--nocapture",
        ])
        .env(CHILD, &dir)
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let mut found = None;
    eventually("the pod is up", || {
        found = Supervisor::connect(&dir).ok();
        found.is_some()
    });
    let mut supervisor = found.unwrap();
    client.kill().unwrap();
    client.wait().unwrap();
    assert!(supervisor.snapshot().unwrap().is_empty());
    let pid = supervisor.pid();
    supervisor.shutdown().unwrap();
    assert!(!std::path::Path::new(&format!("/proc/{pid}/exe")).exists());
}

#[test]
fn killing_the_supervisor_takes_the_pod_down() {
    if !able("killing_the_supervisor_takes_the_pod_down") {
        return;
    }
    let mut pod = Pod::new();
    let prepared = pod.run("web", "sleep 1000 & sleep 1000 & wait", Wishes::default());
    eventually("its children run", || children(prepared.pid).len() == 2);
    let mut all = children(prepared.pid);
    all.push(prepared.pid);
    let begun = Instant::now();
    // Reaping the supervisor waits for its pid namespace, so everyone is gone after it.
    pod.kill_supervisor();
    println!("the pod was gone after {:?}", begun.elapsed());
    assert!(begun.elapsed() < LONG);
    assert!(all.into_iter().all(|pid| !exists(pid)));
    assert!(matches!(
        pod.supervisor.snapshot(),
        Err(SupervisorError::Gone { .. })
    ));
    assert!(matches!(
        Supervisor::connect(&pod.dir),
        Err(SupervisorError::Gone { .. })
    ));
}

#[test]
fn shutting_down_kills_whoever_runs() {
    if !able("shutting_down_kills_whoever_runs") {
        return;
    }
    let mut pod = Pod::new();
    let prepared = pod.run("web", "exec sleep 1000", Wishes::default());
    pod.prepare("parked", "true", Wishes::default());
    Supervisor::connect(&pod.dir).unwrap().shutdown().unwrap();
    assert!(!exists(prepared.pid));
    let exits = supervisor::read_exits(&pod.dir).unwrap();
    let mut ends: Vec<_> = exits
        .iter()
        .map(|exit| (exit.name.as_str(), exit.exited.signal))
        .collect();
    ends.sort_unstable();
    assert_eq!(ends, [("parked", 9), ("web", 9)]);
}

#[test]
fn in_the_hosts_pid_namespace_the_first_process_dies_with_the_supervisor() {
    if !able("in_the_hosts_pid_namespace_the_first_process_dies_with_the_supervisor") {
        return;
    }
    let mut pod = Pod::with(|config| config.pid = Namespace::Host);
    let wishes = Wishes {
        share_pid: true,
        die_with_parent: true,
        ..Wishes::default()
    };
    let prepared = pod.run("web", "exec sleep 1000", wishes);
    assert_eq!(
        crate::bed::status(prepared.pid, "NSpid")
            .split_whitespace()
            .count(),
        1
    );
    pod.kill_supervisor();
    eventually("it is gone", || !exists(prepared.pid));
}

/// A supervisor that meets what cannot be says so and goes, and takes the pod with it. Its panics end the same way.
#[test]
fn a_bug_is_recorded_and_takes_the_pod_down() {
    let name = "a_bug_is_recorded_and_takes_the_pod_down";
    if !able(name) {
        return;
    }
    let mut pod = Pod::new();
    let prepared = pod.run("web", "exec sleep 1000", Wishes::default());
    // There is no way in to break it: the kernel has to answer nonsense.
    let strace = std::process::Command::new("strace")
        .args(["-qq", "-e", "inject=epoll_pwait:error=EBADF", "-p"])
        .arg(pod.supervisor.pid().to_string())
        .stderr(std::process::Stdio::null())
        .spawn();
    let Ok(mut strace) = strace else {
        eprintln!("SKIP {name}: needs strace");
        return;
    };
    let mut ended = None;
    eventually("the supervisor, or strace, has given up", || {
        use rustix::process::{WaitId, WaitIdOptions};
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        ended = rustix::process::waitid(WaitId::PidFd(pod.supervisor.pidfd()), options).unwrap();
        ended.is_some() || strace.try_wait().unwrap().is_some()
    });
    let Some(ended) = ended else {
        eprintln!("SKIP {name}: strace may not trace here");
        return;
    };
    strace.wait().unwrap();
    assert_eq!(ended.exit_status(), Some(101));
    assert!(!exists(prepared.pid), "the kernel ends its namespace first");
    let exits = supervisor::read_exits(&pod.dir).unwrap();
    let ends: Vec<_> = exits
        .iter()
        .map(|exit| (exit.what, exit.exited.code))
        .collect();
    assert_eq!(ends, [(ExitOf::Supervisor, 101)]);
}
