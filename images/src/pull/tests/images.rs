//! What is pulled: kinds of images, platforms, policies.

use serde_json::json;

use super::*;
use crate::testing::{TestLayer, tar_of};

const INDEX: &str = "application/vnd.oci.image.index.v1+json";

#[tokio::test]
async fn layers_of_every_packing_are_unpacked() {
    let packings = [TestLayer::gzip, TestLayer::zstd, TestLayer::plain];
    let mut image = TestImage {
        run: json!({ "Cmd": ["/hello"] }),
        ..TestImage::default()
    };
    for (packing, number) in packings.iter().zip(["0", "1", "2"]) {
        let name = format!("file-{number}");
        let files = [(name.as_str(), name.as_bytes()), ("top", number.as_bytes())];
        image.layers.push(packing(&tar_of(&files)));
    }
    for docker in [false, true] {
        let mut image = image.clone();
        image.docker = docker;
        if docker {
            image.layers[0].media_type = "application/vnd.docker.image.rootfs.diff.tar.gzip".into();
        }
        let bench = Bench::new(image);
        let pulled = bench.pull().await.unwrap();
        assert_eq!(pulled.names, [bench.name()]);
        assert_eq!(pulled.id, Digest::sha256(&bench.image.config()));
        assert_eq!(
            pulled.manifest_digest,
            Digest::sha256(&bench.image.manifest())
        );
        assert_eq!(bench.read(&pulled, "file-1").unwrap(), b"file-1");
        assert_eq!(bench.read(&pulled, "top").unwrap(), b"2");
        let run = pulled.config.config().clone().unwrap();
        assert_eq!(run.cmd().clone().unwrap(), ["/hello"]);
        for index in 0..3 {
            let digest = bench.layer_digest(index);
            for event in ["layer", "downloaded", "verified", "done"] {
                assert!(
                    bench.events.has(&format!("{event} {digest}")),
                    "{event} {digest}"
                );
            }
        }
    }
}

#[tokio::test]
async fn an_image_without_layers_is_an_image() {
    let bench = Bench::new(TestImage::default());
    assert!(bench.pull().await.unwrap().layers.is_empty());
}

#[tokio::test]
async fn a_layer_that_stands_twice_is_fetched_once() {
    let mut image = TestImage::of(&[&[("a", b"a")], &[("b", b"b")]]);
    image.layers.push(image.layers[0].clone());
    let bench = Bench::new(image);
    let pulled = bench.pull().await.unwrap();
    assert_eq!(pulled.layers.len(), 3);
    assert_eq!(bench.registry.seen_at(&bench.layer_digest(0)).len(), 1);
}

#[tokio::test]
async fn policies_decide_whom_we_ask() {
    let mut bench = Bench::small();
    bench.options.policy = PullPolicy::Never;
    let outcome = bench.pull().await;
    bench.expect_failure(outcome, &["app:1", "is not here", "Never"]);
    assert_eq!(bench.registry.seen(), []);

    bench.options.policy = PullPolicy::IfNotPresent;
    let first = bench.pull().await.unwrap();
    let asked = bench.registry.seen().len();
    for policy in [PullPolicy::IfNotPresent, PullPolicy::Never] {
        bench.options.policy = policy;
        assert_eq!(bench.pull().await.unwrap().id, first.id);
    }
    assert_eq!(bench.registry.seen().len(), asked);

    bench.options.policy = PullPolicy::Always;
    bench.pull().await.unwrap();
    assert!(
        bench
            .events
            .has(&format!("skipped {}", bench.layer_digest(0)))
    );
    assert_eq!(bench.registry.seen_at(&bench.layer_digest(0)).len(), 1);

    let newer = TestImage::of(&[&[("hello", b"hello")], &[("more", b"more")]]);
    bench.registry.put_image("app", "1", &newer);
    let moved = bench.pull().await.unwrap();
    assert_ne!(moved.id, first.id);
    assert_eq!(bench.registry.seen_at(&bench.layer_digest(0)).len(), 1);
    assert_eq!(bench.store().get(&bench.name()).unwrap().id, moved.id);
}

#[tokio::test]
async fn a_digest_is_asked_for_by_itself() {
    let bench = Bench::small();
    let digest = Digest::sha256(&bench.image.manifest());
    let name = format!("{}/app:other@{digest}", bench.registry.host());
    assert_eq!(
        bench.pull_name(&name).await.unwrap().manifest_digest,
        digest
    );
    assert_eq!(bench.registry.seen_at("/manifests/other"), []);
}

/// Serves `images` as one index under `app:multi`.
fn put_index(bench: &Bench, images: &[(&str, &str)]) {
    let manifests = images.iter().map(|(arch, variant)| {
        let content = format!("{arch}{variant}");
        let mut image = TestImage::of(&[&[("arch", content.as_bytes())]]);
        image.architecture = (*arch).to_owned();
        let digest = bench.registry.put_image("app", &content, &image);
        let size = image.manifest().len();
        json!({ "mediaType": image.manifest_type(), "digest": digest.to_string(), "size": size,
            "platform": { "os": "linux", "architecture": arch, "variant": variant } })
    });
    let manifests: Vec<_> = manifests.collect();
    let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
    bench
        .registry
        .put_manifest("app", "multi", INDEX, index.to_string().as_bytes());
}

#[tokio::test]
async fn the_index_entry_for_the_platform_is_taken() {
    let mut bench = Bench::small();
    put_index(
        &bench,
        &[("amd64", ""), ("arm64", "v8"), ("arm", "v6"), ("arm", "v7")],
    );
    let name = format!("{}/app:multi", bench.registry.host());
    for (platform, want) in [
        ("linux/amd64", "amd64"),
        ("linux/arm64", "arm64v8"),
        ("linux/arm/v7", "armv7"),
    ] {
        bench.options.platform = platform.parse().unwrap();
        let image = bench.pull_name(&name).await.unwrap();
        assert_eq!(
            bench.read(&image, "arch").unwrap(),
            want.as_bytes(),
            "{platform}"
        );
    }
    let fresh = Bench {
        dir: tempfile::tempdir().unwrap(),
        ..bench
    };
    let options = PullOptions {
        platform: "linux/s390x".parse().unwrap(),
        ..quick()
    };
    let fresh = Bench { options, ..fresh };
    let outcome = fresh.pull_name(&name).await;
    fresh.expect_failure(
        outcome,
        &["no image for linux/s390x", "linux/amd64, linux/arm64/v8"],
    );
}

#[tokio::test]
async fn indexes_within_each_other_end_somewhere() {
    let bench = Bench::small();
    let wrap = |inner: &Digest, size: usize, kind: &str| {
        let entry = json!({ "mediaType": kind, "digest": inner.to_string(), "size": size });
        json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [entry] }).to_string()
    };
    let manifest = bench.image.manifest();
    let mut text = wrap(
        &Digest::sha256(&manifest),
        manifest.len(),
        bench.image.manifest_type(),
    );
    let mut digest = bench
        .registry
        .put_manifest("app", "i1", INDEX, text.as_bytes());
    for depth in 2..=3 {
        text = wrap(&digest, text.len(), INDEX);
        digest = bench
            .registry
            .put_manifest("app", &format!("i{depth}"), INDEX, text.as_bytes());
    }
    let host = bench.registry.host();
    let outcome = bench.pull_name(&format!("{host}/app:i3")).await;
    bench.expect_failure(outcome, &["indexes within each other"]);
    assert!(bench.pull_name(&format!("{host}/app:i2")).await.is_ok());
}

#[tokio::test]
async fn an_image_for_another_platform_is_refused() {
    let mut image = TestImage::of(&[&[("a", b"a")]]);
    image.architecture = "s390x".to_owned();
    let bench = Bench::new(image);
    let outcome = bench.pull().await;
    let err = bench.expect_failure(outcome, &["is for linux/s390x, not for linux/"]);
    assert!(matches!(err, PullError::Platform { .. }), "{err:?}");
    assert_eq!(bench.registry.seen_at(&bench.layer_digest(0)), []);
}

#[tokio::test]
async fn content_inside_descriptors_is_not_asked_for() {
    use base64::Engine;
    let encode = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
    let bench = Bench::small();
    let mut manifest = bench.image.manifest_value();
    manifest["config"]["data"] = encode(&bench.image.config()).into();
    manifest["layers"][0]["data"] = encode(&bench.image.layers[0].blob).into();
    let kind = bench.image.manifest_type();
    bench
        .registry
        .put_manifest("app", "1", kind, manifest.to_string().as_bytes());
    let image = bench.pull().await.unwrap();
    assert_eq!(bench.read(&image, "hello").unwrap(), b"hello");
    assert_eq!(bench.registry.seen_at(BLOB), []);
}

#[tokio::test]
async fn what_contradicts_itself_is_refused() {
    let bench = Bench::small();
    let kind = bench.image.manifest_type();
    let serve = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut manifest = bench.image.manifest_value();
        change(&mut manifest);
        bench
            .registry
            .put_manifest("app", "1", kind, manifest.to_string().as_bytes());
    };

    serve(&|manifest| manifest["manifests"] = json!([]));
    let outcome = bench.pull().await;
    bench.expect_failure(outcome, &["ambiguous"]);

    serve(&|manifest| manifest["layers"] = json!([]));
    let outcome = bench.pull().await;
    bench.expect_failure(outcome, &["0 layers, but 1 diff_ids"]);

    serve(&|manifest| manifest["layers"][0]["mediaType"] = "application/x-thing".into());
    let outcome = bench.pull().await;
    bench.expect_failure(
        outcome,
        &["unsupported media type \"application/x-thing\" of the layer"],
    );

    let schema1 = json!({ "schemaVersion": 1, "fsLayers": [] }).to_string();
    let kind = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    bench
        .registry
        .put_manifest("app", "1", kind, schema1.as_bytes());
    let outcome = bench.pull().await;
    bench.expect_failure(outcome, &["schema 1", "push the image again"]);

    bench
        .registry
        .put_manifest("app", "1", "text/html", b"<html>Welcome</html>");
    let outcome = bench.pull().await;
    bench.expect_failure(outcome, &["\"text/html\"", "is this host a registry?"]);
}

#[tokio::test]
async fn a_wrong_diff_id_is_refused() {
    let mut image = TestImage::of(&[&[("a", b"a")]]);
    image.layers[0].diff_id = Digest::sha256(b"something else");
    let bench = Bench::new(image);
    let outcome = bench.pull().await;
    let err = bench.expect_failure(outcome, &[&bench.layer_digest(0)]);
    assert!(matches!(err, PullError::Unpack { .. }), "{err:?}");
}
