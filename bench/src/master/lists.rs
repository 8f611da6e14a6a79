//! Long lists: how fast one is sent, and what many readers at once cost.

use std::time::Instant;

use anyhow::{Context as _, Result};
use hyper::body::Bytes;

use super::held::fill;
use super::server::Server;
use crate::Settings;
use crate::bed::Bed;
use crate::report::{Line, Table, Unit};
use crate::size::number;

/// So many pods of 4 KB.
const PODS: usize = 5_000;
/// So many readers at once.
const READERS: usize = 32;
const PATH: &str = "/api/v1/pods";
const ONE: &str = "one reader";
const MANY: &str = "32 readers, the slow ones' answers half read";
const METRICS: [&str; 4] = [
    "MB of body",
    "MB per second of the server's CPU",
    "MB/s",
    "RSS growth, MiB",
];

/// The table.
///
/// # Errors
/// When a list fails.
pub(super) async fn table(bed: &Bed, settings: &Settings) -> Result<Table> {
    let mut table = Table::new("The master: lists of 5,000 pods", &METRICS).note(
        "Pods of 4 KB, all namespaces, over TLS (whose sealing is in the server's CPU time), no gzip. kube-apiserver 1.36 on a \
         machine of this kind: 39 MB/s.",
    );
    let dir = bed.subdir("master/lists")?;
    fill(&dir.join("data/store"), PODS, 4096).await?;
    let (server, _) = Server::start(bed, &dir)?;
    let identity = server.identity()?;
    let mut client = server.client(&identity).await?;
    client.ask("GET", PATH, Bytes::new()).await?;
    let before = server.rss()?;
    let mut line = Line::new(ONE, "");
    for _ in 0..settings.runs.unwrap_or(5).max(1) {
        let (cpu, since) = (server.cpu()?, Instant::now());
        // Hundredths of a second are coarse: several lists make one sample.
        let mut bytes = 0;
        for _ in 0..10 {
            bytes += client.ask("GET", PATH, Bytes::new()).await?;
        }
        let megabytes = number(bytes as u64) / 1e6;
        line.samples.push(vec![
            megabytes / 10.0,
            megabytes / (server.cpu()? - cpu).max(0.01),
            megabytes / since.elapsed().as_secs_f64(),
            (server.rss()? - before) / 1024.0,
        ]);
    }
    table.lines.push(line);
    let mut halted = Vec::new();
    let before = server.rss()?;
    for _ in 0..READERS {
        let mut client = server.client(&identity).await?;
        let response = client.send("GET", PATH, Bytes::new()).await?;
        // Held, not read: what the server has ready for it stays in the server.
        halted.push((client, response));
    }
    let mut line = Line::new(MANY, "");
    let growth = (server.rss()? - before) / 1024.0;
    line.samples
        .push(vec![f64::NAN, f64::NAN, f64::NAN, growth]);
    table.lines.push(line);
    drop(halted);
    let total = client.json("/api/v1/pods?limit=1").await?;
    total["metadata"]["remainingItemCount"]
        .as_u64()
        .filter(|rest| *rest + 1 == PODS as u64)
        .context("all pods are there")?;
    server.stop()?;
    table.at_least(ONE, 1, Unit::Count, 500.0);
    // What 32 copies of it would be.
    table.limit(MANY, 3, Unit::MiB, 32.0);
    bed.retire(&dir)?;
    Ok(table)
}
