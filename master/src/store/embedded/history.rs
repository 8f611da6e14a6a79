//! How much of the past is kept: ten minutes, and ten thousand changes if there were fewer, as far as there is room.
use super::format::State;
use crate::store::Revision;
use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So many of the newest changes are kept however old they are.
const REVISIONS: u64 = 10_000;
/// And so long all others.
const AGE: Duration = Duration::from_secs(600);
/// As long as the log is not larger than this.
const BYTES: u64 = 128 << 20;
/// And has no more revisions than this.
const MOST: u64 = 250_000;
/// How exact the age is.
const STEP: Duration = Duration::from_secs(10);

/// Which revision was the newest when.
#[derive(Debug)]
pub(super) struct Marks(Mutex<VecDeque<(Instant, Revision)>>);

impl Marks {
    /// Nothing is known of the time before.
    pub(super) fn new(newest: Revision) -> Marks {
        Marks(Mutex::new(VecDeque::from([(Instant::now(), newest)])))
    }

    /// The oldest revision that is worth keeping.
    pub(super) fn oldest(&self, state: &State) -> Revision {
        let mut marks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        oldest(&mut marks, Instant::now(), state)
    }
}

fn oldest(marks: &mut VecDeque<(Instant, Revision)>, now: Instant, state: &State) -> Revision {
    if marks.back().is_none_or(|(at, _)| now - *at >= STEP) {
        marks.push_back((now, state.revision));
    }
    // The second mark is old enough: the first has nothing more to say.
    while marks.get(1).is_some_and(|(at, _)| now - *at >= AGE) {
        marks.pop_front();
    }
    let aged = match marks.front() {
        Some((at, revision)) if now - *at >= AGE => *revision,
        _ => 0,
    };
    let few = state.revision.saturating_sub(REVISIONS);
    let many = state.revision.saturating_sub(MOST);
    // Too large: an eighth of what there is goes.
    let large = match state.log_bytes > BYTES {
        true => state.trimmed + (state.revision - state.trimmed).div_ceil(8),
        false => 0,
    };
    few.min(aged).max(many).max(large).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(revision: u64, trimmed: u64, log_bytes: u64, minutes: u64, wanted: u64) {
        let state = State {
            revision,
            trimmed,
            log_bytes,
            ..State::EMPTY
        };
        let start = Instant::now();
        let mut marks = VecDeque::from([(start, 20_000), (start + AGE, 30_000)]);
        let now = start + Duration::from_secs(minutes * 60);
        assert_eq!(oldest(&mut marks, now, &state), wanted);
    }

    #[test]
    fn age_number_and_size_decide() {
        check(40_000, 1, 0, 9, 1);
        check(40_000, 1, 0, 10, 20_000);
        check(25_000, 1, 0, 10, 15_000);
        check(40_000, 1, 0, 20, 30_000);
        check(500_000, 1, 0, 9, 250_000);
        check(9_001, 1_001, BYTES + 1, 1, 2_001);
        check(2, 1, 0, 60, 1);
    }
}
