//! What can only be counted where it happens: outcomes of probes, and how long pods take to run. `/metrics` shows it.
use crate::probe::Kind;
use jiff::Timestamp;
use prometheus_client::metrics::histogram::Histogram;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Bounds in seconds: Kubernetes' own, and below them what pods take whose image is here.
const STARTS: [f64; 24] = [
    0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 20.0, 30.0, 45.0, 60.0,
    120.0, 180.0, 300.0, 600.0, 900.0, 1800.0, 3600.0,
];

/// The counters of a node. Clones share them.
#[derive(Clone, Debug)]
pub struct Counts {
    starts: Histogram,
    probes: Arc<Mutex<BTreeMap<String, Weak<Probed>>>>,
}

impl Default for Counts {
    fn default() -> Self {
        Counts {
            starts: Histogram::new(STARTS),
            probes: Arc::default(),
        }
    }
}

impl Counts {
    /// How long pods took from when they were let in until they ran.
    #[must_use]
    pub fn starts(&self) -> Histogram {
        self.starts.clone()
    }
    /// A pod that was let in at that time runs now, for the first time.
    pub fn started(&self, admitted: Timestamp) {
        let took = Timestamp::now().duration_since(admitted).as_secs_f64();
        self.starts.observe(took.max(0.0));
    }
    /// A new counter for the probes of a pod; it counts for as long as somebody has it.
    #[must_use]
    pub fn probes_of(&self, uid: &str) -> Arc<Probed> {
        let probed = Arc::default();
        let mut all = self.probes.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, probed| probed.strong_count() > 0);
        all.insert(uid.to_owned(), Arc::downgrade(&probed));
        probed
    }
    /// What the probes of all pods said, by the pods' uids.
    #[must_use]
    pub fn probes(&self) -> Vec<(String, Arc<Probed>)> {
        let all = self.probes.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter()
            .filter_map(|(uid, probed)| Some((uid.clone(), probed.upgrade()?)))
            .collect()
    }
}

/// How often a probe said what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// All was well.
    pub well: u64,
    /// It was not.
    pub ill: u64,
}

/// What the probes of a pod said.
#[derive(Debug, Default)]
pub struct Probed(Mutex<BTreeMap<String, BTreeMap<Kind, Said>>>);

impl Probed {
    /// Counts one more.
    pub fn count(&self, container: &str, kind: Kind, well: bool) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !all.contains_key(container) {
            all.insert(container.to_owned(), BTreeMap::new());
        }
        let Some(said) = all.get_mut(container).map(|of| of.entry(kind).or_default()) else {
            return;
        };
        *(if well { &mut said.well } else { &mut said.ill }) += 1;
    }
    /// All of it, by container and probe.
    #[must_use]
    pub fn list(&self) -> Vec<(String, Kind, Said)> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter()
            .flat_map(|(name, of)| of.iter().map(|(kind, said)| (name.clone(), *kind, *said)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probes_are_counted_as_long_as_their_pod_has_a_worker() {
        let counts = Counts::default();
        let (one, two) = (counts.probes_of("1"), counts.probes_of("2"));
        one.count("c", Kind::Liveness, true);
        one.count("c", Kind::Liveness, false);
        one.count("c", Kind::Liveness, true);
        one.count("b", Kind::Startup, false);
        drop(two);
        let all = counts.probes();
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].0, "1");
        assert_eq!(
            all[0].1.list(),
            [
                ("b".to_owned(), Kind::Startup, Said { well: 0, ill: 1 }),
                ("c".to_owned(), Kind::Liveness, Said { well: 2, ill: 1 }),
            ]
        );
        drop((all, one));
        assert!(counts.probes().is_empty());
    }
}
