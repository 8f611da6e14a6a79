//! Has anybody changed the packet filter since we did?

use super::message::{Attributes, Message};
use super::{NetlinkError, Request, Socket};

// linux/netfilter/nfnetlink.h and nf_tables.h
const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFT_MSG_GETGEN: u16 = 16;
const NFTA_GEN_ID: u16 = 1;

/// The number that `nf_tables` raises with every change that anybody makes in this namespace.
pub(crate) fn generation() -> Result<Option<u32>, NetlinkError> {
    let header = [0; 4]; // struct nfgenmsg: any family
    let message = Message::new(NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETGEN, 0, &header);
    let request = Request::new("read the packet filter's generation", message);
    Socket::netfilter()?.get(&request, |payload| {
        let id = Attributes::new(payload.get(4..)?).get(NFTA_GEN_ID)?;
        Some(u32::from_be_bytes(id.try_into().ok()?))
    })
}
