//! Pulls that end early, and pulls beside each other.

use std::process::{Command, Stdio};
use std::time::Instant;

use super::*;
use crate::testing::noise;

const CHILD: &str = "RKUBE_TEST_PULL_CHILD";

const POLL: Duration = Duration::from_millis(2);

/// Waits, for a bounded time, until `done`.
#[track_caller]
fn eventually(done: impl Fn() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "nothing happened in 30 s"
        );
        std::thread::sleep(POLL);
    }
}

/// Temporary directories of unpackers in a store.
fn scratch_dirs(store: &Store) -> usize {
    let entries = fs_err::read_dir(store.root().join("layers/partial")).unwrap();
    entries
        .filter(|entry| entry.as_ref().is_ok_and(|entry| entry.path().is_dir()))
        .count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pull_dropped_while_it_unpacks_stops_and_cleans_up() {
    let names: Vec<String> = (0..6000).map(|n| format!("dir{}/{n}", n % 50)).collect();
    let content = noise(1, 900);
    let files: Vec<(&str, &[u8])> = names
        .iter()
        .map(|name| (name.as_str(), content.as_slice()))
        .collect();
    let bench = Bench::new(TestImage::of(&[&files]));
    let store = bench.store();
    tokio::select! {
        done = bench.pull() => panic!("too early: {done:?}"),
        () = async { while scratch_dirs(&store) == 0 { tokio::time::sleep(POLL).await; } } => {}
    }
    eventually(|| scratch_dirs(&store) == 0);
    let layer = &bench.image.layers[0];
    assert_eq!(store.layer(&layer.diff_id), None);
    assert!(store.blob(&layer.digest()).is_some(), "the download stays");
    bench.pull().await.unwrap();
    assert_eq!(bench.registry.seen_at(&bench.layer_digest(0)).len(), 1);
}

#[tokio::test]
async fn an_image_without_its_configuration_is_pulled_again() {
    let bench = Bench::small();
    let image = bench.pull().await.unwrap();
    let store = bench.store();
    fs_err::remove_file(store.blob(&image.id).unwrap()).unwrap();
    assert!(matches!(
        store.find(&bench.name()),
        Err(StoreError::Vanished { .. })
    ));
    assert_eq!(bench.pull().await.unwrap().id, image.id);
    assert!(store.fsck(crate::store::Repair::Report).unwrap().is_clean());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_power_cut_only_what_is_lost_is_fetched() {
    let bench = Bench::new(TestImage::noise(2, 1 << 20));
    let image = bench.pull().await.unwrap();
    let asked = bench.registry.seen().len();
    let restart = |boot: &str| {
        let boot = Some(boot.to_owned());
        Store::open_in_boot(bench.dir.path(), boot).unwrap()
    };
    let reference = Reference::parse(&bench.name()).unwrap();
    let store = restart("second");
    assert_eq!(store.layer(&image.layers[0]), None);
    let again = pull(&store, &reference, &bench.options, &bench.events).await;
    assert_eq!(again.unwrap().id, image.id);
    assert_eq!(bench.registry.seen().len(), asked, "the blobs are sound");
    let blob = store.blob(&bench.image.layers[0].digest()).unwrap();
    fs_err::write(&blob, vec![0; bench.image.layers[0].blob.len()]).unwrap();
    let store = restart("third");
    let again = pull(&store, &reference, &bench.options, &bench.events).await;
    assert_eq!(store.lowerdirs(&again.unwrap()).unwrap().len(), 2);
    assert_eq!(bench.registry.seen_at(&bench.layer_digest(0)).len(), 2);
    assert_eq!(bench.registry.seen_at(&bench.layer_digest(1)).len(), 1);
}

/// Bytes of unfinished downloads in a store.
fn partial_bytes(store: &Store) -> u64 {
    let entries = fs_err::read_dir(store.root().join("blobs/partial")).unwrap();
    entries
        .filter_map(|entry| entry.ok()?.metadata().ok())
        .map(|meta| meta.len())
        .sum()
}

/// Not a test by itself: what `kill_9_keeps_what_was_downloaded` starts and kills.
#[tokio::test]
async fn child_that_pulls() {
    let Ok(order) = std::env::var(CHILD) else {
        return;
    };
    let (name, root) = order.split_once(' ').unwrap();
    let store = Store::open(std::path::Path::new(root)).unwrap();
    let reference = Reference::parse(name).unwrap();
    pull(
        &store,
        &reference,
        &PullOptions::default(),
        &crate::progress::Silent,
    )
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_keeps_what_was_downloaded() {
    let bench = Bench::large();
    let size = bench.image.layers[0].blob.len() as u64;
    let layer = bench.layer_digest(0);
    bench
        .registry
        .fault(&layer, 1, Fault::Slow(64 << 10, Duration::from_millis(20)));
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "pull::tests::kill::child_that_pulls",
            "--nocapture",
        ])
        .env(
            CHILD,
            format!("{} {}", bench.name(), bench.dir.path().display()),
        )
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let store = bench.store();
    eventually(|| partial_bytes(&store) >= 512 << 10);
    child.kill().unwrap();
    child.wait().unwrap();

    let kept = partial_bytes(&store);
    assert!(kept < size);
    let image = bench.pull().await.unwrap();
    assert_eq!(image.layers.len(), 1);
    let seen = bench.registry.seen_at(&layer);
    assert_eq!(seen.len(), 2);
    assert_eq!(
        seen[1].header("range"),
        Some(format!("bytes={kept}-").as_str())
    );
    assert_eq!(seen[1].sent as u64, size - kept);
    assert_eq!(partial_bytes(&store), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dropped_pull_keeps_what_was_downloaded() {
    let bench = Bench::large();
    let layer = bench.layer_digest(0);
    bench
        .registry
        .fault(&layer, 1, Fault::Slow(64 << 10, Duration::from_millis(20)));
    let store = bench.store();
    tokio::select! {
        done = bench.pull() => panic!("too early: {done:?}"),
        () = async { while partial_bytes(&store) < 512 << 10 { tokio::time::sleep(POLL).await; } } => {}
    }
    bench.pull().await.unwrap();
    let seen = bench.registry.seen_at(&layer);
    let range = seen[1].header("range").unwrap();
    let from: u64 = range
        .strip_prefix("bytes=")
        .unwrap()
        .trim_end_matches('-')
        .parse()
        .unwrap();
    assert!(from >= 512 << 10, "{range}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_pulls_share_the_work() {
    let bench = Bench::new(TestImage::noise(3, 1 << 20));
    bench.registry.put_image("other", "2", &bench.image);
    bench.registry.fault(
        BLOB,
        usize::MAX,
        Fault::Slow(128 << 10, Duration::from_millis(5)),
    );
    let (first, second) = (Recorder::default(), Recorder::default());
    let store = bench.store();
    let names = [bench.name(), format!("{}/other:2", bench.registry.host())];
    let [one, two] = names.map(|name| Reference::parse(&name).unwrap());
    let (a, b) = tokio::join!(
        pull(&store, &one, &bench.options, &first),
        pull(&store, &two, &bench.options, &second),
    );
    assert_eq!(a.unwrap().id, b.unwrap().id);
    for index in 0..3 {
        assert_eq!(
            bench.registry.seen_at(&bench.layer_digest(index)).len(),
            1,
            "layer {index}"
        );
    }
    assert!(first.has("waiting") || second.has("waiting"));
    assert_eq!(store.list().unwrap()[0].names.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_share_the_work() {
    let bench = Bench::large();
    let layer = bench.layer_digest(0);
    bench
        .registry
        .fault(&layer, 1, Fault::Slow(64 << 10, Duration::from_millis(5)));
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "pull::tests::kill::child_that_pulls",
            "--nocapture",
        ])
        .env(
            CHILD,
            format!("{} {}", bench.name(), bench.dir.path().display()),
        )
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let store = bench.store();
    eventually(|| partial_bytes(&store) > 0);
    bench.pull().await.unwrap();
    assert!(child.wait().unwrap().success());
    assert!(bench.events.has("waiting"), "{:?}", bench.events.all());
    assert_eq!(bench.registry.seen_at(&layer).len(), 1);
}
