//! A service's row in a table.
use super::super::cells::{age, at, list, number, or_none, pairs};
use serde_json::Value;

/// The cells of a service's row.
pub(super) fn cells(service: &Value, now: i64) -> Vec<Value> {
    let addresses = list(service, "/spec/clusterIPs").first();
    let address = addresses.and_then(Value::as_str);
    let ports: Vec<String> = list(service, "/spec/ports").iter().map(port).collect();
    vec![
        crate::meta::name(service).into(),
        at(service, "/spec/type").into(),
        or_none(address.unwrap_or_else(|| at(service, "/spec/clusterIP"))).into(),
        external(service).into(),
        or_none(ports.join(",")).into(),
        age(service, now).into(),
        pairs(service.pointer("/spec/selector")).into(),
    ]
}

/// `80/TCP`, or `80:31192/TCP`.
fn port(port: &Value) -> String {
    let protocol = at(port, "/protocol");
    match number(port, "/nodePort") {
        0 => format!("{}/{protocol}", number(port, "/port")),
        node => format!("{}:{node}/{protocol}", number(port, "/port")),
    }
}

fn external(service: &Value) -> String {
    let given = list(service, "/spec/externalIPs")
        .iter()
        .filter_map(Value::as_str);
    let given: Vec<&str> = given.collect();
    match at(service, "/spec/type") {
        "ExternalName" => or_none(at(service, "/spec/externalName")),
        "LoadBalancer" => {
            let ingress = list(service, "/status/loadBalancer/ingress").iter();
            let mut all: Vec<&str> = ingress
                .map(|one| match at(one, "/ip") {
                    "" => at(one, "/hostname"),
                    ip => ip,
                })
                .filter(|text| !text.is_empty())
                .collect();
            all.extend(given);
            if all.is_empty() {
                "<pending>".to_owned()
            } else {
                all.join(",")
            }
        }
        _ => or_none(given.join(",")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn rows() {
        let row = |spec: Value, status: Value| {
            let cells = cells(
                &json!({"metadata": {"name": "s"}, "spec": spec, "status": status}),
                0,
            );
            [1, 2, 3, 4].map(|cell| cells[cell].as_str().unwrap().to_owned())
        };
        let ports = json!([{"port": 80, "protocol": "TCP"}, {"port": 53, "nodePort": 31192, "protocol": "UDP"}]);
        let plain = json!({"type": "ClusterIP", "clusterIP": "10.0.0.2", "ports": ports});
        assert_eq!(
            row(plain, json!({})),
            ["ClusterIP", "10.0.0.2", "<none>", "80/TCP,53:31192/UDP"]
        );
        let balanced =
            json!({"type": "LoadBalancer", "clusterIPs": ["10.0.0.3"], "externalIPs": ["1.2.3.4"]});
        let status = json!({"loadBalancer": {"ingress": [{"hostname": "lb"}]}});
        assert_eq!(row(balanced.clone(), status)[2], "lb,1.2.3.4");
        assert_eq!(row(balanced, json!({}))[2], "1.2.3.4");
        assert_eq!(
            row(json!({"type": "LoadBalancer"}), json!({}))[2],
            "<pending>"
        );
        let named = json!({"type": "ExternalName", "externalName": "example.com"});
        assert_eq!(
            row(named, json!({})),
            ["ExternalName", "<none>", "example.com", "<none>"]
        );
    }
}
