//! Everything that is no pod.
use super::pod::items;
use super::{copy, labels, name, required, set, text};
use crate::quantity::Quantity;
use crate::v1beta1::table::Kind;
use crate::validate::FieldError;
use jiff::Timestamp;
use serde_json::{Map, Value, json};
use std::net::{IpAddr, SocketAddr};

/// The annotation of a service that goes to the first port of the first container of each pod: `v1` cannot say that.
pub const FIRST_PORT: &str = "rkube.io/v1beta1-first-port";

pub(super) fn complete_service(given: &mut Value) {
    if text(given, "protocol").is_none() {
        given["protocol"] = "TCP".into();
    }
}

/// An update that does not name the address keeps it.
pub(super) fn keep_address(before: &Value, given: &mut Value) {
    if text(given, "portalIP").is_none() {
        copy(before, given, "portalIP");
    }
}

pub(super) fn service(given: &Value, object: &mut Value, mistakes: &mut Vec<FieldError>) {
    let port = &given["port"];
    if port.as_i64().is_none_or(|port| port == 0) {
        mistakes.push(required("spec.port"));
    }
    let selector = labels(&given["selector"]);
    if selector.is_none() {
        mistakes.push(required("spec.selector"));
    }
    let protocol = text(given, "protocol")
        .unwrap_or("TCP")
        .to_ascii_uppercase();
    let unsaid = u16::try_from(port.as_i64().unwrap_or_default()).unwrap_or_default();
    let target = super::probe::port(&given["containerPort"], unsaid);
    object["spec"] = json!({"ports": [{"port": port, "protocol": protocol, "targetPort": target}]});
    let spec = &mut object["spec"];
    set(spec, "selector", selector);
    set(spec, "clusterIP", text(given, "portalIP").map(Value::from));
    let public = given.get("publicIPs").filter(|ips| ips.is_array());
    set(spec, "externalIPs", public.cloned());
    if given["createExternalLoadBalancer"] == true {
        spec["type"] = "LoadBalancer".into();
    }
    if is_unsaid(&given["containerPort"]) {
        object["metadata"]["annotations"][FIRST_PORT] = "true".into();
    }
}

fn is_unsaid(port: &Value) -> bool {
    match port {
        Value::String(text) => text.is_empty(),
        Value::Number(number) => number.as_i64() == Some(0),
        _ => true,
    }
}

pub(super) fn show_service(stored: &Value, object: &mut Map<String, Value>) {
    let spec = &stored["spec"];
    let port = &spec["ports"][0];
    let first = stored["metadata"]["annotations"][FIRST_PORT] == "true";
    let target = match &port["targetPort"] {
        Value::Null => &port["port"],
        target => target,
    };
    let target = match first && *target == port["port"] {
        true => 0.into(),
        false => target.clone(),
    };
    let mut put = |name: &str, value: Value| object.insert(name.to_owned(), value);
    put("port", port["port"].clone());
    put("protocol", text(port, "protocol").unwrap_or("TCP").into());
    put("containerPort", target);
    put("selector", spec["selector"].clone());
    put("portalIP", spec["clusterIP"].clone());
    put("publicIPs", spec["externalIPs"].clone());
    put(
        "createExternalLoadBalancer",
        (spec["type"] == "LoadBalancer").into(),
    );
}

pub(super) fn endpoints(given: &Value, object: &mut Value, mistakes: &mut Vec<FieldError>) {
    let mut subsets: Vec<(u16, Vec<Value>)> = Vec::new();
    for (index, endpoint) in items(given, "endpoints").enumerate() {
        let endpoint = endpoint.as_str().unwrap_or_default();
        let Ok(address) = endpoint.parse::<SocketAddr>() else {
            let path = format!("endpoints[{index}]");
            mistakes.push(FieldError::invalid(
                path,
                endpoint,
                "must be an IP and a port: 10.0.0.1:80",
            ));
            continue;
        };
        let ip = json!({"ip": address.ip().to_string()});
        match subsets.iter_mut().find(|(port, _)| *port == address.port()) {
            Some((_, ips)) => ips.push(ip),
            None => subsets.push((address.port(), vec![ip])),
        }
    }
    let subsets = subsets
        .into_iter()
        .map(|(port, ips)| json!({"addresses": ips, "ports": [{"port": port, "protocol": "TCP"}]}));
    let subsets: Vec<Value> = subsets.collect();
    if !subsets.is_empty() {
        object["subsets"] = subsets.into();
    }
}

pub(super) fn show_endpoints(stored: &Value, object: &mut Map<String, Value>) {
    let mut shown = Vec::new();
    for subset in items(stored, "subsets") {
        for port in items(subset, "ports") {
            let ips = items(subset, "addresses").filter_map(|address| text(address, "ip"));
            shown.extend(ips.filter_map(|ip| {
                let ip: IpAddr = ip.parse().ok()?;
                let port = u16::try_from(port["port"].as_u64()?).ok()?;
                Some(Value::from(SocketAddr::new(ip, port).to_string()))
            }));
        }
    }
    object.insert("endpoints".to_owned(), shown.into());
}

/// An address that was known before keeps what was known of it.
pub(super) fn keep_addresses(stored: &Value, object: &mut Value) {
    let known: Vec<&Value> = items(stored, "subsets")
        .flat_map(|subset| items(subset, "addresses"))
        .collect();
    let subsets = object.get_mut("subsets").and_then(Value::as_array_mut);
    for subset in subsets.into_iter().flatten() {
        let addresses = subset.get_mut("addresses").and_then(Value::as_array_mut);
        for address in addresses.into_iter().flatten() {
            if let Some(same) = known.iter().find(|known| known["ip"] == address["ip"]) {
                *address = (*same).clone();
            }
        }
    }
}

pub(super) fn minion(given: &Value, object: &mut Value) {
    let mut capacity = Map::new();
    let given_amounts = given["resources"]["capacity"].as_object();
    for (resource, amount) in given_amounts.into_iter().flatten() {
        let number = match amount {
            Value::String(text) => text.parse::<i64>().ok(),
            amount => amount.as_i64(),
        };
        let quantity = number
            .filter(|number| *number >= 0)
            .map(|number| match resource.as_str() {
                "cpu" => Quantity::from_milli(number).to_string(),
                _ => Quantity::from_units(number).to_string(),
            });
        if let Some(quantity) = quantity {
            capacity.insert(resource.clone(), quantity.into());
        }
    }
    let mut status = json!({});
    if !capacity.is_empty() {
        status["allocatable"] = capacity.clone().into();
        status["capacity"] = capacity.into();
    }
    if let Some(ip) = text(given, "hostIP") {
        status["addresses"] = json!([{"type": "InternalIP", "address": ip}]);
    }
    if status != json!({}) {
        object["status"] = status;
    }
}

pub(super) fn show_minion(stored: &Value, object: &mut Map<String, Value>) {
    let status = &stored["status"];
    let amounts = status["capacity"].as_object().into_iter().flatten();
    let capacity = amounts.filter_map(|(resource, amount)| {
        let quantity: Quantity = amount.as_str()?.parse().ok()?;
        let number = match resource.as_str() {
            "cpu" => quantity.milli(),
            _ => quantity.units(),
        };
        Some((resource.clone(), Value::from(number)))
    });
    let capacity = Value::Object(capacity.collect());
    object.insert("resources".to_owned(), json!({"capacity": capacity}));
    let internal = items(status, "addresses").find(|address| address["type"] == "InternalIP");
    let ip = internal.map(|address| address["address"].clone());
    object.insert("hostIP".to_owned(), ip.unwrap_or_default());
}

pub(super) fn event(given: &Value, object: &mut Value) {
    let mut involved = given["involvedObject"].clone();
    let kind = match text(&involved, "kind") {
        Some("Minion") => "Node",
        Some("BoundPod") => "Pod",
        Some(other) => other,
        None => "",
    };
    let of = Kind::ALL.into_iter().find(|of| of.v1_kind() == kind);
    let (kind, id) = (kind.to_owned(), text(&involved, "name").unwrap_or_default());
    let v1_name = of.map_or_else(|| id.to_owned(), |of| name(of, id));
    if !kind.is_empty() {
        involved["kind"] = kind.into();
    }
    if !v1_name.is_empty() {
        involved["name"] = v1_name.into();
    }
    if text(&involved, "apiVersion").is_some_and(|version| version.starts_with("v1beta")) {
        involved["apiVersion"] = "v1".into();
    }
    object["involvedObject"] = involved;
    object["type"] = "Normal".into();
    for same in ["reason", "message"] {
        set(object, same, text(given, same).map(Value::from));
    }
    if let Some(source) = text(given, "source") {
        object["source"] = json!({"component": source});
    }
    // Seconds are all that `v1` keeps.
    let time = text(given, "timestamp").and_then(|text| text.parse::<Timestamp>().ok());
    let time = time.and_then(|time| Timestamp::from_second(time.as_second()).ok());
    if let Some(time) = time {
        object["firstTimestamp"] = time.to_string().into();
        object["lastTimestamp"] = time.to_string().into();
        object["count"] = 1.into();
    }
}

pub(super) fn show_event(stored: &Value, object: &mut Map<String, Value>) {
    let mut involved = stored["involvedObject"].clone();
    if involved["kind"] == "Node" {
        involved["kind"] = "Minion".into();
    }
    if involved["apiVersion"] == "v1" {
        involved["apiVersion"] = "v1beta1".into();
    }
    let mut put = |name: &str, value: Value| object.insert(name.to_owned(), value);
    put("involvedObject", involved);
    put("status", stored["type"].clone());
    for same in ["reason", "message"] {
        put(same, stored[same].clone());
    }
    let source = text(&stored["source"], "component").or(text(stored, "reportingComponent"));
    put("source", source.into());
    let times = ["lastTimestamp", "eventTime", "firstTimestamp"];
    let time = times.into_iter().find_map(|time| text(stored, time));
    put("timestamp", time.into());
}
