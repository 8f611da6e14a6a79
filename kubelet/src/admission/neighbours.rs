//! The pods that are here already: what a new one must not clash with.
use super::{AdmitError, is_over};
use crate::network;
use crate::paths::Paths;
use crate::registry::Registry;
use crate::state::{PodRecord, StoredPod};
use rkube_net::{HoldError, HostPort, HostPortGuard};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

const NOWHERE: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// All pods of this host, by name and by hostPort.
#[derive(Debug)]
pub(super) struct Neighbours {
    pub(super) paths: Paths,
    named: BTreeMap<String, Vec<Arc<StoredPod>>>,
    ports: Vec<(HostPort, Arc<StoredPod>)>,
}

impl Neighbours {
    /// Those in the pods' folder. What is in the registry is taken from there; a record that cannot be read is no pod.
    pub(super) fn load(paths: &Paths, known: Option<&Registry>) -> io::Result<Self> {
        let mut all = Neighbours {
            paths: paths.clone(),
            named: BTreeMap::new(),
            ports: Vec::new(),
        };
        match known {
            None => {
                let (pods, _) = paths.load_all()?;
                pods.into_iter().for_each(|pod| all.insert(Arc::new(pod)));
            }
            Some(known) => {
                for uid in paths.uids()? {
                    let pod = known.get(&uid);
                    let pod = pod.or_else(|| paths.load(&uid).ok().map(Arc::new));
                    pod.into_iter().for_each(|pod| all.insert(pod));
                }
            }
        }
        Ok(all)
    }

    pub(super) fn insert(&mut self, pod: Arc<StoredPod>) {
        // A hostIP that is no address was refused when that pod came.
        let ports = network::host_ports(&pod.record.pod, NOWHERE).unwrap_or_default();
        self.ports
            .extend(ports.into_iter().map(|port| (port, pod.clone())));
        let name = pod.record.full_name();
        self.named.entry(name).or_default().push(pod);
    }

    /// Takes out the pods of that name, which are over.
    pub(super) fn take_named(&mut self, full_name: &str) -> Vec<Arc<StoredPod>> {
        let gone = self.named.remove(full_name).unwrap_or_default();
        self.ports
            .retain(|(_, pod)| gone.iter().all(|gone| !Arc::ptr_eq(gone, pod)));
        gone
    }

    /// Whether the pod clashes with none of them, nor with a process of the host.
    pub(super) fn check(&self, record: &PodRecord) -> Result<(), AdmitError> {
        let full_name = record.full_name();
        let same = self.named.get(&full_name).into_iter().flatten();
        if let Some(other) = same.into_iter().find(|other| !is_over(&self.paths, other)) {
            return Err(AdmitError::Exists {
                pod: full_name,
                name: other.record.name().to_owned(),
                uid: other.record.uid().to_owned(),
            });
        }
        let own = network::host_ports(&record.pod, NOWHERE)?;
        own.iter()
            .try_for_each(|port| self.check_port(port, &full_name))?;
        own.iter().try_for_each(check_process)
    }

    fn check_port(&self, port: &HostPort, full_name: &str) -> Result<(), AdmitError> {
        let clash = self.ports.iter().find(|(theirs, other)| {
            theirs.collides(port)
                && other.record.full_name() != full_name
                && !is_over(&self.paths, other)
        });
        match clash {
            None => Ok(()),
            Some((_, other)) => Err(AdmitError::PodHasPort {
                port: port.to_string(),
                by: other.record.full_name(),
            }),
        }
    }
}

/// Binding the port asks the kernel at once who has it. To look it up in /proc takes tens of milliseconds on a host with
/// much memory; that happens only for the words of a refusal.
fn check_process(port: &HostPort) -> Result<(), AdmitError> {
    HostPortGuard::bind(port)
        .map(drop)
        .map_err(|err| match err {
            HoldError::Taken { port, by } => AdmitError::ProcessHasPort {
                port,
                name: by.name,
                pid: by.pid,
            },
            err => AdmitError::Port(err.into()),
        })
}
