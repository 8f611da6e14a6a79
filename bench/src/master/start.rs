//! How soon a master serves, and what it costs while nothing happens.

use std::time::Duration;

use anyhow::Result;

use super::server::Server;
use crate::Settings;
use crate::bed::Bed;
use crate::report::{Line, Table, Unit};
use crate::size::{number, wakeups};

/// How long nothing may happen.
const IDLE: Duration = Duration::from_secs(20);
/// What begins with the server has ended by then: tokio keeps a spare blocking thread for 10 s.
const SETTLE: Duration = Duration::from_secs(12);
const EMPTY: &str = "empty store";
const AGAIN: &str = "second start";
const METRICS: [&str; 5] = [
    "ready, ms",
    "RSS MiB",
    "KiB written while idle",
    "wake-ups a second",
    "% of a core",
];

/// The table.
///
/// # Errors
/// When the master does not start.
pub(super) fn table(bed: &Bed, settings: &Settings) -> Result<Table> {
    let mut table = Table::new("The master: start, and idle", &METRICS).note(
        "Ready: from exec until /readyz answers over TLS; the first start makes the authority, certificates, namespaces and \
         services. Idle: 20 s in which nothing asks, 12 s after the start (its spare threads end after 10). kube-apiserver 1.36 with etcd on a machine of this \
         kind: 2.1-2.7 s, 310 MiB.",
    );
    let runs = settings.runs.unwrap_or(5).max(1);
    let dir = bed.subdir("master/start")?;
    let mut empty = Line::new(EMPTY, "rkube-master serve");
    for run in 0..runs {
        let (server, ready) = Server::start(bed, &dir.join(run.to_string()))?;
        // What is idle is looked at once.
        let idle = if run == 0 {
            idle(&server)?
        } else {
            [f64::NAN; 4]
        };
        empty.samples.push([&[ready][..], &idle].concat());
        server.stop()?;
    }
    let mut again = Line::new(AGAIN, "rkube-master serve");
    for _ in 0..runs {
        let (server, ready) = Server::start(bed, &dir.join("0"))?;
        again.samples.push([&[ready][..], &[f64::NAN; 4]].concat());
        server.stop()?;
    }
    table.lines.extend([empty, again]);
    table.limit(EMPTY, 0, Unit::Ms, 300.0);
    table.limit(AGAIN, 0, Unit::Ms, 300.0);
    table.limit(EMPTY, 1, Unit::MiB, 40.0);
    table.limit(EMPTY, 2, Unit::KiB, 0.0);
    bed.retire(&dir)?;
    Ok(table)
}

fn idle(server: &Server) -> Result<[f64; 4]> {
    std::thread::sleep(SETTLE);
    let (written, woken, cpu) = (server.written()?, wakeups(server.pid())?, server.cpu()?);
    std::thread::sleep(IDLE);
    let seconds = IDLE.as_secs_f64();
    Ok([
        server.rss()? / 1024.0,
        number(server.written()? - written) / 1024.0,
        // A thread that has ended since takes what it had counted with it.
        number(wakeups(server.pid())?.saturating_sub(woken)) / seconds,
        (server.cpu()? - cpu) / seconds * 100.0,
    ])
}
