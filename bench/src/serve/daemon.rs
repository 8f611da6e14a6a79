//! A daemon with a directory of manifests, seen from outside: what it tells systemd, and what it writes down of its pods.

use std::fs::File;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::kubelet::{Kubelet, wait_for};
use crate::process::Process;

/// How long it may take to get ready.
const PATIENCE: Duration = Duration::from_secs(20);
/// The watchdog's time: the service manager would kill a daemon from which it hears nothing for so long.
pub(crate) const WATCHDOG: Duration = Duration::from_secs(2);
/// A name for the file of settings.
const SETTINGS: &str = "kubelet.yaml";
/// The daemon is not to mind how full this host's disk is: that is not measured.
const UNTROUBLED: &str =
    "{evictionHard: {memory.available: 1Mi}, imageGCHighThresholdPercent: 100}\n";

/// It.
#[derive(Debug)]
pub(crate) struct Daemon<'a> {
    kubelet: &'a Kubelet,
    manifests: PathBuf,
    staging: PathBuf,
    notify: UnixDatagram,
    process: Process,
    log: PathBuf,
}

/// A pod as it is written down.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Its directory.
    pub dir: PathBuf,
    /// Its name.
    pub name: String,
}

impl<'a> Daemon<'a> {
    /// Starts one and waits until it says that it is ready; that took so many milliseconds. With `watched`, the service manager
    /// wants to hear from it.
    ///
    /// # Errors
    /// With the end of its log when it ends instead.
    pub(crate) fn start(kubelet: &'a Kubelet, watched: bool) -> Result<(Self, f64)> {
        let base = kubelet.pods().join("../..");
        let (manifests, staging) = (base.join("manifests"), base.join("staging"));
        std::fs::create_dir_all(&manifests)?;
        std::fs::create_dir_all(&staging)?;
        let path = base.join("notify");
        let _ = std::fs::remove_file(&path);
        let notify = UnixDatagram::bind(&path)?;
        let log = base.join("daemon.log");
        std::fs::write(base.join(SETTINGS), UNTROUBLED)?;
        let mut command = kubelet.command();
        if watched {
            command.env("WATCHDOG_USEC", WATCHDOG.as_micros().to_string());
        }
        command
            .arg("serve")
            .arg("--config-file")
            .arg(base.join(SETTINGS))
            .arg("--config")
            .arg(&manifests)
            .arg("--max-pods=1000")
            .env("NOTIFY_SOCKET", &path)
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(File::options().create(true).append(true).open(&log)?);
        let since = Instant::now();
        let process = Process::start(&mut command)?;
        let mut daemon = Daemon {
            kubelet,
            manifests,
            staging,
            notify,
            process,
            log,
        };
        daemon.await_ready(since)?;
        let took = crate::bed::millis(since.elapsed());
        Ok((daemon, took))
    }

    fn await_ready(&mut self, since: Instant) -> Result<()> {
        self.notify
            .set_read_timeout(Some(Duration::from_millis(50)))?;
        loop {
            if self
                .messages()
                .iter()
                .any(|(_, text)| text.contains("READY=1"))
            {
                self.notify.set_nonblocking(true)?;
                return Ok(());
            }
            if self.process.has_ended() || since.elapsed() > PATIENCE {
                let log = std::fs::read_to_string(&self.log).unwrap_or_default();
                let last: Vec<_> = log.lines().rev().take(3).collect();
                bail!("the daemon does not get ready: {}", last.join("; "));
            }
        }
    }

    /// What it has told systemd since the last look, and when that was read.
    pub(crate) fn messages(&self) -> Vec<(Instant, String)> {
        let mut messages = Vec::new();
        let mut buffer = [0; 1024];
        while let Ok(count) = self.notify.recv(&mut buffer) {
            let text =
                String::from_utf8_lossy(buffer.get(..count).unwrap_or_default()).into_owned();
            let ready = text.contains("READY=1");
            messages.push((Instant::now(), text));
            if ready {
                break;
            }
        }
        messages
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Writes a manifest where the daemon does not look; [`Daemon::put`] moves it.
    ///
    /// # Errors
    /// When the disk is full.
    pub(crate) fn stage(&self, name: &str, pod: &Value) -> Result<()> {
        std::fs::write(self.staging.join(name), pod.to_string())?;
        Ok(())
    }
    /// Moves a staged manifest into the directory.
    ///
    /// # Errors
    /// When it was not staged.
    pub(crate) fn put(&self, name: &str) -> Result<()> {
        let to = self.manifests.join(format!("{name}.json"));
        std::fs::rename(self.staging.join(name), to)?;
        Ok(())
    }
    /// Takes a manifest out of the directory.
    ///
    /// # Errors
    /// When it is not there.
    pub(crate) fn take(&self, name: &str) -> Result<()> {
        std::fs::remove_file(self.manifests.join(format!("{name}.json")))?;
        Ok(())
    }

    /// Kills it with -9 and waits for its end.
    ///
    /// # Errors
    /// When it is gone already.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.signal(Signal::KILL)?;
        self.process.wait()?;
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.pid())?);
        pid.map_or(Ok(()), |pid| kill_process(pid, signal))?;
        Ok(())
    }

    /// Waits until a pod of this name is written down.
    ///
    /// # Errors
    /// When it is not.
    pub(crate) fn find(&self, name: &str) -> Result<Seen> {
        let mut found = None;
        wait_for("the pod is let in", || {
            found = self.seen().into_iter().find(|pod| pod.name == name);
            found.is_some()
        })?;
        found.ok_or_else(|| anyhow::anyhow!("no pod {name}"))
    }

    /// How many pods are written down.
    pub(crate) fn count(&self) -> usize {
        let entries = std::fs::read_dir(self.kubelet.pods());
        entries.into_iter().flatten().count()
    }

    /// The pods that are written down.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        let entries = std::fs::read_dir(self.kubelet.pods());
        let dirs = entries.into_iter().flatten().flatten();
        dirs.filter_map(|entry| Seen::at(entry.path())).collect()
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        // `reset` ends what it leaves.
        let _ = self.signal(Signal::TERM);
        let _ = wait_for("the daemon ends", || self.process.has_ended());
    }
}

impl Seen {
    /// The pod in this directory, if its record is there.
    pub(crate) fn at(dir: PathBuf) -> Option<Self> {
        let record: Value =
            serde_json::from_slice(&std::fs::read(dir.join("pod.json")).ok()?).ok()?;
        let name = record.pointer("/pod/metadata/name")?.as_str()?.to_owned();
        Some(Self { dir, name })
    }

    /// What is written down of its state.
    pub(crate) fn state(&self) -> Option<Value> {
        serde_json::from_slice(&std::fs::read(self.dir.join("state.json")).ok()?).ok()
    }

    /// Whether its phase is this one.
    pub(crate) fn is(&self, phase: &str) -> bool {
        self.state().is_some_and(|state| state["phase"] == phase)
    }

    /// Whether it is over, or gone altogether, and its last cgroup with it.
    pub(crate) fn is_over(&self) -> bool {
        let over = |state: Value| state["phase"] == "Succeeded" || state["phase"] == "Failed";
        self.state().is_none_or(over) && self.cgroup().is_none()
    }

    /// The pod's cgroup, in the memory controller's hierarchy.
    fn cgroup(&self) -> Option<PathBuf> {
        let pod = format!("pod{}", self.dir.file_name()?.to_string_lossy());
        let tops = ["/sys/fs/cgroup/memory", "/sys/fs/cgroup"];
        let classes = ["kubepods/besteffort", "kubepods/burstable", "kubepods"];
        tops.iter()
            .flat_map(|top| {
                classes
                    .iter()
                    .map(move |class| PathBuf::from(top).join(class))
            })
            .map(|class| class.join(&pod))
            .find(|path| path.exists())
    }
}
