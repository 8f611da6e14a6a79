//! Watches of pods.
use super::{Step, Watcher, watch};
use crate::cache::tests::{Bed, call, pods};
use crate::call::Verb;
use crate::render::{Form, Include, Version};
use crate::store::Store as _;
use axum::body::Body;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use std::time::Duration;

async fn open(bed: &Bed, query: &str, form: Form) -> Body {
    let call = call(Verb::Watch, "", query);
    watch(&bed.caches, &pods(), &call, form).await.unwrap()
}

/// The next line; none at the end.
async fn line(body: &mut Body) -> Option<Value> {
    let frame = tokio::time::timeout(Duration::from_secs(100), body.frame());
    let frame = frame.await.expect("no line comes")?;
    let bytes = frame.unwrap().into_data().unwrap();
    assert_eq!(bytes.last(), Some(&b'\n'));
    Some(serde_json::from_slice(&bytes).unwrap())
}

/// Type, name and revision of the next line.
async fn event(body: &mut Body) -> (String, String, u64) {
    let line = line(body).await.expect("a line");
    let text = |place: &str| line.pointer(place).and_then(Value::as_str).unwrap_or("");
    (
        text("/type").to_owned(),
        text("/object/metadata/name").to_owned(),
        text("/object/metadata/resourceVersion").parse().unwrap(),
    )
}

fn of(kind: &str, name: &str, revision: u64) -> (String, String, u64) {
    (kind.to_owned(), name.to_owned(), revision)
}

#[tokio::test(start_paused = true)]
async fn what_is_there_and_then_what_changes() {
    let bed = Bed::new().await;
    let a = bed.pod("default/a", json!({}), "n1").await;
    for query in ["", "resourceVersion=0"] {
        bed.caches.fresh().await.unwrap();
        let mut body = open(&bed, query, Form::Plain).await;
        assert_eq!(event(&mut body).await, of("ADDED", "a", a));
        let b = bed.pod("default/b", json!({}), "n1").await;
        assert_eq!(event(&mut body).await, of("ADDED", "b", b));
        let c = bed.pod("default/b", json!({}), "n2").await;
        assert_eq!(event(&mut body).await, of("MODIFIED", "b", c));
        let d = bed.gone("default/b").await;
        assert_eq!(event(&mut body).await, of("DELETED", "b", d));
    }
    let mut after = open(&bed, &format!("resourceVersion={a}"), Form::Plain).await;
    for kind in ["ADDED", "MODIFIED", "DELETED", "ADDED"] {
        assert_eq!(event(&mut after).await.0, kind);
    }
}

#[tokio::test(start_paused = true)]
async fn objects_come_into_a_selection_and_leave_it() {
    let bed = Bed::new().await;
    let start = bed.pod("default/a", json!({}), "n1").await;
    let query = "fieldSelector=spec.nodeName%3Dn2&labelSelector=app%3Dweb&resourceVersion=";
    let mut body = open(&bed, &format!("{query}{start}"), Form::Plain).await;
    let web = json!({"app": "web"});
    bed.pod("default/a", json!({}), "n2").await;
    let came = bed.pod("default/a", web.clone(), "n2").await;
    assert_eq!(event(&mut body).await, of("ADDED", "a", came));
    let stayed = bed
        .pod("default/a", json!({"app": "web", "x": "y"}), "n2")
        .await;
    assert_eq!(event(&mut body).await, of("MODIFIED", "a", stayed));
    let left = bed.pod("default/a", web.clone(), "n3").await;
    let last = line(&mut body).await.unwrap();
    assert_eq!(last["type"], "DELETED");
    assert_eq!(
        last["object"]["spec"]["nodeName"], "n2",
        "as it was last seen"
    );
    assert_eq!(
        last["object"]["metadata"]["resourceVersion"],
        left.to_string()
    );
    assert_eq!(last["object"]["metadata"]["labels"]["x"], "y");
    bed.gone("default/a").await;
    let back = bed.pod("default/a", web, "n2").await;
    assert_eq!(event(&mut body).await, of("ADDED", "a", back));
}

#[tokio::test(start_paused = true)]
async fn bookmarks_and_the_end() {
    let bed = Bed::new().await;
    let a = bed.pod("default/a", json!({}), "").await;
    let query = format!("resourceVersion={a}&allowWatchBookmarks=true&timeoutSeconds=90");
    let mut body = open(&bed, &query, Form::Plain).await;
    let started = tokio::time::Instant::now();
    let other = bed
        .store
        .put("/registry/minions/n1", r#"{"metadata":{}}"#)
        .await;
    for after in [60, 90] {
        let mark = line(&mut body).await.unwrap();
        let want = json!({"type": "BOOKMARK", "object": {
            "kind": "Pod", "apiVersion": "v1", "metadata": {"resourceVersion": other.to_string()}}});
        assert_eq!(mark, want);
        assert_eq!(started.elapsed().as_secs(), after);
    }
    assert_eq!(line(&mut body).await, None);

    let mut silent = open(
        &bed,
        &format!("resourceVersion={a}&timeoutSeconds=70"),
        Form::Plain,
    )
    .await;
    assert_eq!(line(&mut silent).await, None);
}

#[tokio::test(start_paused = true)]
async fn initial_events_and_their_end() {
    let bed = Bed::new().await;
    let a = bed.pod("default/a", json!({}), "").await;
    let query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true";
    for version in ["", "&resourceVersion=0", &format!("&resourceVersion={a}")] {
        bed.caches.fresh().await.unwrap();
        let mut body = open(&bed, &format!("{query}{version}"), Form::Plain).await;
        assert_eq!(event(&mut body).await, of("ADDED", "a", a));
        let mark = line(&mut body).await.unwrap();
        assert_eq!(mark["type"], "BOOKMARK");
        assert_eq!(
            mark["object"]["metadata"]["annotations"],
            json!({"k8s.io/initial-events-end": "true"})
        );
        assert_eq!(mark["object"]["metadata"]["resourceVersion"], a.to_string());
    }
    let mut from_now = open(
        &bed,
        "sendInitialEvents=false&resourceVersionMatch=NotOlderThan",
        Form::Plain,
    )
    .await;
    let b = bed.pod("default/b", json!({}), "").await;
    assert_eq!(event(&mut from_now).await, of("ADDED", "b", b));

    for (query, words) in [
        (
            "sendInitialEvents=true",
            "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ),
        (
            "resourceVersionMatch=NotOlderThan&resourceVersion=1",
            "forbidden for watch unless sendInitialEvents",
        ),
        (
            "sendInitialEvents=true&resourceVersionMatch=Exact",
            "Unsupported value: \"Exact\"",
        ),
    ] {
        let call = call(Verb::Watch, "", query);
        let err = Watcher::start(&bed.caches, &pods(), &call)
            .await
            .unwrap_err();
        assert_eq!(err.code, 422, "{query}");
        assert!(err.message.contains(words), "{query}: {err}");
    }
    for query in [
        "timeoutSeconds=x",
        "allowWatchBookmarks=x",
        "resourceVersion=x",
        "fieldSelector=a",
    ] {
        let call = call(Verb::Watch, "", query);
        let err = Watcher::start(&bed.caches, &pods(), &call)
            .await
            .unwrap_err();
        assert_eq!(err.code, 400, "{query}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_future_revision_is_waited_for() {
    let bed = Bed::new().await;
    let a = bed.pod("default/a", json!({}), "").await;
    let mut body = open(&bed, &format!("resourceVersion={}", a + 1), Form::Plain).await;
    bed.pod("default/b", json!({}), "").await;
    let c = bed.pod("default/c", json!({}), "").await;
    assert_eq!(event(&mut body).await, of("ADDED", "c", c));
}

#[tokio::test(start_paused = true)]
async fn a_watch_goes_on_over_a_restart() {
    let bed = Bed::new().await;
    let a = bed.pod("default/a", json!({"app": "web"}), "").await;
    let b = bed.pod("default/b", json!({}), "").await;
    let left = bed.pod("default/a", json!({}), "").await;
    let again = Bed::over(bed.store).await;
    let mut all = open(&again, &format!("resourceVersion={a}"), Form::Plain).await;
    let mut web = open(
        &again,
        &format!("resourceVersion={a}&labelSelector=app"),
        Form::Plain,
    )
    .await;
    assert_eq!(event(&mut all).await, of("ADDED", "b", b));
    assert_eq!(event(&mut all).await, of("MODIFIED", "a", left));
    assert_eq!(event(&mut web).await, of("DELETED", "a", left));
    let c = again.pod("default/c", json!({}), "").await;
    assert_eq!(event(&mut all).await, of("ADDED", "c", c));
}

#[tokio::test(start_paused = true)]
async fn a_lost_revision_is_told() {
    let bed = Bed::new().await;
    let a = bed.pod("default/a", json!({}), "").await;
    let b = bed.pod("default/b", json!({}), "").await;
    bed.store.compact(b).await.unwrap();
    let again = Bed::over(bed.store).await;
    let mut body = open(&again, &format!("resourceVersion={a}"), Form::Plain).await;
    let want = json!({"type": "ERROR", "object": {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": format!("too old resource version: {a} ({b})"), "reason": "Expired", "code": 410}});
    assert_eq!(line(&mut body).await.unwrap(), want);
    assert_eq!(line(&mut body).await, None);
}

#[tokio::test(start_paused = true)]
async fn the_slow_are_cut_and_the_server_may_close() {
    let bed = Bed::new().await;
    let mut slow = open(&bed, "", Form::Plain).await;
    let mut quick = open(&bed, "", Form::Plain).await;
    let large = json!({"large": "x".repeat(1 << 20)});
    for _ in 0..70 {
        let revision = bed.pod("default/a", large.clone(), "").await;
        bed.caches.reach(revision).await.unwrap();
        assert_eq!(event(&mut quick).await.2, revision);
    }
    assert_eq!(line(&mut slow).await, None);
    bed.caches.close();
    assert_eq!(line(&mut quick).await, None);
}

#[tokio::test(start_paused = true)]
async fn tables() {
    let bed = Bed::new().await;
    let a = bed.pod("default/a", json!({}), "n1").await;
    let form = Form::Table(Version::V1, Include::Metadata);
    let query = format!("resourceVersion={a}&allowWatchBookmarks=true&timeoutSeconds=60");
    let mut body = open(&bed, &query, form).await;
    let mut other = open(&bed, &query, form).await;
    for (node, first) in [("n2", true), ("n3", false)] {
        bed.pod("default/a", json!({}), node).await;
        for body in [&mut body, &mut other] {
            let line = line(body).await.unwrap();
            assert_eq!(line["type"], "MODIFIED");
            assert_eq!(line["object"]["kind"], "Table");
            assert_eq!(line["object"]["columnDefinitions"].is_array(), first);
            assert_eq!(line["object"]["rows"][0]["cells"], json!(["a", node]));
            assert_eq!(line["object"]["rows"][0]["object"]["metadata"]["name"], "a");
        }
    }
    let mark = line(&mut body).await.unwrap();
    assert_eq!(mark["type"], "BOOKMARK");
    assert!(mark["object"]["rows"][0]["object"]["metadata"]["resourceVersion"].is_string());
    let mut metadata = open(&bed, "", Form::Metadata(Version::V1)).await;
    let line = line(&mut metadata).await.unwrap();
    assert_eq!(line["object"]["kind"], "PartialObjectMetadata");
    assert_eq!(line["object"].get("spec"), None);
}

#[tokio::test]
async fn all_watchers_share_one_encoding() {
    let bed = Bed::new().await;
    bed.caches.fresh().await.unwrap();
    let mut bodies = Vec::new();
    for form in [Form::Plain, Form::Metadata(Version::V1)] {
        bodies.push(open(&bed, "", form).await);
        bodies.push(open(&bed, "", form).await);
    }
    bed.pod("default/a", json!({}), "").await;
    let mut places = Vec::new();
    for body in &mut bodies {
        let bytes = body.frame().await.unwrap().unwrap().into_data().unwrap();
        places.push((bytes.as_ptr(), bytes));
    }
    assert_eq!(places[0].0, places[1].0);
    assert_eq!(places[2].0, places[3].0);
}

#[tokio::test]
async fn every_change_is_told_once_and_in_order() {
    let bed = Bed::new().await;
    let mut watcher = Watcher::start(&bed.caches, &pods(), &call(Verb::Watch, "", ""))
        .await
        .unwrap();
    let writes = async {
        for number in 0..500 {
            bed.pod(&format!("default/p{}", number % 7), json!({}), "")
                .await;
            if number % 3 == 0 {
                tokio::task::yield_now().await;
            }
        }
    };
    let reads = async {
        let mut last = 1;
        for _ in 0..500 {
            let Step::Event { object, .. } = watcher.next().await else {
                panic!("only events were expected");
            };
            assert_eq!(object.revision, last + 1);
            last = object.revision;
        }
    };
    tokio::join!(writes, reads);
}
