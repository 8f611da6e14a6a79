//! The rules for `metadata.ownerReferences`.
use rkube_api::validate::FieldError;
use serde_json::{Map, Value};

const PATH: &str = "metadata.ownerReferences";

/// Everything wrong with the owners of an object.
pub(super) fn check(metadata: &Map<String, Value>, mistakes: &mut Vec<FieldError>) {
    let list = metadata.get("ownerReferences").and_then(Value::as_array);
    let mut controller: Option<&str> = None;
    for (index, owner) in list.into_iter().flatten().enumerate() {
        let text = |name: &str| owner.get(name).and_then(Value::as_str).unwrap_or("");
        one(index, &text, mistakes);
        if owner.get("controller") != Some(&Value::Bool(true)) {
            continue;
        }
        let name = owner.get("name").and_then(Value::as_str).unwrap_or("");
        match controller {
            None => controller = Some(name),
            Some(first) => {
                let detail = format!(
                    "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {name}"
                );
                mistakes.push(FieldError::invalid(PATH, list, detail));
            }
        }
    }
}

fn one<'o>(index: usize, text: &dyn Fn(&str) -> &'o str, mistakes: &mut Vec<FieldError>) {
    let path = |name: &str| format!("{PATH}[{index}].{name}");
    let (version, kind) = (text("apiVersion"), text("kind"));
    if version.rsplit('/').next().is_none_or(str::is_empty) {
        let detail = "version must not be empty";
        mistakes.push(FieldError::invalid(path("apiVersion"), version, detail));
    } else if version.split('/').count() > 2 {
        let detail = format!("unexpected GroupVersion string: {version}");
        mistakes.push(FieldError::invalid(path("apiVersion"), version, detail));
    }
    for name in ["kind", "name", "uid"] {
        if text(name).is_empty() {
            let detail = format!("{name} must not be empty");
            mistakes.push(FieldError::invalid(path(name), "", detail));
        }
    }
    if kind == "Event" && version == "v1" {
        let detail = format!("{version}, Kind={kind} is disallowed from being an owner");
        mistakes.push(FieldError::invalid(
            format!("{PATH}[{index}]"),
            kind,
            detail,
        ));
    }
}
