//! Ending containers, one or all: preStop hook, stop signal, and SIGKILL when the grace is over.
//!
//! ```text
//!            hook done, or the grace is over      the grace is over           survives: once more, later
//! PreStop ------------------------------> Signalled ---------------> Killed <---------.
//!    `--- no grace ------------------------------------------------->   `-------------'
//! ```
//! Every arrow but the first is also taken by the clock, so a container that hangs in a hook, ignores its signal or cannot
//! be killed holds nobody up: a pod that is ended gives it up after [`KILL_WAIT`].
use super::Worker;
use super::work::{Done, Work};
use crate::plan::{self, Step};
use crate::probe::Kind;
use crate::state::{Phase, Role};
use jiff::Timestamp;
use std::time::Duration;
use tokio::time::Instant;

/// After SIGKILL the kernel needs a moment; longer than this is a process that cannot be killed.
const KILL_WAIT: Duration = Duration::from_secs(10);
/// The longest wait between two tries to kill what cannot be killed.
const KILL_AGAIN: Duration = Duration::from_secs(300);
/// What a container has for its signal when a hook, or those who ended before it, have used the grace up.
const LEAST_GRACE: Duration = Duration::from_secs(2);
/// What runs beside the pod's containers has so long beyond the grace; then the pod ends without it.
const STRAGGLERS: Duration = Duration::from_secs(60);

/// The way of one container to its end.
#[derive(Debug)]
pub(super) struct Ending {
    stage: Stage,
    /// When the next stage is due whatever happens.
    until: Instant,
    /// Whether its first process has ended; what was begun for it has not.
    ended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The preStop hook runs.
    PreStop,
    /// It was told to end.
    Signalled,
    /// It was killed; if it survives, it is killed again after so long.
    Killed(Duration),
}

impl Ending {
    /// Whether its preStop hook runs.
    pub(super) fn in_hook(&self) -> bool {
        self.stage == Stage::PreStop
    }
    /// When the clock moves it on.
    pub(super) fn due(&self) -> Option<Instant> {
        Some(self.until).filter(|_| !self.ended)
    }
}

/// A pod on its way to its end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Closing {
    until: Instant,
    /// Without any grace: nobody is asked, all are killed.
    sudden: bool,
    outcome: Outcome,
}

/// What a pod is once nothing of it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// What its main containers came to.
    ByExitCodes,
    /// What the plan says: it has come to its end by itself, and only sidecars run.
    Planned,
    /// Failed whatever they came to.
    Failed,
    /// Not over: it goes on after the next boot.
    Halted,
}

/// How a worker's part in a pod ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// The pod is over.
    Ended(Phase),
    /// Nothing of it runs, and it is to go on later.
    Halted,
}

impl Closing {
    /// When what still runs beside the containers is given up.
    pub(super) fn give_up(&self) -> Instant {
        self.until + STRAGGLERS
    }
}

impl Worker {
    /// The pod's own grace in seconds.
    pub(super) fn grace(&self) -> u32 {
        self.record.grace_seconds()
    }

    /// The grace that a failed probe gives.
    pub(super) fn probe_grace(&self, name: &str, kind: Kind) -> u32 {
        let probe = self.asked(name).and_then(|container| match kind {
            Kind::Startup => container.startup_probe.as_ref(),
            Kind::Liveness => container.liveness_probe.as_ref(),
            Kind::Readiness => None,
        });
        let own = probe.and_then(|probe| probe.termination_grace_period_seconds);
        own.map_or(self.grace(), |grace| u32::try_from(grace).unwrap_or(0))
    }

    /// The pod is to end; if it is on its way already, it ends sooner at most.
    pub(super) fn begin_closing(&mut self, grace_seconds: u32, outcome: Outcome) {
        let until = Instant::now() + Duration::from_secs(grace_seconds.into());
        let sudden = grace_seconds == 0;
        let closing = match self.closing {
            Some(closing) => Closing {
                until: closing.until.min(until),
                sudden: closing.sudden || sudden,
                // What is over for good does not go on after all.
                outcome: match (closing.outcome, outcome) {
                    (Outcome::Halted, outcome) => outcome,
                    (outcome, _) => outcome,
                },
            },
            None => Closing {
                until,
                sudden,
                outcome,
            },
        };
        self.closing = Some(closing);
        // What waits to be started never will.
        self.cancel.cancel();
        self.works
            .retain(|_, item| !matches!(item.work, Work::Image | Work::Ready(_)));
        let ending: Vec<String> = self.works.keys().cloned().collect();
        for name in ending {
            self.hasten(&name, closing.until);
        }
    }

    /// The next step of a pod's end: main and init containers together, then the sidecars, the last one first.
    pub(super) fn close(&mut self, closing: Closing) -> Option<Over> {
        let running = |role: fn(Role) -> bool| {
            let running = self.state.containers.iter().rev();
            let running = running.filter(move |one| one.running() && role(one.role));
            running.map(|container| container.name.clone())
        };
        let mut names: Vec<_> = running(|role| role != Role::Sidecar).collect();
        if names.is_empty() {
            names.extend(running(|role| role == Role::Sidecar).next());
        }
        let idle = names.is_empty() && self.works.is_empty() && self.preparing.is_none();
        let late = Instant::now() >= closing.give_up();
        if late {
            self.forget_lost(&[], "ContainerStatusUnknown", "it did not end in time");
        }
        if idle || late {
            return Some(match closing.outcome {
                Outcome::ByExitCodes => Over::Ended(self.ended_phase()),
                Outcome::Planned => Over::Ended(self.planned_phase()),
                Outcome::Failed => Over::Ended(Phase::Failed),
                Outcome::Halted => Over::Halted,
            });
        }
        for name in names {
            let last = self.state.container(&name).map(|container| container.role);
            let until = match last {
                // Whoever ended before it may have used the grace up, but not where there was none.
                Some(Role::Sidecar) if !closing.sudden => {
                    closing.until.max(Instant::now() + LEAST_GRACE)
                }
                Some(_) | None => closing.until,
            };
            self.end_container_by(&name, until);
        }
        None
    }

    fn planned_phase(&self) -> Phase {
        let steps = plan::plan(&self.restarts, &self.state.containers, Timestamp::now());
        match steps.first() {
            Some(Step::End(phase)) => *phase,
            Some(Step::Start(_) | Step::Retry(..) | Step::StopSidecars) | None => {
                self.ended_phase()
            }
        }
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

    /// Begins to end one container; the pod goes on.
    pub(super) fn end_container(&mut self, name: &str, grace_seconds: u32) {
        let grace = Duration::from_secs(grace_seconds.into());
        self.end_container_by(name, Instant::now() + grace);
    }

    fn end_container_by(&mut self, name: &str, until: Instant) {
        if let Some(Work::Ending(_)) = self.works.get(name).map(|item| &item.work) {
            return;
        }
        let Some(container) = self.state.container_mut(name).filter(|one| one.running()) else {
            return;
        };
        container.ready = false;
        self.probes.remove(name);
        if until <= Instant::now() {
            return self.kill(name, KILL_WAIT);
        }
        let target = self.target(name);
        let hook = target.and_then(|target| {
            let hook = target.container.lifecycle.as_ref()?.pre_stop.clone()?;
            Some((hook, target))
        });
        let Some((hook, target)) = hook else {
            return self.tell_to_end(name, until);
        };
        let limit = until.saturating_duration_since(Instant::now());
        let ending = Ending {
            stage: Stage::PreStop,
            until,
            ended: false,
        };
        self.begin(name, Work::Ending(ending), async move {
            Done::PreStop(crate::probe::hook(&hook, &target, limit).await)
        });
    }

    /// What is being ended already is to end by then.
    fn hasten(&mut self, name: &str, by: Instant) {
        if let Some(Work::Ending(ending)) = self.works.get_mut(name).map(|item| &mut item.work)
            && !matches!(ending.stage, Stage::Killed(_))
        {
            ending.until = ending.until.min(by);
        }
    }

    /// Sends the stop signal; SIGKILL follows when the time is over.
    fn tell_to_end(&mut self, name: &str, until: Instant) {
        let signal = self.stop_signal(name);
        let grace = until.saturating_duration_since(Instant::now());
        let message = format!(
            "signal {signal}, {} s of grace",
            grace.as_secs_f32().round()
        );
        self.reporter.event("Killing", Some(name), message);
        let Some(sandbox) = &self.sandbox else {
            return;
        };
        let sent = sandbox.signal(name, signal);
        let ending = Ending {
            stage: Stage::Signalled,
            until,
            ended: false,
        };
        self.begin(name, Work::Ending(ending), async move {
            sent.await;
            Done::Signalled
        });
    }

    fn kill(&mut self, name: &str, wait: Duration) {
        let Some(sandbox) = &self.sandbox else {
            return;
        };
        let killed = sandbox.kill(name);
        let ending = Ending {
            stage: Stage::Killed(wait),
            until: Instant::now() + wait,
            ended: false,
        };
        self.begin(name, Work::Ending(ending), async move {
            killed.await;
            Done::Signalled
        });
    }

    pub(super) fn pre_stop_done(&mut self, name: &str, outcome: Result<(), String>) {
        if let Err(what) = outcome {
            self.reporter.warning("FailedPreStopHook", Some(name), what);
        }
        let Some(Work::Ending(ending)) = self.works.get(name).map(|item| &item.work) else {
            return;
        };
        let until = ending.until.max(Instant::now() + LEAST_GRACE);
        if self.closing.is_some_and(|closing| closing.sudden) {
            self.kill(name, KILL_WAIT);
        } else {
            self.tell_to_end(name, until);
        }
    }

    /// What was sent has arrived. If the container has ended meanwhile, nothing of it is left to do.
    pub(super) fn signal_done(&mut self, name: &str) {
        if let Some(Work::Ending(ending)) = self.works.get(name).map(|item| &item.work)
            && ending.ended
        {
            self.works.remove(name);
        }
    }

    /// A container's first process has ended: its work has, too, but for a signal that is still under way.
    pub(super) fn work_ended(&mut self, name: &str) {
        let Some(item) = self.works.get_mut(name) else {
            return;
        };
        let busy = item.is_busy();
        match &mut item.work {
            Work::Ending(ending) if busy && !ending.in_hook() => ending.ended = true,
            Work::Ending(_) | Work::PostStart | Work::Image | Work::Ready(_) => {
                self.works.remove(name);
            }
        }
    }

    /// Moves those on whose time is over.
    pub(super) fn advance_endings(&mut self) {
        let now = Instant::now();
        let due: Vec<_> = self
            .works
            .iter()
            .filter_map(|(name, item)| match &item.work {
                Work::Ending(ending) if ending.until <= now && !ending.ended => {
                    Some((name.clone(), ending.stage))
                }
                Work::Ending(_) | Work::Image | Work::Ready(_) | Work::PostStart => None,
            })
            .collect();
        for (name, stage) in due {
            match stage {
                Stage::PreStop => {
                    let what = "it was not done when the grace was over";
                    self.pre_stop_done(&name, Err(what.to_owned()));
                }
                Stage::Signalled => {
                    self.reporter
                        .event("Killing", Some(&name), "the grace is over: SIGKILL");
                    self.kill(&name, KILL_WAIT);
                }
                Stage::Killed(wait) => self.survived(&name, wait),
            }
        }
    }

    /// A process sleeps in the kernel where no signal reaches it.
    fn survived(&mut self, name: &str, wait: Duration) {
        let message = "it survives SIGKILL: a process of it waits in the kernel, for a disk or a server that does not answer";
        self.reporter
            .warning("FailedKillContainer", Some(name), message);
        if self.closing.is_some() {
            self.works.remove(name);
            self.container_lost(name, "ContainerStatusUnknown", message);
        } else {
            self.kill(name, (wait * 2).min(KILL_AGAIN));
        }
    }

    /// SIGTERM, unless the manifest or the image has another signal.
    fn stop_signal(&self, name: &str) -> i32 {
        let container = self.asked(name);
        let own = container.and_then(|container| container.lifecycle.as_ref()?.stop_signal.clone());
        let of_image = || {
            let id = &self.state.container(name)?.image_id;
            self.node.images.stop_signal(id)
        };
        own.or_else(of_image)
            .and_then(|signal| crate::translate::host::signal_number(&signal))
            .unwrap_or(15)
    }
}
