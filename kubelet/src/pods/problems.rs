//! What is wanted and does not run, and why: for `rkubelet ps`, for the API, for people.
//!
//! Kept in memory for those who share the daemon, and in `problems.json` under /run for commands.
use crate::admission::AdmitError;
use crate::paths::Paths;
use crate::source::{Problem, Set, Wanted};
use crate::state::{SourceKind, write_json};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

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
    /// Of a pod that admission did not let in.
    #[must_use]
    pub fn new(source: SourceKind, wanted: &Wanted, err: &AdmitError) -> Self {
        let meta = &wanted.pod.metadata;
        Refusal {
            source,
            place: wanted.place.clone(),
            namespace: meta
                .namespace
                .clone()
                .unwrap_or_else(|| "default".to_owned()),
            name: meta.name.clone().unwrap_or_default(),
            message: crate::error::chain(err),
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
    fn new(source: SourceKind, problem: &Problem) -> Self {
        BadPlace {
            source,
            place: problem.place.clone(),
            message: problem.message.clone(),
        }
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

/// The listing as it is now. Clones share it.
#[derive(Clone, Debug)]
pub struct Problems {
    listing: Arc<RwLock<Arc<Listing>>>,
    file: PathBuf,
}

impl Problems {
    /// None yet.
    #[must_use]
    pub fn new(paths: &Paths) -> Self {
        Problems {
            listing: Arc::default(),
            file: paths.problems(),
        }
    }

    /// What is wrong now.
    #[must_use]
    pub fn get(&self) -> Arc<Listing> {
        self.listing
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Replaces the listing; what is new in it is logged.
    pub fn set(&self, refused: &[Refusal], sets: &BTreeMap<SourceKind, Set>) {
        let places = sets.values().flat_map(|set| {
            let places = set.problems.iter();
            places.map(|problem| BadPlace::new(set.source, problem))
        });
        let new = Listing {
            refused: refused.to_vec(),
            places: places.collect(),
        };
        let old = self.get();
        if *old == new {
            return;
        }
        for one in new.refused.iter().filter(|one| !old.refused.contains(one)) {
            tracing::warn!(
                pod = format!("{}/{}", one.namespace, one.name),
                source = one.source.as_str(),
                place = one.place,
                "refused: {}",
                one.message
            );
        }
        for one in new.places.iter().filter(|one| !old.places.contains(one)) {
            tracing::warn!(
                source = one.source.as_str(),
                place = one.place,
                "{}",
                one.message
            );
        }
        if let Err(err) = write_json(&self.file, &new) {
            tracing::warn!(%err, "cannot write down what is refused");
        }
        *self.listing.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
    }
}
