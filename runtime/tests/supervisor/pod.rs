//! The supervisor by itself: what it is, what it holds, how it goes.

use std::os::fd::AsFd;

use rkube_runtime::supervisor::{Namespace, Supervisor, SupervisorError};

use crate::bed::{Pod, Wishes, able, eventually, open_fds, pss, status};

fn namespace(pid: u32, kind: &str) -> String {
    std::fs::read_link(format!("/proc/{pid}/ns/{kind}"))
        .unwrap()
        .to_string_lossy()
        .into_owned()
}

#[test]
fn it_is_the_first_process_of_its_own_namespaces() {
    if !able("it_is_the_first_process_of_its_own_namespaces") {
        return;
    }
    let pod = Pod::new();
    let (it, us) = (pod.supervisor.pid(), std::process::id());
    for kind in ["pid", "mnt", "net", "ipc", "uts"] {
        assert_ne!(namespace(it, kind), namespace(us, kind), "{kind}");
    }
    assert_eq!(status(it, "NSpid").split_whitespace().nth(1), Some("1"));
    assert_eq!(
        status(it, "SigBlk"),
        "fffffffffffbfeff",
        "all but SIGKILL and SIGSTOP"
    );
    let mounts = std::fs::read_to_string(format!("/proc/{it}/mounts")).unwrap();
    assert_eq!(mounts.lines().count(), 1, "{mounts}");
    assert!(mounts.starts_with("none / tmpfs ro,"), "{mounts}");
    // A session of its own, out of reach of the terminal that the client runs on.
    assert_eq!(
        rustix::process::getsid(rustix::process::Pid::from_raw(it.cast_signed()))
            .unwrap()
            .as_raw_nonzero()
            .get(),
        it.cast_signed()
    );
    assert!(
        std::fs::read(format!("/proc/{it}/environ"))
            .unwrap()
            .is_empty()
    );
}

#[test]
fn the_hosts_namespaces_can_be_kept() {
    if !able("the_hosts_namespaces_can_be_kept") {
        return;
    }
    let pod = Pod::with(|config| {
        config.net = Namespace::Host;
        config.ipc = Namespace::Host;
        config.uts = Namespace::Host;
        config.pid = Namespace::Host;
    });
    for kind in ["pid", "net", "ipc", "uts"] {
        assert_eq!(
            namespace(pod.supervisor.pid(), kind),
            namespace(std::process::id(), kind),
            "{kind}"
        );
    }
    pod_shuts_down(&pod);
}

fn pod_shuts_down(pod: &Pod) {
    let supervisor = Supervisor::connect(&pod.dir).unwrap();
    supervisor.shutdown().unwrap();
    assert!(matches!(
        Supervisor::connect(&pod.dir),
        Err(SupervisorError::Gone { .. })
    ));
}

#[test]
fn shutting_an_empty_pod_down_ends_it() {
    if able("shutting_an_empty_pod_down_ends_it") {
        pod_shuts_down(&Pod::new());
    }
}

#[test]
fn it_is_small_and_sleeps() {
    if !able("it_is_small_and_sleeps") {
        return;
    }
    let mut pod = Pod::new();
    let pid = pod.supervisor.pid();
    let script = "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; exec sleep 1000";
    pod.run("web", script, Wishes::default());
    eventually("the log is written", || {
        pod.log("web.log").contains("line 19999")
    });
    eventually("memory is given back", || pss(pid) <= 64);
    let switches = || {
        (
            status(pid, "voluntary_ctxt_switches"),
            status(pid, "nonvoluntary_ctxt_switches"),
        )
    };
    let sleeps = |time| {
        let before = switches();
        std::thread::park_timeout(std::time::Duration::from_millis(time));
        before == switches()
    };
    // The timer for an unfinished line may still be running.
    eventually("the timer has run out", || sleeps(500));
    assert!(sleeps(1500), "it woke up with nothing to do");
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    println!("PSS with one container: {} KiB\n{rollup}", pss(pid));
}

#[test]
fn connections_come_and_go() {
    if !able("connections_come_and_go") {
        return;
    }
    let mut pod = Pod::new();
    let before = open_fds(pod.supervisor.pid()).len();
    for _ in 0..1000 {
        Supervisor::connect(&pod.dir).unwrap();
    }
    let several: Vec<_> = (0..15)
        .map(|_| Supervisor::connect(&pod.dir).unwrap())
        .collect();
    assert!(
        Supervisor::connect(&pod.dir).is_err(),
        "a seventeenth connection"
    );
    drop(several);
    eventually("the connections are closed", || {
        open_fds(pod.supervisor.pid()).len() == before
    });
    assert!(pod.supervisor.snapshot().unwrap().is_empty());
    assert!(pod.supervisor.next_event().unwrap().is_none());
    assert!(
        rustix::io::fcntl_getfd(pod.supervisor.as_fd())
            .unwrap()
            .contains(rustix::io::FdFlags::CLOEXEC)
    );
}
