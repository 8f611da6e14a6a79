//! The workers of this process, one for each pod that it looks after.
use crate::control::Command;
use crate::state::{PodState, StoredPod};
use crate::worker::{Node, Worker, WorkerError};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinSet};

/// How long a worker may take to let go of its pod: it does so between two steps.
const LET_GO: Duration = Duration::from_secs(2);

/// Pods that this process looks after.
#[derive(Debug)]
pub struct Workers {
    node: Node,
    running: BTreeMap<String, mpsc::Sender<Command>>,
    ends: JoinSet<Outcome>,
    tasks: HashMap<Id, String>,
}

type Outcome = Result<PodState, WorkerError>;

/// A worker that has let go of its pod.
#[derive(Debug)]
pub struct Ended {
    /// The pod.
    pub uid: String,
    /// How the pod ended; none where its worker gave it up.
    pub state: Option<PodState>,
}

impl Workers {
    /// No pods yet.
    #[must_use]
    pub fn new(node: &Node) -> Self {
        Workers {
            node: node.clone(),
            running: BTreeMap::new(),
            ends: JoinSet::new(),
            tasks: HashMap::new(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.running.is_empty()
    }

    /// Whether the pod is looked after here.
    #[must_use]
    pub fn owns(&self, uid: &str) -> bool {
        self.running.contains_key(uid)
    }

    /// Looks after the pod from now on, and until it is over. One that is looked after here already stays so.
    ///
    /// # Errors
    /// When another process has the pod, or its files cannot be used.
    pub fn take(&mut self, pod: StoredPod) -> Result<(), WorkerError> {
        let uid = pod.record.uid().to_owned();
        if self.owns(&uid) {
            return Ok(());
        }
        // Whoever asks sees the pod from now on, not only from its first save.
        self.node.registry.put(pod.clone());
        let worker = Worker::own(&self.node, pod)?;
        self.running.insert(uid.clone(), worker.requests());
        let task = self.ends.spawn(worker.run());
        self.tasks.insert(task.id(), uid);
        Ok(())
    }

    /// Asks the pod's worker for something; false if the pod is not looked after here.
    pub fn ask(&self, uid: &str, command: Command) -> bool {
        let Some(requests) = self.running.get(uid) else {
            return false;
        };
        if let Err(mpsc::error::TrySendError::Full(command)) = requests.try_send(command) {
            // The worker is busy with those before it, and looks at its queue again after each.
            let requests = requests.clone();
            tokio::spawn(async move { requests.send(command).await });
        }
        true
    }

    /// The next pod that is over or given up; `None` when there are no workers. May be dropped and called again.
    pub async fn next_end(&mut self) -> Option<Ended> {
        let joined = self.ends.join_next_with_id().await?;
        Some(self.note_end(joined))
    }

    /// Likewise, without waiting.
    pub fn try_next_end(&mut self) -> Option<Ended> {
        let joined = self.ends.try_join_next_with_id()?;
        Some(self.note_end(joined))
    }

    /// Lets go of all pods, which go on. Whoever is told of it afterwards finds nobody in its way.
    pub async fn let_go(&mut self) {
        let all = self.ends.shutdown();
        if tokio::time::timeout(LET_GO, all).await.is_err() {
            tracing::warn!("a worker does not let go of its pod");
        }
        self.running.clear();
        self.tasks.clear();
    }

    fn note_end(&mut self, joined: Result<(Id, Outcome), JoinError>) -> Ended {
        let (id, state) = match joined {
            Ok((id, Ok(state))) => (id, Some(state)),
            Ok((id, Err(err))) => {
                tracing::error!(err = crate::error::chain(&err), "gave a pod up");
                (id, None)
            }
            // The others go on.
            Err(err) => {
                tracing::error!(%err, "a worker ended badly");
                (err.id(), None)
            }
        };
        let uid = self.tasks.remove(&id).unwrap_or_default();
        self.running.remove(&uid);
        Ended { uid, state }
    }
}
