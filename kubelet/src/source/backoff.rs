//! Waiting between two tries to reach a server: doubling, bounded, and not in step with other nodes.
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// How long to wait before the next try.
#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    most: Duration,
    next: Duration,
}

impl Backoff {
    /// Begins with `first`; no wait is longer than `most`.
    pub(super) fn new(first: Duration, most: Duration) -> Self {
        let first = first.min(most);
        Backoff {
            first,
            most,
            next: first,
        }
    }
    /// The wait after one more failure: between half and all of a bound that doubles.
    pub(super) fn wait(&mut self) -> Duration {
        let bound = self.next;
        self.next = (bound * 2).min(self.most);
        // A new state is random: all the randomness that this needs.
        let percent = u32::try_from(RandomState::new().hash_one(0_u8) % 51).unwrap_or(0);
        bound / 2 + bound * percent / 100
    }
    /// It worked: the next failure is the first one again.
    pub(super) fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_bound_and_begin_anew() {
        let seconds = Duration::from_secs;
        let mut backoff = Backoff::new(seconds(1), seconds(20));
        for bound in [1, 2, 4, 8, 16, 20, 20] {
            let wait = backoff.wait();
            assert!(
                wait >= seconds(bound) / 2 && wait <= seconds(bound),
                "{wait:?} of {bound}"
            );
        }
        backoff.reset();
        assert!(backoff.wait() <= seconds(1));
        assert!(Backoff::new(seconds(9), seconds(2)).wait() <= seconds(2));
    }
}
