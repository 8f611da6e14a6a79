//! The registries file: which hosts answer for a registry, and how to talk to them.
//!
//! ```yaml
//! defaultRegistry: docker.io          # where names without a registry are
//! registries:
//!   docker.io:
//!     mirrors: [mirror.example.com, "http://cache.local:5000/hub"]   # in this order, then itself
//!   registry.example.com:
//!     caFile: /etc/ssl/private-ca.pem # trusted beside the system's authorities
//!     clientCert: { certFile: /etc/rkube/client.pem, keyFile: /etc/rkube/client.key }
//!   cache.local:5000: { plainHttp: true }
//!   old.example.com: { insecureSkipVerify: true }
//! ```
//! YAML or JSON. Every key is checked: one that is not known is an error that names it.
//!
//! A mirror below a prefix is asked for `prefix/library/nginx`, as it would be by that name.
//!
//! A loopback host (`localhost`, 127/8, `::1`) without an entry of its own is asked by plain HTTP
//! first and by HTTPS when it does not speak that; all other hosts get HTTPS only.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::reference::{DEFAULT_REGISTRY, is_loopback, is_registry};

/// Where the registries file is unless the caller says otherwise.
pub const DEFAULT_PATH: &str = "/etc/rkube/registries.yaml";

/// What the registries file says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RegistryConfig {
    /// The registry of names that do not say which.
    pub default_registry: String,
    /// Settings by host, as `host` or `host:port`.
    pub registries: BTreeMap<String, HostConfig>,
}

/// How to talk to one host.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct HostConfig {
    /// Hosts to try first, in this order: `host[:port][/prefix]`, or the same with a scheme.
    pub mirrors: Vec<String>,
    /// PEM file of authorities to trust beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Certificate to present to the host.
    pub client_cert: Option<ClientCert>,
    /// Talk plain HTTP; `false` insists on HTTPS, also for a loopback host.
    pub plain_http: Option<bool>,
    /// Accept any certificate. The host can then be impersonated.
    pub insecure_skip_verify: bool,
}

/// A client certificate and its key, as PEM files.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientCert {
    /// The certificate, followed by its chain.
    pub cert_file: PathBuf,
    /// The private key.
    pub key_file: PathBuf,
}

/// Why the registries file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the registries file")]
    Read {
        /// The cause, which names the file.
        source: io::Error,
    },
    /// The file is not what it should be.
    #[error("registries file {path}: {why}")]
    Parse {
        /// The file.
        path: String,
        /// What is wrong with it, and where.
        why: String,
    },
    /// A value cannot be used.
    #[error("registries file {path}: {field}: \"{value}\" {why}")]
    Value {
        /// The file.
        path: String,
        /// The path of the value within it.
        field: String,
        /// The value.
        value: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// How to reach one host that serves images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    /// `host` or `host:port`, the name under which credentials and settings are kept.
    pub(crate) host: String,
    /// What stands before each repository's name there: empty, or `prefix/`.
    pub(crate) prefix: String,
    pub(crate) scheme: Scheme,
}

/// How a host is talked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    Https,
    /// Plain HTTP first, HTTPS when that is not understood: loopback hosts only.
    Probe,
}

impl Default for RegistryConfig {
    fn default() -> Self {
        Self {
            default_registry: DEFAULT_REGISTRY.to_owned(),
            registries: BTreeMap::new(),
        }
    }
}

impl RegistryConfig {
    /// Reads the file at `path`; a file that does not exist is an error.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let text = fs_err::read_to_string(path).map_err(|source| ConfigError::Read { source })?;
        Self::parse(&text, path)
    }

    /// Reads the file at [`DEFAULT_PATH`]; without one, the defaults hold.
    pub fn load_default() -> Result<Self, ConfigError> {
        match Self::load(Path::new(DEFAULT_PATH)) {
            Err(ConfigError::Read { source }) if source.kind() == io::ErrorKind::NotFound => {
                Ok(Self::default())
            }
            other => other,
        }
    }

    /// Reads `text`; `path` is for messages, and what relative file names in it start from.
    pub fn parse(text: &str, path: &Path) -> Result<Self, ConfigError> {
        let shown = path.display().to_string();
        let empty = text.lines().all(|line| {
            let line = line.trim();
            line.is_empty() || line.starts_with('#') || line == "---"
        });
        if empty {
            return Ok(Self::default());
        }
        let mut config: Self = serde_saphyr::from_str(text).map_err(|err| ConfigError::Parse {
            path: shown.clone(),
            why: err
                .to_string()
                .lines()
                .next()
                .unwrap_or_default()
                .to_owned(),
        })?;
        config.check(&shown)?;
        let dir = path.parent().unwrap_or(Path::new("/"));
        config
            .registries
            .values_mut()
            .for_each(|host| host.resolve_files(dir));
        Ok(config)
    }

    fn check(&self, path: &str) -> Result<(), ConfigError> {
        let bad = |field: String, value: &str, why| ConfigError::Value {
            path: path.to_owned(),
            field,
            value: value.to_owned(),
            why,
        };
        if !is_registry(&self.default_registry) {
            let why = "is not a registry host: write host or host:port";
            return Err(bad(
                "defaultRegistry".to_owned(),
                &self.default_registry,
                why,
            ));
        }
        for (name, host) in &self.registries {
            if !is_registry(name) || name.bytes().any(|b| b.is_ascii_uppercase()) {
                let why = "is not a registry host: write host or host:port, in lower case";
                return Err(bad("registries".to_owned(), name, why));
            }
            for (index, mirror) in host.mirrors.iter().enumerate() {
                let field = || format!("registries.{name}.mirrors[{index}]");
                if parse_mirror(mirror).is_none() {
                    let why = "is not a mirror: write host[:port][/prefix]";
                    return Err(bad(field(), mirror, why));
                }
            }
            if host.plain_http == Some(true)
                && (host.ca_file.is_some() || host.client_cert.is_some())
            {
                let why = "has certificates and plainHttp: remove one of them";
                return Err(bad("registries".to_owned(), name, why));
            }
        }
        Ok(())
    }

    /// The settings of `host`; those of nobody when the file does not name it.
    pub(crate) fn host(&self, host: &str) -> HostConfig {
        self.registries.get(host).cloned().unwrap_or_default()
    }

    /// The hosts that serve `registry`, in the order to try them: its mirrors, then itself.
    pub(crate) fn addresses(&self, registry: &str) -> Vec<Address> {
        let mirrors = self.host(registry).mirrors;
        let mirrors = mirrors
            .iter()
            .filter_map(|mirror| parse_mirror(mirror))
            .map(|mirror| {
                let prefix = match mirror.prefix {
                    "" => String::new(),
                    prefix => format!("{prefix}/"),
                };
                let scheme = mirror.scheme.unwrap_or_else(|| self.scheme(mirror.host));
                Address {
                    host: mirror.host.to_owned(),
                    prefix,
                    scheme,
                }
            });
        let own = Address {
            host: registry.to_owned(),
            prefix: String::new(),
            scheme: self.scheme(registry),
        };
        mirrors.chain([own]).collect()
    }

    fn scheme(&self, host: &str) -> Scheme {
        match self.host(host).plain_http {
            Some(true) => Scheme::Http,
            Some(false) => Scheme::Https,
            None if is_loopback(host) => Scheme::Probe,
            None => Scheme::Https,
        }
    }
}

impl HostConfig {
    fn resolve_files(&mut self, dir: &Path) {
        let resolve = |path: &mut PathBuf| *path = dir.join(&*path);
        self.ca_file.iter_mut().for_each(resolve);
        if let Some(cert) = &mut self.client_cert {
            resolve(&mut cert.cert_file);
            resolve(&mut cert.key_file);
        }
    }
}

struct Mirror<'a> {
    scheme: Option<Scheme>,
    host: &'a str,
    prefix: &'a str,
}

fn parse_mirror(text: &str) -> Option<Mirror<'_>> {
    let (scheme, rest) = match text.split_once("://") {
        Some(("http", rest)) => (Some(Scheme::Http), rest),
        Some(("https", rest)) => (Some(Scheme::Https), rest),
        Some(_) => return None,
        None => (None, text),
    };
    let rest = rest.trim_end_matches('/');
    let (host, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let safe = |b: u8| b.is_ascii_alphanumeric() || b"/._-".contains(&b);
    let prefix_ok = prefix.bytes().all(safe) && !prefix.contains("//") && !prefix.contains("..");
    (is_registry(host) && prefix_ok).then_some(Mirror {
        scheme,
        host,
        prefix,
    })
}

#[cfg(test)]
mod tests;
