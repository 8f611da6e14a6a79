//! Power cuts, played by opening the store as if in another boot.

use std::io::Write as _;

use super::*;
use crate::store::tests::{Bench, is_root};
use crate::store::{Damage, Repair};

/// The store after a restart of the machine.
fn restarted(bench: &Bench) -> Store {
    Store::open_in_boot(bench.store.root(), Some("another boot".to_owned())).unwrap()
}

/// Same length and times, other content: what delayed allocation leaves, and no summary tells.
fn spoil(path: &Path) {
    let len = usize::try_from(std::fs::metadata(path).unwrap().len()).unwrap();
    let modified = std::fs::metadata(path).unwrap().modified().unwrap();
    let mut file = File::options().write(true).open(path).unwrap();
    file.write_all(&vec![0; len]).unwrap();
    file.set_modified(modified).unwrap();
}

#[test]
fn a_layer_the_disk_may_have_missed_is_unpacked_again() {
    if !is_root("a_layer_the_disk_may_have_missed_is_unpacked_again") {
        return;
    }
    let bench = Bench::new();
    let image = bench.image(Some("app:1"), "content");
    let file = bench.store.layer(&image.layers[0]).unwrap().join("file");
    spoil(&file);
    assert!(
        bench.store.fsck(Repair::Report).unwrap().is_clean(),
        "the summary would tell, and this test shows nothing"
    );
    let store = restarted(&bench);
    assert_eq!(store.layer(&image.layers[0]), None);
    let report = store.fsck(Repair::Report).unwrap();
    assert!(
        matches!(report.damages[..], [Damage::Layer { .. }]),
        "{report:?}"
    );
    assert_eq!(store.settle().unwrap(), 1, "the sound blob, not the layer");
    let dirs = store.lowerdirs(&image).unwrap();
    let found = std::fs::read_to_string(dirs[0].join("file")).unwrap();
    assert_eq!(found, "content");
    assert!(store.fsck(Repair::Report).unwrap().is_clean());
    // Unpacked in the other boot now, and not flushed in that one either.
    assert_eq!(bench.store.layer(&image.layers[0]), None);
}

#[test]
fn fsck_mends_what_the_disk_may_have_missed() {
    if !is_root("fsck_mends_what_the_disk_may_have_missed") {
        return;
    }
    let bench = Bench::new();
    let image = bench.image(Some("app:1"), "content");
    spoil(&bench.store.layer(&image.layers[0]).unwrap().join("file"));
    let report = restarted(&bench).fsck(Repair::Mend).unwrap();
    assert_eq!(report.pull_again, Vec::<String>::new(), "{report:?}");
    let third = Store::open_in_boot(bench.store.root(), Some("a third".to_owned())).unwrap();
    let tree = third.layer(&image.layers[0]).expect("mended and flushed");
    assert_eq!(
        std::fs::read_to_string(tree.join("file")).unwrap(),
        "content"
    );
}

#[test]
fn what_is_settled_outlives_a_power_cut() {
    if !is_root("what_is_settled_outlives_a_power_cut") {
        return;
    }
    let bench = Bench::new();
    let image = bench.image_of(Some("app:1"), &["one", "two"], "");
    // Two layers and their blobs; manifest and config were flushed when they came.
    assert_eq!(bench.store.settle().unwrap(), 4);
    assert_eq!(bench.store.settle().unwrap(), 0);
    let store = restarted(&bench);
    assert!(store.layer(&image.layers[0]).is_some());
    assert_eq!(store.lowerdirs(&image).unwrap().len(), 2);
    assert!(store.fsck(Repair::Report).unwrap().is_clean());
    assert_eq!(store.settle().unwrap(), 0);
}

#[test]
fn a_blob_the_disk_may_have_missed_is_hashed() {
    if !is_root("a_blob_the_disk_may_have_missed_is_hashed") {
        return;
    }
    let bench = Bench::new();
    let image = bench.image_of(Some("app:1"), &["one", "two"], "");
    let (bad, good) = (&image.layers[0], &image.layers[1]);
    spoil(&bench.store.blob_path(bad));
    let store = restarted(&bench);
    assert_eq!(store.blob(bad), None);
    assert!(store.blob(good).is_some());
    assert!(matches!(
        store.lowerdirs(&image),
        Err(StoreError::Vanished { .. })
    ));
    assert_eq!(store.settle().unwrap(), 2, "the good blob and its layer");
    assert!(!is_flushed(&store.blob_path(bad)), "settled a damaged blob");
    // What comes again takes the damaged one's place.
    let again = Bench { store, ..bench };
    assert_eq!(again.image_of(None, &["one", "two"], "").id, image.id);
    let store = &again.store;
    assert!(store.blob(bad).is_some());
    assert_eq!(store.lowerdirs(&image).unwrap().len(), 2);
}

#[test]
fn without_a_boot_id_layers_are_flushed_at_once() {
    if !is_root("without_a_boot_id_layers_are_flushed_at_once") {
        return;
    }
    let mut bench = Bench::new();
    bench.store = Store::open_in_boot(bench.store.root(), None).unwrap();
    let image = bench.image(Some("app:1"), "content");
    assert!(restarted(&bench).layer(&image.layers[0]).is_some());
}

#[test]
fn what_a_record_refers_to_is_flushed_however_it_came() {
    let bench = Bench::new();
    let digest = Digest::sha256(b"{}");
    let blob = bench.put(&digest, b"{}");
    assert!(!is_flushed(&blob));
    for _ in 0..2 {
        assert_eq!(bench.store.put_blob(&digest, b"{}").unwrap(), blob);
        assert!(is_flushed(&blob));
    }
}

#[test]
fn the_boot_has_an_id() {
    let boot = this_boot().expect("Linux says");
    assert_eq!(boot.len(), 36, "{boot}");
    assert_eq!(this_boot(), Some(boot));
}
