//! Lists of pods.
use super::{list, select};
use crate::cache::tests::{Bed, call, nodes, others, pods};
use crate::call::Verb;
use crate::error::ApiError;
use crate::render::{Form, Include, Version};
use crate::store::Store as _;
use http_body_util::BodyExt as _;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::time::Duration;

async fn names(bed: &Bed, namespace: &str, query: &str) -> Result<Vec<String>, ApiError> {
    let call = call(Verb::List, namespace, query);
    let selected = select(&bed.caches, &pods(), &call).await?;
    let items = selected.items.iter();
    Ok(items.map(|it| it.name().to_owned()).collect())
}

async fn get(bed: &Bed, query: &str, form: Form) -> Value {
    let call = call(Verb::List, "", query);
    let listed = list(&bed.caches, &pods(), &call, form).await.unwrap();
    let bytes = listed.body.collect().await.unwrap().to_bytes();
    if let Some(length) = listed.length {
        assert_eq!(length, bytes.len() as u64);
    }
    serde_json::from_slice(&bytes).unwrap()
}

async fn some() -> Bed {
    let bed = Bed::new().await;
    bed.pod("default/a", json!({"app": "web"}), "n1").await;
    bed.pod("default/b", json!({"app": "web", "tier": "x"}), "n2")
        .await;
    bed.pod("default/ba", json!({"app": "db"}), "").await;
    bed.pod("kube/a", json!({"app": "web"}), "n1").await;
    bed
}

#[tokio::test]
async fn selectors() {
    let bed = some().await;
    for (namespace, query, want) in [
        ("", "", "a b ba a"),
        ("default", "", "a b ba"),
        ("kube", "", "a"),
        ("none", "", ""),
        ("", "labelSelector=app%3Dweb", "a b a"),
        ("default", "labelSelector=app in (db,x)", "ba"),
        ("", "fieldSelector=spec.nodeName%3Dn1", "a a"),
        (
            "",
            "fieldSelector=spec.nodeName!%3Dn1,status.phase%3D",
            "b ba",
        ),
        ("", "fieldSelector=metadata.name%3Db", "b"),
        ("default", "fieldSelector=metadata.name%3Db", "b"),
        ("default", "fieldSelector=metadata.name%3D", ""),
        ("default", "fieldSelector=metadata.name!%3Db", "a ba"),
        ("", "fieldSelector=metadata.namespace%3Dkube", "a"),
        ("default", "fieldSelector=metadata.namespace%3Dkube", ""),
        (
            "",
            "labelSelector=tier&fieldSelector=spec.nodeName%3Dn2",
            "b",
        ),
    ] {
        let got = names(&bed, namespace, query).await.unwrap().join(" ");
        assert_eq!(got, want, "{namespace} {query}");
    }
}

#[tokio::test]
async fn bad_requests() {
    let bed = some().await;
    for (query, code, words) in [
        (
            "fieldSelector=spec.foo%3Dx",
            400,
            "field label not supported: spec.foo",
        ),
        ("fieldSelector=spec", 400, "can't understand 'spec'"),
        ("labelSelector=a b", 400, "unable to parse requirement: "),
        ("limit=x", 400, "limit"),
        ("continue=x", 400, "invalid continue token"),
        ("resourceVersion=x", 400, "invalid resource version"),
        ("resourceVersion=-1", 400, "invalid resource version"),
        (
            "resourceVersionMatch=Exact",
            422,
            "forbidden unless resourceVersion is provided",
        ),
        (
            "resourceVersionMatch=Exact&resourceVersion=0",
            422,
            "forbidden for resourceVersion",
        ),
        (
            "resourceVersionMatch=Some&resourceVersion=1",
            422,
            "Unsupported value: \"Some\"",
        ),
        (
            "sendInitialEvents=true",
            422,
            "sendInitialEvents is forbidden for list",
        ),
    ] {
        let err = names(&bed, "", query).await.unwrap_err();
        assert_eq!(err.code, code, "{query}");
        assert!(err.message.contains(words), "{query}: {err}");
    }
}

#[tokio::test]
async fn pages_are_of_one_state() {
    let bed = some().await;
    let first = get(&bed, "limit=2", Form::Plain).await;
    let meta = &first["metadata"];
    assert_eq!(meta["remainingItemCount"], 2);
    assert_eq!(first["items"][1]["metadata"]["name"], "b");
    bed.pod("default/bb", json!({}), "").await;
    bed.gone("kube/a").await;
    let token = meta["continue"].as_str().unwrap();
    let query = format!("limit=2&continue={token}");
    let second = get(&bed, &query, Form::Plain).await;
    let found = [0, 1, 2].map(|at| second["items"][at]["metadata"]["name"].clone());
    assert_eq!(found, [json!("ba"), json!("a"), json!(null)]);
    assert_eq!(
        second["metadata"],
        json!({"resourceVersion": meta["resourceVersion"]})
    );

    // With a selector nobody has counted what is left.
    let picked = get(&bed, "limit=1&labelSelector=app", Form::Plain).await;
    assert!(picked["metadata"]["continue"].is_string());
    assert!(picked["metadata"].get("remainingItemCount").is_none());
}

#[tokio::test]
async fn a_page_of_a_lost_state_says_how_to_go_on() {
    let bed = some().await;
    let selected = select(&bed.caches, &pods(), &call(Verb::List, "", "limit=1")).await;
    let token = selected.unwrap().meta.continue_token.unwrap();
    let newest = bed.gone("default/a").await;
    // A cache that has begun after that state, over a store that has forgotten it.
    bed.store.compact(newest).await.unwrap();
    let bed = Bed::over(bed.store).await;
    let query = format!("limit=1&continue={token}");
    let err = names(&bed, "", &query).await.unwrap_err();
    assert_eq!((err.code.as_u16(), err.reason), (410, "Expired"));
    let status = err.status();
    let token = status["metadata"]["continue"].as_str().unwrap();
    let rest = names(&bed, "", &format!("continue={token}")).await.unwrap();
    assert_eq!(rest, ["b", "ba", "a"]);
}

#[tokio::test(start_paused = true)]
async fn which_state() {
    let bed = some().await;
    let now = bed.caches.fresh().await.unwrap();
    let old = format!("resourceVersion={}", now - 1);
    assert_eq!(names(&bed, "", &old).await.unwrap().len(), 4);
    let exact = format!("{old}&resourceVersionMatch=Exact");
    assert_eq!(names(&bed, "", &exact).await.unwrap().len(), 3);
    let page = format!("{old}&limit=9");
    assert_eq!(names(&bed, "", &page).await.unwrap().len(), 3);

    let future = format!("resourceVersion={}", now + 1);
    let err = names(&bed, "", &future).await.unwrap_err();
    let status = err.status();
    assert_eq!((err.code.as_u16(), err.reason), (504, "Timeout"));
    assert_eq!(
        status["details"]["causes"][0]["reason"],
        "ResourceVersionTooLarge"
    );
    assert_eq!(status["details"]["retryAfterSeconds"], 1);

    // A reader of the newest state waits for the cache; one of any state does not.
    bed.store.hold(true);
    bed.pod("default/new", json!({}), "").await;
    assert_eq!(names(&bed, "", "resourceVersion=0").await.unwrap().len(), 4);
    let newest = names(&bed, "", "");
    let held = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        bed.store.hold(false);
    };
    let (newest, ()) = tokio::join!(newest, held);
    assert_eq!(newest.unwrap().len(), 5);

    bed.store.away(true);
    assert_eq!(names(&bed, "", "").await.unwrap_err().code, 503);
    assert_eq!(names(&bed, "", "resourceVersion=0").await.unwrap().len(), 5);
}

#[tokio::test]
async fn forms() {
    let bed = some().await;
    let rv = bed.caches.fresh().await.unwrap().to_string();
    let table = Form::Table(Version::V1, Include::Metadata);
    let table = get(&bed, "fieldSelector=metadata.name%3Db&limit=5", table).await;
    assert_eq!(table["kind"], "Table");
    assert_eq!(table["metadata"], json!({"resourceVersion": rv}));
    assert_eq!(table["columnDefinitions"][0]["name"], "Name");
    assert_eq!(table["columnDefinitions"][0]["format"], "name");
    assert_eq!(table["rows"][0]["cells"], json!(["b", "n2"]));
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    assert_eq!(
        table["rows"][0]["object"]["metadata"]["labels"]["tier"],
        "x"
    );
    for (include, want) in [
        (Include::None, json!(null)),
        (Include::Object, json!("Pod")),
    ] {
        let table = get(&bed, "", Form::Table(Version::V1beta1, include)).await;
        assert_eq!(table["apiVersion"], "meta.k8s.io/v1beta1");
        assert_eq!(table["rows"][3]["object"]["kind"], want);
    }
    let metadata = get(&bed, "", Form::Metadata(Version::V1)).await;
    assert_eq!(metadata["kind"], "PartialObjectMetadataList");
    assert_eq!(metadata["items"][0].get("spec"), None);
    assert_eq!(metadata["items"][0]["metadata"]["name"], "a");
    let empty = get(&bed, "labelSelector=none", Form::Plain).await;
    let want = json!({"kind": "PodList", "apiVersion": "v1", "metadata": {"resourceVersion": rv}, "items": []});
    assert_eq!(empty, want);
}

#[tokio::test]
async fn another_group_shows_the_same_objects() {
    let bed = some().await;
    let call = call(Verb::List, "kube", "fieldSelector=spec.nodeName%3Dn1");
    let listed = list(&bed.caches, &others(), &call, Form::Plain)
        .await
        .unwrap();
    let bytes = listed.body.collect().await.unwrap().to_bytes();
    let value: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(value["kind"], "OtherList");
    assert_eq!(value["items"][0]["apiVersion"], "other/v1");
    assert_eq!(value["items"][0]["seen"], true);
    assert!(value["items"][0]["metadata"]["resourceVersion"].is_string());
}

#[tokio::test]
async fn objects_without_namespaces() {
    let bed = Bed::new().await;
    for name in ["n1", "n10"] {
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}});
        let key = format!("/registry/minions/{name}");
        bed.store.put(&key, &node.to_string()).await;
    }
    for (query, want) in [
        ("", 2),
        ("fieldSelector=metadata.name%3Dn1", 1),
        ("fieldSelector=metadata.namespace%3D", 2),
    ] {
        let call = call(Verb::List, "", query);
        let selected = select(&bed.caches, &nodes(), &call).await.unwrap();
        assert_eq!(selected.items.len(), want, "{query}");
    }
}

#[tokio::test]
async fn large_lists_come_in_pieces() {
    let bed = Bed::new().await;
    for number in 0..300 {
        let large = "x".repeat(4096);
        let name = format!("default/p{number:03}");
        bed.pod(&name, json!({"large": large}), "").await;
    }
    let call = call(Verb::List, "", "");
    let listed = list(&bed.caches, &pods(), &call, Form::Plain).await;
    let mut body = listed.unwrap().body;
    let mut whole = Vec::new();
    let mut pieces = 0;
    while let Some(frame) = body.frame().await {
        let piece = frame.unwrap().into_data().unwrap();
        assert!(piece.len() <= (128 << 10) + 5000);
        whole.extend_from_slice(&piece);
        pieces += 1;
    }
    assert!(pieces >= 10);
    let value: Value = serde_json::from_slice(&whole).unwrap();
    assert_eq!(value["items"].as_array().unwrap().len(), 300);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    /// Whatever happens between pages, they are the list as it was at the first.
    #[test]
    fn pages_are_the_list(writes in proptest::collection::vec((0..12_u8, any::<bool>()), 1..40), limit in 1..5_usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let bed = Bed::new().await;
            let write = async |(name, gone): (u8, bool)| {
                let name = format!("ns{}/p{name}", name % 2);
                if gone { bed.gone(&name).await } else { bed.pod(&name, json!({}), "").await };
            };
            let (before, during) = writes.split_at(writes.len() / 2);
            for &one in before { write(one).await; }
            let whole = names(&bed, "", "").await.unwrap();
            let mut pages = Vec::new();
            let mut query = format!("limit={limit}");
            let mut during = during.iter();
            loop {
                let page = select(&bed.caches, &pods(), &call(Verb::List, "", &query)).await.unwrap();
                pages.extend(page.items.iter().map(|it| it.name().to_owned()));
                let Some(token) = page.meta.continue_token else { break };
                query = format!("limit={limit}&continue={token}");
                for &one in during.by_ref().take(3) { write(one).await; }
            }
            assert_eq!(pages, whole);
        });
    }
}
