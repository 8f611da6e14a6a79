//! What can go wrong between us and one host, and whether trying again may help.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use super::transport::DnsFailed;

/// A failed exchange with one host that serves images.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The host's name has no address.
    #[error("registry {host}: unknown host: check the name and the DNS settings of this machine")]
    UnknownHost {
        /// The host.
        host: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// Nobody answers at the host's address.
    #[error("registry {host}: cannot connect: {why}")]
    Connect {
        /// The host.
        host: String,
        /// The cause.
        why: String,
    },
    /// The host's certificate is not trusted, or it speaks no TLS.
    #[error("registry {host}: TLS failed: {why}: {help}")]
    Tls {
        /// The host.
        host: String,
        /// The cause.
        why: String,
        /// What to do about it.
        help: &'static str,
    },
    /// Certificates or keys that the registries file names cannot be used.
    #[error("registry {host}: cannot use {path}: {why}")]
    Certificate {
        /// The host.
        host: String,
        /// The file.
        path: String,
        /// The cause.
        why: String,
    },
    /// The host stopped answering.
    #[error("registry {host}: no {what} within {} s", after.as_secs_f32())]
    Timeout {
        /// The host.
        host: String,
        /// What we waited for.
        what: &'static str,
        /// How long.
        after: Duration,
    },
    /// The connection broke.
    #[error("registry {host}: connection broke: {why}")]
    Broken {
        /// The host.
        host: String,
        /// The cause.
        why: String,
    },
    /// The host has no such thing.
    #[error("registry {host}: {what} not found: check the name and the tag")]
    NotFound {
        /// The host.
        host: String,
        /// What was asked for.
        what: String,
    },
    /// The host wants other credentials, or the thing does not exist and it will not say so.
    #[error(
        "registry {host} refused access to {repository}: {why}; it may not exist or need a login \
         (credentials looked for in: {looked})"
    )]
    Refused {
        /// The host.
        host: String,
        /// The repository.
        repository: String,
        /// What the host said.
        why: String,
        /// Where we looked for credentials.
        looked: String,
    },
    /// Some other status.
    #[error("registry {host}: {what}: status {status}{detail}")]
    Status {
        /// The host.
        host: String,
        /// What was asked for.
        what: String,
        /// The HTTP status.
        status: u16,
        /// What the host said, or nothing.
        detail: String,
        /// When the host wants us back.
        retry_after: Option<Duration>,
    },
    /// The answer is not what the protocol says.
    #[error("registry {host}: {what}: {why}")]
    Malformed {
        /// The host.
        host: String,
        /// What was asked for.
        what: String,
        /// What is wrong with the answer.
        why: String,
    },
    /// The content ended early.
    #[error("registry {host}: {what} is truncated: got {got} of {size} bytes")]
    Truncated {
        /// The host.
        host: String,
        /// What was asked for.
        what: String,
        /// Bytes received.
        got: u64,
        /// Bytes expected.
        size: u64,
    },
    /// The content is not what its digest says.
    #[error("registry {host}: {what}: digest mismatch: content has {actual}")]
    Digest {
        /// The host.
        host: String,
        /// What was asked for; names the digest expected.
        what: String,
        /// The digest of what came.
        actual: String,
    },
}

/// What the retry loop needs to know about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Trying again cannot help.
    Final,
    /// The host was not there: final at first contact, a hiccup in the middle of a pull.
    Absent,
    /// Try again once, at once: what came was not what its digest says.
    Once,
    /// Try again, not before the time the host asked for.
    Again(Option<Duration>),
}

impl RegistryError {
    pub(crate) fn verdict(&self) -> Verdict {
        match self {
            Self::UnknownHost { .. } | Self::Connect { .. } => Verdict::Absent,
            Self::Timeout { .. } | Self::Broken { .. } | Self::Truncated { .. } => {
                Verdict::Again(None)
            }
            Self::Status {
                status: 408 | 429 | 500 | 502..=504,
                retry_after,
                ..
            } => Verdict::Again(*retry_after),
            Self::Status { .. }
            | Self::Tls { .. }
            | Self::Certificate { .. }
            | Self::NotFound { .. }
            | Self::Refused { .. }
            | Self::Malformed { .. } => Verdict::Final,
            Self::Digest { .. } => Verdict::Once,
        }
    }

    /// Says what a failed exchange with `host` was, by the types in its chain of causes.
    pub(super) fn from_reqwest(host: &str, err: &reqwest::Error) -> Self {
        let host = host.to_owned();
        let mut root: &(dyn StdError + 'static) = err;
        let mut next: Option<&(dyn StdError + 'static)> = Some(err);
        while let Some(cause) = next {
            root = cause;
            if let Some(dns) = cause.downcast_ref::<DnsFailed>() {
                let source = io::Error::new(dns.0.kind(), dns.0.to_string());
                return Self::UnknownHost { host, source };
            }
            if let Some(tls) = cause.downcast_ref::<rustls::Error>() {
                return Self::Tls {
                    host,
                    why: tls.to_string(),
                    help: tls_help(tls),
                };
            }
            // `source` of an io::Error skips the error it wraps.
            let wrapped = cause
                .downcast_ref::<io::Error>()
                .and_then(io::Error::get_ref);
            next = match wrapped {
                Some(inner) => Some(inner),
                None => cause.source(),
            };
        }
        let why = root.to_string();
        if err.is_connect() {
            Self::Connect { host, why }
        } else {
            Self::Broken { host, why }
        }
    }
}

fn tls_help(err: &rustls::Error) -> &'static str {
    use rustls::{AlertDescription, CertificateError, Error};
    match err {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "name the authority that signed its certificate as caFile in the registries file"
        }
        Error::AlertReceived(AlertDescription::CertificateRequired) => {
            "it wants a client certificate: name one as clientCert in the registries file"
        }
        Error::InvalidMessage(_) => {
            "if it speaks plain HTTP, say plainHttp: true in the registries file"
        }
        _ => "check its certificate, and the clock of this machine",
    }
}

/// Text from a stranger as a message may show it: one line, no control characters, not too long.
pub(crate) fn printable(text: &str) -> String {
    const MAX: usize = 200;
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let clean: String = clean.take(MAX).collect();
    clean.split_whitespace().collect::<Vec<_>>().join(" ")
}
