//! Hosts that break, lie, stall and refuse.

use std::time::Instant;

use super::*;
use crate::RegistryError;

/// The `Range` headers with which a layer was asked for.
fn ranges(bench: &Bench) -> Vec<Option<String>> {
    let seen = bench.registry.seen_at(&bench.layer_digest(0));
    seen.iter()
        .map(|seen| seen.header("range").map(str::to_owned))
        .collect()
}

#[tokio::test]
async fn broken_downloads_go_on_where_they_broke() {
    let faults = [
        Fault::CutAfter(3 << 20),
        Fault::ResetAfter(2 << 20),
        Fault::StallAfter(1 << 20),
    ];
    for fault in faults {
        let bench = Bench::large();
        bench.registry.fault(BLOB, 0, fault.clone());
        bench
            .registry
            .fault(&bench.layer_digest(0), 1, fault.clone());
        let image = bench.pull().await.unwrap();
        assert_eq!(image.layers.len(), 1);
        let ranges = ranges(&bench);
        assert_eq!(ranges.len(), 2, "{fault:?}");
        assert_eq!(ranges[0], None);
        let from = ranges[1]
            .as_deref()
            .and_then(|range| range.strip_prefix("bytes="));
        let from: usize = from.unwrap().trim_end_matches('-').parse().unwrap();
        assert!(from > 0, "{fault:?}: resumed at {from}");
        assert!(bench.events.has("retrying"), "{fault:?}");
    }
}

#[tokio::test]
async fn a_host_without_ranges_is_asked_for_everything() {
    let bench = Bench::large();
    let layer = bench.layer_digest(0);
    bench.registry.fault(&layer, 1, Fault::CutAfter(2 << 20));
    bench.registry.fault(&layer, 1, Fault::NoRange);
    bench.pull().await.unwrap();
    assert!(ranges(&bench)[1].is_some());
    assert!(bench.registry.sent(&layer) > bench.image.layers[0].blob.len());
}

#[tokio::test]
async fn another_range_than_asked_for_is_not_used() {
    let bench = Bench::large();
    let layer = bench.layer_digest(0);
    bench.registry.fault(&layer, 1, Fault::CutAfter(2 << 20));
    bench.registry.fault(&layer, 1, Fault::WrongRange);
    let outcome = bench.pull().await;
    bench.expect_failure(outcome, &["another range"]);
    bench.pull().await.unwrap();
}

#[tokio::test]
async fn many_breaks_are_survived_while_there_is_progress() {
    let bench = Bench::large();
    bench
        .registry
        .fault(&bench.layer_digest(0), 2, Fault::CutAfter(3 << 19));
    bench.pull().await.unwrap();
    assert_eq!(ranges(&bench).len(), 3);
}

#[tokio::test]
async fn a_body_without_a_length_is_measured() {
    let bench = Bench::large();
    bench.registry.fault(BLOB, 2, Fault::NoLength);
    bench.pull().await.unwrap();
}

#[tokio::test]
async fn a_lie_is_told_once_more_at_most() {
    let bench = Bench::small();
    let layer = bench.layer_digest(0);
    bench.registry.fault(&layer, 1, Fault::Corrupt);
    bench.pull().await.unwrap();
    assert!(bench.events.has("retrying"));

    let bench = Bench::small();
    let layer = bench.layer_digest(0);
    bench.registry.fault(&layer, usize::MAX, Fault::Corrupt);
    let outcome = bench.pull().await;
    let err = bench.expect_failure(
        outcome,
        &["digest mismatch", &layer, &bench.registry.host()],
    );
    assert!(
        matches!(err, PullError::Registry(RegistryError::Digest { .. })),
        "{err:?}"
    );
    assert_eq!(ranges(&bench), [None, None]);
    assert_eq!(bench.store().blob(&bench.image.layers[0].digest()), None);
}

#[tokio::test]
async fn manifests_and_configurations_are_checked_too() {
    let bench = Bench::small();
    bench.registry.fault(MANIFEST, 1, Fault::Corrupt);
    bench.pull().await.unwrap();

    let bench = Bench::small();
    let other = Digest::sha256(b"other").to_string();
    bench
        .registry
        .fault(MANIFEST, usize::MAX, Fault::DigestHeader(other));
    let outcome = bench.pull().await;
    bench.expect_failure(outcome, &["app:1", "digest mismatch"]);
    assert_eq!(bench.registry.seen_at(MANIFEST).len(), 2);

    let bench = Bench::small();
    let config = Digest::sha256(&bench.image.config()).to_string();
    bench.registry.fault(&config, usize::MAX, Fault::Corrupt);
    let outcome = bench.pull().await;
    bench.expect_failure(outcome, &["digest mismatch", &config]);

    let bench = Bench::small();
    let digest = Digest::sha256(&bench.image.manifest());
    bench.registry.fault(MANIFEST, usize::MAX, Fault::Corrupt);
    let outcome = bench
        .pull_name(&format!("{}/app@{digest}", bench.registry.host()))
        .await;
    bench.expect_failure(outcome, &["digest mismatch", &digest.to_string()]);
}

#[tokio::test]
async fn truncated_and_overlong_layers_are_refused() {
    let bench = Bench::large();
    let size = bench.image.layers[0].blob.len();
    bench
        .registry
        .fault(&bench.layer_digest(0), usize::MAX, Fault::Shorten(10));
    let outcome = bench.pull().await;
    let got = format!("got {} of {size} bytes", size - 10);
    bench.expect_failure(outcome, &["is truncated", &got, &bench.layer_digest(0)]);
    assert!(ranges(&bench).len() < 20, "{:?}", ranges(&bench));

    let bench = Bench::large();
    bench
        .registry
        .fault(&bench.layer_digest(0), usize::MAX, Fault::Lengthen(10));
    let outcome = bench.pull().await;
    bench.expect_failure(outcome, &["sends more than the", &bench.layer_digest(0)]);
}

#[tokio::test]
async fn a_busy_host_is_given_the_time_it_asks_for() {
    let bench = Bench::small();
    let busy =
        |seconds: &str| Fault::Status(429, vec![("Retry-After".to_owned(), seconds.to_owned())]);
    bench.registry.fault(&bench.layer_digest(0), 1, busy("1"));
    let begun = Instant::now();
    bench.pull().await.unwrap();
    assert!(begun.elapsed() >= Duration::from_secs(1));
    assert!(bench.events.has("retrying registry"));

    let bench = Bench::small();
    bench.registry.fault(MANIFEST, usize::MAX, busy("86400"));
    let outcome = bench.pull().await;
    bench.expect_failure(outcome, &["status 429", "as the test asked"]);
    assert_eq!(bench.registry.seen_at(MANIFEST).len(), 1);
}

#[tokio::test]
async fn server_errors_are_tried_again_and_final_answers_are_not() {
    for status in [500, 502, 503, 504, 429, 408] {
        let bench = Bench::small();
        bench
            .registry
            .fault(MANIFEST, 2, Fault::Status(status, Vec::new()));
        bench
            .registry
            .fault(BLOB, 1, Fault::Status(status, Vec::new()));
        bench.pull().await.unwrap();
    }
    let bench = Bench::small();
    bench
        .registry
        .fault(MANIFEST, usize::MAX, Fault::Status(503, Vec::new()));
    let outcome = bench.pull().await;
    bench.expect_failure(outcome, &["status 503"]);
    assert_eq!(bench.registry.seen_at(MANIFEST).len(), 4);

    for (status, want) in [
        (404, "not found"),
        (403, "refused access"),
        (400, "status 400"),
    ] {
        let bench = Bench::small();
        bench
            .registry
            .fault(MANIFEST, usize::MAX, Fault::Status(status, Vec::new()));
        let outcome = bench.pull().await;
        bench.expect_failure(outcome, &[want, "app"]);
        assert_eq!(bench.registry.seen_at(MANIFEST).len(), 1, "{status}");
    }
}

#[tokio::test]
async fn names_that_are_not_there_are_named() {
    let bench = Bench::small();
    let host = bench.registry.host();
    let outcome = bench.pull_name(&format!("{host}/app:none")).await;
    bench.expect_failure(
        outcome,
        &[&host, "app:none not found", "check the name and the tag"],
    );
    let outcome = bench.pull_name(&format!("{host}/nothing")).await;
    bench.expect_failure(outcome, &["nothing:latest not found"]);
}

#[tokio::test]
async fn a_silent_host_is_given_up() {
    let mut bench = Bench::small();
    bench.options.timeouts.header = Duration::from_millis(100);
    bench.registry.fault(MANIFEST, usize::MAX, Fault::Hang);
    let outcome = bench.pull().await;
    bench.expect_failure(outcome, &["no answer within 0.1 s"]);
    assert_eq!(bench.registry.seen_at(MANIFEST).len(), 4);
}

#[tokio::test]
async fn giant_documents_are_not_read() {
    for fault in [Fault::Lengthen(0), Fault::NoLength] {
        let mut bench = Bench::small();
        let kind = bench.image.manifest_type();
        let giant = vec![b' '; 8 << 20];
        bench.registry.put_manifest("app", "1", kind, &giant);
        bench.registry.fault(MANIFEST, usize::MAX, fault);
        let outcome = bench.pull().await;
        bench.expect_failure(outcome, &["larger than the limit"]);

        bench.options.max_config = 10;
        bench.registry.put_image("app", "1", &bench.image);
        let outcome = bench.pull().await;
        bench.expect_failure(outcome, &["configuration of", "too large"]);
    }
}

#[tokio::test]
async fn layers_unpack_while_others_download() {
    let bench = Bench::new(TestImage::noise(2, 1 << 20));
    let (first, second) = (bench.layer_digest(0), bench.layer_digest(1));
    bench.registry.fault(&second, 1, Fault::StallAfter(1000));
    bench.pull().await.unwrap();
    let done = bench.events.position(&format!("done {first}")).unwrap();
    let verified = bench
        .events
        .position(&format!("verified {second}"))
        .unwrap();
    assert!(done < verified, "{:?}", bench.events.all());
}

#[tokio::test]
async fn a_full_disk_is_called_so() {
    let bench = Bench::large();
    let Some(_mount) = SmallDisk::mount(bench.dir.path()) else {
        println!("SKIP a_full_disk_is_called_so: cannot mount a tmpfs");
        return;
    };
    let outcome = bench.pull().await;
    bench.expect_failure(outcome, &["the disk is full"]);
}

/// A tmpfs of 2 MiB.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &std::path::Path) -> Option<Self> {
        let mut mount = std::process::Command::new("mount");
        let status = mount
            .args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"])
            .arg(at)
            .status();
        status
            .is_ok_and(|status| status.success())
            .then(|| Self(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(
            std::process::Command::new("umount")
                .arg("-l")
                .arg(&self.0)
                .status(),
        );
    }
}
