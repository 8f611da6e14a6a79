//! Whole specs from whole pods.
use super::*;
use crate::volume::{Origin, Ready};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The spec of the first container of a pod, as JSON; or the error's words.
fn spec_of(pod: &Value, image: &Value) -> Result<Value, String> {
    of_first(pod, image, |ctx| {
        container_spec(ctx).map(|spec| serde_json::to_value(spec).unwrap())
    })
}

/// What the first container of a pod is translated to by `work`, or the error's words.
fn of_first<T>(
    pod: &Value,
    image: &Value,
    work: impl FnOnce(&ContainerContext<'_>) -> Result<T, TranslateError>,
) -> Result<T, String> {
    let mut pod: k8s_openapi::api::core::v1::Pod = serde_json::from_value(
        json!({"metadata": {"name": "web", "namespace": "shop", "uid": "u-1",
            "labels": {"app": "front"}}, "spec": pod}),
    )
    .unwrap();
    rkube_api::defaults::pod(&mut pod);
    let config_map = serde_json::from_value(
        json!({"metadata": {"name": "conf"}, "data": {"key": "value", "b": "$(A)"}}),
    );
    let record = PodRecord {
        config_maps: BTreeMap::from([("conf".to_owned(), config_map.unwrap())]),
        ..PodRecord::new(pod, jiff::Timestamp::UNIX_EPOCH)
    };
    let volumes = Volumes::from([
        (
            "data".to_owned(),
            Ready {
                path: "/host/data".into(),
                origin: Origin::Pod,
                read_only: false,
            },
        ),
        (
            "conf".to_owned(),
            Ready {
                path: "/host/conf".into(),
                origin: Origin::Pod,
                read_only: true,
            },
        ),
    ]);
    let context = PodContext {
        record: &record,
        pod_ip: Some("10.0.0.7".parse().unwrap()),
        host_ip: Some("192.0.2.1".parse().unwrap()),
        node_name: "node-a",
        hostname: "web",
        volumes: &volumes,
        etc: Path::new("/nowhere"),
        shm: None,
        seccomp_profiles: Path::new("/nowhere"),
        cgroup: "kubepods/podu-1",
    };
    let image: ImageConfiguration = serde_json::from_value(
        json!({"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": []}, "config": image}),
    )
    .unwrap();
    let done = work(&ContainerContext {
        pod: &context,
        container: &record.pod.spec.as_ref().unwrap().containers[0],
        image: &image,
        lowers: &[],
        termination_log: Path::new("/host/termination-log"),
    });
    done.map_err(|err| crate::error::chain(&err))
}

fn container(fields: &Value) -> Value {
    let mut container = json!({"name": "main", "image": "img"});
    container
        .as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    json!({"containers": [container]})
}

#[test]
fn command_and_args_stand_over_entrypoint_and_cmd() {
    let image = json!({"Entrypoint": ["ep", "e1"], "Cmd": ["c1"]});
    let cases = [
        (json!({}), json!(["ep", "e1", "c1"])),
        (json!({"args": ["a"]}), json!(["ep", "e1", "a"])),
        (json!({"command": ["x"]}), json!(["x"])),
        (json!({"command": ["x"], "args": ["a"]}), json!(["x", "a"])),
        (
            json!({"command": [], "args": []}),
            json!(["ep", "e1", "c1"]),
        ),
        (
            json!({"command": ["$(A)/bin", "$$(A)", "$(NO)"], "env": [{"name": "A", "value": "/opt"}]}),
            json!(["/opt/bin", "$(A)", "$(NO)"]),
        ),
    ];
    for (fields, want) in cases {
        assert_eq!(
            spec_of(&container(&fields), &image).unwrap()["process"]["args"],
            want,
            "{fields}"
        );
    }
    assert!(
        spec_of(&container(&json!({})), &json!({}))
            .unwrap_err()
            .contains("add `command:`")
    );
}

#[test]
fn the_environment_is_built_in_order() {
    let fields = json!({"command": ["x"], "envFrom": [{"prefix": "P_", "configMapRef": {"name": "conf"}}], "env": [
        {"name": "A", "value": "1"}, {"name": "B", "value": "$(A)$(P_key)"}, {"name": "PATH", "value": "$(PATH):/x"},
        {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        {"name": "L", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['app']"}}},
        {"name": "M", "valueFrom": {"configMapKeyRef": {"name": "conf", "key": "nope", "optional": true}}}]});
    let spec = spec_of(
        &container(&fields),
        &json!({"Env": ["PATH=/bin", "LANG=C"]}),
    )
    .unwrap();
    let env: Vec<&str> = spec["process"]["env"]
        .as_array()
        .unwrap()
        .iter()
        .map(|word| word.as_str().unwrap())
        .collect();
    assert_eq!(
        env,
        [
            "PATH=/bin:/x",
            "HOSTNAME=web",
            "LANG=C",
            "P_b=$(A)",
            "P_key=value",
            "A=1",
            "B=1value",
            "IP=10.0.0.7",
            "L=front",
            "HOME=/"
        ]
    );
    let missing = json!({"command": ["x"], "env": [{"name": "S", "valueFrom": {"secretKeyRef": {"name": "none", "key": "k"}}}]});
    let said = spec_of(&container(&missing), &json!({})).unwrap_err();
    assert!(
        said.contains("env S") && said.contains("Secret \"none\""),
        "{said}"
    );
}

#[test]
fn mounts_come_parents_first_and_keep_their_modes() {
    let fields = json!({"command": ["x"], "volumeMounts": [
        {"name": "data", "mountPath": "/srv/a/b"}, {"name": "conf", "mountPath": "/srv"},
        {"name": "data", "mountPath": "/ro", "readOnly": true}]});
    let spec = spec_of(&container(&fields), &json!({})).unwrap();
    let binds: Vec<_> = spec["mounts"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|mount| mount["type"] == "bind")
        .collect();
    let seen: Vec<_> = binds
        .iter()
        .map(|mount| {
            (
                mount["destination"].as_str().unwrap(),
                mount["options"][1].as_str().unwrap(),
            )
        })
        .collect();
    let log = ("/dev/termination-log", "rw");
    assert_eq!(
        seen,
        [("/srv", "ro"), ("/ro", "ro"), ("/srv/a/b", "rw"), log]
    );
    let absent = json!({"command": ["x"], "volumeMounts": [{"name": "gone", "mountPath": "/g"}]});
    assert!(
        spec_of(&container(&absent), &json!({}))
            .unwrap_err()
            .contains("no volume \"gone\"")
    );
}

/// What is mounted of which volume, or what is wrong.
fn wanted(mount: &Value) -> Result<String, String> {
    let mut mount = mount.clone();
    mount["name"] = json!("data");
    mount["mountPath"] = json!("/data");
    let fields = json!({"command": ["x"], "volumeMounts": [mount], "env": [
        {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}, {"name": "EMPTY", "value": ""},
        {"name": "UP", "value": "../up"}, {"name": "ROOT", "value": "/etc"}, {"name": "DEEP", "value": "a/b"}]});
    let wanted = of_first(&container(&fields), &json!({}), mounts::wanted)?;
    let spec = spec_of(&container(&fields), &json!({}))?;
    let mounts = spec["mounts"].as_array().unwrap();
    let shown = mounts.iter().find(|mount| mount["destination"] == "/data");
    let shown = shown.unwrap()["source"].as_str().unwrap().to_owned();
    let [wanted] = &wanted[..] else {
        panic!("one mount: {wanted:?}")
    };
    assert_eq!(
        (wanted.volume.as_str(), wanted.destination.as_path()),
        ("data", Path::new("/data"))
    );
    let part = wanted
        .sub_path
        .as_ref()
        .map(|path| path.display().to_string());
    assert_eq!(
        shown,
        part.as_ref()
            .map_or("/host/data".to_owned(), |part| format!("/host/data/{part}"))
    );
    Ok(part.unwrap_or_else(|| "all".to_owned()))
}

#[test]
fn a_part_of_a_volume_is_named_by_sub_path_or_by_variables() {
    let good = [
        (json!({}), "all"),
        (json!({"subPath": ""}), "all"),
        (json!({"subPath": "logs/$(POD)"}), "logs/$(POD)"),
        (json!({"subPathExpr": "logs/$(POD)"}), "logs/web"),
        (json!({"subPathExpr": "$(DEEP)/$$(POD)"}), "a/b/$(POD)"),
        (json!({"subPathExpr": "x$(EMPTY)"}), "x"),
    ];
    for (mount, want) in good {
        assert_eq!(wanted(&mount).unwrap(), want, "{mount}");
    }
    let bad = [
        ("$(NONE)/x", "no variable NONE"),
        ("$(EMPTY)", "is not a relative path"),
        ("$(UP)", "is not a relative path"),
        ("x/$(UP)", "is not a relative path"),
        ("$(ROOT)", "is not a relative path"),
    ];
    for (expr, want) in bad {
        let problem = wanted(&json!({"subPathExpr": expr})).unwrap_err();
        assert!(problem.contains(want), "{expr}: {problem}");
    }
}

#[test]
fn limits_and_rights_reach_the_spec() {
    let fields = json!({"command": ["x"], "resources": {"limits": {"cpu": "250m", "memory": "64Mi"}},
        "securityContext": {"runAsUser": 1000, "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}});
    let spec = spec_of(&container(&fields), &json!({})).unwrap();
    assert_eq!(spec["linux"]["resources"]["memory"]["limit"], 64 << 20);
    assert_eq!(spec["linux"]["resources"]["memory"]["swap"], 64 << 20);
    assert_eq!(spec["linux"]["resources"]["cpu"]["quota"], 25_000);
    assert_eq!(spec["process"]["user"]["uid"], 1000);
    assert_eq!(spec["process"]["noNewPrivileges"], true);
    assert_eq!(
        spec["process"]["capabilities"]["bounding"],
        json!(["CAP_NET_BIND_SERVICE"])
    );
    assert_eq!(spec["process"]["capabilities"]["inheritable"], json!([]));
    assert_eq!(spec["root"]["readonly"], true);
    assert!(spec["linux"]["seccomp"].is_object());
    let kinds: Vec<_> = spec["linux"]["namespaces"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["type"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["mount", "cgroup", "pid"]);
}

#[test]
fn root_is_refused_where_it_is_forbidden() {
    let fields = json!({"command": ["x"], "securityContext": {"runAsNonRoot": true}});
    assert!(
        spec_of(&container(&fields), &json!({}))
            .unwrap_err()
            .contains("set runAsUser")
    );
    assert!(spec_of(&container(&fields), &json!({"User": "1000"})).is_ok());
    assert!(
        spec_of(&container(&fields), &json!({"User": "nobody"}))
            .unwrap_err()
            .contains("/etc/passwd")
    );
}

#[test]
fn privileged_means_all_of_it() {
    let spec = spec_of(
        &container(&json!({"command": ["x"], "securityContext": {"privileged": true}})),
        &json!({}),
    )
    .unwrap();
    assert!(spec["linux"]["seccomp"].is_null());
    assert_eq!(spec["linux"]["maskedPaths"], json!([]));
    let own = host::capabilities().len();
    assert_eq!(
        spec["process"]["capabilities"]["bounding"]
            .as_array()
            .unwrap()
            .len(),
        own
    );
}
