//! Lenient reading, and what is written always.
use super::*;
use proptest::prelude::*;
use serde_json::json;

#[test]
fn structs_are_written_always() {
    let shown = read(Kind::Pod, Version::V1beta1, &json!({"id": "a"}));
    let manifest =
        json!({"version": "", "id": "", "volumes": null, "containers": null, "restartPolicy": {}});
    let state = json!({"manifest": manifest});
    let want =
        json!({"id": "a", "creationTimestamp": null, "desiredState": state, "currentState": state});
    assert_eq!(shown, want);
    let minion = read(Kind::Minion, Version::V1beta1, &json!([]));
    assert_eq!(minion, json!({"creationTimestamp": null, "resources": {}}));
}

#[test]
fn what_does_not_fit_is_dropped() {
    let given = json!({
        "id": "a", "labels": ["x"], "unknown": 1, "containerPort": "web", "port": "80", "publicIPs": "x",
        "selector": {"a": "b", "c": [], "d": 7}, "createExternalLoadBalancer": "yes", "proxyPort": 7.0,
    });
    let want = json!({
        "id": "a", "creationTimestamp": null, "containerPort": "web", "port": 0, "selector": {"a": "b", "d": "7"},
        "proxyPort": 7,
    });
    assert_eq!(read(Kind::Service, Version::V1beta1, &given), want);
}

#[test]
fn aliases() {
    let given = json!({"desiredState": {"manifest": {"containers": [{
        "env": [{"key": "A", "value": "1"}, {"name": "B", "key": "C"}], "volumeMounts": [{"path": "/p"}],
        "livenessProbe": {"httpGet": {"path": "/x"}}}]}}});
    let container = |version| {
        let mut shown = read(Kind::Pod, version, &given);
        show(version, &mut shown);
        shown["desiredState"]["manifest"]["containers"][0].clone()
    };
    let old = container(Version::V1beta1);
    let env = json!([{"name": "A", "key": "A", "value": "1"}, {"name": "B", "key": "B"}]);
    assert_eq!(old["env"], env);
    assert_eq!(
        old["volumeMounts"],
        json!([{"name": "", "mountPath": "/p", "path": "/p"}])
    );
    let new = container(Version::V1beta2);
    assert_eq!(
        new["env"],
        json!([{"name": "", "value": "1"}, {"name": "B"}])
    );
    assert_eq!(new["volumeMounts"], json!([{"name": ""}]));
    assert_eq!(new["livenessProbe"]["httpGet"]["path"], "/x");
}

fn anything() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 60, 5, |inner| {
        let names = prop_oneof![
            Just("desiredState"),
            Just("manifest"),
            Just("containers"),
            Just("ports"),
            Just("id"),
            Just("labels"),
            Just("volumes"),
            Just("source"),
            Just("env"),
            Just("resources"),
            Just("endpoints"),
            Just("selector"),
            Just("podTemplate"),
            Just("livenessProbe"),
            Just("httpGet"),
            Just("involvedObject"),
            Just("x"),
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((names, inner), 0..6).prop_map(|pairs| Value::Object(
                pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
            )),
        ]
    })
}

proptest! {
    #[test]
    fn anything_is_read_and_stays_as_it_was_read(given in anything()) {
        for kind in Kind::ALL {
            let once = read(kind, Version::V1beta1, &given);
            prop_assert_eq!(read(kind, Version::V1beta1, &once), once.clone());
            let mut object = once.clone();
            crate::v1beta1::hub::complete(kind, &mut object);
            // Whatever it is, it is converted or refused.
            let _ = crate::v1beta1::hub::store(kind, &once);
            let _ = crate::v1beta1::hub::update(kind, &given, &once);
        }
    }
}
