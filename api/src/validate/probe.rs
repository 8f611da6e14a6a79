//! Probes and lifecycle hooks.

use k8s_openapi::api::core::v1::{
    Container, ExecAction, HTTPGetAction, LifecycleHandler, Probe, TCPSocketAction,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::{Errors, Words, each};
use crate::names::Form;

/// Probes and hooks of a container in a pod that has `grace` seconds to stop.
pub(super) fn check(path: &str, one: &Container, grace: i64, errors: &mut Errors) {
    let probes = [
        ("livenessProbe", &one.liveness_probe),
        ("readinessProbe", &one.readiness_probe),
        ("startupProbe", &one.startup_probe),
    ];
    for (name, probe) in probes {
        let Some(probe) = probe else { continue };
        let path = format!("{path}.{name}");
        check_probe(&path, probe, one, errors);
        if name != "readinessProbe" {
            let field = format!("{path}.successThreshold");
            match (errors.words, probe.success_threshold) {
                (Words::Kubernetes, Some(count)) if count > 1 => {
                    errors.invalid(&field, count, "must be 1");
                }
                (Words::Kubernetes, _) => {}
                (Words::Plain, count) => errors.range(&field, count, 1..=1),
            }
        } else if let Some(grace) = probe.termination_grace_period_seconds {
            let problem = "forbidden: a readiness probe never stops a container";
            let why = "must not be set for readinessProbes";
            let field = format!("{path}.terminationGracePeriodSeconds");
            errors.either(&field, problem, grace, why);
        }
    }
    let Some(lifecycle) = &one.lifecycle else {
        return;
    };
    let path = format!("{path}.lifecycle");
    if let Some(handler) = &lifecycle.post_start {
        check_handler(&format!("{path}.postStart"), handler, one, grace, errors);
    }
    if let Some(handler) = &lifecycle.pre_stop {
        check_handler(&format!("{path}.preStop"), handler, one, grace, errors);
    }
    if let Some(signal) = &lifecycle.stop_signal
        && !signal.starts_with("SIG")
    {
        let problem = format!(
            "unsupported value {signal:?}: write the name of a signal, for example SIGTERM"
        );
        errors.add(&format!("{path}.stopSignal"), &problem);
    }
}

fn check_probe(path: &str, probe: &Probe, one: &Container, errors: &mut Errors) {
    let handlers = [
        ("exec", probe.exec.is_some()),
        ("httpGet", probe.http_get.is_some()),
        ("tcpSocket", probe.tcp_socket.is_some()),
        ("grpc", probe.grpc.is_some()),
    ];
    errors.exactly_one(path, "handler", &handlers);
    let counts = [
        ("initialDelaySeconds", probe.initial_delay_seconds, 0),
        ("timeoutSeconds", probe.timeout_seconds, 1),
        ("periodSeconds", probe.period_seconds, 1),
        ("successThreshold", probe.success_threshold, 1),
        ("failureThreshold", probe.failure_threshold, 1),
    ];
    for (name, count, least) in counts {
        // 0 has become the default: only what is below it is left to be wrong.
        let below = errors.words == Words::Kubernetes && count.is_some_and(|count| count < 0);
        let least = if below { 0 } else { least };
        errors.range(&format!("{path}.{name}"), count, least..=i64::MAX);
    }
    let grace = probe.termination_grace_period_seconds;
    errors.range(
        &format!("{path}.terminationGracePeriodSeconds"),
        grace,
        1..=i64::MAX,
    );
    actions(
        path,
        (&probe.exec, &probe.http_get, &probe.tcp_socket),
        one,
        errors,
    );
    if let Some(grpc) = &probe.grpc {
        errors.range(&format!("{path}.grpc.port"), Some(grpc.port), 1..=65535);
    }
}

fn check_handler(
    path: &str,
    handler: &LifecycleHandler,
    one: &Container,
    grace: i64,
    errors: &mut Errors,
) {
    let handlers = [
        ("exec", handler.exec.is_some()),
        ("httpGet", handler.http_get.is_some()),
        ("tcpSocket", handler.tcp_socket.is_some()),
        ("sleep", handler.sleep.is_some()),
    ];
    errors.exactly_one(path, "handler", &handlers);
    actions(
        path,
        (&handler.exec, &handler.http_get, &handler.tcp_socket),
        one,
        errors,
    );
    if let Some(sleep) = &handler.sleep {
        errors.range(
            &format!("{path}.sleep.seconds"),
            Some(sleep.seconds),
            0..=grace.max(0),
        );
    }
}

type Actions<'a> = (
    &'a Option<ExecAction>,
    &'a Option<HTTPGetAction>,
    &'a Option<TCPSocketAction>,
);

fn actions(path: &str, actions: Actions<'_>, one: &Container, errors: &mut Errors) {
    let (exec, http_get, tcp_socket) = actions;
    if let Some(exec) = exec {
        let path = format!("{path}.exec.command");
        if exec.command.as_ref().is_none_or(Vec::is_empty) {
            errors.required(&path);
        }
        for (path, word) in each(path, exec.command.as_ref()) {
            errors.no_nul(&path, word);
        }
    }
    if let Some(get) = http_get {
        port(&format!("{path}.httpGet.port"), &get.port, one, errors);
        errors.one_of(
            &format!("{path}.httpGet.scheme"),
            get.scheme.as_ref(),
            &["HTTP", "HTTPS"],
        );
        for (path, header) in each(
            format!("{path}.httpGet.httpHeaders"),
            get.http_headers.as_ref(),
        ) {
            let bad = |c: char| !c.is_ascii_alphanumeric() && !"!#$%&'*+-.^_`|~".contains(c);
            if header.name.is_empty() || header.name.contains(bad) {
                let problem = format!(
                    "invalid value {:?}: must be the name of a header",
                    header.name
                );
                errors.add(&format!("{path}.name"), &problem);
            }
            if header.value.contains(['\r', '\n', '\0']) {
                errors.add(&format!("{path}.value"), "invalid value: must be one line");
            }
        }
    }
    if let Some(socket) = tcp_socket {
        port(&format!("{path}.tcpSocket.port"), &socket.port, one, errors);
    }
}

fn port(path: &str, port: &IntOrString, one: &Container, errors: &mut Errors) {
    match port {
        IntOrString::Int(0) if errors.words == Words::Plain => errors.required(path),
        IntOrString::Int(number) => errors.range(path, Some(*number), 1..=65535),
        // A number in quotes was common in 2014 and is still understood.
        IntOrString::String(text) if text.parse::<u16>().is_ok_and(|number| number > 0) => {}
        IntOrString::String(name) => {
            let mut ports = one.ports.iter().flatten();
            if Form::PortName.problem(name).is_some() {
                errors.form(Form::PortName, path, name);
            } else if !ports.any(|port| port.name.as_ref() == Some(name)) {
                errors.add(
                    path,
                    &format!("port {name:?} not found among the container's ports"),
                );
            }
        }
    }
}
