//! The server's certificate, and whom it takes certificates from.
//!
//! ```text
//! <dir>/ca.crt ca.key            our own authority, ten years; for clients: --cacert <dir>/ca.crt
//!       kubelet.crt kubelet.key  signed by it, a year; made again before that, and for every new address
//! ```
//! Where the configuration names files, those are used. All are looked at when somebody connects: files that change
//! are taken up without a restart, and files that turn bad leave the last good ones in use.
pub mod issue;

use crate::Stamp;
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
pub struct Tls {
    /// The certificate, and what is negotiated.
    pub config: Arc<ServerConfig>,
    /// Who says whether a client's certificate is good; nobody, if none are taken.
    pub clients: Option<Arc<dyn ClientCertVerifier>>,
}

/// The certificates of this server.
#[derive(Debug)]
pub struct Pki {
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
    /// With a certificate of somebody else's.
    ///
    /// # Errors
    /// Names the file that cannot be used.
    pub fn given(
        cert: PathBuf,
        key: PathBuf,
        client_ca: Option<PathBuf>,
    ) -> Result<Self, PkiError> {
        Pki::open(cert, key, client_ca, None)
    }

    /// With a certificate of our own, made if it is not there.
    ///
    /// # Errors
    /// Names the file that cannot be used.
    pub fn own(
        issuer: Issuer,
        addresses: &[IpAddr],
        client_ca: Option<PathBuf>,
    ) -> Result<Self, PkiError> {
        issuer.ensure(addresses)?;
        Pki::open(issuer.cert(), issuer.key(), client_ca, Some(issuer))
    }

    fn open(
        cert: PathBuf,
        key: PathBuf,
        client_ca: Option<PathBuf>,
        issuer: Option<Issuer>,
    ) -> Result<Self, PkiError> {
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
    pub fn tls(&self, local: IpAddr) -> Tls {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(issuer) = &self.issuer
            && let Err(err) = issuer.ensure(&[local])
        {
            tracing::error!(err = crate::chain(&err), "cannot renew the certificate");
        }
        let now = stamps(&self.cert, &self.key, self.client_ca.as_deref());
        if loaded.stamps != now {
            match load(&self.cert, &self.key, self.client_ca.as_deref()) {
                Ok(tls) => loaded.tls = tls,
                Err(err) => tracing::error!(
                    err = crate::chain(&err),
                    "the certificates on disk cannot be used; the last good ones stay"
                ),
            }
            // One that is half written is looked at again when it changes once more.
            loaded.stamps = now;
        }
        loaded.tls.clone()
    }
}

/// Whether the files that settings name can be used: a certificate with its key, and whom clients' are to be from.
///
/// # Errors
/// Names the file that cannot.
pub fn check(given: Option<(&Path, &Path)>, client_ca: Option<&Path>) -> Result<(), PkiError> {
    if let Some(ca) = client_ca {
        certificates(ca)?;
    }
    match given {
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
            builder.with_client_cert_verifier(Arc::new(crate::lenient::Lenient(clients.clone())))
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
        let file = |name: &str| dir.path().join(name);
        let pki = Pki::given(file("tls.crt"), file("tls.key"), None).unwrap();
        let local = IpAddr::from([127, 0, 0, 1]);
        let first = pki.tls(local);
        assert!(first.clients.is_none());
        assert!(Arc::ptr_eq(&first.config, &pki.tls(local).config));
        std::fs::write(dir.path().join("tls.crt"), "not a certificate").unwrap();
        assert!(Arc::ptr_eq(&first.config, &pki.tls(local).config));
        make(dir.path(), "b.example");
        assert!(!Arc::ptr_eq(&first.config, &pki.tls(local).config));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let dir = tempfile::tempdir().unwrap();
        make(dir.path(), "a.example");
        let open = |(cert, key, ca): (&str, &str, Option<&str>)| {
            let file = |name: &str| dir.path().join(name);
            Pki::given(file(cert), file(key), ca.map(file))
        };
        for (files, word) in [
            (("no.crt", "tls.key", None), "no.crt"),
            (
                ("tls.key", "tls.key", None),
                "tls.key: there is no certificate",
            ),
            (
                ("tls.crt", "tls.crt", None),
                "tls.crt: there is no private key",
            ),
            (("tls.crt", "tls.key", Some("no-ca.crt")), "no-ca.crt"),
        ] {
            let err = open(files).unwrap_err();
            let text = crate::chain(&err);
            assert!(text.contains(word), "{text}");
        }
        let with_ca = open(("tls.crt", "tls.key", Some("tls.crt"))).unwrap();
        assert!(with_ca.tls(IpAddr::from([127, 0, 0, 1])).clients.is_some());
    }
}
