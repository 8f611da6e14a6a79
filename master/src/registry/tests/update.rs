//! Changed objects.
use super::*;
use crate::meta;
use proptest::prelude::*;

const MODIFIED: &str = r#"Operation cannot be fulfilled on configmaps "a": the object has been modified; please apply your changes to the latest version and try again"#;

#[tokio::test]
async fn a_known_state_is_changed_once() {
    let world = world();
    let made = world
        .create("configmaps", config_map("a", "1"))
        .await
        .unwrap();
    let path = call("configmaps", "a");
    let mut new = made.clone();
    new["data"]["key"] = "2".into();
    let changed = world.put(&path, new.clone()).await.unwrap();
    assert_ne!(
        meta::text(&changed, "resourceVersion"),
        meta::text(&made, "resourceVersion")
    );
    assert_eq!(meta::uid(&changed), meta::uid(&made));
    let (code, reason, message) = refusal(world.put(&path, new).await);
    assert_eq!(
        (code, reason, message.as_str()),
        (409, "Conflict", MODIFIED)
    );
    // Who names no state overwrites.
    let blind = world.put(&path, config_map("a", "3")).await.unwrap();
    assert_eq!(blind["data"]["key"], "3");
    assert_eq!(
        meta::text(&blind, "creationTimestamp"),
        meta::text(&made, "creationTimestamp")
    );
    assert_eq!(meta::uid(&blind), meta::uid(&made));
}

#[tokio::test]
async fn what_changes_nothing_is_not_written() {
    let world = world();
    let made = world
        .create("configmaps", config_map("a", "1"))
        .await
        .unwrap();
    let path = call("configmaps", "a");
    let before = world.registry.store().revision().await.unwrap();
    assert_eq!(world.put(&path, made.clone()).await.unwrap(), made);
    assert_eq!(world.put(&path, config_map("a", "1")).await.unwrap(), made);
    let dry = path.with("dryRun", "All");
    let other = world.put(&dry, config_map("a", "2")).await.unwrap();
    assert_eq!(other["data"]["key"], "2");
    assert_eq!(world.registry.store().revision().await.unwrap(), before);
}

#[tokio::test]
async fn the_body_is_about_the_path() {
    let world = world();
    let made = world
        .create("configmaps", config_map("a", "1"))
        .await
        .unwrap();
    let path = call("configmaps", "a");
    let with = |field: &str, value: &str| {
        let mut object = made.clone();
        object["metadata"][field] = value.into();
        object
    };
    let cases = [
        (
            "name",
            "b",
            400,
            "the name of the object (b) does not match the name on the URL (a)",
        ),
        (
            "namespace",
            "b",
            400,
            "the namespace of the object (b) does not match the namespace on the URL (default)",
        ),
        (
            "uid",
            "b",
            409,
            "Precondition failed: UID in precondition: b, UID in object meta: ",
        ),
        (
            "creationTimestamp",
            "1999-01-01T00:00:00Z",
            422,
            "metadata.creationTimestamp: Invalid value: \"1999-01-01T00:00:00Z\": field is immutable",
        ),
        (
            "deletionTimestamp",
            "1999-01-01T00:00:00Z",
            422,
            "field is immutable",
        ),
    ];
    for (field, value, code, words) in cases {
        let (found, _, message) = refusal(world.put(&path, with(field, value)).await);
        assert_eq!(found, code, "{message}");
        assert!(message.contains(words), "{message}");
    }
    let (code, _, message) = refusal(
        world
            .put(&call("configmaps", "b"), config_map("b", "1"))
            .await,
    );
    assert_eq!(
        (code, message.as_str()),
        (404, r#"configmaps "b" not found"#)
    );
}

#[tokio::test]
async fn status_and_the_rest_are_written_apart() {
    let world = world();
    let made = world.create("pods", pod("p")).await.unwrap();
    let status = call("pods", "p").sub("status");
    let mut new = made.clone();
    new["status"] = json!({"phase": "Running"});
    new["spec"]["nodeName"] = "n1".into();
    let running = world.put(&status, new).await.unwrap();
    assert_eq!(running["status"]["phase"], "Running");
    assert_eq!(running["spec"], made["spec"]);
    assert_eq!(running["metadata"]["generation"], 1);
    let mut new = running.clone();
    new["status"] = json!({"phase": "Failed"});
    new["metadata"]["labels"] = json!({"a": "b"});
    new["spec"]["activeDeadlineSeconds"] = 5.into();
    let changed = world.put(&call("pods", "p"), new).await.unwrap();
    assert_eq!(changed["status"]["phase"], "Running");
    assert_eq!(changed["metadata"]["labels"]["a"], "b");
    assert_eq!(changed["metadata"]["generation"], 2);
    let none = world
        .put(&call("configmaps", "p").sub("status"), json!({}))
        .await;
    assert_eq!(refusal(none).0, 404);
}

#[tokio::test]
async fn a_missing_lease_is_made_by_a_put() {
    let world = world();
    let path = Call::new(
        User::master(),
        Verb::Update,
        "coordination.k8s.io",
        "v1",
        "leases",
    );
    let path = path.within("default").named("l");
    let lease = json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": "x"}});
    let answer = world.registry.update(&path, lease.into()).await.unwrap();
    assert_eq!(answer.status, 201);
    let known = json!({"metadata": {"name": "m", "resourceVersion": "7"}, "spec": {}});
    let path = path.named("m");
    assert_eq!(refusal(world.put(&path, known).await).0, 409);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_of_one_object_do_not_lose_each_others_work() {
    let world = Arc::new(world());
    world
        .create("configmaps", json!({"metadata": {"name": "a"}}))
        .await
        .unwrap();
    let writers = (0..48).map(|n| {
        let world = world.clone();
        tokio::spawn(async move {
            let patch = json!({"data": {format!("k{n}"): "x"}});
            let path = call("configmaps", "a");
            world.patch(&path, PatchKind::Merge, patch).await.unwrap();
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let all = world.get("configmaps", "a").await.unwrap();
    assert_eq!(all["data"].as_object().unwrap().len(), 48);
}

fn text() -> impl Strategy<Value = String> {
    "[a-z0-9]{1,8}"
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Whatever metadata a client sends, what the server decides stays, or the write is refused.
    #[test]
    fn nobody_changes_what_is_the_servers(fields in prop::collection::btree_map(
        prop::sample::select(vec!["uid", "creationTimestamp", "generation", "generateName", "selfLink",
            "deletionTimestamp", "deletionGracePeriodSeconds", "resourceVersion", "name", "namespace", "labels", "junk"]),
        prop_oneof![text().prop_map(Value::from), any::<i32>().prop_map(Value::from), Just(Value::Null), Just(json!({})), Just(json!([]))],
        0..6))
    {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let world = world();
            let made = world.create("configmaps", config_map("a", "1")).await.unwrap();
            let mut sent = config_map("a", "2");
            for (name, value) in fields {
                sent["metadata"][name] = value;
            }
            let path = call("configmaps", "a");
            if world.put(&path, sent).await.is_ok() {
                let now = world.get("configmaps", "a").await.unwrap();
                for own in ["uid", "creationTimestamp", "name", "namespace", "generation", "deletionTimestamp"] {
                    assert_eq!(now["metadata"][own], made["metadata"][own], "{own}");
                }
            }
        });
    }
}
