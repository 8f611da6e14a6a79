use super::*;
use proptest::prelude::*;
use serde_json::json;

fn patched(kind: &str, object: &Value, patch: &Value) -> Result<Value, PatchError> {
    let schemas = Schemas::builtin();
    let group = if kind == "Deployment" { "apps" } else { "" };
    let of = schemas.of_kind(group, "v1", kind).unwrap();
    let mut out = object.clone();
    apply(&mut out, patch, of, schemas).map(|()| out)
}

/// The containers of a pod, short: `name=image`.
fn containers(pod: &Value) -> Vec<String> {
    let all = pod["spec"]["containers"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    all.iter()
        .map(|c| format!("{}={}", text(&c["name"]), text(&c["image"])))
        .collect()
}

fn pod(names: &[&str]) -> Value {
    let all: Vec<_> = names
        .iter()
        .map(|name| json!({"name": name, "image": "1"}))
        .collect();
    json!({"spec": {"containers": all}})
}

#[test]
fn keyed_lists_merge_by_their_key() {
    for (old, patch, want) in [
        (
            vec!["a", "b"],
            json!([{"name": "b", "image": "2"}]),
            vec!["a=1", "b=2"],
        ),
        // New items come first, as in Kubernetes.
        (
            vec!["a", "b"],
            json!([{"name": "c", "image": "2"}]),
            vec!["c=2", "a=1", "b=1"],
        ),
        (
            vec!["a", "b"],
            json!([{"name": "a", "$patch": "delete"}]),
            vec!["b=1"],
        ),
        (
            vec!["a", "b"],
            json!([{"$patch": "replace"}, {"name": "z", "image": "9"}]),
            vec!["z=9"],
        ),
        (
            vec!["a", "b"],
            json!([{"name": "a", "image": null}]),
            vec!["a=-", "b=1"],
        ),
        (vec!["a"], json!([]), vec!["a=1"]),
    ] {
        let out = patched("Pod", &pod(&old), &json!({"spec": {"containers": patch}})).unwrap();
        assert_eq!(containers(&out), want, "{patch}");
    }
}

#[test]
fn the_order_of_elements_is_set() {
    let patch = json!({"spec": {
        "$setElementOrder/containers": [{"name": "c"}, {"name": "a"}],
        "containers": [{"name": "c", "image": "2"}],
    }});
    let out = patched("Pod", &pod(&["a", "b", "c"]), &patch).unwrap();
    assert_eq!(containers(&out), ["b=1", "c=2", "a=1"]);
    let only_order =
        json!({"spec": {"$setElementOrder/containers": [{"name": "b"}, {"name": "a"}]}});
    let out = patched("Pod", &pod(&["a", "b"]), &only_order).unwrap();
    assert_eq!(containers(&out), ["b=1", "a=1"]);
    let new = patched("Pod", &json!({"spec": {}}), &patch).unwrap();
    assert_eq!(containers(&new), ["c=2"]);
    let unnamed =
        json!({"spec": {"$setElementOrder/containers": [], "containers": [{"name": "c"}]}});
    assert!(matches!(
        patched("Pod", &pod(&["a"]), &unnamed),
        Err(PatchError::Malformed(_))
    ));
}

#[test]
fn lists_within_lists_merge_too() {
    let old = json!({"spec": {"containers": [{"name": "a", "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "2"}],
        "args": ["one"], "ports": [{"containerPort": 80}]}]}});
    let patch = json!({"spec": {"containers": [{"name": "a", "args": ["two"],
        "env": [{"name": "Y", "value": "3"}, {"name": "X", "$patch": "delete"}],
        "ports": [{"containerPort": 80, "name": "http"}]}]}});
    let out = patched("Pod", &old, &patch).unwrap();
    assert_eq!(
        out["spec"]["containers"][0],
        json!({"name": "a", "args": ["two"], "env": [{"name": "Y", "value": "3"}], "ports": [{"containerPort": 80, "name": "http"}]})
    );
}

#[test]
fn sets_of_values_grow_and_shrink() {
    let old = json!({"metadata": {"finalizers": ["x/a", "x/b"]}});
    let more = json!({"metadata": {"finalizers": ["x/b", "x/c"]}});
    let out = patched("Pod", &old, &more).unwrap();
    assert_eq!(out["metadata"]["finalizers"], json!(["x/a", "x/b", "x/c"]));
    let less = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["x/a"],
        "$setElementOrder/finalizers": ["x/b"]}});
    let out = patched("Pod", &old, &less).unwrap();
    assert_eq!(out["metadata"]["finalizers"], json!(["x/b"]));
}

#[test]
fn retained_keys_drop_the_others() {
    let old =
        json!({"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}});
    let patch = json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}});
    let out = patched("Deployment", &old, &patch).unwrap();
    assert_eq!(out["spec"]["strategy"], json!({"type": "Recreate"}));
    let wrong = json!({"spec": {"strategy": {"$retainKeys": ["type"], "other": 1}}});
    assert!(matches!(
        patched("Deployment", &old, &wrong),
        Err(PatchError::Malformed(_))
    ));
    let volumes = json!({"spec": {"volumes": [{"name": "v", "emptyDir": {}}]}});
    let patch = json!({"spec": {"volumes": [{"name": "v", "$retainKeys": ["name", "hostPath"], "hostPath": {"path": "/x"}}]}});
    let out = patched("Pod", &volumes, &patch).unwrap();
    assert_eq!(
        out["spec"]["volumes"],
        json!([{"name": "v", "hostPath": {"path": "/x"}}])
    );
}

#[test]
fn maps_replace_delete_and_lose_keys() {
    let old =
        json!({"metadata": {"labels": {"a": "1", "b": "2"}}, "spec": {"nodeSelector": {"x": "y"}}});
    for (patch, want) in [
        (
            json!({"metadata": {"labels": {"a": null}}}),
            json!({"b": "2"}),
        ),
        (
            json!({"metadata": {"labels": {"$patch": "replace", "c": "3"}}}),
            json!({"c": "3"}),
        ),
        (
            json!({"metadata": {"labels": {"$patch": "delete"}}}),
            json!({}),
        ),
        (
            json!({"metadata": {"labels": {"c": "3"}}}),
            json!({"a": "1", "b": "2", "c": "3"}),
        ),
    ] {
        assert_eq!(
            patched("Pod", &old, &patch).unwrap()["metadata"]["labels"],
            want,
            "{patch}"
        );
    }
    let nulls = json!({"spec": {"securityContext": {"runAsUser": null, "fsGroup": 1}, "tolerations": null}});
    assert_eq!(
        patched("Pod", &old, &nulls).unwrap()["spec"]["securityContext"],
        json!({"fsGroup": 1})
    );
    for wrong in [
        json!({"metadata": {"labels": {"$patch": "jump"}}}),
        json!({"spec": {"containers": [{"image": "no name"}]}}),
        json!([]),
    ] {
        let old = pod(&["a"]);
        let mut old = old.clone();
        old["metadata"] = json!({"labels": {}});
        assert!(
            matches!(patched("Pod", &old, &wrong), Err(PatchError::Malformed(_))),
            "{wrong}"
        );
    }
}

#[test]
fn service_ports_merge_by_port_and_taints_are_one_value() {
    let old = json!({"spec": {"ports": [{"port": 80, "nodePort": 30080}]}});
    let patch = json!({"spec": {"ports": [{"port": 80, "name": "http"}]}});
    let out = patched("Service", &old, &patch).unwrap();
    assert_eq!(
        out["spec"]["ports"],
        json!([{"port": 80, "nodePort": 30080, "name": "http"}])
    );
    let old = json!({"spec": {"taints": [{"key": "a", "effect": "NoExecute"}]}});
    let patch = json!({"spec": {"taints": [{"key": "b", "effect": "NoSchedule"}]}});
    assert_eq!(
        patched("Node", &old, &patch).unwrap()["spec"]["taints"],
        patch["spec"]["taints"]
    );
}

#[test]
fn long_lists_take_no_longer_than_they_are() {
    let many: Vec<_> = (0..50_000)
        .map(|n| json!({"name": format!("c{n}")}))
        .collect();
    let old = json!({"spec": {"containers": many}});
    let patch = json!({"spec": {"containers": many, "$setElementOrder/containers": many}});
    let begun = std::time::Instant::now();
    assert_eq!(patched("Pod", &old, &patch).unwrap(), old);
    // Compared one by one it would take minutes.
    assert!(begun.elapsed().as_secs() < 20);
}

fn any_json() -> impl Strategy<Value = Value> {
    let key = prop::sample::select(vec![
        "spec",
        "containers",
        "name",
        "env",
        "$patch",
        "$retainKeys",
        "$setElementOrder/containers",
        "$deleteFromPrimitiveList/finalizers",
        "metadata",
        "finalizers",
        "labels",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        Just(json!("replace")),
        Just(json!("delete")),
        Just(json!("a")),
        (0..3).prop_map(|n| json!(n))
    ];
    leaf.prop_recursive(5, 40, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::btree_map(key.clone(), inner, 0..4)
                .prop_map(|map| map.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()),
        ]
    })
}

proptest! {
    #[test]
    fn no_patch_makes_it_panic_and_an_empty_one_changes_nothing(old in any_json(), patch in any_json()) {
        let _ = patched("Pod", &old, &patch);
        if old.is_object() {
            prop_assert_eq!(patched("Pod", &old, &json!({})).unwrap(), old);
        }
    }

    #[test]
    fn patching_twice_is_patching_once(names in prop::collection::btree_set("[a-d]", 0..4), others in prop::collection::btree_set("[a-f]", 0..4)) {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let change: Vec<_> = others.iter().map(|name| json!({"name": name, "image": "2"})).collect();
        let patch = json!({"spec": {"containers": change}});
        let once = patched("Pod", &pod(&names), &patch).unwrap();
        prop_assert_eq!(patched("Pod", &once, &patch).unwrap(), once.clone());
        prop_assert!(containers(&once).len() >= names.len());
    }
}
