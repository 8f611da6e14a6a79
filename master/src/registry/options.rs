//! What a write's query says: `dryRun`, `fieldManager`, `force`.
use crate::call::Call;
use crate::error::ApiError;
use rkube_api::validate::FieldError;

/// The longest name of a field manager (k8s.io/apimachinery, `ValidateFieldManager`).
const LONGEST_MANAGER: usize = 128;

/// The options every write may have (meta/v1 `CreateOptions`, `UpdateOptions`, `PatchOptions`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct WriteOptions {
    /// Everything is done but to store it.
    pub(super) dry_run: bool,
    /// Who owns the fields that are written.
    pub(super) manager: Option<String>,
    /// Whether an apply takes over others' fields.
    pub(super) force: Option<bool>,
    /// Who owns what is in the object already: it comes of an apply.
    pub(super) applied: bool,
}

impl WriteOptions {
    /// As the query has them; `kind` is what the message is about: `CreateOptions`.
    pub(super) fn of(call: &Call, kind: &str) -> Result<Self, ApiError> {
        let mut mistakes = Vec::new();
        let values = call.query.iter().filter(|(key, _)| key == "dryRun");
        let asked: Vec<&str> = values.map(|(_, value)| value.as_str()).collect();
        let dry_run = dry_run(&asked, &mut mistakes);
        let manager = call.parameter("fieldManager").map(str::to_owned);
        mistakes.extend(manager.as_deref().and_then(manager_problem));
        let force = match call.parameter("force") {
            None => None,
            Some("true" | "1") => Some(true),
            Some("false" | "0") => Some(false),
            Some(other) => {
                let detail = "must be true or false";
                mistakes.push(FieldError::invalid("force", other, detail));
                None
            }
        };
        if !mistakes.is_empty() {
            return Err(ApiError::invalid("meta.k8s.io", kind, "", &mistakes));
        }
        Ok(WriteOptions {
            dry_run,
            manager,
            force,
            applied: false,
        })
    }
    /// Who writes: the manager that is named, or the program (the first part of `User-Agent`).
    pub(super) fn manager<'o>(&'o self, call: &'o Call) -> &'o str {
        self.manager
            .as_deref()
            .unwrap_or_else(|| match agent(call) {
                "" => "unknown",
                agent => agent,
            })
    }
}

fn agent(call: &Call) -> &str {
    let agent = call.headers.get(http::header::USER_AGENT);
    let agent = agent.and_then(|agent| agent.to_str().ok()).unwrap_or("");
    let program = agent.split(['/', ' ']).next().unwrap_or("");
    program.get(..LONGEST_MANAGER).unwrap_or(program)
}

/// Only `All` is known.
pub(super) fn dry_run(asked: &[&str], mistakes: &mut Vec<FieldError>) -> bool {
    for value in asked.iter().filter(|value| !matches!(**value, "" | "All")) {
        mistakes.push(FieldError::unsupported("dryRun", value, &["All"]));
    }
    asked.contains(&"All")
}

fn manager_problem(manager: &str) -> Option<FieldError> {
    if manager.len() > LONGEST_MANAGER {
        return Some(FieldError::too_long("fieldManager", LONGEST_MANAGER));
    }
    let unprintable = manager.chars().find(|letter| letter.is_control())?;
    let detail = format!("should only contain printable characters, not {unprintable:?}");
    Some(FieldError::invalid("fieldManager", manager, detail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{User, Verb};

    fn of(query: &[(&str, &str)]) -> Result<WriteOptions, ApiError> {
        let call = Call::new(User::default(), Verb::Create, "", "v1", "pods");
        let call = query
            .iter()
            .fold(call, |call, (key, value)| call.with(key, value));
        WriteOptions::of(&call, "CreateOptions")
    }

    #[test]
    fn dry_run_is_all_or_nothing() {
        assert!(!of(&[]).unwrap().dry_run);
        assert!(of(&[("dryRun", "All")]).unwrap().dry_run);
        let err = of(&[("dryRun", "Some")]).unwrap_err();
        assert_eq!(err.code, 422);
        assert_eq!(
            err.message,
            r#"CreateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: "Some": supported values: "All""#
        );
    }

    #[test]
    fn managers_have_bounds() {
        assert!(of(&[("fieldManager", &"x".repeat(129))]).is_err());
        assert!(of(&[("fieldManager", "a\nb")]).is_err());
        assert!(of(&[("force", "maybe")]).is_err());
        let named = of(&[("fieldManager", "helm"), ("force", "true")]).unwrap();
        assert_eq!(named.manager.as_deref(), Some("helm"));
        assert_eq!(named.force, Some(true));
    }

    #[test]
    fn the_program_is_the_manager_of_old() {
        let mut call = Call::new(User::default(), Verb::Create, "", "v1", "pods");
        let options = WriteOptions::default();
        assert_eq!(options.manager(&call), "unknown");
        call.headers.insert(
            http::header::USER_AGENT,
            "kubectl/v1.37.1 (linux/amd64)".parse().unwrap(),
        );
        assert_eq!(options.manager(&call), "kubectl");
    }
}
