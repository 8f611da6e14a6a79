//! One container.

use k8s_openapi::api::core::v1::{Container, ContainerPort, VolumeMount};

use super::pod::{Surroundings, ip};
use super::{Errors, FieldError, Unique, Words, each, env, probe, resources, security};
use crate::names::Form;

/// A container that runs with the others.
pub(super) fn check(path: &str, one: &Container, pod: &Surroundings<'_>, errors: &mut Errors) {
    basics(path, one, errors);
    ports(path, one, pod, errors);
    env::check(path, one, errors);
    mounts(path, one, pod, errors);
    if let Some(needs) = &one.resources {
        resources::check(&format!("{path}.resources"), needs, errors);
    }
    if let Some(context) = &one.security_context {
        security::container(&format!("{path}.securityContext"), context, errors);
    }
    probe::check(path, one, pod.grace, errors);
}

/// A container that runs before the others, to its end or, as a sidecar, beside them.
pub(super) fn init(path: &str, one: &Container, pod: &Surroundings<'_>, errors: &mut Errors) {
    check(path, one, pod, errors);
    if one.restart_policy.as_deref() == Some("Always") {
        return;
    }
    let fields = [
        ("livenessProbe", one.liveness_probe.is_some()),
        ("readinessProbe", one.readiness_probe.is_some()),
        ("startupProbe", one.startup_probe.is_some()),
        ("lifecycle", one.lifecycle.is_some()),
    ];
    for (name, _) in fields.into_iter().filter(|(_, set)| *set) {
        let problem =
            "forbidden: an init container runs to its end; remove it, or set restartPolicy: Always";
        let field = format!("{path}.{name}");
        let why = "may not be set for init containers without restartPolicy=Always";
        errors.say(
            || FieldError::new(&field, problem),
            || FieldError::forbidden(&field, why),
        );
    }
}

/// At most so many rules, and so many exit codes in one.
const RULES: usize = 20;
const CODES: usize = 255;

fn restart_rules(path: &str, one: &Container, errors: &mut Errors) {
    let rules = one.restart_policy_rules.as_deref().unwrap_or_default();
    let path = format!("{path}.restartPolicyRules");
    if rules.len() > RULES {
        errors.add(&path, "too many: must have at most 20 rules");
    }
    if !rules.is_empty() && one.restart_policy.is_none() {
        errors.forbidden(
            &path,
            "give restartPolicy as well, for the exit codes that no rule names",
        );
    }
    for (index, rule) in rules.iter().enumerate() {
        let path = format!("{path}[{index}]");
        errors.one_of(&format!("{path}.action"), Some(&rule.action), &["Restart"]);
        let Some(codes) = &rule.exit_codes else {
            errors.required(&format!("{path}.exitCodes"));
            continue;
        };
        let path = format!("{path}.exitCodes");
        errors.one_of(
            &format!("{path}.operator"),
            Some(&codes.operator),
            &["In", "NotIn"],
        );
        let values = codes.values.as_ref().map_or(0, Vec::len);
        if values == 0 {
            errors.required(&format!("{path}.values"));
        } else if values > CODES {
            errors.add(
                &format!("{path}.values"),
                "too many: must have at most 255 values",
            );
        }
    }
}

fn basics(path: &str, one: &Container, errors: &mut Errors) {
    errors.form(Form::Label, &format!("{path}.name"), &one.name);
    let image = one.image.as_deref().unwrap_or_default();
    if image.is_empty() {
        errors.required(&format!("{path}.image"));
    } else if image.contains(|c: char| c.is_whitespace() || c.is_control()) {
        let why = if image.trim() == image {
            "must not contain spaces"
        } else {
            "must not have leading or trailing whitespace"
        };
        let problem = format!("invalid value {image:?}: must not contain spaces");
        errors.either(&format!("{path}.image"), &problem, image, why);
    }
    let policies = ["Always", "IfNotPresent", "Never"];
    errors.one_of(
        &format!("{path}.imagePullPolicy"),
        one.image_pull_policy.as_ref(),
        &policies,
    );
    let policies = ["Always", "OnFailure", "Never"];
    errors.one_of(
        &format!("{path}.restartPolicy"),
        one.restart_policy.as_ref(),
        &policies,
    );
    restart_rules(path, one, errors);
    let policies = ["File", "FallbackToLogsOnError"];
    let policy = one.termination_message_policy.as_ref();
    errors.one_of(
        &format!("{path}.terminationMessagePolicy"),
        policy,
        &policies,
    );
    if let Some(file) = &one.termination_message_path {
        errors.absolute(&format!("{path}.terminationMessagePath"), file);
    }
    if let Some(dir) = one.working_dir.as_deref().filter(|dir| !dir.is_empty()) {
        errors.absolute(&format!("{path}.workingDir"), dir);
    }
    for (name, words) in [("command", &one.command), ("args", &one.args)] {
        for (path, word) in each(format!("{path}.{name}"), words.as_ref()) {
            errors.no_nul(&path, word);
        }
    }
    if one.stdin_once == Some(true) && one.stdin != Some(true) {
        errors.add(
            &format!("{path}.stdinOnce"),
            "has no meaning without stdin: true",
        );
    }
}

fn ports(path: &str, one: &Container, pod: &Surroundings<'_>, errors: &mut Errors) {
    let mut names = Unique::new();
    for (path, port) in each(format!("{path}.ports"), one.ports.as_ref()) {
        if let Some(name) = port.name.as_deref().filter(|name| !name.is_empty()) {
            errors.form(Form::PortName, &format!("{path}.name"), name);
            names.insert(errors, &format!("{path}.name"), name);
        }
        check_port(&path, port, pod, errors);
    }
}

fn check_port(path: &str, port: &ContainerPort, pod: &Surroundings<'_>, errors: &mut Errors) {
    let number = format!("{path}.containerPort");
    if port.container_port == 0 {
        errors.required(&number);
    } else {
        errors.range(&number, Some(port.container_port), 1..=65535);
    }
    errors.range(&format!("{path}.hostPort"), port.host_port, 1..=65535);
    errors.one_of(
        &format!("{path}.protocol"),
        port.protocol.as_ref(),
        &["SCTP", "TCP", "UDP"],
    );
    if let Some(address) = port
        .host_ip
        .as_deref()
        .filter(|address| !address.is_empty())
    {
        ip(&format!("{path}.hostIP"), address, errors);
    }
    if pod.host_network
        && port
            .host_port
            .is_some_and(|host| host != port.container_port)
    {
        let problem = format!(
            "must be the containerPort, {}, with hostNetwork",
            port.container_port
        );
        let why = "must match `hostPort` when `hostNetwork` is true";
        errors.say(
            || FieldError::new(format!("{path}.hostPort"), problem),
            || FieldError::invalid(&number, port.container_port, why),
        );
    }
}

fn mounts(path: &str, one: &Container, pod: &Surroundings<'_>, errors: &mut Errors) {
    let mut targets = Unique::new();
    for (path, mount) in each(format!("{path}.volumeMounts"), one.volume_mounts.as_ref()) {
        if mount.name.is_empty() {
            errors.required(&format!("{path}.name"));
        } else if !pod.volumes.contains(mount.name.as_str()) {
            let problem = format!(
                "volume {:?} not found; add it to the pod's volumes",
                mount.name
            );
            errors.not_found(&format!("{path}.name"), &mount.name, &problem);
        }
        let target = normal(&mount.mount_path);
        errors.absolute(&format!("{path}.mountPath"), &mount.mount_path);
        if !target.is_empty() {
            let field = format!("{path}.mountPath");
            match errors.words {
                Words::Plain => targets.insert(errors, &field, target),
                Words::Kubernetes if !targets.0.insert(target) => {
                    errors.invalid(&field, &mount.mount_path, "must be unique");
                }
                Words::Kubernetes => {}
            }
        }
        check_mount(&path, mount, one, errors);
    }
    for (path, device) in each(format!("{path}.volumeDevices"), one.volume_devices.as_ref()) {
        if !pod.volumes.contains(device.name.as_str()) {
            let problem = format!(
                "volume {:?} not found; add it to the pod's volumes",
                device.name
            );
            errors.not_found(&format!("{path}.name"), &device.name, &problem);
        }
        errors.absolute(&format!("{path}.devicePath"), &device.device_path);
    }
}

/// `/a//b/./` -> `/a/b`
fn normal(path: &str) -> String {
    let parts = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".");
    let parts: Vec<_> = parts.collect();
    if path.is_empty() {
        String::new()
    } else {
        format!("/{}", parts.join("/"))
    }
}

fn check_mount(path: &str, mount: &VolumeMount, one: &Container, errors: &mut Errors) {
    if mount.mount_path == "/" {
        let problem =
            "invalid value \"/\": a volume cannot take the place of the image; mount it below";
        errors.add(&format!("{path}.mountPath"), problem);
    }
    let below = [
        ("subPath", &mount.sub_path),
        ("subPathExpr", &mount.sub_path_expr),
    ];
    let set =
        |value: &&(&str, &Option<String>)| value.1.as_ref().is_some_and(|text| !text.is_empty());
    for (name, value) in below {
        errors.relative(
            &format!("{path}.{name}"),
            value.as_deref().unwrap_or_default(),
        );
    }
    if below.iter().filter(set).count() > 1 {
        errors.add(
            path,
            "has subPath and subPathExpr; only one of them may be set",
        );
    }
    let modes = ["None", "HostToContainer", "Bidirectional"];
    let mode = mount.mount_propagation.as_ref();
    errors.one_of(&format!("{path}.mountPropagation"), mode, &modes);
    let privileged = one
        .security_context
        .as_ref()
        .is_some_and(|context| context.privileged == Some(true));
    if mode.is_some_and(|mode| mode == "Bidirectional") && !privileged {
        let problem = "Bidirectional is forbidden unless the container is privileged";
        errors.add(&format!("{path}.mountPropagation"), problem);
    }
    let recursive = format!("{path}.recursiveReadOnly");
    let modes = ["Disabled", "IfPossible", "Enabled"];
    errors.one_of(&recursive, mount.recursive_read_only.as_ref(), &modes);
    let asked = mount
        .recursive_read_only
        .as_deref()
        .is_some_and(|mode| mode != "Disabled");
    if asked && mount.read_only != Some(true) {
        errors.add(&recursive, "has no meaning without readOnly: true");
    }
    if asked && mode.is_some_and(|mode| mode != "None") {
        errors.add(&recursive, "is forbidden unless mountPropagation is None");
    }
}
