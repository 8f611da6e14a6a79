//! Single objects written and read by many clients at once, against the store's own rate.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use hyper::body::Bytes;
use rkube_master::store::{Change, Guard, Op, Store, embedded};
use serde_json::json;

use super::server::Server;
use crate::bed::{Bed, millis};
use crate::report::{Line, Table, Unit};
use crate::size::number;
use crate::stats::percentile;

/// So many at once.
const CLIENTS: usize = 64;
/// How long each contest takes.
const TIME: Duration = Duration::from_secs(5);
/// What an object is padded with, in bytes.
const PADDING: usize = 2048;
const RAW: &str = "store alone, 64 writers";
const API: &str = "API, 64 clients, create";
const READ: &str = "API, 64 clients, get";
const FSYNC: &str = "append and fdatasync";
const METRICS: [&str; 4] = ["a second", "p50 ms", "p99 ms", "of the store's rate"];

/// The table.
///
/// # Errors
/// When a write is refused.
pub(super) async fn table(bed: &Bed) -> Result<Table> {
    let mut table = Table::new("The master: single objects", &METRICS).note(
        "ConfigMaps of 2 KiB, each client with one TLS connection and one request at a time, on the two cores that the server \
         has as well. `store alone`: the same objects committed in the bench's own process, without HTTP, TLS or JSON. \
         kube-apiserver 1.36 on a machine of this kind: 843 creates a second with 64 clients, p50 65 ms.",
    );
    let dir = bed.subdir("master/writes")?;
    let fsync = fsync(&dir)?;
    // The store before and after, the API between: the machine's drift is shared.
    let first = raw(&dir.join("raw1")).await?;
    let (server, _) = Server::start(bed, &dir.join("api"))?;
    let created = clients(&server, CLIENTS, |client, n| Request {
        method: "POST",
        path: "/api/v1/namespaces/default/configmaps".to_owned(),
        body: object(&format!("c-{client}-{n}")),
    })
    .await?;
    let read = clients(&server, CLIENTS, |client, _| Request {
        method: "GET",
        path: format!("/api/v1/namespaces/default/configmaps/c-{client}-0"),
        body: Bytes::new(),
    })
    .await?;
    server.stop()?;
    let second = raw(&dir.join("raw2")).await?;
    let raw_rate = f64::midpoint(first.rate, second.rate);
    let mut line = Line::new(RAW, "");
    for taken in [&first, &second] {
        line.samples.push(taken.sample(raw_rate));
    }
    table.lines.push(line);
    for (name, taken) in [(API, &created), (READ, &read), (FSYNC, &fsync)] {
        let mut line = Line::new(name, "");
        line.samples.push(taken.sample(raw_rate));
        table.lines.push(line);
    }
    table.at_least(API, 3, Unit::Ratio, 0.7);
    table.limit(API, 2, Unit::Ms, fsync.percentile(0.5) + 20.0);
    table.limit(READ, 2, Unit::Ms, 5.0);
    bed.retire(&dir)?;
    Ok(table)
}

/// What came of a contest.
struct Taken {
    rate: f64,
    times: Vec<f64>,
}

impl Taken {
    fn of(times: Vec<f64>, wall: Duration) -> Self {
        let rate = number(times.len() as u64) / wall.as_secs_f64();
        Taken { rate, times }
    }
    fn percentile(&self, share: f64) -> f64 {
        percentile(&self.times, share)
    }
    fn sample(&self, raw: f64) -> Vec<f64> {
        vec![
            self.rate,
            self.percentile(0.5),
            self.percentile(0.99),
            self.rate / raw,
        ]
    }
}

fn object(name: &str) -> Bytes {
    let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"},
        "data": {"padding": "x".repeat(PADDING)}});
    Bytes::from(object.to_string())
}

/// What the disk does.
fn fsync(dir: &Path) -> Result<Taken> {
    use std::io::Write as _;
    let mut file = std::fs::File::create(dir.join("fsync"))?;
    let (since, mut times) = (Instant::now(), Vec::new());
    while since.elapsed() < TIME / 2 {
        let begun = Instant::now();
        file.write_all(&[0; PADDING])?;
        file.sync_data()?;
        times.push(millis(begun.elapsed()));
    }
    Ok(Taken::of(times, since.elapsed()))
}

/// The store by itself.
async fn raw(dir: &Path) -> Result<Taken> {
    let store: Arc<dyn Store> = Arc::new(embedded::open(dir)?);
    let since = Instant::now();
    let writers: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut times = Vec::new();
                while since.elapsed() < TIME {
                    let name = format!("c-{client}-{}", times.len());
                    let op = Op {
                        key: format!("/registry/configmaps/default/{name}").into(),
                        guard: Guard::Absent,
                        change: Change::Put(object(&name), None),
                    };
                    let begun = Instant::now();
                    store.commit(vec![op]).await?;
                    times.push(millis(begun.elapsed()));
                }
                anyhow::Ok(times)
            })
        })
        .collect();
    let mut times = Vec::new();
    for writer in writers {
        times.extend(writer.await??);
    }
    Ok(Taken::of(times, since.elapsed()))
}

/// What a client asks.
struct Request {
    method: &'static str,
    path: String,
    body: Bytes,
}

/// Many clients, each asking one thing after the other.
async fn clients(
    server: &Server,
    count: usize,
    next: impl Fn(usize, usize) -> Request + Send + Sync + Copy + 'static,
) -> Result<Taken> {
    let identity = server.identity()?;
    let mut connections = Vec::new();
    for _ in 0..count {
        connections.push(server.client(&identity).await?);
    }
    let since = Instant::now();
    let workers: Vec<_> = connections
        .into_iter()
        .enumerate()
        .map(|(client, mut connection)| {
            tokio::spawn(async move {
                let mut times = Vec::new();
                while since.elapsed() < TIME {
                    let Request { method, path, body } = next(client, times.len());
                    let begun = Instant::now();
                    connection.ask(method, &path, body).await?;
                    times.push(millis(begun.elapsed()));
                }
                anyhow::Ok(times)
            })
        })
        .collect();
    let mut times = Vec::new();
    for worker in workers {
        times.extend(worker.await?.context("a client")?);
    }
    Ok(Taken::of(times, since.elapsed()))
}
