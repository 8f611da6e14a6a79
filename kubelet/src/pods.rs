//! The daemon's pods: what sources and commands want becomes workers, and workers that end make room.
//!
//! One task has it all and is level-triggered: whatever it hears of, it compares what is wanted with what is here and takes
//! the steps that follow. It sleeps until something happens.
mod problems;
mod workers;

pub use problems::{Problems, Refusal};
pub use workers::{Ended, Workers};

use crate::admission::{self, AdmitError};
use crate::agent::{self, Caller, Post};
use crate::control::Command;
use crate::serve::Kubelet;
use crate::source::{Delivery, Set, Wanted};
use crate::state::{Origin, SourceKind, StopRequest, StoredPod};
use crate::worker::{Node, WorkerError};
use k8s_openapi::api::core::v1::Pod;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Requests that may wait for the manager.
const REQUESTS: usize = 256;
/// How soon a pod that was refused is tried again when nothing tells that its holder has gone.
const TRY_AGAIN: Duration = Duration::from_secs(5);

/// What the manager is asked for.
#[derive(Debug)]
pub enum Request {
    /// A worker is to be asked for something.
    Ask(String, Command),
    /// Somebody wants to know whether the manager still listens.
    Ping(oneshot::Sender<()>),
}

/// Requests to the manager. Clones send to the same one.
#[derive(Clone, Debug)]
pub struct Handle {
    requests: mpsc::Sender<Request>,
}

impl Handle {
    /// A handle, and where its requests arrive.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<Request>) {
        let (requests, receiver) = mpsc::channel(REQUESTS);
        (Handle { requests }, receiver)
    }

    /// Ends the pod; a source that still wants it does not bring it back before it wants it otherwise.
    pub async fn stop(&self, uid: &str, stop: StopRequest) {
        self.ask(uid, Command::Stop(stop)).await;
    }

    /// Waits until the manager has said that it listens; `false` when it is gone.
    pub async fn ping(&self) -> bool {
        let (answer, answered) = oneshot::channel();
        let sent = self.requests.send(Request::Ping(answer)).await;
        sent.is_ok() && answered.await.is_ok()
    }

    /// Asks the pod's worker for something. One that is over hears nothing.
    pub async fn ask(&self, uid: &str, command: Command) {
        // The manager is gone only when the daemon ends.
        let _ = self
            .requests
            .send(Request::Ask(uid.to_owned(), command))
            .await;
    }
}

/// The daemon's pods.
#[derive(Debug)]
pub struct Manager {
    node: Node,
    problems: Problems,
    workers: Workers,
    deliveries: mpsc::Receiver<Delivery>,
    requests: mpsc::Receiver<Request>,
    sets: BTreeMap<SourceKind, Set>,
    refusals: Vec<Refusal>,
}

impl Manager {
    /// Nothing is looked after yet.
    #[must_use]
    pub fn new(
        kubelet: &Kubelet,
        deliveries: mpsc::Receiver<Delivery>,
        requests: mpsc::Receiver<Request>,
    ) -> Self {
        Manager {
            workers: Workers::new(&kubelet.node),
            node: kubelet.node.clone(),
            problems: kubelet.problems.clone(),
            deliveries,
            requests,
            sets: BTreeMap::new(),
            refusals: Vec::new(),
        }
    }

    /// Takes up all pods that a kubelet before this one has left, whether their sources can be read or not.
    ///
    /// # Errors
    /// When the pods' folder cannot be read. A pod whose record cannot be read is none.
    pub fn take_up(&mut self) -> io::Result<()> {
        let (pods, broken) = self.node.paths.load_all()?;
        for err in broken {
            tracing::error!(%err, "cannot read a pod's record; the others go on");
        }
        for pod in pods {
            if !pod.record.is_lasting() {
                continue;
            }
            if pod.state.phase.ended() {
                self.node.registry.put(pod);
            } else {
                self.take(pod);
            }
        }
        Ok(())
    }

    /// Whether a pod runs that an agent is to look after once the daemon has ended.
    #[must_use]
    pub fn has_detached(&self) -> bool {
        let pods = self.node.registry.list();
        pods.iter()
            .any(|pod| pod.record.detached && !pod.state.phase.ended())
    }

    /// Serves until `ending` is cancelled. The pods go on.
    ///
    /// # Errors
    /// When the post's socket does not work.
    pub async fn run(&mut self, mut post: Post, ending: &CancellationToken) -> io::Result<()> {
        post.open()?;
        loop {
            tokio::select! {
                () = ending.cancelled() => break,
                caller = post.next() => self.hear(caller?)?,
                Some(delivery) = self.deliveries.recv() => {
                    self.accept(delivery);
                    while let Ok(delivery) = self.deliveries.try_recv() {
                        self.accept(delivery);
                    }
                    self.reconcile();
                }
                Some(request) = self.requests.recv() => self.answer(request),
                Some(_) = self.workers.next_end() => self.reconcile(),
                () = tokio::time::sleep(TRY_AGAIN), if !self.refusals.is_empty() => self.reconcile(),
            }
        }
        post.close()
    }

    fn answer(&mut self, request: Request) {
        match request {
            Request::Ask(uid, command) => {
                self.workers.ask(&uid, command);
            }
            // An error means that nobody waits any more.
            Request::Ping(answer) => drop(answer.send(())),
        }
    }

    fn hear(&mut self, caller: Caller) -> io::Result<()> {
        match caller {
            Caller::Look(answer) => {
                agent::look(&self.node, &mut self.workers)?;
                answer.send("looked");
            }
            Caller::Leave(answer) => answer.send(agent::STAYS),
        }
        Ok(())
    }

    fn accept(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Set(set) => {
                self.sets.insert(set.source, set);
            }
            Delivery::Failed(failed) => {
                tracing::warn!(
                    source = failed.source.as_str(),
                    place = failed.problem.place,
                    "{}",
                    failed.problem.message
                );
            }
        }
    }

    /// Takes the steps from what is here to what is wanted.
    fn reconcile(&mut self) {
        // Files are written and locks are taken: milliseconds for many pods.
        tokio::task::block_in_place(|| self.settle());
    }

    fn settle(&mut self) {
        let here = self.node.registry.list();
        let mut refusals = Vec::new();
        let sets = std::mem::take(&mut self.sets);
        for set in sets.values() {
            for pod in here
                .iter()
                .filter(|pod| pod.record.origin.source == set.source && pod.record.stop.is_none())
            {
                let wanted = set.pods.iter().any(|wanted| same_name(&wanted.pod, pod));
                let broken =
                    |problem: &crate::source::Problem| problem.place == pod.record.origin.place;
                if !wanted && !set.problems.iter().any(broken) {
                    self.end(pod);
                }
            }
            for wanted in &set.pods {
                if here.iter().any(|pod| {
                    same_name(&wanted.pod, pod) && pod.record.origin.source == set.source
                }) {
                    continue;
                }
                if let Err(err) = self.let_in(set, wanted) {
                    refusals.push(Refusal::new(set.source, wanted, &err));
                }
            }
        }
        self.sets = sets;
        self.problems.set(&refusals, &self.sets);
        self.refusals = refusals;
    }

    fn let_in(&mut self, set: &Set, wanted: &Wanted) -> Result<(), AdmitError> {
        let origin = Origin {
            source: set.source,
            place: wanted.place.clone(),
        };
        let pod = admission::admit_from(
            &self.node.paths,
            Pod::clone(&wanted.pod),
            &set.companions,
            origin,
        )?;
        self.take(pod);
        Ok(())
    }

    fn take(&mut self, pod: StoredPod) {
        let uid = pod.record.uid().to_owned();
        match self.workers.take(pod) {
            Ok(()) => {}
            Err(WorkerError::Owned { pod }) => {
                tracing::warn!(uid, pod, "another rkubelet looks after this pod");
            }
            Err(err) => {
                tracing::error!(uid, err = crate::error::chain(&err), "cannot take a pod up");
            }
        }
    }

    fn end(&mut self, pod: &Arc<StoredPod>) {
        if pod.state.phase.ended() {
            return;
        }
        let grace_seconds = pod.record.grace_seconds();
        self.workers.ask(
            pod.record.uid(),
            Command::Stop(StopRequest { grace_seconds }),
        );
    }
}

fn same_name(wanted: &Pod, pod: &StoredPod) -> bool {
    wanted.metadata.name.as_deref() == Some(pod.record.name())
        && wanted.metadata.namespace.as_deref().unwrap_or("default") == pod.record.namespace()
}
