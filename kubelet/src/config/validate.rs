//! What must hold between the settings; pure, so that a check needs no host.
use super::{GoDuration, KubeletConfig};
use rkube_api::Quantity;
use std::path::PathBuf;

/// Settings and what is wrong with them, in the order of the fields.
pub(super) type Found = Vec<(String, String)>;

/// Everything that is wrong.
pub(super) fn validate(config: &KubeletConfig) -> Found {
    let mut found = Found::new();
    header(config, &mut found);
    sources(config, &mut found);
    server(config, &mut found);
    node(config, &mut found);
    images_and_logs(config, &mut found);
    evictions(config, &mut found);
    times(config, &mut found);
    found
}

fn add(found: &mut Found, path: impl Into<String>, text: impl Into<String>) {
    found.push((path.into(), text.into()));
}

fn header(config: &KubeletConfig, found: &mut Found) {
    for (path, value, wanted) in [
        ("apiVersion", &config.api_version, super::API_VERSION),
        ("kind", &config.kind, super::KIND),
    ] {
        if value != wanted {
            add(
                found,
                path,
                format!("\"{value}\"; only {wanted} is read here"),
            );
        }
    }
}

fn sources(config: &KubeletConfig, found: &mut Found) {
    let rkube = &config.rkube;
    let one = config
        .static_pod_url
        .iter()
        .map(|url| ("staticPodURL".to_owned(), url));
    let etcd = numbered("rkube.etcdServers", &rkube.etcd_servers);
    let api = numbered("rkube.apiServers", &rkube.api_servers);
    for (path, url) in one.chain(etcd).chain(api) {
        if let Some(problem) = not_a_url(url) {
            add(found, path, format!("\"{url}\" {problem}"));
        }
    }
    for (name, values) in &config.static_pod_url_header {
        let path = || format!("staticPodURLHeader[{name}]");
        if http::HeaderName::from_bytes(name.as_bytes()).is_err() {
            add(found, path(), "is not the name of a header");
        }
        if values
            .iter()
            .any(|value| http::HeaderValue::from_str(value).is_err())
        {
            add(
                found,
                path(),
                "a value has characters that no header may have",
            );
        }
    }
    both(
        found,
        ("rkube.etcdCertFile", &rkube.etcd_cert_file),
        ("rkube.etcdKeyFile", &rkube.etcd_key_file),
    );
    both(
        found,
        (
            "rkube.staticPodURLCertFile",
            &rkube.static_pod_url_cert_file,
        ),
        ("rkube.staticPodURLKeyFile", &rkube.static_pod_url_key_file),
    );
}

/// List items with their paths.
fn numbered<'a>(path: &'a str, items: &'a [String]) -> impl Iterator<Item = (String, &'a String)> {
    let items = items.iter().enumerate();
    items.map(move |(index, item)| (format!("{path}[{index}]"), item))
}

/// Why a text is not an address of HTTP; `None` if it is one.
fn not_a_url(text: &str) -> Option<&'static str> {
    let Ok(url) = text.parse::<http::Uri>() else {
        return Some("is not a URL; write it like http://host:port/path");
    };
    match (url.scheme_str(), url.host()) {
        (Some("http" | "https"), Some(host)) if !host.is_empty() => None,
        _ => Some("is not an HTTP URL; write it like http://host:port/path"),
    }
}

/// A certificate and its key come together.
fn both(found: &mut Found, cert: (&str, &Option<PathBuf>), key: (&str, &Option<PathBuf>)) {
    match (cert.1, key.1) {
        (Some(_), None) => add(found, cert.0, format!("is set without {}", key.0)),
        (None, Some(_)) => add(found, key.0, format!("is set without {}", cert.0)),
        (Some(_), Some(_)) | (None, None) => {}
    }
}

fn server(config: &KubeletConfig, found: &mut Found) {
    if config.enable_server && config.port == 0 {
        add(
            found,
            "port",
            "0 is not a port; write enableServer: false for no server",
        );
    }
    if config.enable_server && config.port != 0 && config.port == config.read_only_port {
        add(found, "readOnlyPort", "is the same as port");
    }
    both(
        found,
        ("tlsCertFile", &config.tls_cert_file),
        ("tlsPrivateKeyFile", &config.tls_private_key_file),
    );
}

fn node(config: &KubeletConfig, found: &mut Found) {
    if let Some(name) = &config.rkube.node_name
        && let Some(problem) = rkube_api::names::Form::Subdomain.problem(name)
    {
        add(found, "rkube.nodeName", problem);
    }
    if let Some(problem) = rkube_api::names::Form::Subdomain.problem(&config.cluster_domain) {
        add(found, "clusterDomain", problem);
    }
    if config.cluster_dns.len() > 3 {
        add(
            found,
            "clusterDNS",
            "the resolver of a container uses three name servers at most",
        );
    }
    if config.pod_pids_limit == 0 || config.pod_pids_limit < -1 {
        add(found, "podPidsLimit", "must be above 0, or -1 for none");
    }
    split(crate::housekeeping::node::reserved(config), found);
    let enforced = config.enforce_node_allocatable.iter().enumerate();
    for (index, what) in enforced.filter(|(_, what)| !["pods", "none"].contains(&what.as_str())) {
        add(
            found,
            format!("enforceNodeAllocatable[{index}]"),
            format!("\"{what}\" is not done here; write pods or none"),
        );
    }
}

fn images_and_logs(config: &KubeletConfig, found: &mut Found) {
    let (high, low) = (
        config.image_gc_high_threshold_percent,
        config.image_gc_low_threshold_percent,
    );
    for (path, percent) in [
        ("imageGCHighThresholdPercent", high),
        ("imageGCLowThresholdPercent", low),
    ] {
        if percent > 100 {
            add(found, path, format!("{percent} is more than 100 percent"));
        }
    }
    if low >= high {
        add(
            found,
            "imageGCLowThresholdPercent",
            format!("{low} is not below imageGCHighThresholdPercent, {high}"),
        );
    }
    let (least, most) = (config.image_minimum_gc_age, config.image_maximum_gc_age);
    if most != GoDuration::ZERO && most <= least {
        add(
            found,
            "imageMaximumGCAge",
            format!("{most} is not above imageMinimumGCAge, {least}"),
        );
    }
    let size = &config.container_log_max_size;
    match size.parse::<Quantity>() {
        Ok(quantity) if quantity.units() < 1 => {
            add(found, "containerLogMaxSize", "must be above 0")
        }
        Ok(_) => {}
        Err(err) => add(found, "containerLogMaxSize", format!("\"{size}\": {err}")),
    }
    if config.container_log_max_files < 2 {
        add(
            found,
            "containerLogMaxFiles",
            "must be 2 or more: the one that grows, and one before it",
        );
    }
}

fn evictions(config: &KubeletConfig, found: &mut Found) {
    split(crate::housekeeping::signals::thresholds(config), found);
}

/// What others found, each `path: text`.
fn split<T>(outcome: Result<T, Vec<String>>, found: &mut Found) {
    for mistake in outcome.err().unwrap_or_default() {
        let (path, text) = mistake.split_once(": ").unwrap_or(("", &mistake));
        add(found, path, text);
    }
}

fn times(config: &KubeletConfig, found: &mut Found) {
    let rkube = &config.rkube;
    let second = GoDuration::from_secs(1);
    for (path, time) in [
        ("fileCheckFrequency", config.file_check_frequency),
        ("httpCheckFrequency", config.http_check_frequency),
        ("syncFrequency", config.sync_frequency),
        (
            "streamingConnectionIdleTimeout",
            config.streaming_connection_idle_timeout,
        ),
        (
            "crashLoopBackOff.maxContainerRestartPeriod",
            config.crash_loop_back_off.max_container_restart_period,
        ),
        (
            "rkube.containerRestartResetPeriod",
            rkube.container_restart_reset_period,
        ),
    ] {
        if time < second {
            add(found, path, format!("{time} is below 1s"));
        }
    }
    let (first, most) = (
        rkube.initial_container_restart_period,
        config.crash_loop_back_off.max_container_restart_period,
    );
    if first == GoDuration::ZERO {
        add(
            found,
            "rkube.initialContainerRestartPeriod",
            "must be above 0",
        );
    }
    if first > most {
        add(
            found,
            "rkube.initialContainerRestartPeriod",
            format!("{first} is above crashLoopBackOff.maxContainerRestartPeriod, {most}"),
        );
    }
    let (all, critical) = (
        config.shutdown_grace_period,
        config.shutdown_grace_period_critical_pods,
    );
    if critical > all {
        add(
            found,
            "shutdownGracePeriodCriticalPods",
            format!("{critical} is more than shutdownGracePeriod, {all}, of which it is a part"),
        );
    }
}
