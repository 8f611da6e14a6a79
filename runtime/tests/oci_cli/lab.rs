//! Bundles, invocations, and the clean-up after them.
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// How long anything may take before a test gives up on it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

const APPLETS: &[&str] = &[
    "cat", "date", "echo", "env", "false", "grep", "head", "hostname", "id", "kill", "ls", "mkdir",
    "nproc", "ps", "pwd", "readlink", "sh", "sleep", "stty", "touch", "true", "tty", "wc",
];

/// A state directory and bundles of its own for one test; all of it goes at the end.
pub(crate) struct Lab {
    dir: tempfile::TempDir,
    runtime: PathBuf,
    ids: std::cell::RefCell<Vec<String>>,
}

impl Lab {
    /// `None`, and a line that says why, where containers cannot be run.
    pub(crate) fn open(test: &str) -> Option<Lab> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIP {test}: containers need root");
            return None;
        }
        if !Path::new("/bin/busybox").exists() {
            eprintln!("SKIP {test}: /bin/busybox is not there (package busybox-static)");
            return None;
        }
        // What `create` leaves behind becomes ours, as it becomes an engine's.
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).unwrap();
        let ours = PathBuf::from(env!("CARGO_BIN_EXE_rkube-runtime"));
        let runtime = std::env::var_os("RUNTIME").map_or(ours, PathBuf::from);
        let dir = tempfile::Builder::new()
            .prefix("rkube-oci-")
            .tempdir()
            .unwrap();
        Some(Lab {
            dir,
            runtime,
            ids: Vec::default().into(),
        })
    }

    /// Whether it is our own runtime that is tested.
    pub(crate) fn is_ours(&self) -> bool {
        self.runtime.ends_with("rkube-runtime")
    }

    /// With a copy of the runtime that no other test executes.
    pub(crate) fn with_copy(mut self) -> Lab {
        let copy = self.path("rkube-runtime");
        // Not by this process: a child forked meanwhile would hold the file open for writing.
        let copied = Command::new("cp").arg(&self.runtime).arg(&copy).status();
        assert!(copied.unwrap().success());
        self.runtime = copy;
        self
    }

    pub(crate) fn runtime(&self) -> &Path {
        &self.runtime
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// An id that nobody else on this machine uses; its container is deleted at the end.
    pub(crate) fn id(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = format!("rkube-test-{}-{number}", std::process::id());
        self.ids.borrow_mut().push(id.clone());
        id
    }

    /// A command of the runtime, not yet run.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.runtime);
        command
            .arg("--root")
            .arg(self.path("state"))
            .args(args)
            .stdin(Stdio::null());
        command
    }

    /// Runs a verb whose standard streams are not given to a container.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs a verb that must succeed; returns what it printed.
    #[track_caller]
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a verb that must fail; returns what it said.
    #[track_caller]
    pub(crate) fn fails(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(!output.status.success(), "{args:?} succeeded");
        String::from_utf8(output.stderr).unwrap()
    }

    /// Runs `create` or the like with the container's streams in a file; they outlive the verb.
    #[track_caller]
    pub(crate) fn detached(&self, args: &[&str]) -> PathBuf {
        let log = self.path(&format!("{}.out", args.last().unwrap()));
        let out = fs::File::create(&log).unwrap();
        let err = out.try_clone().unwrap();
        let status = self.command(args).stdout(out).stderr(err).status().unwrap();
        assert!(
            status.success(),
            "{args:?}: {}",
            fs::read_to_string(&log).unwrap()
        );
        log
    }

    /// The state of a container as `state` prints it.
    #[track_caller]
    pub(crate) fn state(&self, id: &str) -> Value {
        serde_json::from_str(&self.ok(&["state", id])).unwrap()
    }

    #[track_caller]
    pub(crate) fn status(&self, id: &str) -> String {
        self.state(id)["status"].as_str().unwrap().to_owned()
    }

    #[track_caller]
    pub(crate) fn wait_for_status(&self, id: &str, wanted: &str) {
        eventually(&format!("{id} {wanted}"), || self.status(id) == wanted);
    }

    /// A bundle whose program is `sh -c script`.
    pub(crate) fn bundle(&self, script: &str) -> Bundle {
        self.bundle_of(&["sh", "-c", script])
    }

    /// A bundle with a root file system of its own.
    pub(crate) fn bundle_of(&self, args: &[&str]) -> Bundle {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let path = self.path(&format!("bundle-{}", NEXT.fetch_add(1, Ordering::Relaxed)));
        let rootfs = path.join("rootfs");
        for dir in ["bin", "dev", "etc", "proc", "sys", "tmp", "run"] {
            fs::create_dir_all(rootfs.join(dir)).unwrap();
        }
        fs::copy("/bin/busybox", rootfs.join("bin/busybox")).unwrap();
        for applet in APPLETS {
            symlink("busybox", rootfs.join("bin").join(applet)).unwrap();
        }
        fs::write(rootfs.join("etc/inside"), "yes\n").unwrap();
        fs::set_permissions(rootfs.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
        let bundle = Bundle {
            path,
            config: config(args),
        };
        bundle.save();
        bundle
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for id in self.ids.borrow().iter() {
            let output = self.run(&["delete", "--force", id]);
            if !output.status.success() {
                eprintln!("{id} is left behind: {output:?}");
            }
        }
    }
}

/// A bundle on disk.
pub(crate) struct Bundle {
    pub(crate) path: PathBuf,
    config: Value,
}

impl Bundle {
    pub(crate) fn dir(&self) -> &str {
        self.path.to_str().unwrap()
    }

    /// Changes the config.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Value)) -> Bundle {
        change(&mut self.config);
        self.save();
        self
    }

    fn save(&self) {
        fs::write(self.path.join("config.json"), self.config.to_string()).unwrap();
    }
}

fn config(args: &[&str]) -> Value {
    let caps = json!(["CAP_KILL", "CAP_CHOWN", "CAP_SETUID", "CAP_SETGID"]);
    let secure = json!(["nosuid", "noexec", "nodev"]);
    json!({
        "ociVersion": "1.0.2",
        "root": { "path": "rootfs", "readonly": false },
        "hostname": "lab",
        "process": {
            "user": { "uid": 0, "gid": 0 },
            "args": args,
            "env": ["PATH=/bin", "LAB=yes"],
            "cwd": "/",
            "noNewPrivileges": true,
            "capabilities": { "bounding": caps, "effective": caps, "permitted": caps },
        },
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc", "options": secure },
            {
                "destination": "/dev", "type": "tmpfs", "source": "tmpfs",
                "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
            },
            {
                "destination": "/dev/pts", "type": "devpts", "source": "devpts",
                "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
            },
        ],
        "linux": {
            "namespaces": [
                { "type": "pid" }, { "type": "mount" }, { "type": "ipc" }, { "type": "uts" },
                { "type": "network" },
            ],
        },
    })
}

/// Waits until `done`, within reason.
#[track_caller]
pub(crate) fn eventually(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(
            start.elapsed() < PATIENCE,
            "{what}: not within {PATIENCE:?}"
        );
        std::thread::yield_now();
    }
}

/// Waits until a file has the text.
#[track_caller]
pub(crate) fn wait_for_text(file: &Path, text: &str) {
    eventually(&format!("{text:?} in {}", file.display()), || {
        fs::read_to_string(file).is_ok_and(|content| content.contains(text))
    });
}

/// Directories of cgroups with this name in any hierarchy.
pub(crate) fn cgroups_of(id: &str) -> Vec<PathBuf> {
    let hierarchies = fs::read_to_string("/proc/self/mounts").unwrap();
    let mounts = hierarchies.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split(' ').collect();
        (fields[2] == "cgroup" || fields[2] == "cgroup2").then(|| PathBuf::from(fields[1]))
    });
    let mut found = Vec::new();
    for mount in mounts {
        find(&mount, id, 3, &mut found);
    }
    found
}

fn find(dir: &Path, name: &str, depth: u32, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    for entry in entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
    {
        if entry.file_name() == name {
            found.push(entry.path());
        } else if depth > 0 {
            find(&entry.path(), name, depth - 1, found);
        }
    }
}

/// Whether a process lives and is no zombie.
pub(crate) fn alive(pid: i64) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit(')')
        .next()
        .and_then(|rest| rest.split_whitespace().next());
    state.is_some_and(|state| state != "Z" && state != "X")
}

/// Reaps the process of a pid file, as an engine does: a container's end waits for its zombies.
pub(crate) fn reap(pid_file: &Path) {
    let pid = fs::read_to_string(pid_file).unwrap().parse().unwrap();
    let pid = rustix::process::Pid::from_raw(pid);
    rustix::process::waitpid(pid, rustix::process::WaitOptions::empty()).unwrap();
}
