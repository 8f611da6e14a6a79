//! `configmaps`: settings as text or bytes.
use super::cells::{AGE, NAME, age, size, text};
use super::{Column, Names, Part, Resource, checks};
use rkube_api::validate::FieldError;
use serde_json::{Value, json};

/// `configmaps`.
#[derive(Debug)]
pub(super) struct ConfigMaps;

const NAMES: Names = Names {
    short: &["cm"],
    prefix: "/registry/configmaps",
    schema: "io.k8s.api.core.v1.ConfigMap",
    ..Names::core("configmaps", "configmap", "ConfigMap")
};

impl Resource for ConfigMaps {
    fn names(&self) -> &Names {
        &NAMES
    }
    fn generation(&self, _: &Value, _: &Value) -> bool {
        false
    }
    fn validate(&self, object: &Value, old: Option<&Value>, _: Part) -> Vec<FieldError> {
        let mut errors = Vec::new();
        checks::keys(object, "data", &mut errors);
        checks::keys(object, "binaryData", &mut errors);
        let map = |field: &str| object.get(field).and_then(Value::as_object);
        let mut bytes = 0;
        for (key, value) in map("binaryData").into_iter().flatten() {
            if map("data").is_some_and(|data| data.contains_key(key)) {
                let path = format!("binaryData[{key}]");
                errors.push(FieldError::invalid(
                    path,
                    key,
                    "duplicate of key present in data",
                ));
            }
            bytes += value.as_str().map_or(0, str::len) / 4 * 3;
        }
        let texts = map("data").into_iter().flatten();
        bytes += texts
            .filter_map(|(_, value)| value.as_str())
            .map(str::len)
            .sum::<usize>();
        if bytes > checks::MAX_DATA {
            errors.push(FieldError::too_long("", checks::MAX_DATA));
        }
        checks::frozen(object, old, &["data", "binaryData"], &mut errors);
        errors
    }
    fn columns(&self) -> &'static [Column] {
        const { &[NAME, text("Data", "How many keys it has."), AGE] }
    }
    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        let data = size(object, "/data") + size(object, "/binaryData");
        vec![
            crate::meta::name(object).into(),
            json!(data),
            age(object, now).into(),
        ]
    }
}
