//! Many pods at once, started and stopped; and whether the daemon finds time for its heartbeat meanwhile.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::daemon::{Daemon, Seen};
use super::{drop, idle, stay};
use crate::Settings;
use crate::bed::{Bed, millis};
use crate::kubelet::Kubelet;
use crate::report::{Line, Table, Unit};

const HUNDRED: &str = "rkubelet serve, 100 pods";
const FIVE_HUNDRED: &str = "rkubelet serve, 500 pods";
const PODMAN: &str = "podman kube play, 100 pods";
const METRICS: [&str; 4] = [
    "all Running, ms",
    "all stopped, ms",
    "CPU of the daemon for both, ms",
    "longest time without a heartbeat, ms",
];
/// How long it may take at all.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks at the pods that are not there yet.
const LOOK: Duration = Duration::from_millis(10);

/// The table.
///
/// # Errors
/// When the daemon does not start, or the user has asked for the end.
pub(super) fn table(bed: &Bed, settings: &Settings, rootfs: &Path) -> Result<Table> {
    let mut table = Table::new("The daemon: many pods at once", &METRICS).note(
        "From the first of the manifests that are renamed into the directory, one after the other, until each pod's state file says Running; \
         from the first removal until each pod's state says that it is over and its cgroup is gone. podman: until the command returns. The heartbeat is \
         that of systemd's watchdog, which is set to 2 s.",
    );
    for (name, count, runs) in [(HUNDRED, 100, 5), (FIVE_HUNDRED, 500, 1)] {
        let mut line = Line::new(name, "");
        for run in 0..settings.runs.unwrap_or(runs).min(runs) {
            if crate::sys::asked_to_stop() {
                bail!("interrupted");
            }
            match ours(bed, rootfs, count, run) {
                Ok(sample) => line.samples.push(sample),
                Err(err) => line.failure = Some(format!("{err:#}")),
            }
        }
        table.lines.push(line);
    }
    let mut line = Line::new(PODMAN, "");
    match podman(bed, rootfs, 100) {
        Ok(sample) => line.samples.push(sample),
        Err(err) => line.failure = Some(format!("{err:#}")),
    }
    table.lines.push(line);
    table.limit(HUNDRED, 0, Unit::Ms, 2000.0);
    table.limit(HUNDRED, 1, Unit::Ms, 2000.0);
    table.limit(FIVE_HUNDRED, 0, Unit::Ms, 15_000.0);
    table.limit(FIVE_HUNDRED, 3, Unit::Ms, millis(super::daemon::WATCHDOG));
    table.limit_ratio(HUNDRED, PODMAN, 0, 0.15);
    Ok(table)
}

fn ours(bed: &Bed, rootfs: &Path, count: usize, run: usize) -> Result<Vec<f64>> {
    let kubelet = Kubelet::new(bed, &format!("serve/many-{count}-{run}"), rootfs)?;
    let (daemon, _) = Daemon::start(&kubelet, true)?;
    settle();
    let before = idle::cpu(daemon.pid())?;
    let mut heart = Heart::new();
    let (pods, started) = start_watched(&daemon, "many", count, &mut heart)?;
    settle();
    heart.skip(&daemon);
    let stopped = stop_watched(&daemon, "many", &pods, &mut heart)?;
    let spent = idle::cpu(daemon.pid())?.saturating_sub(before);
    Ok(vec![started, stopped, millis(spent), millis(heart.longest)])
}

/// What follows an event is over after that.
pub(super) fn settle() {
    std::thread::sleep(Duration::from_secs(3));
}

/// Starts so many pods; them, and how long it took until all were Running, in milliseconds.
///
/// # Errors
/// When one does not run.
pub(super) fn start(daemon: &Daemon<'_>, name: &str, count: usize) -> Result<(Vec<Seen>, f64)> {
    start_watched(daemon, name, count, &mut Heart::new())
}

fn start_watched(
    daemon: &Daemon<'_>,
    name: &str,
    count: usize,
    heart: &mut Heart,
) -> Result<(Vec<Seen>, f64)> {
    let names: Vec<_> = (0..count)
        .map(|number| format!("{name}-{number}"))
        .collect();
    for name in &names {
        daemon.stage(name, &stay::manifest(name, None))?;
    }
    heart.skip(daemon);
    let since = Instant::now();
    for name in &names {
        daemon.put(name)?;
    }
    let mut known = Vec::new();
    let mut running = 0;
    let before = daemon.seen().len();
    while running < count {
        heart.beat(daemon);
        // Looking at each of them again and again would be work that the daemon has to wait for.
        if known.len() < count && daemon.count() >= before + count {
            let prefix = format!("{name}-");
            known = daemon.seen();
            known.retain(|pod| pod.name.starts_with(&prefix));
            running = 0;
        }
        // Those at the front run.
        while known.get(running).is_some_and(|pod| pod.is("Running")) {
            running += 1;
        }
        wait(since, || {
            format!(
                "{running} of {count} pods run, and {}",
                next(&known, running)
            )
        })?;
    }
    Ok((known, millis(since.elapsed())))
}

/// Stops them; how long it took until the last was gone, in milliseconds.
///
/// # Errors
/// When one stays.
pub(super) fn stop(daemon: &Daemon<'_>, name: &str, pods: &[Seen]) -> Result<f64> {
    stop_watched(daemon, name, pods, &mut Heart::new())
}

fn stop_watched(daemon: &Daemon<'_>, name: &str, pods: &[Seen], heart: &mut Heart) -> Result<f64> {
    let since = Instant::now();
    for number in 0..pods.len() {
        daemon.take(&format!("{name}-{number}"))?;
    }
    let mut gone = 0;
    while gone < pods.len() {
        heart.beat(daemon);
        while pods.get(gone).is_some_and(Seen::is_over) {
            gone += 1;
        }
        wait(since, || {
            format!(
                "{gone} of {} pods are over, and {}",
                pods.len(),
                next(pods, gone)
            )
        })?;
    }
    Ok(millis(since.elapsed()))
}

/// What is known of the one that is waited for.
fn next(pods: &[Seen], number: usize) -> String {
    let Some(pod) = pods.get(number) else {
        return "others are not let in".to_owned();
    };
    let state = pod.state().unwrap_or_default();
    format!(
        "{} is {} {} {}",
        pod.name, state["phase"], state["reason"], state["message"]
    )
}

fn wait(since: Instant, what: impl Fn() -> String) -> Result<()> {
    if since.elapsed() > PATIENCE {
        bail!("only {} after {PATIENCE:?}", what());
    }
    if crate::sys::asked_to_stop() {
        bail!("interrupted");
    }
    std::thread::sleep(LOOK);
    Ok(())
}

/// The longest time between two heartbeats.
struct Heart {
    last: Instant,
    longest: Duration,
}

impl Heart {
    fn new() -> Self {
        Self {
            last: Instant::now(),
            longest: Duration::ZERO,
        }
    }
    /// What came while nobody looked says nothing.
    fn skip(&mut self, daemon: &Daemon<'_>) {
        let _ = daemon.messages();
        self.last = Instant::now();
    }
    fn beat(&mut self, daemon: &Daemon<'_>) {
        let messages = daemon.messages();
        if let Some((at, _)) = messages
            .iter()
            .rev()
            .find(|(_, text)| text.contains("WATCHDOG=1"))
        {
            self.last = *at;
        }
        self.longest = self.longest.max(self.last.elapsed());
    }
}

fn podman(bed: &Bed, rootfs: &Path, count: usize) -> Result<Vec<f64>> {
    let podman = drop::podman(bed, "serve/pm", rootfs)?;
    let manifests: Vec<_> = (0..count)
        .map(|number| stay::manifest(&format!("many-{number}"), None).to_string())
        .collect();
    let file = bed.dir().join("serve/many.yaml");
    std::fs::write(&file, manifests.join("\n---\n"))?;
    let up = bed.time(
        podman
            .command()
            .args(["kube", "play", "--quiet"])
            .arg(&file),
    )?;
    let down = bed.time(podman.command().args(["kube", "down"]).arg(&file))?;
    Ok(vec![up.wall, down.wall, f64::NAN, f64::NAN])
}
