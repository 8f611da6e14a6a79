//! The spec of a pod, also as it stands in the templates of other kinds.
use super::super::cells::at;
use super::super::checks;
use k8s_openapi::api::core::v1::PodSpec;
use rkube_api::names::Form;
use rkube_api::validate::FieldError;
use serde_json::Value;

/// Gives the spec at this place its defaults.
pub(in super::super) fn default_spec(object: &mut Value, pointer: &str) {
    let Some(spec) = object.pointer_mut(pointer) else {
        return;
    };
    // The old name of a field that both old and new clients read.
    let (new, old) = (
        at(spec, "/serviceAccountName").to_owned(),
        at(spec, "/serviceAccount").to_owned(),
    );
    checks::set(spec, "serviceAccountName", old);
    if !new.is_empty() {
        spec["serviceAccount"] = new.into();
    }
    if at(spec, "/serviceAccountName").is_empty()
        && let Some(map) = spec.as_object_mut()
    {
        map.remove("serviceAccountName");
    }
    checks::through(object, pointer, rkube_api::defaults::pod_spec);
}

/// What is wrong with a spec that has its defaults.
pub(in super::super) fn check_spec(spec: Option<&Value>, path: &str) -> Vec<FieldError> {
    let Some(spec) = spec.filter(|spec| spec.is_object()) else {
        return vec![FieldError::required(path, "")];
    };
    match checks::typed::<PodSpec>(spec, path) {
        Ok(spec) => rkube_api::validate::pod_spec(&spec, path),
        Err(wrong) => vec![wrong],
    }
}

/// What is wrong with a template of pods: its labels, and its spec.
pub(in super::super) fn check(template: Option<&Value>, path: &str) -> Vec<FieldError> {
    let Some(template) = template.filter(|template| template.is_object()) else {
        return vec![FieldError::required(path, "")];
    };
    let mut errors = Vec::new();
    let labels = template
        .pointer("/metadata/labels")
        .and_then(Value::as_object);
    for (key, value) in labels.into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        let path = format!("{path}.metadata.labels");
        if let Some(why) = Form::LabelKey.kubernetes(key) {
            errors.push(FieldError::invalid(path.clone(), key, why));
        }
        if let Some(why) = Form::LabelValue.kubernetes(value) {
            errors.push(FieldError::invalid(path, value, why));
        }
    }
    errors.extend(check_spec(template.get("spec"), &format!("{path}.spec")));
    errors
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn mistakes_in_kubernetes_words() {
        let mut pod = json!({"spec": {"restartPolicy": "Sometimes", "terminationGracePeriodSeconds": -1, "containers": [
            {"name": "Bad_Name", "ports": [{"containerPort": 99999}], "volumeMounts": [{"name": "v", "mountPath": "/x"}]},
            {"name": "d", "image": "x"}, {"name": "d", "image": "x"}]}});
        default_spec(&mut pod, "/spec");
        let said = check_spec(pod.get("spec"), "spec.template.spec");
        let said: Vec<String> = said.iter().map(ToString::to_string).collect();
        let label = Form::Label.kubernetes("Bad_Name").unwrap();
        assert_eq!(
            said,
            [
                "spec.template.spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \
                 \"OnFailure\", \"Never\"",
                "spec.template.spec.terminationGracePeriodSeconds: Invalid value: -1: must be greater than or equal to 0",
                &format!(
                    "spec.template.spec.containers[0].name: Invalid value: \"Bad_Name\": {label}"
                ),
                "spec.template.spec.containers[0].image: Required value",
                "spec.template.spec.containers[0].ports[0].containerPort: Invalid value: 99999: must be between 1 and \
                 65535, inclusive",
                "spec.template.spec.containers[0].volumeMounts[0].name: Not found: \"v\"",
                "spec.template.spec.containers[2].name: Duplicate value: \"d\"",
            ]
        );
        assert_eq!(
            check_spec(None, "spec")[0].to_string(),
            "spec: Required value"
        );
    }
}
