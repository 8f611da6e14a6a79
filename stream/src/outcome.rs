//! How a command ended, as the last word of an `exec` or `attach`: a v1 `Status` on the error channel.
use serde::{Deserialize, Serialize};

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With exit code 0.
    Success,
    /// With another one.
    Exit(i32),
    /// It could not be run, or be followed to its end.
    Failed(String),
}

const EXIT: &str = "NonZeroExitCode";
const EXIT_CAUSE: &str = "ExitCode";

/// What of a v1 `Status` is used here.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Status {
    metadata: Metadata,
    status: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    message: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    reason: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    details: Option<Details>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    code: Option<i32>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Metadata {}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Details {
    #[serde(default)]
    causes: Vec<Cause>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Cause {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    reason: String,
    #[serde(default)]
    message: String,
}

impl Outcome {
    /// For an exit code.
    #[must_use]
    pub fn of_code(code: i32) -> Self {
        match code {
            0 => Outcome::Success,
            code => Outcome::Exit(code),
        }
    }

    /// What is sent with version 4 of the protocol and later ones.
    #[must_use]
    pub fn status(&self) -> String {
        let cause = |reason: &str, message: String| Details {
            causes: vec![Cause {
                reason: reason.to_owned(),
                message,
            }],
        };
        let status = match self {
            Outcome::Success => Status {
                status: "Success".to_owned(),
                ..Status::default()
            },
            Outcome::Exit(code) => Status {
                status: "Failure".to_owned(),
                message: format!("command terminated with non-zero exit code: {code}"),
                reason: EXIT.to_owned(),
                details: Some(cause(EXIT_CAUSE, code.to_string())),
                ..Status::default()
            },
            Outcome::Failed(why) => Status {
                status: "Failure".to_owned(),
                message: why.clone(),
                reason: "InternalError".to_owned(),
                details: Some(cause("", why.clone())),
                code: Some(500),
                ..Status::default()
            },
        };
        serde_json::to_string(&status).unwrap_or_default()
    }

    /// What is sent with versions 1 to 3, if anything: plain words.
    #[must_use]
    pub fn words(&self) -> Option<String> {
        match self {
            Outcome::Success => None,
            Outcome::Exit(code) => Some(format!(
                "command terminated with non-zero exit code: {code}"
            )),
            Outcome::Failed(why) => Some(why.clone()),
        }
    }

    /// Reads either.
    #[must_use]
    pub fn read(said: &[u8]) -> Self {
        if said.is_empty() {
            return Outcome::Success;
        }
        let Ok(status) = serde_json::from_slice::<Status>(said) else {
            return Outcome::Failed(String::from_utf8_lossy(said).trim().to_owned());
        };
        if status.status == "Success" {
            return Outcome::Success;
        }
        let causes = status.details.iter().flat_map(|details| &details.causes);
        let code = causes
            .filter(|cause| cause.reason == EXIT_CAUSE)
            .find_map(|cause| cause.message.parse().ok());
        match code {
            Some(code) if status.reason == EXIT => Outcome::of_code(code),
            _ => Outcome::Failed(status.message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kubectl_reads() {
        let check = |outcome: Outcome, want: &str| {
            assert_eq!(outcome.status(), want);
            assert_eq!(Outcome::read(want.as_bytes()), outcome);
        };
        check(Outcome::Success, r#"{"metadata":{},"status":"Success"}"#);
        check(
            Outcome::Exit(3),
            r#"{"metadata":{},"status":"Failure","message":"command terminated with non-zero exit code: 3","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"3"}]}}"#,
        );
        check(
            Outcome::Failed("no".to_owned()),
            r#"{"metadata":{},"status":"Failure","message":"no","reason":"InternalError","details":{"causes":[{"message":"no"}]},"code":500}"#,
        );
    }

    #[test]
    fn older_and_odd_words() {
        let read = |said: &str| Outcome::read(said.as_bytes());
        assert_eq!(read(""), Outcome::Success);
        assert_eq!(read("oh no\n"), Outcome::Failed("oh no".to_owned()));
        assert_eq!(
            read(r#"{"metadata":{},"status":"Failure","reason":"NonZeroExitCode"}"#),
            Outcome::Failed(String::new())
        );
        assert_eq!(Outcome::of_code(0), Outcome::Success);
        assert_eq!(Outcome::Success.words(), None);
    }
}
