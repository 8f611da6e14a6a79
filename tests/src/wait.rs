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

/// Looks until `found` is there.
///
/// # Panics
/// When it is not in time; `what` says what was waited for.
#[track_caller]
pub fn eventually<T>(seconds: u64, what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit(Duration::from_secs(seconds));
    loop {
        if let Some(value) = found() {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {seconds} s: {what}");
        // The states looked at have nothing to wait on; a poll costs less than this pause.
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
