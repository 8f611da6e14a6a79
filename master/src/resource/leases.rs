//! `leases.coordination.k8s.io`: who leads, which node is alive.
use super::cells::{AGE, NAME, age, at, number, text};
use super::{Column, Names, Part, Resource};
use rkube_api::validate::FieldError;
use serde_json::Value;

/// `leases`.
#[derive(Debug)]
pub(super) struct Leases;

const NAMES: Names = Names {
    group: "coordination.k8s.io",
    prefix: "/registry/leases",
    schema: "io.k8s.api.coordination.v1.Lease",
    ..Names::core("leases", "lease", "Lease")
};

impl Resource for Leases {
    fn names(&self) -> &Names {
        &NAMES
    }
    fn generation(&self, _: &Value, _: &Value) -> bool {
        false
    }
    fn validate(&self, object: &Value, _: Option<&Value>, _: Part) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let at_least = [("leaseDurationSeconds", 1), ("leaseTransitions", 0)];
        for (field, least) in at_least {
            let pointer = format!("/spec/{field}");
            if object.pointer(&pointer).is_some() && number(object, &pointer) < least {
                let why = [
                    "must be greater than or equal to 0",
                    "must be greater than 0",
                ];
                let why = why[usize::from(least == 1)];
                let path = format!("spec.{field}");
                errors.push(FieldError::invalid(path, number(object, &pointer), why));
            }
        }
        errors
    }
    fn columns(&self) -> &'static [Column] {
        const { &[NAME, text("Holder", "Who holds it."), AGE] }
    }
    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        vec![
            crate::meta::name(object).into(),
            at(object, "/spec/holderIdentity").into(),
            age(object, now).into(),
        ]
    }
    fn create_on_update(&self) -> bool {
        true
    }
    fn unconditional_update(&self) -> bool {
        false
    }
}
