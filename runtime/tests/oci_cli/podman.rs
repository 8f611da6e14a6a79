//! podman with this runtime, in a storage of its own.
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use super::lab::Lab;

/// A podman that shares nothing with the one of the host; its containers go at the end.
struct Podman<'a> {
    lab: &'a Lab,
    config: PathBuf,
}

impl<'a> Podman<'a> {
    fn open(lab: &'a Lab, test: &str) -> Option<Podman<'a>> {
        if Command::new("podman").arg("--version").output().is_err() {
            eprintln!("SKIP {test}: podman is not installed");
            return None;
        }
        let config = lab.path("containers.conf");
        // The usual limits are more than every machine allows; errors are read from the JSON log
        // for runtimes of these names only.
        let text = "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n\
                    [engine]\nruntime_supports_json = [\"rkube-runtime\", \"runc\"]\n\
                    events_logger = \"file\"\n";
        fs::write(&config, text).unwrap();
        let podman = Podman { lab, config };
        let bundle = lab.bundle("true");
        let tar = lab.path("image.tar");
        let rootfs = bundle.path.join("rootfs");
        fs::create_dir_all(rootfs.join("etc")).unwrap();
        fs::write(
            rootfs.join("etc/passwd"),
            "root:x:0:0::/:/bin/sh\nweb:x:101:102::/:/bin/sh\n",
        )
        .unwrap();
        let packed = Command::new("tar")
            .arg("-C")
            .arg(&rootfs)
            .arg("-cf")
            .arg(&tar)
            .arg(".")
            .status();
        assert!(packed.unwrap().success());
        podman.ok(&["import", tar.to_str().unwrap(), "lab"]);
        Some(podman)
    }

    fn run(&self, args: &[&str]) -> Output {
        let storage = ["root", "runroot", "tmpdir"].map(|name| (name, self.lab.path(name)));
        let mut command = Command::new("podman");
        for (flag, path) in storage {
            command.arg(format!("--{flag}")).arg(path);
        }
        let tmp = self.lab.path("tmp");
        fs::create_dir_all(&tmp).unwrap();
        command.args([
            "--cgroup-manager",
            "cgroupfs",
            "--storage-driver",
            "vfs",
            "--runtime",
        ]);
        command.arg(self.lab.runtime()).args(args);
        command
            .env("CONTAINERS_CONF", &self.config)
            .env("TMPDIR", tmp);
        command.output().unwrap()
    }

    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert!(output.status.success(), "podman {args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// `podman run` with no network.
    fn container(&self, flags: &[&str], command: &[&str]) -> Output {
        let usual = ["run", "--rm", "--network", "none"];
        self.run(&[&usual, flags, &["lab"], command].concat())
    }

    #[track_caller]
    fn prints(&self, flags: &[&str], command: &[&str], want: &str) {
        let output = self.container(flags, command);
        let text = String::from_utf8_lossy(&output.stdout);
        assert_eq!(text, want, "podman run {flags:?} {command:?}: {output:?}");
    }
}

impl Drop for Podman<'_> {
    fn drop(&mut self) {
        let _ = self.run(&["rm", "--all", "--force", "--time", "0"]);
        let _ = self.run(&["image", "rm", "--all", "--force"]);
    }
}

#[test]
fn podman_runs_containers() {
    let Some(lab) = Lab::open("podman_runs_containers") else {
        return;
    };
    let Some(podman) = Podman::open(&lab, "podman_runs_containers") else {
        return;
    };
    podman.prints(&[], &["echo", "hello"], "hello\n");
    let code = |command: &[&str]| podman.container(&[], command).status.code();
    assert_eq!(code(&["sh", "-c", "exit 7"]), Some(7));
    assert_eq!(code(&["no-such-program"]), Some(127));
    assert_eq!(code(&["/etc/inside"]), Some(126));
    podman.prints(&["--user", "web"], &["id", "-u"], "101\n");
    podman.prints(&["--hostname", "other"], &["hostname"], "other\n");
    podman.prints(&["--env", "A=b"], &["sh", "-c", "echo $A"], "b\n");
    podman.prints(&["--workdir", "/etc"], &["pwd"], "/etc\n");
    let limit = [
        "sh",
        "-c",
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null",
    ];
    podman.prints(&["--memory", "64m"], &limit, "67108864\n");
    assert_ne!(
        podman
            .container(&["--read-only"], &["touch", "/x"])
            .status
            .code(),
        Some(0)
    );
    let caps = ["grep", "CapEff", "/proc/self/status"];
    podman.prints(&["--cap-drop", "all"], &caps, "CapEff:\t0000000000000000\n");
    let volume = lab.path("volume");
    fs::create_dir(&volume).unwrap();
    let mount = format!("{}:/v", volume.display());
    podman.prints(&["--volume", &mount], &["sh", "-c", "echo from > /v/f"], "");
    assert_eq!(fs::read_to_string(volume.join("f")).unwrap(), "from\n");
    podman.prints(&["--tty"], &["tty"], "/dev/pts/0\r\n");
}

#[test]
fn podman_manages_a_container() {
    let Some(lab) = Lab::open("podman_manages_a_container") else {
        return;
    };
    let Some(podman) = Podman::open(&lab, "podman_manages_a_container") else {
        return;
    };
    let script = "trap 'exit 3' TERM; echo logged; while :; do sleep 0.1; done";
    podman.ok(&[
        "run",
        "--detach",
        "--name",
        "web",
        "--network",
        "none",
        "--cgroupns",
        "private",
        "lab",
        "sh",
        "-c",
        script,
    ]);
    super::lab::eventually("the log", || podman.ok(&["logs", "web"]) == "logged\n");
    let output = podman.run(&["exec", "web", "sh", "-c", "echo inside; exit 5"]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "inside\n");
    assert_eq!(output.status.code(), Some(5));
    assert_eq!(
        podman
            .run(&["exec", "web", "no-such-program"])
            .status
            .code(),
        Some(127)
    );
    podman.ok(&["pause", "web"]);
    let status = || podman.ok(&["inspect", "--format", "{{.State.Status}}", "web"]);
    assert_eq!(status(), "paused\n");
    podman.ok(&["unpause", "web"]);
    podman.ok(&["stop", "--time", "20", "web"]);
    let code = podman.ok(&["inspect", "--format", "{{.State.ExitCode}}", "web"]);
    assert_eq!(code, "3\n");
    podman.ok(&["start", "web"]);
    assert_eq!(status(), "running\n");
    podman.ok(&["rm", "--force", "--time", "0", "web"]);
}
