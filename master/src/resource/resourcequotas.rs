//! `resourcequotas`: how much all of a namespace may ask for.
use super::cells::{AGE, NAME, age, at, text};
use super::{Column, Names, Part, Resource, Subresource, checks};
use rkube_api::quantity::Quantity;
use rkube_api::validate::FieldError;
use serde_json::{Map, Value};

/// `resourcequotas`.
#[derive(Debug)]
pub(super) struct ResourceQuotas;

const NAMES: Names = Names {
    short: &["quota"],
    prefix: "/registry/resourcequotas",
    schema: "io.k8s.api.core.v1.ResourceQuota",
    ..Names::core("resourcequotas", "resourcequota", "ResourceQuota")
};

impl Resource for ResourceQuotas {
    fn names(&self) -> &Names {
        &NAMES
    }
    fn subresources(&self) -> &'static [Subresource] {
        const { &[Subresource::status("ResourceQuota")] }
    }
    fn validate(&self, object: &Value, old: Option<&Value>, part: Part) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let fields: &[&str] = match part {
            Part::Status => &["status.hard", "status.used"],
            Part::Main | Part::Other(_) => &["spec.hard"],
        };
        for field in fields {
            let amounts = object.pointer(&format!("/{}", field.replace('.', "/")));
            for (name, amount) in amounts.and_then(Value::as_object).into_iter().flatten() {
                let good = match amount {
                    Value::String(text) => text.parse::<Quantity>().is_ok(),
                    other => other.is_number(),
                };
                if !good {
                    let why = "must be a quantity, such as 500m or 2Gi";
                    errors.push(FieldError::invalid(format!("{field}[{name}]"), amount, why));
                }
            }
        }
        errors.extend(checks::unchanged(
            object,
            old,
            "/spec/scopes",
            "spec.scopes",
        ));
        errors
    }
    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                text("Request", "What is used of what may be requested."),
                text("Limit", "What is used of what may be the limits."),
                AGE,
            ]
        }
    }
    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        let hard = object.pointer("/status/hard").and_then(Value::as_object);
        let none = Map::new();
        let shown = |limits: bool| {
            let names = hard.unwrap_or(&none).keys();
            let names = names.filter(|name| name.starts_with("limits.") == limits);
            let each = names.map(|name| {
                let used = at(object, &format!("/status/used/{}", name.replace('/', "~1")));
                let hard = hard.and_then(|all| all.get(name)).and_then(Value::as_str);
                format!("{name}: {used}/{}", hard.unwrap_or(""))
            });
            each.collect::<Vec<_>>().join(", ")
        };
        vec![
            crate::meta::name(object).into(),
            shown(false).into(),
            shown(true).into(),
            age(object, now).into(),
        ]
    }
}
