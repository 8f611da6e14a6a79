//! What an administrator sets: `/etc/rkube/kubelet.yaml` and the flags of `rkubelet serve`.
//!
//! Field names are those of `kubelet.config.k8s.io/v1beta1` KubeletConfiguration where one exists; ours stand in a
//! section of their own, `rkube`. Every default is the secure one.
pub mod check;

pub mod flags;
mod known;
pub mod load;
mod validate;

pub use flags::Flags;
pub use load::{ConfigError, Loaded, Remark, load};
pub use rkube_api::duration::{self, GoDuration};

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

/// Where the file lies unless `--config-file` says otherwise.
pub const DEFAULT_PATH: &str = "/etc/rkube/kubelet.yaml";

/// `apiVersion` of the file.
const API_VERSION: &str = "kubelet.config.k8s.io/v1beta1";
/// `kind` of the file.
const KIND: &str = "KubeletConfiguration";

/// KubeletConfiguration: the fields that this kubelet honours.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KubeletConfig {
    /// Of which group and version the fields are.
    pub api_version: String,
    /// What the whole is.
    pub kind: String,
    /// A file or a directory of manifests; none by default.
    pub static_pod_path: Option<PathBuf>,
    /// How often that is read, besides every change that inotify tells of.
    pub file_check_frequency: GoDuration,
    /// Where manifests are fetched from.
    #[serde(rename = "staticPodURL")]
    pub static_pod_url: Option<String>,
    /// Headers of that request.
    #[serde(rename = "staticPodURLHeader")]
    pub static_pod_url_header: BTreeMap<String, Vec<String>>,
    /// How often.
    #[serde(rename = "httpCheckFrequency")]
    pub http_check_frequency: GoDuration,
    /// The longest time between two looks at everything.
    pub sync_frequency: GoDuration,

    /// Whether there is an HTTP API at all.
    pub enable_server: bool,
    /// The address that it listens on.
    pub address: IpAddr,
    /// Its port.
    pub port: u16,
    /// The port without TLS and names; 0 is none.
    pub read_only_port: u16,
    /// The server's certificate; a self-made one where none is given.
    #[serde(rename = "tlsCertFile")]
    pub tls_cert_file: Option<PathBuf>,
    /// Its key.
    #[serde(rename = "tlsPrivateKeyFile")]
    pub tls_private_key_file: Option<PathBuf>,
    /// Who may ask.
    pub authentication: Authentication,
    /// Whether `/run`, `/exec`, `/attach`, `/portForward`, `/containerLogs`, `/logs` and the like are there.
    pub enable_debugging_handlers: bool,
    /// A stream on which nothing comes for so long is closed.
    pub streaming_connection_idle_timeout: GoDuration,

    /// Pods that may run here at once.
    pub max_pods: u32,
    /// Processes of one pod; -1 for no limit of its own.
    pub pod_pids_limit: i64,
    /// What is kept for the system: `cpu`, `memory`, `ephemeral-storage`, `pid`.
    pub system_reserved: BTreeMap<String, String>,
    /// What is kept for rkube itself.
    pub kube_reserved: BTreeMap<String, String>,
    /// Which cgroups get the limits that follow from it: `pods` or `none`.
    pub enforce_node_allocatable: Vec<String>,

    /// Disk usage in percent over which unused images go.
    #[serde(rename = "imageGCHighThresholdPercent")]
    pub image_gc_high_threshold_percent: u8,
    /// The usage in percent down to which they go.
    #[serde(rename = "imageGCLowThresholdPercent")]
    pub image_gc_low_threshold_percent: u8,
    /// An image younger than this is left alone.
    #[serde(rename = "imageMinimumGCAge")]
    pub image_minimum_gc_age: GoDuration,
    /// An image that nobody has used for so long goes whatever the disk says; 0 is never.
    #[serde(rename = "imageMaximumGCAge")]
    pub image_maximum_gc_age: GoDuration,
    /// Thresholds that end pods at once: `memory.available`, `nodefs.available` ... to a quantity or a percentage.
    pub eviction_hard: BTreeMap<String, String>,
    /// Thresholds that end pods after a grace period.
    pub eviction_soft: BTreeMap<String, String>,
    /// That grace period, by signal.
    pub eviction_soft_grace_period: BTreeMap<String, GoDuration>,
    /// The most seconds a pod gets that is ended by a soft threshold.
    pub eviction_max_pod_grace_period: u32,
    /// How long a pressure condition stays on after the last sight of it.
    pub eviction_pressure_transition_period: GoDuration,

    /// A container's log is rotated at this size.
    pub container_log_max_size: String,
    /// How many files of it are kept, the current one included.
    pub container_log_max_files: u32,
    /// How long restarts wait at most.
    pub crash_loop_back_off: CrashLoopBackOff,

    /// The domain of a cluster's names.
    pub cluster_domain: String,
    /// The cluster's name servers.
    #[serde(rename = "clusterDNS")]
    pub cluster_dns: Vec<IpAddr>,
    /// Pulls at once; 0 is no limit.
    pub max_parallel_image_pulls: u32,
    /// Time that pods have to end when the host shuts down; 0 leaves shutdown alone.
    pub shutdown_grace_period: GoDuration,
    /// The part of it that critical pods have.
    pub shutdown_grace_period_critical_pods: GoDuration,
    /// What no KubeletConfiguration has.
    pub rkube: Extras,
}

/// `authentication`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Authentication {
    /// Client certificates.
    pub x509: X509,
}

/// `authentication.x509`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct X509 {
    /// Certificates signed by one of these may ask.
    #[serde(rename = "clientCAFile")]
    pub client_ca_file: Option<PathBuf>,
}

/// `crashLoopBackOff`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CrashLoopBackOff {
    /// The longest wait.
    pub max_container_restart_period: GoDuration,
}

impl Default for CrashLoopBackOff {
    fn default() -> Self {
        CrashLoopBackOff {
            max_container_restart_period: GoDuration::from_secs(300),
        }
    }
}

/// What no KubeletConfiguration has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Extras {
    /// The name of this node; the host's by default.
    pub node_name: Option<String>,
    /// etcd servers to take pods from.
    pub etcd_servers: Vec<String>,
    /// The authority of etcd's certificates.
    #[serde(rename = "etcdCAFile")]
    pub etcd_ca_file: Option<PathBuf>,
    /// The certificate to show to etcd.
    pub etcd_cert_file: Option<PathBuf>,
    /// Its key.
    pub etcd_key_file: Option<PathBuf>,
    /// API servers to take pods from and to report to; the one that the kubeconfig names, where none is here.
    pub api_servers: Vec<String>,
    /// A kubeconfig with the name and the key for them.
    pub kubeconfig: Option<PathBuf>,
    /// The authority of the manifest server's certificate.
    #[serde(rename = "staticPodURLCAFile")]
    pub static_pod_url_ca_file: Option<PathBuf>,
    /// The certificate to show to it.
    #[serde(rename = "staticPodURLCertFile")]
    pub static_pod_url_cert_file: Option<PathBuf>,
    /// Its key.
    #[serde(rename = "staticPodURLKeyFile")]
    pub static_pod_url_key_file: Option<PathBuf>,
    /// Lines of `token,name`: who may ask with `Authorization: Bearer`.
    pub token_file: Option<PathBuf>,
    /// The first wait between two restarts.
    pub initial_container_restart_period: GoDuration,
    /// A container that ran for so long starts with a clean slate.
    pub container_restart_reset_period: GoDuration,
    /// Pods that are over are kept this long at least.
    #[serde(rename = "minimumContainerTTLDuration")]
    pub minimum_container_ttl_duration: GoDuration,
    /// Ended tries of one container whose logs and files are kept.
    pub maximum_dead_containers_per_container: u32,
    /// Pods that are over and that no source wants, kept for `ps` and `logs`.
    pub maximum_dead_pods: u32,
}

impl Extras {
    /// Whether pods come from API servers: where they are named, or where a kubeconfig names one.
    #[must_use]
    pub fn asks_api_servers(&self) -> bool {
        !self.api_servers.is_empty() || self.kubeconfig.is_some()
    }
}

impl Default for Extras {
    fn default() -> Self {
        Extras {
            node_name: None,
            etcd_servers: Vec::new(),
            etcd_ca_file: None,
            etcd_cert_file: None,
            etcd_key_file: None,
            api_servers: Vec::new(),
            kubeconfig: None,
            static_pod_url_ca_file: None,
            static_pod_url_cert_file: None,
            static_pod_url_key_file: None,
            token_file: None,
            initial_container_restart_period: GoDuration::from_secs(10),
            container_restart_reset_period: GoDuration::from_secs(600),
            minimum_container_ttl_duration: GoDuration::from_secs(60),
            maximum_dead_containers_per_container: 2,
            maximum_dead_pods: 50,
        }
    }
}

impl Default for KubeletConfig {
    fn default() -> Self {
        let thresholds = [
            ("memory.available", "100Mi"),
            ("nodefs.available", "10%"),
            ("nodefs.inodesFree", "5%"),
            ("imagefs.available", "15%"),
        ];
        KubeletConfig {
            api_version: API_VERSION.to_owned(),
            kind: KIND.to_owned(),
            static_pod_path: None,
            file_check_frequency: GoDuration::from_secs(20),
            static_pod_url: None,
            static_pod_url_header: BTreeMap::new(),
            http_check_frequency: GoDuration::from_secs(20),
            sync_frequency: GoDuration::from_secs(60),
            enable_server: true,
            address: IpAddr::from([127, 0, 0, 1]),
            port: 10250,
            read_only_port: 0,
            tls_cert_file: None,
            tls_private_key_file: None,
            authentication: Authentication::default(),
            enable_debugging_handlers: true,
            streaming_connection_idle_timeout: GoDuration::from_secs(4 * 3600),
            max_pods: 110,
            pod_pids_limit: -1,
            system_reserved: BTreeMap::new(),
            kube_reserved: BTreeMap::new(),
            enforce_node_allocatable: vec!["pods".to_owned()],
            image_gc_high_threshold_percent: 85,
            image_gc_low_threshold_percent: 80,
            image_minimum_gc_age: GoDuration::from_secs(120),
            image_maximum_gc_age: GoDuration::ZERO,
            eviction_hard: thresholds
                .map(|(signal, value)| (signal.to_owned(), value.to_owned()))
                .into(),
            eviction_soft: BTreeMap::new(),
            eviction_soft_grace_period: BTreeMap::new(),
            eviction_max_pod_grace_period: 0,
            eviction_pressure_transition_period: GoDuration::from_secs(300),
            container_log_max_size: "10Mi".to_owned(),
            container_log_max_files: 5,
            crash_loop_back_off: CrashLoopBackOff::default(),
            cluster_domain: "cluster.local".to_owned(),
            cluster_dns: Vec::new(),
            max_parallel_image_pulls: 4,
            shutdown_grace_period: GoDuration::ZERO,
            shutdown_grace_period_critical_pods: GoDuration::ZERO,
            rkube: Extras::default(),
        }
    }
}
