//! How a source speaks: nothing twice, and first of all that it works again.
use super::{Deliveries, Delivery, Failed, Problem, Set};
use crate::state::SourceKind;

/// The mouth of one source. All its methods are none once nobody listens any more: then the source ends.
#[derive(Debug)]
pub(super) struct Speaker {
    source: SourceKind,
    deliveries: Deliveries,
    failed: Option<Problem>,
    spoken: bool,
}

impl Speaker {
    pub(super) fn new(source: SourceKind, deliveries: Deliveries) -> Self {
        Speaker {
            source,
            deliveries,
            failed: None,
            spoken: false,
        }
    }

    /// Whether the last set does not stand any more, or there was none: then even the same one is news.
    pub(super) fn must_speak(&self) -> bool {
        self.failed.is_some() || !self.spoken
    }

    /// Whether the last word was that something is wrong.
    pub(super) fn has_failed(&self) -> bool {
        self.failed.is_some()
    }

    /// Delivers a set.
    pub(super) async fn say(&mut self, set: Set) -> Option<()> {
        (self.failed, self.spoken) = (None, true);
        let set = Set {
            source: self.source,
            ..set
        };
        self.deliveries.send(Delivery::Set(set)).await.ok()
    }

    /// Says why the source cannot be read, unless that is what it said last.
    pub(super) async fn fail(&mut self, place: &str, message: String) -> Option<()> {
        let problem = Problem {
            place: place.to_owned(),
            message,
        };
        if self.failed.as_ref() == Some(&problem) {
            return (!self.deliveries.is_closed()).then_some(());
        }
        self.failed = Some(problem.clone());
        let failed = Failed {
            source: self.source,
            problem,
        };
        self.deliveries.send(Delivery::Failed(failed)).await.ok()
    }

    /// Returns once nobody listens any more.
    pub(super) async fn closed(&self) {
        self.deliveries.closed().await;
    }
}
