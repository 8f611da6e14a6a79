//! One task that has all pods. It is level-triggered: whatever it hears of, it compares what is wanted with what is here and
//! takes the steps that follow. It sleeps until something happens.
use super::{Listing, Problems, Refusal, Request, Workers};
use crate::admission::Admission;
use crate::agent::{self, Caller, Post};
use crate::control::Command;
use crate::events::NodeEvent;
use crate::housekeeping::signals::Condition;
use crate::housekeeping::{Vitals, node};
use crate::serve::Kubelet;
use crate::source::Delivery;
use crate::state::{PodRecord, StopBy, StopRequest, StoredPod};
use crate::union::{Decision, Union};
use crate::worker::{Node, WorkerError};
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

/// How soon a pod that was refused is tried again when nothing tells that its holder has gone: twice as late each time.
const TRY_AGAIN: Duration = Duration::from_secs(2);
/// The longest wait between two tries.
const TRY_AGAIN_MOST: Duration = Duration::from_secs(60);
/// So many pods are let in at a stretch; then whoever waits is heard, the watchdog among them.
const BATCH: usize = 32;
/// How much longer than its grace a pod may take that had to be killed.
const KILLED_WAIT: Duration = Duration::from_secs(2);

/// The daemon's pods.
#[derive(Debug)]
pub struct Manager {
    node: Node,
    problems: Problems,
    vitals: Vitals,
    conditions: watch::Receiver<Vec<Condition>>,
    union: Union,
    workers: Workers,
    deliveries: mpsc::Receiver<Delivery>,
    requests: mpsc::Receiver<Request>,
    /// Pods that another process still has, which takes its time to end.
    held: BTreeSet<String>,
    /// Whether pods were left out because enough were let in at a stretch.
    more: bool,
    /// Whether a pod waits for something that nothing tells of.
    waiting: bool,
    /// How long it waits before it is looked at again.
    patience: Duration,
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
            vitals: kubelet.vitals.clone(),
            conditions: kubelet.vitals.listen(),
            union,
            deliveries,
            requests,
            held: BTreeSet::new(),
            more: false,
            waiting: false,
            patience: TRY_AGAIN,
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
            self.node
                .events
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
                caller = post.next() => self.hear(caller?).await?,
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
                Ok(()) = self.conditions.changed() => self.reconcile(),
                () = std::future::ready(()), if self.more => self.reconcile(),
                () = tokio::time::sleep(self.patience), if self.waiting => {
                    let longer = (self.patience * 2).min(TRY_AGAIN_MOST);
                    tokio::task::block_in_place(|| self.take_held());
                    self.reconcile();
                    self.patience = longer;
                }
            }
        }
        Ok(())
    }

    /// Ends the pods of which `which` is true for as long as the host is down: within this time, and within their own
    /// grace. What does not end is left to the host.
    pub async fn halt(&mut self, within: Duration, which: impl Fn(&StoredPod) -> bool) {
        let most = u32::try_from(within.as_secs()).unwrap_or(u32::MAX);
        let mut left = BTreeSet::new();
        for pod in self.node.registry.list() {
            let uid = pod.record.uid();
            let grace_seconds = pod.record.grace_seconds().min(most);
            if which(&pod) && self.workers.ask(uid, Command::Halt { grace_seconds }) {
                left.insert(uid.to_owned());
            }
        }
        let ends = async {
            while !left.is_empty() {
                let Some(ended) = self.workers.next_end().await else {
                    return;
                };
                left.remove(&ended.uid);
            }
        };
        // A container that was killed is gone a moment after its grace.
        let _ = tokio::time::timeout(within + KILLED_WAIT, ends).await;
    }

    async fn hear(&mut self, caller: Caller) -> io::Result<()> {
        match caller {
            Caller::Look(answer) => {
                tokio::task::block_in_place(|| {
                    self.take_held();
                    self.look()
                })?;
                answer.send("looked").await;
                self.reconcile();
            }
            Caller::Leave(answer) => answer.send(agent::STAYS).await,
        }
        Ok(())
    }

    /// Looks at the pods' folder: commands let pods in, and remove those that are over.
    fn look(&mut self) -> io::Result<()> {
        let uids: BTreeSet<String> = self.node.paths.uids()?.into_iter().collect();
        for pod in self.node.registry.list() {
            let uid = pod.record.uid();
            if pod.state.phase.ended() && !uids.contains(uid) {
                self.node.registry.remove(uid);
            }
        }
        let new = uids
            .iter()
            .filter(|uid| self.node.registry.get(uid).is_none());
        let new: Vec<_> = new.map(|uid| self.node.paths.load(uid)).collect();
        for pod in new {
            match pod {
                Ok(pod) if pod.state.phase.ended() => self.node.registry.put(pod),
                Ok(pod) if pod.record.detached => self.take(pod),
                // Of a command in the foreground, which looks after it.
                Ok(_) => {}
                Err(err) => tracing::error!(%err, "cannot read a pod's record"),
            }
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
            self.more = false;
            self.let_in(&mut decision);
            self.waiting = !decision.refused.is_empty() || !self.held.is_empty();
            // Something has happened, unless it was the clock.
            self.patience = TRY_AGAIN;
            let listing = Listing {
                refused: decision.refused,
                places: decision.places,
            };
            self.problems.set(listing, &self.node.events);
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
        let wanted = std::mem::take(&mut decision.admit);
        if wanted.is_empty() {
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
                let refuse = |record| refuse(record, message.clone());
                return wanted.iter().for_each(refuse);
            }
        };
        let mut here = self.node.registry.list();
        here.retain(|pod| !pod.state.phase.ended());
        let mut let_in = 0;
        for record in wanted {
            if let_in == BATCH {
                self.more = true;
                return;
            }
            let admitted = self.has_room(&record, &here).and_then(|()| {
                let pod = admission.admit(record.clone());
                pod.map_err(|err| crate::error::chain(&err))
            });
            match admitted {
                Ok(pod) => {
                    here.push(Arc::new(pod.clone()));
                    self.take(pod);
                    let_in += 1;
                }
                Err(message) => refuse(&record, message),
            }
        }
    }

    /// Whether the node has what the pod asks for, and is not short of anything.
    fn has_room(&self, record: &PodRecord, here: &[Arc<StoredPod>]) -> Result<(), String> {
        let Some(spec) = &record.pod.spec else {
            return Ok(());
        };
        let before = self.node.registry.named(record.namespace(), record.name());
        match before.filter(|pod| pod.record.eviction.is_some()) {
            Some(_) => self.vitals.takes_back()?,
            None => self.vitals.admits(spec)?,
        }
        let others = here.iter().filter_map(|pod| pod.record.pod.spec.as_ref());
        node::fits(spec, others, &self.vitals.allocatable()).map_err(|misfit| misfit.message)
    }

    /// Tries once more to take the pods that another process had.
    fn take_held(&mut self) {
        for uid in std::mem::take(&mut self.held) {
            match self.node.paths.load(&uid) {
                Ok(pod) if pod.state.phase.ended() => self.node.registry.put(pod),
                Ok(pod) => self.take(pod),
                Err(err) if err.kind() == io::ErrorKind::NotFound => {
                    self.node.registry.remove(&uid);
                }
                Err(err) => tracing::error!(%err, "cannot read a pod's record"),
            }
        }
    }

    /// Lets go of all pods, which go on.
    pub async fn let_go(mut self) {
        self.workers.let_go().await;
    }

    fn take(&mut self, pod: StoredPod) {
        let uid = pod.record.uid().to_owned();
        match self.workers.take(pod) {
            Ok(()) => {}
            Err(WorkerError::Owned { pod }) => {
                tracing::warn!(
                    uid,
                    pod,
                    "another rkubelet looks after this pod; it is taken up when that lets go"
                );
                self.held.insert(uid);
            }
            Err(err) => {
                tracing::error!(uid, err = crate::error::chain(&err), "cannot take a pod up");
            }
        }
    }
}
