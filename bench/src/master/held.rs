//! What a hundred thousand pods cost in memory, and how soon a store with them serves.

use std::path::Path;

use anyhow::Result;
use hyper::body::Bytes;
use rkube_master::store::{Change, Guard, Op, Store as _, embedded};
use serde_json::json;

use super::server::Server;
use crate::bed::Bed;
use crate::report::{Line, Table, Unit};
use crate::size::number;

const PODS: usize = 100_000;
/// In one transaction.
const BATCH: usize = 500;
const NAME: &str = "100,000 pods";
const METRICS: [&str; 4] = [
    "bytes encoded, each",
    "RSS MiB",
    "overhead KiB, each",
    "ready, ms",
];

/// The table.
///
/// # Errors
/// When the master does not start.
pub(super) async fn table(bed: &Bed) -> Result<Table> {
    let mut table = Table::new("The master: a hundred thousand pods held", &METRICS).note(
        "Overhead: resident memory beyond that of an empty master, less the pods' JSON. The pods are put into the store before \
         the start.",
    );
    let dir = bed.subdir("master/held")?;
    let (server, _) = Server::start(bed, &dir.join("empty"))?;
    let empty = server.rss()?;
    server.stop()?;
    let size = fill(&dir.join("full/data/store"), PODS, 2048).await?;
    let (server, ready) = Server::start(bed, &dir.join("full"))?;
    let identity = server.identity()?;
    let mut client = server.client(&identity).await?;
    client
        .ask("GET", "/api/v1/pods?limit=1", Bytes::new())
        .await?;
    let rss = server.rss()?;
    let each = (rss - empty) / number(PODS as u64) - number(size as u64) / 1024.0;
    let mut line = Line::new(NAME, "");
    line.samples
        .push(vec![number(size as u64), rss / 1024.0, each, ready]);
    table.lines.push(line);
    server.stop()?;
    table.limit(NAME, 2, Unit::KiB, 3.0);
    bed.retire(&dir)?;
    Ok(table)
}

/// Puts pods of about so many bytes into a store that nobody has open; how long each is.
///
/// # Errors
/// When the store refuses.
pub(super) async fn fill(store: &Path, count: usize, bytes: usize) -> Result<usize> {
    std::fs::create_dir_all(store)?;
    let store = embedded::open(store)?;
    let mut size = 0;
    for first in (0..count).step_by(BATCH) {
        let ops = (first..count.min(first + BATCH)).map(|n| {
            let name = format!("pod-{n:06}");
            let value = pod(&name, bytes);
            size = value.len();
            Op {
                key: format!("/registry/pods/ns-{}/{name}", n % 20).into(),
                guard: Guard::Any,
                change: Change::Put(value, None),
            }
        });
        store.commit(ops.collect()).await?;
    }
    store.close();
    Ok(size)
}

fn pod(name: &str, bytes: usize) -> Bytes {
    let pod = |padding: &str| {
        json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "namespace": format!("ns-{}", &name[name.len() - 2..].parse::<u32>().unwrap_or(0) % 20),
                "uid": format!("00000000-0000-4000-8000-000000{}", &name[4..]), "creationTimestamp": "2026-01-01T00:00:00Z",
                "generation": 1, "labels": {"app": "web", "tier": "front", "pod-template-hash": "5d4f8c7b9"},
                "annotations": {"padding": padding}},
            "spec": {"containers": [{"name": "c", "image": "localhost/demo/httpd:v1", "imagePullPolicy": "IfNotPresent",
                "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}}, "ports": [{"containerPort": 80, "protocol": "TCP"}],
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"}],
                "nodeName": "node-1", "restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler",
                "securityContext": {}, "terminationGracePeriodSeconds": 30},
            "status": {"phase": "Running", "podIP": "10.1.2.3", "hostIP": "10.0.0.1", "qosClass": "Burstable",
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}})
        .to_string()
    };
    let bare = pod("").len();
    Bytes::from(pod(&"x".repeat(bytes.saturating_sub(bare))))
}
