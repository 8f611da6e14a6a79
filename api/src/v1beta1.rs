//! The objects of 2014, `v1beta1` and `v1beta2`: the pod, and the container manifest in it, which kubelets also read on
//! its own.
//!
//! The types here are for manifests, which are read strictly; what these versions carried as status is recognised and left
//! aside. `v1beta2` is the same without the aliases `key` and `path`; both are read by the same types.
//!
//! The API reads leniently, shows objects as well, and must give back what it was given: [`table`] is its schema, [`hub`]
//! the way to `v1` and back, [`residue`] what `v1` has no room for, [`merge`] what an update may touch, [`names`] the names
//! that `v1` does not allow.

mod convert;
pub mod hub;
pub mod merge;
pub mod names;
pub mod residue;
pub mod state;
pub mod status;
pub mod table;

pub(crate) use convert::{Converted, field_path, is_version, manifest, pod};

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde::Deserialize;
use serde::de::IgnoredAny;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct Pod {
    #[serde(rename = "kind")]
    _kind: Option<IgnoredAny>,
    #[serde(rename = "apiVersion")]
    _api_version: Option<IgnoredAny>,
    #[serde(rename = "creationTimestamp")]
    _creation_timestamp: Option<IgnoredAny>,
    #[serde(rename = "selfLink")]
    _self_link: Option<IgnoredAny>,
    #[serde(rename = "resourceVersion")]
    _resource_version: Option<IgnoredAny>,
    #[serde(rename = "currentState")]
    _current_state: Option<IgnoredAny>,
    id: Option<String>,
    uid: Option<String>,
    namespace: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    annotations: Option<BTreeMap<String, String>>,
    node_selector: Option<BTreeMap<String, String>>,
    desired_state: Option<PodState>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PodState {
    manifest: Option<ContainerManifest>,
    #[serde(rename = "status")]
    _status: Option<IgnoredAny>,
    #[serde(rename = "message")]
    _message: Option<IgnoredAny>,
    #[serde(rename = "host")]
    _host: Option<IgnoredAny>,
    #[serde(rename = "hostIP")]
    _host_ip: Option<IgnoredAny>,
    #[serde(rename = "podIP")]
    _pod_ip: Option<IgnoredAny>,
    #[serde(rename = "info")]
    _info: Option<IgnoredAny>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ContainerManifest {
    version: Option<String>,
    id: Option<String>,
    uuid: Option<String>,
    volumes: Option<Vec<Volume>>,
    containers: Option<Vec<Container>>,
    restart_policy: Option<RestartPolicy>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RestartPolicy {
    always: Option<Empty>,
    on_failure: Option<Empty>,
    never: Option<Empty>,
}

#[derive(Debug, Default, Deserialize)]
struct Empty {}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Volume {
    name: Option<String>,
    source: Option<VolumeSource>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct VolumeSource {
    host_dir: Option<HostDir>,
    empty_dir: Option<Empty>,
    persistent_disk: Option<PersistentDisk>,
    git_repo: Option<GitRepo>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct HostDir {
    path: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PersistentDisk {
    pd_name: Option<String>,
    fs_type: Option<String>,
    partition: Option<i32>,
    read_only: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct GitRepo {
    repository: Option<String>,
    revision: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Container {
    name: Option<String>,
    image: Option<String>,
    command: Option<Vec<String>>,
    working_dir: Option<String>,
    ports: Option<Vec<Port>>,
    env: Option<Vec<EnvVar>>,
    memory: Option<i64>,
    cpu: Option<i64>,
    volume_mounts: Option<Vec<VolumeMount>>,
    liveness_probe: Option<LivenessProbe>,
    lifecycle: Option<Lifecycle>,
    /// Never used, and part of every manifest that a 2014 server printed.
    #[serde(rename = "resources")]
    _resources: Option<Empty>,
    termination_message_path: Option<String>,
    privileged: Option<bool>,
    image_pull_policy: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Port {
    name: Option<String>,
    host_port: Option<i32>,
    container_port: Option<i32>,
    protocol: Option<String>,
    #[serde(rename = "hostIP")]
    host_ip: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct EnvVar {
    name: Option<String>,
    key: Option<String>,
    value: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct VolumeMount {
    name: Option<String>,
    read_only: Option<bool>,
    mount_path: Option<String>,
    path: Option<String>,
    mount_type: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct LivenessProbe {
    http_get: Option<HttpGet>,
    tcp_socket: Option<TcpSocket>,
    exec: Option<Exec>,
    initial_delay_seconds: Option<i32>,
    enabled: Option<bool>,
    #[serde(rename = "type")]
    type_: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct HttpGet {
    path: Option<String>,
    port: Option<IntOrString>,
    host: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct TcpSocket {
    port: Option<IntOrString>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Exec {
    command: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Lifecycle {
    post_start: Option<Handler>,
    pre_stop: Option<Handler>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Handler {
    exec: Option<Exec>,
    http_get: Option<HttpGet>,
}
