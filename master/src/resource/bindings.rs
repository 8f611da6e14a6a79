//! `bindings`: 2014's way to put a pod on a node; the same as the pod's own subresource.
use super::cells::{GENERIC, generic_row};
use super::{Column, Names, Part, Resource};
use rkube_api::validate::FieldError;
use serde_json::Value;

/// `bindings`.
#[derive(Debug)]
pub(super) struct Bindings;

const NAMES: Names = Names {
    prefix: "/registry/bindings",
    schema: "io.k8s.api.core.v1.Binding",
    ..Names::core("bindings", "binding", "Binding")
};

impl Resource for Bindings {
    fn names(&self) -> &Names {
        &NAMES
    }
    fn verbs(&self) -> &'static [&'static str] {
        &["create"]
    }
    fn validate(&self, _: &Value, _: Option<&Value>, _: Part) -> Vec<FieldError> {
        Vec::new()
    }
    fn columns(&self) -> &'static [Column] {
        GENERIC
    }
    fn row(&self, object: &Value, _: i64) -> Vec<Value> {
        generic_row(object)
    }
}
