//! The flags of `rkubelet serve`: one for most settings of the file, with 2014's names beside today's.
//!
//! A flag wins over the file. Go's ways of writing them are understood (`-config=x`, `--file_check_frequency 5s`,
//! empty arguments, `--v=2`), and flags that set what no longer exists are named and passed over, so that the
//! `/etc/kubernetes/kubelet` of a minion of 2014 goes on working.
use super::{GoDuration, KubeletConfig};
use clap::{ArgAction, Args};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;

/// Settings by flag; each wins over the file.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Settings (each wins over the file)")]
pub struct Flags {
    /// A file of manifests or a directory of such files
    #[arg(long, value_name = "PATH", visible_alias = "pod-manifest-path")]
    pub config: Option<PathBuf>,
    /// How often it is read, besides at every change
    #[arg(long, value_name = "TIME")]
    pub file_check_frequency: Option<GoDuration>,
    /// Where to fetch manifests from
    #[arg(long, value_name = "URL")]
    pub manifest_url: Option<String>,
    /// A header of that request; may be given more than once
    #[arg(long, value_name = "NAME:VALUE", value_parser = header)]
    pub manifest_url_header: Vec<(String, String)>,
    /// How often they are fetched
    #[arg(long, value_name = "TIME")]
    pub http_check_frequency: Option<GoDuration>,
    /// etcd servers to take pods from
    #[arg(long, value_name = "URL,..", value_delimiter = ',')]
    pub etcd_servers: Vec<String>,
    /// The authority of etcd's certificates
    #[arg(long, value_name = "FILE")]
    pub etcd_cafile: Option<PathBuf>,
    /// The certificate to show to etcd
    #[arg(long, value_name = "FILE")]
    pub etcd_certfile: Option<PathBuf>,
    /// Its key
    #[arg(long, value_name = "FILE")]
    pub etcd_keyfile: Option<PathBuf>,
    /// API servers to take pods from and to report to [default: the one of --kubeconfig]
    #[arg(long, value_name = "URL,..", value_delimiter = ',')]
    pub api_servers: Vec<String>,
    /// A kubeconfig with the name and the key for them
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The longest time between two looks at everything
    #[arg(long, value_name = "TIME")]
    pub sync_frequency: Option<GoDuration>,
    /// Whether there is an HTTP API
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub enable_server: Option<bool>,
    /// The address that it listens on
    #[arg(long, value_name = "IP")]
    pub address: Option<IpAddr>,
    /// Its port
    #[arg(long, value_name = "PORT")]
    pub port: Option<u16>,
    /// The port without TLS and names; 0 is none
    #[arg(long, value_name = "PORT")]
    pub read_only_port: Option<u16>,
    /// The server's certificate; a self-made one where none is given
    #[arg(long, value_name = "FILE")]
    pub tls_cert_file: Option<PathBuf>,
    /// Its key
    #[arg(long, value_name = "FILE")]
    pub tls_private_key_file: Option<PathBuf>,
    /// Who shows a certificate of this authority may ask
    #[arg(long, value_name = "FILE")]
    pub client_ca_file: Option<PathBuf>,
    /// Lines of `token,name`: who may ask with a token
    #[arg(long, value_name = "FILE", visible_alias = "token-auth-file")]
    pub token_file: Option<PathBuf>,
    /// Whether exec, attach, port forwarding and logs are there
    #[arg(long, value_name = "BOOL", action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub enable_debugging_handlers: Option<bool>,
    /// The name of this node; the host's by default
    #[arg(long, value_name = "NAME")]
    pub hostname_override: Option<String>,
    /// Pods that may run here at once
    #[arg(long, value_name = "COUNT")]
    pub max_pods: Option<u32>,
    /// What is kept for the system
    #[arg(long, value_name = "NAME=QUANTITY,..", value_delimiter = ',', value_parser = assignment)]
    pub system_reserved: Vec<(String, String)>,
    /// What is kept for rkube itself
    #[arg(long, value_name = "NAME=QUANTITY,..", value_delimiter = ',', value_parser = assignment)]
    pub kube_reserved: Vec<(String, String)>,
    /// Thresholds that end pods at once
    #[arg(long, value_name = "SIGNAL<QUANTITY,..", value_delimiter = ',', value_parser = threshold)]
    pub eviction_hard: Vec<(String, String)>,
    /// The size at which a container's log is rotated
    #[arg(long, value_name = "QUANTITY")]
    pub container_log_max_size: Option<String>,
    /// How many files of it are kept
    #[arg(long, value_name = "COUNT")]
    pub container_log_max_files: Option<u32>,
    /// The domain of a cluster's names
    #[arg(long, value_name = "NAME")]
    pub cluster_domain: Option<String>,
    /// The cluster's name servers
    #[arg(long, value_name = "IP,..", value_delimiter = ',')]
    pub cluster_dns: Vec<IpAddr>,
    /// Pods that are over are kept this long at least
    #[arg(long, value_name = "TIME")]
    pub minimum_container_ttl_duration: Option<GoDuration>,
    /// Ended tries of a container whose logs are kept
    #[arg(long, value_name = "COUNT")]
    pub maximum_dead_containers_per_container: Option<u32>,
}

/// Which setting came from which flag, for messages.
pub(super) type Overrides = BTreeMap<&'static str, &'static str>;

impl Flags {
    /// Puts every flag that was given in the place of what the file says.
    pub(super) fn apply(&self, config: &mut KubeletConfig) -> Overrides {
        let mut given = Given::default();
        let rkube = &mut config.rkube;
        given.some(
            "staticPodPath",
            "--config",
            &self.config,
            &mut config.static_pod_path,
        );
        given.set(
            "fileCheckFrequency",
            "--file-check-frequency",
            &self.file_check_frequency,
            &mut config.file_check_frequency,
        );
        given.some(
            "staticPodURL",
            "--manifest-url",
            &self.manifest_url,
            &mut config.static_pod_url,
        );
        given.set(
            "httpCheckFrequency",
            "--http-check-frequency",
            &self.http_check_frequency,
            &mut config.http_check_frequency,
        );
        given.list(
            "rkube.etcdServers",
            "--etcd-servers",
            &self.etcd_servers,
            &mut rkube.etcd_servers,
        );
        given.some(
            "rkube.etcdCAFile",
            "--etcd-cafile",
            &self.etcd_cafile,
            &mut rkube.etcd_ca_file,
        );
        given.some(
            "rkube.etcdCertFile",
            "--etcd-certfile",
            &self.etcd_certfile,
            &mut rkube.etcd_cert_file,
        );
        given.some(
            "rkube.etcdKeyFile",
            "--etcd-keyfile",
            &self.etcd_keyfile,
            &mut rkube.etcd_key_file,
        );
        self.apply_extras(config, &mut given);
        self.apply_node(config, &mut given);
        self.apply_maps(config, &mut given);
        given.0
    }

    /// The settings that no KubeletConfiguration has, etcd's aside.
    fn apply_extras(&self, config: &mut KubeletConfig, given: &mut Given) {
        let rkube = &mut config.rkube;
        given.list(
            "rkube.apiServers",
            "--api-servers",
            &self.api_servers,
            &mut rkube.api_servers,
        );
        given.some(
            "rkube.kubeconfig",
            "--kubeconfig",
            &self.kubeconfig,
            &mut rkube.kubeconfig,
        );
        given.some(
            "rkube.tokenFile",
            "--token-file",
            &self.token_file,
            &mut rkube.token_file,
        );
        given.some(
            "rkube.nodeName",
            "--hostname-override",
            &self.hostname_override,
            &mut rkube.node_name,
        );
        given.set(
            "rkube.minimumContainerTTLDuration",
            "--minimum-container-ttl-duration",
            &self.minimum_container_ttl_duration,
            &mut rkube.minimum_container_ttl_duration,
        );
        given.set(
            "rkube.maximumDeadContainersPerContainer",
            "--maximum-dead-containers-per-container",
            &self.maximum_dead_containers_per_container,
            &mut rkube.maximum_dead_containers_per_container,
        );
    }

    /// The settings of the server and of the node.
    fn apply_node(&self, config: &mut KubeletConfig, given: &mut Given) {
        given.set(
            "syncFrequency",
            "--sync-frequency",
            &self.sync_frequency,
            &mut config.sync_frequency,
        );
        given.set(
            "enableServer",
            "--enable-server",
            &self.enable_server,
            &mut config.enable_server,
        );
        given.set("address", "--address", &self.address, &mut config.address);
        given.set("port", "--port", &self.port, &mut config.port);
        given.set(
            "readOnlyPort",
            "--read-only-port",
            &self.read_only_port,
            &mut config.read_only_port,
        );
        given.some(
            "tlsCertFile",
            "--tls-cert-file",
            &self.tls_cert_file,
            &mut config.tls_cert_file,
        );
        given.some(
            "tlsPrivateKeyFile",
            "--tls-private-key-file",
            &self.tls_private_key_file,
            &mut config.tls_private_key_file,
        );
        given.some(
            "authentication.x509.clientCAFile",
            "--client-ca-file",
            &self.client_ca_file,
            &mut config.authentication.x509.client_ca_file,
        );
        given.set(
            "enableDebuggingHandlers",
            "--enable-debugging-handlers",
            &self.enable_debugging_handlers,
            &mut config.enable_debugging_handlers,
        );
        given.set(
            "maxPods",
            "--max-pods",
            &self.max_pods,
            &mut config.max_pods,
        );
        given.set(
            "containerLogMaxSize",
            "--container-log-max-size",
            &self.container_log_max_size,
            &mut config.container_log_max_size,
        );
        given.set(
            "containerLogMaxFiles",
            "--container-log-max-files",
            &self.container_log_max_files,
            &mut config.container_log_max_files,
        );
        given.set(
            "clusterDomain",
            "--cluster-domain",
            &self.cluster_domain,
            &mut config.cluster_domain,
        );
        given.list(
            "clusterDNS",
            "--cluster-dns",
            &self.cluster_dns,
            &mut config.cluster_dns,
        );
    }

    /// The settings that are maps: what the flag says is all there is then.
    fn apply_maps(&self, config: &mut KubeletConfig, given: &mut Given) {
        if !self.manifest_url_header.is_empty() {
            let mut headers: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for (name, value) in &self.manifest_url_header {
                headers.entry(name.clone()).or_default().push(value.clone());
            }
            config.static_pod_url_header = headers;
            given
                .0
                .insert("staticPodURLHeader", "--manifest-url-header");
        }
        for (path, flag, pairs, target) in [
            (
                "systemReserved",
                "--system-reserved",
                &self.system_reserved,
                &mut config.system_reserved,
            ),
            (
                "kubeReserved",
                "--kube-reserved",
                &self.kube_reserved,
                &mut config.kube_reserved,
            ),
            (
                "evictionHard",
                "--eviction-hard",
                &self.eviction_hard,
                &mut config.eviction_hard,
            ),
        ] {
            if !pairs.is_empty() {
                *target = pairs.iter().cloned().collect();
                given.0.insert(path, flag);
            }
        }
    }
}

/// The flags that were given, by the setting that they set.
#[derive(Default)]
struct Given(Overrides);

impl Given {
    fn set<T: Clone>(
        &mut self,
        path: &'static str,
        flag: &'static str,
        value: &Option<T>,
        target: &mut T,
    ) {
        if let Some(value) = value {
            *target = value.clone();
            self.0.insert(path, flag);
        }
    }
    fn some<T: Clone>(
        &mut self,
        path: &'static str,
        flag: &'static str,
        value: &Option<T>,
        target: &mut Option<T>,
    ) {
        if value.is_some() {
            target.clone_from(value);
            self.0.insert(path, flag);
        }
    }
    fn list<T: Clone>(
        &mut self,
        path: &'static str,
        flag: &'static str,
        value: &[T],
        target: &mut Vec<T>,
    ) {
        if !value.is_empty() {
            *target = value.to_vec();
            self.0.insert(path, flag);
        }
    }
}

fn pair(text: &str, between: char, example: &str) -> Result<(String, String), String> {
    match text.split_once(between) {
        Some((name, value)) if !name.trim().is_empty() && !value.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err(format!("write it like {example}")),
    }
}
fn header(text: &str) -> Result<(String, String), String> {
    pair(text, ':', "Metadata-Flavor:Google")
}
fn assignment(text: &str) -> Result<(String, String), String> {
    pair(text, '=', "memory=500Mi")
}
fn threshold(text: &str) -> Result<(String, String), String> {
    pair(text, '<', "memory.available<100Mi")
}

/// Flags of 2014 that set what is no more: the name, whether a value may follow as an argument of its own, and why.
const GONE: &[(&str, bool, &str)] = &[
    ("docker-endpoint", true, "there is no Docker here"),
    ("docker", true, "there is no Docker here"),
    (
        "network-container-image",
        true,
        "the pause process is built in",
    ),
    (
        "registry-qps",
        true,
        "see maxParallelImagePulls in the file",
    ),
    (
        "registry-burst",
        true,
        "see maxParallelImagePulls in the file",
    ),
    (
        "allow-privileged",
        false,
        "a pod is privileged if its manifest says so",
    ),
    ("etcd-config", true, "see --etcd-servers and --etcd-cafile"),
    ("auth-path", true, "see --kubeconfig"),
    ("logtostderr", false, "the log goes to standard error"),
    ("alsologtostderr", false, "the log goes to standard error"),
    ("log-dir", true, "the log goes to standard error"),
    ("stderrthreshold", true, "the log goes to standard error"),
    ("vmodule", true, "set RKUBELET_LOG instead"),
    ("log-backtrace-at", true, "set RKUBELET_LOG instead"),
    ("log-flush-frequency", true, "the log is not held back"),
];

/// The arguments of a process as this program has them, when they are those of `serve`; and what was passed over.
///
/// Other verbs' arguments are left as they are.
#[must_use]
pub fn go_style(arguments: impl IntoIterator<Item = OsString>) -> (Vec<OsString>, Vec<String>) {
    let mut plain = Vec::new();
    let mut passed_over = Vec::new();
    let mut arguments = arguments.into_iter().peekable();
    plain.extend(arguments.next());
    while let Some(argument) = arguments.next() {
        let text = argument.to_string_lossy().into_owned();
        let global = text.starts_with("--") && !text.contains('=') && text != "--verbose";
        plain.push(argument);
        if global {
            plain.extend(arguments.next());
        } else if !text.starts_with('-') {
            if text != "serve" {
                plain.extend(arguments);
                return (plain, passed_over);
            }
            break;
        }
    }
    while let Some(argument) = arguments.next() {
        if argument.is_empty() {
            continue;
        }
        let Some((name, value)) = argument.to_str().and_then(go_flag) else {
            plain.push(argument);
            continue;
        };
        if let Some((_, takes_value, why)) = GONE.iter().find(|(gone, ..)| *gone == name) {
            passed_over.push(format!("--{name} has no effect: {why}"));
            let is_flag = |next: &OsString| next.as_encoded_bytes().starts_with(b"-");
            if *takes_value
                && value.is_none()
                && arguments.peek().is_some_and(|next| !is_flag(next))
            {
                arguments.next();
            }
            continue;
        }
        match (name.as_str(), value) {
            ("v", Some(level)) => {
                let times = level.parse::<usize>().unwrap_or(0).min(2);
                plain.extend(std::iter::repeat_n(OsString::from("-v"), times));
            }
            ("root-dir", Some(value)) => plain.push(format!("--root={value}").into()),
            ("root-dir", None) => plain.push("--root".into()),
            (name, Some(value)) => plain.push(format!("--{name}={value}").into()),
            (name, None) => plain.push(format!("--{name}").into()),
        }
    }
    (plain, passed_over)
}

/// The name, with dashes, and the value of a flag that is written as Go allows; `None` for anything else, which
/// includes this program's own short flags.
fn go_flag(argument: &str) -> Option<(String, Option<&str>)> {
    let rest = argument.strip_prefix('-')?;
    let long = rest.strip_prefix('-');
    let (name, value) = match long.unwrap_or(rest).split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (long.unwrap_or(rest), None),
    };
    let word = name.starts_with(|first: char| first.is_ascii_alphabetic());
    let short = long.is_none()
        && (name.len() == 1 || name.chars().all(|letter| letter == 'v'))
        && value.is_none();
    (word && !short).then(|| (name.replace('_', "-"), value))
}

#[cfg(test)]
mod tests;
