//! Making the bridge, or finding it as it should be.

use std::io;
use std::net::IpAddr;

use rustix::io::Errno;

use super::{Bridge, BridgeConfig, Mac};
use crate::cidr::Cidr;
use crate::netlink::route::{self, Address, Link, Route};
use crate::netlink::{NetlinkError, Socket};
use crate::sysctl;

/// What a host without a default route carries.
const ETHERNET_MTU: u32 = 1500;
/// How often a race with another process over the same device is run again.
const RACES: u32 = 4;

/// Why there is no bridge for pods.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BridgeError {
    /// No device can have that name.
    #[error("{name:?} cannot name a network device: use 1 to 15 letters, digits, '-', '_' or '.'")]
    Name {
        /// The name.
        name: String,
    },
    /// The range is not one that pods can have.
    #[error("pods cannot have addresses of {subnet}: give an IPv4 range of at least 8 addresses")]
    Subnet {
        /// The range.
        subnet: Cidr,
    },
    /// A device of that name is something else.
    #[error("{name} exists and is not a bridge: choose another name for the pods' bridge")]
    NotABridge {
        /// The name.
        name: String,
    },
    /// The bridge belongs to another range.
    #[error(
        "bridge {name} has the address {has}, not one of {subnet}: \
         choose another bridge name, or remove it with `rkubelet reset`"
    )]
    OtherSubnet {
        /// The bridge's name.
        name: String,
        /// The address found.
        has: IpAddr,
        /// The range asked for.
        subnet: Cidr,
    },
    /// Something on the host uses the addresses already.
    #[error(
        "the pods' addresses {subnet} overlap {taken}, which this host reaches through {device}: \
         choose a free range with --pod-subnet"
    )]
    Overlap {
        /// The range asked for.
        subnet: Cidr,
        /// What it collides with.
        taken: Cidr,
        /// The device of that.
        device: String,
    },
    /// The kernel refused.
    #[error("cannot set up bridge {name}")]
    Netlink {
        /// The bridge's name.
        name: String,
        /// Why.
        source: NetlinkError,
    },
    /// A kernel parameter could not be set.
    #[error("cannot set a kernel parameter for bridge {name}")]
    Sysctl {
        /// The bridge's name.
        name: String,
        /// Why, with the file's name.
        source: io::Error,
    },
}

impl Bridge {
    /// Makes the bridge unless it is there, and sees to its address and kernel parameters.
    ///
    /// # Guarantees
    /// Safe to call at any time and from several processes; changes nothing that is as it should
    /// be. Refuses a range that the host uses otherwise, before anything is made.
    pub fn ensure(config: &BridgeConfig) -> Result<Self, BridgeError> {
        let name = &config.name;
        if !is_device_name(name) {
            return Err(BridgeError::Name { name: name.clone() });
        }
        let subnet = config.subnet;
        let gateway = subnet
            .nth(1)
            .filter(|ip| ip.is_ipv4() && subnet.size() >= 8);
        let gateway = gateway.ok_or(BridgeError::Subnet { subnet })?;
        let failed = |source| BridgeError::Netlink {
            name: name.clone(),
            source,
        };

        let mut socket = Socket::route().map_err(failed)?;
        let link = link_or_create(&mut socket, config, gateway)?;
        ensure_address(&mut socket, config, link.index, gateway)?;
        let sysctl = |source| BridgeError::Sysctl {
            name: name.clone(),
            source,
        };
        let ipv6 = sysctl::read("ipv6/conf/all/accept_ra")
            .map_err(sysctl)?
            .is_some();
        if !link.up {
            let quiet = ipv6.then(|| route::no_link_local(name));
            socket
                .send(quiet.into_iter().chain([route::set_up(name)]).collect())
                .map_err(failed)?;
        }
        ensure_parameters(name).map_err(sysctl)?;
        Ok(Self {
            name: name.clone(),
            index: link.index,
            mtu: link.mtu,
            subnet,
            gateway,
            ipv6,
        })
    }

    /// Could the bridge be made, or used as it is? Changes nothing.
    pub(crate) fn room_for(config: &BridgeConfig) -> Result<(), BridgeError> {
        let name = &config.name;
        let failed = |source| BridgeError::Netlink {
            name: name.clone(),
            source,
        };
        let mut socket = Socket::route().map_err(failed)?;
        let link = route::link(&mut socket, name).map_err(failed)?;
        if link
            .as_ref()
            .is_some_and(|link| link.kind.as_deref() != Some("bridge"))
        {
            return Err(BridgeError::NotABridge { name: name.clone() });
        }
        let host = Host::observe(&mut socket).map_err(failed)?;
        host.refuse_overlap(config)
    }

    /// Removes the bridge, and with it every pod's way out. Not being there is success.
    pub fn remove(name: &str) -> Result<(), BridgeError> {
        let failed = |source| BridgeError::Netlink {
            name: name.to_owned(),
            source,
        };
        let mut socket = Socket::route().map_err(failed)?;
        match route::link(&mut socket, name).map_err(failed)? {
            None => Ok(()),
            Some(link) if link.kind.as_deref() != Some("bridge") => Err(BridgeError::NotABridge {
                name: name.to_owned(),
            }),
            Some(_) => match socket.send(vec![route::delete_link(name)]) {
                Err(err) if err.errno() == Some(Errno::NODEV) => Ok(()),
                done => done.map_err(failed),
            },
        }
    }
}

fn link_or_create(
    socket: &mut Socket,
    config: &BridgeConfig,
    gateway: IpAddr,
) -> Result<Link, BridgeError> {
    let name = &config.name;
    let failed = |source| BridgeError::Netlink {
        name: name.clone(),
        source,
    };
    for _ in 0..RACES {
        if let Some(link) = route::link(socket, name).map_err(failed)? {
            return match link.kind.as_deref() {
                Some("bridge") => Ok(link),
                Some(_) | None => Err(BridgeError::NotABridge { name: name.clone() }),
            };
        }
        let host = Host::observe(socket).map_err(failed)?;
        host.refuse_overlap(config)?;
        let request = route::create_bridge(name, Mac::of(gateway).0, host.mtu());
        match socket.send(vec![request]) {
            // Made by another process just now: look again.
            Err(err) if err.errno() == Some(Errno::EXIST) => {}
            done => done.map_err(failed)?,
        }
    }
    let source = NetlinkError::Exchange {
        source: Errno::AGAIN.into(),
    };
    Err(BridgeError::Netlink {
        name: name.clone(),
        source,
    })
}

fn ensure_address(
    socket: &mut Socket,
    config: &BridgeConfig,
    index: u32,
    gateway: IpAddr,
) -> Result<(), BridgeError> {
    let name = &config.name;
    let failed = |source| BridgeError::Netlink {
        name: name.clone(),
        source,
    };
    let wanted = Address {
        index,
        ip: gateway,
        prefix: config.subnet.prefix(),
    };
    let addresses = route::addresses(socket).map_err(failed)?;
    let mut own = addresses.iter().filter(|address| address.index == index);
    match own
        .clone()
        .find(|&&address| address == wanted)
        .or_else(|| own.next())
    {
        Some(found) if *found == wanted => Ok(()),
        Some(other) => Err(BridgeError::OtherSubnet {
            name: name.clone(),
            has: other.ip,
            subnet: config.subnet,
        }),
        None => {
            // A list of all devices is long on a host with many pods: only where it is needed.
            let host = Host::observe(socket).map_err(failed)?;
            host.refuse_overlap(config)?;
            let request = route::add_address(index, gateway, config.subnet.prefix());
            socket.send(vec![request]).map_err(failed)
        }
    }
}

/// Forwarding, and for the bridge no trust in router advertisements.
///
/// Not `route_localnet`, without which the host cannot reach a published port through 127.0.0.1:
/// `HostPorts` turns it on once the rule is in place that makes it harmless.
fn ensure_parameters(bridge: &str) -> io::Result<()> {
    sysctl::ensure("ipv4/ip_forward", "1")?;
    sysctl::ensure(&format!("ipv4/conf/{bridge}/forwarding"), "1")?;
    sysctl::ensure_if_present(&format!("ipv6/conf/{bridge}/accept_ra"), "0")
}

/// A name the kernel takes (dev_valid_name) and that no shell or rule file misreads.
fn is_device_name(name: &str) -> bool {
    (1..=15).contains(&name.len())
        && name != "."
        && name != ".."
        && !name.starts_with('-')
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

/// What the host has in the way of networks.
struct Host {
    links: Vec<Link>,
    addresses: Vec<Address>,
    routes: Vec<Route>,
}

impl Host {
    fn observe(socket: &mut Socket) -> Result<Self, NetlinkError> {
        let (addresses, routes) = (route::addresses(socket)?, route::routes(socket)?);
        // Last, so that every address and route seen has its device among them.
        Ok(Self {
            links: route::links(socket)?,
            addresses,
            routes,
        })
    }

    /// The packet size of the device with the default route.
    fn mtu(&self) -> u32 {
        let default = self.routes.iter().find(|route| route.to.is_none());
        let index = default.and_then(|route| route.index);
        let link = self.links.iter().find(|link| Some(link.index) == index);
        link.map_or(ETHERNET_MTU, |link| link.mtu)
    }

    /// Refuses a range of which anything is used on another device than the bridge.
    fn refuse_overlap(&self, config: &BridgeConfig) -> Result<(), BridgeError> {
        let subnet = config.subnet;
        let own = self
            .links
            .iter()
            .find(|link| link.name == config.name)
            .map(|link| link.index);
        let addresses = self.addresses.iter().filter_map(|address| {
            Some((Cidr::of(address.ip, address.prefix)?, Some(address.index)))
        });
        let routes = self
            .routes
            .iter()
            .filter_map(|route| Some((route.to?, route.index)));
        let clash = addresses.chain(routes).find(|&(taken, index)| {
            taken.prefix() > 0 && taken.overlaps(&subnet) && (own.is_none() || index != own)
        });
        let Some((taken, index)) = clash else {
            return Ok(());
        };
        let link = self.links.iter().find(|link| Some(link.index) == index);
        let device = link.map_or_else(|| "another device".to_owned(), |link| link.name.clone());
        Err(BridgeError::Overlap {
            subnet,
            taken,
            device,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(taken: &str, index: u32) -> Host {
        let link = |index, name: &str, mtu| Link {
            index,
            up: true,
            name: name.to_owned(),
            mtu,
            kind: None,
        };
        Host {
            links: vec![link(2, "eth0", 9000), link(3, "vpn0", 1400)],
            addresses: Vec::new(),
            routes: vec![
                Route {
                    to: None,
                    index: Some(2),
                },
                Route {
                    to: Some(taken.parse().unwrap()),
                    index: Some(index),
                },
            ],
        }
    }

    #[test]
    fn a_range_in_use_is_refused_with_the_device() {
        let config = BridgeConfig::default();
        let own = BridgeConfig {
            name: "vpn0".to_owned(),
            ..config.clone()
        };
        let err = host("10.0.0.0/8", 3).refuse_overlap(&config).unwrap_err();
        assert_eq!(
            err.to_string(),
            "the pods' addresses 10.77.0.0/22 overlap 10.0.0.0/8, which this host reaches through \
             vpn0: choose a free range with --pod-subnet"
        );
        assert!(host("10.77.0.0/22", 3).refuse_overlap(&own).is_ok());
        assert!(host("192.168.0.0/16", 3).refuse_overlap(&config).is_ok());
        assert!(host("0.0.0.0/0", 3).refuse_overlap(&config).is_ok());
        assert_eq!(host("10.0.0.0/8", 3).mtu(), 9000);
    }

    #[test]
    fn device_names() {
        for good in ["rkube0", "br-1.2", "a", "fifteen-letters"] {
            assert!(is_device_name(good), "{good}");
        }
        for bad in [
            "",
            "sixteen-letters-",
            ".",
            "..",
            "a/b",
            "a b",
            "a:1",
            "-i",
            "ü",
            "a%d",
        ] {
            assert!(!is_device_name(bad), "{bad}");
        }
    }
}
