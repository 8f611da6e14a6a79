//! Waiting for a state, with a bound.
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How long something may take here: `RKUBE_TIME_FACTOR` makes room on slow machines (emulated ones, say).
#[must_use]
pub fn limit(duration: Duration) -> Duration {
    static FACTOR: OnceLock<u32> = OnceLock::new();
    let factor = FACTOR.get_or_init(|| {
        std::env::var("RKUBE_TIME_FACTOR")
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or(1)
    });
    duration * *factor
}

/// The least that is waited for a state: a busy machine can keep anything from its turn for longer than one expects.
const LEAST: Duration = Duration::from_secs(30);

/// How long a state that should be there within `seconds` is waited for. It bounds a test that fails, and is paid by no
/// other: a test of how fast something is takes [`limit`].
#[must_use]
pub fn patience(seconds: u64) -> Duration {
    limit((Duration::from_secs(seconds) * 3).max(LEAST))
}

/// Looks until `found` is there; that should take `seconds`, and may take longer ([`patience`]).
///
/// # Panics
/// When it is not in time; `what` says what was waited for.
#[track_caller]
pub fn eventually<T>(seconds: u64, what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let patience = patience(seconds);
    let deadline = Instant::now() + patience;
    loop {
        if let Some(value) = found() {
            return value;
        }
        assert!(
            Instant::now() < deadline,
            "not within {} s: {what}",
            patience.as_secs()
        );
        // The states looked at have nothing to wait on; a poll costs less than this pause.
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
