//! The spec of a pod as a whole.

use std::collections::BTreeSet;
use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Container, HostAlias, PodDNSConfig, PodSpec};

use super::{
    Errors, FieldError, Unique, Words, container, each, labels, resources, scheduling, security,
    volume,
};
use crate::names::Form;

/// What the checks of a container need to know of its pod.
pub(super) struct Surroundings<'p> {
    pub(super) volumes: BTreeSet<&'p str>,
    pub(super) host_network: bool,
    pub(super) grace: i64,
}

pub(super) fn spec(spec: &PodSpec, errors: &mut Errors) {
    words(spec, errors);
    names(spec, errors);
    namespaces(spec, errors);
    dns(spec, errors);
    if let Some(context) = &spec.security_context {
        security::pod("spec.securityContext", context, spec, errors);
    }
    if let Some(whole) = &spec.resources {
        resources::check("spec.resources", whole, errors);
    }
    for (path, volume) in each("spec.volumes".to_owned(), spec.volumes.as_ref()) {
        volume::check(&path, volume, errors);
    }
    let mut seen = Unique::new();
    for (path, volume) in each("spec.volumes".to_owned(), spec.volumes.as_ref()) {
        seen.insert(errors, &format!("{path}.name"), volume.name.as_str());
    }
    containers(spec, errors);
    scheduling::check(spec, errors);
}

fn words(spec: &PodSpec, errors: &mut Errors) {
    let policy = spec.restart_policy.as_ref();
    errors.one_of(
        "spec.restartPolicy",
        policy,
        &["Always", "OnFailure", "Never"],
    );
    let policies = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    errors.one_of("spec.dnsPolicy", spec.dns_policy.as_ref(), &policies);
    if let Some(os) = &spec.os {
        errors.one_of("spec.os.name", Some(&os.name), &["linux"]);
    }
    let grace = spec.termination_grace_period_seconds;
    errors.range("spec.terminationGracePeriodSeconds", grace, 0..=i64::MAX);
    errors.range(
        "spec.activeDeadlineSeconds",
        spec.active_deadline_seconds,
        1..=i64::from(i32::MAX),
    );
    labels("spec.nodeSelector", spec.node_selector.as_ref(), errors);
    if spec
        .ephemeral_containers
        .as_ref()
        .is_some_and(|list| !list.is_empty())
    {
        errors.forbidden(
            "spec.ephemeralContainers",
            match errors.words {
                Words::Plain => "they can only be added to a pod that runs",
                Words::Kubernetes => "cannot be set on create",
            },
        );
    }
}

fn names(spec: &PodSpec, errors: &mut Errors) {
    let labels = [
        ("spec.hostname", &spec.hostname),
        ("spec.subdomain", &spec.subdomain),
    ];
    let subdomains = [
        ("spec.serviceAccountName", &spec.service_account_name),
        ("spec.nodeName", &spec.node_name),
        ("spec.priorityClassName", &spec.priority_class_name),
        ("spec.runtimeClassName", &spec.runtime_class_name),
    ];
    let named = |(path, name), form| (path, name, form);
    let labels = labels.into_iter().map(|pair| named(pair, Form::Label));
    let subdomains = subdomains
        .into_iter()
        .map(|pair| named(pair, Form::Subdomain));
    for (path, name, form) in labels.chain(subdomains) {
        if let Some(name) = name.as_deref().filter(|name| !name.is_empty()) {
            errors.form(form, path, name);
        }
    }
    if let Some(name) = spec.hostname_override.as_deref() {
        errors.form(Form::Subdomain, "spec.hostnameOverride", name);
        errors.range("spec.hostnameOverride", Some(length(name)), 0..=64);
    }
    for (path, secret) in each(
        "spec.imagePullSecrets".to_owned(),
        spec.image_pull_secrets.as_ref(),
    ) {
        errors.form(Form::Subdomain, &format!("{path}.name"), &secret.name);
    }
}

fn length(text: &str) -> i64 {
    i64::try_from(text.len()).unwrap_or(i64::MAX)
}

fn namespaces(spec: &PodSpec, errors: &mut Errors) {
    let host_pid = spec.host_pid == Some(true);
    if host_pid && spec.share_process_namespace == Some(true) {
        errors.either(
            "spec.shareProcessNamespace",
            "forbidden with hostPID: the processes of the host are shared already; remove one of them",
            true,
            "ShareProcessNamespace and HostPID cannot both be enabled",
        );
    }
    if spec.host_users == Some(false) {
        let shared = [
            ("hostNetwork", spec.host_network),
            ("hostPID", spec.host_pid),
            ("hostIPC", spec.host_ipc),
        ];
        for (name, _) in shared.into_iter().filter(|(_, set)| *set == Some(true)) {
            errors.add(&format!("spec.{name}"), "forbidden with hostUsers: false");
        }
    }
}

fn dns(spec: &PodSpec, errors: &mut Errors) {
    let none = spec.dns_policy.as_deref() == Some("None");
    let servers = spec
        .dns_config
        .as_ref()
        .and_then(|config| config.nameservers.as_ref());
    if none && servers.is_none_or(Vec::is_empty) {
        let (path, why) = match spec.dns_config {
            None => (
                "spec.dnsConfig",
                "must provide `dnsConfig` when `dnsPolicy` is None",
            ),
            Some(_) => (
                "spec.dnsConfig.nameservers",
                "must provide at least one DNS nameserver when `dnsPolicy` is None",
            ),
        };
        let plain = "required value with dnsPolicy None";
        errors.say(
            || FieldError::new("spec.dnsConfig.nameservers", plain),
            || FieldError::required(path, why),
        );
    }
    if let Some(config) = &spec.dns_config {
        dns_config(config, errors);
    }
    for (path, alias) in each("spec.hostAliases".to_owned(), spec.host_aliases.as_ref()) {
        host_alias(&path, alias, errors);
    }
}

fn dns_config(config: &PodDNSConfig, errors: &mut Errors) {
    const MOST_SERVERS: usize = 3;
    const MOST_SEARCHES: usize = 32;
    let path = "spec.dnsConfig".to_owned();
    let lists = [
        ("nameservers", config.nameservers.as_ref(), MOST_SERVERS),
        ("searches", config.searches.as_ref(), MOST_SEARCHES),
    ];
    for (name, list, most) in lists {
        let count = list.map_or(0, Vec::len);
        if count > most {
            let problem = format!("{count} entries, at most {most} are allowed");
            errors.add(&format!("{path}.{name}"), &problem);
        }
    }
    for (path, server) in each(format!("{path}.nameservers"), config.nameservers.as_ref()) {
        ip(&path, server, errors);
    }
    for (path, domain) in each(format!("{path}.searches"), config.searches.as_ref()) {
        // A search domain may end in a dot, and may begin with an underscore.
        let plain = domain
            .strip_suffix('.')
            .unwrap_or(domain)
            .to_ascii_lowercase();
        if domain != "." {
            errors.form(Form::Subdomain, &path, &plain.replace('_', "a"));
        }
    }
    for (path, option) in each(format!("{path}.options"), config.options.as_ref()) {
        let name = option.name.as_deref().unwrap_or_default();
        let text = format!("{name}{}", option.value.as_deref().unwrap_or_default());
        if name.is_empty() {
            errors.required(&format!("{path}.name"));
        } else if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            errors.add(&path, "invalid value: must not contain spaces");
        }
    }
}

fn host_alias(path: &str, alias: &HostAlias, errors: &mut Errors) {
    ip(&format!("{path}.ip"), &alias.ip, errors);
    for (path, name) in each(format!("{path}.hostnames"), alias.hostnames.as_ref()) {
        errors.form(Form::Subdomain, &path, name);
    }
}

/// An address, v4 or v6.
pub(super) fn ip(path: &str, value: &str, errors: &mut Errors) {
    if value.is_empty() {
        errors.required(path);
    } else if value.parse::<IpAddr>().is_err() {
        let why = match errors.words {
            Words::Plain => "must be an IP address",
            Words::Kubernetes => "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
        };
        errors.invalid(path, value, why);
    }
}

fn containers(spec: &PodSpec, errors: &mut Errors) {
    if spec.containers.is_empty() {
        errors.required_because("spec.containers", "a pod needs at least one container");
    }
    let surroundings = Surroundings {
        volumes: spec
            .volumes
            .iter()
            .flatten()
            .map(|volume| volume.name.as_str())
            .collect(),
        host_network: spec.host_network == Some(true),
        grace: spec.termination_grace_period_seconds.unwrap_or(i64::MAX),
    };
    let inits = each(
        "spec.initContainers".to_owned(),
        spec.init_containers.as_ref(),
    );
    let mut seen = Unique::new();
    for (path, init) in inits {
        seen.insert(errors, &format!("{path}.name"), init.name.as_str());
        container::init(&path, init, &surroundings, errors);
    }
    for (path, one) in each("spec.containers".to_owned(), Some(&spec.containers)) {
        seen.insert(errors, &format!("{path}.name"), one.name.as_str());
        container::check(&path, one, &surroundings, errors);
    }
    host_ports(spec, errors);
}

/// No two containers that run at the same time may publish the same port.
fn host_ports(spec: &PodSpec, errors: &mut Errors) {
    let sidecar = |one: &&Container| one.restart_policy.as_deref() == Some("Always");
    let inits = each(
        "spec.initContainers".to_owned(),
        spec.init_containers.as_ref(),
    );
    let running = inits
        .filter(|(_, one)| sidecar(one))
        .chain(each("spec.containers".to_owned(), Some(&spec.containers)));
    let mut everywhere = BTreeSet::new();
    let mut by_address = BTreeSet::new();
    let mut any = BTreeSet::new();
    for (path, one) in running {
        for (path, port) in each(format!("{path}.ports"), one.ports.as_ref()) {
            let Some(number) = port.host_port else {
                continue;
            };
            let key = (number, port.protocol.as_deref().unwrap_or("TCP"));
            let address = port
                .host_ip
                .as_deref()
                .and_then(|ip| ip.parse::<IpAddr>().ok());
            let is_free = match address.filter(|address| !address.is_unspecified()) {
                Some(address) => !everywhere.contains(&key) && by_address.insert((key, address)),
                None => everywhere.insert(key) && !any.contains(&key),
            };
            any.insert(key);
            if !is_free {
                errors.duplicate(&format!("{path}.hostPort"), number);
            }
        }
    }
}
