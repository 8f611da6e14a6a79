//! Objects that go.
use super::*;
use crate::cache::Caches;
use crate::meta;

#[tokio::test]
async fn what_nobody_waits_for_goes_at_once() {
    let world = world();
    let made = world
        .create("configmaps", config_map("a", "1"))
        .await
        .unwrap();
    let wrong = json!({"preconditions": {"uid": "other"}});
    assert_eq!(refusal(world.delete("configmaps", "a", wrong).await).0, 409);
    let wrong = json!({"preconditions": {"resourceVersion": "1"}});
    assert_eq!(refusal(world.delete("configmaps", "a", wrong).await).0, 409);
    let dry = world
        .delete("configmaps", "a", json!({"dryRun": ["All"]}))
        .await
        .unwrap();
    assert_eq!(dry["status"], "Success");
    let right = json!({"preconditions": {"uid": meta::uid(&made)}});
    let status = world.delete("configmaps", "a", right).await.unwrap();
    assert_eq!(status["status"], "Success");
    assert_eq!(
        status["details"],
        json!({"name": "a", "kind": "configmaps", "uid": meta::uid(&made)})
    );
    assert_eq!(refusal(world.get("configmaps", "a").await).1, "NotFound");
    assert_eq!(
        refusal(world.delete("configmaps", "a", json!({})).await).1,
        "NotFound"
    );
}

#[tokio::test]
async fn finalizers_hold_an_object() {
    let world = world();
    let mut sent = config_map("a", "1");
    sent["metadata"]["finalizers"] = json!(["example.com/a", "example.com/b"]);
    world.create("configmaps", sent).await.unwrap();
    let marked = world.delete("configmaps", "a", json!({})).await.unwrap();
    assert!(!meta::text(&marked, "deletionTimestamp").is_empty());
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 0);
    assert_eq!(
        world.delete("configmaps", "a", json!({})).await.unwrap(),
        marked
    );
    let path = call("configmaps", "a");
    let more =
        json!({"metadata": {"finalizers": ["example.com/a", "example.com/b", "example.com/c"]}});
    let (code, _, message) = refusal(world.patch(&path, PatchKind::Merge, more).await);
    assert_eq!(code, 422);
    assert!(
        message.ends_with(r#"found new finalizers []string{"example.com/c"}"#),
        "{message}"
    );
    let one = json!({"metadata": {"finalizers": ["example.com/b"]}});
    world.patch(&path, PatchKind::Merge, one).await.unwrap();
    world.get("configmaps", "a").await.unwrap();
    let none = json!({"metadata": {"finalizers": null}});
    let last = world.patch(&path, PatchKind::Merge, none).await.unwrap();
    assert_eq!(last["data"]["key"], "1");
    assert_eq!(refusal(world.get("configmaps", "a").await).1, "NotFound");
}

#[tokio::test]
async fn a_collector_finds_its_finalizers() {
    let world = world_of(Registry::with_collector);
    for (policy, finalizer) in [("Foreground", "foregroundDeletion"), ("Orphan", "orphan")] {
        world
            .create("configmaps", config_map("a", "1"))
            .await
            .unwrap();
        let marked = world
            .delete("configmaps", "a", json!({"propagationPolicy": policy}))
            .await;
        assert_eq!(
            marked.unwrap()["metadata"]["finalizers"],
            json!([finalizer])
        );
        // Another policy takes its place, and nothing is left to wait for.
        let policy = json!({"propagationPolicy": "Background"});
        world.delete("configmaps", "a", policy).await.unwrap();
        assert_eq!(refusal(world.get("configmaps", "a").await).1, "NotFound");
    }
}

/// A pod on a node, which must be asked to let it go.
async fn running(world: &World, name: &str) {
    world.create("pods", pod(name)).await.unwrap();
    let binding = json!({"metadata": {"name": name}, "target": {"kind": "Node", "name": "n1"}});
    let path = call("pods", name).sub("binding");
    let bound = world.registry.create(&path, binding.into()).await.unwrap();
    assert_eq!(bound.status, 201);
}

#[tokio::test]
async fn pods_have_their_grace() {
    let world = world();
    world.create("pods", pod("idle")).await.unwrap();
    world.delete("pods", "idle", json!({})).await.unwrap();
    assert_eq!(refusal(world.get("pods", "idle").await).1, "NotFound");

    running(&world, "p").await;
    let generation = world.get("pods", "p").await.unwrap()["metadata"]["generation"]
        .as_i64()
        .unwrap();
    let marked = world.delete("pods", "p", json!({})).await.unwrap();
    assert_eq!(marked["metadata"]["deletionGracePeriodSeconds"], 30);
    assert_eq!(marked["metadata"]["generation"], generation + 1);
    let longer = world
        .delete("pods", "p", json!({"gracePeriodSeconds": 60}))
        .await
        .unwrap();
    assert_eq!(longer, marked);
    let shorter = world
        .delete("pods", "p", json!({"gracePeriodSeconds": 5}))
        .await
        .unwrap();
    assert_eq!(shorter["metadata"]["deletionGracePeriodSeconds"], 5);
    let end = |pod: &Value| {
        meta::text(pod, "deletionTimestamp")
            .parse::<jiff::Timestamp>()
            .unwrap()
    };
    assert_eq!(end(&marked).as_second() - end(&shorter).as_second(), 25);
    world
        .delete("pods", "p", json!({"gracePeriodSeconds": 0}))
        .await
        .unwrap();
    assert_eq!(refusal(world.get("pods", "p").await).1, "NotFound");
}

#[tokio::test]
async fn an_eviction_is_a_deletion() {
    let world = world();
    running(&world, "p").await;
    let path = call("pods", "p").sub("eviction");
    let eviction = json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "p"},
        "deleteOptions": {"gracePeriodSeconds": 7}});
    let answer = world.registry.create(&path, eviction.into()).await.unwrap();
    assert_eq!(answer.status, 201);
    assert_eq!(answer.value().unwrap()["status"], "Success");
    let pod = world.get("pods", "p").await.unwrap();
    assert_eq!(pod["metadata"]["deletionGracePeriodSeconds"], 7);
}

#[tokio::test]
async fn a_binding_of_2014() {
    let world = world();
    world.create("pods", pod("p")).await.unwrap();
    let binding = json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}});
    let answer = world
        .registry
        .create(&call("bindings", ""), binding.clone().into())
        .await
        .unwrap();
    assert_eq!(answer.status, 201);
    assert_eq!(
        world.get("pods", "p").await.unwrap()["spec"]["nodeName"],
        "n1"
    );
    let again = world
        .registry
        .create(&call("bindings", ""), binding.into())
        .await;
    assert_eq!(refusal(again).0, 409);
}

#[tokio::test]
async fn collections_go_as_a_list_shows_them() {
    let world = world();
    for n in 0..40 {
        let mut sent = config_map(&format!("c{n}"), "1");
        sent["metadata"]["labels"] = json!({"odd": (n % 2 == 1).to_string()});
        world.create("configmaps", sent).await.unwrap();
    }
    let resources = world.registry.resources();
    let caches = Caches::start(world.registry.store().clone(), resources)
        .await
        .unwrap();
    let odd = call("configmaps", "").with("labelSelector", "odd=true");
    let gone = world
        .registry
        .delete_collection(&caches, &odd, None)
        .await
        .unwrap();
    let gone = gone.value().unwrap();
    assert_eq!(gone["kind"], "ConfigMapList");
    assert_eq!(gone["items"].as_array().unwrap().len(), 20);
    assert_eq!(refusal(world.get("configmaps", "c1").await).1, "NotFound");
    world.get("configmaps", "c2").await.unwrap();
    caches.close();
}
