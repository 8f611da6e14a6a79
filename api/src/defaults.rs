//! The values that Kubernetes gives to fields that are not set.
//!
//! Everything is idempotent: an object with its defaults is unchanged by setting them again.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{
    ConfigMap, Container, EmptyDirVolumeSource, HTTPGetAction, LifecycleHandler,
    ObjectFieldSelector, Pod, PodSpec, Probe, ResourceRequirements, Secret, Volume,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// Where a container may leave its last words.
pub const TERMINATION_MESSAGE_PATH: &str = "/dev/termination-log";
/// The seconds between the stop signal and SIGKILL.
pub const GRACE_PERIOD_SECONDS: i64 = 30;
const FILE_MODE: i32 = 0o644;

/// Sets the defaults of a pod.
pub fn pod(pod: &mut Pod) {
    metadata(&mut pod.metadata);
    if let Some(spec) = &mut pod.spec {
        pod_spec(spec);
    }
}

/// Sets the defaults of a ConfigMap.
pub fn config_map(map: &mut ConfigMap) {
    metadata(&mut map.metadata);
}

/// Sets the defaults of a Secret, and moves `stringData` into `data`, where it wins over what is there.
pub fn secret(secret: &mut Secret) {
    metadata(&mut secret.metadata);
    if let Some(text) = secret.string_data.take() {
        let data = secret.data.get_or_insert_default();
        data.extend(
            text.into_iter()
                .map(|(key, text)| (key, ByteString(text.into_bytes()))),
        );
    }
    set_text(&mut secret.type_, "Opaque");
}

fn metadata(metadata: &mut ObjectMeta) {
    set_text(&mut metadata.namespace, "default");
}

/// Sets the defaults of a pod's spec.
pub fn pod_spec(spec: &mut PodSpec) {
    set_text(&mut spec.restart_policy, "Always");
    set_text(&mut spec.dns_policy, "ClusterFirst");
    set_text(&mut spec.scheduler_name, "default-scheduler");
    spec.termination_grace_period_seconds
        .get_or_insert(GRACE_PERIOD_SECONDS);
    spec.enable_service_links.get_or_insert(true);
    spec.security_context.get_or_insert_default();
    if let Some(resources) = &mut spec.resources {
        requests_from_limits(resources);
    }
    let host_network = spec.host_network == Some(true);
    let init_containers = spec.init_containers.iter_mut().flatten();
    for one in spec.containers.iter_mut().chain(init_containers) {
        container(one, host_network);
    }
    for one in spec.volumes.iter_mut().flatten() {
        volume(one);
    }
}

fn container(container: &mut Container, host_network: bool) {
    set_text(
        &mut container.termination_message_path,
        TERMINATION_MESSAGE_PATH,
    );
    set_text(&mut container.termination_message_policy, "File");
    let policy = pull_policy(container.image.as_deref().unwrap_or_default());
    set_text(&mut container.image_pull_policy, policy);
    for port in container.ports.iter_mut().flatten() {
        set_text(&mut port.protocol, "TCP");
        if port.host_port == Some(0) {
            port.host_port = None;
        }
        if host_network {
            port.host_port.get_or_insert(port.container_port);
        }
    }
    requests_from_limits(container.resources.get_or_insert_default());
    let probes = [
        &mut container.liveness_probe,
        &mut container.readiness_probe,
        &mut container.startup_probe,
    ];
    for one in probes.into_iter().flatten() {
        probe(one);
    }
    if let Some(lifecycle) = &mut container.lifecycle {
        for one in [&mut lifecycle.post_start, &mut lifecycle.pre_stop]
            .into_iter()
            .flatten()
        {
            handler(one);
        }
    }
    for variable in container.env.iter_mut().flatten() {
        let source = variable.value_from.as_mut();
        if let Some(field) = source.and_then(|source| source.field_ref.as_mut()) {
            field_ref(field);
        }
    }
}

/// `Always` for `latest`, written or implied; `IfNotPresent` for any other tag and for a digest.
fn pull_policy(image: &str) -> &'static str {
    let (name, digest) = match image.split_once('@') {
        Some((name, digest)) => (name, Some(digest)),
        None => (image, None),
    };
    let last = name.rsplit_once('/').map_or(name, |(_, last)| last);
    match last.split_once(':') {
        Some((_, "latest")) => "Always",
        None if digest.is_none() => "Always",
        _ => "IfNotPresent",
    }
}

fn requests_from_limits(resources: &mut ResourceRequirements) {
    let Some(limits) = &resources.limits else {
        return;
    };
    let requests = resources.requests.get_or_insert_with(BTreeMap::new);
    for (name, limit) in limits {
        requests
            .entry(name.clone())
            .or_insert_with(|| limit.clone());
    }
}

fn probe(probe: &mut Probe) {
    set_number(&mut probe.timeout_seconds, 1);
    set_number(&mut probe.period_seconds, 10);
    set_number(&mut probe.success_threshold, 1);
    set_number(&mut probe.failure_threshold, 3);
    if let Some(get) = &mut probe.http_get {
        http_get(get);
    }
    if let Some(grpc) = &mut probe.grpc {
        grpc.service.get_or_insert_default();
    }
}

fn handler(handler: &mut LifecycleHandler) {
    if let Some(get) = &mut handler.http_get {
        http_get(get);
    }
}

fn http_get(get: &mut HTTPGetAction) {
    set_text(&mut get.path, "/");
    set_text(&mut get.scheme, "HTTP");
}

fn field_ref(field: &mut ObjectFieldSelector) {
    set_text(&mut field.api_version, "v1");
}

fn volume(volume: &mut Volume) {
    // A volume that is only a name is an empty directory.
    if *volume
        == (Volume {
            name: volume.name.clone(),
            ..Volume::default()
        })
    {
        volume.empty_dir = Some(EmptyDirVolumeSource::default());
    }
    if let Some(source) = &mut volume.config_map {
        source.default_mode.get_or_insert(FILE_MODE);
    }
    if let Some(source) = &mut volume.secret {
        source.default_mode.get_or_insert(FILE_MODE);
    }
    if let Some(source) = &mut volume.image {
        let policy = pull_policy(source.reference.as_deref().unwrap_or_default());
        set_text(&mut source.pull_policy, policy);
    }
    if let Some(source) = &mut volume.host_path {
        source.type_.get_or_insert_default();
    }
    if let Some(source) = &mut volume.downward_api {
        source.default_mode.get_or_insert(FILE_MODE);
        for item in source.items.iter_mut().flatten() {
            item.field_ref.iter_mut().for_each(field_ref);
        }
    }
    if let Some(source) = &mut volume.projected {
        source.default_mode.get_or_insert(FILE_MODE);
        for one in source.sources.iter_mut().flatten() {
            if let Some(token) = &mut one.service_account_token {
                token.expiration_seconds.get_or_insert(3600);
            }
            let items = one
                .downward_api
                .iter_mut()
                .flat_map(|api| api.items.iter_mut().flatten());
            for item in items {
                item.field_ref.iter_mut().for_each(field_ref);
            }
        }
    }
}

/// An empty text is an unset one, as in Go.
fn set_text(field: &mut Option<String>, default: &str) {
    if field.as_ref().is_none_or(String::is_empty) {
        *field = Some(default.to_owned());
    }
}

/// Zero is unset, as in Go.
fn set_number(field: &mut Option<i32>, default: i32) {
    if matches!(field, None | Some(0)) {
        *field = Some(default);
    }
}

#[cfg(test)]
mod tests;
