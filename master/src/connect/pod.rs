//! Logs, exec, attach and port-forward of a pod, in the words of its kubelet; the proxy to a pod.
use super::address::{Name, proxyable};
use super::node::{encode, path_and_query};
use super::{Connector, Target};
use crate::call::Call;
use crate::error::ApiError;
use rkube_api::validate::{FieldError, Reason};
use serde_json::Value;

/// What is found in a pod when no container is named.
const DEFAULT_CONTAINER: &str = "kubectl.kubernetes.io/default-container";
/// The kinds of containers a pod has.
const KINDS: [&str; 3] = ["containers", "initContainers", "ephemeralContainers"];

impl Connector {
    /// Where to get what is asked of a pod; nothing where there is none to be had (the log of a pod without a node).
    pub(super) async fn pod_stream(&self, call: &Call) -> Result<Option<Target>, ApiError> {
        let name = &call.name;
        let pod = self
            .find("/registry/pods", "pods", &call.namespace, name)
            .await?;
        let log = call.subresource == "log";
        let query = match call.subresource.as_str() {
            "log" => log_options(call)?,
            "portforward" => ports(call),
            _ => streams(call)?,
        };
        let container = match call.subresource.as_str() {
            "portforward" => None,
            _ => Some(container(&pod, call)?),
        };
        let Some(node) = text(&pod, "/spec/nodeName") else {
            return match log {
                true => Ok(None),
                false => Err(ApiError::bad_request(format!(
                    "pod {name} does not have a host assigned"
                ))),
            };
        };
        let mut target = self.kubelet(node).await?;
        let verb = match call.subresource.as_str() {
            "log" => "containerLogs",
            "portforward" => "portForward",
            other => other,
        };
        let mut path = format!("/{verb}/{}/{name}", call.namespace);
        if let Some(container) = container {
            path.push('/');
            path.push_str(&encode(container, b"-._~"));
        }
        target.path = path_and_query(&path, &query);
        Ok(Some(target))
    }

    /// `/api/v1/namespaces/ns/pods/[https:]name[:port]/proxy/...`
    pub(super) async fn pod_proxy(&self, call: &Call) -> Result<Target, ApiError> {
        let name = Name::parse(&call.name)?;
        let pod = self
            .find("/registry/pods", "pods", &call.namespace, name.name)
            .await?;
        let ip = text(&pod, "/status/podIP").ok_or_else(|| {
            ApiError::bad_request(format!("pod {} has no address yet", name.name))
        })?;
        proxyable(ip)?;
        let port = port(&pod, name.port).ok_or_else(|| {
            ApiError::bad_request(format!("pod {} has no port \"{}\"", name.name, name.port))
        })?;
        Ok(Target {
            what: format!("pod \"{}\"", name.name),
            host: ip.to_owned(),
            port,
            security: self.trust.of_workload(name.is_tls()),
            path: path_and_query(&call.rest, &call.query),
            mount: Some(format!(
                "/api/{}/namespaces/{}/pods/{}/proxy",
                call.version, call.namespace, call.name
            )),
        })
    }
}

fn text<'v>(value: &'v Value, pointer: &str) -> Option<&'v str> {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .filter(|text| !text.is_empty())
}

/// All containers of a pod, of any kind.
fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    KINDS
        .iter()
        .filter_map(|kind| pod.get("spec")?.get(kind)?.as_array())
        .flatten()
}

/// Which container is meant.
fn container<'c>(pod: &'c Value, call: &'c Call) -> Result<&'c str, ApiError> {
    let name_of = |container: &'c Value| container.get("name").and_then(Value::as_str);
    let pod_name = &call.name;
    if let Some(asked) = call.parameter("container") {
        return match containers(pod).any(|container| name_of(container) == Some(asked)) {
            true => Ok(asked),
            false => Err(ApiError::bad_request(format!(
                "container {asked} is not valid for pod {pod_name}"
            ))),
        };
    }
    let annotations = pod.pointer("/metadata/annotations");
    let preferred = annotations
        .and_then(|map| map.get(DEFAULT_CONTAINER))
        .and_then(Value::as_str);
    if let Some(preferred) = preferred
        && containers(pod).any(|container| name_of(container) == Some(preferred))
    {
        return Ok(preferred);
    }
    let list = |kind: &str| -> Vec<&'c str> {
        let list = pod.get("spec").and_then(|spec| spec.get(kind));
        let list = list.and_then(Value::as_array).into_iter().flatten();
        list.filter_map(name_of).collect()
    };
    let (normal, init) = (list("containers"), list("initContainers"));
    match normal.as_slice() {
        [one] => Ok(one),
        [] => Err(ApiError::bad_request(format!(
            "pod {pod_name} has no container"
        ))),
        many => {
            let also = match init.is_empty() {
                true => String::new(),
                false => format!(" or one of the init containers: [{}]", init.join(" ")),
            };
            Err(ApiError::bad_request(format!(
                "a container name must be specified for pod {pod_name}, choose one of: [{}]{also}",
                many.join(" ")
            )))
        }
    }
}

/// The options of a log that the kubelet is asked with; 422 names a wrong one (`PodLogOptions`).
fn log_options(call: &Call) -> Result<Vec<(String, String)>, ApiError> {
    let mut mistakes = Vec::new();
    let wrong = |field: &str, value: &str, why: &str| {
        FieldError::new(field, format!("Invalid value: {value:?}: {why}")).because(Reason::Invalid)
    };
    for (field, least) in [("tailLines", 0), ("sinceSeconds", 1), ("limitBytes", 1)] {
        let Some(value) = call.parameter(field) else {
            continue;
        };
        match value.parse::<i64>() {
            Ok(number) if number >= least => {}
            // kubectl says -1 where it wants all.
            Ok(-1) if field == "tailLines" => {}
            Ok(_) => mistakes.push(wrong(
                field,
                value,
                &format!("must be greater than or equal to {least}"),
            )),
            Err(_) => mistakes.push(wrong(field, value, "must be a whole number")),
        }
    }
    for field in ["follow", "previous", "timestamps"] {
        if let Some(value) = call.parameter(field)
            && !matches!(
                value,
                "true" | "false" | "1" | "0" | "True" | "False" | "t" | "f"
            )
        {
            mistakes.push(wrong(field, value, "must be true or false"));
        }
    }
    if let Some(value) = call.parameter("sinceTime")
        && value.parse::<jiff::Timestamp>().is_err()
    {
        mistakes.push(wrong("sinceTime", value, "must be a time as in RFC 3339"));
    }
    if call.parameter("sinceTime").is_some() && call.parameter("sinceSeconds").is_some() {
        let why = "at most one of `sinceTime` or `sinceSeconds` may be specified";
        mistakes.push(FieldError::new("", format!("Forbidden: {why}")).because(Reason::Forbidden));
    }
    if !mistakes.is_empty() {
        return Err(ApiError::invalid(
            "",
            "PodLogOptions",
            &call.name,
            &mistakes,
        ));
    }
    const KNOWN: [&str; 8] = [
        "follow",
        "previous",
        "timestamps",
        "tailLines",
        "sinceSeconds",
        "sinceTime",
        "limitBytes",
        "stream",
    ];
    Ok(kept(call, &KNOWN))
}

/// The streams and the command of exec and attach, as the kubelet's own API calls them.
fn streams(call: &Call) -> Result<Vec<(String, String)>, ApiError> {
    let is = |name: &str| matches!(call.parameter(name), Some("true" | "1" | "True" | "t"));
    let tty = is("tty");
    let mut query = Vec::new();
    for (ours, theirs) in [
        ("stdin", "input"),
        ("stdout", "output"),
        ("stderr", "error"),
    ] {
        // A terminal has its errors among its output.
        if is(ours) && !(ours == "stderr" && tty) {
            query.push((theirs.to_owned(), "1".to_owned()));
        }
    }
    if query.is_empty() {
        return Err(ApiError::bad_request(
            "you must specify at least 1 of stdin, stdout, stderr",
        ));
    }
    if tty {
        query.push(("tty".to_owned(), "1".to_owned()));
    }
    if call.subresource == "exec" {
        let command = kept(call, &["command"]);
        if command.first().is_none_or(|(_, word)| word.is_empty()) {
            return Err(ApiError::bad_request("you must specify a command for exec"));
        }
        query.extend(command);
    }
    Ok(query)
}

fn ports(call: &Call) -> Vec<(String, String)> {
    kept(call, &["ports", "port"])
}

fn kept(call: &Call, names: &[&str]) -> Vec<(String, String)> {
    let pairs = call.query.iter();
    pairs
        .filter(|(name, _)| names.contains(&name.as_str()))
        .cloned()
        .collect()
}

/// The number of a pod's port; its first one, or 80, where none is said.
fn port(pod: &Value, asked: &str) -> Option<u16> {
    if let Ok(number @ 1..) = asked.parse::<u16>() {
        return Some(number);
    }
    let mut all = containers(pod)
        .filter_map(|container| container.get("ports")?.as_array())
        .flatten();
    let number = |port: &Value| u16::try_from(port.get("containerPort")?.as_u64()?).ok();
    match asked {
        "" => all.next().map_or(Some(80), number),
        name => all
            .find(|port| port.get("name").and_then(Value::as_str) == Some(name))
            .and_then(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{User, Verb};
    use serde_json::json;

    fn call(subresource: &str, query: &[(&str, &str)]) -> Call {
        Call {
            user: User::default(),
            verb: Verb::Connect,
            group: String::new(),
            version: "v1".to_owned(),
            resource: "pods".to_owned(),
            subresource: subresource.to_owned(),
            namespace: "default".to_owned(),
            name: "p1".to_owned(),
            rest: String::new(),
            query: query
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            headers: http::HeaderMap::new(),
        }
    }

    #[test]
    fn the_container_that_is_meant() {
        let pod = json!({"metadata": {}, "spec": {"containers": [{"name": "c"}, {"name": "d"}],
            "initContainers": [{"name": "i"}]}});
        let pick = |pod: &Value, query: &[(&str, &str)]| {
            container(pod, &call("log", query))
                .map(str::to_owned)
                .map_err(|err| err.message)
        };
        assert_eq!(pick(&pod, &[("container", "i")]), Ok("i".to_owned()));
        assert_eq!(
            pick(&pod, &[("container", "zz")]),
            Err("container zz is not valid for pod p1".to_owned())
        );
        assert_eq!(
            pick(&pod, &[]),
            Err("a container name must be specified for pod p1, choose one of: [c d] or one of the init \
                 containers: [i]"
                .to_owned())
        );
        let mut preferring = pod.clone();
        preferring["metadata"]["annotations"] = json!({DEFAULT_CONTAINER: "d"});
        assert_eq!(pick(&preferring, &[]), Ok("d".to_owned()));
        let one = json!({"spec": {"containers": [{"name": "c"}]}});
        assert_eq!(pick(&one, &[]), Ok("c".to_owned()));
        assert!(pick(&json!({}), &[]).is_err());
    }

    #[test]
    fn options_of_logs() {
        let good = [("tailLines", "5"), ("follow", "true"), ("pretty", "1")];
        assert_eq!(
            log_options(&call("log", &good)).unwrap(),
            [
                ("tailLines".to_owned(), "5".to_owned()),
                ("follow".to_owned(), "true".to_owned())
            ]
        );
        for (field, value) in [
            ("tailLines", "-2"),
            ("tailLines", "x"),
            ("sinceSeconds", "0"),
            ("limitBytes", "0"),
            ("follow", "perhaps"),
            ("sinceTime", "soon"),
        ] {
            let err = log_options(&call("log", &[(field, value)])).unwrap_err();
            assert_eq!(err.code.as_u16(), 422, "{field}={value}");
            assert_eq!(err.details.unwrap()["causes"][0]["field"], field);
        }
        let both = [("sinceSeconds", "1"), ("sinceTime", "2026-01-01T00:00:00Z")];
        assert!(log_options(&call("log", &both)).is_err());
    }

    #[test]
    fn streams_in_the_kubelets_words() {
        let words = |subresource, query: &[(&str, &str)]| {
            streams(&call(subresource, query)).map(|pairs| path_and_query("", &pairs))
        };
        let exec = [
            ("stdin", "true"),
            ("stdout", "true"),
            ("stderr", "true"),
            ("tty", "true"),
            ("command", "ls"),
            ("command", "-l /"),
        ];
        assert_eq!(
            words("exec", &exec).unwrap(),
            "/?input=1&output=1&tty=1&command=ls&command=-l%20%2F"
        );
        assert_eq!(
            words("attach", &[("stdout", "1"), ("stderr", "1")]).unwrap(),
            "/?output=1&error=1"
        );
        assert!(words("exec", &[("stdout", "true")]).is_err());
        assert!(words("exec", &[("stdin", "false"), ("command", "ls")]).is_err());
    }

    #[test]
    fn ports_of_pods() {
        let pod = json!({"spec": {"containers": [{"name": "c", "ports": [
            {"containerPort": 8080}, {"name": "tls", "containerPort": 8443}]}]}});
        assert_eq!(port(&pod, ""), Some(8080));
        assert_eq!(port(&pod, "tls"), Some(8443));
        assert_eq!(port(&pod, "99"), Some(99));
        assert_eq!(port(&pod, "0"), None);
        assert_eq!(port(&pod, "nope"), None);
        assert_eq!(port(&json!({}), ""), Some(80));
    }
}
