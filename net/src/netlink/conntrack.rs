//! Forgetting UDP flows of which the packet filter has an outdated idea.
//!
//! Address translation is decided by the first packet of a flow and then remembered. A UDP client
//! that keeps sending keeps the memory alive, so a port that was published or withdrawn in between
//! would have no effect for it.

use std::net::IpAddr;

use rustix::io::Errno;

use super::message::{Attributes, Message};
use super::route::{self, read_ip};
use super::{NetlinkError, Request, Socket};
use crate::rules::{HostPort, Transport};

// linux/netfilter/nfnetlink_conntrack.h
const IPCTNL_MSG_CT_GET: u16 = 1;
const IPCTNL_MSG_CT_DELETE: u16 = 2;
const CTA_TUPLE_ORIG: u16 = 1;
const CTA_ID: u16 = 12;
const CTA_TUPLE_IP: u16 = 1;
const CTA_TUPLE_PROTO: u16 = 2;
const CTA_IP_V4_DST: u16 = 2;
const CTA_PROTO_NUM: u16 = 1;
const CTA_PROTO_DST_PORT: u16 = 3;
const IPPROTO_UDP: u8 = 17;

/// How many deletions go out in one batch.
const BATCH: usize = 64;

/// A flow as its first packet had it.
#[derive(Debug, PartialEq, Eq)]
struct Flow {
    protocol: u8,
    to: IpAddr,
    port: u16,
    /// The attributes that name the flow to the kernel, as they came.
    tuple: Vec<u8>,
    id: Vec<u8>,
}

/// Forgets the UDP flows to this host at any of the ports, and returns how many those were.
pub(crate) fn forget_udp(ports: &[HostPort]) -> Result<usize, NetlinkError> {
    let udp: Vec<_> = ports
        .iter()
        .filter(|port| port.protocol == Transport::Udp)
        .collect();
    if udp.is_empty() {
        return Ok(0);
    }
    let local = route::addresses(&mut Socket::route()?)?;
    let is_local = |ip: IpAddr| ip.is_loopback() || local.iter().any(|address| address.ip == ip);
    let mut socket = Socket::netfilter()?;
    let list = Request::new("list tracked flows", message(IPCTNL_MSG_CT_GET));
    let flows = socket.dump(&list, |payload| {
        read_flow(payload).filter(|flow| udp.iter().any(|port| concerns(flow, port)))
    })?;
    let stale: Vec<_> = flows.into_iter().filter(|flow| is_local(flow.to)).collect();
    for batch in stale.chunks(BATCH) {
        match socket.send(batch.iter().map(forget).collect()) {
            // One of them ended by itself.
            Err(err) if err.errno() == Some(Errno::NOENT) => {}
            done => done?,
        }
    }
    Ok(stale.len())
}

fn concerns(flow: &Flow, port: &HostPort) -> bool {
    flow.protocol == IPPROTO_UDP
        && flow.port == port.host_port
        && port.only_on().is_none_or(|ip| ip == flow.to)
}

fn forget(flow: &Flow) -> Request {
    let message = message(IPCTNL_MSG_CT_DELETE)
        .nest(CTA_TUPLE_ORIG, |m| m.raw(&flow.tuple))
        .attr(CTA_ID, &flow.id);
    Request::new(
        format!("forget the UDP flows to {}:{}", flow.to, flow.port),
        message,
    )
}

/// A conntrack request: the subsystem's number is the high byte of its type, and `struct nfgenmsg`
/// (family, version, resource) its header.
fn message(kind: u16) -> Message {
    let subsystem = super::flag(libc::NFNL_SUBSYS_CTNETLINK) << 8;
    let family = u8::try_from(libc::AF_INET).expect("the family fits a byte");
    Message::new(subsystem | kind, 0, &[family, 0, 0, 0])
}

fn read_flow(payload: &[u8]) -> Option<Flow> {
    let attrs = Attributes::new(payload.get(4..)?);
    let tuple = attrs.get(CTA_TUPLE_ORIG)?;
    let parts = Attributes::new(tuple);
    let proto = parts.inside(CTA_TUPLE_PROTO)?;
    let port = proto.get(CTA_PROTO_DST_PORT)?;
    Some(Flow {
        protocol: *proto.get(CTA_PROTO_NUM)?.first()?,
        to: read_ip(parts.inside(CTA_TUPLE_IP)?.get(CTA_IP_V4_DST)?)?,
        port: u16::from_be_bytes(port.try_into().ok()?),
        tuple: tuple.to_vec(),
        id: attrs.get(CTA_ID)?.to_vec(),
    })
}
