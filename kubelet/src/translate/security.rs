//! Capabilities, seccomp, masked paths: what a container may do.
use super::{ContainerContext, TranslateError};
use k8s_openapi::api::core::v1::SecurityContext;
use oci_spec::runtime as oci;
use std::collections::HashSet;
use std::str::FromStr;

/// What a container gets unless told otherwise: the set that container engines agree on.
const DEFAULT_CAPABILITIES: &[oci::Capability] = &[
    oci::Capability::AuditWrite,
    oci::Capability::Chown,
    oci::Capability::DacOverride,
    oci::Capability::Fowner,
    oci::Capability::Fsetid,
    oci::Capability::Kill,
    oci::Capability::Mknod,
    oci::Capability::NetBindService,
    oci::Capability::NetRaw,
    oci::Capability::Setfcap,
    oci::Capability::Setgid,
    oci::Capability::Setpcap,
    oci::Capability::Setuid,
    oci::Capability::SysChroot,
];

/// The container's security context with the pod's filled in where it says nothing.
#[must_use]
pub fn context(ctx: &ContainerContext<'_>) -> SecurityContext {
    let mut own = ctx.container.security_context.clone().unwrap_or_default();
    if let Some(pod) = &ctx.pod.spec().security_context {
        own.run_as_user = own.run_as_user.or(pod.run_as_user);
        own.run_as_group = own.run_as_group.or(pod.run_as_group);
        own.run_as_non_root = own.run_as_non_root.or(pod.run_as_non_root);
        own.seccomp_profile = own.seccomp_profile.or_else(|| pod.seccomp_profile.clone());
    }
    own
}

/// Whether the container has all rights of the host's root.
#[must_use]
pub fn privileged(ctx: &ContainerContext<'_>) -> bool {
    context(ctx).privileged.unwrap_or(false)
}

/// Whether /proc and /sys are shown whole.
#[must_use]
pub fn unmasked(ctx: &ContainerContext<'_>) -> bool {
    privileged(ctx) || context(ctx).proc_mount.as_deref() == Some("Unmasked")
}

/// `allowPrivilegeEscalation: false`.
#[must_use]
pub fn no_new_privileges(ctx: &ContainerContext<'_>) -> bool {
    context(ctx).allow_privilege_escalation == Some(false)
}

/// The capability sets. Inheritable and ambient stay empty (CVE-2022-24769); a user other than root
/// has none in effect, and gains them only through a program's own file capabilities.
///
/// # Errors
/// Names a capability that does not exist.
pub fn capabilities(ctx: &ContainerContext<'_>) -> Result<oci::LinuxCapabilities, TranslateError> {
    let context = context(ctx);
    let given = context.capabilities.clone().unwrap_or_default();
    let drop = given.drop.unwrap_or_default();
    let add = given.add.unwrap_or_default();
    // What this host's root does not have itself cannot be given.
    let host = super::host::capabilities();
    let mut set: HashSet<oci::Capability> = DEFAULT_CAPABILITIES.iter().copied().collect();
    if context.privileged.unwrap_or(false) || is_all(&add) {
        set = host.clone();
    }
    if is_all(&drop) {
        set.clear();
    }
    for name in drop.iter().filter(|name| !name.eq_ignore_ascii_case("ALL")) {
        set.remove(&capability(name, "capabilities.drop")?);
    }
    for name in add.iter().filter(|name| !name.eq_ignore_ascii_case("ALL")) {
        set.insert(capability(name, "capabilities.add")?);
    }
    set.retain(|capability| host.contains(capability));
    oci::LinuxCapabilitiesBuilder::default()
        .bounding(set.clone())
        .effective(set.clone())
        .permitted(set)
        .inheritable(HashSet::new())
        .ambient(HashSet::new())
        .build()
        .map_err(TranslateError::Spec)
}

fn is_all(names: &[String]) -> bool {
    names.iter().any(|name| name.eq_ignore_ascii_case("ALL"))
}

fn capability(name: &str, field: &'static str) -> Result<oci::Capability, TranslateError> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    oci::Capability::from_str(&format!("CAP_{bare}"))
        .or_else(|_| oci::Capability::from_str(bare))
        .map_err(|_| TranslateError::Security {
            field,
            what: format!("\"{name}\" is no Linux capability (such as NET_ADMIN)"),
        })
}

/// The seccomp profile: the runtime's default unless `Unconfined` is asked for or the container is
/// privileged.
///
/// # Errors
/// When a profile on the host cannot be read.
pub fn seccomp(ctx: &ContainerContext<'_>) -> Result<Option<oci::LinuxSeccomp>, TranslateError> {
    if privileged(ctx) {
        return Ok(None);
    }
    let fail = |what: String| TranslateError::Security {
        field: "seccompProfile",
        what,
    };
    let profile = context(ctx).seccomp_profile;
    match profile.as_ref().map(|profile| profile.type_.as_str()) {
        None | Some("RuntimeDefault") => {
            let capabilities = capabilities(ctx)?;
            let bounding = capabilities.bounding().clone().unwrap_or_default();
            Ok(Some(rkube_runtime::seccomp::default_profile(&bounding)))
        }
        Some("Unconfined") => Ok(None),
        Some("Localhost") => {
            let name = profile
                .and_then(|profile| profile.localhost_profile)
                .unwrap_or_default();
            let relative = std::path::Path::new(&name);
            if relative
                .components()
                .any(|part| !matches!(part, std::path::Component::Normal(_)))
            {
                return Err(fail(format!(
                    "localhostProfile \"{name}\" must be a relative path without `..`"
                )));
            }
            let path = ctx.pod.seccomp_profiles.join(relative);
            let text = fs_err::read(&path).map_err(|err| fail(err.to_string()))?;
            serde_json::from_slice(&text)
                .map(Some)
                .map_err(|err| fail(format!("{}: {err}", path.display())))
        }
        Some(other) => Err(fail(format!(
            "type \"{other}\" is unknown; use RuntimeDefault, Unconfined or Localhost"
        ))),
    }
}

/// The host's devices that a privileged container sees; none otherwise.
///
/// # Errors
/// When /dev cannot be read.
pub fn devices(
    ctx: &ContainerContext<'_>,
) -> Result<Option<Vec<oci::LinuxDevice>>, TranslateError> {
    if !privileged(ctx) {
        return Ok(None);
    }
    super::host::devices()
        .map(Some)
        .map_err(|err| TranslateError::Security {
            field: "privileged",
            what: err.to_string(),
        })
}

/// What of /proc and /sys a container must not see.
#[must_use]
pub fn masked_paths() -> Vec<String> {
    [
        "/proc/asound",
        "/proc/acpi",
        "/proc/interrupts",
        "/proc/kcore",
        "/proc/keys",
        "/proc/latency_stats",
        "/proc/timer_list",
        "/proc/timer_stats",
        "/proc/sched_debug",
        "/proc/scsi",
        "/sys/firmware",
        "/sys/devices/virtual/powercap",
    ]
    .map(str::to_owned)
    .into()
}

/// What of /proc a container must not change.
#[must_use]
pub fn readonly_paths() -> Vec<String> {
    [
        "/proc/bus",
        "/proc/fs",
        "/proc/irq",
        "/proc/sys",
        "/proc/sysrq-trigger",
    ]
    .map(str::to_owned)
    .into()
}
