//! Volumes: a manifest's `volumes` -> directories on the host that containers get bound.
//!
//! Each kind is one function from its source to a path. What ends with the pod lies in the pod's own
//! folders; configMap and secret volumes lie under /run, which is memory, and are written again from the
//! pod's record after a reboot.
use crate::paths::{Paths, create_private};
use crate::state::PodRecord;
use crate::sys;
use k8s_openapi::api::core::v1::{EmptyDirVolumeSource, HostPathVolumeSource, KeyToPath, Volume};
use rkube_api::quantity::Quantity;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::{Component, Path, PathBuf};

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
    let spec = record.pod.spec.as_ref();
    let fs_group = spec.and_then(|spec| spec.security_context.as_ref()?.fs_group);
    let mut ready = Volumes::new();
    for volume in spec
        .and_then(|spec| spec.volumes.as_ref())
        .into_iter()
        .flatten()
    {
        let fail = |what: String| VolumeError {
            volume: volume.name.clone(),
            what,
        };
        let path = ensure_one(paths, record, volume, fs_group).map_err(fail)?;
        let read_only = volume.config_map.is_some() || volume.secret.is_some();
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

fn ensure_one(
    paths: &Paths,
    record: &PodRecord,
    volume: &Volume,
    fs_group: Option<i64>,
) -> Result<PathBuf, String> {
    let lasting = paths.pod(record.uid()).join("volumes").join(&volume.name);
    let in_memory = paths
        .pod_run(record.uid())
        .join("volumes")
        .join(&volume.name);
    let done = |result: io::Result<PathBuf>| result.map_err(|err| err.to_string());
    if let Some(source) = &volume.empty_dir {
        let dir = if source.medium.as_deref() == Some("Memory") {
            in_memory
        } else {
            lasting
        };
        return empty_dir(&dir, source, fs_group).map(|()| dir);
    }
    if let Some(source) = &volume.host_path {
        return host_path(source);
    }
    if let Some(source) = &volume.config_map {
        let optional = source.optional.unwrap_or(false);
        let files = match record.config_maps.get(&source.name) {
            Some(map) => {
                let text = map
                    .data
                    .iter()
                    .flatten()
                    .map(|(key, value)| (key.clone(), value.clone().into_bytes()));
                text.chain(
                    map.binary_data
                        .iter()
                        .flatten()
                        .map(|(key, value)| (key.clone(), value.0.clone())),
                )
                .collect()
            }
            None if optional => BTreeMap::new(),
            None => {
                return Err(format!(
                    "ConfigMap \"{}\" is not in the manifest; add it as a further document",
                    source.name
                ));
            }
        };
        let files = select(files, source.items.as_deref(), optional)?;
        return done(write_files(
            &in_memory,
            &files,
            source.default_mode.unwrap_or(0o644),
            fs_group,
        ));
    }
    if let Some(source) = &volume.secret {
        let optional = source.optional.unwrap_or(false);
        let name = source.secret_name.as_deref().unwrap_or_default();
        let files = match record.secrets.get(name) {
            Some(secret) => secret
                .data
                .iter()
                .flatten()
                .map(|(key, value)| (key.clone(), value.0.clone()))
                .collect(),
            None if optional => BTreeMap::new(),
            None => {
                return Err(format!(
                    "Secret \"{name}\" is not in the manifest; add it as a further document"
                ));
            }
        };
        let files = select(files, source.items.as_deref(), optional)?;
        return done(write_files(
            &in_memory,
            &files,
            source.default_mode.unwrap_or(0o644),
            fs_group,
        ));
    }
    Err(
        "is of a kind that is not supported; use emptyDir, hostPath, configMap or secret"
            .to_owned(),
    )
}

fn empty_dir(
    dir: &Path,
    source: &EmptyDirVolumeSource,
    fs_group: Option<i64>,
) -> Result<(), String> {
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
        None | Some("") => make_shared(dir, fs_group).map_err(failed),
        Some("Memory") => {
            create_private(dir).map_err(failed)?;
            sys::mount_tmpfs(
                dir,
                limit.and_then(|limit| u64::try_from(limit).ok()),
                0o777,
            )
            .map_err(failed)?;
            own(dir, fs_group).map_err(failed)
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
fn make_shared(dir: &Path, fs_group: Option<i64>) -> io::Result<()> {
    let parent = dir.parent().unwrap_or(dir);
    create_private(parent)?;
    let aside = dir.with_extension("new");
    if !aside.is_dir() {
        fs_err::create_dir(&aside)?;
    }
    fs_err::set_permissions(&aside, std::fs::Permissions::from_mode(0o777))?;
    own(&aside, fs_group)?;
    fs_err::rename(aside, dir)
}

/// Gives `dir` to the pod's fsGroup, so that what is made in it is the group's too.
fn own(dir: &Path, fs_group: Option<i64>) -> io::Result<()> {
    let Some(group) = fs_group.and_then(|group| u32::try_from(group).ok()) else {
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

/// A file of a volume: its path below the volume, its bytes, its mode if it has one of its own.
type File = (PathBuf, Vec<u8>, Option<i32>);

fn select(
    files: BTreeMap<String, Vec<u8>>,
    items: Option<&[KeyToPath]>,
    optional: bool,
) -> Result<Vec<File>, String> {
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        return Ok(files
            .into_iter()
            .map(|(key, bytes)| (PathBuf::from(key), bytes, None))
            .collect());
    };
    let mut chosen = Vec::new();
    for item in items {
        let path = PathBuf::from(&item.path);
        if path
            .components()
            .any(|part| !matches!(part, Component::Normal(_)))
            || item.path.is_empty()
        {
            return Err(format!(
                "items path \"{}\" must be relative and without `..`",
                item.path
            ));
        }
        match files.get(&item.key) {
            Some(bytes) => chosen.push((path, bytes.clone(), item.mode)),
            None if optional => {}
            None => return Err(format!("has no key \"{}\"", item.key)),
        }
    }
    Ok(chosen)
}

/// Writes the files into a directory aside and shows it whole: a reader never sees half a volume.
fn write_files(
    dir: &Path,
    files: &[File],
    mode: i32,
    fs_group: Option<i64>,
) -> io::Result<PathBuf> {
    if dir.is_dir() {
        return Ok(dir.to_owned());
    }
    create_private(dir.parent().unwrap_or(dir))?;
    let aside = dir.with_extension("new");
    if aside.exists() {
        fs_err::remove_dir_all(&aside)?;
    }
    fs_err::create_dir(&aside)?;
    let group = fs_group.and_then(|group| u32::try_from(group).ok());
    for (path, bytes, own_mode) in files {
        let target = aside.join(path);
        if let Some(parent) = target.parent() {
            fs_err::create_dir_all(parent)?;
        }
        let mode = u32::try_from(own_mode.unwrap_or(mode)).unwrap_or(0o644) & 0o777;
        // A group that shares the volume may read what its owner may.
        let mode = if group.is_some() {
            mode | ((mode & 0o700) >> 3)
        } else {
            mode
        };
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&target)?;
        file.write_all(bytes)?;
        std::os::unix::fs::chown(&target, None, group)?;
        file.set_permissions(std::fs::Permissions::from_mode(mode))?;
    }
    fs_err::set_permissions(&aside, std::fs::Permissions::from_mode(0o755))?;
    fs_err::rename(&aside, dir)?;
    Ok(dir.to_owned())
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

    fn files() -> BTreeMap<String, Vec<u8>> {
        BTreeMap::from([
            ("a".to_owned(), b"1".to_vec()),
            ("b".to_owned(), b"2".to_vec()),
        ])
    }

    fn item(key: &str, path: &str) -> KeyToPath {
        KeyToPath {
            key: key.to_owned(),
            path: path.to_owned(),
            ..KeyToPath::default()
        }
    }

    #[test]
    fn items_choose_and_rename_keys() {
        let chosen = select(files(), Some(&[item("b", "dir/c")]), false).unwrap();
        assert_eq!(chosen, [(PathBuf::from("dir/c"), b"2".to_vec(), None)]);
        assert_eq!(select(files(), None, false).unwrap().len(), 2);
        assert!(
            select(files(), Some(&[item("x", "x")]), false)
                .unwrap_err()
                .contains("no key \"x\"")
        );
        assert_eq!(select(files(), Some(&[item("x", "x")]), true).unwrap(), []);
        for path in ["../x", "/x", "a/../x", "", "."] {
            assert!(
                select(files(), Some(&[item("a", path)]), false).is_err(),
                "{path}"
            );
        }
    }

    #[test]
    fn files_appear_whole_with_their_modes() {
        let dir = tempfile::tempdir().unwrap();
        let volume = dir.path().join("v");
        let file: File = (PathBuf::from("sub/key"), b"value".to_vec(), Some(0o400));
        write_files(&volume, &[file], 0o644, None).unwrap();
        let path = volume.join("sub/key");
        assert_eq!(std::fs::read(&path).unwrap(), b"value");
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o400
        );
    }

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
