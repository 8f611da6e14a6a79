//! What watches have to do.
use super::{Bed, PATIENCE};
use crate::store::{Batch, Change, Guard, Range, Revision, Watch};

/// The next batches up to a revision, without those of nothing; they have to come in order.
pub(in crate::store) async fn until(watch: &mut Watch, revision: Revision) -> Vec<Batch> {
    let (mut batches, mut at) = (Vec::new(), 0);
    while at < revision {
        let batch = tokio::time::timeout(PATIENCE, watch.0.recv()).await;
        let batch = batch
            .expect("news in time")
            .expect("an open watch")
            .unwrap();
        assert!(batch.revision > at, "{} after {at}", batch.revision);
        at = batch.revision;
        if !batch.events.is_empty() {
            batches.push(batch);
        }
    }
    batches
}

/// Revisions relative to a base, and `name=value`, `<` what was there before; `!` is a deletion.
fn shown(bed: &Bed, base: Revision, batches: &[Batch]) -> Vec<String> {
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let show = |batch: &Batch| {
        let events = batch.events.iter().map(|event| {
            assert_eq!(event.entry.modified, batch.revision);
            let name = event.entry.key.strip_prefix(&bed.prefix).unwrap();
            let sign = if event.deleted { "!" } else { "=" };
            let before = event.previous.as_ref();
            let before = before.map_or(String::new(), |entry| format!("<{}", text(&entry.value)));
            format!(" {name}{sign}{}{before}", text(&event.entry.value))
        });
        let mut events: Vec<String> = events.collect();
        events.sort();
        format!("{}:{}", batch.revision - base, events.concat())
    };
    batches.iter().map(show).collect()
}

async fn write_some(bed: &Bed) -> Revision {
    let base = bed.set("a", "1").await - 1;
    bed.set("a", "2").await;
    let both = vec![
        bed.put("b", Guard::Absent, "1"),
        bed.op("a", Guard::Any, Change::Delete),
    ];
    bed.store.commit(both).await.unwrap();
    bed.set("a", "3").await;
    base
}

/// What it wrote.
const SOME: [&str; 4] = ["1: a=1", "2: a=2<1", "3: a!2<2 b=1", "4: a=3"];

pub(super) async fn changes_are_told_in_order(bed: Bed) {
    let base = bed.set("elsewhere", "0").await;
    let inner = Bed {
        prefix: format!("{}in/", bed.prefix),
        ..bed.clone()
    };
    let mut watch = bed.store.watch(&inner.prefix, base).await.unwrap();
    write_some(&inner).await;
    bed.set("inner", "not under the prefix").await;
    let told = until(&mut watch, base + 4).await;
    assert_eq!(shown(&inner, base, &told), SOME);
    assert!(!told[3].events[0].deleted && told[3].events[0].previous.is_none());
}

pub(super) async fn a_watch_begins_where_it_is_told(bed: Bed) {
    let base = write_some(&bed).await;
    let newest = bed.set("last", "1").await;
    let all = [&SOME[..], &["5: last=1"]].concat();
    for skip in 0..=4u64 {
        let mut watch = bed.store.watch(&bed.prefix, base + skip).await.unwrap();
        let told = until(&mut watch, newest).await;
        let skip = usize::try_from(skip).unwrap();
        assert_eq!(shown(&bed, base, &told), all[skip..], "after {skip}");
    }
}

pub(super) async fn news_of_nothing_comes_too(bed: Bed) {
    let base = bed.set("a", "1").await;
    let mut watch = bed
        .store
        .watch(&bed.key("nothing here"), base)
        .await
        .unwrap();
    let last = bed.set("a", "2").await;
    // A reader asks what the newest revision is and waits until it has been told of it.
    assert_eq!(bed.store.revision().await.unwrap(), last);
    assert_eq!(until(&mut watch, last).await, []);
}

pub(super) async fn nobody_waits_for_a_slow_reader(bed: Bed) {
    let value = "x".repeat(8 << 10);
    let base = bed.set("0", &value).await;
    let mut watch = bed.store.watch(&bed.prefix, base).await.unwrap();
    // More than any queue or ring in memory holds.
    let writers = (0..50).map(|writer| {
        let (bed, value) = (bed.clone(), value.clone());
        tokio::spawn(async move {
            for number in 0..40 {
                bed.set(&format!("{writer}-{}", number % 4), &value).await;
            }
        })
    });
    for writer in futures::future::join_all(writers).await {
        writer.unwrap();
    }
    let newest = bed.store.revision().await.unwrap();
    assert_eq!(newest, base + 2_000);
    let told = until(&mut watch, newest).await;
    let revisions: Vec<Revision> = told.iter().map(|batch| batch.revision).collect();
    let wanted: Vec<Revision> = (base + 1..=newest).collect();
    assert_eq!(revisions, wanted);
}

pub(super) async fn many_watches_hear_the_same(bed: Bed) {
    let base = bed.set("0", "0").await;
    let mut readers = Vec::new();
    for _ in 0..20 {
        let mut watch = bed.store.watch(&bed.prefix, base).await.unwrap();
        readers.push(tokio::spawn(
            async move { until(&mut watch, base + 100).await },
        ));
    }
    for number in 0..100 {
        bed.set(&format!("{}", number % 7), &number.to_string())
            .await;
    }
    let mut all = Vec::new();
    for reader in readers {
        all.push(reader.await.unwrap());
    }
    assert_eq!(all[0].len(), 100);
    assert!(all.iter().all(|told| *told == all[0]));
    let range = Range {
        prefix: bed.prefix.clone(),
        ..Range::default()
    };
    let listing = bed.store.list(&range);
    // The last that was told of each key is what is there.
    for entry in listing.await.unwrap().entries {
        let of = |batch: &&Batch| batch.events[0].entry.key == entry.key;
        let last = all[0].iter().rfind(of).unwrap();
        assert_eq!(last.events[0].entry, entry);
    }
}
