//! Against the real kernel: on v1, hybrid or unified hosts alike, each test looks at what is mounted.

use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use super::*;

/// Says why a test cannot run here.
macro_rules! skip {
    ($($why:tt)*) => {{
        println!("SKIP {}: {}", std::thread::current().name().unwrap_or("?"), format!($($why)*));
        return;
    }};
}

/// A cgroup of this test alone, removed with everything in it.
struct Scratch {
    hierarchies: Hierarchies,
    top: PathBuf,
}

impl Scratch {
    /// `None` (and a line that says so) without the right to make cgroups.
    fn new() -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let top = PathBuf::from(format!("rkube-test-{}-{number}", std::process::id()));
        let scratch = Self {
            hierarchies: Hierarchies::detect().unwrap(),
            top,
        };
        match Cgroup::create(&scratch.hierarchies, &scratch.top) {
            Ok(_) => Some(scratch),
            Err(CgroupError::Create { source, dir }) => {
                println!("SKIP cgroup tests: cannot make {}: {source}", dir.display());
                None
            }
            Err(err) => panic!("{err}"),
        }
    }

    fn cgroup(&self, name: &str) -> Cgroup {
        Cgroup::create(&self.hierarchies, &self.top.join(name)).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Ok(cgroup) = Cgroup::open(&self.hierarchies, &self.top) {
            let _ = cgroup.kill();
            let _ = cgroup.delete();
        }
    }
}

/// A child process that is killed and reaped.
struct Process(Child);

impl Process {
    /// A shell that runs `script` once it is in the cgroup.
    fn in_cgroup(cgroup: &Cgroup, script: &str) -> Self {
        let child = Command::new("/bin/sh")
            .args(["-c", &format!("read go; {script}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut process = Self(child);
        cgroup.attach(process.0.id()).unwrap();
        process.0.stdin.take().unwrap().write_all(b"go\n").unwrap();
        process
    }

    fn sleeping(cgroup: &Cgroup) -> Self {
        Self::in_cgroup(cgroup, "exec sleep 1000")
    }

    fn output(mut self) -> String {
        let mut out = String::new();
        self.0
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut out)
            .unwrap();
        self.0.wait().unwrap();
        out
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[track_caller]
fn eventually(what: &str, done: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::yield_now();
    }
}

fn resources(json: &str) -> LinuxResources {
    serde_json::from_str(json).unwrap()
}

/// The value of the file that exists, of either version.
fn value(cgroup: &Cgroup, controller: &str, v1: &str, v2: &str) -> String {
    let dir = cgroup.dir(controller).unwrap();
    let file = if dir.join(v1).exists() { v1 } else { v2 };
    fs::read_to_string(dir.join(file))
        .unwrap()
        .trim()
        .to_owned()
}

fn has(cgroup: &Cgroup, controller: &str) -> bool {
    cgroup.controllers().version_of(controller).is_some()
}

#[test]
fn create_makes_every_directory_and_delete_removes_them() {
    let Some(scratch) = Scratch::new() else {
        return;
    };
    let cgroup = scratch.cgroup("pod/container");
    assert_eq!(cgroup.dirs().count(), scratch.hierarchies.trees().len());
    assert!(cgroup.dirs().all(|(_, dir)| dir.is_dir()));
    let pod = Cgroup::open(&scratch.hierarchies, &scratch.top.join("pod")).unwrap();
    assert_eq!(pod.children().unwrap(), ["container"]);
    // Once more is fine.
    scratch.cgroup("pod/container");
    pod.delete().unwrap();
    assert!(!cgroup.exists());
    cgroup.delete().unwrap();
    let gone = Cgroup::open(&scratch.hierarchies, &scratch.top.join("pod"));
    assert!(matches!(gone, Err(CgroupError::NotFound { .. })));
}

#[test]
fn odd_paths_are_refused() {
    let hierarchies = Hierarchies::from_trees(Vec::new());
    for path in ["", "/", "..", "a/../b"] {
        let got = Cgroup::create(&hierarchies, Path::new(path));
        assert!(matches!(got, Err(CgroupError::BadPath { .. })), "{path:?}");
    }
}

#[test]
fn limits_reach_the_kernel() {
    let Some(scratch) = Scratch::new() else {
        return;
    };
    let cgroup = scratch.cgroup("limits");
    if !has(&cgroup, "memory") || !has(&cgroup, "cpu") || !has(&cgroup, "pids") {
        skip!("a controller of memory, cpu and pids is missing");
    }
    let mib = 1 << 20;
    let apply = |memory: i64| {
        let json = format!(
            r#"{{"memory":{{"limit":{memory},"swap":{memory}}},"pids":{{"limit":17}},
                "cpu":{{"shares":512,"quota":20000,"period":50000}}}}"#
        );
        cgroup.apply(&resources(&json)).unwrap();
        assert_eq!(
            cgroup.stats().unwrap().memory.unwrap().limit,
            u64::try_from(memory).ok()
        );
    };
    // Growing and shrinking need opposite orders of memory and swap.
    for memory in [64 * mib, 128 * mib, 32 * mib] {
        apply(memory);
    }
    assert_eq!(cgroup.stats().unwrap().pids.unwrap().limit, Some(17));
    let shares = value(&cgroup, "cpu", "cpu.shares", "cpu.weight");
    assert!(
        ["512".to_owned(), weight_from_shares(512).to_string()].contains(&shares),
        "{shares}"
    );
    let quota = value(&cgroup, "cpu", "cpu.cfs_quota_us", "cpu.max");
    assert!(
        ["20000", "20000 50000"].contains(&quota.as_str()),
        "{quota}"
    );
    // Shrinking the period first would ask for more than a whole parent on v1: both orders work.
    cgroup
        .apply(&resources(r#"{"cpu":{"quota":5000,"period":10000}}"#))
        .unwrap();
    cgroup
        .apply(&resources(r#"{"cpu":{"quota":-1},"memory":{"limit":-1}}"#))
        .unwrap();
    assert_eq!(cgroup.stats().unwrap().memory.unwrap().limit, None);
}

#[test]
fn a_cpuset_is_usable_at_once() {
    let Some(scratch) = Scratch::new() else {
        return;
    };
    let cgroup = scratch.cgroup("a/b");
    if !has(&cgroup, "cpuset") {
        skip!("no cpuset controller");
    }
    cgroup
        .apply(&resources(r#"{"cpu":{"cpus":"0","mems":"0"}}"#))
        .unwrap();
    assert_eq!(value(&cgroup, "cpuset", "cpuset.cpus", "cpuset.cpus"), "0");
    let got = Process::in_cgroup(&cgroup, "grep Cpus_allowed_list /proc/self/status").output();
    assert!(got.trim().ends_with("\t0"), "{got:?}");
}

#[test]
fn a_missing_controller_is_named() {
    let Some(scratch) = Scratch::new() else {
        return;
    };
    let cgroup = scratch.cgroup("missing");
    if has(&cgroup, "net_cls") {
        skip!("this host has everything");
    }
    let err = cgroup
        .apply(&resources(r#"{"network":{"classID":1}}"#))
        .unwrap_err();
    assert!(
        err.to_string()
            .contains("network.classID needs the cgroup controller net_cls"),
        "{err}"
    );
}

#[test]
fn a_refused_write_names_file_and_value() {
    let Some(scratch) = Scratch::new() else {
        return;
    };
    let cgroup = scratch.cgroup("refused");
    if !has(&cgroup, "cpu") {
        skip!("no cpu controller");
    }
    let err = cgroup
        .apply(&resources(r#"{"cpu":{"quota":1,"period":100000}}"#))
        .unwrap_err();
    let text = err.to_string();
    assert!(text.contains("cpu.") && text.contains("\"1"), "{text}");
    assert!(std::error::Error::source(&err).is_some());
}

#[test]
fn processes_are_listed_frozen_and_killed() {
    let Some(scratch) = Scratch::new() else {
        return;
    };
    let pod = scratch.cgroup("pod");
    let (one, two) = (scratch.cgroup("pod/one"), scratch.cgroup("pod/two"));
    let (mut a, mut b) = (Process::sleeping(&one), Process::sleeping(&two));
    assert_eq!(one.pids().unwrap(), [a.0.id()]);
    assert!(pod.pids().unwrap().is_empty());
    let mut both = [a.0.id(), b.0.id()];
    both.sort_unstable();
    assert_eq!(pod.all_pids().unwrap(), both);

    one.freeze().unwrap();
    assert!(one.is_frozen().unwrap());
    assert!(!two.is_frozen().unwrap());
    one.thaw().unwrap();
    assert!(!one.is_frozen().unwrap());

    assert!(!pod.try_delete().unwrap());
    // Frozen processes are killed as well.
    pod.freeze().unwrap();
    pod.kill().unwrap();
    a.0.wait().unwrap();
    b.0.wait().unwrap();
    eventually("no process is left", || pod.all_pids().unwrap().is_empty());
    pod.delete().unwrap();
    assert!(!pod.exists());
}

#[test]
fn delete_of_a_busy_cgroup_gives_up_after_a_while() {
    let Some(scratch) = Scratch::new() else {
        return;
    };
    let cgroup = scratch.cgroup("busy");
    let _process = Process::sleeping(&cgroup);
    let err = cgroup.delete().unwrap_err();
    assert!(matches!(err, CgroupError::Remove { .. }), "{err}");
}

#[test]
fn attach_descriptors_lead_in() {
    let Some(scratch) = Scratch::new() else {
        return;
    };
    let cgroup = scratch.cgroup("attach");
    scratch.hierarchies.warm().unwrap();
    let attach = cgroup.attach_fds().unwrap();
    let v1 = scratch
        .hierarchies
        .trees()
        .iter()
        .filter(|tree| tree.version == Version::V1)
        .count();
    assert_eq!(attach.procs.len(), v1);
    let process = Process(Command::new("sleep").arg("1000").spawn().unwrap());
    for fd in attach.procs.into_iter().chain(attach.unified_procs) {
        let pid = process.0.id().to_string();
        fs::File::from(fd).write_all(pid.as_bytes()).unwrap();
    }
    assert_eq!(cgroup.pids().unwrap(), [process.0.id()]);
    let membership = fs::read_to_string(format!("/proc/{}/cgroup", process.0.id())).unwrap();
    let path = cgroup.path().to_str().unwrap();
    assert!(
        membership.lines().all(|line| line.ends_with(path)),
        "{membership}"
    );
}

#[test]
fn usage_is_counted() {
    let Some(scratch) = Scratch::new() else {
        return;
    };
    let cgroup = scratch.cgroup("usage");
    let script = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; exec sleep 1000";
    let _process = Process::in_cgroup(&cgroup, script);
    eventually("processor time", || {
        let cpu = cgroup.stats().unwrap().cpu.unwrap();
        cpu.usage > Duration::ZERO && cpu.user + cpu.system > Duration::ZERO
    });
    let stats = cgroup.stats().unwrap();
    if let Some(pids) = stats.pids {
        assert_eq!(pids.current, 1);
    }
    if let Some(memory) = stats.memory {
        assert!(
            memory.usage > 0 && memory.working_set <= memory.usage,
            "{memory:?}"
        );
        assert!(memory.detail.len() > 10);
        assert_eq!(memory.oom_kills, 0);
    }
}

#[test]
fn counting_goes_on_while_children_come_and_go() {
    let Some(scratch) = Scratch::new() else {
        return;
    };
    let pod = scratch.cgroup("pod");
    let child = pod.dir("memory").unwrap().join("child");
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| {
            for _ in 0..2000 {
                fs::create_dir(&child).unwrap();
                fs::remove_dir(&child).unwrap();
            }
        });
        while !worker.is_finished() {
            assert_eq!(pod.oom_kills().unwrap(), 0);
            assert!(pod.all_pids().unwrap().is_empty());
        }
    });
}

#[test]
fn throttling_is_counted() {
    let Some(scratch) = Scratch::new() else {
        return;
    };
    let cgroup = scratch.cgroup("throttled");
    if !has(&cgroup, "cpu") {
        skip!("no cpu controller");
    }
    cgroup
        .apply(&resources(r#"{"cpu":{"quota":1000,"period":10000}}"#))
        .unwrap();
    let _process = Process::in_cgroup(&cgroup, "while :; do :; done");
    eventually("throttled", || {
        let cpu = cgroup.stats().unwrap().cpu.unwrap();
        cpu.throttled_periods > 0 && cpu.throttled > Duration::ZERO && cpu.periods > 0
    });
}

#[test]
fn an_oom_kill_is_noticed_and_counted() {
    let Some(scratch) = Scratch::new() else {
        return;
    };
    let (pod, cgroup) = (scratch.cgroup("oom"), scratch.cgroup("oom/container"));
    if !has(&cgroup, "memory") {
        skip!("no memory controller");
    }
    let limit = r#"{"memory":{"limit":8388608,"swap":8388608}}"#;
    cgroup.apply(&resources(limit)).unwrap();
    cgroup.set_oom_group().unwrap();
    let watch = cgroup.watch_oom().unwrap().unwrap();
    assert!(!watch.wait(Duration::ZERO).unwrap());
    let mut process = Process::in_cgroup(&cgroup, "exec tail /dev/zero");
    assert!(watch.wait(Duration::from_secs(60)).unwrap());
    assert!(watch.drain().unwrap());
    assert!(!process.0.wait().unwrap().success());
    // With memory.oom.group the victim is counted again, as one of the group.
    let kills = cgroup.oom_kills().unwrap();
    assert!((1..=2).contains(&kills), "{kills}");
    assert_eq!(
        pod.oom_kills().unwrap(),
        kills,
        "a parent counts those below"
    );
    let memory = cgroup.stats().unwrap().memory.unwrap();
    assert_eq!(memory.oom_kills, kills);
    if cgroup.controllers().version_of("memory") == Some(Version::V2) {
        assert!(memory.failures > 0);
    }
}

#[test]
fn a_limit_below_the_usage_is_refused_on_request() {
    let Some(scratch) = Scratch::new() else {
        return;
    };
    let cgroup = scratch.cgroup("check");
    if !has(&cgroup, "memory") {
        skip!("no memory controller");
    }
    let _process = Process::sleeping(&cgroup);
    eventually("memory is used", || cgroup.memory_usage().unwrap() > 4096);
    let json = r#"{"memory":{"limit":4096,"checkBeforeUpdate":true}}"#;
    let err = cgroup.apply(&resources(json)).unwrap_err();
    assert!(
        matches!(err, CgroupError::LimitBelowUsage { limit: 4096, .. }),
        "{err}"
    );
}

#[test]
fn devices_are_filtered() {
    let Some(scratch) = Scratch::new() else {
        return;
    };
    let cgroup = scratch.cgroup("devices");
    // Two that are not among those that every container may use, and that can be opened here.
    let dir = tempfile::tempdir_in("/dev").unwrap();
    let candidates = [
        (1, 11),
        (1, 1),
        (1, 4),
        (10, 200),
        (10, 229),
        (10, 237),
        (10, 183),
    ];
    let node = |name: &str, (major, minor): (u32, u32)| {
        let file = dir.path().join(name);
        let _ = fs::remove_file(&file);
        let (major, minor) = (major.to_string(), minor.to_string());
        let made = Command::new("mknod")
            .arg(&file)
            .args(["c", &major, &minor])
            .status()
            .unwrap();
        made.success() && fs::File::open(file).is_ok()
    };
    let usable: Vec<_> = candidates
        .into_iter()
        .filter(|&numbers| node("probe", numbers))
        .collect();
    let [one, two, ..] = usable[..] else {
        skip!("too few devices: {usable:?}")
    };
    assert!(node("one", one) && node("two", two));
    let top = dir.path().to_str().unwrap();
    let script = format!(
        "for d in /dev/null {top}/one {top}/two; do if (: < $d); then echo ${{d##*/}}; fi; done"
    );
    let probe = |cgroup: &Cgroup| Process::in_cgroup(cgroup, &script).output();
    assert_eq!(probe(&cgroup), "null\none\ntwo\n");
    let apply = |rules: &str| cgroup.apply(&resources(&format!(r#"{{"devices":[{rules}]}}"#)));
    let deny_all = r#"{"allow":false,"access":"rwm"}"#;
    let rule = |(major, minor): (u32, u32), access: &str| {
        format!(
            r#"{{"allow":true,"type":"c","major":{major},"minor":{minor},"access":"{access}"}}"#
        )
    };
    let (one, two) = (rule(one, "rwm"), rule(two, "r"));
    match apply(&format!("{deny_all},{one}")) {
        Err(CgroupError::Devices { source, .. }) => skip!("no device filters here: {source}"),
        other => other.unwrap(),
    }
    assert_eq!(probe(&cgroup), "null\none\n");
    // An update replaces the rules.
    apply(&format!("{deny_all},{one},{two}")).unwrap();
    assert_eq!(probe(&cgroup), "null\none\ntwo\n");
    apply(&format!("{deny_all},{two}")).unwrap();
    assert_eq!(probe(&cgroup), "null\ntwo\n");
    apply(deny_all).unwrap();
    assert_eq!(probe(&cgroup), "null\n");
    apply(r#"{"allow":true,"access":"rwm"}"#).unwrap();
    assert_eq!(probe(&cgroup), "null\none\ntwo\n");
}

#[test]
fn a_container_s_own_top_is_evacuated() {
    let Some(scratch) = Scratch::new() else {
        return;
    };
    if !scratch.hierarchies.is_unified() {
        skip!("needs a unified hierarchy");
    }
    let top = scratch.cgroup("top");
    let process = Process::sleeping(&top);
    // As if the namespace began here.
    let mut tree = scratch.hierarchies.trees()[0].clone();
    tree.mount = top.unified().unwrap().dir.clone();
    let inside = Hierarchies::from_trees(vec![tree]);
    inside.evacuate("init").unwrap();
    inside.evacuate("init").unwrap();
    let init = Cgroup::open(&inside, Path::new("init")).unwrap();
    assert_eq!(init.pids().unwrap(), [process.0.id()]);
    let pod = Cgroup::create(&inside, Path::new("pod")).unwrap();
    pod.apply(&resources(r#"{"pids":{"limit":5}}"#)).unwrap();
    // The real root stays as it is.
    scratch.hierarchies.evacuate("rkube-test-never").unwrap();
    assert!(Cgroup::open(&scratch.hierarchies, Path::new("rkube-test-never")).is_err());
}

#[test]
fn v2_says_which_ancestor_keeps_a_controller() {
    let Some(scratch) = Scratch::new() else {
        return;
    };
    if !scratch.hierarchies.is_unified() {
        skip!("needs a unified hierarchy");
    }
    // The inner node gets a process before its controllers were handed down.
    let dir = scratch.cgroup("inner").dir("memory").unwrap().to_owned();
    let inner = Cgroup::open(&scratch.hierarchies, &scratch.top.join("inner")).unwrap();
    let _process = Process::sleeping(&inner);
    let leaf = scratch.cgroup("inner/leaf");
    let err = leaf
        .apply(&resources(r#"{"memory":{"limit":1048576}}"#))
        .unwrap_err();
    let CgroupError::NotDelegated {
        dir: refused,
        source,
        ..
    } = &err
    else {
        panic!("{err}")
    };
    assert_eq!(*refused, dir);
    assert_eq!(source.kind(), io::ErrorKind::ResourceBusy);
}

#[test]
fn v2_files_by_name() {
    let Some(scratch) = Scratch::new() else {
        return;
    };
    let cgroup = scratch.cgroup("unified");
    let set = |key: &str, value: &str| {
        let json = serde_json::json!({"unified": {key: value}}).to_string();
        cgroup
            .apply(&resources(&json))
            .map_err(|err| err.to_string())
    };
    if cgroup.unified().is_none() {
        skip!("no unified hierarchy");
    }
    set("cgroup.max.depth", "3").unwrap();
    assert!(set("cgroup.kill", "1").unwrap_err().contains("cgroup.max"));
    match cgroup.controllers().version_of("pids") {
        Some(Version::V2) => {
            set("pids.max", "9").unwrap();
            assert_eq!(cgroup.stats().unwrap().pids.unwrap().limit, Some(9));
        }
        Some(Version::V1) => assert!(set("pids.max", "9").unwrap_err().contains("v2")),
        None => skip!("no pids controller"),
    }
}
