//! The options of lists and watches, and what they mean together (k8s.io/apimachinery, `ValidateListOptions`).
use super::token;
use crate::call::Call;
use crate::error::ApiError;
use crate::store::Revision;
use rkube_api::validate::{FieldError, Reason};

/// Which state is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// What is there once the request has come.
    Newest,
    /// Whatever is at hand.
    Any,
    /// This or a newer one.
    AtLeast(Revision),
    /// This one.
    Exactly(Revision),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) state: State,
    /// The first key, without the prefix.
    pub(super) start: Option<String>,
    /// 0 is all.
    pub(super) limit: usize,
}

impl Options {
    pub(super) fn of(call: &Call) -> Result<Self, ApiError> {
        let limit = limit(call)?;
        let version = call.parameter("resourceVersion");
        let matching = call.parameter("resourceVersionMatch");
        check(call, version, matching)?;
        if let Some(token) = call.parameter("continue") {
            if version.is_some_and(|version| version != "0") {
                return Err(ApiError::bad_request(
                    "specifying resource version is not allowed when using continue",
                ));
            }
            let (revision, start) = token::read(token)?;
            return Ok(Options {
                state: revision.map_or(State::Newest, State::Exactly),
                start: Some(start),
                limit,
            });
        }
        let state = match (version.map(revision).transpose()?, matching) {
            (None, _) => State::Newest,
            (Some(0), _) => State::Any,
            (Some(revision), Some("Exact")) => State::Exactly(revision),
            // Of old, a page of a revision is of that revision.
            (Some(revision), None) if limit > 0 => State::Exactly(revision),
            (Some(revision), _) => State::AtLeast(revision),
        };
        Ok(Options {
            state,
            start: None,
            limit,
        })
    }
}

fn limit(call: &Call) -> Result<usize, ApiError> {
    let Some(text) = call.parameter("limit") else {
        return Ok(0);
    };
    let number: Result<i64, _> = text.parse();
    let number = number.map_err(|_| {
        ApiError::bad_request(format!("limit {text:?} is no whole number of 64 bits"))
    })?;
    // Less than none is all, as Kubernetes has it.
    Ok(usize::try_from(number).unwrap_or(0))
}

fn check(call: &Call, version: Option<&str>, matching: Option<&str>) -> Result<(), ApiError> {
    let mut wrong = Vec::new();
    if let Some(matching) = matching {
        let mut forbid = |why: &str| wrong.push(forbidden("resourceVersionMatch", why));
        if version.is_none() {
            forbid("resourceVersionMatch is forbidden unless resourceVersion is provided");
        }
        if call.parameter("continue").is_some() {
            forbid("resourceVersionMatch is forbidden when continue is provided");
        }
        if matching == "Exact" && version == Some("0") {
            forbid("resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"");
        }
        if !["Exact", "NotOlderThan"].contains(&matching) {
            wrong.push(unsupported(matching, "\"Exact\", \"NotOlderThan\""));
        }
    }
    if call.parameter("sendInitialEvents").is_some() {
        let why = "sendInitialEvents is forbidden for list";
        wrong.push(forbidden("sendInitialEvents", why));
    }
    refuse(&wrong)
}

/// A `resourceVersion` of a request.
pub(crate) fn revision(text: &str) -> Result<Revision, ApiError> {
    text.parse().map_err(|_| {
        ApiError::bad_request(format!(
            "invalid resource version {text:?}: it must be one that an answer has given"
        ))
    })
}

pub(crate) fn forbidden(field: &str, why: &str) -> FieldError {
    FieldError::new(field, format!("Forbidden: {why}")).because(Reason::Forbidden)
}

pub(crate) fn unsupported(matching: &str, known: &str) -> FieldError {
    let problem = format!("Unsupported value: {matching:?}: supported values: {known}");
    FieldError::new("resourceVersionMatch", problem).because(Reason::NotSupported)
}

/// 422, if anything is wrong.
pub(crate) fn refuse(wrong: &[FieldError]) -> Result<(), ApiError> {
    if wrong.is_empty() {
        return Ok(());
    }
    Err(ApiError::invalid("meta.k8s.io", "ListOptions", "", wrong))
}
