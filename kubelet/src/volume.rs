//! Volumes: a manifest's `volumes` -> directories on the host that containers get bound.
//!
//! Each kind is one function from its source to a path. What ends with the pod lies in the pod's own
//! folders; configMap and secret volumes lie under /run, which is memory, and are written again from the
//! pod's record after a reboot.
mod atomic;
mod beneath;
mod memory;
mod payload;

use self::atomic::Payload;
use self::beneath::Dir;
use crate::paths::{Paths, create_private};
use crate::state::PodRecord;
use crate::sys;
use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, HostPathVolumeSource, Volume};
use rkube_api::quantity::Quantity;
use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

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
    /// What containers get.
    pub source: Source,
    /// Whether every mount of it is read-only.
    pub read_only: bool,
}

/// What a volume is on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A directory or file.
    Path(PathBuf),
}

/// The volumes of a pod, ready, by name.
pub type Volumes = BTreeMap<String, Ready>;

/// Makes the volumes of a pod, or finds them again: calling it twice changes nothing.
///
/// # Errors
/// Names the volume and what to do.
pub fn ensure(paths: &Paths, record: &PodRecord) -> Result<Volumes, VolumeError> {
    let mut ready = Volumes::new();
    for volume in volumes(record) {
        let fail = |what: String| VolumeError {
            volume: volume.name.clone(),
            what,
        };
        let path = ensure_one(paths, record, volume).map_err(fail)?;
        let read_only = payload::payload(record, volume).is_some();
        ready.insert(
            volume.name.clone(),
            Ready {
                source: Source::Path(path),
                read_only,
            },
        );
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

fn ensure_one(paths: &Paths, record: &PodRecord, volume: &Volume) -> Result<PathBuf, String> {
    if let Some(source) = &volume.empty_dir {
        let dir = if source.medium.as_deref() == Some("Memory") {
            in_memory(paths, record, volume)
        } else {
            on_disk(paths, record, volume)
        };
        return empty_dir(&dir, source, fs_group(record)).map(|()| dir);
    }
    if let Some(source) = &volume.host_path {
        return host_path(source);
    }
    if let Some(payload) = payload::payload(record, volume) {
        let dir = in_memory(paths, record, volume);
        return write(&dir, &payload?, fs_group(record)).map(|()| dir);
    }
    Err(
        "is of a kind that is not supported; use emptyDir, hostPath, configMap, secret, downwardAPI or projected"
            .to_owned(),
    )
}

/// Writes the files of a volume that the kubelet keeps in memory.
fn write(dir: &Path, payload: &Payload, group: Option<u32>) -> Result<(), String> {
    let written = || -> io::Result<()> {
        memory::ensure(dir)?;
        atomic::write(&Dir::open(dir)?, payload, group).map(drop)
    };
    written().map_err(|err| err.to_string())
}

fn empty_dir(dir: &Path, source: &EmptyDirVolumeSource, group: Option<u32>) -> Result<(), String> {
    let failed = |err: io::Error| err.to_string();
    let limit = match &source.size_limit {
        None => None,
        Some(limit) => Some(
            limit
                .0
                .parse::<Quantity>()
                .map_err(|err| format!("sizeLimit: {err}"))?
                .units(),
        ),
    };
    if dir.is_dir() {
        return Ok(());
    }
    match source.medium.as_deref() {
        None | Some("") => make_shared(dir, group).map_err(failed),
        Some("Memory") => {
            create_private(dir).map_err(failed)?;
            sys::mount_tmpfs(
                dir,
                limit.and_then(|limit| u64::try_from(limit).ok()),
                0o777,
            )
            .map_err(failed)?;
            own(dir, group).map_err(failed)
        }
        Some(other) => Err(format!(
            "medium \"{other}\" is not supported; leave it out or use Memory"
        )),
    }
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

/// A directory that all users of the pod may write to, made whole under another name first.
fn make_shared(dir: &Path, group: Option<u32>) -> io::Result<()> {
    let parent = dir.parent().unwrap_or(dir);
    create_private(parent)?;
    let aside = dir.with_extension("new");
    if !aside.is_dir() {
        fs_err::create_dir(&aside)?;
    }
    fs_err::set_permissions(&aside, std::fs::Permissions::from_mode(0o777))?;
    own(&aside, group)?;
    fs_err::rename(aside, dir)
}

/// Gives `dir` to the pod's fsGroup, so that what is made in it is the group's too.
fn own(dir: &Path, group: Option<u32>) -> io::Result<()> {
    let Some(group) = group else {
        return Ok(());
    };
    std::os::unix::fs::chown(dir, None, Some(group))?;
    fs_err::set_permissions(dir, std::fs::Permissions::from_mode(0o2777))
}

fn host_path(source: &HostPathVolumeSource) -> Result<PathBuf, String> {
    let path = PathBuf::from(&source.path);
    let found = std::fs::metadata(&path);
    let missing = || {
        format!(
            "{} is not on this host; make it, or set hostPath.type: DirectoryOrCreate",
            path.display()
        )
    };
    let wants = |fits: bool, what: &str| {
        if fits {
            Ok(path.clone())
        } else {
            Err(format!("{} is no {what}", path.display()))
        }
    };
    match (source.type_.as_deref().unwrap_or_default(), found) {
        ("DirectoryOrCreate", Err(_)) => {
            fs_err::create_dir_all(&path).map_err(|err| err.to_string())?;
            Ok(path)
        }
        ("FileOrCreate", Err(_)) => {
            fs_err::OpenOptions::new()
                .create(true)
                .append(true)
                .open(&path)
                .map_err(|err| err.to_string())?;
            Ok(path)
        }
        (_, Err(err)) if err.kind() == io::ErrorKind::NotFound => Err(missing()),
        (_, Err(err)) => Err(format!("{}: {err}", path.display())),
        ("", Ok(_)) => Ok(path),
        ("Directory" | "DirectoryOrCreate", Ok(meta)) => wants(meta.is_dir(), "directory"),
        ("File" | "FileOrCreate", Ok(meta)) => wants(meta.is_file(), "file"),
        ("Socket", Ok(meta)) => wants(meta.file_type().is_socket(), "socket"),
        ("CharDevice", Ok(meta)) => wants(meta.file_type().is_char_device(), "character device"),
        ("BlockDevice", Ok(meta)) => wants(meta.file_type().is_block_device(), "block device"),
        (other, Ok(_)) => Err(format!("hostPath.type \"{other}\" is unknown")),
    }
}

/// Unmounts what [`ensure`] mounted and removes all that a pod had in memory.
///
/// # Errors
/// Names what could not be removed; calling it again goes on.
pub fn remove(paths: &Paths, uid: &str) -> io::Result<()> {
    let dir = paths.pod_run(uid).join("volumes");
    let entries = match fs_err::read_dir(&dir) {
        Ok(entries) => entries,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(err) => return Err(err),
    };
    for entry in entries {
        sys::unmount(&entry?.path())?;
    }
    fs_err::remove_dir_all(&dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_path_must_be_what_it_claims() {
        let dir = tempfile::tempdir().unwrap();
        let source = |name: &str, kind: &str| HostPathVolumeSource {
            path: dir.path().join(name).to_string_lossy().into_owned(),
            type_: Some(kind.to_owned()),
        };
        std::fs::write(dir.path().join("file"), "").unwrap();
        assert!(host_path(&source("file", "")).is_ok());
        assert!(
            host_path(&source("file", "Directory"))
                .unwrap_err()
                .contains("is no directory")
        );
        assert!(
            host_path(&source("gone", ""))
                .unwrap_err()
                .contains("DirectoryOrCreate")
        );
        assert!(host_path(&source("made", "DirectoryOrCreate")).is_ok());
        assert!(dir.path().join("made").is_dir());
        assert!(
            host_path(&source("file", "Socket"))
                .unwrap_err()
                .contains("no socket")
        );
    }
}
