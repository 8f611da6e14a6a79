//! Ending containers gracefully, and ending whole pods: by request, by deadline, by a full volume.
use super::{Wake, Worker};
use crate::probe::Kind;
use crate::sandbox::SandboxEvent;
use crate::state::{Eviction, Phase, Role, StopRequest};
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;
use tokio::time::Instant;

/// How often the volumes with a limit on disk are measured. Only pods that have one pay for it.
const DISK_CHECK: SignedDuration = SignedDuration::from_secs(10);
/// After SIGKILL the kernel needs a moment; longer than this is a process that cannot be killed.
const KILL_WAIT: Duration = Duration::from_secs(10);

impl Worker {
    /// The pod's own grace in seconds.
    pub(super) fn grace(&self) -> u32 {
        self.spec()
            .termination_grace_period_seconds
            .map_or(30, |grace| u32::try_from(grace).unwrap_or(0))
    }

    /// The grace that a failed probe gives.
    pub(super) fn probe_grace(&self, name: &str, kind: Kind) -> u32 {
        let container = self
            .record
            .containers()
            .map(|(_, container)| container)
            .find(|container| container.name == name);
        let probe = container.and_then(|container| match kind {
            Kind::Startup => container.startup_probe.as_ref(),
            Kind::Liveness => container.liveness_probe.as_ref(),
            Kind::Readiness => None,
        });
        let own = probe.and_then(|probe| probe.termination_grace_period_seconds);
        own.map_or(self.grace(), |grace| u32::try_from(grace).unwrap_or(0))
    }

    /// Ends the pod because somebody asked for it.
    pub(super) async fn stop_pod(&mut self, stop: StopRequest) -> Phase {
        self.reporter.event(
            "Killing",
            None,
            format!("stopping, {} s of grace", stop.grace_seconds),
        );
        self.state.reason = "Stopped".to_owned();
        self.state.message = "stopped by request".to_owned();
        self.stop_all(stop.grace_seconds).await;
        self.ended_phase()
    }

    /// Ends the pod for the node's sake.
    pub(super) async fn evict(&mut self, eviction: Eviction) -> Phase {
        self.reporter
            .warning(&eviction.reason, None, &eviction.message);
        self.state.reason = eviction.reason;
        self.state.message = eviction.message;
        self.stop_all(eviction.grace_seconds).await;
        Phase::Failed
    }

    /// Ends the pod because its time is over.
    pub(super) async fn deadline_exceeded(&mut self) -> Phase {
        let message = "the pod ran longer than its activeDeadlineSeconds";
        self.reporter.warning("DeadlineExceeded", None, message);
        self.state.reason = "DeadlineExceeded".to_owned();
        self.state.message = message.to_owned();
        self.stop_all(self.grace()).await;
        Phase::Failed
    }

    /// A pod that was ended: what its main containers came to. One that never ran counts as failed.
    fn ended_phase(&self) -> Phase {
        let mut mains = self
            .state
            .containers
            .iter()
            .filter(|container| container.role == Role::Main);
        let well = mains.all(|main| main.last_end().is_some_and(|end| end.exit_code == 0));
        if well {
            Phase::Succeeded
        } else {
            Phase::Failed
        }
    }

    /// Ends main and init containers together, then the sidecars, the last one first.
    pub(super) async fn stop_all(&mut self, grace: u32) {
        let until = Instant::now() + Duration::from_secs(grace.into());
        let of = |role: fn(Role) -> bool, worker: &Worker| -> Vec<String> {
            let running = worker
                .state
                .containers
                .iter()
                .filter(|container| container.running() && role(container.role));
            running.map(|container| container.name.clone()).collect()
        };
        let first = of(|role| role != Role::Sidecar, self);
        self.stop_containers_until(&first, until, grace).await;
        let mut sidecars = of(|role| role == Role::Sidecar, self);
        sidecars.reverse();
        for sidecar in sidecars {
            self.stop_containers_until(&[sidecar], until, grace).await;
        }
    }

    /// Ends these containers: preStop hook, stop signal, and SIGKILL when the grace is over.
    pub(super) async fn stop_containers(&mut self, names: &[String], grace: u32) {
        let until = Instant::now() + Duration::from_secs(grace.into());
        self.stop_containers_until(names, until, grace).await;
    }

    async fn stop_containers_until(&mut self, names: &[String], until: Instant, grace: u32) {
        if names.is_empty() {
            return;
        }
        for name in names {
            self.probes.remove(name);
        }
        if grace > 0 {
            self.pre_stop(names, until).await;
            let running: Vec<&String> = names.iter().filter(|name| self.runs(name)).collect();
            for name in running {
                let signal = self.stop_signal(name);
                if let Some(sandbox) = &self.sandbox {
                    sandbox.signal(name, signal).await;
                }
            }
            self.await_ends(names, until).await;
        }
        let left: Vec<String> = names
            .iter()
            .filter(|name| self.runs(name))
            .cloned()
            .collect();
        for name in &left {
            self.reporter
                .event("Killing", Some(name), "the grace is over: SIGKILL");
            if let Some(sandbox) = &self.sandbox {
                sandbox.kill(name).await;
            }
        }
        self.await_ends(&left, Instant::now() + KILL_WAIT).await;
    }

    fn runs(&self, name: &str) -> bool {
        self.state
            .container(name)
            .is_some_and(crate::state::ContainerRecord::running)
    }

    async fn pre_stop(&mut self, names: &[String], until: Instant) {
        let mut hooks = Vec::new();
        for name in names {
            let Some(target) = self.target(name) else {
                continue;
            };
            let handler = target
                .container
                .lifecycle
                .as_ref()
                .and_then(|lifecycle| lifecycle.pre_stop.clone());
            let Some(handler) = handler else { continue };
            let limit = until.saturating_duration_since(Instant::now());
            let name = name.clone();
            hooks.push(async move { (crate::probe::hook(&handler, &target, limit).await, name) });
        }
        for (outcome, name) in futures::future::join_all(hooks).await {
            if let Err(what) = outcome {
                self.reporter
                    .warning("FailedPreStopHook", Some(&name), what);
            }
        }
    }

    /// Waits until none of these runs, or the time is over. A second, shorter stop cuts it short.
    async fn await_ends(&mut self, names: &[String], until: Instant) {
        let mut until = until;
        while names.iter().any(|name| self.runs(name)) {
            let wake = {
                let Some(sandbox) = &mut self.sandbox else {
                    return;
                };
                tokio::select! {
                    event = sandbox.next_event() => Wake::Sandbox(event),
                    Some(command) = self.commands.recv() => Wake::Command(command),
                    () = tokio::time::sleep_until(until) => Wake::Clock,
                }
            };
            match wake {
                Wake::Sandbox(SandboxEvent::Exited(exit)) => self.note_exit(&exit),
                Wake::Sandbox(SandboxEvent::Gone) => return self.sandbox_gone().await,
                Wake::Command(super::Command::Stop(stop)) => {
                    self.request_stop(stop);
                    until =
                        until.min(Instant::now() + Duration::from_secs(stop.grace_seconds.into()));
                }
                Wake::Command(super::Command::Evict(eviction)) => {
                    let grace = Duration::from_secs(eviction.grace_seconds.into());
                    self.request_eviction(eviction);
                    until = until.min(Instant::now() + grace);
                }
                Wake::Command(command) => self.command(command),
                Wake::Verdict(_) => {}
                Wake::Clock => return,
            }
        }
    }

    /// SIGTERM, unless the manifest or the image has another signal.
    fn stop_signal(&self, name: &str) -> i32 {
        let container = self
            .record
            .containers()
            .map(|(_, container)| container)
            .find(|container| container.name == name);
        let own = container.and_then(|container| container.lifecycle.as_ref()?.stop_signal.clone());
        let of_image = || {
            let id = &self.state.container(name)?.image_id;
            self.node.images.stop_signal(id)
        };
        own.or_else(of_image)
            .and_then(|signal| crate::translate::host::signal_number(&signal))
            .unwrap_or(15)
    }

    /// When the volumes with a limit on disk are to be measured next.
    pub(super) fn disk_check_due(&self) -> Option<Timestamp> {
        if self.sandbox.is_none()
            || crate::volume::disk_limits(&self.node.paths, &self.record).is_empty()
        {
            return None;
        }
        Timestamp::now().checked_add(DISK_CHECK).ok()
    }

    /// Evicts the pod when an emptyDir on disk has outgrown its sizeLimit.
    pub(super) async fn disk_check(&mut self) -> Option<Phase> {
        for (name, dir, limit) in crate::volume::disk_limits(&self.node.paths, &self.record) {
            let measured = tokio::task::spawn_blocking(move || crate::disk::usage(&dir)).await;
            let Ok(Ok(used)) = measured else { continue };
            if used > limit {
                let message = format!(
                    "emptyDir volume \"{name}\" holds {used} bytes, over its sizeLimit of {limit}"
                );
                self.reporter.warning("Evicted", None, &message);
                self.state.reason = "Evicted".to_owned();
                self.state.message = message;
                self.stop_all(self.grace()).await;
                return Some(Phase::Failed);
            }
        }
        None
    }
}
