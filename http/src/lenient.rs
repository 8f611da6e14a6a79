//! Client certificates are asked for and looked at after the handshake: a wrong one gets an answer that says what is
//! wrong with it instead of a connection that breaks off.
use crate::Caller;
use jiff::Timestamp;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use std::sync::Arc;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Takes every certificate whose key the client has. Whether it is good is asked of [`Certificate::of`].
#[derive(Debug)]
pub struct Lenient(pub Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for Lenient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }
    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, signed)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, signed)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

/// A client's certificate: who it names, or what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate(Result<(Caller, Timestamp), String>);

impl Certificate {
    /// Looks at what a client has shown.
    pub fn of(shown: &[CertificateDer<'_>], verifier: &dyn ClientCertVerifier) -> Option<Self> {
        let (own, others) = shown.split_first()?;
        let verified = verifier.verify_client_cert(own, others, UnixTime::now());
        Some(Certificate(match verified {
            Ok(_) => named(own).ok_or_else(|| "the certificate names nobody".to_owned()),
            Err(err) => Err(format!("the client certificate is refused: {err}")),
        }))
    }

    /// Who it is, for as long as the certificate is good: a connection may outlive it.
    pub fn caller(&self, now: Timestamp) -> Result<Caller, String> {
        let (caller, until) = self.0.as_ref().map_err(Clone::clone)?;
        match now <= *until {
            true => Ok(caller.clone()),
            false => Err("the client certificate has ended".to_owned()),
        }
    }
}

/// Common name and organizations.
fn named(cert: &CertificateDer<'_>) -> Option<(Caller, Timestamp)> {
    let (_, cert) = X509Certificate::from_der(cert).ok()?;
    let subject = cert.subject();
    let name = subject.iter_common_name().next()?.as_str().ok()?;
    let groups = subject.iter_organization();
    let caller = Caller {
        name: name.to_owned(),
        groups: groups
            .filter_map(|group| group.as_str().ok().map(str::to_owned))
            .collect(),
    };
    let until = Timestamp::from_second(cert.validity().not_after.timestamp()).ok()?;
    (!name.is_empty()).then_some((caller, until))
}
