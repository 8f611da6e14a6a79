//! What the tests share: a pod on a temporary directory, containers in it, and waiting for things
//! to become true.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use oci_spec::runtime::{Process, Spec};
use rkube_runtime::compile::{self, CgroupAttach, ExecRequest, Launch, Request, Rootfs, Settings};
use rkube_runtime::supervisor::{
    Container, Event, LogLimits, LogTarget, Prepare, Prepared, SandboxConfig, Supervisor,
};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use serde_json::json;

/// More than anything here takes on a busy machine.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// A pod's supervisor and its directories; all gone on drop.
#[derive(Debug)]
pub(crate) struct Pod {
    pub(crate) dir: PathBuf,
    pub(crate) supervisor: Supervisor,
    root: tempfile::TempDir,
}

/// How a container of a test differs from the plainest one.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wishes {
    pub(crate) attempt: u32,
    pub(crate) stdin: bool,
    pub(crate) tty: bool,
    pub(crate) limits: Option<LogLimits>,
    /// Dies with the supervisor even where the kernel does not see to it.
    pub(crate) die_with_parent: bool,
    /// Uses the pod's pid namespace.
    pub(crate) share_pid: bool,
}

/// Whether this machine can run the tests; says which test is skipped if not.
pub(crate) fn able(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    let able = root && Path::new("/bin/busybox").exists();
    if !able {
        eprintln!("SKIP {test}: needs root and /bin/busybox");
    }
    able
}

impl Pod {
    /// A pod with everything of its own.
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    /// A pod that differs.
    pub(crate) fn with(change: impl FnOnce(&mut SandboxConfig)) -> Self {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("pod");
        let mut config = SandboxConfig {
            dir: dir.clone(),
            hostname: "pod".to_owned(),
            ..SandboxConfig::default()
        };
        change(&mut config);
        let supervisor = Supervisor::launch(&config).unwrap();
        let bin = root.path().join("rootfs/bin");
        std::fs::create_dir_all(&bin).unwrap();
        for dir in ["proc", "dev", "tmp"] {
            std::fs::create_dir(root.path().join("rootfs").join(dir)).unwrap();
        }
        std::fs::create_dir(root.path().join("logs")).unwrap();
        // Not by this process: a child forked meanwhile would hold the file open for writing, and
        // nobody could run it.
        let copied = std::process::Command::new("cp")
            .arg("/bin/busybox")
            .arg(&bin)
            .status();
        assert!(copied.unwrap().success());
        for name in [
            "sh", "cat", "sleep", "true", "head", "yes", "stty", "kill", "echo",
        ] {
            std::os::unix::fs::symlink("busybox", bin.join(name)).unwrap();
        }
        Self {
            dir,
            supervisor,
            root,
        }
    }

    /// The directory of the logs.
    pub(crate) fn logs(&self) -> PathBuf {
        self.root.path().join("logs")
    }

    /// The text of a log file.
    pub(crate) fn log(&self, file: &str) -> String {
        std::fs::read_to_string(self.logs().join(file)).unwrap()
    }

    /// The contents of a log's lines, as `stream tag text`.
    pub(crate) fn lines(&self, file: &str) -> Vec<String> {
        let log = self.log(file);
        log.lines()
            .map(|line| line.split_once(' ').unwrap().1.to_owned())
            .collect()
    }

    fn spec(&self, script: &str, wishes: Wishes) -> Spec {
        let mut namespaces = vec![json!({"type": "mount"})];
        if !wishes.share_pid {
            namespaces.push(json!({"type": "pid"}));
        }
        serde_json::from_value(json!({
            "ociVersion": "1.2.0",
            "root": {"path": self.root.path().join("rootfs")},
            "process": process(script, wishes.tty),
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]},
                {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
                 "options": ["newinstance", "ptmxmode=0666", "mode=0620"]},
            ],
            "linux": {"namespaces": namespaces},
        }))
        .unwrap()
    }

    /// Compiles a shell script as a container.
    pub(crate) fn compile(&self, script: &str, wishes: Wishes) -> Launch {
        let spec = self.spec(script, wishes);
        compile::compile(Request {
            spec: &spec,
            bundle: self.root.path(),
            rootfs: Rootfs::Bundle,
            sources: &[],
            cgroup: CgroupAttach::default(),
            seccomp: None,
            settings: Settings {
                die_with_parent: wishes.die_with_parent,
                ..Settings::default()
            },
        })
        .unwrap()
    }

    /// Compiles a shell script as a further process of a container.
    pub(crate) fn compile_exec(&self, script: &str, tty: bool) -> Launch {
        let spec = self.spec("", Wishes::default());
        let process: Process = serde_json::from_value(process(script, tty)).unwrap();
        compile::compile_exec(ExecRequest {
            spec: &spec,
            process: &process,
            target: None,
            cgroup: CgroupAttach::default(),
            seccomp: None,
            settings: Settings::default(),
        })
        .unwrap()
    }

    /// Prepares a container that runs a shell script and logs to `NAME.log`.
    pub(crate) fn prepare(&mut self, name: &str, script: &str, wishes: Wishes) -> Prepared {
        let launch = self.compile(script, wishes);
        let logs = std::fs::File::open(self.logs()).unwrap();
        let file = format!("{name}.log");
        let limits = wishes.limits.unwrap_or_default();
        self.supervisor
            .prepare(&Prepare {
                name,
                attempt: wishes.attempt,
                launch: &launch,
                log: Some(LogTarget {
                    dir: logs.as_fd(),
                    file: &file,
                    limits,
                }),
                stdin: wishes.stdin,
                tty: wishes.tty,
            })
            .unwrap()
    }

    /// Prepares and starts.
    pub(crate) fn run(&mut self, name: &str, script: &str, wishes: Wishes) -> Prepared {
        let prepared = self.prepare(name, script, wishes);
        self.supervisor.start(name).unwrap();
        prepared
    }

    /// Waits for a container's end; other events are dropped.
    #[track_caller]
    pub(crate) fn exited(&mut self, name: &str) -> Container {
        let deadline = Instant::now() + LONG;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.supervisor.wait_event(left).unwrap() {
                Some(Event::Exited(container)) if container.name == name => return container,
                Some(_) => {}
                None => panic!("{name} has not ended within {LONG:?}"),
            }
        }
    }

    /// Kills the supervisor behind everybody's back, and reaps it.
    pub(crate) fn kill_supervisor(&self) {
        let pidfd = self.supervisor.pidfd();
        let _ = rustix::process::pidfd_send_signal(pidfd, Signal::KILL);
        let _ = rustix::process::waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED);
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        self.kill_supervisor();
    }
}

fn process(script: &str, tty: bool) -> serde_json::Value {
    json!({
        "terminal": tty,
        "user": {"uid": 0, "gid": 0},
        "cwd": "/",
        "args": ["/bin/sh", "-c", script],
        "env": ["PATH=/bin"],
    })
}

/// Waits until `condition` holds, looking again every few milliseconds.
#[track_caller]
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not within {LONG:?}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// A field of `/proc/PID/status`.
pub(crate) fn status(pid: u32, field: &str) -> String {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap_or_else(|| panic!("no {field} of {pid}"))
        .trim()
        .to_owned()
}

/// What a process's open descriptors are.
pub(crate) fn open_fds(pid: u32) -> Vec<String> {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap();
    let mut names: Vec<_> = entries
        .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
        .map(|path| path.to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// The pids of a process's children.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    text.split_whitespace()
        .map(|pid| pid.parse().unwrap())
        .collect()
}

/// Whether a process is there, be it a zombie.
pub(crate) fn exists(pid: u32) -> bool {
    Pid::from_raw(pid.cast_signed())
        .is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok())
}

/// The proportional set size, in KiB.
pub(crate) fn pss(pid: u32) -> u32 {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = rollup
        .lines()
        .find_map(|line| line.strip_prefix("Pss:"))
        .unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
