//! Selectors of 2014 as selectors of `v1`.
use super::path::{Action, Asked};
use crate::error::ApiError;
use rkube_api::v1beta1::table::Kind;
use rkube_api::v1beta1::{hub, names};

/// How long a watch lasts: as long as a server of 2014 let a connection be.
const WATCH_SECONDS: &str = "300";

/// The query of the `v1` call for a list or a watch.
pub(super) fn query(asked: &Asked) -> Result<Vec<(String, String)>, ApiError> {
    let mut query = Vec::new();
    let mut put = |name: &str, value: String| {
        if !value.is_empty() {
            query.push((name.to_owned(), value));
        }
    };
    if asked.kind != Kind::Minion {
        let labels = terms(asked.parameter("labels").unwrap_or_default())?;
        put(
            "labelSelector",
            labels.iter().map(label).collect::<Vec<_>>().join(","),
        );
        let fields = terms(asked.parameter("fields").unwrap_or_default())?;
        let mut each = Vec::new();
        for term in &fields {
            each.extend(field(asked.kind, term)?);
        }
        put("fieldSelector", each.join(","));
    }
    if asked.action == Action::Watch {
        let from = asked.parameter("resourceVersion").unwrap_or_default();
        put(
            "resourceVersion",
            if from == "0" {
                String::new()
            } else {
                from.to_owned()
            },
        );
        put("timeoutSeconds", WATCH_SECONDS.to_owned());
    }
    Ok(query)
}

/// `key=value` or `key!=value`.
#[derive(Debug, PartialEq, Eq)]
struct Term<'t> {
    key: &'t str,
    equal: bool,
    value: &'t str,
}

fn terms(text: &str) -> Result<Vec<Term<'_>>, ApiError> {
    let given = text
        .split(',')
        .map(str::trim)
        .filter(|term| !term.is_empty());
    given
        .map(|term| {
            let (key, equal, value) = match (term.split_once("!="), term.split_once('=')) {
                (Some((key, value)), _) => (key, false, value),
                (None, Some((key, value))) => (key, true, value.strip_prefix('=').unwrap_or(value)),
                (None, None) => {
                    let why = "invalid selector: want key=value or key!=value, not";
                    return Err(ApiError::bad_request(format!("{why} {term:?}")));
                }
            };
            Ok(Term {
                key: key.trim(),
                equal,
                value: value.trim(),
            })
        })
        .collect()
}

/// A label that is not there was one with nothing in it.
fn label(term: &Term<'_>) -> String {
    let value = names::label(term.value);
    match (term.equal, value.as_str()) {
        (true, "") => format!("!{}", term.key),
        (false, "") => term.key.to_owned(),
        (true, value) => format!("{}={value}", term.key),
        (false, value) => format!("{}!={value}", term.key),
    }
}

fn field(kind: Kind, term: &Term<'_>) -> Result<Vec<String>, ApiError> {
    let sign = if term.equal { "=" } else { "!=" };
    let same = |field: &str, value: &str| Ok(vec![format!("{field}{sign}{value}")]);
    match (kind, term.key) {
        (Kind::Pod, "name" | "ID" | "id") | (Kind::Service | Kind::Endpoints, "name") => {
            same("metadata.name", &hub::name(kind, term.value))
        }
        (Kind::Pod, "DesiredState.Host" | "Status.Host") => {
            same("spec.nodeName", &hub::name(Kind::Minion, term.value))
        }
        // That is what all pods are to be.
        (Kind::Pod, "DesiredState.Status") => Ok(match (term.value == "Running") == term.equal {
            true => Vec::new(),
            false => vec!["metadata.name=-".to_owned()],
        }),
        (Kind::Pod, "Status.Phase") => Ok(phase(term)),
        (Kind::Event, "involvedObject.kind") => same(
            term.key,
            match term.value {
                "Minion" => "Node",
                "BoundPod" => "Pod",
                other => other,
            },
        ),
        (Kind::Event, "involvedObject.apiVersion") => match term.value {
            "v1beta1" | "v1beta2" => same(term.key, "v1"),
            other => same(term.key, other),
        },
        (Kind::Event, key) if key.starts_with("involvedObject.") => same(key, term.value),
        (Kind::Event, "reason" | "source") => same(term.key, term.value),
        (kind, key) => Err(ApiError::bad_request(format!(
            "{} cannot be selected by the field {key:?}",
            kind.resource()
        ))),
    }
}

fn phase(term: &Term<'_>) -> Vec<String> {
    let one = |sign: &str, phase: &str| format!("status.phase{sign}{phase}");
    match (term.value, term.equal) {
        ("Terminated", true) => ["Pending", "Running", "Unknown"]
            .map(|phase| one("!=", phase))
            .into(),
        ("Terminated", false) => ["Succeeded", "Failed"].map(|phase| one("!=", phase)).into(),
        ("Waiting", true) => vec![one("=", "Pending")],
        ("Waiting", false) => vec![one("!=", "Pending")],
        (other, true) => vec![one("=", other)],
        (other, false) => vec![one("!=", other)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors() {
        let labels =
            |text: &str| -> Vec<String> { terms(text).unwrap().iter().map(label).collect() };
        assert_eq!(
            labels("a=b,c==d, e!=f,g=,h!="),
            ["a=b", "c=d", "e!=f", "!g", "h"]
        );
        assert_eq!(labels(""), [""; 0]);
        assert!(labels("a=x y")[0].starts_with("a=x-y-"));
        assert!(terms("a").is_err());
        let fields = |kind, text: &str| {
            let terms = terms(text).unwrap();
            terms
                .iter()
                .map(|term| field(kind, term))
                .collect::<Result<Vec<_>, _>>()
                .map(|all| all.concat())
        };
        assert_eq!(
            fields(Kind::Pod, "DesiredState.Host!=").unwrap(),
            ["spec.nodeName!="]
        );
        assert_eq!(
            fields(Kind::Pod, "DesiredState.Status=Running").unwrap(),
            [""; 0]
        );
        assert_eq!(
            fields(Kind::Event, "involvedObject.kind=Minion").unwrap(),
            ["involvedObject.kind=Node"]
        );
        assert!(fields(Kind::ReplicationController, "name=x").is_err());
    }
}
