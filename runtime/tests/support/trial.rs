//! A container to try things with: a throw-away bundle with busybox in it, an OCI spec, and what came out.
#![allow(dead_code, reason = "each test binary leaves something else unused")]

use std::fs::{self, File};
use std::io::Read as _;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::RwLock;

use oci_spec::runtime::Spec;
use rkube_runtime::cgroup::Cgroup;
use rkube_runtime::compile::{
    self, CgroupAttach, CompileError, ExecRequest, Launch, Request, Rootfs, Seccomp, Settings,
};
use rkube_runtime::spawn::{self, Child, Options, Park, SpawnError};
use rustix::process::{WaitId, WaitIdOptions};
use serde_json::{Value, json};

/// Where a static busybox is.
const BUSYBOX: &str = "/bin/busybox";
const APPLETS: [&str; 24] = [
    "sh", "cat", "ls", "id", "stat", "mount", "hostname", "test", "sleep", "env", "readlink",
    "umask", "touch", "mkdir", "tty", "stty", "find", "grep", "true", "unshare", "cut", "head",
    "wc", "mknod",
];

/// A process that is forked while a program is being written holds it open for writing for a moment, and then it
/// cannot be executed.
static COPYING: RwLock<()> = RwLock::new(());

/// A bundle and its spec, removed when dropped.
pub(crate) struct Trial {
    dir: tempfile::TempDir,
    /// The spec, to be changed before the start.
    pub(crate) spec: Value,
    pub(crate) rootfs: Rootfs,
    pub(crate) seccomp: Option<Seccomp>,
    pub(crate) settings: Settings,
    /// Where it runs, if not where we do.
    pub(crate) cgroup: Option<Cgroup>,
}

/// What a container did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) code: i32,
    pub(crate) output: String,
}

/// A container that was started.
pub(crate) struct Running {
    pub(crate) child: Child,
    output: File,
}

/// Why a trial did not run.
#[derive(Debug)]
pub(crate) enum Refusal {
    Compile(CompileError),
    Spawn(SpawnError),
}

impl Refusal {
    /// The whole chain, as people read it.
    pub(crate) fn text(&self) -> String {
        let err: &dyn std::error::Error = match self {
            Self::Compile(err) => err,
            Self::Spawn(err) => err,
        };
        let layers = std::iter::successors(Some(err), |err| err.source());
        layers
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(": ")
    }
}

/// `None`, with a word about it, where these tests cannot run.
pub(crate) fn possible(name: &str) -> Option<()> {
    if !rustix::process::geteuid().is_root() {
        println!("SKIP {name}: needs root");
        return None;
    }
    if !Path::new(BUSYBOX).exists() {
        println!("SKIP {name}: needs {BUSYBOX} (package busybox-static)");
        return None;
    }
    Some(())
}

impl Trial {
    /// A container that runs a shell script with the usual namespaces and mounts.
    pub(crate) fn new(script: &str) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("rkube-trial-")
            .tempdir()
            .unwrap();
        let root = dir.path().join("rootfs");
        for name in ["bin", "proc", "sys", "dev", "tmp", "etc"] {
            fs::create_dir_all(root.join(name)).unwrap();
        }
        {
            let _alone = COPYING.write().unwrap();
            fs::copy(BUSYBOX, root.join("bin/busybox")).unwrap();
        }
        for applet in APPLETS {
            symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        Self {
            dir,
            spec: base_spec(script),
            rootfs: Rootfs::Bundle,
            seccomp: None,
            settings: Settings::default(),
            cgroup: None,
        }
    }

    /// The bundle's directory.
    pub(crate) fn bundle(&self) -> &Path {
        self.dir.path()
    }

    /// A path in the container's root.
    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.dir.path().join("rootfs").join(below)
    }

    /// Replaces one value of the spec, by JSON pointer; missing last members are made.
    pub(crate) fn set(&mut self, pointer: &str, value: Value) -> &mut Self {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let parent = self
            .spec
            .pointer_mut(parent)
            .unwrap_or_else(|| panic!("no {parent}"));
        parent[key] = value;
        self
    }

    /// Adds a mount.
    pub(crate) fn mount(
        &mut self,
        kind: &str,
        source: &str,
        destination: &str,
        options: &[&str],
    ) -> &mut Self {
        let mount =
            json!({"type": kind, "source": source, "destination": destination, "options": options});
        self.spec["mounts"].as_array_mut().unwrap().push(mount);
        self
    }

    /// Leaves out a namespace.
    pub(crate) fn without_namespace(&mut self, kind: &str) -> &mut Self {
        self.spec["linux"]["namespaces"]
            .as_array_mut()
            .unwrap()
            .retain(|namespace| namespace["type"] != kind);
        self
    }

    /// Adds or replaces a namespace.
    pub(crate) fn namespace(&mut self, kind: &str, path: Option<&str>) -> &mut Self {
        self.without_namespace(kind);
        let namespace = path.map_or_else(
            || json!({"type": kind}),
            |path| json!({"type": kind, "path": path}),
        );
        self.spec["linux"]["namespaces"]
            .as_array_mut()
            .unwrap()
            .push(namespace);
        self
    }

    pub(crate) fn typed(&self) -> Spec {
        serde_json::from_value(self.spec.clone()).unwrap()
    }

    pub(crate) fn compile(&self) -> Result<Launch, Refusal> {
        let request = Request {
            spec: &self.typed(),
            bundle: self.dir.path(),
            rootfs: self.rootfs.clone(),
            sources: &[],
            cgroup: self.attach(),
            seccomp: self.seccomp.clone(),
            settings: self.settings,
        };
        compile::compile(request).map_err(Refusal::Compile)
    }

    fn attach(&self) -> CgroupAttach {
        let Some(cgroup) = &self.cgroup else {
            return CgroupAttach::default();
        };
        let fds = cgroup.attach_fds().unwrap();
        CgroupAttach {
            into: fds.unified_dir,
            procs: fds.procs,
        }
    }

    /// Starts it and waits until the program runs.
    pub(crate) fn start(&self) -> Result<Running, Refusal> {
        let mut running = self.spawn(Options::default())?;
        running.child.wait_exec().map_err(Refusal::Spawn)?;
        Ok(running)
    }

    /// Starts it, its output in a pipe, and does not wait.
    pub(crate) fn spawn(&self, options: Options<'_>) -> Result<Running, Refusal> {
        launch(&self.compile()?, options)
    }

    /// Starts it and waits until it has ended.
    pub(crate) fn run(&self) -> Result<Outcome, Refusal> {
        Ok(self.start()?.finish())
    }

    /// What its script prints; it must succeed.
    #[track_caller]
    pub(crate) fn output(&self) -> String {
        let outcome = self
            .run()
            .unwrap_or_else(|refusal| panic!("{}", refusal.text()));
        assert_eq!(outcome.code, 0, "{}", outcome.output);
        outcome.output
    }

    /// Why it does not start.
    #[track_caller]
    pub(crate) fn refusal(&self) -> String {
        match self.run() {
            Ok(outcome) => panic!("it ran: {outcome:?}"),
            Err(refusal) => refusal.text(),
        }
    }

    /// Prepares another process for a container of this spec.
    pub(crate) fn compile_exec(
        &self,
        process: &Value,
        target: BorrowedFd<'_>,
    ) -> Result<Launch, Refusal> {
        let request = ExecRequest {
            spec: &self.typed(),
            process: &serde_json::from_value(process.clone()).unwrap(),
            target: Some(target),
            cgroup: self.attach(),
            seccomp: None,
            settings: Settings::default(),
        };
        compile::compile_exec(request).map_err(Refusal::Compile)
    }

    /// Runs another process in a running container of this spec.
    pub(crate) fn exec(&self, running: &Running, process: &Value) -> Result<Outcome, Refusal> {
        let mut other = launch(
            &self.compile_exec(process, running.child.pidfd.as_fd())?,
            Options::default(),
        )?;
        other.child.wait_exec().map_err(Refusal::Spawn)?;
        Ok(other.finish())
    }
}

pub(crate) fn launch(launch: &Launch, options: Options<'_>) -> Result<Running, Refusal> {
    let (output, write) = pipe();
    let null = File::open("/dev/null").unwrap();
    let stdio = [Some(null.as_fd()), Some(write.as_fd()), Some(write.as_fd())];
    let options = Options {
        id: "trial",
        stdio,
        ..options
    };
    let _together = COPYING.read().unwrap();
    let child = spawn::spawn(launch, options).map_err(Refusal::Spawn)?;
    Ok(Running {
        child,
        output: output.into(),
    })
}

impl Running {
    /// Its output up to its end, and its exit code; 128 plus the number if a signal ended it.
    pub(crate) fn finish(mut self) -> Outcome {
        let mut bytes = Vec::new();
        self.output.read_to_end(&mut bytes).unwrap();
        Outcome {
            code: self.wait(),
            output: String::from_utf8_lossy(&bytes).into_owned(),
        }
    }

    /// Its output up to the end of a line.
    pub(crate) fn line(&mut self) -> String {
        let mut line = Vec::new();
        let mut byte = [0];
        while self.output.read(&mut byte).unwrap() == 1 && byte[0] != b'\n' {
            line.push(byte[0]);
        }
        String::from_utf8_lossy(&line).into_owned()
    }

    fn wait(&self) -> i32 {
        let id = WaitId::PidFd(self.child.pidfd.as_fd());
        let status = rustix::process::waitid(id, WaitIdOptions::EXITED)
            .unwrap()
            .unwrap();
        let signalled = status.terminating_signal().map(|signal| 128 + signal);
        status.exit_status().or(signalled).unwrap()
    }

    /// Kills it and waits for its end.
    pub(crate) fn kill(self) -> i32 {
        let _ =
            rustix::process::pidfd_send_signal(&self.child.pidfd, rustix::process::Signal::KILL);
        self.wait()
    }
}

/// A pipe whose ends are close-on-exec.
pub(crate) fn pipe() -> (OwnedFd, OwnedFd) {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).unwrap()
}

/// Options that park the process on a pipe.
pub(crate) fn parked<'a>() -> Options<'a> {
    Options {
        park: Park::Pipe,
        ..Options::default()
    }
}

/// The process part of a spec.
pub(crate) fn process(script: &str) -> Value {
    let caps = json!(["CAP_CHOWN", "CAP_KILL", "CAP_NET_BIND_SERVICE"]);
    json!({
        "user": {"uid": 0, "gid": 0},
        "args": ["/bin/sh", "-c", script],
        "env": ["PATH=/bin", "TERM=xterm"],
        "cwd": "/",
        "noNewPrivileges": true,
        "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
    })
}

fn base_spec(script: &str) -> Value {
    json!({
        "ociVersion": "1.2.0",
        "process": process(script),
        "root": {"path": "rootfs", "readonly": false},
        "hostname": "trial",
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
            {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid", "noexec", "nodev"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
        ],
        "linux": {
            "namespaces": [
                {"type": "pid"}, {"type": "mount"}, {"type": "uts"}, {"type": "ipc"}, {"type": "network"}, {"type": "cgroup"},
            ],
            "maskedPaths": ["/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/scsi", "/sys/firmware", "/absent"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    })
}
