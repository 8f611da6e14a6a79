//! `rkube-master serve`: what can be set.
use crate::auth::authorize::Mode;
use crate::resource::Settings;
use clap::Args;
use rkube_api::duration::GoDuration;
use std::net::IpAddr;
use std::path::PathBuf;

/// What can be set. Flags of 2014 (`--portal_net`, `--etcd_servers`, one dash, underscores) are understood as well.
#[derive(Clone, Debug, Args)]
pub struct Options {
    /// Where everything is kept: objects, keys, certificates, the administrator's kubeconfig
    #[arg(
        long,
        value_name = "DIR",
        default_value = "/var/lib/rkube-master",
        help_heading = "Files"
    )]
    pub data_dir: PathBuf,
    /// Only say whether the settings and the files they name can be used
    #[arg(long)]
    pub check: bool,
    /// The address to listen on with TLS
    #[arg(
        long,
        value_name = "IP",
        default_value = "0.0.0.0",
        help_heading = "Ports"
    )]
    pub bind_address: IpAddr,
    /// The port with TLS
    #[arg(
        long,
        value_name = "PORT",
        default_value_t = 6443,
        help_heading = "Ports"
    )]
    pub secure_port: u16,
    /// A port without TLS, names and rules, on this host only; off by default (2014: 8080)
    #[arg(
        long,
        value_name = "PORT",
        visible_alias = "port",
        help_heading = "Ports"
    )]
    pub insecure_port: Option<u16>,
    /// Where that port is; a loopback address
    #[arg(long, value_name = "IP", default_value = "127.0.0.1", visible_alias = "address", value_parser = loopback, help_heading = "Ports")]
    pub insecure_bind_address: IpAddr,
    /// The address by which others reach this server
    #[arg(
        long = "advertise-address",
        value_name = "IP",
        visible_alias = "public-address-override",
        help_heading = "Ports"
    )]
    pub public_address: Option<IpAddr>,
    /// etcd servers to keep the objects in; by default they are kept below the data directory
    #[arg(
        long,
        value_name = "URL,..",
        value_delimiter = ',',
        help_heading = "Files"
    )]
    pub etcd_servers: Vec<String>,
    /// The authority of etcd's certificates
    #[arg(long, value_name = "FILE", help_heading = "Files")]
    pub etcd_cafile: Option<PathBuf>,
    /// The certificate to show to etcd
    #[arg(long, value_name = "FILE", help_heading = "Files")]
    pub etcd_certfile: Option<PathBuf>,
    /// Its key
    #[arg(long, value_name = "FILE", help_heading = "Files")]
    pub etcd_keyfile: Option<PathBuf>,
    /// Where it is written who did what; by default `audit.log` in the data directory, `-` for nowhere
    #[arg(long, value_name = "FILE", help_heading = "Files")]
    pub audit_log_path: Option<PathBuf>,
    /// Megabytes of one such file
    #[arg(long, value_name = "MB", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=100_000), help_heading = "Files")]
    pub audit_log_maxsize: u64,
    /// How many of them are kept
    #[arg(long, value_name = "COUNT", default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=1000), help_heading = "Files")]
    pub audit_log_maxbackup: u32,
    /// Where the addresses of services come from
    #[arg(
        long,
        value_name = "NET",
        default_value = "10.0.0.0/24",
        visible_alias = "portal-net",
        help_heading = "Objects"
    )]
    pub service_cluster_ip_range: String,
    /// Where node ports come from
    #[arg(long, value_name = "FROM-TO", default_value = "30000-32767", value_parser = ports, help_heading = "Objects")]
    pub service_node_port_range: std::ops::RangeInclusive<u16>,
    /// How long events are kept
    #[arg(
        long,
        value_name = "TIME",
        default_value = "1h",
        help_heading = "Objects"
    )]
    pub event_ttl: GoDuration,
    /// More names in the server's certificate
    #[arg(
        long = "tls-san",
        value_name = "NAME,..",
        value_delimiter = ',',
        help_heading = "Certificates"
    )]
    pub names: Vec<String>,
    /// The server's certificate; one of the cluster's authority where none is given
    #[arg(
        long,
        value_name = "FILE",
        requires = "tls_private_key_file",
        help_heading = "Certificates"
    )]
    pub tls_cert_file: Option<PathBuf>,
    /// Its key
    #[arg(
        long,
        value_name = "FILE",
        requires = "tls_cert_file",
        help_heading = "Certificates"
    )]
    pub tls_private_key_file: Option<PathBuf>,
    /// Whose certificates clients may show; the cluster's authority's by default
    #[arg(long, value_name = "FILE", help_heading = "Certificates")]
    pub client_ca_file: Option<PathBuf>,
    /// Lines of `token,name,uid,"groups"`
    #[arg(long, value_name = "FILE", help_heading = "Who may what")]
    pub token_auth_file: Option<PathBuf>,
    /// Who decides: Node, ABAC, AlwaysAllow, AlwaysDeny (system:masters may always)
    #[arg(long, value_name = "MODE,..", value_delimiter = ',', default_value = "Node", value_parser = ["Node", "ABAC", "AlwaysAllow", "AlwaysDeny"], help_heading = "Who may what")]
    pub authorization_mode: Vec<String>,
    /// The rules of ABAC, a JSON object a line
    #[arg(long, value_name = "FILE", help_heading = "Who may what")]
    pub authorization_policy_file: Option<PathBuf>,
    /// Who is said to make service accounts' tokens
    #[arg(
        long,
        value_name = "URL",
        default_value = "https://kubernetes.default.svc",
        help_heading = "Who may what"
    )]
    pub service_account_issuer: String,
    /// Whom tokens for this server are for; the issuer by default
    #[arg(
        long,
        value_name = "NAME,..",
        value_delimiter = ',',
        help_heading = "Who may what"
    )]
    pub api_audiences: Vec<String>,
    /// Whose certificates kubelets may show; the cluster's authority's by default
    #[arg(long, value_name = "FILE", help_heading = "Kubelets")]
    pub kubelet_certificate_authority: Option<PathBuf>,
    /// What is shown to kubelets; a certificate of the cluster's authority by default
    #[arg(
        long,
        value_name = "FILE",
        requires = "kubelet_client_key",
        help_heading = "Kubelets"
    )]
    pub kubelet_client_certificate: Option<PathBuf>,
    /// Its key
    #[arg(
        long,
        value_name = "FILE",
        requires = "kubelet_client_certificate",
        help_heading = "Kubelets"
    )]
    pub kubelet_client_key: Option<PathBuf>,
    /// Believe every kubelet (anybody on the way can then read what is sent)
    #[arg(long, help_heading = "Kubelets")]
    pub kubelet_insecure_tls: bool,
    /// The port of kubelets that do not say theirs
    #[arg(
        long,
        value_name = "PORT",
        default_value_t = 10250,
        help_heading = "Kubelets"
    )]
    pub kubelet_port: u16,
    /// Where the API is
    #[arg(long, value_name = "PATH", default_value = "/api", hide = true)]
    pub api_prefix: String,
    /// Connections at once
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 8192,
        help_heading = "Limits"
    )]
    pub max_connections: usize,
    /// Requests at once that only look
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 400,
        help_heading = "Limits"
    )]
    pub max_requests_inflight: usize,
    /// Requests at once that change something
    #[arg(
        long,
        value_name = "COUNT",
        default_value_t = 200,
        help_heading = "Limits"
    )]
    pub max_mutating_requests_inflight: usize,
    /// How long a request may take that is no watch and no connection
    #[arg(
        long,
        value_name = "TIME",
        default_value = "60s",
        help_heading = "Limits"
    )]
    pub request_timeout: GoDuration,
}

impl Options {
    /// Whether this one has a say.
    #[must_use]
    pub fn has_mode(&self, mode: &str) -> bool {
        self.authorization_mode.iter().any(|own| own == mode)
    }
    /// What is said where nobody else has an opinion.
    #[must_use]
    pub fn mode(&self) -> Mode {
        match (self.has_mode("AlwaysDeny"), self.has_mode("AlwaysAllow")) {
            (true, _) => Mode::AlwaysDeny,
            (false, true) => Mode::AlwaysAllow,
            (false, false) => Mode::Rules,
        }
    }

    /// What the kinds of objects must know.
    ///
    /// # Errors
    /// The net is none.
    pub fn settings(&self) -> Result<Settings, String> {
        let net = self.service_cluster_ip_range.parse();
        let net = net.map_err(|err| format!("--service-cluster-ip-range: {err}"))?;
        Ok(Settings {
            service_net: net,
            node_ports: self.service_node_port_range.clone(),
            event_ttl: self.event_ttl.get().as_secs(),
        })
    }

    /// What is wrong with the settings and the files they name, each a line.
    #[must_use]
    pub fn wrong(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        let given = self
            .tls_cert_file
            .as_deref()
            .zip(self.tls_private_key_file.as_deref());
        let pki = rkube_http::pki::check(given, self.client_ca_file.as_deref());
        wrong.extend(pki.err().map(|err| rkube_http::chain(&err)));
        wrong.extend(
            self.token_auth_file
                .iter()
                .flat_map(|file| rkube_http::tokens::check(file)),
        );
        match (&self.authorization_policy_file, self.has_mode("ABAC")) {
            (Some(file), true) => {
                let read = crate::auth::abac::Policy::open(file);
                wrong.extend(read.err().map(|err| rkube_http::chain(&err)));
            }
            (None, true) => {
                wrong.push("--authorization-mode=ABAC needs --authorization-policy-file".to_owned())
            }
            (Some(_), false) => {
                wrong.push("--authorization-policy-file needs --authorization-mode=ABAC".to_owned())
            }
            (None, false) => {}
        }
        wrong.extend(self.settings().err());
        let prefix = &self.api_prefix;
        if !prefix.starts_with('/') || prefix.len() < 2 || prefix.ends_with('/') {
            wrong.push(format!("--api-prefix: {prefix:?} is no path such as /api"));
        }
        wrong
    }
}

/// `30000-32767`.
fn ports(text: &str) -> Result<std::ops::RangeInclusive<u16>, String> {
    let wrong = || format!("{text:?} is no range such as 30000-32767");
    let (from, to) = text.split_once('-').ok_or_else(wrong)?;
    let port = |text: &str| text.trim().parse::<u16>().map_err(|_| wrong());
    let (from, to) = (port(from)?, port(to)?);
    match from > 0 && from <= to {
        true => Ok(from..=to),
        false => Err(wrong()),
    }
}

/// The port that asks for no name is for this host alone.
fn loopback(text: &str) -> Result<IpAddr, String> {
    let address: IpAddr = text
        .parse()
        .map_err(|_| format!("{text:?} is no IP address"))?;
    match address.is_loopback() {
        true => Ok(address),
        false => Err(
            "the port without TLS and names is for loopback addresses only; use the secure port"
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use crate::cli::{Cli, Verb};
    use clap::Parser;

    fn options(flags: &[&str]) -> Result<super::Options, clap::Error> {
        let all = ["rkube-master", "serve"].iter().chain(flags);
        match Cli::try_parse_from(all)?.verb {
            Verb::Serve(options) => Ok(*options),
            _ => panic!("another verb"),
        }
    }

    #[test]
    fn the_plain_port_is_for_this_host() {
        assert!(options(&["--insecure-bind-address", "::1"]).is_ok());
        assert!(options(&["--address", "0.0.0.0"]).is_err());
        assert_eq!(
            options(&["--port", "8080"]).unwrap().insecure_port,
            Some(8080)
        );
    }

    #[test]
    fn what_is_wrong_is_said_all_at_once() {
        let wrong = options(&[
            "--authorization-mode",
            "ABAC",
            "--token-auth-file",
            "/nowhere/tokens",
            "--api-prefix",
            "api",
        ]);
        let wrong = wrong.unwrap().wrong();
        assert_eq!(wrong.len(), 3, "{wrong:?}");
        assert_eq!(options(&[]).unwrap().wrong(), Vec::<String>::new());
    }
}
