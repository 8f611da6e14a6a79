//! The seccomp filter of a config, compiled once for all containers that have the same.
use oci_spec::runtime::LinuxSeccomp;

use crate::compile::Seccomp;
use crate::seccomp::{Cache, SeccompError};

use super::root::StateRoot;

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum FilterError {
    /// Somebody is to be asked about system calls.
    #[error(
        "config: linux.seccomp: SCMP_ACT_NOTIFY is not supported; use SCMP_ACT_ERRNO, and drop \
         listenerPath"
    )]
    Notify,
    /// The profile makes no sense.
    #[error("config: linux.seccomp")]
    Compile(#[from] SeccompError),
}

/// The program for a profile: from the state directory, or compiled and put there.
pub(super) fn program(
    profile: Option<&LinuxSeccomp>,
    root: &StateRoot,
) -> Result<Option<Seccomp>, FilterError> {
    let Some(profile) = profile else {
        return Ok(None);
    };
    let program = Cache::new(root.seccomp_cache()).compile(profile)?;
    if program.listener.is_some() {
        return Err(FilterError::Notify);
    }
    Ok(Some(Seccomp {
        program: program.filter.clone(),
        flags: program.flags,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_kept_for_the_next_container() {
        let dir = tempfile::tempdir().unwrap();
        let root = StateRoot::new(dir.path().join("state"));
        let profile: LinuxSeccomp = serde_json::from_value(serde_json::json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{ "names": ["swapon"], "action": "SCMP_ACT_ERRNO" }],
        }))
        .unwrap();
        assert_eq!(program(None, &root).unwrap(), None);
        let first = program(Some(&profile), &root).unwrap().unwrap();
        let cache = dir.path().join("state/.seccomp");
        assert_eq!(std::fs::read_dir(&cache).unwrap().count(), 1);
        assert_eq!(program(Some(&profile), &root).unwrap().unwrap(), first);
    }

    #[test]
    fn notifications_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let root = StateRoot::new(dir.path().to_owned());
        let profile: LinuxSeccomp = serde_json::from_value(serde_json::json!({
            "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/run/agent",
            "syscalls": [{ "names": ["mount"], "action": "SCMP_ACT_NOTIFY" }],
        }))
        .unwrap();
        assert!(matches!(
            program(Some(&profile), &root),
            Err(FilterError::Notify)
        ));
    }
}
