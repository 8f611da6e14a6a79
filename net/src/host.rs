//! What a host lacks for pods to have a network, and how to mend it.
//!
//! Devices and rules are not guessed at from configuration files: they are made, in a throw-away
//! network namespace, and go with it.

use std::error::Error;
use std::os::fd::AsFd;

use crate::bridge::{Bridge, BridgeConfig};
use crate::iptables;
use crate::iptables::command::{Iptables, IptablesError};
use crate::netns::{create_netns, in_netns};
use crate::rules::{HostPort, Ruleset, Transport};
use crate::sysctl;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The thing.
    pub what: &'static str,
    /// Nothing is wrong with it.
    pub ok: bool,
    /// What was found.
    pub detail: String,
    /// What to do about it; empty when nothing is.
    pub mend: String,
}

impl Finding {
    fn good(what: &'static str, detail: impl Into<String>) -> Self {
        Self {
            what,
            ok: true,
            detail: detail.into(),
            mend: String::new(),
        }
    }

    fn bad(what: &'static str, detail: impl Into<String>, mend: &str) -> Self {
        Self {
            what,
            ok: false,
            detail: detail.into(),
            mend: mend.to_owned(),
        }
    }
}

/// Looks at all that pods' networks need. Changes nothing on the host.
pub fn check(config: &BridgeConfig) -> Vec<Finding> {
    let rights = "network namespaces";
    let sandbox = match create_netns() {
        Ok(netns) => netns,
        Err(err) => {
            let mend = "run as root, on a kernel with CONFIG_NET_NS";
            return vec![Finding::bad(rights, chain(&err), mend)];
        }
    };
    let filter = Iptables::detect();
    // Chosen by the rules on the host, tried where there are none.
    let tried = in_netns(sandbox.as_fd(), || {
        (check_devices(config), check_filter(config, &filter))
    });
    let (devices, filter) = match tried {
        Ok(findings) => findings,
        Err(err) => return vec![Finding::bad(rights, chain(&err), "allow more processes")],
    };
    let good = Finding::good(rights, "can be made");
    vec![
        good,
        devices,
        check_range(config),
        check_forwarding(),
        filter,
        bridged_packets(),
    ]
}

/// A bridge and a pod on it, in the sandbox.
fn check_devices(config: &BridgeConfig) -> Finding {
    let what = "bridge and veth devices";
    let plug = || -> Result<(), Box<dyn Error>> {
        let bridge = Bridge::ensure(config)?;
        let ip = bridge.subnet().nth(2).ok_or("no address for a pod")?;
        bridge.attach(create_netns()?.as_fd(), ip, "check")?;
        Ok(())
    };
    let mend = "load the modules (`modprobe -a bridge veth`) or boot a kernel that has them";
    match plug() {
        Ok(()) => Finding::good(what, "can be made"),
        Err(err) => Finding::bad(what, chain(&*err), mend),
    }
}

/// Every kind of rule there is, in the sandbox.
fn check_filter(config: &BridgeConfig, filter: &Result<Iptables, IptablesError>) -> Finding {
    let what = "packet filter";
    let filter = match filter {
        Ok(filter) => filter,
        Err(err) => {
            let mend = "apt-get install iptables, or dnf install iptables-nft";
            return Finding::bad(what, chain(err), mend);
        }
    };
    let port = |protocol| HostPort {
        protocol,
        host_ip: None,
        host_port: 1,
        pod_ip: config.subnet.network(),
        container_port: 1,
        pod: "check".to_owned(),
        uid: "check".to_owned(),
    };
    let ports = vec![port(Transport::Tcp), port(Transport::Udp)];
    let rules = Ruleset {
        bridge: config.name.clone(),
        subnet: config.subnet,
        ports,
    };
    match filter.restore(&iptables::full(&rules, "")) {
        Ok(()) => Finding::good(what, format!("{} takes the rules", filter.backend)),
        Err(err) => Finding::bad(
            what,
            chain(&err),
            "load the modules (`modprobe -a nf_nat nf_conntrack xt_conntrack xt_addrtype \
             xt_comment xt_nat xt_MASQUERADE`) or boot a kernel that has them",
        ),
    }
}

/// The pods' addresses, on the host.
fn check_range(config: &BridgeConfig) -> Finding {
    let what = "pod addresses";
    match Bridge::room_for(config) {
        Ok(()) => Finding::good(what, format!("{} is free or ours", config.subnet)),
        Err(err) => Finding::bad(what, chain(&err), "choose a free range with --pod-subnet"),
    }
}

fn check_forwarding() -> Finding {
    let what = "IPv4 forwarding";
    match sysctl::read("ipv4/ip_forward") {
        Ok(Some(on)) if on == "1" => Finding::good(what, "on"),
        Ok(Some(_)) if sysctl::is_writable("ipv4/ip_forward") => {
            Finding::good(what, "off; the first pod with a network turns it on")
        }
        Ok(Some(_)) => {
            let mend = "sysctl -w net.ipv4.ip_forward=1, where /proc/sys can be written";
            Finding::bad(what, "off, and /proc/sys is read-only", mend)
        }
        Ok(None) => Finding::bad(
            what,
            "the kernel has no IPv4",
            "boot a kernel with CONFIG_INET",
        ),
        Err(err) => Finding::bad(what, err.to_string(), "mount /proc"),
    }
}

/// Either value will do; it is worth knowing when other rules on the host surprise.
fn bridged_packets() -> Finding {
    let detail = match sysctl::read("bridge/bridge-nf-call-iptables") {
        Ok(Some(on)) if on == "1" => "packets between pods pass the host's packet filter",
        Ok(_) | Err(_) => "packets between pods do not pass the host's packet filter",
    };
    Finding::good("bridged packets", detail)
}

/// An error with its causes, on one line.
fn chain(err: &(dyn Error + 'static)) -> String {
    let layers = std::iter::successors(Some(err), |&err| err.source());
    layers
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
