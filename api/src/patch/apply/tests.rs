use super::*;
use crate::strict::{self, FieldValidation};
use proptest::prelude::*;
use serde_json::json;

fn typed(kind: &str) -> &'static Type {
    let group = if kind == "Deployment" { "apps" } else { "" };
    Schemas::builtin().of_kind(group, "v1", kind).unwrap()
}

fn request(manager: &str) -> Request<'_> {
    Request {
        manager,
        subresource: "",
        api_version: "v1",
        time: "2024-01-01T00:00:00Z",
        force: false,
        reset: &["status"],
    }
}

fn applied(
    kind: &str,
    live: Option<&Value>,
    config: &Value,
    by: &Request<'_>,
) -> Result<Value, ApplyError> {
    apply(live, config, typed(kind), Schemas::builtin(), by)
}

fn updated(kind: &str, old: Option<&Value>, new: &Value, by: &Request<'_>) -> Value {
    let mut new = new.clone();
    track(old, &mut new, typed(kind), Schemas::builtin(), by);
    new
}

/// `manager operation {fields}` for each entry.
fn owners(object: &Value) -> Vec<String> {
    let all = object["metadata"]["managedFields"].as_array();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let each = all.into_iter().flatten();
    each.map(|e| {
        format!(
            "{} {} {}",
            text(&e["manager"]),
            text(&e["operation"]),
            e["fieldsV1"]
        )
    })
    .collect()
}

fn map(data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": data})
}

#[test]
fn the_first_apply_owns_what_it_says() {
    let config = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "labels": {"a": "1"}},
        "spec": {"containers": [{"name": "c", "image": "x", "ports": [{"containerPort": 80}]}], "nodeSelector": {"x": "y"}}, "status": {"phase": "Running"}});
    let out = applied("Pod", None, &config, &request("m1")).unwrap();
    assert_eq!(out["status"], Value::Null);
    assert_eq!(
        owners(&out),
        [
            r#"m1 Apply {"f:metadata":{"f:labels":{"f:a":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"c\"}":{".":{},"f:image":{},"f:name":{},"f:ports":{"k:{\"containerPort\":80,\"protocol\":\"TCP\"}":{".":{},"f:containerPort":{}}}}},"f:nodeSelector":{}}}"#
        ]
    );
    let again = applied(
        "Pod",
        Some(&out),
        &config,
        &Request {
            time: "2025-01-01T00:00:00Z",
            ..request("m1")
        },
    )
    .unwrap();
    assert_eq!(again, out);
}

#[test]
fn what_a_manager_no_longer_wants_goes_unless_others_own_it() {
    let first = applied(
        "ConfigMap",
        None,
        &map(&json!({"a": "1", "b": "2", "c": "3"})),
        &request("m1"),
    )
    .unwrap();
    let both = applied(
        "ConfigMap",
        Some(&first),
        &map(&json!({"b": "2", "d": "4"})),
        &request("m2"),
    )
    .unwrap();
    let less = applied(
        "ConfigMap",
        Some(&both),
        &map(&json!({"c": "3"})),
        &request("m1"),
    )
    .unwrap();
    assert_eq!(less["data"], json!({"b": "2", "c": "3", "d": "4"}));
    assert_eq!(
        owners(&less),
        [
            r#"m1 Apply {"f:data":{"f:c":{}}}"#,
            r#"m2 Apply {"f:data":{"f:b":{},"f:d":{}}}"#
        ]
    );
    let none = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}});
    let gone = applied("ConfigMap", Some(&less), &none, &request("m2")).unwrap();
    let gone = applied("ConfigMap", Some(&gone), &none, &request("m1")).unwrap();
    assert_eq!(gone.get("data"), None);
}

#[test]
fn conflicts_name_owner_and_field_and_force_takes_over() {
    let first = applied(
        "ConfigMap",
        None,
        &map(&json!({"a": "1", "b": "1"})),
        &request("m1"),
    )
    .unwrap();
    let same = applied(
        "ConfigMap",
        Some(&first),
        &map(&json!({"a": "1"})),
        &request("m2"),
    )
    .unwrap();
    assert_eq!(owners(&same).len(), 2);
    let err = applied(
        "ConfigMap",
        Some(&first),
        &map(&json!({"a": "2"})),
        &request("m2"),
    )
    .unwrap_err();
    assert_eq!(
        err.to_string(),
        "Apply failed with 1 conflict: conflict with \"m1\": .data.a"
    );
    let ApplyError::Conflicts(conflicts) = err else {
        panic!()
    };
    assert_eq!(conflicts[0].message, "conflict with \"m1\"");
    assert_eq!(conflicts[0].field, ".data.a");
    let two = applied(
        "ConfigMap",
        Some(&first),
        &map(&json!({"a": "2", "b": "2"})),
        &request("m2"),
    );
    assert_eq!(
        two.unwrap_err().to_string(),
        "Apply failed with 2 conflicts: conflicts with \"m1\":\n- .data.a\n- .data.b"
    );
    let force = Request {
        force: true,
        ..request("m2")
    };
    let taken = applied("ConfigMap", Some(&first), &map(&json!({"a": "2"})), &force).unwrap();
    assert_eq!(taken["data"], json!({"a": "2", "b": "1"}));
    assert_eq!(
        owners(&taken),
        [
            r#"m1 Apply {"f:data":{"f:b":{}}}"#,
            r#"m2 Apply {"f:data":{"f:a":{}}}"#
        ]
    );
}

#[test]
fn updates_are_tracked_and_conflict() {
    let made = updated(
        "ConfigMap",
        None,
        &map(&json!({"a": "1", "b": "1"})),
        &request("kubectl-create"),
    );
    assert_eq!(
        owners(&made),
        [r#"kubectl-create Update {"f:data":{"f:a":{},"f:b":{}}}"#]
    );
    let err = applied(
        "ConfigMap",
        Some(&made),
        &map(&json!({"a": "2"})),
        &request("m1"),
    )
    .unwrap_err();
    assert_eq!(
        err.to_string(),
        "Apply failed with 1 conflict: conflict with \"kubectl-create\" using v1: .data.a"
    );
    let mut edited = made.clone();
    edited["data"]["a"] = json!("2");
    edited["data"].as_object_mut().unwrap().remove("b");
    let edited = updated("ConfigMap", Some(&made), &edited, &request("edit"));
    assert_eq!(owners(&edited), [r#"edit Update {"f:data":{"f:a":{}}}"#]);
    let same = updated(
        "ConfigMap",
        Some(&edited),
        &edited,
        &Request {
            time: "2030-01-01T00:00:00Z",
            ..request("z")
        },
    );
    assert_eq!(same, edited);
}

#[test]
fn an_object_without_owners_has_one_before_the_first_apply() {
    let live = map(&json!({"a": "1"}));
    let err = applied(
        "ConfigMap",
        Some(&live),
        &map(&json!({"a": "2"})),
        &request("m1"),
    )
    .unwrap_err();
    assert!(
        err.to_string()
            .contains("conflict with \"before-first-apply\" using v1: .data.a"),
        "{err}"
    );
    let fine = applied(
        "ConfigMap",
        Some(&live),
        &map(&json!({"a": "1", "b": "2"})),
        &request("m1"),
    )
    .unwrap();
    assert_eq!(fine["data"], json!({"a": "1", "b": "2"}));
}

#[test]
fn items_of_keyed_lists_are_owned_one_by_one() {
    let pod =
        |containers: Value| json!({"metadata": {"name": "p"}, "spec": {"containers": containers}});
    let first = applied(
        "Pod",
        None,
        &pod(json!([{"name": "a", "image": "1"}, {"name": "b", "image": "1"}])),
        &request("m1"),
    )
    .unwrap();
    let side = applied(
        "Pod",
        Some(&first),
        &pod(json!([{"name": "side", "image": "9"}])),
        &request("m2"),
    )
    .unwrap();
    let less = applied(
        "Pod",
        Some(&side),
        &pod(json!([{"name": "b", "image": "2"}])),
        &request("m1"),
    )
    .unwrap();
    assert_eq!(
        less["spec"]["containers"],
        json!([{"name": "b", "image": "2"}, {"name": "side", "image": "9"}])
    );
    // What the server defaulted in an item goes with it.
    let mut defaulted = first.clone();
    defaulted["spec"]["containers"][0]["imagePullPolicy"] = json!("Always");
    let gone = applied(
        "Pod",
        Some(&defaulted),
        &pod(json!([{"name": "b", "image": "1"}])),
        &request("m1"),
    )
    .unwrap();
    assert_eq!(
        gone["spec"]["containers"],
        json!([{"name": "b", "image": "1"}])
    );
    let err = applied(
        "Pod",
        Some(&side),
        &pod(json!([{"name": "b", "image": "3"}])),
        &request("m3"),
    )
    .unwrap_err();
    assert!(
        err.to_string()
            .ends_with(": .spec.containers[name=\"b\"].image"),
        "{err}"
    );
    for wrong in [
        json!([{"name": "a"}, {"name": "a"}]),
        json!([{"image": "x"}]),
    ] {
        let err = applied("Pod", Some(&first), &pod(wrong), &request("m1")).unwrap_err();
        assert!(matches!(err, ApplyError::Malformed(_)), "{err}");
    }
}

#[test]
fn order_of_lists_is_the_appliers_with_others_in_between() {
    let with = |list: &[&str]| json!({"metadata": {"name": "p", "finalizers": list}});
    let live = applied("Pod", None, &with(&["x", "a", "y", "b"]), &request("m1")).unwrap();
    let out = applied("Pod", Some(&live), &with(&["b", "n", "a"]), &request("m2")).unwrap();
    assert_eq!(
        out["metadata"]["finalizers"],
        json!(["x", "b", "y", "n", "a"])
    );
}

#[test]
fn atomic_values_are_owned_as_wholes() {
    let service =
        |selector: Value| json!({"metadata": {"name": "s"}, "spec": {"selector": selector}});
    let first = applied("Service", None, &service(json!({"a": "1"})), &request("m1")).unwrap();
    let err = applied(
        "Service",
        Some(&first),
        &service(json!({"b": "1"})),
        &request("m2"),
    )
    .unwrap_err();
    assert!(err.to_string().ends_with(": .spec.selector"), "{err}");
    let force = Request {
        force: true,
        ..request("m2")
    };
    let out = applied("Service", Some(&first), &service(json!({"b": "1"})), &force).unwrap();
    assert_eq!(out["spec"]["selector"], json!({"b": "1"}));
}

#[test]
fn managed_fields_may_be_set_and_forgotten_by_clients() {
    let made = updated(
        "ConfigMap",
        None,
        &map(&json!({"a": "1"})),
        &request("kubectl-client-side-apply"),
    );
    // What kubectl does to go over to server-side apply.
    let mut renamed = made.clone();
    renamed["metadata"]["managedFields"][0]["manager"] = json!("kubectl");
    renamed["metadata"]["managedFields"][0]["operation"] = json!("Apply");
    let renamed = updated("ConfigMap", Some(&made), &renamed, &request("kubectl"));
    assert_eq!(owners(&renamed), [r#"kubectl Apply {"f:data":{"f:a":{}}}"#]);
    let out = applied(
        "ConfigMap",
        Some(&renamed),
        &map(&json!({"a": "2"})),
        &request("kubectl"),
    )
    .unwrap();
    assert_eq!(out["data"], json!({"a": "2"}));
    let mut reset = made.clone();
    reset["metadata"]["managedFields"] = json!([{}]);
    let reset = updated("ConfigMap", Some(&made), &reset, &request("x"));
    assert_eq!(reset["metadata"].get("managedFields"), None);
    let mut absent = made.clone();
    absent["metadata"]
        .as_object_mut()
        .unwrap()
        .remove("managedFields");
    assert_eq!(
        updated("ConfigMap", Some(&made), &absent, &request("x")),
        made
    );
    let mut config = map(&json!({}));
    config["metadata"]["managedFields"] = made["metadata"]["managedFields"].clone();
    assert!(matches!(
        applied("ConfigMap", None, &config, &request("x")),
        Err(ApplyError::Malformed(_))
    ));
}

#[test]
fn the_number_of_updaters_is_bounded() {
    let mut object = map(&json!({}));
    for n in 0..30 {
        let mut new = object.clone();
        new["data"][format!("k{n}")] = json!("v");
        let name = format!("m{n}");
        let time = format!("2024-01-01T00:00:{n:02}Z");
        object = updated(
            "ConfigMap",
            Some(&object),
            &new,
            &Request {
                time: &time,
                ..request(&name)
            },
        );
    }
    let all = owners(&object);
    assert_eq!(all.len(), 10);
    assert!(all[0].starts_with("ancient-changes Update"), "{}", all[0]);
    assert!(all[9].starts_with("m29 Update"));
    for n in 0..30 {
        let key = format!("\"f:k{n}\"");
        assert!(all.iter().any(|owner| owner.contains(&key)), "{key}");
    }
}

#[test]
fn status_is_owned_by_who_writes_it() {
    let live = applied(
        "Pod",
        None,
        &json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c"}]}}),
        &request("m1"),
    )
    .unwrap();
    let mut new = live.clone();
    new["status"] =
        json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
    let by = Request {
        subresource: "status",
        reset: &["spec"],
        ..request("kubelet")
    };
    let out = updated("Pod", Some(&live), &new, &by);
    assert_eq!(owners(&out).len(), 2);
    let kubelet = &out["metadata"]["managedFields"][1];
    assert_eq!(kubelet["subresource"], "status");
    assert_eq!(kubelet["fieldsV1"]["f:status"]["f:phase"], json!({}));
    let again = applied(
        "Pod",
        Some(&out),
        &json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c"}]}}),
        &request("m1"),
    )
    .unwrap();
    assert_eq!(again, out);
}

#[test]
fn names_of_managers_are_bounded() {
    assert_eq!(manager_problem("kubectl-client-side-apply"), None);
    assert!(manager_problem(&"x".repeat(129)).is_some());
    assert!(manager_problem("a\nb").is_some());
}

/// Deployments of a few containers and labels, as their appliers may want them.
fn config() -> impl Strategy<Value = Value> {
    let labels = prop::collection::btree_map("[abc]", "[12]", 0..3);
    let env = prop::collection::btree_map("[XYZ]", "[12]", 0..3);
    let containers = prop::collection::btree_map("[cde]", (env, "[12]"), 0..3);
    (labels, containers, prop::option::of(0..3)).prop_map(|(labels, containers, replicas)| {
        let containers: Vec<_> = containers.into_iter().map(|(name, (env, image))| {
            let env: Vec<_> = env.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
            json!({"name": name, "image": image, "env": env})
        }).collect();
        let mut out = json!({"metadata": {"name": "d", "labels": labels}, "spec": {"template": {"spec": {"containers": containers}}}});
        if let Some(replicas) = replicas {
            out["spec"]["replicas"] = json!(replicas);
        }
        out
    })
}

proptest! {
    /// Whoever applies gets what he wants, twice is once, and fields of others stay.
    #[test]
    fn appliers_get_what_they_want(configs in prop::collection::vec((config(), 0..3_usize), 1..8)) {
        let names = ["m0", "m1", "m2"];
        let mut live: Option<Value> = None;
        for (config, who) in configs {
            let by = Request { force: true, ..request(names[who]) };
            let out = applied("Deployment", live.as_ref(), &config, &by).unwrap();
            let of = Typed::root(typed("Deployment"), Schemas::builtin());
            let mut merged = out.clone();
            of.merge(&mut merged, &config).unwrap();
            prop_assert_eq!(&merged, &out, "the config holds in what came out");
            prop_assert_eq!(&applied("Deployment", Some(&out), &config, &by).unwrap(), &out);
            // Everything is owned by somebody, for all of it came from some applier.
            let mut all = owned(of, &out, &by);
            all.subtract(&Owners::of(&out).union());
            prop_assert!(all.shared(&all).iter().all(|path| out.pointer(&path.replace('.', "/")).is_some_and(|v| v.as_object().is_some_and(Map::is_empty)) || path.is_empty()), "{:?}", all.shared(&all));
            strict::check(out.clone(), typed("Deployment"), Schemas::builtin(), FieldValidation::Strict).unwrap();
            live = Some(out);
        }
    }

    #[test]
    fn sets_survive_being_written(config in config()) {
        let fields = Typed::root(typed("Deployment"), Schemas::builtin()).all(&config);
        prop_assert_eq!(Fields::read(&fields.write()), fields);
    }

    /// Tracking never loses a field: after any two writes everything has an owner.
    #[test]
    fn updates_own_all_they_wrote(first in config(), second in config()) {
        let of = Typed::root(typed("Deployment"), Schemas::builtin());
        let made = updated("Deployment", None, &first, &request("m0"));
        let changed = updated("Deployment", Some(&made), &second, &request("m1"));
        let mut all = owned(of, &changed, &request("m1"));
        all.subtract(&Owners::of(&changed).union());
        prop_assert!(all.is_empty(), "{}", all.write());
    }
}
