//! The files under /etc that the kubelet writes for a pod: hosts, hostname, resolv.conf.
use crate::paths::create_private;
use k8s_openapi::api::core::v1::{PodDNSConfig, PodSpec};
use std::fmt::Write as _;
use std::io;
use std::net::IpAddr;
use std::path::Path;

/// What the three files are made of.
#[derive(Clone, Copy, Debug)]
pub struct Etc<'a> {
    /// The pod.
    pub spec: &'a PodSpec,
    /// The pod's hostname.
    pub hostname: &'a str,
    /// The pod's own address; none on the host's network.
    pub pod_ip: Option<IpAddr>,
}

impl Etc<'_> {
    /// Writes the files into `dir`, in place: containers that have them mounted see the change.
    ///
    /// # Errors
    /// Names the file.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        create_private(dir)?;
        let read = |path: &str| fs_err::read_to_string(path).unwrap_or_default();
        let host_hosts = self
            .spec
            .host_network
            .unwrap_or(false)
            .then(|| read("/etc/hosts"));
        fs_err::write(dir.join("hosts"), self.hosts(host_hosts.as_deref()))?;
        fs_err::write(dir.join("hostname"), format!("{}\n", self.hostname))?;
        fs_err::write(
            dir.join("resolv.conf"),
            self.resolv_conf(&read("/etc/resolv.conf")),
        )
    }

    /// /etc/hosts: the host's own under hostNetwork, and the pod's aliases.
    fn hosts(&self, of_host: Option<&str>) -> String {
        let mut text = match of_host {
            Some(text) => text.to_owned(),
            None => {
                let mut text = String::from(
                    "# written by rkubelet\n127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n\
                     fe00::0\tip6-localnet\nff00::0\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
                );
                if let Some(ip) = self.pod_ip {
                    let _ = writeln!(text, "{ip}\t{}", self.hostname);
                }
                text
            }
        };
        for alias in self.spec.host_aliases.iter().flatten() {
            let _ = writeln!(
                text,
                "{}\t{}",
                alias.ip,
                alias
                    .hostnames
                    .iter()
                    .flatten()
                    .cloned()
                    .collect::<Vec<_>>()
                    .join("\t")
            );
        }
        text
    }

    /// /etc/resolv.conf: the host's unless `dnsPolicy: None`, with `dnsConfig` merged in.
    fn resolv_conf(&self, of_host: &str) -> String {
        let none = self.spec.dns_policy.as_deref() == Some("None");
        let mut conf = if none {
            ResolvConf::default()
        } else {
            ResolvConf::parse(of_host)
        };
        if let Some(config) = &self.spec.dns_config {
            conf.merge(config);
        }
        conf.to_string()
    }
}

/// resolv.conf(5), what of it matters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ResolvConf {
    nameservers: Vec<String>,
    searches: Vec<String>,
    options: Vec<String>,
}

impl ResolvConf {
    fn parse(text: &str) -> Self {
        let mut conf = ResolvConf::default();
        for line in text.lines() {
            let mut words = line.split_whitespace().map(str::to_owned);
            match words.next().as_deref() {
                Some("nameserver") => conf.nameservers.extend(words.next()),
                // The last line wins, as the man page has it.
                Some("search" | "domain") => conf.searches = words.collect(),
                Some("options") => conf.options.extend(words),
                _ => {}
            }
        }
        conf
    }

    fn merge(&mut self, config: &PodDNSConfig) {
        let add = |list: &mut Vec<String>, more: &Option<Vec<String>>| {
            for word in more.iter().flatten() {
                if !list.contains(word) {
                    list.push(word.clone());
                }
            }
        };
        add(&mut self.nameservers, &config.nameservers);
        add(&mut self.searches, &config.searches);
        for option in config.options.iter().flatten() {
            let Some(name) = &option.name else { continue };
            self.options
                .retain(|known| known != name && !known.starts_with(&format!("{name}:")));
            self.options.push(match &option.value {
                Some(value) => format!("{name}:{value}"),
                None => name.clone(),
            });
        }
    }
}

impl std::fmt::Display for ResolvConf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for server in &self.nameservers {
            writeln!(f, "nameserver {server}")?;
        }
        if !self.searches.is_empty() {
            writeln!(f, "search {}", self.searches.join(" "))?;
        }
        if !self.options.is_empty() {
            writeln!(f, "options {}", self.options.join(" "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{HostAlias, PodDNSConfigOption};

    fn etc(spec: &PodSpec) -> Etc<'_> {
        Etc {
            spec,
            hostname: "web",
            pod_ip: Some("10.1.2.3".parse().unwrap()),
        }
    }

    #[test]
    fn hosts_names_the_pod_and_its_aliases() {
        let spec = PodSpec {
            host_aliases: Some(vec![HostAlias {
                ip: "192.0.2.1".into(),
                hostnames: Some(vec!["db".into(), "db.local".into()]),
            }]),
            ..PodSpec::default()
        };
        let text = etc(&spec).hosts(None);
        assert!(text.contains("127.0.0.1\tlocalhost\n"));
        assert!(
            text.ends_with("10.1.2.3\tweb\n192.0.2.1\tdb\tdb.local\n"),
            "{text}"
        );
        assert!(
            etc(&spec)
                .hosts(Some("127.0.0.1 host\n"))
                .starts_with("127.0.0.1 host\n192.0.2.1")
        );
    }

    #[test]
    fn dns_config_adds_to_the_hosts_and_replaces_options() {
        let host = "# c\nnameserver 192.0.2.53\nsearch old\nsearch example.org lan\noptions ndots:2 rotate\n";
        let mut spec = PodSpec {
            dns_config: Some(PodDNSConfig {
                nameservers: Some(vec!["192.0.2.54".into()]),
                searches: Some(vec!["lan".into(), "svc".into()]),
                options: Some(vec![PodDNSConfigOption {
                    name: Some("ndots".into()),
                    value: Some("5".into()),
                }]),
            }),
            ..PodSpec::default()
        };
        assert_eq!(
            etc(&spec).resolv_conf(host),
            "nameserver 192.0.2.53\nnameserver 192.0.2.54\nsearch example.org lan svc\noptions rotate ndots:5\n"
        );
        spec.dns_policy = Some("None".into());
        assert_eq!(
            etc(&spec).resolv_conf(host),
            "nameserver 192.0.2.54\nsearch lan svc\noptions ndots:5\n"
        );
    }
}
