//! The server's certificate, and whom it takes certificates from.
//!
//! ```text
//! <root>/pki/ca.crt ca.key            our own authority, ten years; for clients: --cacert <root>/pki/ca.crt
//!            kubelet.crt kubelet.key  signed by it, a year; made again before that, and for every new address
//!            token                    root's own token (tokens.rs)
//! ```
//! Where the configuration names files, those are used. All are looked at when somebody connects: files that change
//! are taken up without a restart, and files that turn bad leave the last good ones in use.
mod issue;

use super::stamp::Stamp;
use crate::config::KubeletConfig;
use crate::paths::Paths;
use issue::Issuer;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PkiError {
    /// A file cannot be read or written.
    #[error("cannot use the server's certificates")]
    File {
        /// What happened; names the file.
        source: io::Error,
    },
    /// A file is not what it should be.
    #[error("{path}: {what}", path = .path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The certificate and the key do not fit, or are of a kind that is not supported.
    #[error("{path} cannot be used", path = .path.display())]
    Unusable {
        /// The certificate.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// A certificate of our own could not be made.
    #[error("cannot make a certificate")]
    Issue {
        /// Why.
        source: rcgen::Error,
    },
}

/// What a connection is served with.
#[derive(Clone, Debug)]
pub(super) struct Tls {
    /// The certificate, and what is negotiated.
    pub(super) config: Arc<ServerConfig>,
    /// Who says whether a client's certificate is good; nobody, if none are taken.
    pub(super) clients: Option<Arc<dyn ClientCertVerifier>>,
}

/// The certificates of this server.
#[derive(Debug)]
pub(super) struct Pki {
    cert: PathBuf,
    key: PathBuf,
    client_ca: Option<PathBuf>,
    /// Set where the certificate is ours to make.
    issuer: Option<Issuer>,
    loaded: Mutex<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    stamps: [Option<Stamp>; 3],
    tls: Tls,
}

impl Pki {
    /// Reads the certificates, or makes them.
    ///
    /// # Errors
    /// Names the file that cannot be used.
    pub(super) fn open(
        paths: &Paths,
        config: &KubeletConfig,
        node: &str,
    ) -> Result<Self, PkiError> {
        let dir = paths.pki();
        let given = config
            .tls_cert_file
            .clone()
            .zip(config.tls_private_key_file.clone());
        let (cert, key, issuer) = match given {
            Some((cert, key)) => (cert, key, None),
            None => {
                let issuer = Issuer::open(&dir, node)?;
                issuer.ensure(&[config.address])?;
                (issuer.cert(), issuer.key(), Some(issuer))
            }
        };
        let client_ca = config.authentication.x509.client_ca_file.clone();
        let loaded = Loaded {
            stamps: stamps(&cert, &key, client_ca.as_deref()),
            tls: load(&cert, &key, client_ca.as_deref())?,
        };
        Ok(Pki {
            cert,
            key,
            client_ca,
            issuer,
            loaded: Mutex::new(loaded),
        })
    }

    /// What a connection to our address `local` is served with.
    pub(super) fn tls(&self, local: IpAddr) -> Tls {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(issuer) = &self.issuer
            && let Err(err) = issuer.ensure(&[local])
        {
            tracing::error!(
                err = crate::error::chain(&err),
                "cannot renew the certificate"
            );
        }
        let now = stamps(&self.cert, &self.key, self.client_ca.as_deref());
        if loaded.stamps != now {
            match load(&self.cert, &self.key, self.client_ca.as_deref()) {
                Ok(tls) => loaded.tls = tls,
                Err(err) => tracing::error!(
                    err = crate::error::chain(&err),
                    "the certificates on disk cannot be used; the last good ones stay"
                ),
            }
            // One that is half written is looked at again when it changes once more.
            loaded.stamps = now;
        }
        loaded.tls.clone()
    }
}

/// Where the certificate of our own authority is; nowhere where the settings give the server's certificate.
pub(crate) fn own_authority(paths: &Paths, config: &KubeletConfig) -> Option<PathBuf> {
    let given = config.tls_cert_file.is_some() && config.tls_private_key_file.is_some();
    (!given).then(|| paths.pki().join("ca.crt"))
}

/// Whether the files that the settings name can be used.
///
/// # Errors
/// Names the file that cannot.
pub(super) fn check(config: &KubeletConfig) -> Result<(), PkiError> {
    if let Some(ca) = &config.authentication.x509.client_ca_file {
        certificates(ca)?;
    }
    let given = config.tls_cert_file.as_deref();
    match given.zip(config.tls_private_key_file.as_deref()) {
        Some((cert, key)) => load(cert, key, None).map(drop),
        None => Ok(()),
    }
}

fn stamps(cert: &Path, key: &Path, client_ca: Option<&Path>) -> [Option<Stamp>; 3] {
    [
        Stamp::of(cert),
        Stamp::of(key),
        client_ca.and_then(Stamp::of),
    ]
}

fn load(cert: &Path, key: &Path, client_ca: Option<&Path>) -> Result<Tls, PkiError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let clients = client_ca
        .map(|path| {
            let mut roots = RootCertStore::empty();
            for ca in certificates(path)? {
                roots.add(ca).map_err(|source| PkiError::Unusable {
                    path: path.to_owned(),
                    source,
                })?;
            }
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
                .build()
                .map_err(|err| PkiError::Content {
                    path: path.to_owned(),
                    what: err.to_string(),
                })
        })
        .transpose()?;
    let unusable = |source| PkiError::Unusable {
        path: cert.to_owned(),
        source,
    };
    let builder = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?;
    let builder = match &clients {
        Some(clients) => {
            builder.with_client_cert_verifier(Arc::new(super::lenient::Lenient(clients.clone())))
        }
        None => builder.with_no_client_auth(),
    };
    let mut config = builder
        .with_single_cert(certificates(cert)?, private_key(key)?)
        .map_err(unusable)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Tls {
        config: Arc::new(config),
        clients,
    })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PkiError> {
    let text = fs_err::read(path).map_err(|source| PkiError::File { source })?;
    let content = |what: String| PkiError::Content {
        path: path.to_owned(),
        what,
    };
    let all = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    let all = all.map_err(|err| content(format!("not PEM: {err}")))?;
    if all.is_empty() {
        return Err(content("there is no certificate in it".to_owned()));
    }
    Ok(all)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, PkiError> {
    let text = fs_err::read(path).map_err(|source| PkiError::File { source })?;
    PrivateKeyDer::from_pem_slice(&text).map_err(|err| PkiError::Content {
        path: path.to_owned(),
        what: format!("there is no private key in it: {err}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(dir: &Path, config: &KubeletConfig) -> Result<Pki, PkiError> {
        let paths = Paths {
            root: dir.join("root"),
            run: dir.join("run"),
            logs: dir.join("logs"),
        };
        Pki::open(&paths, config, "minion")
    }

    /// A certificate signed by nobody else, and its key.
    fn make(dir: &Path, name: &str) {
        let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        std::fs::write(dir.join("tls.crt"), made.cert.pem()).unwrap();
        std::fs::write(dir.join("tls.key"), made.signing_key.serialize_pem()).unwrap();
    }

    #[test]
    fn given_files_are_taken_up_when_they_change_and_only_if_they_are_good() {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path(), "a.example");
        let config = KubeletConfig {
            tls_cert_file: Some(dir.path().join("tls.crt")),
            tls_private_key_file: Some(dir.path().join("tls.key")),
            ..KubeletConfig::default()
        };
        let pki = open(dir.path(), &config).unwrap();
        let local = IpAddr::from([127, 0, 0, 1]);
        let first = pki.tls(local);
        assert!(first.clients.is_none());
        assert!(Arc::ptr_eq(&first.config, &pki.tls(local).config));
        std::fs::write(dir.path().join("tls.crt"), "not a certificate").unwrap();
        assert!(Arc::ptr_eq(&first.config, &pki.tls(local).config));
        make(dir.path(), "b.example");
        assert!(!Arc::ptr_eq(&first.config, &pki.tls(local).config));
        // Nothing of our own is made where files are given.
        assert!(!dir.path().join("root/pki/ca.crt").exists());
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path(), "a.example");
        let config = |cert: &str, key: &str, ca: Option<&str>| {
            let mut config = KubeletConfig {
                tls_cert_file: Some(dir.path().join(cert)),
                tls_private_key_file: Some(dir.path().join(key)),
                ..KubeletConfig::default()
            };
            config.authentication.x509.client_ca_file = ca.map(|ca| dir.path().join(ca));
            config
        };
        for (config, word) in [
            (config("no.crt", "tls.key", None), "no.crt"),
            (
                config("tls.key", "tls.key", None),
                "tls.key: there is no certificate",
            ),
            (
                config("tls.crt", "tls.crt", None),
                "tls.crt: there is no private key",
            ),
            (config("tls.crt", "tls.key", Some("no-ca.crt")), "no-ca.crt"),
        ] {
            let err = open(dir.path(), &config).unwrap_err();
            let text = crate::error::chain(&err);
            assert!(text.contains(word), "{text}");
        }
        let with_ca = open(dir.path(), &config("tls.crt", "tls.key", Some("tls.crt"))).unwrap();
        assert!(with_ca.tls(IpAddr::from([127, 0, 0, 1])).clients.is_some());
    }
}
