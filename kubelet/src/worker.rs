//! One pod's reconciler: observe, plan, take the next step; until the pod is over.
//!
//! ```text
//!   setup: volumes, sandbox (supervisor), network        each idempotent, or adopted after a crash
//!     |
//!     v        ,--- supervisor: a container ended, the supervisor is gone
//!   plan() <---+--- probes: started, ready, unhealthy
//!     |        +--- commands: update, stop, evict, halt
//!     |        +--- tasks: image here, hook done, signal sent
//!     v        `--- clock: back-off over, grace over, deadline reached
//!   fetch an image | start a container | end one | end the pod -> teardown
//! ```
//! The loop sleeps until something happens; an idle pod wakes nobody, and nothing that takes time keeps it from hearing. All that matters is on disk or with the
//! supervisor, so another process can take over after a `kill -9` at any line.
mod container;
mod ending;
mod files;
mod leftovers;
mod limits;
mod revise;
mod setup;
mod stop;
mod take_up;
mod work;

pub use setup::cgroup_of;

use crate::control::{Command, Server};
use crate::counts::Probed;
use crate::events::About;
use crate::images::Images;
use crate::network::Network;
use crate::paths::Paths;
use crate::plan::{self, Backoff, Restarts, Step};
use crate::probe::{Kind, Probes, Verdict};
use crate::sandbox::{Executor, Sandbox, SandboxEvent};
use crate::state::{ContainerState, Eviction, Phase, PodRecord, PodState, StopRequest, StoredPod};
use crate::update::Reporter;
use crate::volume::Volumes;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Container;
use std::collections::BTreeMap;
use std::sync::Arc;
use stop::{Closing, Outcome, Over};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use work::{Item, Report, Work};

/// How soon a state is written again that could not be.
const SAVE_AGAIN: SignedDuration = SignedDuration::from_secs(5);
/// How often the last state of a pod is tried to be written before its worker goes.
const SAVES: u32 = 5;

/// What a kubelet knows whatever the pod.
#[derive(Clone, Debug)]
pub struct Node {
    /// Where things lie.
    pub paths: Paths,
    /// The image store with its registries.
    pub images: Arc<Images>,
    /// The host's end of the pods' network.
    pub network: Network,
    /// How long to wait between tries.
    pub backoff: Backoff,
    /// The cgroup hierarchies of this host.
    pub cgroups: Arc<rkube_runtime::cgroup::Hierarchies>,
    /// The host's name.
    pub name: String,
    /// What this process knows of its pods.
    pub registry: crate::registry::Registry,
    /// What happened on this node.
    pub events: crate::events::NodeEvents,
    /// What holds for every pod.
    pub limits: crate::housekeeping::limits::PodLimits,
    /// What is counted where it happens.
    pub counts: crate::counts::Counts,
}

/// Why a worker gave a pod up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// Another process looks after the pod.
    #[error("pod {pod} is already looked after by another rkubelet")]
    Owned {
        /// `namespace/name`.
        pod: String,
    },
    /// A file of the pod could not be read or written.
    #[error("pod {pod}")]
    State {
        /// `namespace/name`.
        pod: String,
        /// What happened; names the file.
        source: std::io::Error,
    },
}

/// Looks after one pod. Make it with [`Worker::own`], then [`Worker::run`] it.
#[derive(Debug)]
pub struct Worker {
    node: Node,
    record: Arc<PodRecord>,
    state: PodState,
    restarts: Vec<Restarts>,
    reporter: Reporter,
    sandbox: Option<Sandbox>,
    /// When the sandbox was made, and how many in a row died soon after.
    sandbox_since: Option<Timestamp>,
    sandbox_deaths: u32,
    volumes: Volumes,
    volumes_ready: bool,
    /// The record has changed while the volumes were made.
    volumes_stale: bool,
    /// The task that makes the volumes.
    preparing: Option<AbortHandle>,
    /// Tells that task that nobody needs them any more.
    cancel: CancellationToken,
    works: BTreeMap<String, Item>,
    tasks: JoinSet<Report>,
    probes: BTreeMap<String, Probes>,
    executor: Executor,
    probed: Arc<Probed>,
    verdicts: (mpsc::Sender<Verdict>, mpsc::Receiver<Verdict>),
    commands: mpsc::Receiver<Command>,
    requests: mpsc::Sender<Command>,
    closing: Option<Closing>,
    /// Why the pod is given up: reason and message.
    fatal: Option<(String, String)>,
    /// When the sandbox may be tried again after it failed, and how often it failed in a row.
    setup_retry: Option<(Timestamp, u32)>,
    /// Containers whose end the supervisor keeps until it is written down here.
    unacknowledged: Vec<String>,
    /// When to write the state again that could not be written.
    save_retry: Option<Timestamp>,
    /// When the volumes with a limit on disk are measured next; none where none has one.
    disk_check: Option<Timestamp>,
    _server: Server,
    _lock: crate::lock::Lock,
}

/// What ended a wait.
enum Wake {
    Sandbox(SandboxEvent),
    Verdict(Verdict),
    Command(Command),
    Task(Result<(tokio::task::Id, Report), JoinError>),
    Clock,
}

impl Worker {
    /// Takes the pod: from here on, and until the worker is dropped, no other process will.
    ///
    /// # Errors
    /// When another process has it, or its files cannot be used.
    pub fn own(node: &Node, pod: StoredPod) -> Result<Self, WorkerError> {
        let name = pod.record.full_name();
        let failed = |source| WorkerError::State {
            pod: name.clone(),
            source,
        };
        let uid = pod.record.uid().to_owned();
        crate::paths::create_private(&node.paths.pod_run(&uid)).map_err(failed)?;
        let lock = crate::lock::try_exclusive(&node.paths.pod_run(&uid).join("lock"))
            .map_err(failed)?
            .ok_or_else(|| WorkerError::Owned { pod: name.clone() })?;
        let reporter = Reporter::new(&node.paths.pod(&uid), &name)
            .relaying(&node.events, About::pod(&pod.record));
        let (sender, commands) = mpsc::channel(16);
        let server = Server::bind(&node.paths, &uid, &reporter, sender.clone()).map_err(failed)?;
        Ok(Worker {
            node: node.clone(),
            restarts: Restarts::of(&pod.record),
            record: pod.record,
            state: pod.state,
            reporter,
            sandbox: None,
            sandbox_since: None,
            sandbox_deaths: 0,
            volumes: Volumes::new(),
            volumes_ready: false,
            volumes_stale: false,
            preparing: None,
            cancel: CancellationToken::new(),
            works: BTreeMap::new(),
            tasks: JoinSet::new(),
            probes: BTreeMap::new(),
            executor: Executor::new(&node.paths, &uid, &node.cgroups),
            probed: node.counts.probes_of(&uid),
            verdicts: mpsc::channel(64),
            commands,
            requests: sender,
            closing: None,
            fatal: None,
            setup_retry: None,
            unacknowledged: Vec::new(),
            save_retry: None,
            disk_check: None,
            _server: server,
            _lock: lock,
        })
    }

    /// Where this process sends its own requests to the worker.
    #[must_use]
    pub fn requests(&self) -> mpsc::Sender<Command> {
        self.requests.clone()
    }

    /// Hears what the worker does.
    #[must_use]
    pub fn listen(&self) -> tokio::sync::broadcast::Receiver<crate::update::Update> {
        self.reporter.listen()
    }

    /// Runs the pod to its end, tears down what it had on this host, and returns how it ended. A pod that was halted is
    /// not over: its phase says so.
    ///
    /// # Errors
    /// Only when its last state cannot be written; whatever else goes wrong is the pod's state.
    pub async fn run(mut self) -> Result<PodState, WorkerError> {
        self.take_up().await;
        let over = loop {
            if let Some(over) = self.step().await {
                break over;
            }
            self.observe_phase();
            self.save().await;
            match self.wait().await {
                Wake::Sandbox(SandboxEvent::Exited(exit)) => self.note_exit(&exit).await,
                Wake::Sandbox(SandboxEvent::Gone) => self.sandbox_gone().await,
                Wake::Verdict(verdict) => self.verdict(&verdict),
                Wake::Command(command) => self.command(command),
                Wake::Task(ended) => self.task_ended(ended),
                Wake::Clock => {}
            }
        };
        self.finish(over).await;
        self.save_at_last().await?;
        Ok(self.state)
    }

    /// Takes the steps that are due. `Some` when nothing of the pod runs, and nothing is to.
    async fn step(&mut self) -> Option<Over> {
        self.advance_endings();
        self.note_wishes();
        if let Some(closing) = self.closing {
            return self.close(closing);
        }
        if self.sandbox.is_none() || !self.volumes_ready {
            let later = self
                .setup_retry
                .is_some_and(|(at, _)| at > Timestamp::now());
            if later || !self.setup().await {
                return self.give_up();
            }
        }
        self.measure_disks();
        self.end_outdated();
        // A container whose start failed goes into back-off, so this ends.
        loop {
            let mut started = false;
            for step in plan::plan(&self.restarts, &self.state.containers, Timestamp::now()) {
                match step {
                    Step::Start(index) => started |= self.start_container(index).await,
                    Step::Retry(..) => {}
                    Step::StopSidecars => self.begin_closing(self.grace(), Outcome::Planned),
                    Step::End(phase) => return Some(Over::Ended(phase)),
                }
            }
            if let Some(closing) = self.closing {
                return self.close(closing);
            }
            if !started {
                return self.give_up();
            }
        }
    }

    /// Sleeps until something happens.
    async fn wait(&mut self) -> Wake {
        let (next, moment) = (self.next_time(), self.next_moment());
        let clock = async move {
            let sleep = match (next.map(until), moment) {
                (Some(wait), Some(moment)) => moment.min(Instant::now() + wait),
                (Some(wait), None) => Instant::now() + wait,
                (None, Some(moment)) => moment,
                (None, None) => return std::future::pending().await,
            };
            tokio::time::sleep_until(sleep).await;
        };
        let sandbox = async {
            match &mut self.sandbox {
                Some(sandbox) => sandbox.next_event().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            event = sandbox => Wake::Sandbox(event),
            Some(verdict) = self.verdicts.1.recv() => Wake::Verdict(verdict),
            Some(command) = self.commands.recv() => Wake::Command(command),
            Some(ended) = self.tasks.join_next_with_id() => Wake::Task(ended),
            () = clock => Wake::Clock,
        }
    }

    /// The next time at which the clock alone changes something.
    fn next_time(&self) -> Option<Timestamp> {
        if self.closing.is_some() {
            return self.save_retry;
        }
        let steps = plan::plan(&self.restarts, &self.state.containers, Timestamp::now());
        let retries = steps.iter().filter_map(|step| match step {
            Step::Retry(_, at) => Some(*at),
            Step::Start(_) | Step::StopSidecars | Step::End(_) => None,
        });
        let setup = self
            .setup_retry
            .filter(|_| self.sandbox.is_none() || !self.volumes_ready)
            .map(|(at, _)| at);
        retries
            .chain(setup)
            .chain(self.deadline())
            .chain(self.disk_check)
            .chain(self.save_retry)
            .min()
    }

    /// Likewise of what counts by the monotonic clock: graces.
    fn next_moment(&self) -> Option<Instant> {
        let endings = self.works.values().filter_map(|item| match &item.work {
            Work::Ending(ending) => ending.due(),
            Work::Image | Work::Ready(_) | Work::PostStart => None,
        });
        endings
            .chain(self.closing.map(|closing| closing.give_up()))
            .min()
    }

    /// When `activeDeadlineSeconds` is over.
    fn deadline(&self) -> Option<Timestamp> {
        let seconds = self.record.pod.spec.as_ref()?.active_deadline_seconds?;
        self.state
            .start_time?
            .checked_add(SignedDuration::from_secs(seconds))
            .ok()
    }

    /// Begins the pod's end if somebody wants it or its time is over.
    fn note_wishes(&mut self) {
        if self.closing.is_some() {
            return;
        }
        if let Some(eviction) = self.record.eviction.clone() {
            self.evict(&eviction);
        } else if let Some(stop) = self.record.stop {
            self.stop_pod(stop);
        } else if self.deadline().is_some_and(|at| at <= Timestamp::now()) {
            let message = "the pod ran longer than its activeDeadlineSeconds";
            self.end_badly("DeadlineExceeded", message, self.grace());
        }
    }

    fn command(&mut self, command: Command) {
        match command {
            Command::Report => self.reporter.state(&self.state),
            Command::Stop(stop) => self.request_stop(stop),
            Command::Update(record) => self.update(&record),
            Command::Evict(eviction) => self.request_eviction(eviction),
            Command::Halt { grace_seconds } => self.halt(grace_seconds),
        }
    }

    /// Notes the wish on disk first: a stop that was heard is not forgotten by a crash.
    fn request_stop(&mut self, stop: StopRequest) {
        Arc::make_mut(&mut self.record).stop = Some(stop);
        self.save_record();
        if self.closing.is_some() {
            self.begin_closing(stop.grace_seconds, Outcome::ByExitCodes);
        }
    }

    /// Likewise the node's own wish, which nothing takes back.
    fn request_eviction(&mut self, eviction: Eviction) {
        let grace_seconds = eviction.grace_seconds;
        Arc::make_mut(&mut self.record)
            .eviction
            .get_or_insert(eviction);
        self.save_record();
        if self.closing.is_some() {
            self.begin_closing(grace_seconds, Outcome::ByExitCodes);
        }
    }

    fn save_record(&self) {
        if let Err(err) = self.node.paths.save_record(&self.record) {
            tracing::warn!(pod = self.record.full_name(), %err, "cannot note what is asked for");
        }
    }

    fn verdict(&mut self, verdict: &Verdict) {
        if self.is_ending(&verdict.container) {
            return;
        }
        let Some(container) = self.state.container_mut(&verdict.container) else {
            return;
        };
        if container.attempt() != verdict.attempt || !container.running() {
            return;
        }
        if let Some(failure) = &verdict.failure {
            let message = format!("{} probe failed: {failure}", verdict.kind.as_str());
            self.reporter
                .warning("Unhealthy", Some(&verdict.container), message);
        }
        match (verdict.kind, verdict.healthy) {
            (_, None) => {}
            (Kind::Readiness, Some(ready)) => container.ready = ready,
            (Kind::Startup, Some(true)) => self.startup_passed(&verdict.container),
            (Kind::Liveness, Some(true)) => {}
            (Kind::Startup | Kind::Liveness, Some(false)) => {
                let message = format!(
                    "{} probe failed; the container is started again",
                    verdict.kind.as_str()
                );
                self.reporter
                    .event("Killing", Some(&verdict.container), message);
                let grace = self.probe_grace(&verdict.container, verdict.kind);
                self.end_container(&verdict.container, grace);
            }
        }
    }

    /// Ends a pod that did not come up at the first try, when somebody waits for it.
    fn give_up(&mut self) -> Option<Over> {
        let (reason, message) = self.fatal.take()?;
        self.state.reason = reason;
        self.state.message = message;
        self.begin_closing(0, Outcome::Failed);
        self.closing.and_then(|closing| self.close(closing))
    }

    /// Notes a failure that ends the pod if it is to fail fast and has never been up.
    fn note_failure(&mut self, reason: &str, message: &str) {
        if self.record.fail_fast && !self.state.was_up && self.fatal.is_none() {
            self.fatal = Some((reason.to_owned(), message.to_owned()));
        }
    }

    fn observe_phase(&mut self) {
        self.state.phase = plan::phase(&self.state.containers);
        if self.state.phase == Phase::Running && !self.state.was_up {
            self.state.was_up = true;
            self.node.counts.started(self.record.created);
        }
        crate::status::note_transitions(&self.record, &mut self.state, Timestamp::now());
    }

    /// Writes the state down if it has changed and tells those who listen. A disk that is full is tried again later: the
    /// pod goes on.
    async fn save(&mut self) {
        let known = self.node.registry.get(self.record.uid());
        let same = known.is_some_and(|known| {
            Arc::ptr_eq(&known.record, &self.record) && known.state == self.state
        });
        if !same || self.save_retry.is_some_and(|at| at <= Timestamp::now()) {
            self.save_now();
        }
        if self.save_retry.is_none() && !self.unacknowledged.is_empty() {
            let names = std::mem::take(&mut self.unacknowledged);
            if let Some(sandbox) = &self.sandbox {
                for name in names {
                    sandbox.acknowledge(&name).await;
                }
            }
        }
    }

    fn save_now(&mut self) {
        // On disk first: whoever hears of the state may look there at once.
        let saved = self.node.paths.save_state(self.record.uid(), &self.state);
        self.node.registry.put(StoredPod {
            record: self.record.clone(),
            state: self.state.clone(),
        });
        self.reporter.state(&self.state);
        self.save_retry = match saved {
            Ok(()) => None,
            Err(err) => {
                let pod = self.record.full_name();
                tracing::error!(pod, %err, "cannot write the pod's state down; it is tried again");
                Some(plan::later(Timestamp::now(), SAVE_AGAIN))
            }
        };
    }

    /// The last word on the pod.
    async fn save_at_last(&mut self) -> Result<(), WorkerError> {
        self.save_now();
        for _ in 1..SAVES {
            if self.save_retry.is_none() {
                return Ok(());
            }
            tokio::time::sleep(SAVE_AGAIN.unsigned_abs()).await;
            self.save_now();
        }
        let saved = self.node.paths.save_state(self.record.uid(), &self.state);
        saved.map_err(|source| WorkerError::State {
            pod: self.record.full_name(),
            source,
        })
    }

    /// Puts a container into back-off after a try that never ran.
    fn not_started(&mut self, index: usize, reason: &str, message: String) {
        let container = &mut self.state.containers[index];
        container.failures = container.failures.saturating_add(1);
        let wait = self.node.backoff.wait(container.failures.saturating_add(1));
        let at = plan::later(Timestamp::now(), wait.max(SignedDuration::from_secs(1)));
        container.retry_at = Some(at);
        // The first time it is the failure, after that the wait.
        let reason = match (reason, container.failures) {
            ("ErrImagePull", 2..) => "ImagePullBackOff",
            (reason, _) => reason,
        };
        container.state = ContainerState::Waiting {
            reason: reason.to_owned(),
            message: format!("{message}; next try at {}", plan::clock(at)),
        };
        let name = container.name.clone();
        self.note_failure(reason, &format!("container {name}: {message}"));
        self.reporter.warning(reason, Some(&name), message);
    }

    /// The container of that name, as it is asked for.
    fn asked(&self, name: &str) -> Option<&Container> {
        self.record.container(name)
    }

    /// Whether the container is on its way to its end.
    fn is_ending(&self, name: &str) -> bool {
        let work = self.works.get(name).map(|item| &item.work);
        matches!(work, Some(Work::Ending(_)))
    }
}

fn until(at: Timestamp) -> std::time::Duration {
    std::time::Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default()
}
