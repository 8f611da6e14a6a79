//! Watches of pods.
use super::{Step, Watcher, watch};
use crate::cache::tests::{Bed, call, pods};
use crate::cache::{Caches, Kind};
use crate::call::Verb;
use crate::list;
use crate::render::{Form, Include, Version};
use crate::store::embedded::{self, OpenError};
use crate::store::{self, Guard, Op, Store};
use axum::body::Body;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
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

/// What a client that lists and then watches holds, after so many events.
async fn follow(watcher: &mut Watcher, held: &mut BTreeMap<String, u64>, until: u64) {
    loop {
        match watcher.next().await {
            Step::Event { kind, object, .. } => {
                let name = object.key.to_string();
                let known = match kind {
                    Kind::Deleted => held.remove(&name).is_some(),
                    Kind::Added => held.insert(name, object.revision).is_none(),
                    Kind::Modified => held.insert(name, object.revision).is_some(),
                };
                assert!(known, "{kind:?} of {} does not fit", object.key);
            }
            Step::Bookmark { revision, .. } if revision >= until => return,
            Step::Bookmark { .. } => {}
            step => panic!("{step:?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    /// Whoever lists and then applies what a watch tells has what a list shows, whatever the selector, also when the
    /// server starts again in between.
    #[test]
    fn a_list_and_its_watch_are_the_state(
        writes in proptest::collection::vec((0..6_u8, 0..4_u8), 3..60),
        selector in 0..4_usize,
        restart: bool,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_all().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut bed = Bed::new().await;
            let query = ["", "&labelSelector=app%3Dx", "&fieldSelector=spec.nodeName%3Dn1", "&labelSelector=!app"][selector];
            let write = async |bed: &Bed, (name, how): (u8, u8)| {
                let name = format!("ns{}/p{name}", name % 2);
                let labels = if how.is_multiple_of(2) { json!({"app": "x"}) } else { json!({}) };
                match how {
                    0 => bed.gone(&name).await,
                    how => bed.pod(&name, labels, if how > 1 { "n1" } else { "n2" }).await,
                }
            };
            let third = writes.len() / 3;
            for &one in &writes[..third] { write(&bed, one).await; }
            let list = list::select(&bed.caches, &pods(), &call(Verb::List, "", query)).await.unwrap();
            let mut held = list.items.iter().map(|it| (it.key.to_string(), it.revision)).collect();
            for &one in &writes[third..2 * third] { write(&bed, one).await; }
            if restart {
                bed = Bed::over(bed.store).await;
            }
            let query = format!("{query}&allowWatchBookmarks=true");
            let from = format!("resourceVersion={}{query}", list.meta.revision);
            let mut watcher = Watcher::start(&bed.caches, &pods(), &call(Verb::Watch, "", &from)).await.unwrap();
            let mut last = 0;
            for &one in &writes[2 * third..] { last = write(&bed, one).await; }
            follow(&mut watcher, &mut held, last).await;
            let list = list::select(&bed.caches, &pods(), &call(Verb::List, "", &query)).await.unwrap();
            let shown: BTreeMap<_, _> = list.items.iter().map(|it| (it.key.to_string(), it.revision)).collect();
            assert_eq!(held, shown);
        });
    }
}

/// The store, once those who read it before are gone.
async fn opened(dir: &std::path::Path) -> embedded::Embedded {
    let again = async {
        let mut tries = tokio::time::interval(Duration::from_millis(10));
        loop {
            tries.tick().await;
            match embedded::open(dir) {
                Ok(store) => return store,
                Err(OpenError::InUse(_)) => {}
                Err(err) => panic!("{err}"),
            }
        }
    };
    let opened = tokio::time::timeout(Duration::from_secs(30), again);
    opened.await.expect("nobody holds it for ever")
}

#[tokio::test(flavor = "multi_thread")]
async fn many_watchers_of_a_real_store_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut start = 0;
    for _ in 0..2 {
        let store: Arc<dyn Store> = Arc::new(opened(dir.path()).await);
        let caches = Caches::start(store.clone(), &[pods()]).await.unwrap();
        if start == 0 {
            start = caches.fresh().await.unwrap().max(1);
        }
        let query = format!("resourceVersion={start}");
        let mut watchers = Vec::new();
        for _ in 0..100 {
            let call = call(Verb::Watch, "", &query);
            watchers.push(Watcher::start(&caches, &pods(), &call).await.unwrap());
        }
        for number in 0..100 {
            let key = format!("/registry/pods/default/p{number}");
            let op = Op {
                key: key.into(),
                guard: Guard::Any,
                change: store::Change::Put(Bytes::from_static(br#"{"metadata":{}}"#), None),
            };
            store.commit(vec![op]).await.unwrap();
        }
        let newest = caches.fresh().await.unwrap();
        let readers = watchers.into_iter().map(|mut watcher| {
            tokio::spawn(async move {
                let mut last = start;
                while last < newest {
                    let Step::Event { object, .. } = watcher.next().await else {
                        panic!("only events were expected");
                    };
                    assert_eq!(object.revision, last + 1);
                    last = object.revision;
                }
            })
        });
        let all = futures::future::try_join_all(readers);
        let all = tokio::time::timeout(Duration::from_secs(30), all).await;
        all.expect("all are told").unwrap();
    }
}
