//! How a supervisor begins: cgroups, names, sysctls, and what is refused.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rkube_runtime::supervisor::{
    BootStep, ExecStreams, Namespace, SandboxConfig, Supervisor, SupervisorError,
};

use crate::bed::{LONG, Pod, Wishes, able, eventually};

/// A cgroup directory of this test's own; removed on drop, once it is empty.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new(hierarchy: &str, test: &str) -> Self {
        let dir = Path::new(hierarchy).join(format!("rkube-test-{test}-{}", std::process::id()));
        std::fs::create_dir(&dir).unwrap();
        Self(dir)
    }

    fn procs(&self) -> String {
        std::fs::read_to_string(self.0.join("cgroup.procs")).unwrap()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        eventually("the cgroup is empty", || {
            std::fs::remove_dir(&self.0).is_ok()
        });
    }
}

fn first_of(candidates: &[&'static str], test: &str) -> Option<&'static str> {
    let found = candidates
        .iter()
        .find(|dir| Path::new(dir).join("cgroup.procs").exists());
    if found.is_none() {
        eprintln!("SKIP {test}: none of {candidates:?} is a cgroup hierarchy");
    }
    found.copied()
}

#[test]
fn it_is_born_in_its_v2_cgroup() {
    const TEST: &str = "it_is_born_in_its_v2_cgroup";
    let Some(hierarchy) = first_of(&["/sys/fs/cgroup/unified", "/sys/fs/cgroup"], TEST) else {
        return;
    };
    if !able(TEST) {
        return;
    }
    let cgroup = Cgroup::new(hierarchy, "v2");
    let pod = Pod::with(|config| {
        config.cgroup.into = Some(std::fs::File::open(&cgroup.0).unwrap().into());
    });
    assert_eq!(cgroup.procs(), format!("{}\n", pod.supervisor.pid()));
    drop(pod);
}

#[test]
fn it_moves_itself_into_its_v1_cgroups() {
    const TEST: &str = "it_moves_itself_into_its_v1_cgroups";
    let Some(hierarchy) = first_of(&["/sys/fs/cgroup/pids"], TEST) else {
        return;
    };
    if !able(TEST) {
        return;
    }
    let cgroup = Cgroup::new(hierarchy, "v1");
    let mut pod = Pod::with(|config| {
        let procs = std::fs::OpenOptions::new()
            .write(true)
            .open(cgroup.0.join("cgroup.procs"))
            .unwrap();
        config.cgroup.procs.push(procs.into());
    });
    assert_eq!(cgroup.procs(), format!("{}\n", pod.supervisor.pid()));
    let prepared = pod.run("web", "exec sleep 1000", Wishes::default());
    assert!(
        cgroup
            .procs()
            .lines()
            .any(|pid| pid == prepared.pid.to_string()),
        "children are born there"
    );
    drop(pod);
}

#[test]
fn the_pod_has_its_name_its_sysctls_and_a_loopback() {
    if !able("the_pod_has_its_name_its_sysctls_and_a_loopback") {
        return;
    }
    let mut pod = Pod::with(|config| {
        config.hostname = "web-1".to_owned();
        config.domainname = "example".to_owned();
        config.sysctls = [
            ("net.ipv4.ip_unprivileged_port_start", "77"),
            ("kernel.shmmni", "55"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    });
    let files = "hostname domainname shmmni";
    let script = format!(
        "cd /proc/sys/kernel; for f in {files}; do cat $f; done; \
         cat /proc/sys/net/ipv4/ip_unprivileged_port_start; \
         while read x; do case $x in *127.0.0.1*) echo up; break; esac; done < /proc/net/fib_trie"
    );
    pod.run("web", &script, Wishes::default());
    pod.exited("web");
    let want = ["web-1", "example", "55", "77", "up"].map(|text| format!("stdout F {text}"));
    assert_eq!(pod.lines("web.log"), want);
}

#[test]
fn what_would_change_the_host_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |name: &str, net| {
        let sysctls = [(name.to_owned(), "1".to_owned())].into();
        let config = SandboxConfig {
            dir: dir.path().join("pod"),
            net,
            sysctls,
            ..SandboxConfig::default()
        };
        let refused = matches!(
            Supervisor::launch(&config),
            Err(SupervisorError::Config { .. })
        );
        assert!(refused, "{name} with {net:?}");
    };
    for name in [
        "kernel.panic",
        "vm.swappiness",
        "net/../kernel.panic",
        "net..ipv4",
        "",
        "net.ipv4.a\n",
        "fs.file-max",
    ] {
        refused(name, Namespace::New);
    }
    refused("net.ipv4.ip_forward", Namespace::Host);
}

#[test]
fn a_boot_that_fails_says_where_and_leaves_nothing() {
    if !able("a_boot_that_fails_says_where_and_leaves_nothing") {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let mut config = SandboxConfig {
        dir: root.path().join("pod"),
        ..SandboxConfig::default()
    };
    config
        .sysctls
        .insert("net.ipv4.no_such_setting".to_owned(), "1".to_owned());
    let err = Supervisor::launch(&config).unwrap_err();
    assert!(
        matches!(
            err,
            SupervisorError::Boot {
                step: BootStep::Sysctls,
                index: 0,
                ..
            }
        ),
        "{err:?}"
    );
    assert_eq!(err.to_string(), "the supervisor cannot set the sysctls");
    assert!(matches!(
        Supervisor::connect(&config.dir),
        Err(SupervisorError::Gone { .. })
    ));
    // The same directory serves the next attempt.
    config.sysctls.clear();
    let supervisor = Supervisor::launch(&config).unwrap();
    let again = Supervisor::launch(&config).unwrap_err();
    assert!(
        matches!(again, SupervisorError::Running { pid, .. } if pid == supervisor.pid()),
        "{again:?}"
    );
    supervisor.shutdown().unwrap();
}

#[test]
fn starting_is_quick() {
    if !able("starting_is_quick") {
        return;
    }
    let machine = std::fs::read_to_string("/proc/cpuinfo").unwrap();
    if machine.contains("User Mode Linux") {
        eprintln!("SKIP starting_is_quick: nothing is quick in user-mode Linux");
        return;
    }
    let mut pod = Pod::new();
    let mut times = [const { Vec::new() }; 3];
    let mut time = |which: usize, begun: Instant| times[which].push(begun.elapsed());
    let null = std::fs::File::open("/dev/null").unwrap();
    for n in 0..30 {
        let name = format!("c{n}");
        let begun = Instant::now();
        pod.prepare(&name, "exec sleep 1000", Wishes::default());
        time(0, begun);
        let launch = pod.compile_exec("true", false);
        let begun = Instant::now();
        pod.supervisor.start(&name).unwrap();
        time(1, begun);
        let begun = Instant::now();
        let run = pod
            .supervisor
            .exec(&name, &launch, &ExecStreams::Fds([null.as_fd(); 3]))
            .unwrap();
        time(2, begun);
        pod.supervisor.wait_exec(&run, LONG).unwrap();
    }
    for (what, times) in ["prepare", "start", "exec"].iter().zip(&mut times) {
        times.sort();
        println!("{what}: median {:?}, quickest {:?}", times[15], times[0]);
        // The undisturbed figures are below one millisecond; this only tells that nothing waits for
        // a timer or polls.
        assert!(times[0] < Duration::from_millis(10), "{what}: {times:?}");
    }
}
