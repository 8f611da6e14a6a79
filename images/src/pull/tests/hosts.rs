//! Which host is asked, and how: mirrors, TLS, hosts that are not there.

use std::net::TcpListener;
use std::sync::Arc;

use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use super::*;
use crate::Login;
use crate::RegistryError;
use crate::config::{ClientCert, HostConfig};

/// A port where nobody listens.
fn dead_host() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

fn mirrors(bench: &mut Bench, mirrors: Vec<String>) {
    let host = HostConfig {
        mirrors,
        ..HostConfig::default()
    };
    bench
        .options
        .registries
        .registries
        .insert(bench.registry.host(), host);
}

#[tokio::test]
async fn mirrors_are_asked_in_turn_and_the_host_last() {
    let mut bench = Bench::small();
    let (empty, full) = (FixtureRegistry::start(), FixtureRegistry::start());
    full.put_image("cache/app", "1", &bench.image);
    let list = vec![
        dead_host(),
        empty.host(),
        format!("http://{}/hub", empty.host()),
    ];
    mirrors(&mut bench, list.clone());
    bench.pull().await.unwrap();
    assert_eq!(empty.seen_at("/v2/app/manifests/1").len(), 1);
    assert_eq!(empty.seen_at("/v2/hub/app/manifests/1").len(), 1);
    assert_eq!(bench.registry.seen_at(MANIFEST).len(), 1);

    let mut second = Bench::small();
    let mirror = FixtureRegistry::start();
    mirror.put_image("app", "1", &second.image);
    mirrors(&mut second, vec![mirror.host()]);
    second.pull().await.unwrap();
    assert_eq!(second.registry.seen(), []);
    let name = second.store().get(&second.name()).unwrap().names;
    assert_eq!(name, [second.name()]);
}

#[tokio::test]
async fn a_mirror_that_lies_or_lacks_a_layer_is_helped_out() {
    for fault in [
        Fault::Corrupt,
        Fault::Status(404, Vec::new()),
        Fault::Shorten(1),
    ] {
        let mut bench = Bench::large();
        let mirror = FixtureRegistry::start();
        mirror.put_image("app", "1", &bench.image);
        mirror.fault(&bench.layer_digest(0), usize::MAX, fault.clone());
        mirrors(&mut bench, vec![mirror.host()]);
        bench
            .pull()
            .await
            .unwrap_or_else(|err| panic!("{fault:?}: {}", chain(&err)));
        assert_eq!(
            bench.registry.seen_at(&bench.layer_digest(0)).len(),
            1,
            "{fault:?}"
        );
    }
}

#[tokio::test]
async fn absent_hosts_are_told_apart_and_at_once() {
    let mut bench = Bench::small();
    bench.options.retry.base = Duration::from_secs(3600);
    bench.options.retry.max = Duration::from_secs(3600);
    let host = dead_host();
    let outcome = bench.pull_name(&format!("{host}/app")).await;
    let err = bench.expect_failure(outcome, &[&host, "cannot connect", "refused"]);
    assert!(
        matches!(err, PullError::Registry(RegistryError::Connect { .. })),
        "{err:?}"
    );

    let outcome = bench.pull_name("no-such-host.invalid/app").await;
    let err = bench.expect_failure(outcome, &["no-such-host.invalid", "unknown host"]);
    assert!(
        matches!(err, PullError::Registry(RegistryError::UnknownHost { .. })),
        "{err:?}"
    );
}

/// An authority, and what it signed.
struct Authority {
    cert: rcgen::Certificate,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let cert = params.self_signed(&key).unwrap();
        Self {
            cert,
            issuer: rcgen::Issuer::new(params, key),
        }
    }

    fn sign(&self, name: &str) -> (rcgen::Certificate, rcgen::KeyPair) {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// Settings of a server for 127.0.0.1; `clients` must show a certificate of ours.
    fn server(&self, clients: bool) -> Arc<rustls::ServerConfig> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let (cert, key) = self.sign("127.0.0.1");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let builder = rustls::ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = if clients {
            let mut roots = rustls::RootCertStore::empty();
            roots.add(self.cert.der().clone()).unwrap();
            let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
                Arc::new(roots),
                provider,
            );
            builder.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        Arc::new(
            builder
                .with_single_cert(vec![cert.der().clone()], key)
                .unwrap(),
        )
    }
}

/// A bench whose registry speaks TLS, and the file with its authority.
fn tls_bench(authority: &Authority, clients: bool) -> (Bench, PathBuf) {
    let mut bench = Bench::small();
    bench.registry = FixtureRegistry::start_tls(authority.server(clients));
    bench.registry.put_image("app", "1", &bench.image);
    let ca = bench.dir.path().join("ca.pem");
    fs_err::write(&ca, authority.cert.pem()).unwrap();
    (bench, ca)
}

fn configure(bench: &mut Bench, host: HostConfig) {
    bench
        .options
        .registries
        .registries
        .insert(bench.registry.host(), host);
}

#[tokio::test]
async fn private_authorities_are_trusted_when_named() {
    let (mut bench, ca) = tls_bench(&Authority::new(), false);
    // A loopback host is tried by plain HTTP first; this one wants TLS.
    let outcome = bench.pull().await;
    let err = bench.expect_failure(outcome, &["TLS failed", "caFile"]);
    assert!(
        matches!(err, PullError::Registry(RegistryError::Tls { .. })),
        "{err:?}"
    );

    configure(
        &mut bench,
        HostConfig {
            insecure_skip_verify: true,
            ..HostConfig::default()
        },
    );
    bench.pull().await.unwrap();

    bench.options.policy = PullPolicy::Always;
    for plain_http in [None, Some(false)] {
        let ca_file = Some(ca.clone());
        configure(
            &mut bench,
            HostConfig {
                ca_file,
                plain_http,
                ..HostConfig::default()
            },
        );
        bench.pull().await.unwrap();
    }
}

#[tokio::test]
async fn certificate_files_that_cannot_be_used_are_named() {
    let (mut bench, ca) = tls_bench(&Authority::new(), false);
    for (text, want) in [
        (None, "missing.pem"),
        (Some("not pem"), "holds no certificate"),
    ] {
        let path = bench.dir.path().join("missing.pem");
        if let Some(text) = text {
            fs_err::write(&path, text).unwrap();
        }
        configure(
            &mut bench,
            HostConfig {
                ca_file: Some(path),
                ..HostConfig::default()
            },
        );
        let outcome = bench.pull().await;
        bench.expect_failure(outcome, &["cannot use", want]);
    }
    configure(
        &mut bench,
        HostConfig {
            ca_file: Some(ca),
            ..HostConfig::default()
        },
    );
    bench.pull().await.unwrap();
}

#[tokio::test]
async fn plain_http_where_tls_is_wanted_is_called_so() {
    let mut bench = Bench::small();
    configure(
        &mut bench,
        HostConfig {
            plain_http: Some(false),
            ..HostConfig::default()
        },
    );
    let outcome = bench.pull().await;
    bench.expect_failure(outcome, &["TLS failed", "plainHttp: true"]);
}

#[tokio::test]
async fn client_certificates_are_shown() {
    let authority = Authority::new();
    let (mut bench, ca) = tls_bench(&authority, true);
    let host = HostConfig {
        ca_file: Some(ca),
        ..HostConfig::default()
    };
    configure(&mut bench, host.clone());
    let outcome = bench.pull().await;
    bench.expect_failure(outcome, &["TLS failed", "clientCert"]);

    let (cert, key) = authority.sign("client");
    let (cert_file, key_file) = (
        bench.dir.path().join("c.pem"),
        bench.dir.path().join("c.key"),
    );
    fs_err::write(&cert_file, cert.pem()).unwrap();
    fs_err::write(&key_file, key.serialize_pem()).unwrap();
    let client_cert = Some(ClientCert {
        cert_file,
        key_file,
    });
    configure(
        &mut bench,
        HostConfig {
            client_cert,
            ..host
        },
    );
    bench.pull().await.unwrap();
}

#[tokio::test]
async fn https_does_not_lead_to_plain_http() {
    let (mut bench, ca) = tls_bench(&Authority::new(), false);
    configure(
        &mut bench,
        HostConfig {
            ca_file: Some(ca),
            ..HostConfig::default()
        },
    );
    let target = "http://192.0.2.1/blob".to_owned();
    let redirect = Fault::Status(307, vec![("Location".to_owned(), target)]);
    bench.registry.fault(&bench.layer_digest(0), 1, redirect);
    let outcome = bench.pull().await;
    bench.expect_failure(outcome, &["redirect to http://192.0.2.1", "only https"]);
}

#[tokio::test]
async fn a_password_does_not_leave_tls() {
    let (mut bench, ca) = tls_bench(&Authority::new(), false);
    let host = HostConfig {
        ca_file: Some(ca),
        ..HostConfig::default()
    };
    configure(&mut bench, host);
    let (user, password) = ("user".to_owned(), "hunter2".to_owned());
    bench
        .options
        .credentials
        .give(&bench.registry.host(), Login::Basic { user, password });
    let challenge = "Bearer realm=\"http://192.0.2.1/token\"".to_owned();
    let wants = Fault::Status(401, vec![("WWW-Authenticate".to_owned(), challenge)]);
    bench.registry.fault(MANIFEST, usize::MAX, wants);
    let outcome = bench.pull().await;
    bench.expect_failure(outcome, &["http://192.0.2.1/token", "not an https address"]);
}
