//! TLS settings of one host: whom it trusts, and what certificate we show.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::error::RegistryError;
use crate::config::{ClientCert, HostConfig};

/// Settings for a client that never speaks TLS; saves reading the system's authorities.
pub(super) fn none() -> ClientConfig {
    builder()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth()
}

/// Settings for `host`: the system's authorities, and what the registries file adds.
pub(super) fn for_host(
    host: &str,
    config: &HostConfig,
    system: &OnceLock<Arc<RootCertStore>>,
) -> Result<ClientConfig, RegistryError> {
    let wants_cert = if config.insecure_skip_verify {
        let verifier = Arc::new(TrustAnybody(ring::default_provider()));
        builder()
            .dangerous()
            .with_custom_certificate_verifier(verifier)
    } else {
        let mut roots = (**system.get_or_init(|| Arc::new(system_roots()))).clone();
        if let Some(path) = &config.ca_file {
            add_authorities(host, path, &mut roots)?;
        }
        builder().with_root_certificates(roots)
    };
    match &config.client_cert {
        None => Ok(wants_cert.with_no_client_auth()),
        Some(cert) => {
            let (chain, key) = read_identity(host, cert)?;
            let config = wants_cert.with_client_auth_cert(chain, key);
            config.map_err(|err| unusable(host, &cert.cert_file, &err))
        }
    }
}

fn builder() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("ring implements the default protocol versions")
}

/// The authorities this machine trusts. Without any, a connection fails and says so.
fn system_roots() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    for err in &found.errors {
        tracing::debug!(%err, "cannot read some of the system's certificate authorities");
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    roots
}

fn add_authorities(
    host: &str,
    path: &Path,
    roots: &mut RootCertStore,
) -> Result<(), RegistryError> {
    let certs = read_certs(host, path)?;
    for cert in certs {
        roots.add(cert).map_err(|err| unusable(host, path, &err))?;
    }
    Ok(())
}

fn read_identity(
    host: &str,
    cert: &ClientCert,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), RegistryError> {
    let chain = read_certs(host, &cert.cert_file)?;
    let key = PrivateKeyDer::from_pem_file(&cert.key_file)
        .map_err(|err| unusable(host, &cert.key_file, &err))?;
    Ok((chain, key))
}

fn read_certs(host: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, RegistryError> {
    let certs =
        CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certs = certs.map_err(|err| unusable(host, path, &err))?;
    if certs.is_empty() {
        return Err(unusable(host, path, &"holds no certificate in PEM form"));
    }
    Ok(certs)
}

fn unusable(host: &str, path: &Path, why: &dyn ToString) -> RegistryError {
    RegistryError::Certificate {
        host: host.to_owned(),
        path: path.display().to_string(),
        why: why.to_string(),
    }
}

/// Accepts any certificate, for hosts with `insecureSkipVerify`; signatures are still checked.
#[derive(Debug)]
struct TrustAnybody(CryptoProvider);

impl ServerCertVerifier for TrustAnybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
