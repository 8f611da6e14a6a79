//! One look at the node, and what it leads to: conditions, reclaiming, the eviction of one pod.
use super::eviction::{self, Candidate};
use super::gc::{DeadPolicy, ImagePolicy};
use super::signals::{self, Condition, Met, Pressure, Threshold};
use super::{dead, images, measure};
use crate::control::Command;
use crate::events::NodeEvent;
use crate::serve::Kubelet;
use crate::state::{Eviction, StoredPod};
use jiff::{SignedDuration, Timestamp};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Between two searches for what nobody uses, while a disk is full.
const RECLAIM_EVERY: Duration = Duration::from_secs(30);

/// What is remembered from round to round.
#[derive(Debug)]
pub(super) struct Rounds {
    kubelet: Kubelet,
    thresholds: Vec<Threshold>,
    pressure: Pressure,
    transition: SignedDuration,
    /// When unused things were last looked for.
    reclaimed: Option<Instant>,
}

/// How the node is after a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// Nothing is short.
    Calm,
    /// Something is, and it is being done about.
    Strained,
}

impl Rounds {
    pub(super) fn new(kubelet: &Kubelet) -> Self {
        let transition = kubelet.config.eviction_pressure_transition_period.get();
        Rounds {
            thresholds: super::vitals::thresholds(&kubelet.config),
            pressure: Pressure::default(),
            transition: SignedDuration::try_from(transition).unwrap_or(SignedDuration::MAX),
            reclaimed: None,
            kubelet: kubelet.clone(),
        }
    }

    /// Looks, and relieves what is short.
    pub(super) async fn look(&mut self) -> After {
        let paths = self.kubelet.node.paths.clone();
        let observed = tokio::task::spawn_blocking(move || measure::observe(&paths)).await;
        let Ok(observed) = observed else {
            return After::Calm;
        };
        let now = Timestamp::now();
        let outcome = self
            .pressure
            .look(&self.thresholds, &observed, self.transition, now);
        let changed = self.kubelet.vitals.note(&outcome.conditions, observed, now);
        for (condition, on) in changed {
            self.kubelet.node.events.append(event(condition, on));
        }
        let Some(met) = outcome.act.first() else {
            return After::Calm;
        };
        self.relieve(*met).await
    }

    /// Frees what nobody uses; evicts one pod where that is not enough.
    async fn relieve(&mut self, met: Met) -> After {
        let node = self.kubelet.node.clone();
        let signal = met.threshold.signal;
        let what = format!(
            "attempting to reclaim {}: {signal} is under its threshold",
            signal.resource()
        );
        node.events
            .append(NodeEvent::node("EvictionThresholdMet", what).warning());
        let pods = node.registry.list();
        let running = || pods.iter().filter(|pod| !pod.state.phase.ended());
        // What the last one frees is not to be had before it has gone.
        if running().any(|pod| pod.record.eviction.is_some()) {
            return After::Strained;
        }
        if signal.condition() == Condition::Disk && self.may_reclaim() && self.reclaim(met).await {
            return After::Strained;
        }
        let candidates: Vec<Arc<StoredPod>> = running()
            .filter(|pod| pod.record.is_lasting() && pod.record.stop.is_none())
            .cloned()
            .collect();
        let Some((uid, eviction)) = self.choose(candidates, met).await else {
            // Nothing helps: what else fills the node is not ours to remove.
            return After::Calm;
        };
        self.kubelet.pods.ask(&uid, Command::Evict(eviction)).await;
        After::Strained
    }

    /// A disk that others keep full is not searched at every look.
    fn may_reclaim(&mut self) -> bool {
        let now = Instant::now();
        let may = self.reclaimed.is_none_or(|at| now >= at + RECLAIM_EVERY);
        if may {
            self.reclaimed = Some(now);
        }
        may
    }

    async fn choose(&self, pods: Vec<Arc<StoredPod>>, met: Met) -> Option<(String, Eviction)> {
        let (paths, cgroups) = (
            self.kubelet.node.paths.clone(),
            self.kubelet.node.cgroups.clone(),
        );
        let with_disk = met.threshold.signal.condition() == Condition::Disk;
        let most_grace = self.kubelet.config.eviction_max_pod_grace_period;
        let chosen = tokio::task::spawn_blocking(move || {
            let candidates: Vec<Candidate<'_>> = pods
                .iter()
                .filter_map(|pod| {
                    Some(Candidate {
                        uid: pod.record.uid(),
                        name: pod.record.full_name(),
                        spec: pod.record.pod.spec.as_ref()?,
                        usage: measure::usage(&paths, &cgroups, &pod.record, with_disk),
                    })
                })
                .collect();
            eviction::victim(&candidates, &met, most_grace)
        });
        let victim = chosen.await.ok().flatten()?;
        let eviction = Eviction {
            reason: "Evicted".to_owned(),
            message: victim.message,
            grace_seconds: victim.grace_seconds,
        };
        Some((victim.uid, eviction))
    }

    /// Removes pods that are over and images that nobody uses. Says whether that was enough.
    async fn reclaim(&self, met: Met) -> bool {
        let node = self.kubelet.node.clone();
        let dead_policy = DeadPolicy::of(&self.kubelet.config).when_full();
        let image_policy = ImagePolicy::of(&self.kubelet.config);
        let done = tokio::task::spawn_blocking(move || {
            let enough = || {
                let observed = measure::observe(&node.paths);
                signals::met(&[met.threshold], &observed).is_empty()
            };
            let forgotten = dead::forget(&node.paths, &node.registry, &node.events, &dead_policy);
            if let Err(err) = forgotten {
                tracing::warn!(%err, "cannot forget pods that are over");
            }
            let reclaimed = images::reclaim(
                &node.paths,
                &node.images,
                &image_policy,
                &node.events,
                enough,
            );
            if let Err(err) = reclaimed {
                node.events.append(super::image_failure(&err));
            }
            enough()
        });
        done.await.unwrap_or(false)
    }
}

fn event(condition: Condition, on: bool) -> NodeEvent {
    let reason = match (condition, on) {
        (Condition::Memory, true) => "NodeHasInsufficientMemory",
        (Condition::Memory, false) => "NodeHasSufficientMemory",
        (Condition::Disk, true) => "NodeHasDiskPressure",
        (Condition::Disk, false) => "NodeHasNoDiskPressure",
        (Condition::Pid, true) => "NodeHasInsufficientPID",
        (Condition::Pid, false) => "NodeHasSufficientPID",
    };
    let is_now = if on { "on" } else { "over" };
    let event = NodeEvent::node(reason, format!("{} is {is_now}", condition.as_str()));
    if on { event.warning() } else { event }
}
