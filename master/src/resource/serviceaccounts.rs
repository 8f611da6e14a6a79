//! `serviceaccounts`: who pods are.
use super::cells::{AGE, NAME, age};
use super::{Column, Names, Part, Resource, Subresource};
use rkube_api::validate::FieldError;
use serde_json::Value;

/// `serviceaccounts`.
#[derive(Debug)]
pub(super) struct ServiceAccounts;

/// Where they are kept.
pub(crate) const PREFIX: &str = "/registry/serviceaccounts";

const NAMES: Names = Names {
    short: &["sa"],
    prefix: PREFIX,
    schema: "io.k8s.api.core.v1.ServiceAccount",
    ..Names::core("serviceaccounts", "serviceaccount", "ServiceAccount")
};

impl Resource for ServiceAccounts {
    fn names(&self) -> &Names {
        &NAMES
    }
    fn subresources(&self) -> &'static [Subresource] {
        &[Subresource {
            name: "token",
            group_version: Some(("authentication.k8s.io", "v1")),
            kind: "TokenRequest",
            verbs: &["create"],
            projected: false,
        }]
    }
    fn generation(&self, _: &Value, _: &Value) -> bool {
        false
    }
    fn validate(&self, _: &Value, _: Option<&Value>, _: Part) -> Vec<FieldError> {
        Vec::new()
    }
    fn columns(&self) -> &'static [Column] {
        const { &[NAME, AGE] }
    }
    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        vec![crate::meta::name(object).into(), age(object, now).into()]
    }
    fn returns_deleted(&self) -> bool {
        true
    }
}
