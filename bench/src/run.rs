//! The suite `run`: a pod of one container with network and a port of the host, from a manifest and back to nothing.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::Settings;
use crate::bed::{self, Bed, millis};
use crate::contest::{Contestant, Sample, hold};
use crate::image;
use crate::kubelet::{self, IMAGE, Kubelet, PORT};
use crate::podman::Podman;
use crate::process::Process;
use crate::report::{Table, Unit};

const WARM: &str = "rkubelet run --detach, agent there";
const COLD: &str = "rkubelet run --detach, no agent yet";
const PODMAN: &str = "podman kube play";
const METRICS: [&str; 4] = [
    "until it returns, ms",
    "until the port answers, ms",
    "stop, ms",
    "of which after the processes' end",
];

/// The tables of this suite.
///
/// # Errors
/// When the image cannot be made, or the user has asked for the end.
pub(crate) fn suite(bed: &Bed, settings: &Settings) -> Result<Vec<Table>> {
    let dir = bed.subdir("play")?;
    let (rootfs, web, keeper) = (
        dir.join("rootfs.tar"),
        dir.join("web.json"),
        dir.join("keeper.json"),
    );
    image::busybox_tar(&rootfs)?;
    kubelet::manifest(&web, "web", Some(PORT))?;
    kubelet::manifest(&keeper, "keeper", None)?;
    let table = Table::new("A pod from a manifest", &METRICS)
        .note(
            "One container (busybox httpd), bridge network, one hostPort, the image present. `stop` is `rkubelet stop` and `podman kube \
             down`; the container ends at once at SIGTERM. `after the processes' end` is from the end of the container's first process \
             until the command returns. `agent there`: another detached pod runs, so the background process is up.",
        );
    let ours = Kubelet::new(bed, "play/rkubelet", &rootfs);
    let mut contestants = Vec::new();
    match &ours {
        Ok(kubelet) => {
            contestants.push(of_ours(bed, kubelet, WARM, &web, Some(keeper)));
            contestants.push(of_ours(bed, kubelet, COLD, &web, None));
        }
        Err(err) => {
            contestants.push(Contestant::missing(WARM, format!("{err:#}")));
            contestants.push(Contestant::missing(COLD, format!("{err:#}")));
        }
    }
    contestants.push(of_podman(bed, &rootfs, &web));
    let mut table = hold(table, contestants, settings.rounds(20, Duration::ZERO))?;
    for ours in [WARM, COLD] {
        table.limit_ratio(ours, PODMAN, 0, 0.15);
        table.limit_ratio(ours, PODMAN, 1, 0.15);
        table.limit(ours, 3, Unit::Ms, 50.0);
    }
    Ok(vec![table])
}

fn of_ours<'a>(
    bed: &'a Bed,
    kubelet: &'a Kubelet,
    name: &str,
    web: &Path,
    keeper: Option<PathBuf>,
) -> Contestant<'a> {
    let mut up = kubelet.command();
    up.args(["run", "--detach", "--quiet"]).arg(web);
    let mut down = kubelet.command();
    down.args(["stop", "--quiet", "web"]);
    let line = format!("{}\n{}", bed::words(&up), bed::words(&down));
    Contestant::new(name, line, move || {
        if let Some(keeper) = &keeper {
            kubelet.run(&["run", "--detach", "--quiet", &keeper.to_string_lossy()])?;
        } else {
            kubelet.await_no_agent()?;
        }
        let (returned, answered) = start(bed, &mut up)?;
        let first = child_of(kubelet.supervisor("web")?)?;
        let (stopped, after) = stop(&mut down, &first)?;
        for pod in ["web", "keeper"]
            .iter()
            .take(1 + usize::from(keeper.is_some()))
        {
            kubelet.run(&["rm", "--force", pod])?;
        }
        Ok(vec![returned, answered, stopped, after])
    })
}

fn of_podman<'a>(bed: &'a Bed, rootfs: &Path, web: &Path) -> Contestant<'a> {
    let made = Podman::new(bed, "play/podman").and_then(|podman| {
        let mut import = podman.command();
        import.args(["import", "--quiet"]).arg(rootfs).arg(IMAGE);
        bed::output(&mut import).context("podman import")?;
        Ok(podman)
    });
    let podman = match made {
        Ok(podman) => podman,
        Err(err) => return Contestant::missing(PODMAN, format!("{err:#}")),
    };
    let (mut up, mut down) = (podman.command(), podman.command());
    up.args(["kube", "play", "--quiet"]).arg(web);
    down.args(["kube", "down"]).arg(web);
    let line = format!("{}\n{}", bed::words(&up), bed::words(&down));
    Contestant::new(PODMAN, line, move || -> Result<Sample> {
        let (returned, answered) = start(bed, &mut up)?;
        let mut inspect = podman.command();
        inspect.args(["inspect", "--format", "{{.State.Pid}}", "web-web"]);
        let pid = bed::output(&mut inspect)?
            .parse()
            .context("podman inspect")?;
        let (stopped, after) = stop(&mut down, &open(pid)?)?;
        Ok(vec![returned, answered, stopped, after])
    })
}

/// When the command has returned, and when the port answers, in milliseconds after its start.
fn start(bed: &Bed, command: &mut Command) -> Result<(f64, f64)> {
    let since = Instant::now();
    let returned = bed.time(command)?.wall;
    kubelet::wait_for("the port answers", kubelet::answers)?;
    Ok((returned, millis(since.elapsed())))
}

/// How long the command took, and how long after the end of a process it returned.
fn stop(command: &mut Command, process: &OwnedFd) -> Result<(f64, f64)> {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let since = Instant::now();
    let mut stopping = Process::start(command)?;
    let timeout = rustix::time::Timespec {
        tv_sec: 20,
        tv_nsec: 0,
    };
    let mut polled = [PollFd::new(process, PollFlags::IN)];
    if poll(&mut polled, Some(&timeout)).context("wait for the container")? == 0 {
        bail!("the container does not end");
    }
    let ended = since.elapsed();
    if !stopping.wait()? {
        bail!("{} failed", bed::words(command));
    }
    let done = since.elapsed();
    Ok((millis(done), millis(done - ended)))
}

fn open(pid: u32) -> Result<OwnedFd> {
    let pid = Pid::from_raw(i32::try_from(pid)?).context("no process")?;
    Ok(pidfd_open(pid, PidfdFlags::empty())?)
}

/// The first process that a supervisor has started.
fn child_of(pid: u32) -> Result<OwnedFd> {
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
    let child = children
        .split_whitespace()
        .next()
        .context("the pod has no process")?;
    open(child.parse()?)
}
