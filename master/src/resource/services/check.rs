//! What is wrong with a service.
use super::super::cells::{at, is, list, number};
use super::super::{checks, endpoints};
use rkube_api::names::Form;
use rkube_api::validate::FieldError;
use serde_json::Value;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const NOT_AN_ADDRESS: &str = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";

/// All of it.
pub(super) fn service(object: &Value, old: Option<&Value>) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if !object.get("spec").is_some_and(Value::is_object) {
        return vec![FieldError::required("spec", "")];
    }
    let kind = at(object, "/spec/type");
    let headless = at(object, "/spec/clusterIP") == "None";
    if !TYPES.contains(&kind) {
        errors.push(FieldError::unsupported("spec.type", kind, TYPES));
    }
    if list(object, "/spec/ports").is_empty() && !headless && kind != "ExternalName" {
        errors.push(FieldError::required("spec.ports", ""));
    }
    ports(object, &mut errors);
    selector(object, &mut errors);
    affinity(object, &mut errors);
    addresses(object, old, &mut errors);
    policies(object, &mut errors);
    if kind == "ExternalName" {
        external_name(object, &mut errors);
    }
    for (index, address) in list(object, "/spec/externalIPs").iter().enumerate() {
        let address = address.as_str().unwrap_or("");
        endpoints::address_problems(address, &format!("spec.externalIPs[{index}]"), &mut errors);
    }
    errors
}

fn ports(object: &Value, errors: &mut Vec<FieldError>) {
    let ports = list(object, "/spec/ports");
    let (mut names, mut numbers, mut on_nodes) =
        (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for (index, port) in ports.iter().enumerate() {
        let path = format!("spec.ports[{index}]");
        let (name, protocol) = (at(port, "/name"), at(port, "/protocol"));
        let named = format!("{path}.name");
        if name.is_empty() && ports.len() > 1 {
            errors.push(FieldError::required(named, ""));
        } else if let Some(why) = Form::Label.kubernetes(name).filter(|_| !name.is_empty()) {
            errors.push(FieldError::invalid(named, name, why));
        } else if !name.is_empty() && !names.insert(name) {
            errors.push(FieldError::duplicate(named, name));
        }
        checks::port(number(port, "/port"), &format!("{path}.port"), errors);
        checks::protocol(protocol, &format!("{path}.protocol"), errors);
        target(port, &format!("{path}.targetPort"), errors);
        if !numbers.insert((number(port, "/port"), protocol)) {
            let value = serde_json::json!({"port": number(port, "/port"), "protocol": protocol});
            errors.push(FieldError::duplicate(path.clone(), value));
        }
        let node_port = number(port, "/nodePort");
        let path = format!("{path}.nodePort");
        if node_port == 0 {
            continue;
        }
        if matches!(at(object, "/spec/type"), "ClusterIP" | "ExternalName") {
            let why = format!(
                "may not be used when `type` is '{}'",
                at(object, "/spec/type")
            );
            errors.push(FieldError::forbidden(path, why));
        } else if !on_nodes.insert((node_port, protocol)) {
            errors.push(FieldError::duplicate(path, node_port));
        }
    }
}

fn target(port: &Value, path: &str, errors: &mut Vec<FieldError>) {
    match port.get("targetPort") {
        Some(Value::String(name)) => {
            if let Some(why) = Form::PortName.kubernetes(name) {
                errors.push(FieldError::invalid(path, name, why));
            }
        }
        Some(_) => checks::port(number(port, "/targetPort"), path, errors),
        None => {}
    }
}

fn selector(object: &Value, errors: &mut Vec<FieldError>) {
    let selector = object.pointer("/spec/selector").and_then(Value::as_object);
    for (key, value) in selector.into_iter().flatten() {
        let value = value.as_str().unwrap_or_default();
        if let Some(why) = Form::LabelKey.kubernetes(key) {
            errors.push(FieldError::invalid("spec.selector", key, why));
        }
        if let Some(why) = Form::LabelValue.kubernetes(value) {
            errors.push(FieldError::invalid("spec.selector", value, why));
        }
    }
}

fn affinity(object: &Value, errors: &mut Vec<FieldError>) {
    const KNOWN: &[&str] = &["ClientIP", "None"];
    let affinity = at(object, "/spec/sessionAffinity");
    if affinity.is_empty() {
        errors.push(FieldError::required("spec.sessionAffinity", ""));
    } else if !KNOWN.contains(&affinity) {
        errors.push(FieldError::unsupported(
            "spec.sessionAffinity",
            affinity,
            KNOWN,
        ));
    }
    let seconds = number(
        object,
        "/spec/sessionAffinityConfig/clientIP/timeoutSeconds",
    );
    let path = "spec.sessionAffinityConfig";
    if affinity == "ClientIP" && !(1..=86400).contains(&seconds) {
        let path = format!("{path}.clientIP.timeoutSeconds");
        let why = "must be greater than 0 and less than or equal to 86400";
        errors.push(FieldError::invalid(path, seconds, why));
    }
    let config = object
        .pointer("/spec/sessionAffinityConfig")
        .filter(|config| !config.is_null());
    if affinity == "None" && config.is_some() {
        let why = "must not be set when session affinity is None";
        errors.push(FieldError::forbidden(path, why));
    }
}

fn addresses(object: &Value, old: Option<&Value>, errors: &mut Vec<FieldError>) {
    let (kind, one) = (at(object, "/spec/type"), at(object, "/spec/clusterIP"));
    let many = list(object, "/spec/clusterIPs");
    if kind == "ExternalName" {
        if !one.is_empty() || !many.is_empty() {
            let why = "may not be set for ExternalName services";
            errors.push(FieldError::forbidden("spec.clusterIPs", why));
        }
        return;
    }
    if one == "None" && kind != "ClusterIP" {
        let why = format!("may not be set to 'None' for {kind} services");
        errors.push(FieldError::invalid("spec.clusterIPs[0]", one, why));
    }
    for (index, address) in many.iter().enumerate() {
        let address = address.as_str().unwrap_or("");
        let path = format!("spec.clusterIPs[{index}]");
        if index > 0 {
            let why = "may only hold one value, as this cluster has one address family";
            errors.push(FieldError::invalid(path, address, why));
        } else if address != one {
            let why = "first value must match `clusterIP`";
            errors.push(FieldError::invalid(path, address, why));
        } else if address != "None" && address.parse::<Ipv4Addr>().is_err() {
            errors.push(FieldError::invalid(path, address, NOT_AN_ADDRESS));
        }
    }
    let before = old.filter(|old| at(old, "/spec/type") != "ExternalName");
    let before = before.map_or("", |old| at(old, "/spec/clusterIP"));
    if !before.is_empty() && before != one {
        let why = "may not change once set";
        errors.push(FieldError::invalid("spec.clusterIPs[0]", many, why));
    }
    for (index, family) in list(object, "/spec/ipFamilies").iter().enumerate() {
        if family != "IPv4" {
            let path = format!("spec.ipFamilies[{index}]");
            let why = "not configured on this cluster";
            errors.push(FieldError::invalid(path, family, why));
        }
    }
}

fn policies(object: &Value, errors: &mut Vec<FieldError>) {
    const KNOWN: &[&str] = &["Cluster", "Local"];
    let kind = at(object, "/spec/type");
    let outside = matches!(kind, "NodePort" | "LoadBalancer")
        || !list(object, "/spec/externalIPs").is_empty();
    for field in ["internalTrafficPolicy", "externalTrafficPolicy"] {
        let (path, word) = (
            format!("spec.{field}"),
            at(object, &format!("/spec/{field}")),
        );
        if word.is_empty() {
            continue;
        }
        if field == "externalTrafficPolicy" && !outside {
            let why = "may only be set for externally-accessible services";
            errors.push(FieldError::invalid(path, word, why));
        } else if !KNOWN.contains(&word) {
            errors.push(FieldError::unsupported(path, word, KNOWN));
        }
    }
    let policies = ["PreferDualStack", "RequireDualStack", "SingleStack"];
    let policy = at(object, "/spec/ipFamilyPolicy");
    if !policy.is_empty() && !policies.contains(&policy) {
        errors.push(FieldError::unsupported(
            "spec.ipFamilyPolicy",
            policy,
            &policies,
        ));
    } else if policy == "RequireDualStack" {
        let why = "this cluster is not configured for dual-stack services";
        errors.push(FieldError::invalid("spec.ipFamilyPolicy", policy, why));
    }
    if kind != "LoadBalancer" && is(object, "/spec/allocateLoadBalancerNodePorts") {
        let why = "may only be used when `type` is 'LoadBalancer'";
        errors.push(FieldError::forbidden(
            "spec.allocateLoadBalancerNodePorts",
            why,
        ));
    }
}

fn external_name(object: &Value, errors: &mut Vec<FieldError>) {
    const PATH: &str = "spec.externalName";
    let name = at(object, "/spec/externalName");
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.is_empty() {
        errors.push(FieldError::required(PATH, ""));
    } else if let Some(why) = Form::Subdomain.kubernetes(name) {
        errors.push(FieldError::invalid(PATH, name, why));
    }
}
