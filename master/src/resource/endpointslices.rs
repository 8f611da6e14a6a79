//! `endpointslices.discovery.k8s.io`: where some of a service's pods are.
use super::cells::{AGE, NAME, age, at, first_three, list, number, text};
use super::{Column, Names, Part, Resource, checks, endpoints};
use rkube_api::names::Form;
use rkube_api::validate::FieldError;
use serde_json::Value;

/// `endpointslices`.
#[derive(Debug)]
pub(super) struct EndpointSlices;

const NAMES: Names = Names {
    group: "discovery.k8s.io",
    prefix: "/registry/endpointslices",
    schema: "io.k8s.api.discovery.v1.EndpointSlice",
    ..Names::core("endpointslices", "endpointslice", "EndpointSlice")
};

const MOST_ENDPOINTS: usize = 1000;
const MOST_ADDRESSES: usize = 100;
const MOST_PORTS: usize = 20000;
const TYPES: &[&str] = &["FQDN", "IPv4", "IPv6"];

impl Resource for EndpointSlices {
    fn names(&self) -> &Names {
        &NAMES
    }
    fn default(&self, object: &mut Value) {
        let ports = object.get_mut("ports").and_then(Value::as_array_mut);
        for port in ports.into_iter().flatten() {
            checks::set(port, "name", "");
            checks::set(port, "protocol", "TCP");
        }
    }
    fn generation(&self, new: &Value, old: &Value) -> bool {
        ["endpoints", "ports", "addressType"]
            .iter()
            .any(|field| new.get(*field) != old.get(*field))
    }
    fn validate(&self, object: &Value, old: Option<&Value>, _: Part) -> Vec<FieldError> {
        let mut errors = Vec::new();
        let kind = at(object, "/addressType");
        if kind.is_empty() {
            errors.push(FieldError::required("addressType", ""));
        } else if !TYPES.contains(&kind) {
            errors.push(FieldError::unsupported("addressType", kind, TYPES));
        }
        errors.extend(checks::unchanged(
            object,
            old,
            "/addressType",
            "addressType",
        ));
        let endpoints = list(object, "/endpoints");
        too_many(endpoints.len(), MOST_ENDPOINTS, "endpoints", &mut errors);
        for (index, one) in endpoints.iter().take(MOST_ENDPOINTS).enumerate() {
            let addresses = list(one, "/addresses");
            let path = format!("endpoints[{index}].addresses");
            if addresses.is_empty() {
                let why = "must contain at least 1 address";
                errors.push(FieldError::required(path.clone(), why));
            }
            too_many(addresses.len(), MOST_ADDRESSES, &path, &mut errors);
            for (index, address) in addresses.iter().take(MOST_ADDRESSES).enumerate() {
                let (path, address) = (format!("{path}[{index}]"), address.as_str().unwrap_or(""));
                address_problems(kind, address, &path, &mut errors);
            }
        }
        ports(list(object, "/ports"), &mut errors);
        errors
    }
    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                text("AddressType", "What kind of addresses they are."),
                text("Ports", "Where they listen."),
                text("Endpoints", "Where they are."),
                AGE,
            ]
        }
    }
    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        let shown = |port: &Value| match (number(port, "/port"), at(port, "/name")) {
            (0, "") => "*".to_owned(),
            (0, name) => name.to_owned(),
            (port, _) => port.to_string(),
        };
        let ports: Vec<String> = list(object, "/ports").iter().map(shown).collect();
        let addresses = list(object, "/endpoints")
            .iter()
            .flat_map(|one| list(one, "/addresses"));
        let addresses: Vec<String> = addresses
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect();
        let unset = |text: String| {
            if text.is_empty() {
                "<unset>".to_owned()
            } else {
                text
            }
        };
        vec![
            crate::meta::name(object).into(),
            at(object, "/addressType").into(),
            unset(first_three(&ports)).into(),
            unset(first_three(&addresses)).into(),
            age(object, now).into(),
        ]
    }
    fn returns_deleted(&self) -> bool {
        false
    }
}

fn too_many(count: usize, most: usize, path: &str, errors: &mut Vec<FieldError>) {
    if count > most {
        let problem = format!("Too many: {count}: must have at most {most} items");
        errors.push(FieldError::new(path, problem));
    }
}

fn address_problems(kind: &str, address: &str, path: &str, errors: &mut Vec<FieldError>) {
    let why = match kind {
        "IPv4" if address.parse::<std::net::Ipv4Addr>().is_err() => {
            "must be a valid IPv4 address".to_owned()
        }
        "IPv6" if address.parse::<std::net::Ipv6Addr>().is_err() => {
            "must be a valid IPv6 address".to_owned()
        }
        "IPv4" | "IPv6" => return endpoints::address_problems(address, path, errors),
        _ => match Form::Subdomain.kubernetes(address) {
            Some(why) => why,
            None => return,
        },
    };
    errors.push(FieldError::invalid(path, address, why));
}

fn ports(ports: &[Value], errors: &mut Vec<FieldError>) {
    too_many(ports.len(), MOST_PORTS, "ports", errors);
    let mut names = std::collections::BTreeSet::new();
    for (index, port) in ports.iter().take(MOST_PORTS).enumerate() {
        let (path, name) = (format!("ports[{index}]"), at(port, "/name"));
        if let Some(why) = Form::Label.kubernetes(name).filter(|_| !name.is_empty()) {
            errors.push(FieldError::invalid(format!("{path}.name"), name, why));
        }
        if !names.insert(name) {
            errors.push(FieldError::duplicate(format!("{path}.name"), name));
        }
        checks::protocol(at(port, "/protocol"), &format!("{path}.protocol"), errors);
        if port.get("port").is_some_and(|port| !port.is_null()) {
            checks::port(number(port, "/port"), &format!("{path}.port"), errors);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rows_and_rules() {
        let mut object = json!({"metadata": {"name": "s"}, "addressType": "IPv4", "ports": [{"port": 80}],
            "endpoints": [{"addresses": ["10.0.0.1"]}, {"addresses": ["10.0.0.2"]}]});
        EndpointSlices.default(&mut object);
        assert_eq!(
            object["ports"][0],
            json!({"name": "", "port": 80, "protocol": "TCP"})
        );
        assert_eq!(EndpointSlices.validate(&object, None, Part::Main), []);
        assert_eq!(
            EndpointSlices.row(&object, 0)[2..4],
            ["80", "10.0.0.1,10.0.0.2"]
        );
        assert_eq!(
            EndpointSlices.row(&json!({}), 0)[2..4],
            ["<unset>", "<unset>"]
        );
        let mut six = object.clone();
        six["addressType"] = "IPv6".into();
        let said = EndpointSlices.validate(&six, Some(&object), Part::Main);
        let said: Vec<_> = said.iter().map(ToString::to_string).collect();
        assert_eq!(
            said[0],
            "addressType: Invalid value: \"IPv6\": field is immutable"
        );
        assert_eq!(said.len(), 3, "{said:?}");
    }
}
