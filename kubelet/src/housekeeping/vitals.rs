//! How the node is, for whoever asks: admission, the HTTP API, the API source.
use super::eviction;
use super::measure::{self, HostInfo};
use super::node::{self, Facts, Resources, Since};
use super::signals::{Condition, Observation, Threshold};
use crate::config::KubeletConfig;
use crate::worker::Node;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{NodeStatus, PodSpec};
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::watch;

/// Clones share it.
#[derive(Clone, Debug)]
pub struct Vitals {
    fixed: Arc<Fixed>,
    seen: Arc<RwLock<Seen>>,
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

    /// The node's status as the API has it. Reads the image store: not for every second.
    #[must_use]
    pub fn node_status(&self, node: &Node) -> NodeStatus {
        let images = node.images.store.list().unwrap_or_default();
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
            images: images
                .into_iter()
                .map(|image| (image.names, image.size))
                .collect(),
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
