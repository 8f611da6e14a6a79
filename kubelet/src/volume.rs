//! Volumes: a manifest's `volumes` -> directories on the host that containers get bound.
//!
//! ```text
//!   manifest --prepare--> a directory of the host, per pod     empty, host, payload + atomic + memory, git, image
//!            --open-----> a descriptor, per container start    open + beneath: subPath, and nothing that leads out
//! ```
//! What ends with the pod lies in the pod's own folders. What the kubelet writes lies in memory, and is written again from
//! the pod's record after a reboot.
mod atomic;
mod empty;
pub mod git;
mod host;
mod image;
mod memory;
mod open;
mod payload;

pub use host::HostKind;
pub use image::images;
pub use open::{Opened, Wanted, open};

use self::atomic::Payload;
use crate::beneath::Dir;
use crate::paths::Paths;
use crate::state::PodRecord;
use crate::sys;
use crate::update::Reporter;
use crate::worker::Node;
use k8s_openapi::api::core::v1::Volume;
use rkube_api::quantity::Quantity;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Why a volume cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("volume \"{volume}\": {what}")]
pub struct VolumeError {
    /// The volume's name in the manifest.
    pub volume: String,
    /// What is wrong, and what to do about it.
    pub what: String,
}

/// A volume that is ready on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    /// Where it lies.
    pub path: PathBuf,
    /// What it is.
    pub origin: Origin,
    /// Whether every mount of it is read-only.
    pub read_only: bool,
}

/// Who made a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The kubelet: a directory of the pod's own.
    Pod,
    /// The host: it must be of this type whenever a container gets it.
    Host(HostKind),
}

/// The volumes of a pod, ready, by name.
pub type Volumes = BTreeMap<String, Ready>;

/// Makes the volumes of a pod, or finds them again: calling it twice changes nothing but the files of those that are written
/// from the pod's record. A repository or an image takes its time, until `cancel`.
///
/// # Errors
/// Names the volume and what to do.
pub async fn prepare(
    node: &Node,
    record: &Arc<PodRecord>,
    reporter: &Reporter,
    cancel: &CancellationToken,
) -> Result<Volumes, VolumeError> {
    for (index, volume) in volumes(record).enumerate() {
        let made = if let Some(source) = &volume.git_repo {
            let wanted = git::Wanted {
                node,
                record,
                source,
                dir: &on_disk(&node.paths, record, volume),
                index,
                group: fs_group(record),
                cancel,
            };
            git::ensure(wanted, reporter).await
        } else if let Some(source) = &volume.image {
            let dir = in_memory(&node.paths, record, volume);
            tokio::select! {
                made = image::ensure(node, record, source, &dir, reporter) => made,
                () = cancel.cancelled() => Err("stopped while it was pulled".to_owned()),
            }
        } else {
            Ok(())
        };
        made.map_err(|what| VolumeError {
            volume: volume.name.clone(),
            what,
        })?;
    }
    let (paths, record) = (node.paths.clone(), record.clone());
    let made = tokio::task::spawn_blocking(move || ensure(&paths, &record)).await;
    made.unwrap_or_else(|_| {
        Err(VolumeError {
            volume: "all".to_owned(),
            what: "interrupted".to_owned(),
        })
    })
}

/// What takes no time.
fn ensure(paths: &Paths, record: &PodRecord) -> Result<Volumes, VolumeError> {
    let mut ready = Volumes::new();
    for volume in volumes(record) {
        let fail = |what: String| VolumeError {
            volume: volume.name.clone(),
            what,
        };
        let one = ensure_one(paths, record, volume).map_err(fail)?;
        ready.insert(volume.name.clone(), one);
    }
    Ok(ready)
}

/// Brings the files of a pod's configMap, secret, downwardAPI and projected volumes up to date with its record; running
/// containers see all of a volume's new files at once. What has not changed is not touched.
///
/// # Errors
/// Names the first volume that could not be written; it has its old files, and the others their new ones.
pub fn refresh(paths: &Paths, record: &PodRecord) -> Result<(), VolumeError> {
    let mut failed = Ok(());
    for volume in volumes(record) {
        let Some(payload) = payload::payload(record, volume) else {
            continue;
        };
        let dir = in_memory(paths, record, volume);
        let done = payload.and_then(|payload| write(&dir, &payload, fs_group(record)));
        failed = failed.and(done.map_err(|what| VolumeError {
            volume: volume.name.clone(),
            what,
        }));
    }
    failed
}

fn volumes(record: &PodRecord) -> impl Iterator<Item = &Volume> {
    let spec = record.pod.spec.as_ref();
    spec.and_then(|spec| spec.volumes.as_ref())
        .into_iter()
        .flatten()
}

/// The group that shares the pod's volumes.
fn fs_group(record: &PodRecord) -> Option<u32> {
    let spec = record.pod.spec.as_ref()?;
    u32::try_from(spec.security_context.as_ref()?.fs_group?).ok()
}

/// Where a volume that lives in memory lies.
fn in_memory(paths: &Paths, record: &PodRecord, volume: &Volume) -> PathBuf {
    let dir = paths.pod_run(record.uid()).join("volumes");
    dir.join(&volume.name)
}

/// Where a volume that may be big lies.
fn on_disk(paths: &Paths, record: &PodRecord, volume: &Volume) -> PathBuf {
    let dir = paths.pod(record.uid()).join("volumes");
    dir.join(&volume.name)
}

fn ensure_one(paths: &Paths, record: &PodRecord, volume: &Volume) -> Result<Ready, String> {
    let own = |path: PathBuf, read_only: bool| Ready {
        path,
        origin: Origin::Pod,
        read_only,
    };
    if let Some(source) = &volume.empty_dir {
        let dir = if empty::on_disk(source) {
            on_disk(paths, record, volume)
        } else {
            in_memory(paths, record, volume)
        };
        return empty::ensure(&dir, source, record).map(|()| own(dir, false));
    }
    if let Some(source) = &volume.host_path {
        let kind = host::ensure(source)?;
        return Ok(Ready {
            path: PathBuf::from(&source.path),
            origin: Origin::Host(kind),
            read_only: false,
        });
    }
    if let Some(payload) = payload::payload(record, volume) {
        let dir = in_memory(paths, record, volume);
        return write(&dir, &payload?, fs_group(record)).map(|()| own(dir, true));
    }
    if volume.git_repo.is_some() {
        return Ok(own(on_disk(paths, record, volume), false));
    }
    if volume.image.is_some() {
        return Ok(own(in_memory(paths, record, volume), true));
    }
    Err("is of a kind that is not supported; use emptyDir, hostPath, configMap, secret, downwardAPI, projected, image or gitRepo"
        .to_owned())
}

/// Writes the files of a volume that the kubelet keeps in memory.
fn write(dir: &Path, payload: &Payload, group: Option<u32>) -> Result<(), String> {
    let written = || -> io::Result<()> {
        memory::ensure(dir)?;
        atomic::write(&Dir::open(dir)?, payload, group).map(drop)
    };
    written().map_err(|err| err.to_string())
}

/// The bytes that an emptyDir on disk may hold, of the volumes that have such a limit.
#[must_use]
pub fn disk_limits(paths: &Paths, record: &PodRecord) -> Vec<(String, PathBuf, u64)> {
    let volumes = record
        .pod
        .spec
        .as_ref()
        .and_then(|spec| spec.volumes.as_ref());
    let limited = |volume: &Volume| {
        let source = volume
            .empty_dir
            .as_ref()
            .filter(|source| source.medium.as_deref() != Some("Memory"))?;
        let limit = source
            .size_limit
            .as_ref()?
            .0
            .parse::<Quantity>()
            .ok()?
            .units();
        let dir = paths.pod(record.uid()).join("volumes").join(&volume.name);
        Some((volume.name.clone(), dir, u64::try_from(limit).ok()?))
    };
    volumes.into_iter().flatten().filter_map(limited).collect()
}

/// Unmounts what [`prepare`] mounted and removes all that a pod had in memory; nothing of it may run any more.
///
/// # Errors
/// Names what could not be removed; calling it again goes on.
pub fn remove(paths: &Paths, uid: &str) -> io::Result<()> {
    let pod = paths.pod_run(uid);
    for clone in entries(&pod)?.iter().filter(|path| git::is_clone(path)) {
        sys::unmount(&clone.join("shm"))?;
        crate::disk::remove(clone)?;
    }
    let dir = pod.join("volumes");
    for mount in entries(&dir)? {
        sys::unmount(&mount)?;
    }
    crate::disk::remove(&dir)
}

/// What is in a directory; one that is not there is empty.
fn entries(dir: &Path) -> io::Result<Vec<PathBuf>> {
    match fs_err::read_dir(dir) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(err) => Err(err),
    }
}
