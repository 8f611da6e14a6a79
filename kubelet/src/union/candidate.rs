//! A pod as a source wants it: a record that only lacks its uid.
use crate::change::{Change, kind};
use crate::pods::Refusal;
use crate::source::{Set, Wanted};
use crate::state::{Origin, PodRecord};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus, Service};

/// What would be written down if the pod were let in now.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) record: PodRecord,
}

impl Candidate {
    pub(super) fn new(set: &Set, wanted: &Wanted) -> Self {
        let mut pod = Pod::clone(&wanted.pod);
        pod.status = gates_of(&pod);
        Candidate {
            record: PodRecord {
                config_maps: set.companions.config_maps_of(&pod),
                secrets: set.companions.secrets_of(&pod),
                tokens: set.companions.tokens_of(&pod),
                services: services_of(&set.services, &pod),
                origin: Origin {
                    source: set.source,
                    place: wanted.place.clone(),
                },
                ..PodRecord::new(pod, Timestamp::UNIX_EPOCH)
            },
        }
    }

    /// Whether nothing at all has changed.
    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        let (old, new) = (&self.record, &other.record);
        old.pod == new.pod
            && old.config_maps == new.config_maps
            && old.secrets == new.secrets
            && old.tokens == new.tokens
            && old.services == new.services
            && old.origin == new.origin
    }

    /// What it takes to make the pod this one. Of a set that is not complete, what it lacks stays as it was.
    pub(super) fn change_of(&self, record: &PodRecord, incomplete: bool) -> Change {
        let mut old = self.comparable(record);
        // A token that was not issued again yet is still good.
        let tokens = &self.record.tokens;
        old.tokens.retain(|wish, _| tokens.contains_key(wish));
        if incomplete {
            let (maps, secrets) = (&self.record.config_maps, &self.record.secrets);
            old.config_maps.retain(|name, _| maps.contains_key(name));
            old.secrets.retain(|name, _| secrets.contains_key(name));
        }
        kind(&old, &self.record)
    }

    /// The record that the pod gets if it runs on in these words.
    pub(super) fn in_place_of(&self, record: &PodRecord, incomplete: bool) -> PodRecord {
        let mut new = self.record.clone();
        new.pod.metadata.uid.clone_from(&record.pod.metadata.uid);
        for (wish, token) in &record.tokens {
            new.tokens
                .entry(wish.clone())
                .or_insert_with(|| token.clone());
        }
        if incomplete {
            for (name, map) in &record.config_maps {
                new.config_maps
                    .entry(name.clone())
                    .or_insert_with(|| map.clone());
            }
            for (name, secret) in &record.secrets {
                new.secrets
                    .entry(name.clone())
                    .or_insert_with(|| secret.clone());
            }
        }
        new
    }

    /// Whether a pod that is over was asked for in these words. What it was given beside them, and where the words stood,
    /// does not make it start again.
    pub(super) fn is_content_of(&self, record: &PodRecord) -> bool {
        let mut old = self.comparable(record);
        old.config_maps.clone_from(&self.record.config_maps);
        old.secrets.clone_from(&self.record.secrets);
        old.tokens.clone_from(&self.record.tokens);
        old.services.clone_from(&self.record.services);
        old.origin.clone_from(&self.record.origin);
        old.pod.status.clone_from(&self.record.pod.status);
        kind(&old, &self.record) == Change::Same
    }

    /// A record with the defaults of this program, and on this node: one of before may have others, and means the same.
    fn comparable(&self, record: &PodRecord) -> PodRecord {
        let mut record = record.clone();
        rkube_api::defaults::pod(&mut record.pod);
        if let (Some(old), Some(new)) = (&mut record.pod.spec, &self.record.pod.spec) {
            old.node_name.clone_from(&new.node_name);
        }
        record
    }

    /// The pod is not let in.
    pub(super) fn refusal(&self, message: String) -> Refusal {
        Refusal::new(&self.record, message)
    }
}

/// What others say of the pod, as far as it waits for it: the conditions that its readiness gates name.
fn gates_of(pod: &Pod) -> Option<PodStatus> {
    let gates = pod.spec.as_ref()?.readiness_gates.as_ref()?;
    let mut said = pod.status.as_ref()?.conditions.clone()?;
    said.retain(|one| gates.iter().any(|gate| gate.condition_type == one.type_));
    Some(PodStatus {
        conditions: Some(said),
        ..PodStatus::default()
    })
}

/// The services that the pod is told of: those of its namespace, and that of the API itself.
fn services_of(all: &[Service], pod: &Pod) -> Vec<Service> {
    let own = pod.metadata.namespace.as_deref().unwrap_or("default");
    let told = |service: &&Service| {
        let namespace = service.metadata.namespace.as_deref().unwrap_or("default");
        let api = namespace == "default" && service.metadata.name.as_deref() == Some("kubernetes");
        namespace == own || api
    };
    all.iter().filter(told).cloned().collect()
}
