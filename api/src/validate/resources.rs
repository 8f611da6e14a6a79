//! Limits and requests.

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource;

use super::Errors;
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
        let path = format!("{path}.requests{}", subscript(name));
        if quantity > limit {
            let problem = format!(
                "invalid value {}: must not be more than the limit, {limit}",
                request.0
            );
            errors.add(&path, &problem);
        } else if name.starts_with("hugepages-") && quantity != limit {
            errors.add(
                &path,
                &format!("invalid value {}: must be the limit, {limit}", request.0),
            );
        }
    }
}

/// The quantity of one resource, if it can be read.
fn amount(
    path: &str,
    name: &str,
    quantity: &resource::Quantity,
    errors: &mut Errors,
) -> Option<Quantity> {
    let path = format!("{path}{}", subscript(name));
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
        errors.add(&path, problem);
        return None;
    }
    match quantity.0.parse::<Quantity>() {
        Ok(quantity) if quantity.is_negative() => {
            errors.add(
                &path,
                &format!("invalid value {quantity}: must not be negative"),
            );
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
