//! What the daemon costs while nothing happens, and how soon another one has taken over.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};

use super::daemon::{Daemon, Seen};
use super::many::{settle, start, stop};
use crate::bed::{Bed, millis};
use crate::kubelet::{Kubelet, wait_for};
use crate::report::{Line, Table, Unit};
use crate::size::{number, pss, wakeups};

/// How long nothing may happen.
const IDLE: Duration = Duration::from_secs(30);
/// So many pods.
const PODS: usize = 100;
/// And so many before them.
const FIRST: usize = 10;
/// Threads that did what might have had to wait for a disk have ended by then.
const THREADS_END: Duration = Duration::from_secs(12);
const NONE: &str = "0 pods";
const FULL: &str = "110 idle pods";
const METRICS: [&str; 6] = [
    "RSS MiB",
    "PSS MiB",
    "growth per pod, KiB",
    "wake-ups a second",
    "% of a core",
    "taken over in, ms",
];

/// The table.
///
/// # Errors
/// When the daemon does not start.
pub(super) fn table(bed: &Bed, rootfs: &Path) -> Result<Table> {
    let mut table = Table::new("The daemon: idle", &METRICS).note(
        "Over 30 s in which nothing happens; nothing asks for a heartbeat. Wake-ups are the context switches of all threads. RSS counts the program's own pages, which lie in the page cache. `taken \
         over`: from the start of a new daemon after kill -9 to its READY=1; an exit that fell between the two daemons is in the \
         pod's state by then or at once after (else this fails). Growth: what 100 pods more take than the first 10 did.",
    );
    let kubelet = Kubelet::new(bed, "serve/idle", rootfs)?;
    let (daemon, ready) = Daemon::start(&kubelet, false)?;
    settle();
    let none = cost(&daemon)?;
    push(&mut table, NONE, &none, f64::NAN, ready);
    // The first ones bring in the parts of the program that were not used before.
    let (first, _) = start(&daemon, "first", FIRST)?;
    std::thread::sleep(THREADS_END);
    let before = number(rss(daemon.pid())?);
    let (pods, _) = start(&daemon, "idle", PODS)?;
    std::thread::sleep(THREADS_END);
    let full = cost(&daemon)?;
    let growth = (full.rss - before) / number(PODS as u64);
    let victim = pods.first().context("there are pods")?;
    daemon.kill()?;
    let (daemon, ready) = taken_over(&kubelet, victim)?;
    push(&mut table, FULL, &full, growth, ready);
    stop(&daemon, "idle", &pods)?;
    stop(&daemon, "first", &first)?;
    table.limit(NONE, 0, Unit::MiB, 20.0);
    table.limit(NONE, 3, Unit::Ratio, 1.0);
    table.limit(FULL, 2, Unit::KiB, 100.0);
    table.limit(FULL, 4, Unit::Percent, 0.2);
    table.limit(FULL, 5, Unit::Ms, 1000.0);
    Ok(table)
}

/// What a daemon costs.
struct Cost {
    /// In KiB.
    rss: f64,
    /// In KiB.
    pss: f64,
    /// A second.
    wakeups: f64,
    /// In percent of a core.
    cpu: f64,
}

fn push(table: &mut Table, name: &str, cost: &Cost, growth: f64, ready: f64) {
    let mut line = Line::new(name, "");
    let mib = |kib: f64| kib / 1024.0;
    line.samples = vec![vec![
        mib(cost.rss),
        mib(cost.pss),
        growth,
        cost.wakeups,
        cost.cpu,
        ready,
    ]];
    table.lines.push(line);
}

fn cost(daemon: &Daemon<'_>) -> Result<Cost> {
    let pid = daemon.pid();
    let (woken, ran, since) = (wakeups(pid)?, cpu(pid)?, Instant::now());
    std::thread::sleep(IDLE);
    let seconds = since.elapsed().as_secs_f64();
    let woken = number(wakeups(pid)?.saturating_sub(woken));
    let ran = millis(cpu(pid)?.saturating_sub(ran));
    Ok(Cost {
        rss: number(rss(pid)?),
        pss: number(pss(pid)?),
        wakeups: woken / seconds,
        cpu: ran / 1e3 / seconds * 100.0,
    })
}

/// The time that all threads of a process have run.
///
/// # Errors
/// When it has ended.
pub(super) fn cpu(pid: u32) -> Result<Duration> {
    let mut nanos = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))
        .context("it has ended")?
        .flatten()
    {
        let times = std::fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
        nanos += times
            .split(' ')
            .next()
            .and_then(|ran| ran.parse::<u64>().ok())
            .unwrap_or(0);
    }
    Ok(Duration::from_nanos(nanos))
}

fn rss(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let line = line.context("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// A new daemon, and how long it took to get ready; a container of `victim` has ended before it came.
fn taken_over<'a>(kubelet: &'a Kubelet, victim: &Seen) -> Result<(Daemon<'a>, f64)> {
    let supervisor = victim
        .state()
        .and_then(|state| state.get("supervisor")?.as_i64())
        .context("the pod has no supervisor")?;
    let children = format!("/proc/{supervisor}/task/{supervisor}/children");
    let children = std::fs::read_to_string(children)?;
    let first = children.split_whitespace().next().context("no process")?;
    let pid = Pid::from_raw(first.parse()?).context("no process")?;
    kill_process(pid, Signal::KILL)?;
    let (daemon, ready) = Daemon::start(kubelet, false)?;
    wait_for("an exit between two daemons is seen", || {
        victim.is("Failed")
    })?;
    Ok((daemon, ready))
}
