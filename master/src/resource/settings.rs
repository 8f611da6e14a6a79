//! What the kinds of objects must know of the cluster.
use crate::admission::portal::Net;
use std::ops::RangeInclusive;

/// What the kinds of objects must know of the cluster.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the addresses of services come from: `--service-cluster-ip-range`, of old `--portal_net`.
    pub service_net: Net,
    /// Where node ports come from: `--service-node-port-range`.
    pub node_ports: RangeInclusive<u16>,
    /// How long events live, in seconds: `--event-ttl`.
    pub event_ttl: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            service_net: Net::DEFAULT,
            node_ports: 30000..=32767,
            event_ttl: 3600,
        }
    }
}
