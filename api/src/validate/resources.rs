//! Limits and requests.

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource;

use super::{Errors, FieldError, Words};
use crate::quantity::Quantity;

pub(super) fn check(path: &str, needs: &ResourceRequirements, errors: &mut Errors) {
    for (name, limit) in needs.limits.iter().flatten() {
        amount(&format!("{path}.limits"), name, limit, errors);
    }
    for (name, request) in needs.requests.iter().flatten() {
        // The default: what is wrong with it has been said of the limit.
        if needs.limits.as_ref().and_then(|limits| limits.get(name)) == Some(request) {
            continue;
        }
        let Some(quantity) = amount(&format!("{path}.requests"), name, request, errors) else {
            continue;
        };
        let limit = needs.limits.as_ref().and_then(|limits| limits.get(name));
        let Some(limit) = limit.and_then(|limit| limit.0.parse::<Quantity>().ok()) else {
            continue;
        };
        let (plain, kubernetes) = if quantity > limit {
            (
                "must not be more than the limit",
                "must be less than or equal to",
            )
        } else if name.starts_with("hugepages-") && quantity != limit {
            ("must be the limit", "must be equal to")
        } else {
            continue;
        };
        let problem = format!("invalid value {}: {plain}, {limit}", request.0);
        let why = format!("{kubernetes} {name} limit of {limit}");
        errors.say(
            || FieldError::new(format!("{path}.requests{}", subscript(name)), problem),
            || FieldError::invalid(format!("{path}.requests"), &request.0, why),
        );
    }
}

/// The quantity of one resource, if it can be read.
fn amount(
    path: &str,
    name: &str,
    quantity: &resource::Quantity,
    errors: &mut Errors,
) -> Option<Quantity> {
    let path = match errors.words {
        Words::Plain => format!("{path}{}", subscript(name)),
        Words::Kubernetes => format!("{path}[{name}]"),
    };
    let known = matches!(name, "cpu" | "memory" | "ephemeral-storage")
        || name
            .strip_prefix("hugepages-")
            .is_some_and(|size| size.parse::<Quantity>().is_ok())
        || name
            .split_once('/')
            .is_some_and(|(domain, name)| !domain.is_empty() && !name.is_empty());
    if !known {
        let problem = "unknown resource; it must be cpu, memory, ephemeral-storage, hugepages-<size> or \
                       <domain>/<name>";
        let why = "must be a standard resource type or fully qualified";
        errors.either(&path, problem, name, why);
        if errors.words == Words::Kubernetes {
            errors.invalid(&path, name, "must be a standard resource for containers");
        }
        return None;
    }
    match quantity.0.parse::<Quantity>() {
        Ok(quantity) if quantity.is_negative() => {
            let problem = format!("invalid value {quantity}: must not be negative");
            let why = "must be greater than or equal to 0";
            errors.either(&path, &problem, quantity.to_string(), why);
            None
        }
        Ok(quantity) => Some(quantity),
        Err(err) => {
            errors.add(&path, &err.to_string());
            None
        }
    }
}

fn subscript(name: &str) -> String {
    if name.contains(['.', '/']) {
        format!("[{name}]")
    } else {
        format!(".{name}")
    }
}
