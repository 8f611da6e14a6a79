//! What every store has to do. One list of cases; each store runs all of them.
//!
//! Cases share a store that others may have written to: a case has a prefix of its own and counts revisions from where it
//! began.
mod linear;
mod model;
pub(super) mod watching;

use super::{Change, Committed, Entry, Guard, LeaseId, Op, Range, Revision, Store, StoreError};
use futures::future::BoxFuture;
use std::sync::Arc;
use std::time::Duration;

/// How long anything may take to come.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// A store, and where the case may write.
#[derive(Clone)]
pub(super) struct Bed {
    pub(super) store: Arc<dyn Store>,
    pub(super) prefix: String,
}

type Case = fn(Bed) -> BoxFuture<'static, ()>;

macro_rules! cases {
    ($($path:path),* $(,)?) => { &[$((stringify!($path), |bed| Box::pin($path(bed)))),*] };
}

/// All cases.
const CASES: &[(&str, Case)] = cases![
    guards_decide,
    a_transaction_is_all_or_nothing,
    what_cannot_be_asked_for_is_refused,
    values_come_back_as_they_went,
    listings_have_an_order_and_an_end,
    the_past_can_be_listed,
    pages_are_of_one_revision,
    leases_end_with_their_keys,
    leases_can_be_put_off_and_given_back,
    compaction_is_told,
    watching::changes_are_told_in_order,
    watching::a_watch_begins_where_it_is_told,
    watching::news_of_nothing_comes_too,
    watching::nobody_waits_for_a_slow_reader,
    watching::many_watches_hear_the_same,
    linear::counters_count,
    linear::histories_are_linear,
    model::it_does_what_a_map_does,
];

/// Runs all cases on one store, one after the other.
pub(super) async fn run(store: Arc<dyn Store>) {
    for (name, case) in CASES {
        let prefix = format!("/registry/{}/", name.replace("::", "-"));
        eprintln!("case {name}");
        let bed = Bed {
            store: store.clone(),
            prefix,
        };
        // In a task, as callers are; its panic names the case above.
        tokio::spawn(case(bed)).await.unwrap();
    }
}

impl Bed {
    pub(super) fn key(&self, name: &str) -> Arc<str> {
        format!("{}{name}", self.prefix).into()
    }
    pub(super) fn op(&self, name: &str, guard: Guard, change: Change) -> Op {
        Op {
            key: self.key(name),
            guard,
            change,
        }
    }
    pub(super) fn put(&self, name: &str, guard: Guard, value: &str) -> Op {
        let value = Change::Put(value.to_owned().into(), None);
        self.op(name, guard, value)
    }
    pub(super) async fn set(&self, name: &str, value: &str) -> Revision {
        let op = self.put(name, Guard::Any, value);
        self.store.commit(vec![op]).await.unwrap().revision
    }
    pub(super) async fn lease(&self, name: &str, lease: LeaseId) -> Result<Committed, StoreError> {
        let put = Change::Put("leased".into(), Some(lease));
        self.store
            .commit(vec![self.op(name, Guard::Any, put)])
            .await
    }
    pub(super) async fn delete(&self, name: &str) -> Revision {
        let op = self.op(name, Guard::Any, Change::Delete);
        self.store.commit(vec![op]).await.unwrap().revision
    }
    pub(super) async fn get(&self, name: &str) -> Option<Entry> {
        self.store.get(&self.key(name)).await.unwrap()
    }
    /// `name=value` of a listing, and what was said to be behind it.
    async fn list(&self, range: Range) -> (String, Revision, u64) {
        let range = Range {
            prefix: format!("{}{}", self.prefix, range.prefix),
            after: range.after.map(|after| format!("{}{after}", self.prefix)),
            ..range
        };
        let listing = self.store.list(&range).await.unwrap();
        let show = |entry: &Entry| {
            let name = entry.key.strip_prefix(&self.prefix).unwrap();
            format!("{name}={}", String::from_utf8_lossy(&entry.value))
        };
        let shown: Vec<String> = listing.entries.iter().map(show).collect();
        (shown.join(" "), listing.revision, listing.remaining)
    }
    async fn at(&self, revision: Revision) -> String {
        let range = Range {
            at: Some(revision),
            ..Range::default()
        };
        let (shown, at, _) = self.list(range).await;
        assert_eq!(at, revision);
        shown
    }
}

async fn guards_decide(bed: Bed) {
    let commit = |op: Op| {
        let store = bed.store.clone();
        async move { store.commit(vec![op]).await }
    };
    let base = bed.store.revision().await.unwrap();
    let made = commit(bed.put("a", Guard::Absent, "1")).await.unwrap();
    assert_eq!((made.revision, &made.previous[..]), (base + 1, &[None][..]));
    let first = bed.get("a").await.unwrap();
    let wanted = Entry {
        key: bed.key("a"),
        value: "1".into(),
        created: base + 1,
        modified: base + 1,
        lease: None,
    };
    assert_eq!(first, wanted);
    let conflict = commit(bed.put("a", Guard::Absent, "2")).await;
    assert!(
        matches!(&conflict, Err(StoreError::Conflict { key, current: Some(entry) }) if *key == bed.key("a") && *entry == first),
        "{conflict:?}"
    );
    let changed = commit(bed.put("a", Guard::At(base + 1), "2"))
        .await
        .unwrap();
    assert_eq!(changed.previous, [Some(first)]);
    let second = bed.get("a").await.unwrap();
    assert_eq!((second.created, second.modified), (base + 1, base + 2));
    for stale in [Guard::At(base + 1), Guard::At(base + 3)] {
        let refused = commit(bed.op("a", stale, Change::Delete)).await;
        assert!(
            matches!(&refused, Err(StoreError::Conflict { current: Some(entry), .. }) if *entry == second),
            "{refused:?}"
        );
    }
    let gone = commit(bed.op("a", Guard::At(base + 2), Change::Delete))
        .await
        .unwrap();
    assert_eq!(
        (gone.revision, &gone.previous[..]),
        (base + 3, &[Some(second)][..])
    );
    assert_eq!(bed.get("a").await, None);
    let refused = commit(bed.put("a", Guard::At(base + 2), "3")).await;
    assert!(
        matches!(refused, Err(StoreError::Conflict { current: None, .. })),
        "{refused:?}"
    );
    let again = commit(bed.put("a", Guard::Absent, "3")).await.unwrap();
    assert_eq!(again.revision, base + 4);
    assert_eq!(bed.get("a").await.unwrap().created, base + 4);
}

async fn a_transaction_is_all_or_nothing(bed: Bed) {
    let base = bed.set("there", "1").await;
    let refused = bed.store.commit(vec![
        bed.put("new", Guard::Absent, "1"),
        bed.put("there", Guard::Absent, "2"),
    ]);
    let refused = refused.await;
    assert!(
        matches!(&refused, Err(StoreError::Conflict { key, .. }) if *key == bed.key("there")),
        "{refused:?}"
    );
    assert_eq!(bed.get("new").await, None);
    assert_eq!(bed.store.revision().await.unwrap(), base);
    let done = bed.store.commit(vec![
        bed.put("new", Guard::Absent, "1"),
        bed.op("there", Guard::At(base), Change::Check),
        bed.op("nowhere", Guard::Any, Change::Delete),
        bed.put("other", Guard::Any, "1"),
    ]);
    let done = done.await.unwrap();
    assert_eq!(done.revision, base + 1);
    let known: Vec<bool> = done.previous.iter().map(Option::is_some).collect();
    assert_eq!(known, [false, true, false, false]);
    let modified = [
        bed.get("new").await,
        bed.get("there").await,
        bed.get("other").await,
    ];
    assert_eq!(
        modified.map(|entry| entry.unwrap().modified),
        [base + 1, base, base + 1]
    );
    let nothing = bed
        .store
        .commit(vec![bed.op("nowhere", Guard::Absent, Change::Delete)]);
    assert_eq!(nothing.await.unwrap().revision, base + 1);
    assert_eq!(
        bed.store.commit(Vec::new()).await.unwrap().revision,
        base + 1
    );
    assert_eq!(
        bed.set("other", "1").await,
        base + 2,
        "the same value is a change"
    );
}

async fn what_cannot_be_asked_for_is_refused(bed: Bed) {
    let twice = vec![bed.put("a", Guard::Any, "1"), bed.put("a", Guard::Any, "2")];
    let refused = bed.store.commit(twice).await;
    assert!(matches!(refused, Err(StoreError::Failed(_))), "{refused:?}");
    let mut nameless = bed.put("a", Guard::Any, "1");
    nameless.key = "".into();
    let refused = bed.store.commit(vec![nameless]).await;
    assert!(matches!(refused, Err(StoreError::Failed(_))), "{refused:?}");
    let newest = bed.set("a", "1").await;
    let future = Range {
        at: Some(newest + 1000),
        ..Range::default()
    };
    let refused = bed.store.list(&future).await;
    assert!(
        matches!(refused, Err(StoreError::Future { asked, newest: told }) if asked == newest + 1000 && told == newest),
        "{refused:?}"
    );
    let refused = bed.store.watch("/", newest + 1000).await;
    assert!(
        matches!(refused, Err(StoreError::Future { .. })),
        "{refused:?}"
    );
    let refused = bed.store.compact(newest + 1000).await;
    assert!(
        matches!(refused, Err(StoreError::Future { .. })),
        "{refused:?}"
    );
    let refused = bed.lease("a", LeaseId(1_234_567)).await;
    assert!(
        matches!(refused, Err(StoreError::NoLease(LeaseId(1_234_567)))),
        "{refused:?}"
    );
    for refused in [
        bed.store.keep_alive(LeaseId(1_234_567)).await,
        bed.store.revoke(LeaseId(1_234_567)).await,
    ] {
        assert!(
            matches!(refused, Err(StoreError::NoLease(_))),
            "{refused:?}"
        );
    }
    assert_eq!(bed.get("a").await.unwrap().modified, newest);
}

async fn values_come_back_as_they_went(bed: Bed) {
    let values: [Vec<u8>; 4] = [
        Vec::new(),
        vec![0, 255, 10, 13],
        (0..=255).collect(),
        vec![7; 1 << 20],
    ];
    for (number, value) in values.into_iter().enumerate() {
        let name = format!("größe {number}/%00*");
        let put = Change::Put(value.clone().into(), None);
        bed.store
            .commit(vec![bed.op(&name, Guard::Any, put)])
            .await
            .unwrap();
        assert_eq!(bed.get(&name).await.unwrap().value, value);
    }
}

async fn listings_have_an_order_and_an_end(bed: Bed) {
    for name in ["b/2", "a/2", "a/10", "a0", "a/1", "a", "b/1", "B"] {
        bed.set(name, "x").await;
    }
    let newest = bed.store.revision().await.unwrap();
    let list = |prefix: &str, after: Option<&str>, limit| {
        let range = Range {
            prefix: prefix.to_owned(),
            after: after.map(str::to_owned),
            limit,
            at: None,
        };
        let bed = bed.clone();
        async move {
            let (shown, revision, remaining) = bed.list(range).await;
            assert_eq!(revision, newest);
            (shown.replace("=x", ""), remaining)
        }
    };
    let shown = |text: &str, remaining| (text.to_owned(), remaining);
    assert_eq!(
        list("", None, 0).await,
        shown("B a a/1 a/10 a/2 a0 b/1 b/2", 0)
    );
    assert_eq!(list("a/", None, 0).await, shown("a/1 a/10 a/2", 0));
    assert_eq!(list("a/", None, 2).await, shown("a/1 a/10", 1));
    assert_eq!(list("a/", Some("a/10"), 2).await, shown("a/2", 0));
    assert_eq!(list("a/", Some("a/1"), 1).await, shown("a/10", 1));
    assert_eq!(list("a/", Some("a/15"), 0).await, shown("a/2", 0));
    assert_eq!(list("b", Some("a/2"), 1).await, shown("b/1", 1));
    assert_eq!(list("a/", Some("z"), 0).await, shown("", 0));
    assert_eq!(list("c", None, 5).await, shown("", 0));
}

async fn the_past_can_be_listed(bed: Bed) {
    let mut revisions = vec![
        bed.set("a", "1").await,
        bed.set("b", "1").await,
        bed.set("a", "2").await,
        bed.delete("b").await,
        bed.set("c", "1").await,
        bed.set("b", "2").await,
    ];
    let both = vec![
        bed.op("a", Guard::Any, Change::Delete),
        bed.put("c", Guard::Any, "2"),
    ];
    revisions.push(bed.store.commit(both).await.unwrap().revision);
    let states = [
        "a=1",
        "a=1 b=1",
        "a=2 b=1",
        "a=2",
        "a=2 c=1",
        "a=2 b=2 c=1",
        "b=2 c=2",
    ];
    for (revision, state) in revisions.into_iter().zip(states) {
        assert_eq!(bed.at(revision).await, state);
    }
}

async fn pages_are_of_one_revision(bed: Bed) {
    for number in 0..20 {
        bed.set(&format!("{number:02}"), "old").await;
    }
    let (mut after, mut at, mut pages) = (None, None, String::new());
    for page in 0..7u64 {
        let range = Range {
            after: after.clone(),
            limit: 3,
            at,
            ..Range::default()
        };
        let (shown, revision, remaining) = bed.list(range).await;
        assert_eq!(at.unwrap_or(revision), revision);
        assert_eq!(remaining, 17u64.saturating_sub(page * 3));
        at = Some(revision);
        after = shown
            .rsplit(' ')
            .next()
            .and_then(|last| last.split('=').next())
            .map(str::to_owned);
        pages += &format!("{shown} ");
        // Between two pages everything changes.
        bed.set(&format!("{:02}", page * 3 + 3), "new").await;
        bed.delete(&format!("{:02}", 19 - page)).await;
        bed.set(&format!("{page:02}a"), "new").await;
    }
    let wanted: String = (0..20).map(|number| format!("{number:02}=old ")).collect();
    assert_eq!(pages, wanted);
}

async fn leases_end_with_their_keys(bed: Bed) {
    let lease = bed.store.grant(Duration::from_secs(1)).await.unwrap();
    let other = bed.store.grant(Duration::from_secs(600)).await.unwrap();
    assert_ne!(lease, other);
    bed.lease("a", lease).await.unwrap();
    bed.lease("b", lease).await.unwrap();
    bed.lease("moved", lease).await.unwrap();
    bed.lease("moved", other).await.unwrap();
    bed.lease("kept", lease).await.unwrap();
    let base = bed.set("kept", "no lease any more").await;
    assert_eq!(bed.get("a").await.unwrap().lease, Some(lease));
    assert_eq!(bed.get("kept").await.unwrap().lease, None);
    let mut watch = bed.store.watch(&bed.prefix, base).await.unwrap();
    let mut gone = Vec::new();
    while gone.len() < 2 {
        let batch = tokio::time::timeout(PATIENCE, watch.0.recv())
            .await
            .unwrap();
        for event in batch.unwrap().unwrap().events {
            assert!(event.deleted && event.previous.is_some(), "{event:?}");
            gone.push(event.entry.key);
        }
    }
    gone.sort();
    assert_eq!(gone, [bed.key("a"), bed.key("b")]);
    assert_eq!(
        bed.list(Range::default()).await.0,
        "kept=no lease any more moved=leased"
    );
    assert!(matches!(
        bed.lease("a", lease).await,
        Err(StoreError::NoLease(_))
    ));
    bed.store.revoke(other).await.unwrap();
}

async fn leases_can_be_put_off_and_given_back(bed: Bed) {
    let lease = bed.store.grant(Duration::from_secs(3)).await.unwrap();
    let short = bed.store.grant(Duration::from_secs(3)).await.unwrap();
    bed.lease("long", lease).await.unwrap();
    bed.lease("short", short).await.unwrap();
    let started = tokio::time::Instant::now();
    while bed.get("short").await.is_some() {
        assert!(started.elapsed() < PATIENCE);
        bed.store.keep_alive(lease).await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(bed.get("long").await.is_some());
    bed.store.revoke(lease).await.unwrap();
    assert_eq!(bed.get("long").await, None);
}

async fn compaction_is_told(bed: Bed) {
    let first = bed.set("a", "1").await;
    let second = bed.set("a", "2").await;
    let third = bed.set("b", "1").await;
    bed.delete("a").await;
    bed.store.compact(third).await.unwrap();
    bed.store.compact(third).await.unwrap();
    for old in [first, second] {
        let range = Range {
            prefix: bed.prefix.clone(),
            at: Some(old),
            ..Range::default()
        };
        let refused = bed.store.list(&range).await;
        assert!(
            matches!(refused, Err(StoreError::Compacted { asked, oldest }) if asked == old && oldest == third),
            "{refused:?}"
        );
        let refused = match bed.store.watch(&bed.prefix, old).await {
            Ok(mut watch) => tokio::time::timeout(PATIENCE, watch.0.recv())
                .await
                .unwrap()
                .unwrap(),
            Err(error) => Err(error),
        };
        assert!(
            matches!(refused, Err(StoreError::Compacted { .. })),
            "{refused:?}"
        );
    }
    assert_eq!(bed.at(third).await, "a=2 b=1");
    let mut watch = bed.store.watch(&bed.prefix, third).await.unwrap();
    let batch = tokio::time::timeout(PATIENCE, watch.0.recv())
        .await
        .unwrap()
        .unwrap();
    assert!(batch.unwrap().events[0].deleted);
}
