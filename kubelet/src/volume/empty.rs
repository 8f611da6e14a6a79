//! emptyDir: a directory that begins empty and ends with its pod.
use crate::housekeeping::limits;
use crate::paths::create_private;
use crate::state::PodRecord;
use crate::sys;
use k8s_openapi::api::core::v1::EmptyDirVolumeSource;
use rkube_api::quantity::Quantity;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Whether it lies on the host's disk.
pub(super) fn on_disk(source: &EmptyDirVolumeSource) -> bool {
    matches!(source.medium.as_deref(), None | Some(""))
}

/// Makes it, unless it is there. One in memory is no larger than what the pod may have of memory anyway.
pub(super) fn ensure(
    dir: &Path,
    source: &EmptyDirVolumeSource,
    record: &PodRecord,
) -> Result<(), String> {
    let group = super::fs_group(record);
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
    match source.medium.as_deref() {
        None | Some("") if dir.is_dir() => Ok(()),
        None | Some("") => make_shared(dir, group).map_err(failed),
        Some("Memory") => {
            create_private(dir).map_err(failed)?;
            // A directory alone is one that nothing was mounted at in time.
            if sys::is_mount(dir).map_err(failed)? {
                return Ok(());
            }
            let spec = record.pod.spec.as_ref();
            let memory = spec.and_then(|spec| limits::limit(spec, "memory"));
            // Zero stands for no limit, in v1 as for a tmpfs.
            let size = limit.into_iter().chain(memory).filter(|&size| size > 0);
            let size = size.min();
            let size = size.and_then(|size| u64::try_from(size).ok());
            sys::mount_tmpfs(dir, size, 0o777).map_err(failed)?;
            own(dir, group).map_err(failed)
        }
        Some(other) => Err(format!(
            "medium \"{other}\" is not supported; leave it out or use Memory"
        )),
    }
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
