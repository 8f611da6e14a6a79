//! What a container is told of services by its environment: `REDIS_MASTER_SERVICE_HOST` and the names of Docker's links.
//!
//! Since 2014: for a service `redis-master` on port 6379 at 10.0.0.7
//! ```text
//! REDIS_MASTER_SERVICE_HOST=10.0.0.7          REDIS_MASTER_PORT=tcp://10.0.0.7:6379
//! REDIS_MASTER_SERVICE_PORT=6379              REDIS_MASTER_PORT_6379_TCP=tcp://10.0.0.7:6379
//! REDIS_MASTER_SERVICE_PORT_<name>=...        REDIS_MASTER_PORT_6379_TCP_{PROTO,PORT,ADDR}=...
//! ```
//! The first port is the service's own; a pod that does not want them is told of the API alone.
use crate::state::PodRecord;
use k8s_openapi::api::core::v1::{Service, ServicePort};
use std::net::IpAddr;

/// The variables of all services that the pod gets told of, sorted by the service's name.
#[must_use]
pub(super) fn variables(record: &PodRecord) -> Vec<(String, String)> {
    let spec = record.pod.spec.as_ref();
    let links = spec.and_then(|spec| spec.enable_service_links);
    let mut told: Vec<(&str, &Service)> = record
        .services
        .iter()
        .filter_map(|service| {
            let name = service.metadata.name.as_deref()?;
            let namespace = service.metadata.namespace.as_deref().unwrap_or("default");
            let api = name == "kubernetes" && namespace == "default";
            let own = namespace == record.namespace() && links.unwrap_or(true);
            (api || own).then_some((name, service))
        })
        .collect();
    // A service of the pod's own namespace goes before the API's of the same name.
    told.sort_by_key(|(name, service)| {
        let namespace = service.metadata.namespace.as_deref().unwrap_or("default");
        (*name, namespace != record.namespace())
    });
    told.dedup_by_key(|(name, _)| *name);
    told.into_iter()
        .flat_map(|(name, service)| of_service(name, service))
        .collect()
}

/// A service without an address of its own, or without ports, is nothing to connect to.
fn of_service(name: &str, service: &Service) -> Vec<(String, String)> {
    let spec = service.spec.as_ref();
    let address = spec.and_then(|spec| spec.cluster_ip.as_deref()?.parse::<IpAddr>().ok());
    let ports = spec.and_then(|spec| spec.ports.as_deref());
    let (Some(address), Some(ports)) = (address, ports) else {
        return Vec::new();
    };
    let Some(first) = ports.first() else {
        return Vec::new();
    };
    let name = upper(name);
    let mut all = vec![
        (format!("{name}_SERVICE_HOST"), address.to_string()),
        (format!("{name}_SERVICE_PORT"), first.port.to_string()),
    ];
    for port in ports {
        if let Some(own) = port.name.as_deref().filter(|own| !own.is_empty()) {
            let variable = format!("{name}_SERVICE_PORT_{}", upper(own));
            all.push((variable, port.port.to_string()));
        }
    }
    all.push((format!("{name}_PORT"), url(address, first)));
    for port in ports {
        let protocol = protocol(port);
        let prefix = format!("{name}_PORT_{}_{}", port.port, protocol.to_uppercase());
        all.extend([
            (prefix.clone(), url(address, port)),
            (format!("{prefix}_PROTO"), protocol),
            (format!("{prefix}_PORT"), port.port.to_string()),
            (format!("{prefix}_ADDR"), address.to_string()),
        ]);
    }
    all
}

fn upper(name: &str) -> String {
    name.replace('-', "_").to_uppercase()
}

fn protocol(port: &ServicePort) -> String {
    port.protocol.as_deref().unwrap_or("TCP").to_lowercase()
}

fn url(address: IpAddr, port: &ServicePort) -> String {
    let host = match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    };
    format!("{}://{host}:{}", protocol(port), port.port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// The variables of a pod in namespace `shop`, as `NAME=value` lines.
    #[track_caller]
    fn check(links: bool, services: &Value, want: &[&str]) {
        let pod = json!({"metadata": {"name": "p", "namespace": "shop"},
            "spec": {"containers": [], "enableServiceLinks": links}});
        let pod = serde_json::from_value(pod).unwrap();
        let mut record = PodRecord::new(pod, jiff::Timestamp::UNIX_EPOCH);
        record.services = serde_json::from_value(services.clone()).unwrap();
        let got: Vec<String> = variables(&record)
            .into_iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        assert_eq!(got, want);
    }

    fn service(namespace: &str, name: &str, spec: &Value) -> Value {
        json!({"metadata": {"name": name, "namespace": namespace}, "spec": spec})
    }

    #[test]
    fn a_service_is_told_as_in_2014() {
        let redis = json!({"clusterIP": "10.0.0.7", "ports": [{"port": 6379}]});
        check(
            true,
            &json!([service("shop", "redis-master", &redis)]),
            &[
                "REDIS_MASTER_SERVICE_HOST=10.0.0.7",
                "REDIS_MASTER_SERVICE_PORT=6379",
                "REDIS_MASTER_PORT=tcp://10.0.0.7:6379",
                "REDIS_MASTER_PORT_6379_TCP=tcp://10.0.0.7:6379",
                "REDIS_MASTER_PORT_6379_TCP_PROTO=tcp",
                "REDIS_MASTER_PORT_6379_TCP_PORT=6379",
                "REDIS_MASTER_PORT_6379_TCP_ADDR=10.0.0.7",
            ],
        );
    }

    #[test]
    fn ports_may_have_names_and_protocols() {
        let dns = json!({"clusterIP": "fd00::1", "ports": [
            {"name": "dns-udp", "port": 53, "protocol": "UDP"}, {"name": "web", "port": 80}]});
        check(
            true,
            &json!([service("shop", "dns", &dns)]),
            &[
                "DNS_SERVICE_HOST=fd00::1",
                "DNS_SERVICE_PORT=53",
                "DNS_SERVICE_PORT_DNS_UDP=53",
                "DNS_SERVICE_PORT_WEB=80",
                "DNS_PORT=udp://[fd00::1]:53",
                "DNS_PORT_53_UDP=udp://[fd00::1]:53",
                "DNS_PORT_53_UDP_PROTO=udp",
                "DNS_PORT_53_UDP_PORT=53",
                "DNS_PORT_53_UDP_ADDR=fd00::1",
                "DNS_PORT_80_TCP=tcp://[fd00::1]:80",
                "DNS_PORT_80_TCP_PROTO=tcp",
                "DNS_PORT_80_TCP_PORT=80",
                "DNS_PORT_80_TCP_ADDR=fd00::1",
            ],
        );
    }

    #[test]
    fn what_cannot_be_connected_to_and_what_is_elsewhere_is_not_told() {
        let spec = json!({"clusterIP": "10.0.0.1", "ports": [{"port": 443}]});
        let api = [
            "KUBERNETES_SERVICE_HOST=10.0.0.1",
            "KUBERNETES_SERVICE_PORT=443",
            "KUBERNETES_PORT=tcp://10.0.0.1:443",
            "KUBERNETES_PORT_443_TCP=tcp://10.0.0.1:443",
            "KUBERNETES_PORT_443_TCP_PROTO=tcp",
            "KUBERNETES_PORT_443_TCP_PORT=443",
            "KUBERNETES_PORT_443_TCP_ADDR=10.0.0.1",
        ];
        let services = json!([
            service("other", "web", &spec),
            service(
                "shop",
                "headless",
                &json!({"clusterIP": "None", "ports": [{"port": 1}]})
            ),
            service("shop", "portless", &json!({"clusterIP": "10.0.0.2"})),
            service("shop", "pending", &json!({"ports": [{"port": 1}]})),
            service("default", "kubernetes", &spec),
        ]);
        check(true, &services, &api);
        // Without links the API is told of all the same.
        let services = json!([
            service("shop", "web", &spec),
            service("default", "kubernetes", &spec),
        ]);
        check(false, &services, &api);
    }
}
