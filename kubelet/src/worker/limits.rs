//! Why a pod ends that could go on: it was asked to, the node needs it gone, its time is over, a volume is full.
use super::Worker;
use super::stop::Outcome;
use super::work::Done;
use crate::housekeeping::storage;
use crate::state::{Eviction, StopRequest};
use jiff::{SignedDuration, Timestamp};

/// How often what has a limit on disk is measured. Only pods that have one pay for it.
const DISK_CHECK: SignedDuration = SignedDuration::from_secs(10);

impl Worker {
    /// Ends the pod because somebody asked for it.
    pub(super) fn stop_pod(&mut self, stop: StopRequest) {
        let message = format!("{}, {} s of grace", stop.by.as_str(), stop.grace_seconds);
        self.reporter.event("Killing", None, message);
        self.state.reason = "Stopped".to_owned();
        self.state.message = stop.by.as_str().to_owned();
        self.begin_closing(stop.grace_seconds, Outcome::ByExitCodes);
    }

    /// Ends the pod for the node's sake.
    pub(super) fn evict(&mut self, eviction: &Eviction) {
        self.end_badly(&eviction.reason, &eviction.message, eviction.grace_seconds);
    }

    /// Ends the pod; it will have failed whatever its containers come to.
    pub(super) fn end_badly(&mut self, reason: &str, message: &str, grace_seconds: u32) {
        self.reporter.warning(reason, None, message);
        self.state.reason = reason.to_owned();
        self.state.message = message.to_owned();
        self.begin_closing(grace_seconds, Outcome::Failed);
    }

    /// Ends what runs because the host goes down; the pod goes on after the next boot.
    pub(super) fn halt(&mut self, grace_seconds: u32) {
        let message = format!("the node shuts down, {grace_seconds} s of grace");
        self.reporter.event("NodeShutdown", None, message);
        if self.closing.is_none() {
            // Kubernetes' own words; they go when the pod is set up again.
            self.state.reason = "Terminated".to_owned();
            self.state.message =
                "Pod was terminated in response to imminent node shutdown.".to_owned();
        }
        self.begin_closing(grace_seconds, Outcome::Halted);
    }

    /// Begins to measure what has a limit on disk, if it is time.
    pub(super) fn measure_disks(&mut self) {
        let now = Timestamp::now();
        if self.disk_check.is_some_and(|at| at > now) {
            return;
        }
        let limits = storage::limits(&self.node.paths, &self.record);
        self.disk_check = None;
        if limits.is_empty() {
            return;
        }
        self.disk_check = now.checked_add(DISK_CHECK).ok();
        self.tasks
            .spawn_blocking(move || (None, Done::Disk(storage::exceeded(&limits))));
    }

    /// Evicts the pod when it has outgrown a limit on disk.
    pub(super) fn disk_done(&mut self, exceeded: Option<String>) {
        if let Some(message) = exceeded.filter(|_| self.closing.is_none()) {
            self.end_badly("Evicted", &message, self.grace());
        }
    }
}
