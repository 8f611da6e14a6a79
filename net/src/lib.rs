//! Networks of pods on one host: a bridge, an address for each pod, published ports.
//!
//! ```text
//! Leases::lease -> Bridge::ensure -> bridge.attach(netns, ip) -> HostPorts::publish
//! Leases::release, HostPorts::withdraw when the pod is gone (its devices go with its namespace)
//! ```
//! Everything acts on the network namespace of the calling thread, is synchronous and takes
//! milliseconds. All state is in the kernel and in the directories that the caller names, so any
//! number of processes can serve pods of one host, and each can die at any point.
//!
//! Not here: which pod gets what (the kubelet's business), and names (DNS).

mod bridge;
mod cidr;
mod host;
mod hostports;
mod ipam;
mod iptables;
mod lock;
mod netlink;
mod netns;
mod ports;
mod rules;
mod sys;
mod sysctl;

pub use bridge::{
    AttachError, Attachment, Bridge, BridgeConfig, BridgeError, DEFAULT_BRIDGE, DEFAULT_SUBNET,
    Mac, POD_DEVICE,
};
pub use cidr::{Cidr, CidrError};
pub use host::{Finding, check};
pub use hostports::{HostPorts, PublishError, Verified};
pub use ipam::{Lease, LeaseError, Leases};
pub use iptables::command::{Backend, IptablesError};
pub use netlink::NetlinkError;
pub use netns::{LoUpError, NetnsError, create_netns, in_netns, lo_up, own_netns};
pub use ports::{HoldError, HostPortGuard, Process, port_owner};
pub use rules::{HostPort, Ruleset, RulesetError, Transport};
