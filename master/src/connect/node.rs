//! Where a node's kubelet is, and the proxy to it.
use super::address::{Name, proxyable};
use super::{Connector, Security, Target};
use crate::call::Call;
use crate::error::ApiError;
use serde_json::Value;

/// The annotation by which a kubelet says who signed its certificate.
const AUTHORITY: &str = "rkube.io/kubelet-authority";
/// Addresses in the order in which they are tried, as kube-apiserver has it.
const KINDS: [&str; 5] = [
    "Hostname",
    "InternalDNS",
    "InternalIP",
    "ExternalDNS",
    "ExternalIP",
];
/// Of these, names resolve on the API server's host only where somebody has seen to it; an address always works.
const PREFERRED: &str = "InternalIP";

impl Connector {
    /// `/api/v1/nodes/[https:]name[:port]/proxy/...`
    pub(super) async fn node_proxy(&self, call: &Call) -> Result<Target, ApiError> {
        let name = Name::parse(&call.name)?;
        let mut target = self.kubelet(name.name).await?;
        match name.port {
            "" => {}
            port => {
                let port = port
                    .parse()
                    .map_err(|_| ApiError::bad_request(format!("\"{port}\" is not a port")))?;
                if port != target.port {
                    proxyable(&target.host)?;
                    target.port = port;
                    if !name.is_tls() {
                        target.security = Security::Plain;
                    }
                }
            }
        }
        if name.scheme == Some("http") {
            target.security = Security::Plain;
        }
        target.path = path_and_query(&call.rest, &call.query);
        target.mount = Some(format!("/api/{}/nodes/{}/proxy", call.version, call.name));
        Ok(target)
    }

    /// The kubelet of a node.
    pub(super) async fn kubelet(&self, name: &str) -> Result<Target, ApiError> {
        let node = self.find("/registry/minions", "nodes", "", name).await?;
        let host = address(&node).unwrap_or_else(|| name.to_owned());
        let port = node
            .pointer("/status/daemonEndpoints/kubeletEndpoint/Port")
            .and_then(Value::as_u64)
            .and_then(|port| u16::try_from(port).ok())
            .filter(|port| *port > 0)
            .unwrap_or(self.kubelet_port);
        let authority = node
            .get("metadata")
            .and_then(|metadata| metadata.get("annotations"))
            .and_then(|annotations| annotations.get(AUTHORITY))
            .and_then(Value::as_str);
        Ok(Target {
            what: format!("the kubelet of node \"{name}\""),
            host,
            port,
            security: Security::Tls(self.trust.config(authority)),
            path: String::new(),
            mount: None,
        })
    }
}

/// Where a node says it is.
fn address(node: &Value) -> Option<String> {
    let list = node.pointer("/status/addresses")?.as_array()?;
    let of = |kind: &str| {
        list.iter()
            .find(|address| address.get("type").and_then(Value::as_str) == Some(kind))
            .and_then(|address| address.get("address"))
            .and_then(Value::as_str)
            .filter(|address| !address.is_empty())
            .map(str::to_owned)
    };
    of(PREFERRED).or_else(|| KINDS.iter().find_map(|kind| of(kind)))
}

/// A path and a query to send on.
pub(super) fn path_and_query(rest: &str, query: &[(String, String)]) -> String {
    let mut out = String::from("/");
    // What came decoded goes encoded; slashes separate.
    out.push_str(
        &rest
            .trim_start_matches('/')
            .split('/')
            .map(|segment| encode(segment, b"-._~!$&'()*+,;=:@"))
            .collect::<Vec<_>>()
            .join("/"),
    );
    let pairs: Vec<String> = query
        .iter()
        .map(|(key, value)| format!("{}={}", encode(key, b"-._~"), encode(value, b"-._~")))
        .collect();
    if !pairs.is_empty() {
        out.push('?');
        out.push_str(&pairs.join("&"));
    }
    out
}

/// RFC 3986: letters, digits and `plain` stay.
pub(super) fn encode(text: &str, plain: &[u8]) -> String {
    use std::fmt::Write;
    text.bytes().fold(String::new(), |mut out, byte| {
        if byte.is_ascii_alphanumeric() || plain.contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn addresses() {
        let node = |list: Value| json!({"status": {"addresses": list}});
        let both = json!([{"type": "Hostname", "address": "n1"}, {"type": "InternalIP", "address": "10.0.0.1"}]);
        assert_eq!(address(&node(both)).as_deref(), Some("10.0.0.1"));
        let name =
            json!([{"type": "InternalIP", "address": ""}, {"type": "Hostname", "address": "n1"}]);
        assert_eq!(address(&node(name)).as_deref(), Some("n1"));
        assert_eq!(address(&node(json!([]))), None);
        assert_eq!(address(&json!({})), None);
    }

    #[test]
    fn paths_go_encoded() {
        let query = [
            ("command".to_owned(), "a b".to_owned()),
            ("x".to_owned(), "1&2=é".to_owned()),
        ];
        assert_eq!(
            path_and_query("a b/c%/../d", &query),
            "/a%20b/c%25/../d?command=a%20b&x=1%262%3D%C3%A9"
        );
        assert_eq!(path_and_query("", &[]), "/");
        assert_eq!(path_and_query("//x", &[]), "/x");
        assert_eq!(path_and_query("a\r\nb", &[]), "/a%0D%0Ab");
    }
}
