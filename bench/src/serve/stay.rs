//! The pod of this suite: a program that says when its first instruction ran, and stays until it is asked to end.

use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::{Value, json};

use crate::kubelet::IMAGE;

/// Manifest of pod `name`; with a directory for its stamp, or none.
pub(crate) fn manifest(name: &str, out: Option<&Path>) -> Value {
    let mut container = json!({
        "name": "stay",
        "image": IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/bin/stay"],
    });
    let mut spec = json!({"restartPolicy": "Never", "terminationGracePeriodSeconds": 5});
    if let Some(out) = out {
        container["volumeMounts"] = json!([{"name": "out", "mountPath": "/out"}]);
        spec["volumes"] = json!([{"name": "out", "hostPath": {"path": out, "type": "Directory"}}]);
    }
    spec["containers"] = json!([container]);
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec})
}

/// Where the program says when it began.
#[derive(Debug)]
pub(crate) struct Stamp(PathBuf);

impl Stamp {
    /// In a directory that the pod mounts.
    ///
    /// # Errors
    /// When an old one cannot be removed.
    pub(crate) fn new(out: &Path) -> Result<Self> {
        let path = out.join("stamp");
        if path.exists() {
            std::fs::remove_file(&path)?;
        }
        Ok(Self(path))
    }

    /// The moment, on the monotonic clock, in milliseconds.
    pub(crate) fn read(&self) -> Option<f64> {
        let bytes = std::fs::read(&self.0).ok()?;
        let long = |range| -> Option<i64> {
            let part: &[u8] = bytes.get::<std::ops::Range<usize>>(range)?;
            Some(i64::from_le_bytes(part.try_into().ok()?))
        };
        Some(millis(long(0..8)?, long(8..16)?))
    }
}

/// Now, on the clock that the stamp is of, in milliseconds.
pub(crate) fn now() -> f64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    millis(now.tv_sec, now.tv_nsec)
}

#[expect(clippy::cast_precision_loss, reason = "some weeks, in nanoseconds")]
fn millis(seconds: i64, nanos: i64) -> f64 {
    seconds as f64 * 1e3 + nanos as f64 / 1e6
}
