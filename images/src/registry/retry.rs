//! When to try again, and after how long. Pure but for the jitter.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use jiff::Timestamp;

use super::error::{RegistryError, Verdict};

/// How often and how patiently a failed request is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts without progress before we give up; 1 never repeats.
    pub attempts: u32,
    /// Wait before the second attempt; doubled for each one after it.
    pub base: Duration,
    /// No wait of our own choosing is longer than this.
    pub max: Duration,
    /// The longest `Retry-After` we heed; a host that asks for more is given up.
    pub max_asked: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 6,
            base: Duration::from_millis(500),
            max: Duration::from_secs(20),
            max_asked: Duration::from_secs(120),
        }
    }
}

impl RetryPolicy {
    /// How long to wait after failure number `failures` (from 1), or `None` to give up.
    pub(crate) fn wait(
        &self,
        err: &RegistryError,
        failures: u32,
        first_contact: bool,
    ) -> Option<Duration> {
        let asked = match err.verdict() {
            Verdict::Final => return None,
            Verdict::Absent if first_contact => return None,
            Verdict::Once => return (failures == 1).then_some(Duration::ZERO),
            Verdict::Absent => None,
            Verdict::Again(asked) => asked,
        };
        if failures >= self.attempts || asked.is_some_and(|asked| asked > self.max_asked) {
            return None;
        }
        let doubled = self
            .base
            .saturating_mul(1 << (failures - 1).min(16))
            .min(self.max);
        let own = doubled.mul_f64(jitter());
        Some(asked.map_or(own, |asked| asked.max(own)))
    }
}

/// A factor between a half and one, so that a fleet does not come back all at once.
fn jitter() -> f64 {
    let random = RandomState::new().hash_one(0_u8);
    let fraction = f64::from(u32::try_from(random >> 32).unwrap_or(0)) / f64::from(u32::MAX);
    0.5 + fraction / 2.0
}

/// Reads `Retry-After`: seconds, or an HTTP date, seen from `now`.
pub(super) fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
    Some(Duration::try_from(date.duration_since(now)).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy(retry_after: Option<u64>) -> RegistryError {
        RegistryError::Status {
            host: "r".to_owned(),
            what: "w".to_owned(),
            status: 429,
            detail: String::new(),
            retry_after: retry_after.map(Duration::from_secs),
        }
    }

    fn absent() -> RegistryError {
        RegistryError::Connect {
            host: "r".to_owned(),
            why: "refused".to_owned(),
        }
    }

    #[track_caller]
    fn check_wait(err: &RegistryError, failures: u32, first: bool, range: Option<(u64, u64)>) {
        let wait = RetryPolicy::default()
            .wait(err, failures, first)
            .map(|wait| wait.as_millis());
        match range {
            None => assert_eq!(wait, None),
            Some((low, high)) => {
                let wait = wait.expect("should be tried again");
                assert!(
                    (u128::from(low)..=u128::from(high)).contains(&wait),
                    "{wait} ms"
                );
            }
        }
    }

    #[test]
    fn waits_double_up_to_a_bound() {
        check_wait(&busy(None), 1, false, Some((250, 500)));
        check_wait(&busy(None), 3, false, Some((1000, 2000)));
        check_wait(&busy(None), 5, false, Some((4000, 8000)));
        check_wait(&busy(None), 6, false, None);
        check_wait(&busy(Some(7)), 1, false, Some((7000, 7000)));
        check_wait(&busy(Some(0)), 1, false, Some((250, 500)));
        check_wait(&busy(Some(3600)), 1, false, None);
        check_wait(&absent(), 1, true, None);
        check_wait(&absent(), 1, false, Some((250, 500)));
        let missing = RegistryError::NotFound {
            host: "r".to_owned(),
            what: "w".to_owned(),
        };
        check_wait(&missing, 1, false, None);
    }

    #[test]
    fn many_failures_do_not_overflow() {
        let policy = RetryPolicy {
            attempts: u32::MAX,
            ..RetryPolicy::default()
        };
        let wait = policy.wait(&busy(None), 1_000_000, false).unwrap();
        assert!(wait <= policy.max);
    }

    #[track_caller]
    fn check_header(value: &str, seconds: Option<u64>) {
        let now = "2026-10-21T07:28:00Z".parse().unwrap();
        assert_eq!(
            retry_after(value, now),
            seconds.map(Duration::from_secs),
            "{value}"
        );
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        check_header("17", Some(17));
        check_header(" 0 ", Some(0));
        check_header("Wed, 21 Oct 2026 07:28:30 GMT", Some(30));
        check_header("Wed, 21 Oct 2026 07:27:00 GMT", Some(0));
        check_header("soon", None);
        check_header("-5", None);
        check_header("", None);
    }
}
