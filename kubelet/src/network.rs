//! The host's end of the pods' network: one bridge, an address a pod, published ports.
//!
//! `rkube-net` does the work with the kernel; here stands what it means for a pod. Every call is idempotent,
//! and runs on a blocking thread: netlink and `iptables-restore` take a few milliseconds.
use crate::paths::Paths;
use crate::state::PodRecord;
use k8s_openapi::api::core::v1::Pod;
use rkube_net::{
    AttachError, Bridge, BridgeConfig, BridgeError, HostPort, HostPortGuard, HostPorts, LeaseError,
    Leases, PublishError, Transport, Verified,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// Why a pod did not get its network.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworkError {
    /// The bridge cannot be set up.
    #[error("cannot set up the pods' bridge")]
    Bridge(#[from] BridgeError),
    /// No address is to be had.
    #[error("cannot give the pod an address")]
    Lease(#[from] LeaseError),
    /// The pod cannot be plugged in.
    #[error("cannot plug the pod into the bridge")]
    Attach(#[from] AttachError),
    /// Its ports cannot be published.
    #[error("cannot publish the pod's ports")]
    Publish(#[from] PublishError),
    /// A port belongs to a process of the host.
    #[error(transparent)]
    Taken(#[from] rkube_net::HoldError),
    /// A hostIP that is no address.
    #[error("hostIP \"{0}\" is no IP address")]
    HostIp(String),
    /// The work was cut short by the end of the program.
    #[error("the network set-up was interrupted")]
    Interrupted,
}

/// The host's end of the pods' network.
#[derive(Clone, Debug)]
pub struct Network {
    config: BridgeConfig,
    leases: PathBuf,
    /// The published ports that this process holds, by the pod's uid: nobody else can bind them.
    held: Arc<Mutex<BTreeMap<String, Vec<HostPortGuard>>>>,
}

impl Network {
    /// Remembers the settings; touches nothing.
    #[must_use]
    pub fn new(paths: &Paths, config: BridgeConfig) -> Self {
        Network {
            config,
            leases: paths.leases(),
            held: Arc::default(),
        }
    }

    /// The bridge and its addresses.
    #[must_use]
    pub fn config(&self) -> &BridgeConfig {
        &self.config
    }

    /// The address by which this host is known to others: that of the route outwards, else of the bridge.
    #[must_use]
    pub fn host_ip(&self) -> Option<IpAddr> {
        outward_ip().or_else(|| self.config.subnet.nth(1))
    }

    /// Gives the pod an address and plugs the namespace into the bridge.
    ///
    /// # Errors
    /// Says which of the steps failed and why.
    pub async fn attach(&self, uid: &str, netns: OwnedFd) -> Result<IpAddr, NetworkError> {
        let (network, uid) = (self.clone(), uid.to_owned());
        blocking(move || {
            let bridge = Bridge::ensure(&network.config)?;
            let ip = Leases::open(&network.leases, network.config.subnet)?.lease(&uid)?;
            bridge.attach(netns.as_fd(), ip, &uid)?;
            Ok(ip)
        })
        .await
    }

    /// Publishes the pod's hostPorts, and lets its own traffic pass. All or none.
    ///
    /// # Errors
    /// Says who has the port, or what the packet filter said.
    pub async fn publish(&self, record: &PodRecord, ip: IpAddr) -> Result<(), NetworkError> {
        let ports = host_ports(&record.pod, ip)?;
        let (network, uid) = (self.clone(), record.uid().to_owned());
        blocking(move || {
            let held = ports
                .iter()
                .map(HostPortGuard::bind)
                .collect::<Result<Vec<_>, _>>()?;
            network.host_ports()?.publish(&ports)?;
            network.lock().insert(uid, held);
            Ok(())
        })
        .await
    }

    /// Takes back what the pod had: rules, ports, address. Having nothing is success.
    ///
    /// # Errors
    /// What could not be taken back; calling it again goes on.
    pub async fn withdraw(&self, uid: &str) -> Result<(), NetworkError> {
        let (network, uid) = (self.clone(), uid.to_owned());
        blocking(move || {
            network.lock().remove(&uid);
            // The one must not keep the other from being given back.
            let released = Leases::open(&network.leases, network.config.subnet)
                .and_then(|leases| leases.release(&uid));
            network.host_ports()?.withdraw(&uid)?;
            Ok(released?)
        })
        .await
    }

    /// Holds the ports of a pod that was published by a kubelet that is gone.
    pub async fn hold_again(&self, record: &PodRecord, ip: IpAddr) {
        let Ok(ports) = host_ports(&record.pod, ip) else {
            return;
        };
        let (network, uid) = (self.clone(), record.uid().to_owned());
        let _ = blocking(move || {
            let held = ports
                .iter()
                .filter_map(|port| HostPortGuard::bind(port).ok())
                .collect();
            network.lock().insert(uid, held);
            Ok(())
        })
        .await;
    }

    /// Gives back what pods have that are gone, and writes rules anew that somebody else took away. Gives what was done.
    ///
    /// # Errors
    /// What could not be looked at or mended; calling it again goes on.
    pub async fn repair(
        &self,
        gone: impl Fn(&str) -> bool + Send + 'static,
    ) -> Result<Vec<String>, NetworkError> {
        let network = self.clone();
        blocking(move || {
            let mut done = Vec::new();
            let ports = network.host_ports()?;
            let lost: BTreeSet<String> = ports
                .list()?
                .into_iter()
                .map(|port| port.uid)
                .filter(|uid| gone(uid))
                .collect();
            for uid in lost {
                ports.withdraw(&uid)?;
                done.push(format!(
                    "withdrew the published ports of pod {uid}, which is gone"
                ));
            }
            let leases = Leases::open(&network.leases, network.config.subnet)?;
            let held = leases.list()?;
            for lease in held.iter().filter(|lease| gone(&lease.owner)) {
                leases.release(&lease.owner)?;
                done.push(format!(
                    "took back {} from pod {}, which is gone",
                    lease.ip, lease.owner
                ));
            }
            // Without a pod on the bridge nobody misses a rule.
            if !held.is_empty() && ports.verify()? == Verified::Repaired {
                done.push(
                    "packet filter rules were missing or too many: all are written anew".to_owned(),
                );
            }
            Ok(done)
        })
        .await
    }

    /// The published ports of this host.
    ///
    /// # Errors
    /// When their record cannot be read.
    pub fn host_ports(&self) -> Result<HostPorts, PublishError> {
        HostPorts::open(&self.leases, &self.config.name, self.config.subnet)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Vec<HostPortGuard>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, NetworkError> + Send + 'static,
) -> Result<T, NetworkError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or(Err(NetworkError::Interrupted))
}

/// The hostPorts of a pod as the packet filter has them.
///
/// # Errors
/// Names a hostIP that is no address.
pub fn host_ports(pod: &Pod, pod_ip: IpAddr) -> Result<Vec<HostPort>, NetworkError> {
    let spec = pod.spec.as_ref();
    let inits = spec
        .and_then(|spec| spec.init_containers.as_ref())
        .into_iter()
        .flatten();
    let mains = spec
        .map(|spec| spec.containers.iter())
        .into_iter()
        .flatten();
    let mut ports = Vec::new();
    for port in inits
        .chain(mains)
        .flat_map(|container| container.ports.iter().flatten())
    {
        let Some(host_port) = port
            .host_port
            .and_then(|port| u16::try_from(port).ok())
            .filter(|port| *port != 0)
        else {
            continue;
        };
        let host_ip = match port.host_ip.as_deref().filter(|ip| !ip.is_empty()) {
            Some(ip) => Some(
                ip.parse()
                    .map_err(|_| NetworkError::HostIp(ip.to_owned()))?,
            ),
            None => None,
        };
        ports.push(HostPort {
            protocol: match port.protocol.as_deref() {
                Some("UDP") => Transport::Udp,
                Some("SCTP") => Transport::Sctp,
                _ => Transport::Tcp,
            },
            host_ip,
            host_port,
            pod_ip,
            container_port: u16::try_from(port.container_port).unwrap_or(0),
            pod: format!(
                "{}/{}",
                pod.metadata.namespace.as_deref().unwrap_or("default"),
                pod.metadata.name.as_deref().unwrap_or_default()
            ),
            uid: pod.metadata.uid.clone().unwrap_or_default(),
        });
    }
    Ok(ports)
}

/// The address that this host would use towards the outside. Connecting a datagram socket sends nothing.
fn outward_ip() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // A documentation address (RFC 5737): only the route to it is looked up.
    socket
        .connect(SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 9)))
        .ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}
