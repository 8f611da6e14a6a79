//! Namespaces: new, joined by path, or inherited when the spec does not name them.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use oci_spec::runtime::{LinuxIdMapping, LinuxNamespaceType, Spec};
use rkube_init::record::layout::flag;

use super::{CompileError, Draft};

const FIELD: &str = "linux.namespaces";

/// Whether the spec gives the container a namespace of this kind that is not the caller's.
pub(super) fn has(spec: &Spec, kind: LinuxNamespaceType) -> bool {
    list(spec).iter().any(|namespace| namespace.typ() == kind)
}

/// Whether the container gets a new namespace of this kind.
pub(super) fn is_new(spec: &Spec, kind: LinuxNamespaceType) -> bool {
    list(spec)
        .iter()
        .any(|namespace| namespace.typ() == kind && namespace.path().is_none())
}

fn list(spec: &Spec) -> &[oci_spec::runtime::LinuxNamespace] {
    let linux = spec.linux().as_ref();
    linux
        .and_then(|linux| linux.namespaces().as_deref())
        .unwrap_or_default()
}

pub(super) fn compile(draft: &mut Draft, spec: &Spec) -> Result<(), CompileError> {
    let mut seen = BTreeSet::new();
    for (index, namespace) in list(spec).iter().enumerate() {
        let kind = namespace.typ();
        if !seen.insert(kind as u32) {
            return Err(CompileError::invalid(
                format!("{FIELD}[{index}].type"),
                format!("{kind} is there twice"),
            ));
        }
        match namespace.path() {
            None => draft.record.namespaces |= kind as u32,
            Some(path) => {
                let field = || format!("{FIELD}[{index}].path");
                let file = fs_err::File::open(path)
                    .map_err(|source| CompileError::open(field(), path, source))?;
                let fd = draft.add(file.into_parts().0.into());
                draft.record.joins.push((kind as u32, fd));
            }
        }
    }
    if !has(spec, LinuxNamespaceType::Mount) {
        return Err(CompileError::invalid(
            FIELD,
            "a mount namespace is required: add {\"type\": \"mount\"}",
        ));
    }
    user(draft, spec)?;
    time(draft, spec)?;
    names(draft, spec)
}

/// Exec joins all namespaces that the spec names; the others are the caller's, as they were at the start.
pub(super) fn compile_exec(draft: &mut Draft, spec: &Spec) {
    let cgroup = spec
        .mounts()
        .iter()
        .flatten()
        .any(|mount| mount.typ().as_deref() == Some("cgroup"));
    if cgroup {
        draft.record.target_kinds |= LinuxNamespaceType::Cgroup as u32;
    }
    draft.record.target_kinds |= list(spec)
        .iter()
        .fold(0, |kinds, namespace| kinds | namespace.typ() as u32);
}

fn user(draft: &mut Draft, spec: &Spec) -> Result<(), CompileError> {
    let linux = spec.linux().as_ref();
    let uids = linux
        .and_then(|linux| linux.uid_mappings().as_deref())
        .unwrap_or_default();
    let gids = linux
        .and_then(|linux| linux.gid_mappings().as_deref())
        .unwrap_or_default();
    if !has(spec, LinuxNamespaceType::User) {
        if uids.is_empty() && gids.is_empty() {
            return Ok(());
        }
        return Err(CompileError::invalid(
            "linux.uidMappings",
            "needs a user namespace in linux.namespaces",
        ));
    }
    draft.record.flags |= flag::BIND_DEVICES;
    if !is_new(spec, LinuxNamespaceType::User) {
        return Ok(());
    }
    draft.record.uid_map = id_map("linux.uidMappings", uids)?;
    draft.record.gid_map = id_map("linux.gidMappings", gids)?;
    Ok(())
}

/// The text that `uid_map` and `gid_map` take.
pub(super) fn id_map(field: &str, mappings: &[LinuxIdMapping]) -> Result<String, CompileError> {
    if mappings.is_empty() {
        return Err(CompileError::invalid(
            field,
            "a new user namespace needs at least one mapping",
        ));
    }
    let mut text = String::new();
    for (index, map) in mappings.iter().enumerate() {
        let end = |id: u32| id.checked_add(map.size()).filter(|_| map.size() > 0);
        if end(map.container_id()).is_none() || end(map.host_id()).is_none() {
            return Err(CompileError::invalid(
                format!("{field}[{index}]"),
                "is empty or ends past the last id",
            ));
        }
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            "{} {} {}",
            map.container_id(),
            map.host_id(),
            map.size()
        );
    }
    Ok(text)
}

fn time(draft: &mut Draft, spec: &Spec) -> Result<(), CompileError> {
    let Some(offsets) = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.time_offsets().as_ref())
    else {
        return Ok(());
    };
    const OFFSETS: &str = "linux.timeOffsets";
    if !is_new(spec, LinuxNamespaceType::Time) {
        return Err(CompileError::invalid(
            OFFSETS,
            "needs a new time namespace in linux.namespaces",
        ));
    }
    for (clock, offset) in offsets {
        if !matches!(clock.as_str(), "monotonic" | "boottime") {
            return Err(CompileError::invalid(
                format!("{OFFSETS}.{clock}"),
                "the clocks are monotonic and boottime",
            ));
        }
        let (secs, nanos) = (offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0));
        let _ = writeln!(draft.record.time_offsets, "{clock} {secs} {nanos}");
    }
    Ok(())
}

fn names(draft: &mut Draft, spec: &Spec) -> Result<(), CompileError> {
    for (field, name) in [
        ("hostname", spec.hostname()),
        ("domainname", spec.domainname()),
    ] {
        let Some(name) = name.as_ref().filter(|name| !name.is_empty()) else {
            continue;
        };
        if !has(spec, LinuxNamespaceType::Uts) {
            return Err(CompileError::invalid(
                field,
                "needs a uts namespace in linux.namespaces",
            ));
        }
        if name.len() > 64 {
            return Err(CompileError::invalid(field, "is longer than 64 bytes"));
        }
    }
    draft.record.hostname = spec.hostname().clone().unwrap_or_default();
    draft.record.domainname = spec.domainname().clone().unwrap_or_default();
    Ok(())
}
