//! rtnetlink: the links, addresses and routes this crate makes and asks for.
//!
//! Functions that return a [`Request`] only write it down; several go out in one batch.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::message::{Attributes, Message, u32_at};
use super::{NetlinkError, Request, Socket, flag};
use crate::cidr::Cidr;

const IFF_UP: u32 = 1;
/// `VETH_INFO_PEER` of linux/veth.h.
const VETH_INFO_PEER: u16 = 1;
/// `IFLA_BRPORT_MODE` of linux/if_link.h: a frame may leave by the port it came in on.
const IFLA_BRPORT_MODE: u16 = 4;
/// `IFLA_INET6_ADDR_GEN_MODE` and its value "none": no link-local address, hence no chatter.
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const ADDR_GEN_NONE: u8 = 1;
const RT_TABLE_LOCAL: u32 = 255;

/// A network device as the kernel describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    pub(crate) up: bool,
    pub(crate) name: String,
    pub(crate) mtu: u32,
    /// "bridge", "veth", ...; hardware has none.
    pub(crate) kind: Option<String>,
}

/// An address of a device, with its prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) index: u32,
    pub(crate) ip: IpAddr,
    pub(crate) prefix: u8,
}

/// A unicast route of any table but the kernel's own `local`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Route {
    /// `None` is the default route.
    pub(crate) to: Option<Cidr>,
    pub(crate) index: Option<u32>,
}

/// A veth pair: this end here as a port of a bridge, the other born in another namespace.
#[derive(Debug)]
pub(crate) struct VethPair<'a> {
    pub(crate) name: &'a str,
    pub(crate) bridge: u32,
    pub(crate) mtu: u32,
    pub(crate) peer_name: &'a str,
    pub(crate) peer_mac: [u8; 6],
    pub(crate) peer_netns: i32,
}

/// `struct ifinfomsg`: family, type, index, flags, change mask.
fn link_header(index: u32, up: bool) -> [u8; 16] {
    let mut header = [0; 16];
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    if up {
        header[8..12].copy_from_slice(&IFF_UP.to_ne_bytes());
        header[12..16].copy_from_slice(&IFF_UP.to_ne_bytes());
    }
    header
}

fn new_link(exclusive: bool, header: [u8; 16]) -> Message {
    let create = flag(libc::NLM_F_CREATE | libc::NLM_F_EXCL);
    Message::new(
        libc::RTM_NEWLINK,
        if exclusive { create } else { 0 },
        &header,
    )
}

/// Gives a device no IPv6 link-local address, which would have the kernel talk on its own. To be
/// sent before the device is up, and only on hosts that have IPv6.
pub(crate) fn no_link_local(name: &str) -> Request {
    let inet6 = family(&IpAddr::V6(Ipv6Addr::UNSPECIFIED));
    let message = new_link(false, link_header(0, false))
        .text(libc::IFLA_IFNAME, name)
        .nest(libc::IFLA_AF_SPEC, |m| {
            m.nest(u16::from(inet6), |m| {
                m.attr(IFLA_INET6_ADDR_GEN_MODE, &[ADDR_GEN_NONE])
            })
        });
    Request::new(format!("set addrgenmode none on {name}"), message)
}

/// Makes a bridge. It must not exist, and is not up yet.
pub(crate) fn create_bridge(name: &str, mac: [u8; 6], mtu: u32) -> Request {
    let message = new_link(true, link_header(0, false))
        .text(libc::IFLA_IFNAME, name)
        .u32(libc::IFLA_MTU, mtu)
        .attr(libc::IFLA_ADDRESS, &mac)
        .nest(libc::IFLA_LINKINFO, |m| {
            m.text(libc::IFLA_INFO_KIND, "bridge")
        });
    Request::new(format!("create bridge {name}"), message)
}

/// Makes both ends of a veth, each where it belongs: moving a device from one namespace to another
/// waits for RCU, being born there does not.
pub(crate) fn create_veth(pair: &VethPair<'_>) -> Request {
    let message = new_link(true, link_header(0, false))
        .text(libc::IFLA_IFNAME, pair.name)
        .u32(libc::IFLA_MTU, pair.mtu)
        .u32(libc::IFLA_MASTER, pair.bridge)
        .nest(libc::IFLA_LINKINFO, |m| {
            m.text(libc::IFLA_INFO_KIND, "veth")
                .nest(libc::IFLA_INFO_DATA, |m| {
                    m.nest(VETH_INFO_PEER, |m| {
                        m.raw(&link_header(0, false))
                            .text(libc::IFLA_IFNAME, pair.peer_name)
                            .u32(libc::IFLA_MTU, pair.mtu)
                            .attr(libc::IFLA_ADDRESS, &pair.peer_mac)
                            .attr(libc::IFLA_NET_NS_FD, &pair.peer_netns.to_ne_bytes())
                    })
                })
        });
    Request::new(format!("create veth {}", pair.name), message)
}

/// Lets frames leave by the bridge port they came in on: a pod reaches its own published port.
pub(crate) fn hairpin(name: &str) -> Request {
    let message = new_link(false, link_header(0, false))
        .text(libc::IFLA_IFNAME, name)
        .nest(libc::IFLA_LINKINFO, |m| {
            m.text(libc::IFLA_INFO_SLAVE_KIND, "bridge")
                .nest(libc::IFLA_INFO_SLAVE_DATA, |m| {
                    m.attr(IFLA_BRPORT_MODE, &[1])
                })
        });
    Request::new(format!("set hairpin mode on {name}"), message)
}

/// Brings a device up.
pub(crate) fn set_up(name: &str) -> Request {
    let message = new_link(false, link_header(0, true)).text(libc::IFLA_IFNAME, name);
    Request::new(format!("bring {name} up"), message)
}

/// Removes a device. Slow for a veth (it waits for RCU): end its namespace instead.
pub(crate) fn delete_link(name: &str) -> Request {
    let message =
        Message::new(libc::RTM_DELLINK, 0, &link_header(0, false)).text(libc::IFLA_IFNAME, name);
    Request::new(format!("delete {name}"), message)
}

/// Gives a device an address; harmless when it has it.
pub(crate) fn add_address(index: u32, ip: IpAddr, prefix: u8) -> Request {
    // struct ifaddrmsg: family, prefix length, flags, scope, index.
    let mut header = [0; 8];
    header[0] = family(&ip);
    header[1] = prefix;
    header[4..8].copy_from_slice(&index.to_ne_bytes());
    let flags = flag(libc::NLM_F_CREATE | libc::NLM_F_REPLACE);
    let octets = octets(&ip);
    let mut message =
        Message::new(libc::RTM_NEWADDR, flags, &header).attr(libc::IFA_LOCAL, &octets);
    message = message.attr(libc::IFA_ADDRESS, &octets);
    if let Some(last) = Cidr::of(ip, prefix).and_then(|net| net.broadcast()) {
        message = message.attr(libc::IFA_BROADCAST, &last.octets());
    }
    Request::new(format!("add address {ip}/{prefix}"), message)
}

/// Sends everything without a nearer route through `gateway`.
pub(crate) fn add_default_route(gateway: IpAddr, index: u32) -> Request {
    // struct rtmsg: family, dst_len, src_len, tos, table, protocol, scope, type, flags.
    let mut header = [0; 12];
    header[0] = family(&gateway);
    header[4] = libc::RT_TABLE_MAIN;
    header[5] = libc::RTPROT_BOOT;
    header[6] = libc::RT_SCOPE_UNIVERSE;
    header[7] = libc::RTN_UNICAST;
    let flags = flag(libc::NLM_F_CREATE | libc::NLM_F_REPLACE);
    let message = Message::new(libc::RTM_NEWROUTE, flags, &header)
        .attr(libc::RTA_GATEWAY, &octets(&gateway))
        .u32(libc::RTA_OIF, index);
    Request::new(format!("add a default route through {gateway}"), message)
}

/// The device of that name, if there is one.
pub(crate) fn link(socket: &mut Socket, name: &str) -> Result<Option<Link>, NetlinkError> {
    let message =
        Message::new(libc::RTM_GETLINK, 0, &link_header(0, false)).text(libc::IFLA_IFNAME, name);
    socket.get(&Request::new(format!("look up {name}"), message), read_link)
}

/// All devices.
pub(crate) fn links(socket: &mut Socket) -> Result<Vec<Link>, NetlinkError> {
    let message = Message::new(libc::RTM_GETLINK, 0, &link_header(0, false));
    socket.dump(&Request::new("list devices", message), read_link)
}

/// All IPv4 addresses.
pub(crate) fn addresses(socket: &mut Socket) -> Result<Vec<Address>, NetlinkError> {
    let header = [
        family(&IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        0,
        0,
        0,
        0,
        0,
        0,
        0,
    ];
    let message = Message::new(libc::RTM_GETADDR, 0, &header);
    socket.dump(&Request::new("list addresses", message), read_address)
}

/// All IPv4 routes but those of the table `local`.
pub(crate) fn routes(socket: &mut Socket) -> Result<Vec<Route>, NetlinkError> {
    let mut header = [0; 12];
    header[0] = family(&IpAddr::V4(Ipv4Addr::UNSPECIFIED));
    let message = Message::new(libc::RTM_GETROUTE, 0, &header);
    socket.dump(&Request::new("list routes", message), read_route)
}

fn read_link(payload: &[u8]) -> Option<Link> {
    let attrs = Attributes::new(payload.get(16..)?);
    let kind = attrs
        .inside(libc::IFLA_LINKINFO)
        .and_then(|a| a.text(libc::IFLA_INFO_KIND));
    Some(Link {
        index: u32_at(payload, 4)?,
        up: u32_at(payload, 8)? & IFF_UP != 0,
        name: attrs.text(libc::IFLA_IFNAME)?,
        mtu: attrs.u32(libc::IFLA_MTU)?,
        kind,
    })
}

fn read_address(payload: &[u8]) -> Option<Address> {
    let attrs = Attributes::new(payload.get(8..)?);
    let ip = attrs
        .get(libc::IFA_LOCAL)
        .or_else(|| attrs.get(libc::IFA_ADDRESS))?;
    Some(Address {
        index: u32_at(payload, 4)?,
        ip: read_ip(ip)?,
        prefix: *payload.get(1)?,
    })
}

fn read_route(payload: &[u8]) -> Option<Route> {
    let attrs = Attributes::new(payload.get(12..)?);
    let table = attrs
        .u32(libc::RTA_TABLE)
        .or_else(|| payload.get(4).copied().map(u32::from))?;
    if table == RT_TABLE_LOCAL || *payload.get(7)? != libc::RTN_UNICAST {
        return None;
    }
    let to = match attrs.get(libc::RTA_DST) {
        Some(ip) => Some(Cidr::of(read_ip(ip)?, *payload.get(1)?)?),
        None => None,
    };
    Some(Route {
        to,
        index: attrs.u32(libc::RTA_OIF),
    })
}

fn family(ip: &IpAddr) -> u8 {
    let family = if ip.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    u8::try_from(family).expect("both families fit a byte")
}

fn octets(ip: &IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

pub(crate) fn read_ip(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
        return Some(IpAddr::from(octets));
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}
