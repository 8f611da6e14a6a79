//! Published ports and what they ask of the packet filter, as data.
//!
//! Nothing here knows how rules are written down; see [`crate::iptables`] for that.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

use crate::cidr::Cidr;

/// A protocol with ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Transport {
    /// The name that the packet filter knows it by.
    pub(crate) fn keyword(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "TCP",
            Self::Udp => "UDP",
            Self::Sctp => "SCTP",
        })
    }
}

/// A port of the host that leads to a port of a pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HostPort {
    /// Of which protocol.
    pub protocol: Transport,
    /// The only address of the host it is published on; `None` is all of them.
    pub host_ip: Option<IpAddr>,
    /// The port of the host.
    pub host_port: u16,
    /// The address of the pod.
    pub pod_ip: IpAddr,
    /// The port of the pod.
    pub container_port: u16,
    /// The pod as people call it: `namespace/name`.
    pub pod: String,
    /// The uid of the pod.
    pub uid: String,
}

impl HostPort {
    /// The address it is restricted to; 0.0.0.0 and :: are no restriction.
    pub fn only_on(&self) -> Option<IpAddr> {
        self.host_ip.filter(|ip| !ip.is_unspecified())
    }

    /// Would a packet for one of them be a packet for the other?
    pub fn collides(&self, other: &Self) -> bool {
        let disjoint = matches!((self.only_on(), other.only_on()), (Some(a), Some(b)) if a != b);
        self.protocol == other.protocol && self.host_port == other.host_port && !disjoint
    }

    /// `None` when the rules of this crate can carry it.
    fn obstacle(&self) -> Option<&'static str> {
        let family = |ip: IpAddr| {
            if ip.is_ipv4() {
                None
            } else {
                Some("IPv6 is not supported")
            }
        };
        if self.host_port == 0 || self.container_port == 0 {
            return Some("a port is 1 to 65535");
        }
        family(self.pod_ip).or_else(|| self.only_on().and_then(family))
    }
}

/// `host port 8080/TCP`, `host port 127.0.0.1:53/UDP`.
impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.only_on() {
            Some(ip) => {
                write!(
                    f,
                    "host port {}/{}",
                    SocketAddr::new(ip, self.host_port),
                    self.protocol
                )
            }
            None => write!(f, "host port {}/{}", self.host_port, self.protocol),
        }
    }
}

/// Why a port cannot be among the published ones.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RulesetError {
    /// Another pod has published it.
    #[error("{port} is taken by pod {by}")]
    Taken {
        /// The port as it was asked for.
        port: String,
        /// Who has it, as `namespace/name`.
        by: String,
    },
    /// No rule can be made for it.
    #[error("cannot publish {port} for pod {pod}: {why}")]
    Unsupported {
        /// The port as it was asked for.
        port: String,
        /// For whom.
        pod: String,
        /// Why not.
        why: &'static str,
    },
}

/// All that this host's packet filter is to do for pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruleset {
    /// The device of the pods' bridge.
    pub bridge: String,
    /// The pods' addresses.
    pub subnet: Cidr,
    /// The published ports; no two of them collide.
    pub ports: Vec<HostPort>,
}

impl Ruleset {
    /// Adds a port, unless it collides with one that is there. Adding the same again is fine.
    ///
    /// Returns whether it was new.
    pub fn insert(&mut self, port: HostPort) -> Result<bool, RulesetError> {
        if let Some(why) = port.obstacle() {
            let (text, pod) = (port.to_string(), port.pod.clone());
            return Err(RulesetError::Unsupported {
                port: text,
                pod,
                why,
            });
        }
        match self.ports.iter().find(|other| other.collides(&port)) {
            Some(same) if *same == port => Ok(false),
            Some(other) => Err(RulesetError::Taken {
                port: port.to_string(),
                by: other.pod.clone(),
            }),
            None => {
                self.ports.push(port);
                Ok(true)
            }
        }
    }

    /// Takes out the ports of a pod and returns them.
    pub fn remove(&mut self, uid: &str) -> Vec<HostPort> {
        self.ports.extract_if(.., |port| port.uid == uid).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(protocol: Transport, on: Option<&str>, host_port: u16, pod: &str) -> HostPort {
        HostPort {
            protocol,
            host_ip: on.map(|ip| ip.parse().unwrap()),
            host_port,
            pod_ip: "10.77.0.5".parse().unwrap(),
            container_port: 80,
            pod: format!("default/{pod}"),
            uid: pod.to_owned(),
        }
    }

    #[test]
    fn collisions() {
        use Transport::{Tcp, Udp};
        let base = port(Tcp, None, 80, "a");
        let on = |ip| port(Tcp, Some(ip), 80, "b");
        assert!(base.collides(&on("127.0.0.1")));
        assert!(on("0.0.0.0").collides(&on("127.0.0.1")));
        assert!(!on("127.0.0.1").collides(&on("127.0.0.2")));
        assert!(!base.collides(&port(Udp, None, 80, "b")));
        assert!(!base.collides(&port(Tcp, None, 81, "b")));
    }

    #[test]
    fn a_taken_port_names_its_pod() {
        let subnet = "10.77.0.0/22".parse().unwrap();
        let mut rules = Ruleset {
            bridge: "rkube0".into(),
            subnet,
            ports: Vec::new(),
        };
        let web = port(Transport::Tcp, None, 80, "web");
        assert_eq!(rules.insert(web.clone()), Ok(true));
        assert_eq!(rules.insert(web), Ok(false));
        let err = rules
            .insert(port(Transport::Tcp, Some("127.0.0.1"), 80, "b"))
            .unwrap_err();
        assert_eq!(
            err.to_string(),
            "host port 127.0.0.1:80/TCP is taken by pod default/web"
        );
        let err = rules
            .insert(port(Transport::Udp, Some("fd00::1"), 80, "b"))
            .unwrap_err();
        assert_eq!(
            err.to_string(),
            "cannot publish host port [fd00::1]:80/UDP for pod default/b: IPv6 is not supported"
        );
        assert_eq!(rules.remove("web").len(), 1);
        assert_eq!(rules.ports, []);
    }
}
