use super::*;

fn parse(text: &str) -> Result<RegistryConfig, ConfigError> {
    RegistryConfig::parse(text, Path::new("/etc/rkube/registries.yaml"))
}

const FULL: &str = r#"
defaultRegistry: reg.example.com
registries:
  docker.io:
    mirrors: [mirror.example.com/hub, "http://cache.local:5000", "https://127.0.0.1:5000/"]
  mirror.example.com:
    caFile: ca.pem
    clientCert: { certFile: c.pem, keyFile: /k.pem }
  plain.example.com: { plainHttp: true }
  127.0.0.1:9999: { plainHttp: false }
  old.example.com: { insecureSkipVerify: true }
"#;

#[test]
fn everything_is_read() {
    let config = parse(FULL).unwrap();
    assert_eq!(config.default_registry, "reg.example.com");
    let mirror = config.host("mirror.example.com");
    assert_eq!(
        mirror.ca_file.as_deref(),
        Some(Path::new("/etc/rkube/ca.pem"))
    );
    let cert = mirror.client_cert.unwrap();
    assert_eq!(cert.cert_file, Path::new("/etc/rkube/c.pem"));
    assert_eq!(cert.key_file, Path::new("/k.pem"));
    assert!(config.host("old.example.com").insecure_skip_verify);
}

#[track_caller]
fn check_addresses(registry: &str, want: &[(&str, &str, Scheme)]) {
    let got = parse(FULL).unwrap().addresses(registry);
    let got: Vec<_> = got
        .iter()
        .map(|a| (a.host.as_str(), a.prefix.as_str(), a.scheme))
        .collect();
    assert_eq!(got, want);
}

#[test]
fn mirrors_come_first_and_loopback_is_probed() {
    check_addresses(
        "docker.io",
        &[
            ("mirror.example.com", "hub/", Scheme::Https),
            ("cache.local:5000", "", Scheme::Http),
            ("127.0.0.1:5000", "", Scheme::Https),
            ("docker.io", "", Scheme::Https),
        ],
    );
    check_addresses(
        "plain.example.com",
        &[("plain.example.com", "", Scheme::Http)],
    );
    check_addresses("127.0.0.1:9999", &[("127.0.0.1:9999", "", Scheme::Https)]);
    check_addresses("localhost:5000", &[("localhost:5000", "", Scheme::Probe)]);
    check_addresses("10.0.0.1:5000", &[("10.0.0.1:5000", "", Scheme::Https)]);
}

#[test]
fn json_and_nothing_will_do() {
    let json = r#"{"registries": {"a.b": {"plainHttp": true}}}"#;
    assert_eq!(parse(json).unwrap().scheme("a.b"), Scheme::Http);
    for empty in ["", "\n# only a comment\n", "---\n", "{}"] {
        assert_eq!(
            parse(empty).unwrap(),
            RegistryConfig::default(),
            "{empty:?}"
        );
    }
}

#[track_caller]
fn refused(text: &str, wants: &[&str]) {
    let message = parse(text).expect_err(text).to_string();
    for want in wants.iter().chain(&["registries.yaml"]) {
        assert!(message.contains(want), "{text}: {message}");
    }
    assert!(!message.contains('\n'), "{message}");
}

#[test]
fn mistakes_are_named() {
    refused("registires: {}", &["registires"]);
    refused("registries: { a.b: { plainHTTP: true } }", &["plainHTTP"]);
    refused(
        "registries: { a.b: { clientCert: { certFile: x } } }",
        &["keyFile"],
    );
    refused(
        "registries: { 'https://a.b': {} }",
        &["https://a.b", "host:port"],
    );
    refused(
        "registries: { a.b: { mirrors: [ok.com, 'ftp://x'] } }",
        &["a.b.mirrors[1]", "ftp://x"],
    );
    refused("registries: { a.b: { mirrors: ['x/../y'] } }", &["x/../y"]);
    refused(
        "registries: { a.b: { plainHttp: true, caFile: x } }",
        &["a.b", "plainHttp"],
    );
    refused("defaultRegistry: 'a b'", &["defaultRegistry", "a b"]);
    refused("registries: [", &[]);
}

#[test]
fn a_missing_file_is_an_error_that_names_it() {
    let err = RegistryConfig::load(Path::new("/nonexistent/r.yaml")).unwrap_err();
    let ConfigError::Read { source } = err else {
        panic!("{err}")
    };
    assert!(
        source.to_string().contains("/nonexistent/r.yaml"),
        "{source}"
    );
}
