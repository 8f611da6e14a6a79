//! `Status` as 2014 had it: `details.id` and words of 2014 for the kinds.
use super::convert::field_path;
use super::table::Kind;
use serde_json::{Value, json};

/// A `v1` Status as 2014 shows it: about this object, by the id that the client used. The answer is without `apiVersion`.
#[must_use]
pub fn status(v1: &Value, kind: Kind, id: &str) -> Value {
    let details = &v1["details"];
    let reason = v1["reason"].as_str().unwrap_or_default();
    let about = details["kind"].as_str().unwrap_or_default();
    // An error about another object (a namespace) keeps its own words.
    let ours = about == kind.v1_plural() || about == kind.v1_kind();
    let ours = ours || (kind == Kind::Binding && about == "pods");
    let word = match kind {
        Kind::Binding => Kind::Pod.word(),
        kind => kind.word(),
    };
    let given = match id.is_empty() {
        true => details["name"].as_str().unwrap_or_default(),
        false => id,
    };
    let causes: Vec<Value> = details["causes"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|cause| moved(cause, kind))
        .collect();
    let said = v1["message"].as_str().unwrap_or_default();
    let message = match reason {
        _ if !ours => said.to_owned(),
        "NotFound" => format!("{word} \"{given}\" not found"),
        "AlreadyExists" => format!("{word} \"{given}\" already exists"),
        "Conflict" => {
            let why = said.split_once("\": ").map_or(said, |(_, why)| why);
            format!("{word} \"{given}\" cannot be updated: {why}")
        }
        "Invalid" if !causes.is_empty() => {
            let each: Vec<String> = causes.iter().map(sentence).collect();
            let all = match each.as_slice() {
                [one] => one.clone(),
                many => format!("[{}]", many.join(", ")),
            };
            format!("{word} \"{given}\" is invalid: {all}")
        }
        _ => said.to_owned(),
    };
    let mut shown = json!({"kind": "Status", "creationTimestamp": null, "status": v1["status"]});
    for (name, value) in [("message", message.as_str()), ("reason", reason)] {
        if !value.is_empty() {
            shown[name] = value.into();
        }
    }
    if v1["code"].as_u64().is_some_and(|code| code != 0) {
        shown["code"] = v1["code"].clone();
    }
    if ours {
        shown["details"] = json!({"id": given, "kind": word});
    } else if !about.is_empty() {
        shown["details"] = json!({"id": details["name"], "kind": about});
    }
    if !causes.is_empty() {
        shown["details"]["causes"] = causes.into();
    } else if reason == "BadRequest" {
        shown["details"]["causes"] = json!([{"message": said}]);
    }
    shown
}

/// A cause with the path that 2014 had for the field.
fn moved(cause: &Value, kind: Kind) -> Value {
    let mut cause = cause.clone();
    let field = cause["field"].as_str().unwrap_or_default();
    let field = match kind {
        Kind::Pod => field_path(field, true),
        _ => field.to_owned(),
    };
    cause["field"] = field.into();
    cause
}

fn sentence(cause: &Value) -> String {
    let field = cause["field"].as_str().unwrap_or_default();
    let message = cause["message"].as_str().unwrap_or_default();
    format!("{field}: {message}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_2014() {
        let v1 = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "reason": "NotFound",
            "message": "pods \"apache-node-1\" not found", "code": 404, "details": {"name": "apache-node-1", "kind": "pods"}});
        let want = json!({"kind": "Status", "creationTimestamp": null, "status": "Failure", "reason": "NotFound",
            "message": "pod \"Apache-Node\" not found", "code": 404, "details": {"id": "Apache-Node", "kind": "pod"}});
        assert_eq!(status(&v1, Kind::Pod, "Apache-Node"), want);
        let other = status(&v1, Kind::Service, "web");
        assert_eq!(other["message"], "pods \"apache-node-1\" not found");
        assert_eq!(
            other["details"],
            json!({"id": "apache-node-1", "kind": "pods"})
        );
    }

    #[test]
    fn fields_of_2014() {
        let v1 = json!({"status": "Failure", "reason": "Invalid", "message": "x", "code": 422,
            "details": {"name": "a", "kind": "Pod", "causes": [
                {"reason": "FieldValueRequired", "message": "Required value", "field": "spec.containers[0].image"}]}});
        let shown = status(&v1, Kind::Pod, "a");
        let want =
            "pod \"a\" is invalid: desiredState.manifest.containers[0].image: Required value";
        assert_eq!(shown["message"], want);
        let field = &shown["details"]["causes"][0]["field"];
        assert_eq!(field, "desiredState.manifest.containers[0].image");
    }

    #[test]
    fn success_has_no_code() {
        let shown = status(
            &json!({"status": "Success", "metadata": {}}),
            Kind::Pod,
            "a",
        );
        assert_eq!(
            shown,
            json!({"kind": "Status", "creationTimestamp": null, "status": "Success"})
        );
    }
}
