//! An authority of our own, and the certificates that it gives: one to the server, others to clients.
use super::PkiError;
use crate::file::{create_private, write};
use jiff::{Timestamp, ToSpan, Zoned};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, SanType,
};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// How long the server's certificate is good for, and how long before its end a new one is made.
const DAYS: i32 = 365;
const RENEW_DAYS: i64 = 90;
/// How long the authority's is.
const CA_YEARS: i16 = 10;
/// Addresses in one certificate: a host with more is reached by name.
const MOST_ADDRESSES: usize = 64;

/// Whose certificates are made.
#[derive(Clone, Debug)]
pub struct Subject {
    /// What the server's files are called: `kubelet` for `kubelet.crt` and `kubelet.key`.
    pub stem: &'static str,
    /// The authority's name.
    pub authority: String,
    /// The server's name.
    pub name: String,
    /// Its group, if any.
    pub group: Option<String>,
    /// The names it is reached by, besides `localhost`.
    pub names: BTreeSet<String>,
    /// Whether others hold certificates of this authority: it is never replaced by itself then.
    pub shared: bool,
}

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub struct Pair {
    /// The certificate.
    pub cert: String,
    /// The key.
    pub key: String,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pair")
    }
}

/// Makes certificates.
#[derive(Debug)]
pub struct Issuer {
    dir: PathBuf,
    subject: Subject,
    /// What the certificate on disk is for.
    have: Mutex<Have>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Have {
    names: BTreeSet<String>,
    addresses: BTreeSet<IpAddr>,
    until: Option<Timestamp>,
}

impl Issuer {
    /// Takes up the authority at `dir`, made if it is not there.
    ///
    /// # Errors
    /// Names the file that cannot be used.
    pub fn open(dir: &Path, subject: Subject) -> Result<Self, PkiError> {
        create_private(dir).map_err(|source| PkiError::File { source })?;
        let issuer = Issuer {
            dir: dir.to_owned(),
            subject,
            have: Mutex::default(),
        };
        let ca = fs_err::read(issuer.ca()).ok().and_then(|pem| read(&pem));
        let good = ca.is_some_and(|ca| ca.until > Some(Timestamp::now()))
            && issuer.dir.join("ca.key").exists();
        if !good {
            issuer.may_replace()?;
            issuer.make_ca()?;
        }
        // A certificate of another authority, or one that cannot be read, is made again.
        let pem = fs_err::read(issuer.cert()).unwrap_or_default();
        let ca = fs_err::read(issuer.ca()).map_err(|source| PkiError::File { source })?;
        if signed(&pem, &ca) && issuer.key().exists() {
            *issuer.lock() = read(&pem).unwrap_or_default();
        }
        Ok(issuer)
    }

    /// The server's certificate.
    pub fn cert(&self) -> PathBuf {
        self.dir.join(format!("{}.crt", self.subject.stem))
    }
    /// Its key.
    pub fn key(&self) -> PathBuf {
        self.dir.join(format!("{}.key", self.subject.stem))
    }
    /// The authority's certificate.
    pub fn ca(&self) -> PathBuf {
        self.dir.join("ca.crt")
    }
    /// An authority that others rely on is never lost to a damaged file.
    fn may_replace(&self) -> Result<(), PkiError> {
        let there = [self.ca(), self.dir.join("ca.key")];
        match there.into_iter().find(|path| path.exists()) {
            Some(path) if self.subject.shared => Err(PkiError::Content {
                path,
                what: "the cluster's certificate authority (ca.crt and ca.key) is damaged or has ended; restore both \
                       files from a backup, or remove them for a new one, with which all clients need new certificates"
                    .to_owned(),
            }),
            Some(_) | None => Ok(()),
        }
    }
    fn lock(&self) -> std::sync::MutexGuard<'_, Have> {
        self.have.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client's certificate, good for so many days.
    ///
    /// # Errors
    /// When the authority cannot be used.
    pub fn client(&self, name: &str, groups: &[String], days: i32) -> Result<Pair, PkiError> {
        let mut params = CertificateParams::default();
        for group in groups {
            let group = group.as_str();
            params
                .distinguished_name
                .push(DnType::OrganizationName, group);
        }
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        self.sign(params, days)
    }

    fn sign(&self, mut params: CertificateParams, days: i32) -> Result<Pair, PkiError> {
        let file = |source| PkiError::File { source };
        let issue = |source| PkiError::Issue { source };
        let ca_key = fs_err::read_to_string(self.dir.join("ca.key")).map_err(file)?;
        let ca = fs_err::read_to_string(self.ca()).map_err(file)?;
        let ca_key = KeyPair::from_pem(&ca_key).map_err(issue)?;
        let ca = rcgen::Issuer::from_ca_cert_pem(&ca, ca_key).map_err(issue)?;
        let now = Zoned::now().with_time_zone(jiff::tz::TimeZone::UTC);
        valid(&mut params, &now, &now.saturating_add(days.days()));
        let key = KeyPair::generate().map_err(issue)?;
        let cert = params.signed_by(&key, &ca).map_err(issue)?;
        Ok(Pair {
            cert: cert.pem(),
            key: key.serialize_pem(),
        })
    }

    /// Makes a certificate if the one on disk ends soon or is not for these addresses of ours.
    ///
    /// # Errors
    /// When the authority cannot be used, or a file not written.
    pub fn ensure(&self, addresses: &[IpAddr]) -> Result<(), PkiError> {
        let mut have = self.lock();
        let now = Timestamp::now();
        let fresh = have
            .until
            .is_some_and(|until| until.duration_since(now).as_hours() > RENEW_DAYS * 24);
        let mut wanted = have.addresses.clone();
        wanted.extend([
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::LOCALHOST),
        ]);
        for address in addresses.iter().map(IpAddr::to_canonical) {
            // All of 127.0.0.0/8 is ours; nobody needs to fill the certificate with it.
            let reached = !address.is_unspecified() && !address.is_loopback();
            if reached && wanted.len() < MOST_ADDRESSES {
                wanted.insert(address);
            }
        }
        let mut names = self.subject.names.clone();
        names.insert("localhost".to_owned());
        if fresh && have.addresses == wanted && have.names.is_superset(&names) {
            return Ok(());
        }
        *have = self.issue(&names, &wanted)?;
        tracing::info!(names = ?have.names, addresses = ?have.addresses, "made a certificate");
        Ok(())
    }

    fn issue(
        &self,
        names: &BTreeSet<String>,
        addresses: &BTreeSet<IpAddr>,
    ) -> Result<Have, PkiError> {
        let file = |source| PkiError::File { source };
        let mut params = CertificateParams::default();
        // A host's name may be no name of the DNS; it is then left out.
        for name in names {
            if let Ok(name) = name.as_str().try_into() {
                params.subject_alt_names.push(SanType::DnsName(name));
            }
        }
        let addresses_in = addresses.iter().copied().map(SanType::IpAddress);
        params.subject_alt_names.extend(addresses_in);
        let name = &mut params.distinguished_name;
        if let Some(group) = &self.subject.group {
            name.push(DnType::OrganizationName, group.as_str());
        }
        name.push(DnType::CommonName, self.subject.name.as_str());
        params.key_usages = vec![
            KeyUsagePurpose::DigitalSignature,
            KeyUsagePurpose::KeyEncipherment,
        ];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let Pair { cert, key } = self.sign(params, DAYS)?;
        write(&self.key(), &key, 0o600).map_err(file)?;
        write(&self.cert(), &cert, 0o644).map_err(file)?;
        Ok(Have {
            names: names.clone(),
            addresses: addresses.clone(),
            until: read(cert.as_bytes()).and_then(|have| have.until),
        })
    }

    fn make_ca(&self) -> Result<(), PkiError> {
        let file = |source| PkiError::File { source };
        let issue = |source| PkiError::Issue { source };
        let mut params = CertificateParams::default();
        let name = self.subject.authority.as_str();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let now = Zoned::now().with_time_zone(jiff::tz::TimeZone::UTC);
        valid(&mut params, &now, &now.saturating_add(CA_YEARS.years()));
        let key = KeyPair::generate().map_err(issue)?;
        let cert = params.self_signed(&key).map_err(issue)?;
        write(&self.dir.join("ca.key"), &key.serialize_pem(), 0o600).map_err(file)?;
        write(&self.ca(), &cert.pem(), 0o644).map_err(file)
    }
}

/// From the day before, since clocks differ.
fn valid(params: &mut CertificateParams, now: &Zoned, until: &Zoned) {
    let date = |at: &Zoned| {
        let number = |value: i8| u8::try_from(value).unwrap_or(1);
        rcgen::date_time_ymd(i32::from(at.year()), number(at.month()), number(at.day()))
    };
    params.not_before = date(&now.saturating_sub(1.day()));
    params.not_after = date(until);
}

/// Names, addresses and end of the first certificate of a file.
fn read(pem: &[u8]) -> Option<Have> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem).ok()?;
    let (_, cert) = X509Certificate::from_der(&pem.contents).ok()?;
    let mut have = Have {
        until: Timestamp::from_second(cert.validity().not_after.timestamp()).ok(),
        ..Have::default()
    };
    let names = cert.subject_alternative_name().ok()?;
    for name in names
        .map(|names| &names.value.general_names)
        .into_iter()
        .flatten()
    {
        match name {
            GeneralName::DNSName(name) => {
                have.names.insert((*name).to_owned());
            }
            GeneralName::IPAddress(bytes) => have.addresses.extend(address(bytes)),
            _ => {}
        }
    }
    Some(have)
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

fn signed(cert: &[u8], ca: &[u8]) -> bool {
    let (Ok((_, cert)), Ok((_, ca))) = (
        x509_parser::pem::parse_x509_pem(cert),
        x509_parser::pem::parse_x509_pem(ca),
    ) else {
        return false;
    };
    match (
        X509Certificate::from_der(&cert.contents),
        X509Certificate::from_der(&ca.contents),
    ) {
        (Ok((_, cert)), Ok((_, ca))) => {
            cert.issuer() == ca.subject()
                && cert.iter_extensions().any(|own| {
                    matches!(own.parsed_extension(),
                    x509_parser::extensions::ParsedExtension::AuthorityKeyIdentifier(id)
                        if ca.iter_extensions().any(|other| matches!(other.parsed_extension(),
                            x509_parser::extensions::ParsedExtension::SubjectKeyIdentifier(key)
                                if id.key_identifier.as_ref() == Some(key))))
                })
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject(node: &str) -> Subject {
        Subject {
            stem: "kubelet",
            authority: format!("rkubelet of {node}"),
            name: format!("system:node:{node}"),
            group: Some("system:nodes".to_owned()),
            names: BTreeSet::from([node.to_owned()]),
            shared: false,
        }
    }

    #[test]
    fn a_certificate_is_made_once_and_again_for_a_new_address() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("pki");
        let own = IpAddr::from([10, 0, 0, 5]);
        let pem = |issuer: &Issuer| std::fs::read_to_string(issuer.cert()).unwrap();
        let issuer = Issuer::open(&dir, subject("minion")).unwrap();
        issuer.ensure(&[IpAddr::from([0, 0, 0, 0])]).unwrap();
        let first = pem(&issuer);
        issuer.ensure(&[IpAddr::from([127, 0, 0, 9])]).unwrap();
        assert_eq!(pem(&issuer), first);
        issuer.ensure(&[own]).unwrap();
        let second = pem(&issuer);
        assert_ne!(second, first);
        let have = read(second.as_bytes()).unwrap();
        assert!(have.addresses.contains(&own) && have.names.contains("minion"));
        assert!(
            have.until
                .unwrap()
                .duration_since(Timestamp::now())
                .as_hours()
                > 360 * 24
        );
        // Another process of the same host goes on with it.
        let again = Issuer::open(&dir, subject("minion")).unwrap();
        again.ensure(&[own]).unwrap();
        assert_eq!(pem(&again), second);
        // Another name, another certificate; of the same authority.
        let ca = std::fs::read_to_string(dir.join("ca.crt")).unwrap();
        let renamed = Issuer::open(&dir, subject("other")).unwrap();
        renamed.ensure(&[own]).unwrap();
        assert_ne!(pem(&renamed), second);
        assert_eq!(std::fs::read_to_string(dir.join("ca.crt")).unwrap(), ca);
    }

    #[test]
    fn broken_files_are_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let issuer = Issuer::open(dir.path(), subject("a name of no DNS")).unwrap();
        issuer.ensure(&[]).unwrap();
        std::fs::write(dir.path().join("kubelet.crt"), "").unwrap();
        let again = Issuer::open(dir.path(), subject("x")).unwrap();
        again.ensure(&[]).unwrap();
        assert!(read(&std::fs::read(issuer.cert()).unwrap()).is_some());
        std::fs::write(dir.path().join("ca.crt"), "rubbish").unwrap();
        // One that others rely on is left for people to restore.
        let mut shared = subject("x");
        shared.shared = true;
        let err = Issuer::open(dir.path(), shared).unwrap_err();
        assert!(err.to_string().contains("restore"), "{err}");
        let again = Issuer::open(dir.path(), subject("x")).unwrap();
        again.ensure(&[]).unwrap();
        let read = |name: &str| std::fs::read(dir.path().join(name)).unwrap();
        assert!(signed(&read("kubelet.crt"), &read("ca.crt")));
    }
}
