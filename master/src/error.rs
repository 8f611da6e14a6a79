//! Why a request was not done: a v1 `Status` in the making.
//!
//! Clients branch on `reason` and `code`, people read `message`: both as Kubernetes' own servers give them
//! (k8s.io/apimachinery, pkg/api/errors).
use crate::store::StoreError;
use http::StatusCode;
use rkube_api::validate::{FieldError, Reason};
use serde_json::{Value, json};

/// Why a request was not done.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// The code of the answer.
    pub code: StatusCode,
    /// The word programs look at, such as `NotFound`.
    pub reason: &'static str,
    /// What people read.
    pub message: String,
    /// `details`: name, group, kind, uid, causes.
    pub details: Option<Value>,
    /// After how many seconds to try again.
    pub retry_after: Option<u32>,
    /// `metadata.continue`: how to go on with a list whose state is gone.
    pub continue_token: Option<String>,
}

impl ApiError {
    /// With these words and no details.
    #[must_use]
    pub fn new(code: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        ApiError {
            code,
            reason,
            message: message.into(),
            details: None,
            retry_after: None,
            continue_token: None,
        }
    }
    /// 400.
    #[must_use]
    pub fn bad_request(message: impl Into<String>) -> Self {
        ApiError::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }
    /// 403 about an object.
    #[must_use]
    pub fn forbidden(group: &str, plural: &str, name: &str, why: &str) -> Self {
        let mut error = ApiError::new(
            StatusCode::FORBIDDEN,
            "Forbidden",
            format!(
                "{} \"{name}\" is forbidden: {why}",
                qualified(group, plural)
            ),
        );
        error.details = Some(details(group, plural, name));
        error
    }
    /// 404 of an object.
    #[must_use]
    pub fn not_found(group: &str, plural: &str, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", qualified(group, plural));
        let mut error = ApiError::new(StatusCode::NOT_FOUND, "NotFound", message);
        error.details = Some(details(group, plural, name));
        error
    }
    /// 404 of a path that names no resource.
    #[must_use]
    pub fn no_resource() -> Self {
        let message = "the server could not find the requested resource";
        let mut error = ApiError::new(StatusCode::NOT_FOUND, "NotFound", message);
        error.details = Some(json!({}));
        error
    }
    /// 409: the name is taken.
    #[must_use]
    pub fn already_exists(group: &str, plural: &str, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", qualified(group, plural));
        let mut error = ApiError::new(StatusCode::CONFLICT, "AlreadyExists", message);
        error.details = Some(details(group, plural, name));
        error
    }
    /// 409: somebody else was faster, or a precondition does not hold.
    #[must_use]
    pub fn conflict(group: &str, plural: &str, name: &str, why: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} \"{name}\": {why}",
            qualified(group, plural)
        );
        let mut error = ApiError::new(StatusCode::CONFLICT, "Conflict", message);
        error.details = Some(details(group, plural, name));
        error
    }
    /// 410: that state is gone.
    #[must_use]
    pub fn expired(message: impl Into<String>) -> Self {
        ApiError::new(StatusCode::GONE, "Expired", message)
    }
    /// 422: fields are wrong.
    #[must_use]
    pub fn invalid(group: &str, kind: &str, name: &str, mistakes: &[FieldError]) -> Self {
        let list: Vec<String> = mistakes
            .iter()
            .map(|mistake| format!("{}: {}", mistake.path, words(mistake)))
            .collect();
        let all = match list.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let of = if group.is_empty() {
            kind.to_owned()
        } else {
            format!("{kind}.{group}")
        };
        let mut error = ApiError::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "Invalid",
            format!("{of} \"{name}\" is invalid: {all}"),
        );
        let mut details = details(group, kind, name);
        details["causes"] = mistakes.iter().map(cause).collect();
        error.details = Some(details);
        error
    }
    /// 500: it should have worked.
    #[must_use]
    pub fn internal(message: impl Into<String>) -> Self {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message)
    }
    /// The `Status` object.
    #[must_use]
    pub fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code.as_u16(),
        });
        if let Some(token) = &self.continue_token {
            status["metadata"]["continue"] = token.as_str().into();
        }
        let mut details = self.details.clone();
        if let Some(seconds) = self.retry_after {
            details.get_or_insert_with(|| json!({}))["retryAfterSeconds"] = seconds.into();
        }
        if let Some(details) = details {
            status["details"] = details;
        }
        status
    }
}

/// `pods`, or `deployments.apps`.
fn qualified(group: &str, plural: &str) -> String {
    if group.is_empty() {
        plural.to_owned()
    } else {
        format!("{plural}.{group}")
    }
}

fn details(group: &str, kind: &str, name: &str) -> Value {
    let mut details = json!({"name": name, "kind": kind});
    if !group.is_empty() {
        details["group"] = group.into();
    }
    details
}

/// A mistake as Kubernetes begins it: `Required value`, `Invalid value: ...`. The rules that a kubelet has by itself say it in
/// words for people alone.
fn words(mistake: &FieldError) -> String {
    let problem = &mistake.problem;
    if problem.starts_with(|first: char| first.is_ascii_uppercase()) {
        return problem.clone();
    }
    let begins = |words: &str| problem.strip_prefix(words);
    match mistake.reason {
        Reason::Required => match begins("required value") {
            Some(rest) => format!("Required value{rest}"),
            None => format!("Required value: {problem}"),
        },
        Reason::Duplicate => match begins("duplicate value") {
            Some(rest) => format!("Duplicate value:{rest}"),
            None => format!("Duplicate value: {problem}"),
        },
        Reason::Invalid => format!("Invalid value: {problem}"),
        Reason::NotSupported => format!("Unsupported value: {problem}"),
        Reason::Forbidden => format!("Forbidden: {problem}"),
        Reason::TooLong => format!("Too long: {problem}"),
        Reason::NotFound => format!("Not found: {problem}"),
    }
}

fn cause(mistake: &FieldError) -> Value {
    json!({"reason": mistake.reason.as_str(), "message": words(mistake), "field": mistake.path})
}

impl From<StoreError> for ApiError {
    /// What the registry has no better words for.
    fn from(err: StoreError) -> Self {
        let mut error = match &err {
            StoreError::Conflict { .. } => {
                return ApiError::new(StatusCode::CONFLICT, "Conflict", err.to_string());
            }
            StoreError::Compacted { .. } => {
                return ApiError::expired("The resourceVersion for the provided list is too old.");
            }
            StoreError::Unavailable(_) | StoreError::Full(_) => ApiError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "ServiceUnavailable",
                err.to_string(),
            ),
            StoreError::Future { .. } => {
                ApiError::new(StatusCode::GATEWAY_TIMEOUT, "Timeout", err.to_string())
            }
            StoreError::NoLease(_) | StoreError::Failed(_) => {
                return ApiError::internal(err.to_string());
            }
        };
        error.retry_after = Some(1);
        error
    }
}
