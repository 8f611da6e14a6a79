//! An `rkube-master` on loopback, and what the kernel says of it.

use std::fs::File;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use super::client::{Client, Identity};
use crate::bed::{Bed, millis};
use crate::process::Process;
use crate::size::number;

/// How long it may take to get ready.
const PATIENCE: Duration = Duration::from_secs(60);

/// A master that runs. It is ended when the value goes.
#[derive(Debug)]
pub(crate) struct Server {
    process: Process,
    address: SocketAddr,
    data: PathBuf,
    log: PathBuf,
}

impl Server {
    /// Starts one on the data in `dir`, made if it is not there; it was ready after so many milliseconds.
    ///
    /// # Errors
    /// With the end of its log when it ends instead.
    pub(crate) fn start(bed: &Bed, dir: &Path) -> Result<(Self, f64)> {
        std::fs::create_dir_all(dir)?;
        let address = free()?;
        let (data, log) = (dir.join("data"), dir.join("master.log"));
        let mut command = Command::new(bed.ours("rkube-master")?);
        command
            .arg("serve")
            .arg("--data-dir")
            .arg(&data)
            .arg("--bind-address=127.0.0.1")
            .arg(format!("--secure-port={}", address.port()))
            // All clients of a bench come from one address and are one user.
            .arg("--max-requests-inflight=4000")
            .arg("--max-mutating-requests-inflight=4000")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::options().create(true).append(true).open(&log)?);
        let since = Instant::now();
        let process = Process::start(&mut command)?;
        let mut server = Server {
            process,
            address,
            data,
            log,
        };
        server.await_ready(since)?;
        Ok((server, millis(since.elapsed())))
    }

    fn await_ready(&mut self, since: Instant) -> Result<()> {
        loop {
            if super::client::is_ready(self.address) {
                return Ok(());
            }
            if self.process.has_ended() || since.elapsed() > PATIENCE {
                let log = std::fs::read_to_string(&self.log).unwrap_or_default();
                let end: Vec<&str> = log.lines().rev().take(10).collect();
                bail!("rkube-master does not get ready: {}", end.join(" / "));
            }
            // Nothing tells; the answer is off by at most this.
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Who is served everything.
    ///
    /// # Errors
    /// When its certificates are not there.
    pub(crate) fn identity(&self) -> Result<Identity> {
        Identity::read(&self.data.join("pki"))
    }

    /// A new connection.
    ///
    /// # Errors
    /// When there is none to be had.
    pub(crate) async fn client(&self, identity: &Identity) -> Result<Client> {
        Client::connect(self.address, identity).await
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Resident memory in KiB.
    ///
    /// # Errors
    /// When the process is gone.
    pub(crate) fn rss(&self) -> Result<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next());
        Ok(number(kib.context("VmRSS")?.parse()?))
    }

    /// Seconds of processor time so far.
    ///
    /// # Errors
    /// When the process is gone.
    pub(crate) fn cpu(&self) -> Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid()))?;
        let (_, rest) = stat.rsplit_once(')').context("the name's end")?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        // Fields 14 and 15 of proc_pid_stat(5), in hundredths of a second.
        let ticks = |at: usize| -> Result<u64> { Ok(fields.get(at).context("a field")?.parse()?) };
        Ok(number(ticks(11)? + ticks(12)?) / 100.0)
    }

    /// Bytes it has caused to be written to disk so far.
    ///
    /// # Errors
    /// When the process is gone.
    pub(crate) fn written(&self) -> Result<u64> {
        let io = std::fs::read_to_string(format!("/proc/{}/io", self.pid()))?;
        let line = io
            .lines()
            .find_map(|line| line.strip_prefix("write_bytes: "));
        Ok(line.context("write_bytes")?.parse()?)
    }

    /// Ends it and waits.
    ///
    /// # Errors
    /// When it does not end.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.signal();
        let since = Instant::now();
        while !self.process.has_ended() {
            if since.elapsed() > PATIENCE {
                bail!("rkube-master does not end");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn signal(&self) {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw);
        let _ = pid.map(|pid| kill_process(pid, Signal::TERM));
    }
}

/// A port that nobody has.
fn free() -> Result<SocketAddr> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?)
}
