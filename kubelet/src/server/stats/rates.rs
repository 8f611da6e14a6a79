//! How much of a processor was used between two readings.
use super::reading::{Host, PodReading, Use};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Readings closer than this give no good rate.
const LEAST: Duration = Duration::from_millis(100);
/// A reading older than this says nothing of now.
const MOST: Duration = Duration::from_secs(300);
/// The name of the host among the cgroups.
pub(super) const HOST: &str = "/";

/// The last two readings of everything.
#[derive(Debug, Default)]
pub(in crate::server) struct Rates(Mutex<BTreeMap<String, Pair>>);

#[derive(Clone, Copy, Debug)]
struct Pair {
    before: Option<(Instant, Duration)>,
    last: (Instant, Duration),
}

/// The name of a container.
pub(super) fn key(pod: &PodReading, container: &str) -> String {
    format!("{}/{container}", pod.cgroup)
}

fn cpu(used: &Use) -> Duration {
    used.stats
        .cpu
        .as_ref()
        .map_or(Duration::ZERO, |cpu| cpu.usage)
}

impl Rates {
    /// Takes a reading; what is not in it is forgotten.
    pub(super) fn note(&self, host: &Host, pods: &[PodReading]) {
        let mut now = vec![(HOST.to_owned(), host.cpu)];
        for pod in pods {
            now.extend(pod.used.iter().map(|used| (pod.cgroup.clone(), cpu(used))));
            let containers = pod.containers.iter();
            now.extend(containers.map(|one| (key(pod, &one.name), cpu(&one.used))));
        }
        self.take(now, Instant::now());
    }

    fn take(&self, now: Vec<(String, Duration)>, at: Instant) {
        let mut old = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut new = BTreeMap::new();
        for (key, used) in now {
            let before = match old.get(&key) {
                // Too close: the one before that is still the one to compare with.
                Some(pair) if at.duration_since(pair.last.0) < LEAST => {
                    new.insert(key, *pair);
                    continue;
                }
                Some(pair) => Some(pair.last),
                None => None,
            };
            // A counter that begins anew is a container that was started again.
            let before =
                before.filter(|(then, was)| at.duration_since(*then) < MOST && *was <= used);
            let last = (at, used);
            new.insert(key, Pair { before, last });
        }
        *old = new;
    }

    /// Nanoseconds a second.
    pub(super) fn of(&self, key: &str) -> Option<u64> {
        let pairs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let pair = pairs.get(key)?;
        let (then, was) = pair.before?;
        let (now, used) = pair.last;
        let span = now.duration_since(then).as_nanos().max(1);
        let used = used.saturating_sub(was).as_nanos();
        u64::try_from(used * 1_000_000_000 / span).ok()
    }

    /// Whether there is a rate for all of these.
    pub(super) fn knows(&self, _host: &Host, pods: &[PodReading]) -> bool {
        self.of(HOST).is_some()
            && pods.iter().all(|pod| {
                let all = pod.containers.iter();
                all.map(|one| key(pod, &one.name))
                    .all(|key| self.of(&key).is_some())
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_the_time_between() {
        let rates = Rates::default();
        let start = Instant::now();
        let take = |millis: u64, used: u64| {
            let now = vec![("a".to_owned(), Duration::from_millis(used))];
            rates.take(now, start + Duration::from_millis(millis));
        };
        take(0, 100);
        assert_eq!(rates.of("a"), None);
        take(1000, 600);
        assert_eq!(rates.of("a"), Some(500_000_000));
        // Somebody else asks at nearly the same time.
        take(1010, 605);
        assert_eq!(rates.of("a"), Some(500_000_000));
        take(2000, 600);
        assert_eq!(rates.of("a"), Some(0));
        // Started again; long not asked for; gone.
        take(3000, 10);
        assert_eq!(rates.of("a"), None);
        take(3_000_000, 20);
        assert_eq!(rates.of("a"), None);
        rates.take(Vec::new(), start + MOST);
        assert_eq!(rates.of("a"), None);
    }
}
