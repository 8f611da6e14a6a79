//! The suite `size`: what a pod costs while nothing happens.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::Settings;
use crate::bed::{self, Bed};
use crate::image;
use crate::kubelet::{self, IMAGE, Kubelet};
use crate::podman::Podman;
use crate::report::{Line, Table, Unit};

/// How long nothing may happen.
const IDLE: Duration = Duration::from_secs(10);
/// What a start leaves to do (an agent's last look, timers that run out) is over by then.
const SETTLE: Duration = Duration::from_secs(3);
const PAUSE: &str = "rkube-pause";
const AGENT: &str = "rkubelet agent";

/// The tables of this suite.
///
/// # Errors
/// When no pod can be run, or the user has asked for the end.
pub(crate) fn suite(bed: &Bed, _settings: &Settings) -> Result<Vec<Table>> {
    let dir = bed.subdir("size")?;
    let (rootfs, manifest) = (dir.join("rootfs.tar"), dir.join("pod.json"));
    image::busybox_tar(&rootfs)?;
    kubelet::manifest(&manifest, "size", None)?;
    let mut tables = vec![idle(bed, &rootfs, &manifest)?];
    let mut files = Table::new("Sizes of the programs", &["KiB"]);
    files.lines = ["rkubelet", "rkube-runtime"]
        .map(|name| file(name, &bed.ours(name)))
        .into();
    let pause = Ok(rkube_runtime::supervisor::PAUSE_ELF.len());
    files
        .lines
        .push(sized("rkube-pause (inside rkubelet)", pause));
    for peer in ["crun", "runc", "conmon", "podman"] {
        let path = bed::find(peer).context("not installed");
        files.lines.push(file(peer, &path));
    }
    tables.push(files);
    Ok(tables)
}

fn idle(bed: &Bed, rootfs: &Path, manifest: &Path) -> Result<Table> {
    let mut table = Table::new("An idle pod", &["PSS KiB", "wake-ups in 10 s"])
        .note(
            "A pod of one container that has served nothing yet. PSS from smaps_rollup; wake-ups are voluntary and involuntary context \
             switches of all threads. The agent is one for all pods of the host.",
        );
    let kubelet = Kubelet::new(bed, "size/rkubelet", rootfs)?;
    kubelet.run(&["run", "--detach", "--quiet", &manifest.to_string_lossy()])?;
    let mut watched = vec![(PAUSE.to_owned(), kubelet.supervisor("size")?)];
    watched.extend(kubelet.agent().map(|pid| (AGENT.to_owned(), pid)));
    let podman = conmons(bed, rootfs, manifest);
    match &podman {
        Ok((_, pids)) => watched.extend(pids.iter().map(|pid| ("conmon".to_owned(), *pid))),
        Err(err) => {
            let mut line = Line::new("conmon", "");
            line.failure = Some(format!("{err:#}"));
            table.lines.push(line);
        }
    }
    std::thread::sleep(SETTLE);
    let before: Vec<u64> = watched
        .iter()
        .map(|(_, pid)| wakeups(*pid))
        .collect::<Result<_>>()?;
    std::thread::sleep(IDLE);
    for ((name, pid), before) in watched.iter().zip(before) {
        let count = wakeups(*pid)?.saturating_sub(before);
        let mut line = Line::new(name, "");
        line.samples.push(vec![number(pss(*pid)?), number(count)]);
        table.lines.push(line);
    }
    table.limit(PAUSE, 0, Unit::KiB, 64.0);
    table.limit(PAUSE, 1, Unit::Count, 0.0);
    table.limit(AGENT, 1, Unit::Count, 0.0);
    Ok(table)
}

/// The same pod under podman, and its conmons.
fn conmons(bed: &Bed, rootfs: &Path, manifest: &Path) -> Result<(Podman, Vec<u32>)> {
    let podman = Podman::new(bed, "size/podman")?;
    let mut import = podman.command();
    bed::output(import.args(["import", "--quiet"]).arg(rootfs).arg(IMAGE))?;
    bed::output(
        podman
            .command()
            .args(["kube", "play", "--quiet"])
            .arg(manifest),
    )?;
    let mut inspect = podman.command();
    inspect.args(["ps", "--all", "--quiet"]);
    let mut pids = Vec::new();
    for id in bed::output(&mut inspect)?.lines() {
        let mut inspect = podman.command();
        let pid = bed::output(inspect.args(["inspect", "--format", "{{.State.ConmonPid}}", id]))?;
        pids.push(pid.parse()?);
    }
    Ok((podman, pids))
}

/// All context switches of a process.
///
/// # Errors
/// When it has ended.
pub(crate) fn wakeups(pid: u32) -> Result<u64> {
    let mut sum = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))
        .context("it has ended")?
        .flatten()
    {
        let status = std::fs::read_to_string(task.path().join("status")).unwrap_or_default();
        let counts = status
            .lines()
            .filter(|line| line.contains("voluntary_ctxt_switches"));
        let counts = counts.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        sum += counts.sum::<u64>();
    }
    Ok(sum)
}

/// What a process has of memory, its share of what it shares included, in KiB.
///
/// # Errors
/// When it has ended.
pub(crate) fn pss(pid: u32) -> Result<u64> {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"));
    Ok(line
        .context("no Pss")?
        .trim()
        .trim_end_matches(" kB")
        .parse()?)
}

fn file(name: &str, path: &Result<std::path::PathBuf>) -> Line {
    let size = path
        .as_ref()
        .map_err(|err| format!("{err:#}"))
        .and_then(|path| {
            let metadata = std::fs::metadata(path).map_err(|err| err.to_string())?;
            usize::try_from(metadata.len()).map_err(|err| err.to_string())
        });
    sized(name, size)
}

fn sized(name: &str, size: Result<usize, String>) -> Line {
    let mut line = Line::new(name, "");
    match size {
        Ok(size) => line
            .samples
            .push(vec![number(u64::try_from(size / 1024).unwrap_or(0))]),
        Err(err) => line.failure = Some(err),
    }
    line
}

#[expect(
    clippy::cast_precision_loss,
    reason = "sizes and counts well below 2^52"
)]
pub(crate) fn number(value: u64) -> f64 {
    value as f64
}
