//! The proxy to a service: to one of its ready endpoints.
use super::address::{Name, proxyable};
use super::node::path_and_query;
use super::{Connector, Target};
use crate::call::Call;
use crate::error::ApiError;
use http::StatusCode;
use serde_json::Value;
use std::sync::atomic::{AtomicUsize, Ordering};

impl Connector {
    /// `/api/v1/namespaces/ns/services/[https:]name[:port]/proxy/...`
    pub(super) async fn service_proxy(&self, call: &Call) -> Result<Target, ApiError> {
        let name = Name::parse(&call.name)?;
        let service = self
            .find(
                "/registry/services/specs",
                "services",
                &call.namespace,
                name.name,
            )
            .await?;
        let port = port_name(&service, name.port).ok_or_else(|| {
            ApiError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "ServiceUnavailable",
                format!("service \"{}\" has no port \"{}\"", name.name, name.port),
            )
        })?;
        let endpoints = self
            .find(
                "/registry/services/endpoints",
                "endpoints",
                &call.namespace,
                name.name,
            )
            .await?;
        let all = addresses(&endpoints, &port);
        // One after the other, so that no endpoint carries all.
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let turn = NEXT.fetch_add(1, Ordering::Relaxed);
        let (ip, port) = all.get(turn % all.len().max(1)).cloned().ok_or_else(|| {
            ApiError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "ServiceUnavailable",
                format!("no endpoints available for service \"{}\"", name.name),
            )
        })?;
        proxyable(&ip)?;
        Ok(Target {
            what: format!("service \"{}\"", name.name),
            host: ip,
            port,
            security: self.trust.of_workload(name.is_tls()),
            path: path_and_query(&call.rest, &call.query),
            mount: Some(format!(
                "/api/{}/namespaces/{}/services/{}/proxy",
                call.version, call.namespace, call.name
            )),
        })
    }
}

/// The name of a service's port, by which endpoints know it: its first, where none is said.
fn port_name(service: &Value, asked: &str) -> Option<String> {
    let ports = service.pointer("/spec/ports")?.as_array()?;
    let name = |port: &Value| {
        port.get("name")
            .and_then(Value::as_str)
            .unwrap_or("")
            .to_owned()
    };
    if asked.is_empty() {
        return ports.first().map(name);
    }
    let number: Option<u64> = asked.parse().ok();
    ports
        .iter()
        .find(|port| {
            name(port) == asked
                || (number.is_some() && port.get("port").and_then(Value::as_u64) == number)
        })
        .map(name)
}

/// The ready addresses that serve a port.
fn addresses(endpoints: &Value, port: &str) -> Vec<(String, u16)> {
    let list = |value: &Value, field: &str| -> Vec<Value> {
        let list = value.get(field).and_then(Value::as_array);
        list.cloned().unwrap_or_default()
    };
    let mut all = Vec::new();
    for subset in list(endpoints, "subsets") {
        let number = list(&subset, "ports")
            .iter()
            .find(|candidate| candidate.get("name").and_then(Value::as_str).unwrap_or("") == port)
            .and_then(|port| u16::try_from(port.get("port")?.as_u64()?).ok());
        let Some(number) = number else { continue };
        for address in list(&subset, "addresses") {
            if let Some(ip) = address.get("ip").and_then(Value::as_str) {
                all.push((ip.to_owned(), number));
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ports_and_their_endpoints() {
        let service = json!({"spec": {"ports": [{"name": "http", "port": 80}, {"name": "tls", "port": 443}]}});
        assert_eq!(port_name(&service, "").as_deref(), Some("http"));
        assert_eq!(port_name(&service, "443").as_deref(), Some("tls"));
        assert_eq!(port_name(&service, "tls").as_deref(), Some("tls"));
        assert_eq!(port_name(&service, "8080"), None);
        assert_eq!(port_name(&json!({}), ""), None);
        let endpoints = json!({"subsets": [
            {"addresses": [{"ip": "10.0.0.1"}, {"ip": "10.0.0.2"}], "notReadyAddresses": [{"ip": "10.0.0.3"}],
             "ports": [{"name": "http", "port": 8080}]},
            {"addresses": [{"ip": "10.0.0.4"}], "ports": [{"name": "tls", "port": 8443}]}]});
        assert_eq!(
            addresses(&endpoints, "http"),
            [("10.0.0.1".to_owned(), 8080), ("10.0.0.2".to_owned(), 8080)]
        );
        assert_eq!(
            addresses(&endpoints, "tls"),
            [("10.0.0.4".to_owned(), 8443)]
        );
        assert!(addresses(&endpoints, "").is_empty());
    }
}
