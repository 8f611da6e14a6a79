//! A thousand watchers of one resource, a thousand writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use http_body_util::BodyExt as _;
use hyper::body::Bytes;
use serde_json::json;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::server::Server;
use crate::Settings;
use crate::bed::{Bed, millis};
use crate::report::{Line, Table, Unit};
use crate::size::number;

const WATCHERS: usize = 1_000;
const WRITES: usize = 1_000;
const WRITERS: usize = 16;
const PATH: &str = "/api/v1/namespaces/default/configmaps";
const NAME: &str = "1,000 watchers, 1,000 creates";
const METRICS: [&str; 4] = [
    "writes took, ms",
    "last event after, ms",
    "events a second",
    "server's CPU, s",
];

/// The table.
///
/// # Errors
/// When a watcher does not get all events.
pub(super) async fn table(bed: &Bed, settings: &Settings) -> Result<Table> {
    let mut table = Table::new("The master: watchers", &METRICS).note(
        "Each watcher has a TLS connection of its own; 16 clients write ConfigMaps of 2 KiB. The watchers run on the same two \
         cores, and opening a million events' TLS records is their work. kube-apiserver 1.36: 100 watchers and 1,000 creates \
         took 4.6-5.1 s, about 20,000 events a second.",
    );
    let dir = bed.subdir("master/watchers")?;
    let (server, _) = Server::start(bed, &dir)?;
    let mut line = Line::new(NAME, "");
    for round in 0..settings.runs.unwrap_or(3).max(1) {
        line.samples.push(round_of(&server, round).await?);
    }
    server.stop()?;
    table.lines.push(line);
    table.limit(NAME, 1, Unit::Ms, 1000.0);
    bed.retire(&dir)?;
    Ok(table)
}

async fn round_of(server: &Server, round: usize) -> Result<Vec<f64>> {
    let identity = server.identity()?;
    let mut client = server.client(&identity).await?;
    let list = client.json(&format!("{PATH}?limit=1")).await?;
    let from = list["metadata"]["resourceVersion"]
        .as_str()
        .context("a revision")?
        .to_owned();
    let (left, done) = (
        Arc::new(AtomicUsize::new(WATCHERS)),
        Arc::new(Notify::new()),
    );
    let mut watchers = Vec::new();
    for _ in 0..WATCHERS {
        let mut client = server.client(&identity).await?;
        let path = format!("{PATH}?watch=1&resourceVersion={from}&timeoutSeconds=600");
        let response = client.send("GET", &path, Bytes::new()).await?;
        let (left, done) = (left.clone(), done.clone());
        watchers.push(tokio::spawn(async move {
            let mut body = response.into_body();
            let mut lines = 0;
            while lines < WRITES {
                let Some(Ok(frame)) = body.frame().await else {
                    return;
                };
                if let Ok(data) = frame.into_data() {
                    lines += data.iter().filter(|byte| **byte == b'\n').count();
                }
            }
            drop(client);
            if left.fetch_sub(1, Ordering::AcqRel) == 1 {
                done.notify_one();
            }
        }));
    }
    let cpu = server.cpu()?;
    let since = Instant::now();
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let identity = identity.clone();
            let connecting = server.address();
            tokio::spawn(async move {
                let mut client = super::client::Client::connect(connecting, &identity).await?;
                for n in (writer..WRITES).step_by(WRITERS) {
                    let object = json!({"metadata": {"name": format!("w-{round}-{n}")},
                        "data": {"padding": "x".repeat(2048)}});
                    client
                        .ask("POST", PATH, Bytes::from(object.to_string()))
                        .await?;
                }
                anyhow::Ok(())
            })
        })
        .collect();
    for writer in writers {
        writer.await??;
    }
    let written = since.elapsed();
    timeout(Duration::from_secs(60), done.notified())
        .await
        .with_context(|| format!("{} watchers lack events", left.load(Ordering::Acquire)))?;
    let all = since.elapsed();
    for watcher in watchers {
        watcher.await?;
    }
    Ok(vec![
        millis(written),
        millis(all - written),
        number((WATCHERS * WRITES) as u64) / all.as_secs_f64(),
        server.cpu()? - cpu,
    ])
}
