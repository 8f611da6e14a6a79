//! How the node is, for whoever asks: admission, the HTTP API, the API source.
use super::eviction;
use super::measure::{self, HostInfo};
use super::node::{self, Facts, Resources, Since};
use super::signals::{Condition, Observation, Threshold};
use crate::config::KubeletConfig;
use crate::worker::Node;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{NodeStatus, PodSpec};
use rkube_images::store::Store;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};
use tokio::sync::watch;

/// Changes of the image store that are closer than this may have the same time; the kernel's clock ticks more often.
const SAME_MOMENT: Duration = Duration::from_secs(1);

/// Clones share it.
#[derive(Clone, Debug)]
pub struct Vitals {
    fixed: Arc<Fixed>,
    seen: Arc<RwLock<Seen>>,
    images: Arc<Mutex<Listed>>,
    conditions: watch::Sender<Vec<Condition>>,
}

/// What does not change while the kubelet runs.
#[derive(Debug)]
struct Fixed {
    capacity: Resources,
    allocatable: Resources,
    reserved: Resources,
    started: Timestamp,
    port: u16,
    info: HostInfo,
}

#[derive(Debug, Default)]
struct Seen {
    conditions: BTreeMap<Condition, Since>,
    observations: Vec<Observation>,
    looked: Option<Timestamp>,
}

/// The store's images when they were last read: their names and sizes.
#[derive(Debug, Default)]
struct Listed {
    /// When the store had been changed by then; none where it may have changed again without a trace.
    changed: Option<SystemTime>,
    images: Vec<(Vec<String>, u64)>,
}

impl Listed {
    /// All images. They are read again only if the store has changed since.
    fn of(&mut self, store: &Store) -> Vec<(Vec<String>, u64)> {
        let changed = store.changed().ok();
        if changed.is_none() || changed != self.changed {
            let images = store.list().unwrap_or_default();
            self.images = images
                .into_iter()
                .map(|image| (image.names, image.size))
                .collect();
            self.changed = changed.filter(|at| at.elapsed().is_ok_and(|since| since > SAME_MOMENT));
        }
        self.images.clone()
    }
}

impl Vitals {
    /// Measures the node once. What the settings get wrong counts as not said: their own check has told of it.
    ///
    /// # Errors
    /// Names what of the host cannot be read.
    pub fn new(node: &Node, config: &KubeletConfig) -> std::io::Result<Self> {
        let capacity = measure::capacity(&node.paths, config.max_pods)?;
        let reserved = node::reserved(config).unwrap_or_default();
        let thresholds = super::signals::thresholds(config).unwrap_or_default();
        Ok(Vitals {
            fixed: Arc::new(Fixed {
                capacity,
                allocatable: node::allocatable(capacity, reserved, &thresholds),
                reserved,
                started: Timestamp::now(),
                port: config.port,
                info: HostInfo::read(),
            }),
            seen: Arc::default(),
            images: Arc::default(),
            conditions: watch::channel(Vec::new()).0,
        })
    }

    /// What the node has.
    #[must_use]
    pub fn capacity(&self) -> Resources {
        self.fixed.capacity
    }
    /// What pods may ask for.
    #[must_use]
    pub fn allocatable(&self) -> Resources {
        self.fixed.allocatable
    }
    /// What pods may have together.
    #[must_use]
    pub fn for_pods(&self) -> Resources {
        node::without(self.fixed.capacity, self.fixed.reserved)
    }
    /// What was measured last.
    #[must_use]
    pub fn observations(&self) -> Vec<Observation> {
        self.read().observations.clone()
    }
    /// The conditions that are on.
    #[must_use]
    pub fn conditions(&self) -> Vec<Condition> {
        self.conditions.borrow().clone()
    }
    /// Hears when a condition comes or goes.
    #[must_use]
    pub fn listen(&self) -> watch::Receiver<Vec<Condition>> {
        self.conditions.subscribe()
    }
    /// Whether a pod may start now, as the node is.
    ///
    /// # Errors
    /// In Kubernetes' words.
    pub fn admits(&self, spec: &PodSpec) -> Result<(), String> {
        eviction::admits(spec, &self.conditions.borrow())
    }

    /// Whether a pod that was evicted may start again, as the node is.
    ///
    /// # Errors
    /// In Kubernetes' words.
    pub fn takes_back(&self) -> Result<(), String> {
        eviction::takes_back(&self.conditions.borrow())
    }

    /// Notes a look; gives the conditions that have changed.
    pub(super) fn note(
        &self,
        on: &[Condition],
        observations: Vec<Observation>,
        now: Timestamp,
    ) -> Vec<(Condition, bool)> {
        let mut seen = self.seen.write().unwrap_or_else(PoisonError::into_inner);
        seen.observations = observations;
        seen.looked = Some(now);
        let mut changed = Vec::new();
        for condition in Condition::ALL {
            let is_on = on.contains(&condition);
            let was_on = seen.conditions.get(&condition).is_some_and(|was| was.on);
            if is_on != was_on {
                seen.conditions
                    .insert(condition, Since { on: is_on, at: now });
                changed.push((condition, is_on));
            }
        }
        drop(seen);
        if !changed.is_empty() {
            self.conditions.send_replace(on.to_vec());
        }
        changed
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Seen> {
        self.seen.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The node's status as the API has it.
    #[must_use]
    pub fn node_status(&self, node: &Node) -> NodeStatus {
        let mut listed = self.images.lock().unwrap_or_else(PoisonError::into_inner);
        let images = listed.of(&node.images.store);
        drop(listed);
        let seen = self.read();
        node::status(&Facts {
            name: node.name.clone(),
            address: node.network.host_ip(),
            port: self.fixed.port,
            capacity: self.fixed.capacity,
            allocatable: self.fixed.allocatable,
            conditions: seen.conditions.clone(),
            looked: seen.looked.unwrap_or(self.fixed.started),
            started: self.fixed.started,
            images,
            info: self.fixed.info.clone(),
        })
    }
}

/// The thresholds of the settings; those that are wrong count as not said.
pub(super) fn thresholds(config: &KubeletConfig) -> Vec<Threshold> {
    super::signals::thresholds(config).unwrap_or_else(|mistakes| {
        for mistake in mistakes {
            tracing::error!(mistake, "no pod is evicted: the thresholds cannot be used");
        }
        Vec::new()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rkube_images::Digest;
    use rkube_images::store::{Blob, NewImage};
    use std::fs::{File, FileTimes};

    fn record(store: &Store, name: &str) {
        let blob = |json: serde_json::Value| {
            let bytes = json.to_string().into_bytes();
            Blob {
                digest: Digest::sha256(&bytes),
                media_type: String::new(),
                bytes,
            }
        };
        let config = serde_json::json!({"architecture": "amd64", "os": "linux", "config": {"Cmd": [name]},
            "rootfs": {"type": "layers", "diff_ids": []}});
        let config = blob(config);
        let manifest = blob(serde_json::json!({"schemaVersion": 2, "config": config.digest}));
        let name = Some(name.to_owned());
        let layers = Vec::new();
        store
            .record(&NewImage {
                name,
                manifest,
                config,
                layers,
            })
            .unwrap();
    }

    #[test]
    fn images_are_read_again_when_the_store_has_changed() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let records = dir.path().join("images");
        let long_ago = SystemTime::now() - Duration::from_secs(3600);
        let age = || {
            let times = FileTimes::new().set_modified(long_ago);
            File::open(&records).unwrap().set_times(times).unwrap();
        };
        let mut listed = Listed::default();
        let mut count = || listed.of(&store).len();
        assert_eq!(count(), 0);
        record(&store, "localhost/a:v1");
        assert_eq!(count(), 1);
        // So soon after a change there may have been another.
        record(&store, "localhost/b:v1");
        assert_eq!(count(), 2);
        age();
        assert_eq!(count(), 2);
        record(&store, "localhost/c:v1");
        age();
        assert_eq!(count(), 2, "the directory says that nothing has changed");
        record(&store, "localhost/d:v1");
        assert_eq!(count(), 4);
    }
}
