//! The bridge that the pods of a host share, and plugging a pod into it.
//!
//! ```text
//!   host namespace                              pod's namespace
//!   eth0 ... NAT ... rkube0 10.77.0.1/22 ==[rk1f..]------[eth0] 10.77.0.5/22, default via .1
//! ```
//! Not here: making the namespace (its supervisor does), and unplugging. A veth pair dies with the
//! namespace of either end; asking for its removal would wait tens of milliseconds.

mod ensure;

use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::{fmt, io};

use rustix::io::Errno;

use crate::cidr::Cidr;
use crate::netlink::route::{self, VethPair};
use crate::netlink::{NetlinkError, Socket};
use crate::netns::{NetnsError, in_netns};
use crate::sysctl;

pub use ensure::BridgeError;

/// The bridge's name when none is configured.
pub const DEFAULT_BRIDGE: &str = "rkube0";
/// The pods' addresses when none are configured: as many as a bridge has ports, and clear of the
/// ranges that other container engines take by default.
pub const DEFAULT_SUBNET: &str = "10.77.0.0/22";
/// The name of a pod's device in its own namespace.
pub const POD_DEVICE: &str = "eth0";

/// How many names are tried for the host's end of a veth.
const NAME_TRIES: u32 = 8;

/// Which bridge, and which addresses its pods have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeConfig {
    /// The name of the device, 15 bytes at most.
    pub name: String,
    /// The addresses; the bridge itself has the first one.
    pub subnet: Cidr,
}

impl Default for BridgeConfig {
    fn default() -> Self {
        let subnet = DEFAULT_SUBNET
            .parse()
            .expect("the default range is well-formed");
        Self {
            name: DEFAULT_BRIDGE.to_owned(),
            subnet,
        }
    }
}

/// A bridge that is up and has its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    name: String,
    index: u32,
    mtu: u32,
    subnet: Cidr,
    gateway: IpAddr,
    /// The host's kernel has IPv6.
    ipv6: bool,
}

/// What a pod got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// The name of the host's end of the veth.
    pub host_ifname: String,
    /// The address of the pod's device.
    pub mac: Mac,
    /// The largest packet it carries.
    pub mtu: u32,
}

/// An Ethernet address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// A locally administered address that follows from the IP address: when an IP address is used
    /// again, what neighbours remember of it stays true.
    pub fn of(ip: IpAddr) -> Self {
        let last = match ip {
            IpAddr::V4(ip) => ip.octets(),
            IpAddr::V6(ip) => {
                let [.., a, b, c, d] = ip.octets();
                [a, b, c, d]
            }
        };
        Self([0x0a, 0x52, last[0], last[1], last[2], last[3]])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// Why a pod could not be plugged into the bridge.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AttachError {
    /// The address is not one that a pod of this bridge can have.
    #[error("{ip} is not a pod's address on bridge {bridge} ({subnet})")]
    Address {
        /// The address.
        ip: IpAddr,
        /// The bridge's name.
        bridge: String,
        /// The bridge's range.
        subnet: Cidr,
    },
    /// The kernel refused the pair or its place on the bridge.
    #[error("cannot plug a pod into bridge {bridge}")]
    Plug {
        /// The bridge's name.
        bridge: String,
        /// Why.
        source: NetlinkError,
    },
    /// The pod's namespace could not be entered.
    #[error("cannot set up the network of a pod")]
    Netns {
        /// Why.
        source: NetnsError,
    },
    /// The kernel refused the pod's address, its route, or bringing its devices up.
    #[error("cannot set up {ip} in a pod's network namespace")]
    Configure {
        /// The address.
        ip: IpAddr,
        /// Why.
        source: NetlinkError,
    },
    /// A kernel parameter of the pod's namespace could not be set.
    #[error("cannot set a kernel parameter in a pod's network namespace")]
    Sysctl {
        /// Why, with the file's name.
        source: io::Error,
    },
}

impl Bridge {
    /// The name of the device.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The pods' addresses.
    pub fn subnet(&self) -> Cidr {
        self.subnet
    }

    /// The bridge's own address, through which pods reach everything else.
    pub fn gateway(&self) -> IpAddr {
        self.gateway
    }

    /// The largest packet the bridge carries.
    pub fn mtu(&self) -> u32 {
        self.mtu
    }

    /// Plugs a pod into the bridge: a veth pair, and inside `lo` and `eth0` up with the address and
    /// a default route. `uid` only serves to make up a device name.
    ///
    /// # Guarantees
    /// On success the pod can send and receive. After an error, drop the namespace: whatever was
    /// made goes with it.
    pub fn attach(
        &self,
        netns: BorrowedFd<'_>,
        pod_ip: IpAddr,
        uid: &str,
    ) -> Result<Attachment, AttachError> {
        if !self.subnet.contains(pod_ip) || pod_ip == self.gateway {
            let (bridge, subnet) = (self.name.clone(), self.subnet);
            return Err(AttachError::Address {
                ip: pod_ip,
                bridge,
                subnet,
            });
        }
        let mac = Mac::of(pod_ip);
        let plug = |source| AttachError::Plug {
            bridge: self.name.clone(),
            source,
        };
        let host_ifname = self.plug(netns, mac, uid).map_err(plug)?;
        in_netns(netns, || self.configure(pod_ip))
            .map_err(|source| AttachError::Netns { source })??;
        Ok(Attachment {
            host_ifname,
            mac,
            mtu: self.mtu,
        })
    }

    /// The host's half: the pair, our end a port of the bridge with hairpin mode.
    fn plug(&self, netns: BorrowedFd<'_>, mac: Mac, uid: &str) -> Result<String, NetlinkError> {
        let mut socket = Socket::route()?;
        let mut attempt = 0;
        loop {
            let name = veth_name(uid, attempt);
            let pair = VethPair {
                name: &name,
                bridge: self.index,
                mtu: self.mtu,
                peer_name: POD_DEVICE,
                peer_mac: mac.0,
                peer_netns: netns.as_raw_fd(),
            };
            let mut batch = vec![route::create_veth(&pair), route::hairpin(&name)];
            batch.extend(self.ipv6.then(|| route::no_link_local(&name)));
            batch.push(route::set_up(&name));
            match socket.send(batch) {
                Ok(()) => return Ok(name),
                // The pod's previous veth may not be gone yet: the kernel removes it at leisure.
                Err(err)
                    if err.errno() == Some(Errno::EXIST)
                        && attempt < NAME_TRIES
                        && route::link(&mut socket, &name)?.is_some() =>
                {
                    attempt += 1;
                }
                Err(err) => return Err(err),
            }
        }
    }

    /// The pod's half; runs in its namespace.
    fn configure(&self, ip: IpAddr) -> Result<(), AttachError> {
        let failed = |source| AttachError::Configure { ip, source };
        let mut socket = Socket::route().map_err(failed)?;
        // A router advertisement from one pod must not redirect the traffic of others.
        sysctl::ensure_if_present("ipv6/conf/eth0/accept_ra", "0")
            .map_err(|source| AttachError::Sysctl { source })?;
        let device = route::link(&mut socket, POD_DEVICE).map_err(failed)?;
        let index = device.map_or(0, |link| link.index);
        let mut batch = vec![route::set_up("lo")];
        batch.extend(self.ipv6.then(|| route::no_link_local(POD_DEVICE)));
        batch.extend([
            route::add_address(index, ip, self.subnet.prefix()),
            route::set_up(POD_DEVICE),
            route::add_default_route(self.gateway, index),
        ]);
        socket.send(batch).map_err(failed)
    }
}

/// A device name of 15 bytes that follows from the pod's uid (FNV-1a).
fn veth_name(uid: &str, attempt: u32) -> String {
    let attempt = attempt.to_le_bytes();
    let hash = uid
        .bytes()
        .chain(attempt)
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
    format!("rk{:013x}", hash >> 12)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_follow_from_the_pod() {
        let name = veth_name("0f3c-11", 0);
        assert_eq!(name.len(), 15);
        assert_eq!(name, veth_name("0f3c-11", 0));
        assert_ne!(name, veth_name("0f3c-11", 1));
        assert_ne!(name, veth_name("0f3c-12", 0));
        assert_eq!(
            Mac::of("10.77.1.5".parse().unwrap()).to_string(),
            "0a:52:0a:4d:01:05"
        );
        assert_eq!(
            Mac::of("fd00::1:2".parse().unwrap()).to_string(),
            "0a:52:00:01:00:02"
        );
    }
}
