//! `endpoints`: where a service's pods are. Endpoint slices have taken its place.
use super::cells::{AGE, NAME, age, at, first_three, list, number, or_none, text};
use super::{Column, Names, Part, Resource, checks};
use rkube_api::names::Form;
use rkube_api::validate::FieldError;
use serde_json::Value;
use std::net::IpAddr;

/// `endpoints`.
#[derive(Debug)]
pub(super) struct Endpoints;

const NAMES: Names = Names {
    short: &["ep"],
    prefix: "/registry/services/endpoints",
    schema: "io.k8s.api.core.v1.Endpoints",
    ..Names::core("endpoints", "endpoints", "Endpoints")
};

impl Resource for Endpoints {
    fn names(&self) -> &Names {
        &NAMES
    }
    fn default(&self, object: &mut Value) {
        let subsets = object.get_mut("subsets").and_then(Value::as_array_mut);
        for subset in subsets.into_iter().flatten() {
            let ports = subset.get_mut("ports").and_then(Value::as_array_mut);
            for port in ports.into_iter().flatten() {
                checks::set(port, "protocol", "TCP");
            }
        }
    }
    fn generation(&self, _: &Value, _: &Value) -> bool {
        false
    }
    fn validate(&self, object: &Value, _: Option<&Value>, _: Part) -> Vec<FieldError> {
        let mut errors = Vec::new();
        for (index, subset) in list(object, "/subsets").iter().enumerate() {
            subset_problems(subset, &format!("subsets[{index}]"), &mut errors);
        }
        errors
    }
    fn warnings(&self, _: &Value) -> Vec<String> {
        vec![
            "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice"
                .to_owned(),
        ]
    }
    fn columns(&self) -> &'static [Column] {
        const { &[NAME, text("Endpoints", "Addresses and ports."), AGE] }
    }
    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        let mut all = Vec::new();
        for subset in list(object, "/subsets") {
            let ports = list(subset, "/ports");
            for address in list(subset, "/addresses") {
                let ip = at(address, "/ip");
                if ports.is_empty() {
                    all.push(ip.to_owned());
                }
                let joined = |port| match ip.contains(':') {
                    true => format!("[{ip}]:{port}"),
                    false => format!("{ip}:{port}"),
                };
                all.extend(ports.iter().map(|port| joined(number(port, "/port"))));
            }
        }
        vec![
            crate::meta::name(object).into(),
            or_none(first_three(&all)).into(),
            age(object, now).into(),
        ]
    }
    fn create_on_update(&self) -> bool {
        true
    }
}

fn subset_problems(subset: &Value, path: &str, errors: &mut Vec<FieldError>) {
    let lists = ["addresses", "notReadyAddresses"];
    if lists
        .iter()
        .all(|name| list(subset, &format!("/{name}")).is_empty())
    {
        let why = "must specify `addresses` or `notReadyAddresses`";
        errors.push(FieldError::required(path, why));
    }
    for name in lists {
        for (index, address) in list(subset, &format!("/{name}")).iter().enumerate() {
            let path = format!("{path}.{name}[{index}].ip");
            address_problems(at(address, "/ip"), &path, errors);
        }
    }
    let ports = list(subset, "/ports");
    for (index, port) in ports.iter().enumerate() {
        port_problems(
            port,
            ports.len() > 1,
            &format!("{path}.ports[{index}]"),
            errors,
        );
    }
}

/// What is wrong with an address that traffic is sent to.
pub(super) fn address_problems(ip: &str, path: &str, errors: &mut Vec<FieldError>) {
    let Ok(address) = ip.parse::<IpAddr>() else {
        let why = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)";
        errors.push(FieldError::invalid(path, ip, why));
        return;
    };
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    let why = if address.is_unspecified() {
        "may not be unspecified (0.0.0.0 or ::)"
    } else if address.is_loopback() {
        "may not be in the loopback range (127.0.0.0/8, ::1/128)"
    } else if link_local {
        "may not be in the link-local range (169.254.0.0/16, fe80::/10)"
    } else if address.is_multicast() {
        "may not be in the multicast range (224.0.0.0/4, ff00::/10)"
    } else {
        return;
    };
    errors.push(FieldError::invalid(path, ip, why));
}

/// What is wrong with one of a set's ports.
fn port_problems(port: &Value, named: bool, path: &str, errors: &mut Vec<FieldError>) {
    let name = at(port, "/name");
    if name.is_empty() && named {
        errors.push(FieldError::required(format!("{path}.name"), ""));
    } else if let Some(why) = Form::Label.kubernetes(name).filter(|_| !name.is_empty()) {
        errors.push(FieldError::invalid(format!("{path}.name"), name, why));
    }
    checks::port(number(port, "/port"), &format!("{path}.port"), errors);
    checks::protocol(at(port, "/protocol"), &format!("{path}.protocol"), errors);
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rows() {
        let object = json!({"metadata": {"name": "e"}, "subsets": [
            {"addresses": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}], "ports": [{"port": 80}, {"port": 443}]},
            {"addresses": [{"ip": "fd00::1"}]}]});
        let row = Endpoints.row(&object, 0);
        assert_eq!(row[1], "10.0.0.1:80,10.0.0.1:443,10.0.0.2:80 + 2 more...");
        assert_eq!(Endpoints.row(&json!({}), 0)[1], "<none>");
    }

    #[test]
    fn addresses_that_cannot_be() {
        for (ip, says) in [
            ("", "must be a valid IP address"),
            ("127.0.0.1", "loopback"),
            ("0.0.0.0", "unspecified"),
            ("169.254.1.1", "link-local"),
            ("224.0.0.1", "multicast"),
        ] {
            let object = json!({"subsets": [{"addresses": [{"ip": ip}], "ports": [{"port": 80, "protocol": "TCP"}]}]});
            let said = Endpoints.validate(&object, None, Part::Main);
            assert!(
                said.len() == 1 && said[0].problem.contains(says),
                "{ip}: {said:?}"
            );
            assert_eq!(said[0].path, "subsets[0].addresses[0].ip");
        }
    }
}
