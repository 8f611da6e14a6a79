//! meta/v1 `DeleteOptions`, from a body or a query.
use crate::call::Call;
use crate::error::ApiError;
use crate::meta;
use crate::registry::options::dry_run;
use crate::registry::target::Target;
use rkube_api::validate::FieldError;
use serde_json::{Map, Value, json};

/// What happens to those that an object owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Propagation {
    /// They stay, and belong to nobody.
    Orphan,
    /// They go after it.
    Background,
    /// They go before it.
    Foreground,
}

/// How an object is to be deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeleteOptions {
    /// The grace that is wanted, in seconds.
    pub(crate) grace: Option<i64>,
    /// What happens to dependants.
    pub(crate) propagation: Option<Propagation>,
    /// Which object must be the one that is deleted.
    pub(crate) uid: Option<String>,
    /// Which state it must be in.
    pub(crate) resource_version: Option<String>,
    /// Nothing is stored.
    pub(crate) dry_run: bool,
}

impl DeleteOptions {
    /// From the body, or, if there is none, from the query.
    pub(crate) fn of(call: &Call, body: Option<Value>) -> Result<Self, ApiError> {
        match body {
            None | Some(Value::Null) => Self::read(&query(call)?),
            Some(Value::Object(body)) => Self::read(&body),
            Some(_) => Err(ApiError::bad_request(
                "the body is no DeleteOptions: it must be a JSON object",
            )),
        }
    }

    fn read(body: &Map<String, Value>) -> Result<Self, ApiError> {
        let kind = body.get("kind").and_then(Value::as_str).unwrap_or("");
        if !matches!(kind, "" | "DeleteOptions") {
            return Err(ApiError::bad_request(format!(
                "{kind} cannot be handled as a DeleteOptions"
            )));
        }
        let mut mistakes = Vec::new();
        let propagation = propagation(body, &mut mistakes)?;
        let asked = body.get("dryRun").and_then(Value::as_array);
        let asked: Vec<&str> = asked
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let dry_run = dry_run(&asked, &mut mistakes);
        if !mistakes.is_empty() {
            let kind = "DeleteOptions";
            return Err(ApiError::invalid("meta.k8s.io", kind, "", &mistakes));
        }
        let grace = given(body, "gracePeriodSeconds", "an integer", Value::as_i64)?;
        let none = Map::new();
        let preconditions = given(body, "preconditions", "an object", Value::as_object)?;
        let preconditions = preconditions.unwrap_or(&none);
        let text = |name| given(preconditions, name, "a string", Value::as_str);
        Ok(DeleteOptions {
            // Less than nothing is as soon as can be, but not by force.
            grace: grace.map(|grace| if grace < 0 { 1 } else { grace }),
            propagation,
            uid: text("uid")?.map(str::to_owned),
            resource_version: text("resourceVersion")?.map(str::to_owned),
            dry_run,
        })
    }

    /// Whether the object is the one that is meant.
    pub(super) fn preconditions(
        &self,
        target: &Target<'_>,
        object: &Value,
    ) -> Result<(), ApiError> {
        let pairs = [
            ("UID", &self.uid, meta::uid(object)),
            (
                "ResourceVersion",
                &self.resource_version,
                meta::text(object, "resourceVersion"),
            ),
        ];
        for (name, expected, found) in pairs {
            if let Some(expected) = expected
                && expected != found
            {
                return Err(target.conflict(&format!(
                    "Precondition failed: {name} in precondition: {expected}, {name} in object meta: {found}"
                )));
            }
        }
        Ok(())
    }
}

/// A member of the right type; none where it is not there, or null.
fn given<'b, T>(
    body: &'b Map<String, Value>,
    name: &str,
    expected: &str,
    read: impl Fn(&'b Value) -> Option<T>,
) -> Result<Option<T>, ApiError> {
    match body.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => read(value).map(Some).ok_or_else(|| {
            ApiError::bad_request(format!("DeleteOptions: {name} must be {expected}"))
        }),
    }
}

fn propagation(
    body: &Map<String, Value>,
    mistakes: &mut Vec<FieldError>,
) -> Result<Option<Propagation>, ApiError> {
    const FIELD: &str = "propagationPolicy";
    let orphan = given(body, "orphanDependents", "true or false", Value::as_bool)?;
    let policy = given(body, FIELD, "a string", Value::as_str)?;
    if let (Some(_), Some(policy)) = (orphan, policy) {
        let detail = "orphanDependents and deletionPropagation cannot be both set";
        mistakes.push(FieldError::invalid(FIELD, policy, detail));
    }
    Ok(match (orphan, policy) {
        (Some(true), _) | (None, Some("Orphan")) => Some(Propagation::Orphan),
        (Some(false), _) | (None, Some("Background")) => Some(Propagation::Background),
        (None, Some("Foreground")) => Some(Propagation::Foreground),
        (None, None) => None,
        (None, Some(other)) => {
            let known = ["Foreground", "Background", "Orphan", "nil"];
            mistakes.push(FieldError::unsupported(FIELD, other, &known));
            None
        }
    })
}

/// The query's parameters as a body would have them.
fn query(call: &Call) -> Result<Map<String, Value>, ApiError> {
    let mut body = Map::new();
    for (name, value) in call.query.iter().filter(|(_, value)| !value.is_empty()) {
        let bad =
            |expected: &str| ApiError::bad_request(format!("{name}: {value:?} is not {expected}"));
        match name.as_str() {
            "gracePeriodSeconds" => {
                let grace: i64 = value.parse().map_err(|_| bad("an integer"))?;
                body.insert(name.clone(), grace.into());
            }
            "orphanDependents" => {
                let orphan: bool = value.parse().map_err(|_| bad("true or false"))?;
                body.insert(name.clone(), orphan.into());
            }
            "propagationPolicy" => {
                body.insert(name.clone(), value.as_str().into());
            }
            "dryRun" => {
                let list = body.entry("dryRun").or_insert_with(|| json!([]));
                if let Some(list) = list.as_array_mut() {
                    list.push(value.as_str().into());
                }
            }
            _ => {}
        }
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{User, Verb};

    fn call() -> Call {
        Call::new(User::default(), Verb::Delete, "", "v1", "pods")
    }

    #[test]
    fn a_query_says_as_much_as_a_body() {
        let asked = call()
            .with("gracePeriodSeconds", "-3")
            .with("propagationPolicy", "Foreground")
            .with("dryRun", "All");
        let by_query = DeleteOptions::of(&asked, None).unwrap();
        let body =
            json!({"gracePeriodSeconds": -3, "propagationPolicy": "Foreground", "dryRun": ["All"]});
        assert_eq!(by_query, DeleteOptions::of(&call(), Some(body)).unwrap());
        assert_eq!(by_query.grace, Some(1));
        assert!(by_query.dry_run);
    }

    #[test]
    fn the_body_wins() {
        let asked = call().with("gracePeriodSeconds", "3");
        let options = DeleteOptions::of(&asked, Some(json!({}))).unwrap();
        assert_eq!(options, DeleteOptions::default());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let bad = [
            (json!({"gracePeriodSeconds": "soon"}), 400),
            (json!({"kind": "Pod"}), 400),
            (json!([]), 400),
            (json!({"preconditions": 1}), 400),
            (json!({"propagationPolicy": "Now"}), 422),
            (
                json!({"propagationPolicy": "Orphan", "orphanDependents": true}),
                422,
            ),
            (json!({"dryRun": ["Some"]}), 422),
        ];
        for (body, code) in bad {
            let err = DeleteOptions::of(&call(), Some(body.clone())).unwrap_err();
            assert_eq!(err.code, code, "{body}");
        }
        assert!(DeleteOptions::of(&call().with("gracePeriodSeconds", "x"), None).is_err());
    }
}
