//! One pod's reconciler: observe, plan, take the next step; until the pod is over.
//!
//! ```text
//!   setup: volumes, sandbox (supervisor), network        each idempotent, or adopted after a crash
//!     |
//!     v        ,--- supervisor: a container ended, the supervisor is gone
//!   plan() <---+--- probes: started, ready, unhealthy
//!     |        +--- the owner's socket: stop
//!     v        `--- clock: back-off over, deadline reached
//!   start a container | end sidecars | end the pod -> teardown
//! ```
//! The loop sleeps until something happens; an idle pod wakes nobody. All that matters is on disk or with the
//! supervisor, so another process can take over after a `kill -9` at any line.
mod container;
mod ending;
mod revise;
mod setup;
mod stop;

pub use setup::cgroup_of;

use crate::control::{Command, Server};
use crate::images::Images;
use crate::network::Network;
use crate::paths::Paths;
use crate::plan::{self, Backoff, RestartPolicy, Step};
use crate::probe::{Kind, Probes, Verdict};
use crate::sandbox::{Sandbox, SandboxEvent};
use crate::state::{ContainerState, Eviction, Phase, PodRecord, PodState, StopRequest, StoredPod};
use crate::update::Reporter;
use crate::volume::Volumes;
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::mpsc;

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
    policy: RestartPolicy,
    reporter: Reporter,
    sandbox: Option<Sandbox>,
    volumes: Volumes,
    probes: BTreeMap<String, Probes>,
    verdicts: (mpsc::Sender<Verdict>, mpsc::Receiver<Verdict>),
    commands: mpsc::Receiver<Command>,
    requests: mpsc::Sender<Command>,
    /// Why the pod is given up: reason and message.
    fatal: Option<(String, String)>,
    /// When the sandbox may be tried again after it failed, and how often it failed in a row.
    setup_retry: Option<(Timestamp, u32)>,
    _server: Server,
    _lock: std::fs::File,
}

/// What ended a wait.
enum Wake {
    Sandbox(SandboxEvent),
    Verdict(Verdict),
    Command(Command),
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
        let reporter = Reporter::new(&node.paths.pod(&uid), &name);
        let (sender, commands) = mpsc::channel(16);
        let server = Server::bind(&node.paths, &uid, &reporter, sender.clone()).map_err(failed)?;
        let spec = pod.record.pod.spec.as_ref();
        let policy = RestartPolicy::of(spec.and_then(|spec| spec.restart_policy.as_deref()));
        Ok(Worker {
            node: node.clone(),
            record: pod.record,
            state: pod.state,
            policy,
            reporter,
            sandbox: None,
            volumes: Volumes::new(),
            probes: BTreeMap::new(),
            verdicts: mpsc::channel(64),
            commands,
            requests: sender,
            fatal: None,
            setup_retry: None,
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

    /// Runs the pod to its end, tears down what it had on this host, and returns how it ended.
    ///
    /// # Errors
    /// Only when the pod's own files cannot be written; whatever else goes wrong is the pod's state.
    pub async fn run(mut self) -> Result<PodState, WorkerError> {
        self.take_up().await;
        let phase = loop {
            if let Some(eviction) = self.record.eviction.clone() {
                break self.evict(eviction).await;
            }
            if let Some(stop) = self.record.stop {
                break self.stop_pod(stop).await;
            }
            if let Some(phase) = self.step().await {
                break phase;
            }
            self.observe_phase();
            self.save()?;
            match self.wait().await {
                Wake::Sandbox(event) => self.sandbox_event(event).await,
                Wake::Verdict(verdict) => self.verdict(verdict).await,
                Wake::Command(command) => self.command(command),
                Wake::Clock => {}
            }
        };
        self.finish(phase).await;
        self.save()?;
        Ok(self.state)
    }

    /// Takes the steps that are due. `Some` when the pod is over.
    async fn step(&mut self) -> Option<Phase> {
        if self.deadline().is_some_and(|at| at <= Timestamp::now()) {
            return Some(self.deadline_exceeded().await);
        }
        if self.sandbox.is_none() {
            if self
                .setup_retry
                .is_some_and(|(at, _)| at > Timestamp::now())
            {
                return None;
            }
            if !self.setup().await {
                return self.give_up().await;
            }
        }
        if let Some(phase) = self.disk_check().await {
            return Some(phase);
        }
        self.restart_outdated().await;
        // A container whose start failed goes into back-off, so this ends.
        loop {
            let steps = plan::plan(self.policy, &self.state.containers, Timestamp::now());
            let mut started = false;
            for step in steps {
                match step {
                    Step::Start(index) => {
                        self.start_container(index).await;
                        started = true;
                    }
                    Step::Retry(..) => {}
                    Step::StopSidecars => {
                        self.stop_all(self.grace()).await;
                        started = true;
                    }
                    Step::End(phase) => return Some(phase),
                }
            }
            if self.fatal.is_some() {
                return self.give_up().await;
            }
            if !started || self.is_to_end() {
                return None;
            }
        }
    }

    /// Sleeps until something happens.
    async fn wait(&mut self) -> Wake {
        let next = self.next_time();
        let clock = async move {
            match next {
                Some(at) => tokio::time::sleep(until(at)).await,
                None => std::future::pending().await,
            }
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
            () = clock => Wake::Clock,
        }
    }

    /// The next moment at which the clock alone changes something.
    fn next_time(&self) -> Option<Timestamp> {
        let now = Timestamp::now();
        let steps = plan::plan(self.policy, &self.state.containers, now);
        let retries = steps.iter().filter_map(|step| match step {
            Step::Retry(_, at) => Some(*at),
            Step::Start(_) | Step::StopSidecars | Step::End(_) => None,
        });
        let setup = self
            .setup_retry
            .filter(|_| self.sandbox.is_none())
            .map(|(at, _)| at);
        let limits = self.disk_check_due();
        retries
            .chain(setup)
            .chain(self.deadline())
            .chain(limits)
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

    fn command(&mut self, command: Command) {
        match command {
            Command::Report => self.reporter.state(&self.state),
            Command::Stop(stop) => self.request_stop(stop),
            Command::Update(record) => self.update(&record),
            Command::Evict(eviction) => self.request_eviction(eviction),
        }
    }

    /// Whether somebody has asked for the pod's end.
    fn is_to_end(&self) -> bool {
        self.record.stop.is_some() || self.record.eviction.is_some()
    }

    /// Likewise the node's own wish, which nothing takes back.
    fn request_eviction(&mut self, eviction: Eviction) {
        Arc::make_mut(&mut self.record)
            .eviction
            .get_or_insert(eviction);
        self.save_record();
    }

    /// Notes the wish on disk first: a stop that was heard is not forgotten by a crash.
    fn request_stop(&mut self, stop: StopRequest) {
        Arc::make_mut(&mut self.record).stop = Some(stop);
        self.save_record();
    }

    fn save_record(&self) {
        if let Err(err) = self.node.paths.save_record(&self.record) {
            tracing::warn!(pod = self.record.full_name(), %err, "cannot note what is asked for");
        }
    }

    async fn sandbox_event(&mut self, event: SandboxEvent) {
        match event {
            SandboxEvent::Exited(exit) => self.note_exit(&exit),
            SandboxEvent::Gone => self.sandbox_gone().await,
        }
    }

    async fn verdict(&mut self, verdict: Verdict) {
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
                self.stop_containers(&[verdict.container], grace).await;
            }
        }
    }

    /// Ends a pod that did not come up at the first try, when somebody waits for it.
    async fn give_up(&mut self) -> Option<Phase> {
        let (reason, message) = self.fatal.take()?;
        self.state.reason = reason;
        self.state.message = message;
        self.stop_all(0).await;
        Some(Phase::Failed)
    }

    /// Notes a failure that ends the pod if it is to fail fast and has never been up.
    fn note_failure(&mut self, reason: &str, message: &str) {
        if self.record.fail_fast && !self.state.was_up && self.fatal.is_none() {
            self.fatal = Some((reason.to_owned(), message.to_owned()));
        }
    }

    fn observe_phase(&mut self) {
        self.state.phase = plan::phase(&self.state.containers);
        self.state.was_up |= self.state.phase == Phase::Running;
        crate::status::note_transitions(&self.record, &mut self.state, Timestamp::now());
    }

    fn save(&self) -> Result<(), WorkerError> {
        // On disk first: whoever hears of the state may look there at once.
        let saved = self.node.paths.save_state(self.record.uid(), &self.state);
        self.node.registry.put(StoredPod {
            record: self.record.clone(),
            state: self.state.clone(),
        });
        self.reporter.state(&self.state);
        saved.map_err(|source| WorkerError::State {
            pod: self.record.full_name(),
            source,
        })
    }

    /// Puts a container into back-off after a try that never ran.
    fn not_started(&mut self, index: usize, reason: &str, message: String) {
        let wait = |failures| {
            self.node
                .backoff
                .wait(failures)
                .max(SignedDuration::from_secs(1))
        };
        let container = &mut self.state.containers[index];
        container.failures = container.failures.saturating_add(1);
        container.retry_at = Timestamp::now()
            .checked_add(wait(container.failures.saturating_add(1)))
            .ok();
        container.state = ContainerState::Waiting {
            reason: reason.to_owned(),
            message: message.clone(),
        };
        let name = container.name.clone();
        self.note_failure(reason, &format!("container {name}: {message}"));
        self.reporter.warning(reason, Some(&name), message);
    }
}

fn until(at: Timestamp) -> std::time::Duration {
    std::time::Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default()
}
