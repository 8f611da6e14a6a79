//! What all sources together want, and what is to be done about the pods that are here. No I/O, no clock.
//!
//! ```text
//! Set of each source --accept--> candidates, by name --decide(pods that are here)--> admit, update, end, refuse
//! ```
//! Nothing overrides anything: of two that want one name the one that has it keeps it, the other is refused and told who
//! has it. A source that has not spoken, or cannot be read, keeps what it has; so does a place that turned bad.
mod candidate;

use crate::change::Change;
use crate::pods::{BadPlace, Refusal};
use crate::source::{Delivery, Problem, Set};
use crate::state::{PodRecord, SourceKind, StopBy, StoredPod};
use candidate::Candidate;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// What the sources said last.
#[derive(Debug, Default)]
pub struct Union {
    settings: Settings,
    spoken: BTreeMap<SourceKind, Spoken>,
    failed: BTreeMap<SourceKind, Problem>,
    /// Pairs that were compared and say the same, by uid: most of what is looked at again and again.
    same: BTreeMap<String, (Arc<PodRecord>, Arc<Candidate>)>,
}

/// What a union goes by.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// The sources that there are. Pods of others end.
    pub sources: BTreeSet<SourceKind>,
}

#[derive(Debug, Default)]
struct Spoken {
    pods: Vec<Arc<Candidate>>,
    names: BTreeSet<String>,
    problems: Vec<Problem>,
}

/// What is to be done.
#[derive(Debug, Default)]
pub struct Decision {
    /// Pods to let in; a uid only where the source gave one.
    pub admit: Vec<PodRecord>,
    /// Pods that run on in other words; the uid is that of the pod.
    pub update: Vec<Arc<PodRecord>>,
    /// Pods to end, by uid.
    pub end: Vec<(String, StopBy)>,
    /// Pods that are over and that no source wants any more.
    pub unwanted: Vec<String>,
    /// Pods that are wanted and cannot be let in.
    pub refused: Vec<Refusal>,
    /// Places that cannot be used.
    pub places: Vec<BadPlace>,
}

impl Union {
    /// Nobody has spoken yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Union {
            settings,
            ..Union::default()
        }
    }

    /// Takes in what a source says.
    pub fn accept(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Set(set) => {
                self.failed.remove(&set.source);
                let before = self.spoken.remove(&set.source).unwrap_or_default();
                let pods = candidates(&set, &before.pods);
                let spoken = Spoken {
                    names: pods.iter().map(|one| one.record.full_name()).collect(),
                    pods,
                    problems: set.problems,
                };
                self.spoken.insert(set.source, spoken);
            }
            Delivery::Failed(failed) => {
                self.failed.insert(failed.source, failed.problem);
            }
        }
    }

    /// Whether a source wants the pod: its record is not to be forgotten.
    #[must_use]
    pub fn wants(&self, pod: &PodRecord) -> bool {
        let source = pod.origin.source;
        match self.spoken.get(&source) {
            Some(spoken) => {
                spoken.names.contains(&pod.full_name()) || spoken.is_bad(&pod.origin.place)
            }
            None => self.settings.sources.contains(&source),
        }
    }

    /// Compares what is wanted with what is here.
    #[must_use]
    pub fn decide(&mut self, here: &[Arc<StoredPod>]) -> Decision {
        let mut decision = Decision {
            places: self.places(),
            ..Decision::default()
        };
        let mut live: BTreeMap<String, &Arc<StoredPod>> = BTreeMap::new();
        let mut over: BTreeMap<String, &Arc<StoredPod>> = BTreeMap::new();
        for pod in here {
            let by_name = if pod.state.phase.ended() {
                &mut over
            } else {
                &mut live
            };
            by_name.insert(pod.record.full_name(), pod);
            self.dismiss(pod, &mut decision);
        }
        let mut same = BTreeMap::new();
        for (name, group) in self.by_name() {
            let holder = live.get(&name).copied();
            let winner = winner(&group, holder);
            for loser in group.iter().filter(|one| !Arc::ptr_eq(one, winner)) {
                let message = format!(
                    "pod {name} is wanted by {} already; give one of them another name",
                    at(winner)
                );
                decision.refused.push(loser.refusal(message));
            }
            let pod = holder.or(over.get(&name).copied());
            self.settle(winner, pod, &mut same, &mut decision);
        }
        self.same = same;
        decision
    }

    /// Ends a pod that nobody wants any more.
    fn dismiss(&self, pod: &StoredPod, decision: &mut Decision) {
        let record = &pod.record;
        if !record.is_wanted() || self.wants(record) {
            return;
        }
        let uid = record.uid().to_owned();
        if pod.state.phase.ended() {
            decision.unwanted.push(uid);
        } else {
            decision.end.push((uid, StopBy::Removed));
        }
    }

    /// Decides on one name: the candidate that may have it, and the pod that has it, or had it last.
    fn settle(
        &self,
        wanted: &Arc<Candidate>,
        pod: Option<&Arc<StoredPod>>,
        same: &mut BTreeMap<String, (Arc<PodRecord>, Arc<Candidate>)>,
        decision: &mut Decision,
    ) {
        let Some(pod) = pod else {
            return decision.admit.push(wanted.record.clone());
        };
        let uid = pod.record.uid().to_owned();
        let ours = pod.record.origin.source == wanted.record.origin.source;
        match (pod.state.phase.ended(), ours) {
            (false, false) => decision.refused.push(wanted.refusal(held(&pod.record))),
            (true, false) => decision.admit.push(wanted.record.clone()),
            (false, true) => {
                // One that is ending is looked at again when it has ended.
                if pod
                    .record
                    .stop
                    .is_some_and(|stop| stop.by != StopBy::Command)
                    || pod.record.eviction.is_some()
                {
                    return;
                }
                match self.compare(pod, wanted, same) {
                    Change::Same => {}
                    Change::InPlace if pod.record.stop.is_none() => {
                        let record = wanted.in_place_of(&pod.record, self.is_incomplete(wanted));
                        decision.update.push(Arc::new(record));
                    }
                    Change::InPlace | Change::Replace { .. } => {
                        decision.end.push((uid, StopBy::Replaced));
                    }
                }
            }
            (true, true) => {
                let stopped = pod.record.stop.map(|stop| stop.by);
                let again = matches!(stopped, Some(StopBy::Removed | StopBy::Replaced))
                    || is_evicted(&pod.record);
                if again || !wanted.is_content_of(&pod.record) {
                    decision.admit.push(wanted.record.clone());
                }
            }
        }
    }

    fn compare(
        &self,
        pod: &StoredPod,
        wanted: &Arc<Candidate>,
        same: &mut BTreeMap<String, (Arc<PodRecord>, Arc<Candidate>)>,
    ) -> Change {
        let uid = pod.record.uid();
        let known = self.same.get(uid).is_some_and(|(record, candidate)| {
            Arc::ptr_eq(record, &pod.record) && Arc::ptr_eq(candidate, wanted)
        });
        let change = if known {
            Change::Same
        } else {
            wanted.change_of(&pod.record, self.is_incomplete(wanted))
        };
        if change == Change::Same {
            same.insert(uid.to_owned(), (pod.record.clone(), wanted.clone()));
        }
        change
    }

    /// Whether the candidate's source has places that it could not read: what they gave beside a pod may be known to the
    /// pod's record alone.
    fn is_incomplete(&self, wanted: &Candidate) -> bool {
        let spoken = self.spoken.get(&wanted.record.origin.source);
        spoken.is_some_and(|spoken| !spoken.problems.is_empty())
    }

    fn by_name(&self) -> BTreeMap<String, Vec<Arc<Candidate>>> {
        let mut names: BTreeMap<String, Vec<Arc<Candidate>>> = BTreeMap::new();
        for candidate in self.spoken.values().flat_map(|spoken| &spoken.pods) {
            let name = candidate.record.full_name();
            names.entry(name).or_default().push(candidate.clone());
        }
        names
    }

    fn places(&self) -> Vec<BadPlace> {
        let failed = self
            .failed
            .iter()
            .map(|(source, problem)| BadPlace::new(*source, problem));
        let spoken = self.spoken.iter().flat_map(|(source, spoken)| {
            let problems = spoken.problems.iter();
            problems.map(|problem| BadPlace::new(*source, problem))
        });
        failed.chain(spoken).collect()
    }
}

impl Spoken {
    fn is_bad(&self, place: &str) -> bool {
        self.problems.iter().any(|problem| problem.place == place)
    }
}

/// The candidates of a set; those that were in the one before stay the same ones.
fn candidates(set: &Set, before: &[Arc<Candidate>]) -> Vec<Arc<Candidate>> {
    let mut known: BTreeMap<(String, &str), &Arc<Candidate>> = BTreeMap::new();
    for candidate in before {
        let name = candidate.record.full_name();
        known.insert((name, &candidate.record.origin.place), candidate);
    }
    let make = |wanted| {
        let new = Candidate::new(set, wanted);
        let old = known.get(&(new.record.full_name(), wanted.place.as_str()));
        match old {
            Some(old) if old.says_the_same(&new) => Arc::clone(old),
            Some(_) | None => Arc::new(new),
        }
    };
    set.pods.iter().map(make).collect()
}

/// Of several that want one name: the one whose pod has it, else one of the same source, else the first.
fn winner<'a>(group: &'a [Arc<Candidate>], holder: Option<&Arc<StoredPod>>) -> &'a Arc<Candidate> {
    let origin = holder.map(|pod| &pod.record.origin);
    let exact = |one: &&Arc<Candidate>| Some(&one.record.origin) == origin;
    let near = |one: &&Arc<Candidate>| {
        Some(one.record.origin.source) == origin.map(|origin| origin.source)
    };
    let found = group.iter().find(exact).or(group.iter().find(near));
    found.unwrap_or(&group[0])
}

/// Whether the node ended the pod for its own sake: it comes back as soon as it is let in again.
fn is_evicted(record: &PodRecord) -> bool {
    let spec = record.pod.spec.as_ref();
    let policy = spec.and_then(|spec| spec.restart_policy.as_deref());
    record.eviction.is_some() && policy != Some("Never")
}

fn at(candidate: &Candidate) -> String {
    let origin = &candidate.record.origin;
    format!("{} {}", origin.source.as_str(), origin.place)
}

fn held(record: &PodRecord) -> String {
    let (name, uid) = (record.full_name(), record.uid());
    match record.origin.source {
        SourceKind::Command => format!(
            "pod {name} runs already by `rkubelet run` (uid {uid}); stop it with `rkubelet stop {}` or give this one another name",
            record.name()
        ),
        source => format!(
            "pod {name} runs already and is of {} {} (uid {uid}); give one of them another name",
            source.as_str(),
            record.origin.place
        ),
    }
}

#[cfg(test)]
mod tests;
