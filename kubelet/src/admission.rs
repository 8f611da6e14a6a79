//! Letting a pod in: names and hostPorts are checked and taken under one lock, then it is written down.
mod companions;
mod neighbours;

pub(crate) use companions::References;
pub use companions::{Companions, Token, account, token_wish};

use crate::lock::Lock;
use crate::network;
use crate::paths::{Paths, create_private};
use crate::registry::Registry;
use crate::state::{PodRecord, PodState, SourceKind, StoredPod};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use neighbours::Neighbours;
use std::io;
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
    /// A uid that cannot name a folder.
    #[error("pod {pod} has uid \"{uid}\"; it must be at most 64 letters, digits, - and _")]
    Uid {
        /// `namespace/name`.
        pod: String,
        /// What the source gave.
        uid: String,
    },
    /// The pod cannot be written down.
    #[error("cannot record pod {pod}")]
    Record {
        /// `namespace/name`.
        pod: String,
        /// What happened; names the file.
        source: io::Error,
    },
}

/// Whether the pod could be let in now: nothing is written.
///
/// # Errors
/// Says who holds the name or the port.
pub fn check(paths: &Paths, pod: &Pod) -> Result<(), AdmitError> {
    let record = PodRecord::new(pod.clone(), Timestamp::now());
    let pods = Neighbours::load(paths, None).map_err(|source| AdmitError::Record {
        pod: record.full_name(),
        source,
    })?;
    pods.check(&record)
}

/// Names and hostPorts of this host, held still until dropped: pods are let in one after the other.
#[derive(Debug)]
pub struct Admission {
    pods: Neighbours,
    _lock: Lock,
}

impl Admission {
    /// Waits for other processes that let pods in. A process that knows its pods gives its registry; what others have let
    /// in is read from the pods' folder.
    ///
    /// # Errors
    /// When the lock cannot be made, or the pods' folder cannot be read.
    pub fn open(paths: &Paths, known: Option<&Registry>) -> io::Result<Self> {
        let lock = crate::lock::exclusive(&paths.admission_lock())?;
        Ok(Admission {
            pods: Neighbours::load(paths, known)?,
            _lock: lock,
        })
    }

    /// Writes the pod down. A pod of the same name that is over makes room. The uid is the source's own if that is an API
    /// server or its store; from everybody else it is somebody else's, and two runs of one file are two pods.
    ///
    /// # Errors
    /// Says who holds the name or the port.
    pub fn admit(&mut self, mut record: PodRecord) -> Result<StoredPod, AdmitError> {
        let full_name = record.full_name();
        self.pods.check(&record)?;
        let own_uid = matches!(record.origin.source, SourceKind::Etcd | SourceKind::Api);
        let namespace = record.namespace().to_owned();
        let meta = &mut record.pod.metadata;
        meta.namespace = Some(namespace);
        match meta.uid.take().filter(|uid| own_uid && !uid.is_empty()) {
            Some(uid) if is_plain(&uid) => meta.uid = Some(uid),
            Some(uid) => {
                return Err(AdmitError::Uid {
                    pod: full_name,
                    uid,
                });
            }
            None => meta.uid = Some(uuid::Uuid::new_v4().to_string()),
        }
        record.created = Timestamp::now();
        if !own_uid || meta.creation_timestamp.is_none() {
            meta.creation_timestamp = Some(Time(record.created));
        }
        self.write(record).map_err(|source| AdmitError::Record {
            pod: full_name,
            source,
        })
    }

    fn write(&mut self, record: PodRecord) -> io::Result<StoredPod> {
        let paths = self.pods.paths.clone();
        for over in self.pods.take_named(&record.full_name()) {
            forget(&paths, &over.record)?;
        }
        create_private(&paths.pod(record.uid()))?;
        paths.save_record(&record)?;
        let state = PodState::new(&record, &crate::state::boot_id()?);
        let pod = StoredPod {
            record: Arc::new(record),
            state,
        };
        self.pods.insert(Arc::new(pod.clone()));
        Ok(pod)
    }
}

/// Whether the text can name a folder: what an API server gives is a UUID.
fn is_plain(uid: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    uid.len() <= 64 && uid.bytes().all(plain)
}

/// Writes a pod of a command down, with a uid of its own.
///
/// # Errors
/// Says who holds the name or the port.
pub fn admit(
    paths: &Paths,
    pod: Pod,
    companions: &Companions,
    detached: bool,
) -> Result<StoredPod, AdmitError> {
    let record = PodRecord {
        config_maps: companions.config_maps_of(&pod),
        secrets: companions.secrets_of(&pod),
        detached,
        fail_fast: true,
        ..PodRecord::new(pod, Timestamp::now())
    };
    let admission = Admission::open(paths, None);
    let mut admission = admission.map_err(|source| AdmitError::Record {
        pod: record.full_name(),
        source,
    })?;
    admission.admit(record)
}

/// Whether nothing of the pod runs or will run.
#[must_use]
pub fn is_over(paths: &Paths, pod: &StoredPod) -> bool {
    if pod.state.phase.ended() {
        return true;
    }
    if pod.record.is_lasting() {
        return false;
    }
    // A foreground pod ends with its command; it is over if neither that nor its supervisor lives.
    let owned = matches!(
        crate::lock::try_exclusive(&paths.pod_run(pod.record.uid()).join("lock")),
        Ok(None)
    );
    !owned && !crate::sandbox::alive(&paths.pod_run(pod.record.uid()))
}

/// Removes all files of a pod that is over: record, volumes, logs.
///
/// # Errors
/// Names what could not be removed; calling it again goes on.
pub fn forget(paths: &Paths, record: &PodRecord) -> io::Result<()> {
    let uid = record.uid();
    crate::volume::remove(paths, uid)?;
    let logs = paths.pod_logs(record.namespace(), record.name(), uid);
    for dir in [paths.pod_run(uid), logs] {
        crate::disk::remove(&dir)?;
    }
    // The record goes last: what still has one can be removed again. It goes before the state: a reader finds both, or no
    // pod at all, and never takes one that is over for one that has not begun.
    let dir = paths.pod(uid);
    let entries = match fs_err::read_dir(&dir) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_name() != "pod.json" && entry.file_name() != "state.json" {
            crate::disk::remove(&entry.path())?;
        }
    }
    crate::disk::remove(&dir.join("pod.json"))?;
    crate::disk::remove(&dir)
}
