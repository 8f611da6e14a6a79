//! What this process knows of all its pods, in memory, for whoever asks: the HTTP API, house-keeping, the API source.
//!
//! Workers put in what they save; nobody else writes. Readers get shared copies and never wait for a worker.
use crate::state::StoredPod;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use tokio::sync::broadcast;

/// How many changes a listener may lag behind; one that lags looks at everything again.
const LAG: usize = 4096;

/// Something changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The pod of this uid was put in.
    Put(Arc<str>),
    /// The pod of this uid is no more.
    Removed(Arc<str>),
}

/// All pods by uid. Clones share it.
#[derive(Clone, Debug)]
pub struct Registry {
    pods: Arc<RwLock<BTreeMap<Arc<str>, Arc<StoredPod>>>>,
    changes: broadcast::Sender<Change>,
}

impl Default for Registry {
    fn default() -> Self {
        Registry {
            pods: Arc::default(),
            changes: broadcast::channel(LAG).0,
        }
    }
}

impl Registry {
    /// Puts in what is known of a pod now.
    pub fn put(&self, pod: StoredPod) {
        let uid: Arc<str> = pod.record.uid().into();
        self.pods
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(uid.clone(), Arc::new(pod));
        // An error means that nobody listens.
        let _ = self.changes.send(Change::Put(uid));
    }
    /// Forgets a pod.
    pub fn remove(&self, uid: &str) {
        let removed = self
            .pods
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(uid);
        if removed.is_some() {
            let _ = self.changes.send(Change::Removed(uid.into()));
        }
    }
    /// The pod of that uid.
    #[must_use]
    pub fn get(&self, uid: &str) -> Option<Arc<StoredPod>> {
        self.pods
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(uid)
            .cloned()
    }
    /// The pod of that name; of several, the one that is not over.
    #[must_use]
    pub fn named(&self, namespace: &str, name: &str) -> Option<Arc<StoredPod>> {
        let pods = self.pods.read().unwrap_or_else(PoisonError::into_inner);
        let same = pods
            .values()
            .filter(|pod| pod.record.name() == name && pod.record.namespace() == namespace);
        same.max_by_key(|pod| (!pod.state.phase.ended(), pod.record.created))
            .cloned()
    }
    /// All pods, oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<StoredPod>> {
        let mut pods: Vec<_> = self
            .pods
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect();
        pods.sort_by_key(|pod| pod.record.created);
        pods
    }
    /// Hears of every change from now on.
    #[must_use]
    pub fn listen(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }
}
