//! The options of a watch (k8s.io/apimachinery, `ValidateListOptions`, `ListOptions`).
use crate::call::Call;
use crate::error::ApiError;
use crate::list::{forbidden, refuse, revision, unsupported};
use crate::store::Revision;
use std::time::Duration;

/// How long a watch is open that does not say: this and up to as much more, so that not all end together.
const DEFAULT_TIMEOUT: u64 = 30 * 60;
/// The longest.
const LONGEST_TIMEOUT: u64 = 24 * 60 * 60;

/// With what a watch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// With all that is there: now (none), at any time (0), or then or later.
    State(Option<Revision>),
    /// With the changes after this revision.
    After(Revision),
    /// With the changes from now on.
    Now,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) start: Start,
    pub(super) bookmarks: bool,
    /// Whether the end of what was there is told.
    pub(super) initial_end: bool,
    pub(super) timeout: Duration,
}

impl Options {
    pub(super) fn of(call: &Call) -> Result<Self, ApiError> {
        let initial = match call.parameter("sendInitialEvents") {
            None => None,
            Some(text) => Some(boolean("sendInitialEvents", text)?),
        };
        check(call, initial)?;
        let bookmarks = match call.parameter("allowWatchBookmarks") {
            None => false,
            Some(text) => boolean("allowWatchBookmarks", text)?,
        };
        let version = call
            .parameter("resourceVersion")
            .map(revision)
            .transpose()?;
        let start = match (initial, version) {
            (Some(true), version) => Start::State(version),
            (Some(false), None | Some(0)) => Start::Now,
            (None, None | Some(0)) => Start::State(version),
            (None | Some(false), Some(revision)) => Start::After(revision),
        };
        Ok(Options {
            start,
            bookmarks,
            initial_end: initial == Some(true),
            timeout: timeout(call)?,
        })
    }
}

/// As Go reads it.
fn boolean(name: &str, text: &str) -> Result<bool, ApiError> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(ApiError::bad_request(format!(
            "{name} {text:?} is neither true nor false"
        ))),
    }
}

fn timeout(call: &Call) -> Result<Duration, ApiError> {
    let asked = match call.parameter("timeoutSeconds") {
        None => 0,
        Some(text) => text.parse::<i64>().map_err(|_| {
            ApiError::bad_request(format!("timeoutSeconds {text:?} is no whole number"))
        })?,
    };
    let seconds = match u64::try_from(asked) {
        Ok(seconds) if seconds > 0 => seconds.min(LONGEST_TIMEOUT),
        _ => {
            let chance = jiff::Timestamp::now().as_nanosecond().unsigned_abs();
            DEFAULT_TIMEOUT + u64::try_from(chance % u128::from(DEFAULT_TIMEOUT)).unwrap_or(0)
        }
    };
    Ok(Duration::from_secs(seconds))
}

fn check(call: &Call, initial: Option<bool>) -> Result<(), ApiError> {
    let mut wrong = Vec::new();
    match (initial, call.parameter("resourceVersionMatch")) {
        (None, Some(_)) => wrong.push(forbidden(
            "resourceVersionMatch",
            "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
        )),
        (Some(_), None) => wrong.push(forbidden(
            "resourceVersionMatch",
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        )),
        (Some(_), Some(matching)) if matching != "NotOlderThan" => {
            wrong.push(unsupported(matching, "\"NotOlderThan\""));
        }
        _ => {}
    }
    refuse(&wrong)
}
