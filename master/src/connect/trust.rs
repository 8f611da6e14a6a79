//! Which kubelet is believed to be the node's own, and how the API server shows itself to it.
//!
//! A kubelet makes an authority and a certificate of its own and, with the credentials it registers by, says in its Node
//! which authority that is (`rkube.io/kubelet-authority`, the base64 of its DER form). Only that node may write the
//! annotation (node restriction), so what is sent there reaches nobody else. Without it, the certificate must come from
//! the authority given to the API server.
use super::Security;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use std::sync::Arc;

/// Why no trust could be set up.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The authority's certificate is none.
    #[error("the authority for kubelets' certificates cannot be used: {0}")]
    Authority(String),
    /// The API server's own certificate for kubelets cannot be used.
    #[error("the certificate to show to kubelets cannot be used: {0}")]
    Own(#[source] Error),
}

/// With whom the API server speaks TLS, and as whom.
#[derive(Clone, Debug)]
pub struct KubeletTrust {
    provider: Arc<CryptoProvider>,
    base: Arc<ClientConfig>,
    authorities: Arc<[CertificateDer<'static>]>,
    workload: Arc<ClientConfig>,
}

impl KubeletTrust {
    /// `authorities` sign the certificates of kubelets that do not name theirs; with none, such a kubelet is not spoken
    /// with unless `insecure`. `own` is what the API server shows to them.
    ///
    /// # Errors
    /// When a certificate or key cannot be used.
    pub fn new(
        authorities: &[CertificateDer<'static>],
        own: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
        insecure: bool,
    ) -> Result<Self, TrustError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let authority = authority(&provider, authorities)?;
        let verifier = Arc::new(Verifier {
            provider: provider.clone(),
            wanted: match (authority, insecure) {
                (_, true) => Wanted::Anything,
                (Some(authority), false) => Wanted::Signed(authority),
                (None, false) => Wanted::Nothing,
            },
        });
        let base = builder(&provider, verifier).map_err(TrustError::Own)?;
        let base = match own {
            Some((chain, key)) => base
                .with_client_auth_cert(chain, key)
                .map_err(TrustError::Own)?,
            None => base.with_no_client_auth(),
        };
        let anything = Arc::new(Verifier {
            provider: provider.clone(),
            wanted: Wanted::Anything,
        });
        let workload = builder(&provider, anything)
            .map_err(TrustError::Own)?
            .with_no_client_auth();
        Ok(KubeletTrust {
            provider,
            base: Arc::new(base),
            authorities: authorities.into(),
            workload: Arc::new(workload),
        })
    }

    /// For a kubelet that says who signed its certificate, or does not.
    pub(super) fn config(&self, own_authority: Option<&str>) -> Arc<ClientConfig> {
        let Some(verifier) = own_authority.and_then(|text| self.trusting(text)) else {
            return self.base.clone();
        };
        let mut config = ClientConfig::clone(&self.base);
        let verifier = Verifier {
            provider: self.provider.clone(),
            wanted: Wanted::Signed(verifier),
        };
        config
            .dangerous()
            .set_certificate_verifier(Arc::new(verifier));
        Arc::new(config)
    }

    fn trusting(&self, text: &str) -> Option<Arc<WebPkiServerVerifier>> {
        let bytes = BASE64.decode(text).ok()?;
        let mut all = self.authorities.to_vec();
        all.push(CertificateDer::from(bytes));
        authority(&self.provider, &all).ok().flatten()
    }

    /// For pods and services: their certificates are not checked, as a pod is whatever stands at its address. No
    /// certificate of ours is shown to them.
    pub(super) fn of_workload(&self, tls: bool) -> Security {
        match tls {
            true => Security::Tls(self.workload.clone()),
            false => Security::Plain,
        }
    }
}

fn authority(
    provider: &Arc<CryptoProvider>,
    certificates: &[CertificateDer<'static>],
) -> Result<Option<Arc<WebPkiServerVerifier>>, TrustError> {
    if certificates.is_empty() {
        return Ok(None);
    }
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots
            .add(certificate.clone())
            .map_err(|err| TrustError::Authority(err.to_string()))?;
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map(Some)
        .map_err(|err| TrustError::Authority(err.to_string()))
}

fn builder(
    provider: &Arc<CryptoProvider>,
    verifier: Arc<Verifier>,
) -> Result<rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>, Error> {
    Ok(ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier))
}

/// Looks at a server's certificate.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    wanted: Wanted,
}

/// What it must be.
#[derive(Debug)]
enum Wanted {
    Anything,
    Nothing,
    Signed(Arc<WebPkiServerVerifier>),
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        match &self.wanted {
            Wanted::Anything => Ok(ServerCertVerified::assertion()),
            Wanted::Nothing => Err(Error::General(
                "its node does not say who signed its certificate, and no authority for kubelets is set \
                 (--kubelet-certificate-authority, or --kubelet-insecure-tls)"
                    .to_owned(),
            )),
            Wanted::Signed(authority) => authority.verify_server_cert(
                end_entity,
                intermediates,
                server_name,
                ocsp_response,
                now,
            ),
        }
    }
    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, signed, algorithms)
    }
    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, signed, algorithms)
    }
    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        let algorithms = &self.provider.signature_verification_algorithms;
        algorithms.supported_schemes()
    }
}
