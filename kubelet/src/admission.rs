//! Letting a pod in: names and hostPorts are checked and taken under one lock, then it is written down.
use crate::network;
use crate::paths::{Paths, create_private};
use crate::state::{Origin, PodRecord, PodState, StoredPod};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use rkube_net::{HoldError, HostPort, HostPortGuard};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

/// Why a pod was not let in. Nothing is left behind.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdmitError {
    /// A pod of that name is here and not over.
    #[error(
        "pod {pod} runs already (uid {uid}); stop it with `rkubelet stop {name}` or give this one another name"
    )]
    Exists {
        /// `namespace/name`.
        pod: String,
        /// The name alone.
        name: String,
        /// The uid of the one that is here.
        uid: String,
    },
    /// Another pod has published the port.
    #[error("{port} is taken by pod {by}; stop that pod or choose another hostPort")]
    PodHasPort {
        /// The port.
        port: String,
        /// `namespace/name`.
        by: String,
    },
    /// A process of the host has the port.
    #[error("{port} is taken by process {name} (pid {pid}); stop it or choose another hostPort")]
    ProcessHasPort {
        /// The port.
        port: String,
        /// The program.
        name: String,
        /// Its pid.
        pid: u32,
    },
    /// A hostPort that makes no sense.
    #[error(transparent)]
    Port(#[from] network::NetworkError),
    /// The pod cannot be written down.
    #[error("cannot record pod {pod}")]
    Record {
        /// `namespace/name`.
        pod: String,
        /// What happened; names the file.
        source: io::Error,
    },
}

/// What comes with a pod in its manifest.
#[derive(Clone, Debug, Default)]
pub struct Companions {
    /// ConfigMaps of all namespaces.
    pub config_maps: Vec<ConfigMap>,
    /// Secrets of all namespaces.
    pub secrets: Vec<Secret>,
}

/// Whether the pod could be let in now: nothing is written.
///
/// # Errors
/// Says who holds the name or the port.
pub fn check(paths: &Paths, pod: &Pod) -> Result<(), AdmitError> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
    let full_name = format!(
        "{namespace}/{}",
        pod.metadata.name.as_deref().unwrap_or_default()
    );
    let (others, _) = paths.load_all().map_err(|source| AdmitError::Record {
        pod: full_name.clone(),
        source,
    })?;
    check_name(paths, &full_name, &others)?;
    check_ports(paths, pod, &full_name, &others)
}

fn check_name(paths: &Paths, full_name: &str, others: &[StoredPod]) -> Result<(), AdmitError> {
    match others
        .iter()
        .find(|other| other.record.full_name() == full_name && !is_over(paths, other))
    {
        None => Ok(()),
        Some(other) => Err(AdmitError::Exists {
            pod: full_name.to_owned(),
            name: other.record.name().to_owned(),
            uid: other.record.uid().to_owned(),
        }),
    }
}

/// Writes the pod down, with a uid if it has none. A pod of the same name that is over makes room.
///
/// # Errors
/// Says who holds the name or the port.
pub fn admit(
    paths: &Paths,
    pod: Pod,
    companions: &Companions,
    detached: bool,
) -> Result<StoredPod, AdmitError> {
    write_down(paths, pod, companions, |record| {
        record.detached = detached;
        record.fail_fast = true;
    })
}

/// Lets in a pod that a source wants, as [`admit`] does.
///
/// # Errors
/// Says who holds the name or the port.
pub fn admit_from(
    paths: &Paths,
    pod: Pod,
    companions: &Companions,
    origin: Origin,
) -> Result<StoredPod, AdmitError> {
    write_down(paths, pod, companions, |record| record.origin = origin)
}

fn write_down(
    paths: &Paths,
    mut pod: Pod,
    companions: &Companions,
    finish: impl FnOnce(&mut PodRecord),
) -> Result<StoredPod, AdmitError> {
    let namespace = pod
        .metadata
        .namespace
        .get_or_insert_with(|| "default".to_owned())
        .clone();
    let full_name = format!(
        "{namespace}/{}",
        pod.metadata.name.as_deref().unwrap_or_default()
    );
    let failed = |source| AdmitError::Record {
        pod: full_name.clone(),
        source,
    };
    // A uid in the manifest is somebody else's: two runs of one file are two pods.
    pod.metadata.uid = Some(uuid::Uuid::new_v4().to_string());
    let created = Timestamp::now();
    pod.metadata.creation_timestamp = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
        created,
    ));
    let mut record = PodRecord {
        config_maps: of_namespace(&companions.config_maps, &namespace, |map| &map.metadata),
        secrets: of_namespace(&companions.secrets, &namespace, |secret| &secret.metadata),
        ..PodRecord::new(pod, created)
    };
    finish(&mut record);

    let _lock = crate::lock::exclusive(&paths.admission_lock()).map_err(failed)?;
    let (others, _) = paths.load_all().map_err(failed)?;
    check_name(paths, &full_name, &others)?;
    check_ports(paths, &record.pod, &full_name, &others)?;
    // One that is over makes room.
    for other in others
        .iter()
        .filter(|other| other.record.full_name() == full_name)
    {
        forget(paths, &other.record).map_err(failed)?;
    }
    create_private(&paths.pod(record.uid())).map_err(failed)?;
    paths.save_record(&record).map_err(failed)?;
    let state = PodState::new(&record, &crate::state::boot_id().map_err(failed)?);
    Ok(StoredPod {
        record: Arc::new(record),
        state,
    })
}

fn of_namespace<T: Clone>(
    objects: &[T],
    namespace: &str,
    meta: fn(&T) -> &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
) -> BTreeMap<String, T> {
    let same = objects
        .iter()
        .filter(|object| meta(object).namespace.as_deref().unwrap_or("default") == namespace);
    same.filter_map(|object| Some((meta(object).name.clone()?, object.clone())))
        .collect()
}

/// Whether nothing of the pod runs or will run.
#[must_use]
pub fn is_over(paths: &Paths, pod: &StoredPod) -> bool {
    if pod.state.phase.ended() {
        return true;
    }
    // A foreground pod ends with its command; it is over if neither that nor its supervisor lives.
    let owned = matches!(
        crate::lock::try_exclusive(&paths.pod_run(pod.record.uid()).join("lock")),
        Ok(None)
    );
    !owned && !pod.record.is_lasting() && !crate::sandbox::alive(&paths.pod_run(pod.record.uid()))
}

fn check_ports(
    paths: &Paths,
    pod: &Pod,
    full_name: &str,
    others: &[StoredPod],
) -> Result<(), AdmitError> {
    let nowhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let own = network::host_ports(pod, nowhere)?;
    for other in others
        .iter()
        .filter(|other| other.record.full_name() != full_name)
    {
        if own.is_empty() || is_over(paths, other) {
            continue;
        }
        let theirs = network::host_ports(&other.record.pod, nowhere)?;
        let clash = own
            .iter()
            .find(|port| theirs.iter().any(|other| other.collides(port)));
        if let Some(port) = clash {
            return Err(AdmitError::PodHasPort {
                port: port.to_string(),
                by: other.record.full_name(),
            });
        }
    }
    own.iter().try_for_each(check_process)
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

/// Removes all files of a pod that is over: record, volumes, logs.
///
/// # Errors
/// Names what could not be removed; calling it again goes on.
pub fn forget(paths: &Paths, record: &PodRecord) -> io::Result<()> {
    let uid = record.uid();
    crate::volume::remove(paths, uid)?;
    let logs = paths.pod_logs(record.namespace(), record.name(), uid);
    // The record goes last: what still has one can be removed again.
    for dir in [paths.pod_run(uid), logs, paths.pod(uid)] {
        match fs_err::remove_dir_all(&dir) {
            Err(err) if err.kind() != io::ErrorKind::NotFound => return Err(err),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}
