//! The quality of service class of a pod, which decides who is killed first when memory runs out.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource;

use crate::quantity::Quantity;

/// Best first; killed last first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QosClass {
    /// Every container has CPU and memory limits, and requests exactly those.
    Guaranteed,
    /// Something is requested or limited, but less than that.
    Burstable,
    /// Nothing is requested or limited.
    BestEffort,
}

impl QosClass {
    /// The word used in `status.qosClass`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        }
    }
}

/// The class of a pod whose defaults have been set.
#[must_use]
pub fn class(spec: &PodSpec) -> QosClass {
    // Resources of the pod as a whole, where given, stand for those of its containers.
    let whole = spec
        .resources
        .as_ref()
        .filter(|resources| amount(resources.limits.as_ref(), resources.requests.as_ref()));
    if let Some(resources) = whole {
        let guaranteed = is_guaranteed(resources.limits.as_ref(), resources.requests.as_ref());
        return if guaranteed {
            QosClass::Guaranteed
        } else {
            QosClass::Burstable
        };
    }
    let containers = || {
        spec.containers
            .iter()
            .chain(spec.init_containers.iter().flatten())
    };
    if !containers().any(|container| with_resources(container, amount)) {
        QosClass::BestEffort
    } else if containers().all(|container| with_resources(container, is_guaranteed)) {
        QosClass::Guaranteed
    } else {
        QosClass::Burstable
    }
}

type Amounts = BTreeMap<String, resource::Quantity>;

fn with_resources(
    container: &Container,
    holds: fn(Option<&Amounts>, Option<&Amounts>) -> bool,
) -> bool {
    let resources = container.resources.as_ref();
    holds(
        resources.and_then(|resources| resources.limits.as_ref()),
        resources.and_then(|resources| resources.requests.as_ref()),
    )
}

/// Whether any CPU or memory is asked for.
fn amount(limits: Option<&Amounts>, requests: Option<&Amounts>) -> bool {
    let maps = [limits, requests];
    maps.iter()
        .flatten()
        .any(|amounts| positive(amounts, "cpu").is_some() || positive(amounts, "memory").is_some())
}

fn is_guaranteed(limits: Option<&Amounts>, requests: Option<&Amounts>) -> bool {
    ["cpu", "memory"].iter().all(|name| {
        let limit = limits.and_then(|limits| positive(limits, name));
        let request = requests.and_then(|requests| positive(requests, name));
        limit.is_some() && (request.is_none() || request == limit)
    })
}

fn positive(amounts: &Amounts, name: &str) -> Option<Quantity> {
    let quantity: Quantity = amounts.get(name)?.0.parse().ok()?;
    (!quantity.is_zero()).then_some(quantity)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ResourceRequirements;

    fn amounts(text: &str) -> Option<Amounts> {
        let pairs = text
            .split_whitespace()
            .filter_map(|pair| pair.split_once('='));
        let map: Amounts = pairs
            .map(|(name, value)| (name.to_owned(), resource::Quantity(value.to_owned())))
            .collect();
        (!map.is_empty()).then_some(map)
    }

    #[track_caller]
    fn check(containers: &[(&str, &str)], want: QosClass) {
        let containers = containers.iter().map(|(limits, requests)| Container {
            resources: Some(ResourceRequirements {
                limits: amounts(limits),
                requests: amounts(requests),
                ..ResourceRequirements::default()
            }),
            ..Container::default()
        });
        let spec = PodSpec {
            containers: containers.collect(),
            ..PodSpec::default()
        };
        assert_eq!(class(&spec), want);
    }

    #[test]
    fn classes() {
        use QosClass::{BestEffort, Burstable, Guaranteed};
        let full = "cpu=1 memory=1Gi";
        check(&[("", "")], BestEffort);
        check(&[("cpu=0", "memory=0")], BestEffort);
        check(&[("ephemeral-storage=1Gi", "")], BestEffort);
        check(&[("", "cpu=1")], Burstable);
        check(&[("memory=1Gi", "memory=1Gi")], Burstable);
        check(&[(full, full)], Guaranteed);
        check(&[(full, "")], Guaranteed);
        check(&[(full, "cpu=1000m memory=1024Mi")], Guaranteed);
        check(&[(full, "cpu=500m memory=1Gi")], Burstable);
        check(&[(full, full), (full, full)], Guaranteed);
        check(&[(full, full), ("", "")], Burstable);
    }

    #[test]
    fn resources_of_the_pod_decide() {
        let limits = amounts("cpu=1 memory=1Gi");
        let resources = ResourceRequirements {
            limits,
            ..ResourceRequirements::default()
        };
        let spec = PodSpec {
            containers: vec![Container::default()],
            resources: Some(resources),
            ..PodSpec::default()
        };
        assert_eq!(class(&spec), QosClass::Guaranteed);
    }
}
