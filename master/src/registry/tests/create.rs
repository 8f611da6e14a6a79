//! New objects.
use super::*;
use crate::admission::{Admission, Plugin};
use crate::meta;
use crate::resource::Names;
use crate::store::{Change, Guard, Op};
use async_trait::async_trait;
use std::sync::atomic::{AtomicU32, Ordering};

#[tokio::test]
async fn the_server_decides_what_is_the_servers() {
    let world = world();
    let mut sent = config_map("a", "1");
    sent["metadata"]["uid"] = "mine".into();
    sent["metadata"]["creationTimestamp"] = "1999-01-01T00:00:00Z".into();
    sent["metadata"]["deletionTimestamp"] = "1999-01-01T00:00:00Z".into();
    sent["metadata"]["labels"] = json!({});
    let made = world.create("configmaps", sent).await.unwrap();
    assert_eq!(made["kind"], "ConfigMap");
    assert_eq!(made["apiVersion"], "v1");
    assert_eq!(meta::namespace(&made), "default");
    assert_eq!(meta::uid(&made).len(), 36);
    assert!(meta::text(&made, "creationTimestamp") > "2020");
    assert!(meta::text(&made, "resourceVersion").parse::<u64>().unwrap() > 0);
    for gone in ["deletionTimestamp", "labels", "generation"] {
        assert!(!meta::of(&made).contains_key(gone), "{gone}");
    }
    assert_eq!(world.get("configmaps", "a").await.unwrap(), made);
    let pod = world.create("pods", pod("p")).await.unwrap();
    assert_eq!(pod["metadata"]["generation"], 1);
}

#[tokio::test]
async fn a_name_is_taken_once() {
    let world = world();
    world
        .create("configmaps", config_map("a", "1"))
        .await
        .unwrap();
    let (code, reason, message) = refusal(world.create("configmaps", config_map("a", "2")).await);
    assert_eq!((code, reason), (409, "AlreadyExists"));
    assert_eq!(message, r#"configmaps "a" already exists"#);
    assert_eq!(
        world.get("configmaps", "a").await.unwrap()["data"]["key"],
        "1"
    );
}

#[tokio::test]
async fn names_are_made_up() {
    let world = world();
    let sent = json!({"metadata": {"generateName": "web-"}});
    let made = world.create("configmaps", sent).await.unwrap();
    let name = meta::name(&made);
    let letters = name.strip_prefix("web-").unwrap();
    assert_eq!(letters.len(), 5);
    assert!(
        letters
            .chars()
            .all(|letter| "bcdfghjklmnpqrstvwxz2456789".contains(letter))
    );
    assert_eq!(world.get("configmaps", name).await.unwrap(), made);
    let long = json!({"metadata": {"generateName": "x".repeat(80)}});
    let made = world.create("configmaps", long).await.unwrap();
    assert_eq!(meta::name(&made).len(), 63);
}

#[tokio::test]
async fn bodies_that_are_something_else() {
    let world = world();
    let cases = [
        (json!([]), 400, "it must be a JSON object"),
        (
            json!({"kind": "Pod", "metadata": {"name": "a"}}),
            400,
            "Pod in version \"v1\" cannot be handled as a ConfigMap",
        ),
        (
            json!({"apiVersion": "v2", "metadata": {"name": "a"}}),
            400,
            "does not match the expected API version (v1)",
        ),
        (
            json!({"metadata": {"name": "a", "namespace": "other"}}),
            400,
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
        (
            json!({"metadata": {"name": "a", "resourceVersion": "3"}}),
            400,
            "resourceVersion should not be set on objects to be created",
        ),
        (
            json!({"metadata": {"name": "a/b"}}),
            400,
            "may not contain '/'",
        ),
        (json!({"metadata": {"name": ".."}}), 400, "may not be '..'"),
        (
            json!({}),
            422,
            "metadata.name: Required value: name or generateName is required",
        ),
        (
            json!({"metadata": {"name": "Bad_Name"}}),
            422,
            "ConfigMap \"Bad_Name\" is invalid: metadata.name: Invalid value: \"Bad_Name\": a lowercase RFC 1123 subdomain must consist of",
        ),
        (
            json!({"metadata": {"name": "a", "labels": {"a b": "c"}}}),
            422,
            "metadata.labels: Invalid value: \"a b\": name part must consist of",
        ),
        (
            json!({"metadata": {"name": "a", "labels": 1}}),
            422,
            "metadata.labels: Invalid value: 1: must be a map of strings",
        ),
        (
            json!({"metadata": {"name": "a", "finalizers": ["x"]}}),
            422,
            "name is neither a standard finalizer name nor is it fully qualified",
        ),
        (
            json!({"metadata": {"name": "a", "annotations": {"a": "x".repeat(300 << 10)}}}),
            422,
            "metadata.annotations: Too long: may not be more than 262144 bytes",
        ),
        (
            json!({"metadata": {"name": "a", "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "p"}]}}),
            422,
            "metadata.ownerReferences[0].uid: Invalid value: \"\": uid must not be empty",
        ),
    ];
    for (body, code, words) in cases {
        let (found, _, message) = refusal(world.create("configmaps", body.clone()).await);
        assert_eq!(found, code, "{message}");
        assert!(message.contains(words), "{message}");
    }
    assert_eq!(refusal(world.create("nothing", json!({})).await).0, 404);
}

#[tokio::test]
async fn a_dry_run_leaves_nothing() {
    let world = world();
    let dry = call("configmaps", "").with("dryRun", "All");
    let made = world
        .registry
        .create(&dry, config_map("a", "1").into())
        .await
        .unwrap();
    assert_eq!(made.status, 201);
    let made = made.value().unwrap();
    assert_eq!(meta::uid(&made).len(), 36);
    assert_eq!(meta::text(&made, "resourceVersion"), "");
    assert_eq!(refusal(world.get("configmaps", "a").await).1, "NotFound");
    world
        .create("configmaps", config_map("a", "1"))
        .await
        .unwrap();
    let again = world
        .registry
        .create(&dry, config_map("a", "1").into())
        .await;
    assert_eq!(refusal(again).1, "AlreadyExists");
}

/// Takes a number that somebody else takes first, the first few times.
#[derive(Debug)]
struct Rival(AtomicU32);

#[async_trait]
impl Plugin for Rival {
    async fn admit(
        &self,
        _: &User,
        _: &Names,
        admission: &mut Admission<'_>,
    ) -> Result<(), ApiError> {
        let taken = Op {
            key: "/registry/ranges/test/1".into(),
            guard: Guard::Absent,
            change: Change::Put("x".into(), None),
        };
        if self.0.fetch_add(1, Ordering::SeqCst) == 0 {
            admission.store.commit(vec![taken.clone()]).await?;
            admission.along.push(taken);
        }
        Ok(())
    }
}

#[tokio::test]
async fn what_goes_along_is_asked_for_again() {
    let rival = Arc::new(Rival(AtomicU32::new(0)));
    let plugin = rival.clone();
    let world = world_of(|mut registry| {
        registry.plugins.push(plugin);
        registry
    });
    world
        .create("configmaps", config_map("a", "1"))
        .await
        .unwrap();
    assert_eq!(rival.0.load(Ordering::SeqCst), 2);
}
