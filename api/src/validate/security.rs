//! Security contexts.

use k8s_openapi::api::core::v1::{
    AppArmorProfile, PodSecurityContext, PodSpec, SeccompProfile, SecurityContext,
};

use super::{Errors, FieldError, Reason, Unique, each};

/// User and group ids that fit everywhere.
const IDS: std::ops::RangeInclusive<i64> = 0..=2_147_483_647;

pub(super) fn pod(path: &str, context: &PodSecurityContext, spec: &PodSpec, errors: &mut Errors) {
    errors.range(&format!("{path}.runAsUser"), context.run_as_user, IDS);
    errors.range(&format!("{path}.runAsGroup"), context.run_as_group, IDS);
    errors.range(&format!("{path}.fsGroup"), context.fs_group, IDS);
    let groups = context.supplemental_groups.as_ref();
    for (path, group) in each(format!("{path}.supplementalGroups"), groups) {
        errors.range(&path, Some(*group), IDS);
    }
    let policy = context.fs_group_change_policy.as_ref();
    errors.one_of(
        &format!("{path}.fsGroupChangePolicy"),
        policy,
        &["Always", "OnRootMismatch"],
    );
    let policy = context.supplemental_groups_policy.as_ref();
    errors.one_of(
        &format!("{path}.supplementalGroupsPolicy"),
        policy,
        &["Merge", "Strict"],
    );
    not_root(path, context.run_as_non_root, context.run_as_user, errors);
    profiles(
        path,
        context.seccomp_profile.as_ref(),
        context.app_armor_profile.as_ref(),
        errors,
    );
    if context.windows_options.is_some() {
        errors.forbidden(&format!("{path}.windowsOptions"), "pods run on Linux here");
    }
    let mut seen = Unique::new();
    for (path, sysctl) in each(format!("{path}.sysctls"), context.sysctls.as_ref()) {
        let name = sysctl.name.replace('/', ".");
        sysctl_name(&format!("{path}.name"), &name, spec, errors);
        errors.no_nul(&format!("{path}.value"), &sysctl.value);
        seen.insert(errors, &format!("{path}.name"), name);
    }
}

fn sysctl_name(path: &str, name: &str, spec: &PodSpec, errors: &mut Errors) {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
    let good = |part: &str| !part.is_empty() && part.bytes().all(allowed);
    if name.is_empty() {
        errors.required(path);
    } else if !name.split('.').all(good) {
        errors.invalid(path, name, "must be a name such as net.core.somaxconn");
    } else if spec.host_network == Some(true) && name.starts_with("net.") {
        errors.add(
            path,
            &format!("{name} is forbidden with hostNetwork: it would change the host"),
        );
    } else if spec.host_ipc == Some(true)
        && ["kernel.shm", "kernel.msg", "kernel.sem", "fs.mqueue."]
            .iter()
            .any(|start| name.starts_with(start))
    {
        errors.add(
            path,
            &format!("{name} is forbidden with hostIPC: it would change the host"),
        );
    }
}

pub(super) fn container(path: &str, context: &SecurityContext, errors: &mut Errors) {
    errors.range(&format!("{path}.runAsUser"), context.run_as_user, IDS);
    errors.range(&format!("{path}.runAsGroup"), context.run_as_group, IDS);
    errors.one_of(
        &format!("{path}.procMount"),
        context.proc_mount.as_ref(),
        &["Default", "Unmasked"],
    );
    not_root(path, context.run_as_non_root, context.run_as_user, errors);
    profiles(
        path,
        context.seccomp_profile.as_ref(),
        context.app_armor_profile.as_ref(),
        errors,
    );
    if context.windows_options.is_some() {
        errors.forbidden(&format!("{path}.windowsOptions"), "pods run on Linux here");
    }
    let capabilities = context.capabilities.as_ref();
    let added = capabilities.and_then(|capabilities| capabilities.add.as_ref());
    let dropped = capabilities.and_then(|capabilities| capabilities.drop.as_ref());
    let path_of = |name: &str| format!("{path}.capabilities.{name}");
    for (path, name) in each(path_of("add"), added).chain(each(path_of("drop"), dropped)) {
        let word = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_' || byte.is_ascii_digit();
        if name.is_empty() || !name.bytes().all(word) {
            let problem =
                format!("invalid value {name:?}: must be a name such as NET_ADMIN, or ALL");
            errors.add(&path, &problem);
        }
    }
    if context.allow_privilege_escalation == Some(false) {
        let (whole, path) = (path, format!("{path}.allowPrivilegeEscalation"));
        let admin = |name: &String| matches!(name.as_str(), "CAP_SYS_ADMIN" | "SYS_ADMIN");
        if context.privileged == Some(true) {
            let why = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            errors.say(
                || FieldError::new(&path, "cannot be false in a privileged container"),
                || FieldError::invalid(whole, context, why),
            );
        } else if added.is_some_and(|added| added.iter().any(admin)) {
            let why = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            errors.say(
                || FieldError::new(&path, "cannot be false with the capability SYS_ADMIN"),
                || FieldError::invalid(whole, context, why),
            );
        }
    }
}

fn not_root(path: &str, non_root: Option<bool>, user: Option<i64>, errors: &mut Errors) {
    if non_root == Some(true) && user == Some(0) {
        errors.add(
            &format!("{path}.runAsUser"),
            "invalid value 0: runAsNonRoot is true",
        );
    }
}

fn profiles(
    path: &str,
    seccomp: Option<&SeccompProfile>,
    apparmor: Option<&AppArmorProfile>,
    errors: &mut Errors,
) {
    if let Some(profile) = seccomp {
        let local = profile.localhost_profile.as_deref();
        profile_of(
            &format!("{path}.seccompProfile"),
            &profile.type_,
            local,
            errors,
        );
        if let Some(file) = local {
            errors.relative(&format!("{path}.seccompProfile.localhostProfile"), file);
        }
    }
    if let Some(profile) = apparmor {
        let local = profile.localhost_profile.as_deref();
        profile_of(
            &format!("{path}.appArmorProfile"),
            &profile.type_,
            local,
            errors,
        );
    }
}

fn profile_of(path: &str, kind: &String, local: Option<&str>, errors: &mut Errors) {
    let what = if path.ends_with("seccompProfile") {
        "seccomp"
    } else {
        "AppArmor"
    };
    let kinds = ["RuntimeDefault", "Unconfined", "Localhost"];
    if kind.is_empty() {
        return errors.required(&format!("{path}.type"));
    }
    errors.one_of(&format!("{path}.type"), Some(kind), &kinds);
    let path = format!("{path}.localhostProfile");
    match (kind.as_str(), local) {
        ("Localhost", None | Some("")) => errors.say(
            || FieldError::new(&path, "required value").because(Reason::Required),
            || FieldError::required(&path, &format!("must be set when {what} type is Localhost")),
        ),
        ("Localhost", Some(_)) | (_, None) => {}
        (_, Some(local)) => {
            let why = format!("can only be set when {what} type is Localhost");
            errors.either(&path, "only allowed with type Localhost", local, &why);
        }
    }
}
