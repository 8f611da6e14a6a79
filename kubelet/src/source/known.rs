//! What is known of a master's objects that concern this node, by their keys in etcd: each one's last good content, and what
//! is wrong with it now. The API source uses the same keys for what it gets from an API server.
use crate::admission::{Companions, References};
use crate::source::content::{self, Content, Naming};
use crate::source::{Problem, Set, Wanted};
use k8s_openapi::api::core::v1::Pod;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The pods of all nodes.
pub(super) const PODS: &str = "/registry/pods/";

/// What this node has of its own: manifests put by hand, and what a master of 2014 bound to it.
pub(super) fn own_prefix(node: &str) -> String {
    format!("/registry/nodes/{node}/")
}

/// A key's value as far as it concerns this node.
#[derive(Clone, Debug, Default)]
struct Place {
    good: Option<Arc<Content>>,
    problem: Option<String>,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Known {
    node: String,
    own: String,
    places: BTreeMap<String, Place>,
}

/// The little of a pod that says whether it is this node's.
#[derive(Deserialize)]
struct Bound {
    #[serde(default)]
    metadata: BoundMeta,
    #[serde(default)]
    spec: BoundSpec,
}
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct BoundMeta {
    deletion_timestamp: Option<String>,
}
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct BoundSpec {
    node_name: Option<String>,
}

impl Known {
    pub(super) fn new(node: &str) -> Self {
        Known {
            node: node.to_owned(),
            own: own_prefix(node),
            places: BTreeMap::new(),
        }
    }

    /// Takes in a key's value; whether that is news for this node.
    pub(super) fn put(&mut self, key: &str, value: &[u8]) -> bool {
        if !self.concerns(key, value) {
            return self.delete(key);
        }
        let by_hand = key
            .strip_prefix(&self.own)
            .is_some_and(|rest| rest != "boundpods");
        let naming = Naming {
            node: self.node.clone(),
            append: false,
            uids: !by_hand,
        };
        let place = self.places.entry(key.to_owned()).or_default();
        match content::read(value, key, &naming) {
            Ok(content) => {
                for warning in content.warnings.iter().filter(|_| by_hand) {
                    tracing::warn!("{warning}");
                }
                (place.good, place.problem) = (Some(Arc::new(content)), None);
            }
            Err(message) => place.problem = Some(message),
        }
        true
    }

    fn concerns(&self, key: &str, value: &[u8]) -> bool {
        if let Some(rest) = key.strip_prefix(&self.own) {
            return rest == "boundpods" || rest.starts_with("manifests/");
        }
        if !key.starts_with(PODS) {
            return true;
        }
        match serde_json::from_slice::<Bound>(value) {
            // A pod that is to go is not wanted any more: it gets its time to end, as any other.
            Ok(pod) => {
                pod.spec.node_name.as_ref() == Some(&self.node)
                    && pod.metadata.deletion_timestamp.is_none()
            }
            // Whose it is nobody can say, unless it was this node's before.
            Err(_) => self.places.contains_key(key),
        }
    }

    /// The key is no more; whether that is news.
    pub(super) fn delete(&mut self, key: &str) -> bool {
        self.places.remove(key).is_some()
    }

    /// Forgets the keys of a range that are not among those that were found.
    pub(super) fn keep_only(&mut self, range: &str, found: &BTreeSet<String>) {
        let within = |key: &str| key == range || (range.ends_with('/') && key.starts_with(range));
        self.places
            .retain(|key, _| !within(key) || found.contains(key));
    }

    /// The keys of the ConfigMaps and Secrets that the pods refer to.
    pub(super) fn needs(&self) -> BTreeSet<String> {
        let mut needs = BTreeSet::new();
        for pod in self.pods().map(|(_, pod)| pod) {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
            let names = References::of(pod);
            let key = |kind: &'static str| {
                move |name: &&str| format!("/registry/{kind}/{namespace}/{name}")
            };
            needs.extend(names.config_maps.iter().map(key("configmaps")));
            needs.extend(names.secrets.iter().map(key("secrets")));
        }
        needs
    }

    pub(super) fn pods(&self) -> impl Iterator<Item = (&String, &Arc<Pod>)> {
        let good = self
            .places
            .iter()
            .filter_map(|(key, place)| Some((key, place.good.as_ref()?)));
        good.flat_map(|(key, content)| content.pods.iter().map(move |pod| (key, pod)))
    }

    /// What this node is to run.
    pub(super) fn set(&self) -> Set {
        let pods = self.pods().map(|(key, pod)| Wanted {
            pod: pod.clone(),
            place: key.clone(),
        });
        let mut companions = Companions::default();
        for content in self.places.values().filter_map(|place| place.good.as_ref()) {
            companions
                .config_maps
                .extend(content.companions.config_maps.iter().cloned());
            companions
                .secrets
                .extend(content.companions.secrets.iter().cloned());
        }
        let problems = self.places.iter().filter_map(|(key, place)| {
            Some(Problem {
                place: key.clone(),
                message: place.problem.clone()?,
            })
        });
        Set {
            pods: pods.collect(),
            companions: Arc::new(companions),
            problems: problems.collect(),
            ..Set::default()
        }
    }
}
