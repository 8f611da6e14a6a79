//! Sysctls: only those that belong to a namespace of the container's own.

use oci_spec::runtime::{LinuxNamespaceType, Spec};

use super::{CompileError, Draft, namespaces};

/// Sysctls of the ipc namespace; `fs.mqueue.` ones are as well.
const IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

pub(super) fn compile(draft: &mut Draft, spec: &Spec) -> Result<(), CompileError> {
    let given = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.sysctl().as_ref());
    for (name, value) in given.into_iter().flatten() {
        let field = || format!("linux.sysctl[{name:?}]");
        let kind = namespace_of(name).ok_or_else(|| {
            CompileError::invalid(field(), "is not a sysctl of a namespace; only kernel.shm*, kernel.msg*, kernel.sem, kernel.domainname, fs.mqueue.* and net.* are")
        })?;
        if !namespaces::has(spec, kind) {
            return Err(CompileError::invalid(
                field(),
                format!("needs a {kind} namespace in linux.namespaces"),
            ));
        }
        if value.is_empty() || value.contains(['\0', '\n']) {
            return Err(CompileError::invalid(
                field(),
                "has an empty value or one of several lines",
            ));
        }
        draft
            .record
            .sysctls
            .push((name.replace('.', "/"), value.clone()));
    }
    // A map has no order of its own; a record should.
    draft.record.sysctls.sort();
    Ok(())
}

/// Which namespace a sysctl belongs to; `None` if it is the host's, or not a plain name.
pub(super) fn namespace_of(name: &str) -> Option<LinuxNamespaceType> {
    let plain = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
    };
    if !name.split('.').all(plain) {
        return None;
    }
    if IPC.contains(&name) || name.starts_with("fs.mqueue.") {
        return Some(LinuxNamespaceType::Ipc);
    }
    if name == "kernel.domainname" {
        return Some(LinuxNamespaceType::Uts);
    }
    name.starts_with("net.")
        .then_some(LinuxNamespaceType::Network)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, want: Option<LinuxNamespaceType>) {
        assert_eq!(namespace_of(name), want, "{name:?}");
    }

    #[test]
    fn names_of_namespaces_are_known() {
        check("kernel.shm_rmid_forced", Some(LinuxNamespaceType::Ipc));
        check("fs.mqueue.msg_max", Some(LinuxNamespaceType::Ipc));
        check("net.ipv4.ip_forward", Some(LinuxNamespaceType::Network));
        check(
            "net.ipv4.conf.eth0.rp_filter",
            Some(LinuxNamespaceType::Network),
        );
        check("kernel.domainname", Some(LinuxNamespaceType::Uts));
    }

    #[test]
    fn other_names_are_refused() {
        for name in [
            "",
            ".",
            "net",
            "net.",
            "net..x",
            "net.ipv4/../../kernel.core_pattern",
            "net/../kernel.core_pattern",
            "kernel.core_pattern",
            "kernel.shm_rmid_forced+kernel.core_pattern",
            "kernel.shm_x",
            "kernel.hostname",
            "net.a\nb",
            "net.a\0b",
            "net. ",
            "fs.file-max",
            "vm.overcommit_memory",
            "../net.x",
            "net.ipv4.ip_forward=1",
        ] {
            check(name, None);
        }
    }
}
