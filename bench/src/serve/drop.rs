//! One pod: a manifest dropped into the directory, its end, its removal. Beside it `podman kube play` for the same pod.

use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};

use super::daemon::Daemon;
use super::stay::{self, Stamp, now};
use crate::Settings;
use crate::bed::{self, Bed};
use crate::contest::{Contestant, Sample, hold};
use crate::kubelet::{IMAGE, Kubelet, wait_for};
use crate::podman::Podman;
use crate::report::{Table, Unit};

const OURS: &str = "rkubelet serve";
const PODMAN: &str = "podman kube play";
const METRICS: [&str; 4] = [
    "to the first instruction, ms",
    "to Running, ms",
    "exit to status, ms",
    "stop, ms",
];

/// The table.
///
/// # Errors
/// When the daemon does not start, or the user has asked for the end.
pub(super) fn table(bed: &Bed, settings: &Settings, rootfs: &Path) -> Result<Table> {
    let table = Table::new("The daemon: one pod", &METRICS).note(
        "A manifest is renamed into the daemon's directory; the pod has one container, an address of its own, the image is present. \
         `first instruction` is read by the program itself. `Running` and the status after the exit (SIGKILL from outside) are in the pod's \
         state file; for podman, when the command returns. `stop`: the manifest is removed, until the last cgroup is gone; \
         `podman kube down`. The program ends at once at SIGTERM.",
    );
    let kubelet = Kubelet::new(bed, "serve/drop", rootfs)?;
    let (daemon, _) = Daemon::start(&kubelet, false)?;
    let out = bed.subdir("serve/out")?;
    let line = "rkubelet serve --config DIR; mv pod.json DIR/".to_owned();
    let rounds = Cell::new(0);
    let ours = Contestant::new(OURS, line, || {
        rounds.update(|round| round + 1);
        one(&daemon, &out, rounds.get())
    });
    let contestants = vec![ours, of_podman(bed, rootfs)];
    let mut table = hold(table, contestants, settings.rounds(20, Duration::ZERO))?;
    table.limit(OURS, 0, Unit::Ms, 30.0);
    table.limit(OURS, 2, Unit::Ms, 20.0);
    table.limit_ratio(OURS, PODMAN, 0, 0.15);
    Ok(table)
}

fn one(daemon: &Daemon<'_>, out: &Path, round: usize) -> Result<Sample> {
    let name = format!("drop-{round}");
    let stamp = Stamp::new(out)?;
    daemon.stage(&name, &stay::manifest(&name, Some(out)))?;
    let since = now();
    daemon.put(&name)?;
    let pod = daemon.find(&name)?;
    wait_for("the pod runs", || pod.is("Running"))?;
    let running = now() - since;
    let mut first = None;
    wait_for("the stamp", || {
        first = stamp.read();
        first.is_some()
    })?;
    let first = first.unwrap_or(f64::NAN) - since;
    let since = now();
    daemon.take(&name)?;
    wait_for("the pod is over", || pod.is_over())?;
    let stop = now() - since;
    let exit = exit(daemon, &format!("exit-{round}"))?;
    Ok(vec![first, running, exit, stop])
}

/// From the kill of a container's process until the state file says so.
fn exit(daemon: &Daemon<'_>, name: &str) -> Result<f64> {
    daemon.stage(name, &stay::manifest(name, None))?;
    daemon.put(name)?;
    let pod = daemon.find(name)?;
    wait_for("the pod runs", || pod.is("Running"))?;
    let supervisor = pod
        .state()
        .and_then(|state| state.get("supervisor")?.as_i64())
        .context("the pod has no supervisor")?;
    let children = format!("/proc/{supervisor}/task/{supervisor}/children");
    let children = std::fs::read_to_string(children)?;
    let first = children.split_whitespace().next().context("no process")?;
    let pid = Pid::from_raw(first.parse()?).context("no process")?;
    let since = now();
    kill_process(pid, Signal::KILL)?;
    wait_for("the exit is seen", || pod.is("Failed"))?;
    let exit = now() - since;
    daemon.take(name)?;
    wait_for("the pod is over", || pod.is_over())?;
    Ok(exit)
}

fn of_podman<'a>(bed: &'a Bed, rootfs: &Path) -> Contestant<'a> {
    let made = podman(bed, "serve/podman", rootfs).and_then(|podman| {
        let dir = bed.subdir("serve/podman-out")?;
        let manifest = bed.dir().join("serve/podman.json");
        std::fs::write(&manifest, stay::manifest("stay", Some(&dir)).to_string())?;
        Ok((podman, dir, manifest))
    });
    let (podman, dir, manifest) = match made {
        Ok(made) => made,
        Err(err) => return Contestant::missing(PODMAN, format!("{err:#}")),
    };
    let (mut up, mut down) = (podman.command(), podman.command());
    up.args(["kube", "play", "--quiet"]).arg(&manifest);
    down.args(["kube", "down"]).arg(&manifest);
    let line = format!("{}\n{}", bed::words(&up), bed::words(&down));
    Contestant::new(PODMAN, line, move || -> Result<Sample> {
        // It goes with the contestant.
        let _ = &podman;
        let stamp = Stamp::new(&dir)?;
        let since = now();
        let running = bed.time(&mut up)?.wall;
        let first = stamp.read().context("the program did not begin")? - since;
        let stop = bed.time(&mut down)?.wall;
        Ok(vec![first, running, f64::NAN, stop])
    })
}

/// podman with the image in its store.
///
/// # Errors
/// When it is not installed or does not work.
pub(super) fn podman(bed: &Bed, dir: &str, rootfs: &Path) -> Result<Podman> {
    let podman = Podman::new(bed, dir)?;
    let mut import = podman.command();
    import.args(["import", "--quiet"]).arg(rootfs).arg(IMAGE);
    bed::output(&mut import).context("podman import")?;
    Ok(podman)
}
