//! Caches over a store whose faults are chosen, with two resources that show the same objects.
pub(crate) mod memory;

use super::{Caches, Object};
use crate::call::{Call, User, Verb};
use crate::meta;
use crate::resource::{Column, Names, Part, Resource};
use crate::store::Store as _;
use crate::table;
use memory::Memory;
use rkube_api::validate::FieldError;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// Pods with a node and a phase, or what another group makes of them.
#[derive(Debug)]
pub(crate) struct Thing(Names);

pub(crate) const PODS: Names = Names {
    group: "",
    version: "v1",
    plural: "pods",
    singular: "pod",
    kind: "Pod",
    short: &["po"],
    categories: &["all"],
    namespaced: true,
    prefix: "/registry/pods",
    schema: "io.k8s.api.core.v1.Pod",
};

impl Resource for Thing {
    fn names(&self) -> &Names {
        &self.0
    }
    fn validate(&self, _: &Value, _: Option<&Value>, _: Part) -> Vec<FieldError> {
        Vec::new()
    }
    fn fields(&self) -> &'static [&'static str] {
        &["spec.nodeName", "status.phase"]
    }
    fn field(&self, object: &Value, field: &str) -> String {
        let place = format!("/{}", field.replace('.', "/"));
        let text = object.pointer(&place).and_then(Value::as_str);
        text.unwrap_or("").to_owned()
    }
    fn columns(&self) -> &'static [Column] {
        const { &[table::NAME, table::column("Node", "string", "Where it is.")] }
    }
    fn row(&self, object: &Value, _: i64) -> Vec<Value> {
        let node = object.pointer("/spec/nodeName").unwrap_or(&Value::Null);
        vec![meta::name(object).into(), node.clone()]
    }
    fn show(&self, object: &mut Value) {
        if self.0.group == "other" {
            object["seen"] = true.into();
        }
    }
}

pub(crate) fn pods() -> Arc<dyn Resource> {
    Arc::new(Thing(PODS))
}

/// The same objects in another group.
pub(crate) fn others() -> Arc<dyn Resource> {
    Arc::new(Thing(Names {
        group: "other",
        plural: "others",
        kind: "Other",
        ..PODS
    }))
}

pub(crate) fn nodes() -> Arc<dyn Resource> {
    Arc::new(Thing(Names {
        plural: "nodes",
        kind: "Node",
        namespaced: false,
        prefix: "/registry/minions",
        ..PODS
    }))
}

pub(crate) struct Bed {
    pub(crate) store: Arc<Memory>,
    pub(crate) caches: Arc<Caches>,
}

impl Bed {
    pub(crate) async fn new() -> Self {
        Bed::over(Arc::new(Memory::default())).await
    }

    pub(crate) async fn over(store: Arc<Memory>) -> Self {
        let resources = [pods(), others(), nodes()];
        let caches = Caches::start(store.clone(), &resources).await.unwrap();
        Bed { store, caches }
    }

    /// A pod with labels and a node.
    pub(crate) async fn pod(&self, name: &str, labels: Value, node: &str) -> u64 {
        put(&self.store, name, labels, node).await
    }

    pub(crate) async fn gone(&self, name: &str) -> u64 {
        self.store.delete(&format!("/registry/pods/{name}")).await
    }
}

pub(crate) async fn put(store: &Memory, name: &str, labels: Value, node: &str) -> u64 {
    let (namespace, name) = name.split_once('/').unwrap();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace, "labels": labels},
        "spec": {"nodeName": node},
    });
    let key = format!("/registry/pods/{namespace}/{name}");
    store.put(&key, &pod.to_string()).await
}

/// A request for a collection, by its query.
pub(crate) fn call(verb: Verb, namespace: &str, query: &str) -> Call {
    let pair = |pair: &str| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (
            name.to_owned(),
            value.replace("%3D", "=").replace("%26", "&"),
        )
    };
    Call {
        user: User::default(),
        verb,
        group: String::new(),
        version: "v1".to_owned(),
        resource: "pods".to_owned(),
        subresource: String::new(),
        namespace: namespace.to_owned(),
        name: String::new(),
        rest: String::new(),
        query: query
            .split('&')
            .filter(|it| !it.is_empty())
            .map(pair)
            .collect(),
        headers: http::HeaderMap::default(),
    }
}

fn names(objects: &[Arc<Object>]) -> Vec<&str> {
    objects.iter().map(|object| object.name()).collect()
}

#[tokio::test]
async fn a_cache_follows_the_store() {
    let store = Arc::new(Memory::default());
    put(&store, "default/a", json!({"x": "y"}), "n1").await;
    let bed = Bed::over(store).await;
    let cache = bed.caches.of("/registry/pods").unwrap();
    assert_eq!(names(&cache.under("/registry/pods/").1), ["a"]);

    let revision = bed.pod("default/b", json!({}), "").await;
    bed.gone("default/a").await;
    bed.store.put("/registry/podsets/x", "{}").await;
    let newest = bed.store.put("/elsewhere", "1").await;
    assert_eq!(bed.caches.fresh().await.unwrap(), newest);
    assert_eq!(names(&cache.under("/registry/pods/").1), ["b"]);
    let b = cache.get("/registry/pods/default/b").unwrap();
    assert_eq!(b.revision, revision);
    assert_eq!(
        meta::text(&b.value(), "resourceVersion"),
        revision.to_string()
    );
    assert_eq!((b.namespace(), cache.len()), ("default", 1));
}

#[tokio::test]
async fn older_states_are_known_from_what_is_remembered() {
    let bed = Bed::new().await;
    let first = bed.pod("default/a", json!({}), "n1").await;
    let second = bed.pod("default/b", json!({}), "n1").await;
    bed.pod("default/a", json!({}), "n2").await;
    let fourth = bed.gone("default/b").await;
    bed.caches.fresh().await.unwrap();
    let cache = bed.caches.of("/registry/pods").unwrap();
    let at = |revision| {
        let objects = cache.under_at("/registry/pods/", revision).unwrap();
        objects
            .iter()
            .map(|it| format!("{}{}", it.name(), it.revision))
            .collect::<Vec<_>>()
    };
    assert_eq!(at(first - 1), [""; 0]);
    assert_eq!(at(first), [format!("a{first}")]);
    assert_eq!(at(second), [format!("a{first}"), format!("b{second}")]);
    assert_eq!(at(fourth), [format!("a{}", second + 1)]);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_was_away_is_followed_from_where_it_was_left() {
    let bed = Bed::new().await;
    bed.pod("default/a", json!({}), "n1").await;
    bed.caches.fresh().await.unwrap();
    bed.store.away(true);
    assert_eq!(bed.caches.fresh().await.unwrap_err().code, 503);
    let cache = bed.caches.of("/registry/pods").unwrap();
    assert_eq!(cache.len(), 1, "what was read is still shown");
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert!(bed.caches.trouble().unwrap().contains("away"));

    bed.store.away(false);
    let newest = bed.pod("default/b", json!({}), "n1").await;
    // The pause may be longer than one reader waits.
    while bed.caches.reach(newest).await.is_err() {}
    assert_eq!(cache.len(), 2);
    assert_eq!(bed.caches.trouble(), None);
    assert!(cache.under_at("/registry/pods/", newest - 1).is_some());
}

#[tokio::test(start_paused = true)]
async fn after_a_compaction_all_is_read_again() {
    let bed = Bed::new().await;
    bed.pod("default/a", json!({}), "n1").await;
    bed.caches.fresh().await.unwrap();
    let cache = bed.caches.of("/registry/pods").unwrap();
    let mut behind = cache.after(0).unwrap();
    bed.store.hold(true);
    bed.pod("default/b", json!({}), "n1").await;
    let last = bed.gone("default/a").await;
    bed.store.compact(last).await.unwrap();
    bed.store.away(true);
    bed.store.away(false);
    while bed.caches.revision() < last {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(names(&cache.under("/registry/pods/").1), ["b"]);
    assert!(
        behind.take(10).is_err(),
        "what is missing is not passed over"
    );
    assert!(cache.under_at("/registry/pods/", last - 1).is_none());
}

#[tokio::test]
async fn a_damaged_object_hides_no_other() {
    let store = Arc::new(Memory::default());
    store.put("/registry/pods/default/bad", "no object").await;
    put(&store, "default/good", json!({}), "").await;
    let bed = Bed::over(store).await;
    let cache = bed.caches.of("/registry/pods").unwrap();
    assert_eq!(names(&cache.under("/registry/pods/").1), ["good"]);
}

#[tokio::test]
async fn what_is_remembered_is_bounded() {
    let bed = Bed::new().await;
    let cache = bed.caches.of("/registry/pods").unwrap();
    let mut slow = cache.after(0).unwrap();
    let large = "x".repeat(1 << 20);
    for _ in 0..70 {
        bed.pod("default/a", json!({"large": large}), "").await;
        bed.caches.fresh().await.unwrap();
    }
    assert!(slow.take(100).is_err());
    let (floor, mut rest) = cache.after(0).unwrap_err();
    let rest = rest.take(100).unwrap();
    assert_eq!(rest.len(), 64);
    assert_eq!(rest[0].object.revision, floor + 1);
}
