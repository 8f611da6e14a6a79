//! From 2014 to `v1`.
//!
//! Where the two differ in meaning:
//!
//! | 2014 | `v1` | |
//! |---|---|---|
//! | `command` | `args` | it replaced the image's command, not its entry point |
//! | `cpu: 250` | `resources.requests.cpu: 250m` | it set a share, never a limit |
//! | `memory: 64` | `resources.limits.memory: 64` | bytes |
//! | no `imagePullPolicy` | `IfNotPresent` | `Always` only for a written `:latest` |
//! | `restartPolicy: {never: {}}` | `restartPolicy: Never` | |
//! | a volume without source | `emptyDir` | |

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1;
use k8s_openapi::apimachinery::pkg::api::resource;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{
    Container, ContainerManifest, EnvVar, Exec, Handler, HttpGet, Lifecycle, LivenessProbe, Pod,
    Port, RestartPolicy, Volume, VolumeMount, VolumeSource,
};
use crate::quantity::Quantity;
use crate::validate::{FieldError, Reason};

/// A `v1` pod, and what had to be said on the way.
#[derive(Debug, Default)]
pub(crate) struct Converted {
    pub(crate) pod: v1::Pod,
    pub(crate) errors: Vec<FieldError>,
    /// Fields that 2014 read and did not use.
    pub(crate) warnings: Vec<FieldError>,
}

/// Notes about fields, all under one prefix.
#[derive(Default)]
struct Notes {
    errors: Vec<FieldError>,
    warnings: Vec<FieldError>,
}

impl Notes {
    fn error(&mut self, path: String, problem: impl Into<String>) {
        self.errors.push(FieldError::new(path, problem));
    }

    fn unused(&mut self, path: String) {
        let problem = "ignored; it never had an effect".to_owned();
        self.warnings.push(FieldError::new(path, problem));
    }
}

/// Converts a pod. Paths in errors are those of the 2014 document.
pub(crate) fn pod(old: Pod) -> Converted {
    let Some(manifest) = old.desired_state.and_then(|state| state.manifest) else {
        let missing =
            FieldError::new("desiredState.manifest", "required value").because(Reason::Required);
        return Converted {
            errors: vec![missing],
            ..Converted::default()
        };
    };
    let mut converted = convert(manifest, "desiredState.manifest.");
    let metadata = &mut converted.pod.metadata;
    metadata.name = some_text(old.id).or(metadata.name.take());
    metadata.uid = some_text(old.uid).or(metadata.uid.take());
    metadata.namespace = some_text(old.namespace);
    metadata.labels = old.labels;
    metadata.annotations = old.annotations;
    if let Some(spec) = &mut converted.pod.spec {
        spec.node_selector = old.node_selector;
    }
    converted
}

/// Converts a container manifest that stands alone.
pub(crate) fn manifest(old: ContainerManifest) -> Converted {
    convert(old, "")
}

/// Where the field at a `v1` path stands in the 2014 document.
pub(crate) fn field_path(v1: &str, is_pod: bool) -> String {
    let prefix = if is_pod { "desiredState.manifest." } else { "" };
    if let Some(field) = v1.strip_prefix("metadata.") {
        return match field {
            "name" => "id".to_owned(),
            other => other.to_owned(),
        };
    }
    let mut path = format!("{prefix}{}", v1.strip_prefix("spec.").unwrap_or(v1));
    const RENAMED: [(&str, &str); 7] = [
        (".args", ".command"),
        (".resources.limits.memory", ".memory"),
        (".resources.requests.cpu", ".cpu"),
        (".hostPath", ".source.hostDir"),
        (".gcePersistentDisk", ".source.persistentDisk"),
        (".gitRepo", ".source.gitRepo"),
        (".emptyDir", ".source.emptyDir"),
    ];
    for (now, then) in RENAMED {
        path = path.replace(now, then);
    }
    path
}

fn convert(old: ContainerManifest, prefix: &str) -> Converted {
    let mut notes = Notes::default();
    match old.version.as_deref() {
        None | Some("") => {
            notes.error(
                format!("{prefix}version"),
                "required value: v1beta1 or v1beta2",
            );
        }
        Some(version) if is_version(version) => {}
        Some(version) => notes.error(
            format!("{prefix}version"),
            format!("unsupported value {version:?}: must be v1beta1 or v1beta2"),
        ),
    }
    let restart_policy = old
        .restart_policy
        .map(|policy| restart_policy(&policy, prefix, &mut notes));
    let containers = old.containers.unwrap_or_default().into_iter().enumerate();
    let containers = containers
        .map(|(index, old)| container(old, &format!("{prefix}containers[{index}]"), &mut notes))
        .collect();
    let spec = v1::PodSpec {
        containers,
        volumes: old
            .volumes
            .map(|volumes| volumes.into_iter().map(volume).collect()),
        restart_policy,
        ..v1::PodSpec::default()
    };
    let metadata = ObjectMeta {
        name: some_text(old.id),
        uid: some_text(old.uuid),
        ..ObjectMeta::default()
    };
    let pod = v1::Pod {
        metadata,
        spec: Some(spec),
        status: None,
    };
    Converted {
        pod,
        errors: notes.errors,
        warnings: notes.warnings,
    }
}

/// Whether this names one of the versions of 2014; the case never mattered.
pub(crate) fn is_version(version: &str) -> bool {
    version.eq_ignore_ascii_case("v1beta1") || version.eq_ignore_ascii_case("v1beta2")
}

fn restart_policy(old: &RestartPolicy, prefix: &str, notes: &mut Notes) -> String {
    match (&old.always, &old.on_failure, &old.never) {
        (_, None, None) => "Always",
        (None, Some(_), None) => "OnFailure",
        (None, None, Some(_)) => "Never",
        _ => {
            notes.error(
                format!("{prefix}restartPolicy"),
                "more than one policy; choose one of always, onFailure and never",
            );
            "Always"
        }
    }
    .to_owned()
}

fn volume(old: Volume) -> v1::Volume {
    let source = old.source.unwrap_or_default();
    let VolumeSource {
        host_dir,
        empty_dir,
        persistent_disk,
        git_repo,
    } = source;
    let nothing = host_dir.is_none() && persistent_disk.is_none() && git_repo.is_none();
    v1::Volume {
        name: old.name.unwrap_or_default(),
        empty_dir: (empty_dir.is_some() || nothing).then(v1::EmptyDirVolumeSource::default),
        host_path: host_dir.map(|dir| v1::HostPathVolumeSource {
            path: dir.path.unwrap_or_default(),
            type_: None,
        }),
        gce_persistent_disk: persistent_disk.map(|disk| v1::GCEPersistentDiskVolumeSource {
            pd_name: disk.pd_name.unwrap_or_default(),
            fs_type: disk.fs_type,
            partition: disk.partition,
            read_only: disk.read_only,
        }),
        git_repo: git_repo.map(|repo| v1::GitRepoVolumeSource {
            repository: repo.repository.unwrap_or_default(),
            revision: some_text(repo.revision),
            directory: None,
        }),
        ..v1::Volume::default()
    }
}

fn container(old: Container, path: &str, notes: &mut Notes) -> v1::Container {
    let image = some_text(old.image);
    let pull = pull_policy(
        old.image_pull_policy.as_deref(),
        image.as_deref(),
        path,
        notes,
    );
    let resources = resources(old.cpu, old.memory, path, notes);
    let mounts = old.volume_mounts.map(|mounts| {
        let mounts = mounts.into_iter().enumerate();
        mounts
            .map(|(index, old)| mount(old, &format!("{path}.volumeMounts[{index}]"), notes))
            .collect()
    });
    v1::Container {
        name: old.name.unwrap_or_default(),
        image,
        args: old.command,
        working_dir: some_text(old.working_dir),
        ports: old.ports.map(|ports| ports.into_iter().map(port).collect()),
        env: old.env.map(|env| env.into_iter().map(env_var).collect()),
        resources,
        volume_mounts: mounts,
        liveness_probe: old
            .liveness_probe
            .and_then(|old| probe(old, &format!("{path}.livenessProbe"), notes)),
        lifecycle: old.lifecycle.map(lifecycle),
        termination_message_path: some_text(old.termination_message_path),
        security_context: old.privileged.map(|privileged| v1::SecurityContext {
            privileged: Some(privileged),
            ..v1::SecurityContext::default()
        }),
        image_pull_policy: Some(pull),
        ..v1::Container::default()
    }
}

fn pull_policy(policy: Option<&str>, image: Option<&str>, path: &str, notes: &mut Notes) -> String {
    let latest = image.is_some_and(|image| image.ends_with(":latest"));
    match policy.map(str::to_ascii_lowercase).as_deref() {
        None | Some("") if latest => "Always",
        None | Some("" | "pullifnotpresent") => "IfNotPresent",
        Some("pullalways") => "Always",
        Some("pullnever") => "Never",
        Some(_) => {
            let value = policy.unwrap_or_default();
            notes.error(
                format!("{path}.imagePullPolicy"),
                format!(
                    "unsupported value {value:?}: must be PullAlways, PullIfNotPresent or PullNever"
                ),
            );
            "IfNotPresent"
        }
    }
    .to_owned()
}

fn resources(
    cpu: Option<i64>,
    memory: Option<i64>,
    path: &str,
    notes: &mut Notes,
) -> Option<v1::ResourceRequirements> {
    let mut amount = |name: &str, value: Option<i64>| match value {
        Some(value) if value < 0 => {
            notes.error(
                format!("{path}.{name}"),
                format!("invalid value {value}: must not be negative"),
            );
            None
        }
        value => value.filter(|value| *value != 0),
    };
    let named = |name: &str, quantity: Quantity| {
        BTreeMap::from([(name.to_owned(), resource::Quantity::from(quantity))])
    };
    let requests = amount("cpu", cpu).map(|cpu| named("cpu", Quantity::from_milli(cpu)));
    let limits = amount("memory", memory).map(|bytes| named("memory", Quantity::from_units(bytes)));
    (requests.is_some() || limits.is_some()).then(|| v1::ResourceRequirements {
        limits,
        requests,
        ..v1::ResourceRequirements::default()
    })
}

fn port(old: Port) -> v1::ContainerPort {
    v1::ContainerPort {
        name: some_text(old.name),
        container_port: old.container_port.unwrap_or_default(),
        host_port: old.host_port.filter(|port| *port != 0),
        protocol: some_text(old.protocol).map(|protocol| protocol.to_ascii_uppercase()),
        host_ip: some_text(old.host_ip),
    }
}

fn env_var(old: EnvVar) -> v1::EnvVar {
    v1::EnvVar {
        name: some_text(old.name).or(old.key).unwrap_or_default(),
        value: old.value,
        value_from: None,
    }
}

fn mount(old: VolumeMount, path: &str, notes: &mut Notes) -> v1::VolumeMount {
    if old.mount_type.is_some() {
        notes.unused(format!("{path}.mountType"));
    }
    v1::VolumeMount {
        name: old.name.unwrap_or_default(),
        mount_path: some_text(old.mount_path).or(old.path).unwrap_or_default(),
        read_only: old.read_only,
        ..v1::VolumeMount::default()
    }
}

fn probe(old: LivenessProbe, path: &str, notes: &mut Notes) -> Option<v1::Probe> {
    if old.enabled.is_some() {
        notes.unused(format!("{path}.enabled"));
    }
    if old.type_.is_some() {
        notes.unused(format!("{path}.type"));
    }
    let nothing = old.exec.is_none() && old.http_get.is_none() && old.tcp_socket.is_none();
    // A probe with nothing to run was legal, and never ran.
    if nothing {
        notes.warnings.push(FieldError::new(
            path,
            "ignored; it has none of exec, httpGet and tcpSocket",
        ));
        return None;
    }
    Some(v1::Probe {
        exec: old.exec.map(exec),
        http_get: old.http_get.map(http_get),
        tcp_socket: old.tcp_socket.map(|socket| v1::TCPSocketAction {
            port: socket.port.unwrap_or(IntOrString::Int(0)),
            host: None,
        }),
        initial_delay_seconds: old.initial_delay_seconds,
        ..v1::Probe::default()
    })
}

fn lifecycle(old: Lifecycle) -> v1::Lifecycle {
    v1::Lifecycle {
        post_start: old.post_start.map(handler),
        pre_stop: old.pre_stop.map(handler),
        stop_signal: None,
    }
}

/// With two kinds in one handler 2014 ran the command.
fn handler(old: Handler) -> v1::LifecycleHandler {
    let http_get = old.http_get.filter(|_| old.exec.is_none()).map(http_get);
    v1::LifecycleHandler {
        exec: old.exec.map(exec),
        http_get,
        ..v1::LifecycleHandler::default()
    }
}

fn exec(old: Exec) -> v1::ExecAction {
    v1::ExecAction {
        command: old.command,
    }
}

fn http_get(old: HttpGet) -> v1::HTTPGetAction {
    v1::HTTPGetAction {
        path: some_text(old.path),
        port: old.port.unwrap_or(IntOrString::Int(0)),
        host: some_text(old.host),
        ..v1::HTTPGetAction::default()
    }
}

/// 2014 wrote what was not set as an empty string.
fn some_text(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests;
