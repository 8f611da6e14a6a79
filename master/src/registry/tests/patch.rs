//! Changes, in their four forms, and who owns what.
use super::*;
use crate::meta;

#[tokio::test]
async fn each_form_does_its_work() {
    let world = world();
    world.create("pods", pod("p")).await.unwrap();
    let path = call("pods", "p");
    let merge = json!({"metadata": {"labels": {"a": "1", "b": "2"}}});
    world.patch(&path, PatchKind::Merge, merge).await.unwrap();
    let list = json!([{"op": "test", "path": "/metadata/labels/a", "value": "1"},
        {"op": "remove", "path": "/metadata/labels/a"}]);
    let patched = world
        .patch(&path, PatchKind::Json, list.clone())
        .await
        .unwrap();
    assert_eq!(patched["metadata"]["labels"], json!({"b": "2"}));
    let (code, reason, _) = refusal(world.patch(&path, PatchKind::Json, list).await);
    assert_eq!((code, reason), (422, "Invalid"));
    let image = json!({"spec": {"containers": [{"name": "c", "image": "busybox:2"}]}});
    let patched = world
        .patch(&path, PatchKind::Strategic, image)
        .await
        .unwrap();
    assert_eq!(patched["spec"]["containers"][0]["image"], "busybox:2");
    assert_eq!(
        patched["spec"]["containers"][0]["imagePullPolicy"],
        "IfNotPresent"
    );
}

#[tokio::test]
async fn a_patch_may_name_a_state_and_no_other_object() {
    let world = world();
    world
        .create("configmaps", config_map("a", "1"))
        .await
        .unwrap();
    let path = call("configmaps", "a");
    let stale = json!({"metadata": {"resourceVersion": "1"}, "data": {"key": "2"}});
    assert_eq!(
        refusal(world.patch(&path, PatchKind::Merge, stale).await).1,
        "Conflict"
    );
    let other = json!({"metadata": {"name": "b"}});
    assert_eq!(
        refusal(world.patch(&path, PatchKind::Merge, other).await).0,
        400
    );
    let wrong = json!({"data": 3});
    assert_eq!(
        refusal(world.patch(&path, PatchKind::Merge, wrong).await).0,
        400
    );
    let unknown = json!({"dataa": {"x": "y"}});
    let strict = path.clone().with("fieldValidation", "Strict");
    let (code, _, message) = refusal(
        world
            .patch(&strict, PatchKind::Merge, unknown.clone())
            .await,
    );
    assert_eq!(code, 422);
    assert!(
        message.contains(r#"strict decoding error: unknown field "dataa""#),
        "{message}"
    );
    let patch = Patch {
        kind: PatchKind::Merge,
        value: unknown,
    };
    let warned = world.registry.patch(&path, patch).await.unwrap();
    assert_eq!(warned.warnings, [r#"unknown field "dataa""#]);
    let missing = world
        .patch(&call("configmaps", "b"), PatchKind::Merge, json!({}))
        .await;
    assert_eq!(refusal(missing).0, 404);
    let forced = path.with("force", "true");
    assert_eq!(
        refusal(world.patch(&forced, PatchKind::Merge, json!({})).await).0,
        422
    );
}

fn applied(data: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data})
}

#[tokio::test]
async fn applying_makes_owns_and_takes_away() {
    let world = world();
    let by = |manager: &str| call("configmaps", "a").with("fieldManager", manager);
    let (helm, other) = (by("helm"), by("other"));
    let first = Patch {
        kind: PatchKind::Apply,
        value: applied(&json!({"x": "1", "y": "1"})),
    };
    let made = world.registry.patch(&helm, first).await.unwrap();
    assert_eq!(made.status, 201);
    let made = made.value().unwrap();
    let owner = &made["metadata"]["managedFields"][0];
    assert_eq!(
        (&owner["manager"], &owner["operation"]),
        (&json!("helm"), &json!("Apply"))
    );
    // The same again changes nothing.
    let same = applied(&json!({"x": "1", "y": "1"}));
    let again = world.patch(&helm, PatchKind::Apply, same).await.unwrap();
    assert_eq!(again, made);
    let clash = applied(&json!({"x": "2"}));
    let err = world
        .patch(&other, PatchKind::Apply, clash.clone())
        .await
        .unwrap_err();
    assert_eq!(
        err.message,
        r#"Apply failed with 1 conflict: conflict with "helm": .data.x"#
    );
    let cause = &err.details.as_ref().unwrap()["causes"][0];
    assert_eq!(cause["reason"], "FieldManagerConflict");
    let forced = other.clone().with("force", "true");
    let taken = world.patch(&forced, PatchKind::Apply, clash).await.unwrap();
    assert_eq!(taken["data"], json!({"x": "2", "y": "1"}));
    let less = world
        .patch(&helm, PatchKind::Apply, applied(&json!({})))
        .await
        .unwrap();
    assert_eq!(less["data"], json!({"x": "2"}));
}

#[tokio::test]
async fn other_writes_own_fields_too() {
    let world = world();
    let path = call("configmaps", "").with("fieldManager", "kubectl-create");
    world
        .registry
        .create(&path, config_map("a", "1").into())
        .await
        .unwrap();
    let helm = call("configmaps", "a").with("fieldManager", "helm");
    let config = applied(&json!({"key": "2"}));
    let err = world
        .patch(&helm, PatchKind::Apply, config)
        .await
        .unwrap_err();
    assert!(
        err.message.contains(r#"conflict with "kubectl-create""#),
        "{}",
        err.message
    );
    let nobody = world
        .patch(
            &call("configmaps", "a"),
            PatchKind::Apply,
            applied(&json!({})),
        )
        .await;
    let (code, _, message) = refusal(nobody);
    assert_eq!(code, 422);
    assert!(message.contains("fieldManager: Required value: is required for apply patch"));
    let unnamed = world
        .patch(&helm, PatchKind::Apply, json!({"data": {}}))
        .await;
    assert_eq!(refusal(unnamed).0, 400);
}

#[tokio::test]
async fn a_scale_is_patched_as_itself() {
    let world = world();
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": pod("x")["spec"]});
    let made = json!({"metadata": {"name": "rc"}, "spec": {"replicas": 1, "selector": {"a": "b"}, "template": template}});
    world.create("replicationcontrollers", made).await.unwrap();
    let path = call("replicationcontrollers", "rc").sub("scale");
    let three = json!({"spec": {"replicas": 3}});
    let scale = world.patch(&path, PatchKind::Merge, three).await.unwrap();
    assert_eq!(
        (&scale["kind"], &scale["spec"]["replicas"]),
        (&json!("Scale"), &json!(3))
    );
    let rc = world.get("replicationcontrollers", "rc").await.unwrap();
    assert_eq!(rc["spec"]["replicas"], 3);
    assert_eq!(rc["metadata"]["generation"], 2);
    assert_eq!(
        world.registry.get(&path).await.unwrap().value().unwrap(),
        scale
    );
    let mut stale = scale;
    stale["metadata"]["resourceVersion"] = "1".into();
    assert_eq!(refusal(world.put(&path, stale).await).1, "Conflict");
    assert!(!meta::uid(&rc).is_empty());
}
