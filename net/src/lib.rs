//! Netlink and packet-filter rules.
