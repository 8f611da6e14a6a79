//! A v1 Pod as v1beta1's BoundPod. What v1beta1 has no words for is left out.
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use serde_json::{Map, Value, json};

/// The whole of it; none for a pod without a spec.
pub(super) fn pod(pod: &core::Pod) -> Option<Value> {
    let (meta, spec) = (&pod.metadata, pod.spec.as_ref()?);
    let created = meta.creation_timestamp.as_ref().map(|Time(at)| *at);
    let mut out = json!({"id": meta.name, "uid": meta.uid, "creationTimestamp": created,
        "namespace": meta.namespace.as_deref().unwrap_or("default"),
        "selfLink": format!("/api/v1beta1/boundPods/{}", meta.name.as_deref().unwrap_or_default())});
    if let Some(annotations) = &meta.annotations {
        out["annotations"] = json!(annotations);
    }
    let policy = match spec.restart_policy.as_deref() {
        Some("Never") => "never",
        Some("OnFailure") => "onFailure",
        _ => "always",
    };
    let volumes: Vec<Value> = spec.volumes.iter().flatten().map(volume).collect();
    let containers: Vec<Value> = spec.containers.iter().map(container).collect();
    out["spec"] = json!({"containers": containers, "restartPolicy": {policy: {}},
        "volumes": if volumes.is_empty() { Value::Null } else { json!(volumes) }});
    if let Some(selector) = &spec.node_selector {
        out["spec"]["nodeSelector"] = json!(selector);
    }
    Some(out)
}

fn volume(volume: &core::Volume) -> Value {
    let mut source =
        json!({"hostDir": null, "emptyDir": null, "persistentDisk": null, "gitRepo": null});
    if let Some(host) = &volume.host_path {
        source["hostDir"] = json!({"path": host.path});
    } else if let Some(git) = &volume.git_repo {
        source["gitRepo"] = json!({"repository": git.repository, "revision": git.revision.as_deref().unwrap_or_default()});
    } else if let Some(disk) = &volume.gce_persistent_disk {
        source["persistentDisk"] = json!({"pdName": disk.pd_name, "fsType": disk.fs_type,
            "partition": disk.partition.unwrap_or(0), "readOnly": disk.read_only.unwrap_or(false)});
    } else {
        source["emptyDir"] = json!({});
    }
    json!({"name": volume.name, "source": source})
}

fn container(container: &core::Container) -> Value {
    let mut out = Map::new();
    let mut set = |name: &str, value: Value| {
        let empty = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
        if !empty {
            out.insert(name.to_owned(), value);
        }
    };
    set("name", json!(container.name));
    set(
        "image",
        json!(container.image.as_deref().unwrap_or_default()),
    );
    // v1beta1's command is what Docker calls so: the arguments of an entry point.
    let command: Vec<&String> = container
        .command
        .iter()
        .flatten()
        .chain(container.args.iter().flatten())
        .collect();
    set("command", json!(command));
    set("workingDir", json!(container.working_dir));
    let ports = container.ports.iter().flatten().map(port);
    set("ports", ports.collect());
    let env = container
        .env
        .iter()
        .flatten()
        .filter(|one| one.value_from.is_none());
    let env = env.map(|one| {
        let value = one.value.as_deref().unwrap_or_default();
        json!({"name": one.name, "key": one.name, "value": value})
    });
    set("env", env.collect());
    let resources = container.resources.as_ref();
    let quantity = |name: &str| {
        let limits = resources.and_then(|resources| resources.limits.as_ref());
        let requests = resources.and_then(|resources| resources.requests.as_ref());
        let asked = limits
            .and_then(|map| map.get(name))
            .or(requests.and_then(|map| map.get(name)));
        asked?.0.parse::<rkube_api::quantity::Quantity>().ok()
    };
    set(
        "memory",
        json!(quantity("memory").map(|memory| memory.units())),
    );
    set("cpu", json!(quantity("cpu").map(|cpu| cpu.milli())));
    let mounts = container.volume_mounts.iter().flatten().map(|mount| {
        json!({"name": mount.name, "readOnly": mount.read_only.unwrap_or(false),
            "mountPath": mount.mount_path, "path": mount.mount_path})
    });
    set("volumeMounts", mounts.collect());
    set(
        "livenessProbe",
        json!(container.liveness_probe.as_ref().and_then(probe)),
    );
    set(
        "lifecycle",
        json!(container.lifecycle.as_ref().map(lifecycle)),
    );
    set(
        "terminationMessagePath",
        json!(container.termination_message_path),
    );
    let security = container.security_context.as_ref();
    if security.and_then(|security| security.privileged) == Some(true) {
        set("privileged", json!(true));
    }
    set(
        "imagePullPolicy",
        match container.image_pull_policy.as_deref() {
            Some(policy) => json!(format!("Pull{policy}")),
            None => json!(""),
        },
    );
    Value::Object(out)
}

fn port(port: &core::ContainerPort) -> Value {
    let mut out = json!({"containerPort": port.container_port,
        "protocol": port.protocol.as_deref().unwrap_or("TCP")});
    if let Some(name) = &port.name {
        out["name"] = json!(name);
    }
    if let Some(host_port) = port.host_port.filter(|port| *port != 0) {
        out["hostPort"] = json!(host_port);
    }
    if let Some(host_ip) = &port.host_ip {
        out["hostIP"] = json!(host_ip);
    }
    out
}

fn probe(probe: &core::Probe) -> Option<Value> {
    let mut out = if let Some(exec) = &probe.exec {
        json!({"exec": {"command": exec.command}})
    } else if let Some(get) = &probe.http_get {
        json!({"httpGet": http_get(get)})
    } else if let Some(socket) = &probe.tcp_socket {
        json!({"tcpSocket": {"port": number(&socket.port)}})
    } else {
        return None;
    };
    out["initialDelaySeconds"] = json!(probe.initial_delay_seconds.unwrap_or(0));
    Some(out)
}

fn http_get(get: &core::HTTPGetAction) -> Value {
    let mut out = json!({"path": get.path, "port": number(&get.port)});
    if let Some(host) = &get.host {
        out["host"] = json!(host);
    }
    out
}

fn number(port: &IntOrString) -> Value {
    match port {
        IntOrString::Int(number) => json!(number),
        IntOrString::String(name) => json!(name),
    }
}

fn lifecycle(lifecycle: &core::Lifecycle) -> Value {
    let handler = |handler: &core::LifecycleHandler| {
        if let Some(exec) = &handler.exec {
            Some(json!({"exec": {"command": exec.command}}))
        } else {
            handler
                .http_get
                .as_ref()
                .map(|get| json!({"httpGet": http_get(get)}))
        }
    };
    let mut out = json!({});
    for (name, hook) in [
        ("postStart", &lifecycle.post_start),
        ("preStop", &lifecycle.pre_stop),
    ] {
        if let Some(hook) = hook.as_ref().and_then(handler) {
            out[name] = hook;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_of_2014_comes_back_as_it_was() {
        let manifest = "version: v1beta1\nid: web\nvolumes:\n  - name: data\n    source: {hostDir: {path: /srv}}\n\
            restartPolicy: {onFailure: {}}\ncontainers:\n  - name: httpd\n    image: demo/httpd\n    \
            command: [run, -v]\n    memory: 1048576\n    cpu: 250\n    \
            ports: [{containerPort: 80, hostPort: 8080}]\n    env: [{name: A, value: b}]\n    \
            volumeMounts: [{name: data, mountPath: /data, readOnly: true}]\n";
        let parsed =
            rkube_api::manifest::parse(manifest, "web", rkube_api::manifest::Strictness::Strict);
        let bound = pod(&parsed.unwrap().pods[0]).unwrap();
        assert_eq!(bound["id"], "web");
        let spec = &bound["spec"];
        assert_eq!(spec["restartPolicy"], json!({"onFailure": {}}));
        assert_eq!(
            spec["volumes"][0]["source"]["hostDir"],
            json!({"path": "/srv"})
        );
        let one = &spec["containers"][0];
        for (name, value) in [
            ("name", json!("httpd")),
            ("image", json!("demo/httpd")),
            ("command", json!(["run", "-v"])),
            ("memory", json!(1_048_576)),
            ("cpu", json!(250)),
            (
                "ports",
                json!([{"containerPort": 80, "hostPort": 8080, "protocol": "TCP"}]),
            ),
            ("env", json!([{"name": "A", "key": "A", "value": "b"}])),
            (
                "volumeMounts",
                json!([{"name": "data", "readOnly": true, "mountPath": "/data", "path": "/data"}]),
            ),
        ] {
            assert_eq!(one[name], value, "{name}");
        }
    }
}
