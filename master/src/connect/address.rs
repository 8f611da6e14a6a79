//! Which addresses a proxy may lead to.
//!
//! Whoever may use a proxy must not reach the API server's own host or its cloud's metadata service by an address that
//! a pod or an endpoint merely claims to have (CVE-2020-8562; k8s.io/apimachinery `IsProxyableIP`).
use crate::error::ApiError;
use std::net::IpAddr;

/// # Errors
/// 400 where the address is one that only this host means: loopback, link-local, multicast, none.
pub(super) fn proxyable(host: &str) -> Result<(), ApiError> {
    match host.parse::<IpAddr>() {
        Ok(ip) if is_local(ip) => Err(ApiError::bad_request(format!(
            "address {ip} is not allowed: a proxy does not lead to loopback, link-local or multicast addresses"
        ))),
        Ok(_) | Err(_) => Ok(()),
    }
}

fn is_local(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            ip.is_loopback()
                || ip.is_link_local()
                || ip.is_multicast()
                || ip.is_unspecified()
                || ip.is_broadcast()
        }
        IpAddr::V6(ip) => {
            ip.is_loopback()
                || ip.is_unicast_link_local()
                || ip.is_multicast()
                || ip.is_unspecified()
        }
    }
}

/// `[scheme:]name[:port]`, as the name of a proxied object has it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Name<'n> {
    /// `http` or `https`; none where it is not said.
    pub(super) scheme: Option<&'n str>,
    /// The object.
    pub(super) name: &'n str,
    /// A number or the name of a port; empty if not said.
    pub(super) port: &'n str,
}

impl<'n> Name<'n> {
    /// # Errors
    /// 400 where it is none of these.
    pub(super) fn parse(text: &'n str) -> Result<Self, ApiError> {
        let parts: Vec<&str> = text.split(':').collect();
        let (scheme, name, port) = match parts.as_slice() {
            [name] => (None, *name, ""),
            [name, port] => (None, *name, *port),
            [scheme, name, port] => (Some(*scheme), *name, *port),
            _ => return Err(wrong(text)),
        };
        match scheme {
            None | Some("http" | "https") if !name.is_empty() => Ok(Name { scheme, name, port }),
            // `:name:port` says no scheme.
            Some("") if !name.is_empty() => Ok(Name {
                scheme: None,
                name,
                port,
            }),
            _ => Err(wrong(text)),
        }
    }

    /// Whether TLS is asked for.
    pub(super) fn is_tls(&self) -> bool {
        self.scheme == Some("https")
    }
}

fn wrong(text: &str) -> ApiError {
    ApiError::bad_request(format!(
        "\"{text}\" is no name to proxy to; it is [http:|https:]name[:port]"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let name = |scheme, name, port| Name { scheme, name, port };
        assert_eq!(Name::parse("web"), Ok(name(None, "web", "")));
        assert_eq!(Name::parse("web:80"), Ok(name(None, "web", "80")));
        assert_eq!(
            Name::parse("https:web:tls"),
            Ok(name(Some("https"), "web", "tls"))
        );
        assert_eq!(
            Name::parse("https:web:"),
            Ok(name(Some("https"), "web", ""))
        );
        assert_eq!(Name::parse(":web:80"), Ok(name(None, "web", "80")));
        for wrong in ["", ":", "ftp:web:80", "a:b:c:d", "::80"] {
            assert!(Name::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_only_this_host_means() {
        for local in [
            "127.0.0.1",
            "127.9.9.9",
            "::1",
            "::ffff:127.0.0.1",
            "169.254.169.254",
            "fe80::1",
            "0.0.0.0",
            "::",
            "224.0.0.1",
        ] {
            assert!(proxyable(local).is_err(), "{local}");
        }
        for there in ["10.0.0.1", "192.168.1.1", "fd00::1", "node-a"] {
            assert!(proxyable(there).is_ok(), "{there}");
        }
    }
}
