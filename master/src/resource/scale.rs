//! `scale`: how many there should be of whatever an object makes (autoscaling/v1 `Scale`).
use super::cells::{at, number};
use super::{Answered, Subresource};
use crate::error::ApiError;
use crate::meta;
use rkube_api::validate::FieldError;
use serde_json::{Map, Value, json};

/// The subresource, for discovery.
pub(super) const SUBRESOURCE: Subresource = Subresource {
    name: "scale",
    group_version: Some(("autoscaling", "v1")),
    kind: "Scale",
    verbs: &["get", "patch", "update"],
    projected: true,
};

/// The `Scale` of an object with `spec.replicas` and `status.replicas`.
pub(super) fn show(object: &Value, selector: &str) -> Value {
    let mut metadata = Map::new();
    for field in [
        "name",
        "namespace",
        "uid",
        "resourceVersion",
        "creationTimestamp",
    ] {
        if let Some(value) = meta::of(object).get(field) {
            metadata.insert(field.to_owned(), value.clone());
        }
    }
    let mut status = json!({"replicas": number(object, "/status/replicas")});
    if selector != "<none>" {
        status["selector"] = selector.into();
    }
    json!({
        "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
        "spec": {"replicas": number(object, "/spec/replicas")}, "status": status,
    })
}

/// Takes the number of a `Scale` over.
pub(super) fn write(object: &mut Value, scale: &Value) -> Result<Answered, ApiError> {
    let name = meta::name(object).to_owned();
    let refused = |why| Err(ApiError::invalid("autoscaling", "Scale", &name, &[why]));
    if !matches!(at(scale, "/kind"), "" | "Scale") {
        return Err(ApiError::bad_request(format!(
            "{} cannot be handled as a Scale",
            at(scale, "/kind")
        )));
    }
    let said = meta::name(scale);
    if !said.is_empty() && said != name {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({said}) does not match the name on the URL ({name})"
        )));
    }
    let replicas = number(scale, "/spec/replicas");
    if !(0..=i64::from(i32::MAX)).contains(&replicas) {
        let why = "must be greater than or equal to 0";
        return refused(FieldError::invalid("spec.replicas", replicas, why));
    }
    if let Some(map) = object.as_object_mut() {
        meta::member_mut(map, "spec").insert("replicas".to_owned(), replicas.into());
    }
    Ok(Answered::Shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_and_writes() {
        let mut object = json!({"metadata": {"name": "rc", "resourceVersion": "7", "labels": {"a": "b"}},
            "spec": {"replicas": 2, "selector": {}}, "status": {"replicas": 1}});
        let mut scale = show(&object, "app=rc");
        assert_eq!(
            scale["metadata"],
            json!({"name": "rc", "resourceVersion": "7"})
        );
        assert_eq!(
            scale["status"],
            json!({"replicas": 1, "selector": "app=rc"})
        );
        scale["spec"]["replicas"] = 5.into();
        assert_eq!(write(&mut object, &scale).unwrap(), Answered::Shown);
        assert_eq!(object["spec"], json!({"replicas": 5, "selector": {}}));
        scale["spec"]["replicas"] = (-1).into();
        assert_eq!(write(&mut object, &scale).unwrap_err().code.as_u16(), 422);
        scale["metadata"]["name"] = "other".into();
        assert_eq!(write(&mut object, &scale).unwrap_err().code.as_u16(), 400);
    }
}
