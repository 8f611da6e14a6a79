//! The cluster's certificates and keys, and the kubeconfigs made of them.
//!
//! ```text
//! <data>/pki/ca.crt ca.key                the cluster's authority, made at first start; back it up
//!            apiserver.crt apiserver.key  this server's, made again before its end and for new addresses
//!            admin.crt admin.key          of the group system:masters, a year; made again 90 days before its end
//!            kubelet-client.crt .key      what is shown to kubelets
//!            sa.key                       signs the tokens of service accounts
//! <data>/admin.kubeconfig                 for kubectl, mode 0600
//! ```
use crate::auth::MASTERS;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rkube_http::file;
use rkube_http::pki::PkiError;
use rkube_http::pki::issue::{Issuer, Pair, Subject};
use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use x509_parser::prelude::{FromDer, X509Certificate};

/// How long clients' certificates are good for, and how long before their end new ones are made.
const DAYS: i32 = 365;
const RENEW_DAYS: i64 = 90;

/// The directory with a cluster's keys.
#[derive(Clone, Debug)]
pub struct Keys {
    data: PathBuf,
}

impl Keys {
    /// Below the data directory.
    #[must_use]
    pub fn new(data: &Path) -> Self {
        Keys {
            data: data.to_owned(),
        }
    }
    /// The directory of certificates.
    #[must_use]
    pub fn pki(&self) -> PathBuf {
        self.data.join("pki")
    }
    /// The authority's certificate.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.pki().join("ca.crt")
    }
    /// The key for service accounts' tokens.
    #[must_use]
    pub fn service_accounts(&self) -> PathBuf {
        self.pki().join("sa.key")
    }
    /// The administrator's kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> PathBuf {
        self.data.join("admin.kubeconfig")
    }

    /// The cluster's authority, made if it is not there.
    ///
    /// # Errors
    /// Names the file that cannot be used.
    pub fn issuer(&self, names: &[String]) -> Result<Issuer, PkiError> {
        let own = [
            "kubernetes",
            "kubernetes.default",
            "kubernetes.default.svc",
            "kubernetes.default.svc.cluster.local",
        ];
        let mut all: BTreeSet<String> = own.map(str::to_owned).into();
        all.extend(names.iter().cloned());
        let subject = Subject {
            stem: "apiserver",
            authority: "rkube cluster".to_owned(),
            name: "kube-apiserver".to_owned(),
            group: None,
            names: all,
            shared: true,
        };
        Issuer::open(&self.pki(), subject)
    }

    /// A certificate of the master's own, such as `admin`, made if it is not there or ends soon.
    ///
    /// # Errors
    /// Names the file that cannot be used.
    pub fn own(&self, issuer: &Issuer, stem: &str, name: &str) -> Result<Pair, PkiError> {
        let path = |extension: &str| self.pki().join(format!("{stem}.{extension}"));
        let read = |extension: &str| fs_err::read_to_string(path(extension));
        if let (Ok(cert), Ok(key), Ok(ca)) = (read("crt"), read("key"), fs_err::read(self.ca()))
            && lasts(&cert, &ca)
        {
            return Ok(Pair { cert, key });
        }
        let pair = issuer.client(name, &[MASTERS.to_owned()], DAYS)?;
        let failed = |source| PkiError::File { source };
        file::write(&path("key"), &pair.key, 0o600).map_err(failed)?;
        file::write(&path("crt"), &pair.cert, 0o644).map_err(failed)?;
        Ok(pair)
    }

    /// Writes the administrator's kubeconfig, if it is not what it should be.
    ///
    /// # Errors
    /// Names the file.
    pub fn write_kubeconfig(&self, server: &str, pair: &Pair) -> io::Result<()> {
        let ca = fs_err::read_to_string(self.ca())?;
        let text = kubeconfig(server, &ca, "admin", pair);
        let path = self.kubeconfig();
        if fs_err::read_to_string(&path).is_ok_and(|old| old == text) {
            return Ok(());
        }
        file::write(&path, &text, 0o600)
    }
}

/// Whether a certificate is of this authority and far from its end.
fn lasts(cert: &str, ca: &[u8]) -> bool {
    let (Ok((_, cert)), Ok((_, ca))) = (
        x509_parser::pem::parse_x509_pem(cert.as_bytes()),
        x509_parser::pem::parse_x509_pem(ca),
    ) else {
        return false;
    };
    let (Ok((_, cert)), Ok((_, ca))) = (
        X509Certificate::from_der(&cert.contents),
        X509Certificate::from_der(&ca.contents),
    ) else {
        return false;
    };
    let soon = jiff::Timestamp::now().as_second() + RENEW_DAYS * 24 * 3600;
    let key_of = |cert: &X509Certificate<'_>, own: bool| {
        cert.iter_extensions()
            .find_map(|found| match found.parsed_extension() {
                x509_parser::extensions::ParsedExtension::SubjectKeyIdentifier(id) if own => {
                    Some(id.0.to_vec())
                }
                x509_parser::extensions::ParsedExtension::AuthorityKeyIdentifier(id) if !own => {
                    id.key_identifier.as_ref().map(|id| id.0.to_vec())
                }
                _ => None,
            })
    };
    cert.validity().not_after.timestamp() > soon && key_of(&cert, false) == key_of(&ca, true)
}

/// The address in a kubeconfig for a server that listens there: itself, or this host.
#[must_use]
pub fn server(address: IpAddr, port: u16) -> String {
    let host = match address {
        address if address.is_unspecified() => "127.0.0.1".to_owned(),
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    };
    format!("https://{host}:{port}")
}

/// A kubeconfig with everything in it.
#[must_use]
pub fn kubeconfig(server: &str, ca: &str, user: &str, pair: &Pair) -> String {
    let ca = BASE64.encode(ca);
    let (cert, key) = (BASE64.encode(&pair.cert), BASE64.encode(&pair.key));
    let name = serde_json::Value::from(user);
    format!(
        "apiVersion: v1
kind: Config
clusters:
- name: rkube
  cluster:
    server: {server}
    certificate-authority-data: {ca}
users:
- name: {name}
  user:
    client-certificate-data: {cert}
    client-key-data: {key}
contexts:
- name: rkube
  context:
    cluster: rkube
    user: {name}
current-context: rkube
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn what_is_made_once_stays() {
        let dir = tempfile::tempdir().unwrap();
        let keys = Keys::new(dir.path());
        let issuer = keys.issuer(&[]).unwrap();
        let first = keys.own(&issuer, "admin", "admin").unwrap();
        assert_eq!(
            keys.own(&issuer, "admin", "admin").unwrap().cert,
            first.cert
        );
        keys.write_kubeconfig("https://127.0.0.1:6443", &first)
            .unwrap();
        let mode = std::fs::metadata(keys.kubeconfig())
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        // Of another authority: made again.
        std::fs::remove_dir_all(keys.pki()).unwrap();
        let issuer = keys.issuer(&[]).unwrap();
        std::fs::write(keys.pki().join("admin.crt"), &first.cert).unwrap();
        std::fs::write(keys.pki().join("admin.key"), &first.key).unwrap();
        assert_ne!(
            keys.own(&issuer, "admin", "admin").unwrap().cert,
            first.cert
        );
    }

    #[test]
    fn servers_are_reached_where_they_listen() {
        for (address, expected) in [
            ("0.0.0.0", "https://127.0.0.1:6443"),
            ("::", "https://127.0.0.1:6443"),
            ("10.0.0.5", "https://10.0.0.5:6443"),
            ("::1", "https://[::1]:6443"),
        ] {
            assert_eq!(server(address.parse().unwrap(), 6443), expected);
        }
    }
}
