//! The daemon's pods: what sources and commands want becomes workers, and workers that end make room.
//!
//! One task has it all and is level-triggered: whatever it hears of, it compares what is wanted with what is here and takes
//! the steps that follow. It sleeps until something happens.
mod problems;
mod workers;

pub use problems::{BadPlace, Listing, Problems, Refusal};
pub use workers::{Ended, Workers};

use crate::admission::Admission;
use crate::agent::{self, Caller, Post};
use crate::control::Command;
use crate::events::{NodeEvent, NodeEvents};
use crate::serve::Kubelet;
use crate::source::Delivery;
use crate::state::{PodRecord, StopBy, StopRequest, StoredPod};
use crate::union::{Decision, Union};
use crate::worker::{Node, WorkerError};
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
    events: NodeEvents,
    union: Union,
    workers: Workers,
    deliveries: mpsc::Receiver<Delivery>,
    requests: mpsc::Receiver<Request>,
    /// Whether a pod waits for something that nothing tells of.
    waiting: bool,
}

impl Manager {
    /// Nothing is looked after yet.
    #[must_use]
    pub fn new(
        kubelet: &Kubelet,
        union: Union,
        deliveries: mpsc::Receiver<Delivery>,
        requests: mpsc::Receiver<Request>,
    ) -> Self {
        Manager {
            workers: Workers::new(&kubelet.node),
            node: kubelet.node.clone(),
            problems: kubelet.problems.clone(),
            events: kubelet.node.events.clone(),
            union,
            deliveries,
            requests,
            waiting: false,
        }
    }

    /// Takes up all pods that a kubelet before this one has left, whether their sources can be read or not.
    ///
    /// # Errors
    /// When the pods' folder cannot be read. A pod whose record cannot be read is none.
    pub fn take_up(&mut self) -> io::Result<()> {
        let (pods, broken) = self.node.paths.load_all()?;
        for err in broken {
            let message = format!("a pod's record cannot be read: {err}");
            self.events
                .append(NodeEvent::node("BadRecord", message).warning());
        }
        for pod in pods {
            if pod.state.phase.ended() {
                self.node.registry.put(pod);
            } else if pod.record.is_lasting() {
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
        // Pods of sources that there are no more end now.
        self.reconcile();
        loop {
            tokio::select! {
                () = ending.cancelled() => break,
                caller = post.next() => self.hear(caller?)?,
                Some(delivery) = self.deliveries.recv() => {
                    self.union.accept(delivery);
                    while let Ok(delivery) = self.deliveries.try_recv() {
                        self.union.accept(delivery);
                    }
                    self.reconcile();
                }
                Some(request) = self.requests.recv() => self.request(request),
                Some(_) = self.workers.next_end() => {
                    while self.workers.try_next_end().is_some() {}
                    self.reconcile();
                }
                () = tokio::time::sleep(TRY_AGAIN), if self.waiting => self.reconcile(),
            }
        }
        Ok(())
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

    fn request(&mut self, request: Request) {
        match request {
            Request::Ask(uid, command) => {
                self.workers.ask(&uid, command);
            }
            // An error means that nobody waits any more.
            Request::Ping(answer) => drop(answer.send(())),
        }
    }

    /// Takes the steps from what is here to what is wanted.
    fn reconcile(&mut self) {
        // Files are written and locks are taken: milliseconds for many pods.
        tokio::task::block_in_place(|| {
            let mut decision = self.union.decide(&self.node.registry.list());
            self.end(&mut decision);
            for record in decision.update.drain(..) {
                let uid = record.uid().to_owned();
                self.workers.ask(&uid, Command::Update(record));
            }
            self.let_in(&mut decision);
            self.waiting = !decision.refused.is_empty();
            let listing = Listing {
                refused: decision.refused,
                places: decision.places,
            };
            self.problems.set(listing, &self.events);
        });
    }

    fn end(&mut self, decision: &mut Decision) {
        for (uid, by) in decision.end.drain(..) {
            let Some(pod) = self.node.registry.get(&uid) else {
                continue;
            };
            let grace_seconds = pod.record.grace_seconds();
            let stop = StopRequest { grace_seconds, by };
            if !self.workers.ask(&uid, Command::Stop(stop)) {
                tracing::warn!(
                    uid,
                    "a pod that is to end is looked after by another rkubelet"
                );
            }
        }
        for uid in decision.unwanted.drain(..) {
            self.note_unwanted(&uid);
        }
    }

    /// Notes that a pod that is over may be forgotten, and is not what its source wants if that ever wants it again.
    fn note_unwanted(&self, uid: &str) {
        let Some(pod) = self.node.registry.get(uid) else {
            return;
        };
        let mut pod = StoredPod::clone(&pod);
        Arc::make_mut(&mut pod.record).stop = Some(StopRequest {
            grace_seconds: 0,
            by: StopBy::Removed,
        });
        match self.node.paths.save_record(&pod.record) {
            Ok(()) => self.node.registry.put(pod),
            Err(err) => tracing::warn!(%err, "cannot note that a pod is not wanted any more"),
        }
    }

    fn let_in(&mut self, decision: &mut Decision) {
        if decision.admit.is_empty() {
            return;
        }
        let mut refuse = |record: &PodRecord, message| {
            decision.refused.push(Refusal::new(record, message));
        };
        let admission = Admission::open(&self.node.paths, Some(&self.node.registry));
        let mut admission = match admission {
            Ok(admission) => admission,
            Err(err) => {
                let message = crate::error::chain(&err);
                return decision
                    .admit
                    .iter()
                    .for_each(|record| refuse(record, message.clone()));
            }
        };
        for record in decision.admit.drain(..) {
            match admission.admit(record.clone()) {
                Ok(pod) => self.take(pod),
                Err(err) => refuse(&record, crate::error::chain(&err)),
            }
        }
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
}
