//! What happened on this node, kept locally: there may be no master to tell it to.
//!
//! ```text
//! sources, union, house-keeping --append--> <root>/events.jsonl  (the newest KEPT)
//! pods' workers -- relay (they keep their own beside their record) --> listeners: the API source, the HTTP API
//! ```
//! The same thing said again within [`AGAIN`] is counted, not written: a manifest that stays bad is one event.
use crate::jsonl;
use crate::state::PodRecord;
use crate::update::Event;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::broadcast;

/// How many events are kept on disk.
pub const KEPT: usize = 1000;
/// How many events a listener may lag behind; one that lags has lost the oldest.
const LAG: usize = 256;
/// The same event within this time is only counted.
const AGAIN: SignedDuration = SignedDuration::from_mins(10);
/// How many different events are remembered for that.
const REMEMBERED: usize = 64;

/// What an event is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum About {
    /// The node itself.
    Node,
    /// A pod, which may have no record here: one that was refused.
    Pod {
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// Its uid; empty where it has none yet.
        uid: String,
    },
}

/// Something worth telling a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeEvent {
    /// When, the last time.
    pub time: Timestamp,
    /// When, the first time.
    pub first: Timestamp,
    /// How often it was said since.
    pub count: u32,
    /// What it is about.
    pub about: About,
    /// The container that it is about, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Whether somebody should look.
    pub warning: bool,
    /// Kubernetes' word: `Evicted`, `ImageGCFailed`, `NodeHasDiskPressure` ...
    pub reason: String,
    /// One line.
    pub message: String,
}

impl About {
    /// The pod of a record.
    #[must_use]
    pub fn pod(record: &PodRecord) -> Self {
        About::Pod {
            namespace: record.namespace().to_owned(),
            name: record.name().to_owned(),
            uid: record.uid().to_owned(),
        }
    }
}

impl NodeEvent {
    /// About the node.
    #[must_use]
    pub fn node(reason: &str, message: impl Into<String>) -> Self {
        Self::of(About::Node, reason, message.into())
    }
    /// About the pod of a record.
    #[must_use]
    pub fn pod(record: &PodRecord, reason: &str, message: impl Into<String>) -> Self {
        Self::of(About::pod(record), reason, message.into())
    }
    /// About a pod that has no record here.
    #[must_use]
    pub fn stranger(namespace: &str, name: &str, reason: &str, message: impl Into<String>) -> Self {
        let about = About::Pod {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            uid: String::new(),
        };
        Self::of(about, reason, message.into())
    }
    /// An event that is kept beside the pod's record.
    #[must_use]
    pub fn of_pod(about: About, event: Event) -> Self {
        NodeEvent {
            time: event.time,
            first: event.time,
            container: event.container,
            warning: event.warning,
            ..Self::of(about, &event.reason, event.message)
        }
    }
    /// The same, for somebody to look at.
    #[must_use]
    pub fn warning(self) -> Self {
        NodeEvent {
            warning: true,
            ..self
        }
    }

    fn of(about: About, reason: &str, message: String) -> Self {
        let now = Timestamp::now();
        NodeEvent {
            time: now,
            first: now,
            count: 1,
            about,
            container: None,
            warning: false,
            reason: reason.to_owned(),
            message,
        }
    }

    fn same(&self, other: &Self) -> bool {
        self.about == other.about
            && self.container == other.container
            && self.reason == other.reason
            && self.message == other.message
    }
}

/// The events of this node. Clones share them.
#[derive(Clone, Debug)]
pub struct NodeEvents {
    log: PathBuf,
    sender: broadcast::Sender<NodeEvent>,
    recent: Arc<Mutex<VecDeque<NodeEvent>>>,
}

impl NodeEvents {
    /// The events below the lasting tree `root`.
    #[must_use]
    pub fn open(root: &Path) -> Self {
        NodeEvents {
            log: root.join("events.jsonl"),
            sender: broadcast::channel(LAG).0,
            recent: Arc::default(),
        }
    }

    /// Tells, writes to the log and keeps an event, unless it was said only just now.
    pub fn append(&self, event: NodeEvent) {
        let Some(event) = self.count(event) else {
            return;
        };
        match &event.about {
            About::Node if event.warning => {
                tracing::warn!(reason = event.reason, message = event.message);
            }
            About::Node => tracing::info!(reason = event.reason, message = event.message),
            About::Pod { name, .. } if event.warning => {
                tracing::warn!(pod = name, reason = event.reason, message = event.message);
            }
            About::Pod { name, .. } => {
                tracing::info!(pod = name, reason = event.reason, message = event.message);
            }
        }
        if let Err(err) = jsonl::append(&self.log, &event, KEPT) {
            tracing::warn!(%err, "cannot keep the event");
        }
        self.relay(event);
    }

    /// Whether anybody hears of events.
    #[must_use]
    pub fn are_heard(&self) -> bool {
        self.sender.receiver_count() > 0
    }

    /// Tells listeners of an event that is kept elsewhere.
    pub fn relay(&self, event: NodeEvent) {
        // An error means that nobody listens.
        let _ = self.sender.send(event);
    }

    /// Hears of every event from now on.
    #[must_use]
    pub fn listen(&self) -> broadcast::Receiver<NodeEvent> {
        self.sender.subscribe()
    }

    /// The events kept, oldest first.
    ///
    /// # Errors
    /// Names the file; one that is not there counts as empty.
    pub fn recent(&self) -> io::Result<Vec<NodeEvent>> {
        jsonl::read(&self.log)
    }

    /// The event with its count, or `None` if it was said not long ago.
    fn count(&self, mut event: NodeEvent) -> Option<NodeEvent> {
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = recent.iter_mut().find(|known| known.same(&event)) {
            known.count = known.count.saturating_add(1);
            if event.time.duration_since(known.time) < AGAIN {
                return None;
            }
            known.time = event.time;
            event.count = known.count;
            event.first = known.first;
            return Some(event);
        }
        if recent.len() >= REMEMBERED {
            recent.pop_front();
        }
        recent.push_back(event.clone());
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_kept_and_told() {
        let dir = tempfile::tempdir().unwrap();
        let events = NodeEvents::open(dir.path());
        let mut listener = events.listen();
        events.append(NodeEvent::node("Starting", "one"));
        events.append(NodeEvent::stranger("default", "web", "Refused", "two").warning());
        let other = NodeEvents::open(dir.path()).recent().unwrap();
        let said: Vec<_> = other
            .iter()
            .map(|event| (event.reason.as_str(), event.warning, event.count))
            .collect();
        assert_eq!(said, [("Starting", false, 1), ("Refused", true, 1)]);
        assert_eq!(listener.try_recv().unwrap(), other[0]);
        events.relay(NodeEvent::node("Elsewhere", "three"));
        assert_eq!(listener.try_recv().unwrap(), other[1]);
        assert_eq!(listener.try_recv().unwrap().reason, "Elsewhere");
        assert_eq!(events.recent().unwrap().len(), 2);
    }

    #[test]
    fn what_is_said_again_is_counted() {
        let dir = tempfile::tempdir().unwrap();
        let events = NodeEvents::open(dir.path());
        let at = |minutes: i64| {
            let mut event = NodeEvent::node("Bad", "manifest");
            event.time = Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minutes);
            event.first = event.time;
            event
        };
        for minute in 0..25 {
            events.append(at(minute));
        }
        let kept = events.recent().unwrap();
        let counts: Vec<u32> = kept.iter().map(|event| event.count).collect();
        assert_eq!(counts, [1, 11, 21]);
        assert!(
            kept.iter()
                .all(|event| event.first == Timestamp::UNIX_EPOCH)
        );
    }

    #[test]
    fn the_memory_of_what_was_said_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let events = NodeEvents::open(dir.path());
        for number in 0..3 * REMEMBERED {
            events.append(NodeEvent::node("Many", number.to_string()));
        }
        assert_eq!(events.recent.lock().unwrap().len(), REMEMBERED);
        events.append(NodeEvent::node("Many", "0"));
        assert_eq!(events.recent().unwrap().len(), 3 * REMEMBERED + 1);
    }
}
