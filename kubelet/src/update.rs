//! What a pod's worker tells the world: events for people, states for machines, timings for the curious.
//!
//! Whoever listens (the foreground command, watchers on the owner's socket) takes copies from a bounded
//! broadcast; a listener that is too slow loses the oldest updates, never the worker's time. Events are
//! also kept in `events.jsonl` beside the pod's record, the newest [`KEPT`] of them.
use crate::events::{About, NodeEvent, NodeEvents};
use crate::jsonl;
use crate::state::PodState;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use tokio::sync::broadcast;

/// How many updates a listener may lag behind. Room for them is taken for every pod, whether anybody listens or not.
const LAG: usize = 64;
/// How many events are kept on disk.
pub const KEPT: usize = 200;

/// Something worth telling a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// When.
    pub time: Timestamp,
    /// Whether somebody should look.
    pub warning: bool,
    /// Kubernetes' word: `Pulled`, `Created`, `Started`, `BackOff`, `Killing` ...
    pub reason: String,
    /// The container that it is about; none for the pod.
    pub container: Option<String>,
    /// One line.
    pub message: String,
}

/// One thing that changed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Update {
    /// For people.
    Event(Event),
    /// The whole state, after a transition.
    State(Box<PodState>),
    /// How long a step took, in microseconds.
    Timing {
        /// The step.
        step: String,
        /// Microseconds.
        micros: u64,
    },
}

/// The worker's mouth.
#[derive(Clone, Debug)]
pub struct Reporter {
    sender: broadcast::Sender<Update>,
    log: PathBuf,
    pod: String,
    /// The node's listeners hear of this pod's events as well.
    node: Option<(NodeEvents, About)>,
}

impl Reporter {
    /// A reporter for the pod whose lasting folder is `dir`.
    #[must_use]
    pub fn new(dir: &Path, pod: &str) -> Self {
        Reporter {
            sender: broadcast::channel(LAG).0,
            log: dir.join("events.jsonl"),
            pod: pod.to_owned(),
            node: None,
        }
    }
    /// The same, heard by the node's listeners as well.
    #[must_use]
    pub fn relaying(self, events: &NodeEvents, about: About) -> Self {
        Reporter {
            node: Some((events.clone(), about)),
            ..self
        }
    }
    /// Hears everything from now on.
    #[must_use]
    pub fn listen(&self) -> broadcast::Receiver<Update> {
        self.sender.subscribe()
    }
    /// Tells of something normal.
    pub fn event(&self, reason: &str, container: Option<&str>, message: impl Into<String>) {
        self.emit(false, reason, container, message.into());
    }
    /// Tells of something that somebody should look at.
    pub fn warning(&self, reason: &str, container: Option<&str>, message: impl Into<String>) {
        self.emit(true, reason, container, message.into());
    }
    /// Tells the new state.
    pub fn state(&self, state: &PodState) {
        if self.sender.receiver_count() > 0 {
            self.send(Update::State(Box::new(state.clone())));
        }
    }
    /// Tells how long a step took.
    pub fn timing(&self, step: &str, since: std::time::Instant) {
        let micros = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.send(Update::Timing {
            step: step.to_owned(),
            micros,
        });
    }

    fn emit(&self, warning: bool, reason: &str, container: Option<&str>, message: String) {
        let container = container.map(str::to_owned);
        if warning {
            tracing::warn!(pod = self.pod, container, reason, message);
        } else {
            tracing::info!(pod = self.pod, container, reason, message);
        }
        let event = Event {
            time: Timestamp::now(),
            warning,
            reason: reason.to_owned(),
            container,
            message,
        };
        if let Err(err) = jsonl::append(&self.log, &event, KEPT) {
            tracing::warn!(pod = self.pod, %err, "cannot keep the event");
        }
        if let Some((events, about)) = self.node.as_ref().filter(|(node, _)| node.are_heard()) {
            events.relay(NodeEvent::of_pod(about.clone(), event.clone()));
        }
        self.send(Update::Event(event));
    }
    fn send(&self, update: Update) {
        // An error means that nobody listens.
        let _ = self.sender.send(update);
    }
}

/// The events kept beside a pod's record, oldest first. A line cut short by a crash is left out.
///
/// # Errors
/// Names the file; one that is not there counts as empty.
pub fn read(log: &Path) -> io::Result<Vec<Event>> {
    jsonl::read(log)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_kept_and_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let reporter = Reporter::new(dir.path(), "default/web");
        let mut listener = reporter.listen();
        for number in 0..2000 {
            reporter.event(
                "Test",
                Some("c"),
                format!("event {number} {}", "x".repeat(100)),
            );
        }
        let kept = read(&dir.path().join("events.jsonl")).unwrap();
        assert!(kept.len() < 1000, "{}", kept.len());
        assert!(kept.last().unwrap().message.starts_with("event 1999"));
        // The listener lagged and is told so, but goes on.
        assert!(matches!(
            listener.try_recv(),
            Err(broadcast::error::TryRecvError::Lagged(_))
        ));
        assert!(listener.try_recv().is_ok());
    }
}
