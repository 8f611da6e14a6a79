//! The store: claims, names, removal, pruning, and damage of every kind.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use super::*;
use crate::unpack::{Compression, Limits, unwatched};

pub(super) struct Bench {
    pub(super) dir: tempfile::TempDir,
    pub(super) store: Store,
}

impl Bench {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        Self { dir, store }
    }

    /// An image whose only layer has one file with this content.
    pub(super) fn image(&self, name: Option<&str>, content: &str) -> Image {
        self.image_of(name, &[content], "")
    }

    /// A blob as a download puts it: not flushed.
    pub(super) fn put(&self, digest: &Digest, bytes: &[u8]) -> PathBuf {
        match self.store.partial(digest).unwrap() {
            Claim::Complete(path) => path,
            Claim::Open(mut partial) => {
                partial.write(bytes).unwrap();
                partial.commit(bytes.len() as u64).unwrap()
            }
        }
    }

    /// A layer whose only file has this content.
    fn tar(&self, content: &str) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, "file", content.as_bytes())
            .unwrap();
        tar.into_inner().unwrap()
    }

    pub(super) fn image_of(&self, name: Option<&str>, contents: &[&str], label: &str) -> Image {
        let mut layers = Vec::new();
        for content in contents {
            let tar = self.tar(content);
            let digest = Digest::sha256(&tar);
            let blob = self.put(&digest, &tar);
            let limits = Limits::default();
            self.store
                .unpack(&blob, Compression::None, &digest, &limits, &unwatched)
                .unwrap();
            layers.push(LayerRef {
                diff_id: digest.clone(),
                digest,
                size: tar.len() as u64,
                media_type: "application/vnd.oci.image.layer.v1.tar".to_owned(),
            });
        }
        let diff_ids: Vec<_> = layers.iter().map(|layer| &layer.diff_id).collect();
        let config = serde_json::json!({
            "architecture": "amd64", "os": "linux", "created": "2014-06-07T01:02:03Z",
            "config": { "Cmd": [label] }, "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let blob = |media_type: &str, json: &serde_json::Value| {
            let bytes = json.to_string().into_bytes();
            Blob {
                digest: Digest::sha256(&bytes),
                media_type: media_type.to_owned(),
                bytes,
            }
        };
        let config = blob("application/vnd.oci.image.config.v1+json", &config);
        let manifest = serde_json::json!({ "schemaVersion": 2, "config": config.digest });
        let manifest = blob("application/vnd.oci.image.manifest.v1+json", &manifest);
        let name = name.map(str::to_owned);
        self.store
            .record(&NewImage {
                name,
                manifest,
                config,
                layers,
            })
            .unwrap()
    }
}

/// Layers are unpacked with their owners, which takes root.
pub(super) fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("SKIP {test}: needs root");
    }
    root
}

fn nobody() -> BTreeSet<Digest> {
    BTreeSet::new()
}

fn all_now(dry_run: bool) -> PruneOptions {
    PruneOptions {
        what: What::UnusedImages,
        older_than: Duration::ZERO,
        dry_run,
    }
}

#[test]
fn directories_are_private_and_the_layout_has_a_version() {
    let bench = Bench::new();
    let root = bench.store.root();
    for dir in [
        "",
        "blobs",
        "blobs/sha256",
        "layers",
        "layers/sha256",
        "images",
    ] {
        let mode = std::fs::metadata(root.join(dir))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o700, "{dir}");
    }
    std::fs::write(root.join("version"), "rkube image store, layout 99\n").unwrap();
    let err = Store::open(root).unwrap_err().to_string();
    assert!(err.contains("layout 99"), "{err}");
}

#[test]
fn a_broken_off_download_is_taken_up() {
    let bench = Bench::new();
    let digest = Digest::sha256(b"hello world");
    let open = || match bench.store.partial(&digest).unwrap() {
        Claim::Open(partial) => partial,
        Claim::Complete(path) => panic!("{path:?}"),
    };
    let mut partial = open();
    partial.write(b"hello ").unwrap();
    assert!(
        bench.store.try_partial(&digest).unwrap().is_none(),
        "two writers"
    );
    drop(partial);
    let mut partial = open();
    assert_eq!(partial.len(), 6);
    partial.write(b"world").unwrap();
    let blob = partial.commit(11).unwrap();
    assert_eq!(std::fs::read(&blob).unwrap(), b"hello world");
    assert_eq!(bench.store.blob(&digest), Some(blob));
    assert!(matches!(
        bench.store.partial(&digest).unwrap(),
        Claim::Complete(_)
    ));
    assert_eq!(
        std::fs::read_dir(bench.store.partial_blobs())
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn wrong_bytes_are_thrown_away() {
    let bench = Bench::new();
    let digest = Digest::sha256(b"right");
    let Claim::Open(mut partial) = bench.store.partial(&digest).unwrap() else {
        panic!()
    };
    partial.write(b"wrong").unwrap();
    let err = partial.commit(5).unwrap_err();
    assert!(matches!(err, StoreError::DigestMismatch { .. }), "{err}");
    let Claim::Open(mut partial) = bench.store.partial(&digest).unwrap() else {
        panic!()
    };
    assert!(partial.is_empty());
    partial.write(b"right and more").unwrap();
    let err = partial.commit(5).unwrap_err();
    assert!(
        matches!(err, StoreError::SizeMismatch { found: 14, .. }),
        "{err}"
    );
    assert_eq!(bench.store.blob(&digest), None);
}

#[test]
fn a_waiting_writer_gets_what_the_first_one_finished() {
    let bench = Bench::new();
    let digest = Digest::sha256(b"shared");
    let Claim::Open(mut first) = bench.store.partial(&digest).unwrap() else {
        panic!()
    };
    std::thread::scope(|scope| {
        let second = scope.spawn(|| bench.store.partial(&digest).unwrap());
        first.write(b"shared").unwrap();
        first.commit(6).unwrap();
        assert!(matches!(second.join().unwrap(), Claim::Complete(_)));
    });
}

#[test]
fn images_are_found_by_name_id_and_digest() {
    if !is_root("images_are_found_by_name_id_and_digest") {
        return;
    }
    let bench = Bench::new();
    let a = bench.image(Some("docker.io/library/a:1"), "a");
    let store = &bench.store;
    let same = |text: &str| store.find(text).unwrap().map(|image| image.id);
    for text in [
        "docker.io/library/a:1",
        "a:1",
        &a.id.to_string(),
        &a.manifest_digest.to_string(),
        &format!("docker.io/library/a@{}", a.manifest_digest),
        a.id.hex(),
        a.id.short(),
        &format!("sha256:{}", &a.id.hex()[..6]),
    ] {
        assert_eq!(same(text), Some(a.id.clone()), "{text}");
    }
    for text in [
        "",
        "b:1",
        "docker.io/library/a:2",
        &a.id.hex()[..3],
        "zzzzzz",
    ] {
        assert_eq!(same(text), None, "{text}");
    }
    assert_eq!(a.created.unwrap().to_string(), "2014-06-07T01:02:03Z");
    assert_eq!(a.platform.to_string(), "linux/amd64");
    assert_eq!(
        store.lowerdirs(&a).unwrap(),
        [store.layer(&a.layers[0]).unwrap()]
    );
}

#[test]
fn an_ambiguous_prefix_lists_its_images() {
    let ids = ["abcd1", "abcd2"]
        .map(|start| Digest::parse(&format!("sha256:{start}{}", "0".repeat(59))).unwrap());
    let bench = Bench::new();
    for id in &ids {
        let json = serde_json::json!({
            "id": id, "names": {}, "pinned": false, "added": "2026-01-01T00:00:00Z",
            "manifest": { "digest": Digest::sha256(b""), "size": 0, "media_type": "" },
            "config_size": 0, "platform": { "os": "linux", "architecture": "amd64" },
            "layers": [],
        });
        std::fs::write(bench.store.record_path(id), json.to_string()).unwrap();
    }
    let err = bench.store.find("abcd").unwrap_err();
    let StoreError::Ambiguous { candidates, .. } = &err else {
        panic!("{err}")
    };
    assert_eq!(candidates, &["abcd10000000", "abcd20000000"]);
}

#[test]
fn a_name_moves_and_survives_a_crash_in_between() {
    if !is_root("a_name_moves_and_survives_a_crash_in_between") {
        return;
    }
    let bench = Bench::new();
    let store = &bench.store;
    let old = bench.image(Some("app:1"), "old");
    let before = std::fs::read(store.record_path(&old.id)).unwrap();
    let new = bench.image(Some("app:1"), "new");
    assert_eq!(store.get("app:1").unwrap().id, new.id);
    // As if we had been killed after writing the new record: the old one still has the name.
    std::fs::write(store.record_path(&old.id), before).unwrap();
    assert_eq!(store.get("app:1").unwrap().id, new.id);
    assert_eq!(store.get(old.id.hex()).unwrap().names, Vec::<String>::new());
    store.tag(old.id.hex(), "app:1").unwrap();
    assert_eq!(store.get("app:1").unwrap().id, old.id);
    assert_eq!(store.get(new.id.hex()).unwrap().names, Vec::<String>::new());
}

#[test]
fn removing_takes_names_then_the_image_then_what_it_alone_had() {
    if !is_root("removing_takes_names_then_the_image_then_what_it_alone_had") {
        return;
    }
    let bench = Bench::new();
    let store = &bench.store;
    let one = bench.image_of(Some("one:1"), &["shared", "mine"], "one");
    let two = bench.image_of(Some("two:1"), &["shared"], "two");
    store.tag("one:1", "one:2").unwrap();
    let careful = RemovePolicy::Careful;
    let err = store
        .remove(one.id.short(), careful, &nobody())
        .unwrap_err();
    assert!(matches!(err, StoreError::SeveralNames { .. }), "{err}");
    let removed = store.remove("one:1", careful, &nobody()).unwrap();
    assert_eq!(
        (removed.untagged, removed.deleted),
        (vec!["one:1".to_owned()], None)
    );
    store.pin("one:2").unwrap();
    let err = store.remove("one:2", careful, &nobody()).unwrap_err();
    assert!(matches!(err, StoreError::Pinned { .. }), "{err}");
    store.unpin("one:2").unwrap();
    let in_use = BTreeSet::from([one.id.clone()]);
    let err = store.remove("one:2", careful, &in_use).unwrap_err();
    assert!(matches!(err, StoreError::InUse { .. }), "{err}");
    let removed = store.remove("one:2", RemovePolicy::Force, &in_use).unwrap();
    assert_eq!(removed.deleted, None, "a pod still runs on it");
    assert!(store.lowerdirs(&one).is_ok());
    let removed = store.remove(one.id.short(), careful, &nobody()).unwrap();
    assert_eq!(removed.deleted, Some(one.id.clone()));
    assert_eq!(store.layer(&one.layers[1]), None);
    assert_eq!(
        store.lowerdirs(&two).unwrap().len(),
        1,
        "the shared layer stays"
    );
    assert!(store.fsck(Repair::Report).unwrap().is_clean());
    assert!(matches!(
        store.get("one:2"),
        Err(StoreError::NotFound { .. })
    ));
}

#[test]
fn prune_says_first_and_spares_what_is_needed() {
    if !is_root("prune_says_first_and_spares_what_is_needed") {
        return;
    }
    let bench = Bench::new();
    let store = &bench.store;
    let used = bench.image(Some("used:1"), "used");
    let pinned = bench.image(Some("pinned:1"), "pinned");
    let unused = bench.image(Some("unused:1"), "unused");
    store.pin("pinned:1").unwrap();
    let stray = Digest::sha256(b"stray");
    store.put_blob(&stray, b"stray").unwrap();
    let aside = store.images_dir().join(".sha256-x.json.1-1");
    std::fs::write(&aside, "half a rec").unwrap();
    let Claim::Open(mut partial) = store.partial(&Digest::sha256(b"part")).unwrap() else {
        panic!()
    };
    partial.write(b"pa").unwrap();
    let in_use = BTreeSet::from([used.id.clone()]);
    let dry = store.prune(&all_now(true), &in_use).unwrap();
    assert!(
        store.find("unused:1").unwrap().is_some(),
        "a dry run removes nothing"
    );
    let wet = store.prune(&all_now(false), &in_use).unwrap();
    assert_eq!(wet, dry);
    let objects: Vec<&str> = wet
        .freed
        .iter()
        .map(|freed| freed.object.as_str())
        .collect();
    assert!(objects.contains(&"image unused:1"), "{objects:?}");
    assert!(
        objects.contains(&format!("blob {stray}").as_str()),
        "{objects:?}"
    );
    assert!(
        objects.contains(&format!("layer {}", unused.layers[0]).as_str()),
        "{objects:?}"
    );
    // Image, layer, its blob, manifest, config, the stray blob and the unfinished record. Not the
    // download that is claimed.
    assert_eq!(objects.len(), 7, "{objects:?}");
    assert!(!aside.exists());
    drop(partial);
    for image in [&used, &pinned] {
        assert!(store.lowerdirs(image).is_ok());
    }
    let young = PruneOptions {
        older_than: Duration::from_secs(3600),
        ..all_now(false)
    };
    assert_eq!(store.prune(&young, &nobody()).unwrap().freed, []);
    let rest = store.prune(&all_now(false), &nobody()).unwrap();
    assert!(
        rest.freed
            .iter()
            .any(|freed| freed.object.starts_with("download"))
    );
    assert!(store.fsck(Repair::Report).unwrap().is_clean());
}

#[test]
fn a_record_without_its_layers_is_refused() {
    if !is_root("a_record_without_its_layers_is_refused") {
        return;
    }
    let bench = Bench::new();
    let image = bench.image(None, "x");
    let new = NewImage {
        name: None,
        manifest: Blob {
            digest: image.manifest_digest.clone(),
            media_type: String::new(),
            bytes: std::fs::read(bench.store.blob(&image.manifest_digest).unwrap()).unwrap(),
        },
        config: Blob {
            digest: image.id.clone(),
            media_type: String::new(),
            bytes: std::fs::read(bench.store.blob(&image.id).unwrap()).unwrap(),
        },
        layers: image.layer_blobs.clone(),
    };
    bench.store.discard_layer(&image.layers[0]).unwrap();
    let err = bench.store.record(&new).unwrap_err();
    assert!(matches!(err, StoreError::Vanished { .. }), "{err}");
    let fewer = NewImage {
        layers: Vec::new(),
        ..new
    };
    let err = bench.store.record(&fewer).unwrap_err();
    assert!(
        matches!(
            err,
            StoreError::LayerCount {
                manifest: 0,
                config: 1,
                ..
            }
        ),
        "{err}"
    );
}

#[test]
fn fsck_finds_and_mends_every_kind_of_damage() {
    if !is_root("fsck_finds_and_mends_every_kind_of_damage") {
        return;
    }
    let bench = Bench::new();
    let store = &bench.store;
    let file_of = |image: &Image| store.layer(&image.layers[0]).unwrap().join("file");
    type Spoil = fn(&Path);
    let spoil_layer: [(&str, Spoil); 5] = [
        ("shortened", |file| std::fs::write(file, "").unwrap()),
        ("removed", |file| std::fs::remove_file(file).unwrap()),
        ("added", |file| {
            std::fs::write(file.with_file_name("more"), "").unwrap()
        }),
        ("mode", |file| {
            std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o777)).unwrap();
        }),
        ("record", |file| {
            let record = file.parent().unwrap().with_file_name("layer.json");
            std::fs::write(record, "{").unwrap();
        }),
    ];
    for (what, spoil) in spoil_layer {
        let image = bench.image(Some("app:1"), what);
        spoil(&file_of(&image));
        let report = store.fsck(Repair::Report).unwrap();
        assert!(
            matches!(report.damages[..], [Damage::Layer { .. }]),
            "{what}: {report:?}"
        );
        assert_eq!(report.pull_again, ["app:1"], "{what}");
        let report = store.fsck(Repair::Mend).unwrap();
        // The blob is sound, so nothing has to be pulled.
        assert_eq!(
            report.pull_again,
            Vec::<String>::new(),
            "{what}: {report:?}"
        );
        assert!(store.fsck(Repair::Report).unwrap().is_clean(), "{what}");
        assert_eq!(std::fs::read_to_string(file_of(&image)).unwrap(), what);
        store
            .remove("app:1", RemovePolicy::Careful, &nobody())
            .unwrap();
    }
    let image = bench.image(Some("app:2"), "blob");
    let blob = store.blob(&image.layers[0]).unwrap();
    std::fs::write(&blob, "rotten").unwrap();
    let report = store.fsck(Repair::Mend).unwrap();
    assert!(
        matches!(report.damages[..], [Damage::Blob { .. }]),
        "{report:?}"
    );
    assert_eq!(report.pull_again, ["app:2"]);
    // Nobody pulled: it is still missing, and said again.
    let report = store.fsck(Repair::Report).unwrap();
    assert!(
        matches!(report.damages[..], [Damage::Missing { .. }]),
        "{report:?}"
    );
    assert_eq!(bench.image(Some("app:2"), "blob").id, image.id);
    assert!(store.fsck(Repair::Report).unwrap().is_clean());
    std::fs::write(store.record_path(&image.id), "not json").unwrap();
    assert_eq!(
        store.list().unwrap().len(),
        0,
        "a listing goes on without it"
    );
    assert!(
        store.prune(&all_now(false), &nobody()).is_err(),
        "its layers may be needed"
    );
    let report = store.fsck(Repair::Mend).unwrap();
    assert!(
        matches!(report.damages[..], [Damage::Record { .. }]),
        "{report:?}"
    );
    assert_eq!(report.pull_again, [image.id.to_string()]);
    assert!(store.fsck(Repair::Report).unwrap().is_clean());
    drop(bench.dir);
}
