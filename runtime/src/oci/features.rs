//! `features`: what this runtime and the host's kernel can do, for engines to read.
use clap::Args;
use serde_json::{Value, json};

use crate::compile;

use super::bundle::{OCI_VERSION, OCI_VERSION_MIN};
use super::cli::{self, Failure};
use super::hooks::Stage;

/// Print what the runtime supports, as JSON.
#[derive(Debug, Args)]
pub(super) struct PrintFeatures {}

const NAMESPACES: &[&str] = &[
    "cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts",
];

/// By their numbers.
const CAPABILITIES: &[&str] = &[
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

const SECCOMP_OPERATORS: &[&str] = &[
    "SCMP_CMP_NE",
    "SCMP_CMP_LT",
    "SCMP_CMP_LE",
    "SCMP_CMP_EQ",
    "SCMP_CMP_GE",
    "SCMP_CMP_GT",
    "SCMP_CMP_MASKED_EQ",
];

impl PrintFeatures {
    /// Prints them.
    pub(super) fn run(self) -> Result<u8, Failure> {
        let last = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap");
        let last = last.ok().and_then(|text| text.trim().parse().ok());
        let mut text = serde_json::to_string_pretty(&features(last))?;
        text.push('\n');
        cli::print(text.as_bytes())?;
        Ok(0)
    }
}

fn features(last_capability: Option<usize>) -> Value {
    let known = last_capability.map_or(CAPABILITIES.len(), |last| last + 1);
    let capabilities = &CAPABILITIES[..known.min(CAPABILITIES.len())];
    json!({
        "ociVersionMin": OCI_VERSION_MIN,
        "ociVersionMax": OCI_VERSION,
        "hooks": Stage::ALL.map(Stage::name),
        "mountOptions": mount_options(),
        "linux": {
            "namespaces": NAMESPACES,
            "capabilities": capabilities,
            "cgroup": {
                "v1": true, "v2": true, "systemd": false, "systemdUser": false, "rdma": true,
            },
            "seccomp": seccomp(),
            "apparmor": { "enabled": false },
            "selinux": { "enabled": false },
            "intelRdt": { "enabled": false },
        },
        "annotations": {
            "org.opencontainers.runc.checkpoint.enabled": "false",
        },
    })
}

fn mount_options() -> Vec<&'static str> {
    compile::mount_options().collect()
}

fn seccomp() -> Value {
    json!({
        "enabled": true,
        "operators": SECCOMP_OPERATORS,
    })
}
