//! What is wanted and does not run, and why: for `rkubelet ps`, for the API, for people.
//!
//! Kept in memory for those who share the daemon, and in `problems.json` under /run for commands.
use crate::events::{NodeEvent, NodeEvents};
use crate::paths::Paths;
use crate::source::Problem;
use crate::state::{PodRecord, SourceKind, write_json};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;

/// The reason of what is wanted in words that cannot be followed.
pub const BAD: &str = "BadManifest";
/// The reason of what is not let in.
pub const REFUSED: &str = "Refused";

/// A pod that a source wants and that is not let in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The source.
    pub source: SourceKind,
    /// The file, the URL, the key.
    pub place: String,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name.
    pub name: String,
    /// Who holds what it needs, or what else is wrong.
    pub message: String,
}

impl Refusal {
    /// Of a pod that is not let in.
    #[must_use]
    pub fn new(record: &PodRecord, message: String) -> Self {
        Refusal {
            source: record.origin.source,
            place: record.origin.place.clone(),
            namespace: record.namespace().to_owned(),
            name: record.name().to_owned(),
            message,
        }
    }
}

/// A place that could not be used, and its source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BadPlace {
    /// The source.
    pub source: SourceKind,
    /// The file, the URL, the key.
    pub place: String,
    /// What is wrong and what to do.
    pub message: String,
}

impl BadPlace {
    /// What a source says of a place.
    #[must_use]
    pub fn new(source: SourceKind, problem: &Problem) -> Self {
        BadPlace {
            source,
            place: problem.place.clone(),
            message: problem.message.clone(),
        }
    }

    /// The pod that stands there, by namespace and name, where the place is a master's key of one.
    #[must_use]
    pub fn pod(&self) -> Option<(&str, &str)> {
        self.place.strip_prefix("/registry/pods/")?.split_once('/')
    }
}

/// All that is wanted and does not run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// Pods that are not let in.
    pub refused: Vec<Refusal>,
    /// Places that could not be used.
    pub places: Vec<BadPlace>,
}

impl Listing {
    /// What the daemon of this host has written down; nothing where none runs.
    #[must_use]
    pub fn read(paths: &Paths) -> Self {
        let serves = std::os::unix::net::UnixStream::connect(paths.agent_socket()).is_ok();
        let text = fs_err::read(paths.problems()).ok().filter(|_| serves);
        // What another version has written is of that version's concern.
        text.and_then(|text| serde_json::from_slice(&text).ok())
            .unwrap_or_default()
    }
}

/// The listing as it is now. Clones share it.
#[derive(Clone, Debug)]
pub struct Problems {
    listing: watch::Sender<Arc<Listing>>,
    file: PathBuf,
}

impl Problems {
    /// None yet.
    #[must_use]
    pub fn new(paths: &Paths) -> Self {
        Problems {
            listing: watch::Sender::default(),
            file: paths.problems(),
        }
    }

    /// What is wrong now.
    #[must_use]
    pub fn get(&self) -> Arc<Listing> {
        self.listing.borrow().clone()
    }

    /// Hears of every change from now on.
    #[must_use]
    pub fn listen(&self) -> watch::Receiver<Arc<Listing>> {
        self.listing.subscribe()
    }

    /// Nothing is known any more: the daemon ends.
    pub fn clear(&self) {
        // It is not there if nothing was ever wrong.
        let _ = fs_err::remove_file(&self.file);
    }

    /// Replaces the listing; what is new in it becomes an event.
    pub fn set(&self, new: Listing, events: &NodeEvents) {
        let old = self.get();
        if *old == new {
            return;
        }
        for one in new.refused.iter().filter(|one| !old.refused.contains(one)) {
            let from = format!("{} ({} {})", one.message, one.source.as_str(), one.place);
            let event = NodeEvent::stranger(&one.namespace, &one.name, REFUSED, from);
            events.append(event.warning());
        }
        for one in new.places.iter().filter(|one| !old.places.contains(one)) {
            let said = format!("{} {}: {}", one.source.as_str(), one.place, one.message);
            let event = match one.pod() {
                Some((namespace, name)) => NodeEvent::stranger(namespace, name, BAD, &one.message),
                None => NodeEvent::node(BAD, said),
            };
            events.append(event.warning());
        }
        if let Err(err) = write_json(&self.file, &new) {
            tracing::warn!(%err, "cannot write down what is refused");
        }
        self.listing.send_replace(Arc::new(new));
    }
}
