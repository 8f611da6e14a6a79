//! `limitranges`: how much one pod of a namespace may ask for.
use super::cells::{GENERIC, at, generic_row, list};
use super::{Column, Names, Part, Resource};
use rkube_api::validate::FieldError;
use serde_json::Value;

/// `limitranges`.
#[derive(Debug)]
pub(super) struct LimitRanges;

const NAMES: Names = Names {
    short: &["limits"],
    prefix: "/registry/limitranges",
    schema: "io.k8s.api.core.v1.LimitRange",
    ..Names::core("limitranges", "limitrange", "LimitRange")
};

impl Resource for LimitRanges {
    fn names(&self) -> &Names {
        &NAMES
    }
    fn generation(&self, _: &Value, _: &Value) -> bool {
        false
    }
    fn validate(&self, object: &Value, _: Option<&Value>, _: Part) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let limits = list(object, "/spec/limits");
        for (index, one) in limits.iter().enumerate() {
            let path = format!("spec.limits[{index}].type");
            let kind = at(one, "/type");
            if kind.is_empty() {
                errors.push(FieldError::required(path, ""));
            } else if limits[..index]
                .iter()
                .any(|other| at(other, "/type") == kind)
            {
                errors.push(FieldError::duplicate(path, kind));
            }
        }
        errors
    }
    fn columns(&self) -> &'static [Column] {
        GENERIC
    }
    fn row(&self, object: &Value, _: i64) -> Vec<Value> {
        generic_row(object)
    }
    fn create_on_update(&self) -> bool {
        true
    }
}
