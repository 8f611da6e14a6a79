//! rkubelet with trees of its own, and what runs under it.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::json;

use crate::bed::{self, Bed};

/// The image of the pods.
pub(crate) const IMAGE: &str = "localhost/bench:v1";
/// The port of the host; this network namespace has no other users.
pub(crate) const PORT: u16 = 8080;
/// The command that serves a page, and ends at once when it is asked to.
const SERVE: &str = "trap 'exit 0' TERM; httpd -f -p 80 -h /www & wait";
const PATIENCE: Duration = Duration::from_secs(20);

/// It.
#[derive(Debug)]
pub(crate) struct Kubelet {
    program: PathBuf,
    dir: PathBuf,
    run: PathBuf,
}

impl Kubelet {
    /// With its trees in a directory of the bed's, and the image in its store.
    ///
    /// # Errors
    /// When it was not built, or does not work.
    pub(crate) fn new(bed: &Bed, dir: &str, rootfs: &Path) -> Result<Self> {
        let kubelet = Self {
            program: bed.ours("rkubelet")?,
            dir: bed.subdir(dir)?,
            run: bed.run_dir(dir)?,
        };
        let mut import = kubelet.command();
        import
            .args(["images", "import"])
            .arg(rootfs)
            .args([IMAGE, "--cmd", "/bin/sh"]);
        bed::output(&mut import).context("import the image")?;
        Ok(kubelet)
    }

    /// The program with the options that keep it in its place.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--root").arg(self.dir.join("lib"));
        command.arg("--run-root").arg(&self.run);
        command.arg("--log-root").arg(self.dir.join("log"));
        command
    }

    /// Runs a verb to its end.
    ///
    /// # Errors
    /// With what it said when it fails.
    pub(crate) fn run(&self, words: &[&str]) -> Result<String> {
        bed::output(self.command().args(words))
    }

    /// Where its pods are written down, a directory each.
    pub(crate) fn pods(&self) -> PathBuf {
        self.dir.join("lib/pods")
    }

    /// The pid of a running pod's supervisor, by the pod's name.
    ///
    /// # Errors
    /// When it does not run.
    pub(crate) fn supervisor(&self, pod: &str) -> Result<u32> {
        let pods = std::fs::read_dir(self.pods())?;
        for dir in pods.flatten().map(|entry| entry.path()) {
            let read = |file: &str| -> Option<serde_json::Value> {
                serde_json::from_slice(&std::fs::read(dir.join(file)).ok()?).ok()
            };
            let name = read("pod.json").and_then(|record| {
                let name = record.pointer("/pod/metadata/name")?.as_str()?;
                Some(name.to_owned())
            });
            if name.as_deref() == Some(pod) {
                let pid = read("state.json").and_then(|state| state.get("supervisor")?.as_u64());
                return u32::try_from(pid.context("the pod has no supervisor")?)
                    .map_err(Into::into);
            }
        }
        bail!("no pod {pod}")
    }

    /// The pid of the background process, if there is one.
    pub(crate) fn agent(&self) -> Option<u32> {
        let entries = std::fs::read_dir("/proc").ok()?;
        let pids = entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let is_agent = |pid: &u32| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let mut words = line.split(|byte| *byte == 0);
            words
                .clone()
                .any(|word| word == self.run.as_os_str().as_encoded_bytes())
                && words.any(|word| word == b"agent")
        };
        pids.into_iter().find(is_agent)
    }

    /// Waits until the background process has ended, as it does with its last pod.
    ///
    /// # Errors
    /// When it stays.
    pub(crate) fn await_no_agent(&self) -> Result<()> {
        wait_for("the agent ends", || self.agent().is_none())
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        // The namespaces of the bed take what it leaves.
        let _ = self.run(&["reset", "--force", "--quiet"]);
        if let Some(pid) = self.agent().and_then(|pid| i32::try_from(pid).ok()) {
            let pid = rustix::process::Pid::from_raw(pid);
            let kill = |pid| rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            let _ = pid.map(kill);
        }
    }
}

/// Waits for a condition, looking often: it is measured.
///
/// # Errors
/// When it does not become true.
pub(crate) fn wait_for(what: &str, mut condition: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        if Instant::now() > deadline {
            bail!("{what}: not within {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_micros(300));
    }
    Ok(())
}

/// Whether the page is served at the host's port.
pub(crate) fn answers() -> bool {
    use std::io::{Read as _, Write as _};
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", PORT)) else {
        return false;
    };
    let mut first = [0; 8];
    let asked = stream.write_all(b"GET / HTTP/1.0\r\n\r\n");
    asked.is_ok() && stream.read_exact(&mut first).is_ok() && first.starts_with(b"HTTP/1")
}

/// Writes the manifest of a pod with one container that serves a page; with the host's port or without.
///
/// # Errors
/// When the disk is full.
pub(crate) fn manifest(path: &Path, name: &str, host_port: Option<u16>) -> Result<()> {
    let port = match host_port {
        Some(host) => json!({"containerPort": 80, "hostPort": host}),
        None => json!({"containerPort": 80}),
    };
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "terminationGracePeriodSeconds": 10,
            "containers": [{
                "name": "web",
                "image": IMAGE,
                "imagePullPolicy": "IfNotPresent",
                "command": ["/bin/sh", "-c", SERVE],
                "ports": [port],
            }],
        },
    });
    std::fs::write(path, serde_json::to_vec_pretty(&pod)?)?;
    Ok(())
}
