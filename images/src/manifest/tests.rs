use serde_json::{Value, json};

use super::*;

const SHA: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn image() -> Value {
    json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": { "mediaType": OCI_CONFIG, "digest": SHA, "size": 2 },
        "layers": [layer("application/vnd.oci.image.layer.v1.tar+gzip")],
    })
}

fn layer(media_type: &str) -> Value {
    json!({ "mediaType": media_type, "digest": SHA, "size": 3 })
}

fn index(platforms: &[&str]) -> Value {
    let entry = |platform: &&str| {
        let mut parts = platform.split('/');
        let mut part = || parts.next().unwrap_or_default();
        let mut entry = json!({ "mediaType": OCI_MANIFEST, "digest": SHA, "size": 9 });
        entry["platform"] = json!({ "os": part(), "architecture": part(), "variant": part() });
        entry
    };
    let manifests: Vec<Value> = platforms.iter().map(entry).collect();
    json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests })
}

fn parse(value: &Value, content_type: &str) -> Result<Manifest, ManifestError> {
    Manifest::parse(value.to_string().as_bytes(), content_type, None)
}

fn without(mut value: Value, field: &str) -> Value {
    value.as_object_mut().unwrap().remove(field);
    value
}

fn with(mut value: Value, field: &str, other: Value) -> Value {
    value[field] = other;
    value
}

#[track_caller]
fn refused(value: &Value, content_type: &str, wants: &[&str]) {
    let message = parse(value, content_type)
        .expect_err("should be refused")
        .to_string();
    for want in wants {
        assert!(message.contains(want), "{message}");
    }
}

#[test]
fn both_families_are_read() {
    for (kind, config) in [(OCI_MANIFEST, OCI_CONFIG), (DOCKER_MANIFEST, DOCKER_CONFIG)] {
        let mut value = with(image(), "mediaType", kind.into());
        value["config"]["mediaType"] = config.into();
        let Manifest::Image {
            media_type, layers, ..
        } = parse(&value, kind).unwrap()
        else {
            panic!("an index?")
        };
        assert_eq!((media_type.as_str(), layers.len()), (kind, 1));
    }
    for kind in [OCI_INDEX, DOCKER_LIST] {
        let value = with(index(&["linux/amd64"]), "mediaType", kind.into());
        assert!(matches!(parse(&value, kind), Ok(Manifest::Index(entries)) if entries.len() == 1));
    }
}

#[test]
fn a_silent_or_generic_server_is_believed_by_the_body() {
    for kind in [
        "",
        "application/json",
        "application/octet-stream",
        "text/plain",
    ] {
        assert!(
            matches!(parse(&image(), kind), Ok(Manifest::Image { .. })),
            "{kind}"
        );
        let silent = without(image(), "mediaType");
        assert!(
            matches!(parse(&silent, kind), Ok(Manifest::Image { .. })),
            "{kind}"
        );
        let silent = without(index(&[]), "mediaType");
        assert!(
            matches!(parse(&silent, kind), Ok(Manifest::Index(_))),
            "{kind}"
        );
    }
}

#[test]
fn two_faced_documents_are_refused() {
    refused(
        &image(),
        OCI_INDEX,
        &["ambiguous", "Content-Type", "mediaType"],
    );
    refused(&image(), DOCKER_MANIFEST, &["ambiguous"]);
    let both = with(image(), "manifests", json!([]));
    refused(
        &both,
        OCI_MANIFEST,
        &["ambiguous", "both layers and manifests"],
    );
    refused(&both, OCI_INDEX, &["ambiguous"]);
    refused(&without(both, "mediaType"), "", &["ambiguous"]);
    refused(
        &without(image(), "mediaType"),
        OCI_INDEX,
        &["manifests is missing"],
    );
    refused(
        &without(index(&[]), "mediaType"),
        OCI_MANIFEST,
        &["config is missing"],
    );
    let promised = Manifest::parse(
        image().to_string().as_bytes(),
        OCI_MANIFEST,
        Some(OCI_INDEX),
    );
    assert!(
        matches!(promised, Err(ManifestError::Ambiguous { .. })),
        "{promised:?}"
    );
}

#[test]
fn what_we_cannot_use_is_named() {
    let schema1 = json!({ "schemaVersion": 1, "fsLayers": [] });
    let kind = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    refused(&schema1, kind, &["schema 1", "push the image again"]);
    refused(&schema1, "application/json", &["schema 1"]);
    refused(&json!({ "fsLayers": [] }), "", &["schema 1"]);
    refused(
        &image(),
        "text/html",
        &["\"text/html\"", "is this host a registry?"],
    );
    refused(
        &with(image(), "mediaType", "x/y".into()),
        "",
        &["unsupported", "\"x/y\""],
    );
    refused(&json!([1]), OCI_MANIFEST, &["malformed"]);
    refused(
        &without(image(), "layers"),
        OCI_MANIFEST,
        &["layers is missing"],
    );
    let mut artifact = image();
    artifact["config"]["mediaType"] = "application/vnd.cncf.helm.config.v1+json".into();
    refused(&artifact, OCI_MANIFEST, &["helm", "not a container image"]);
    let mut bad = image();
    bad["layers"][0]["digest"] = "sha256:../../etc/passwd".into();
    refused(&bad, OCI_MANIFEST, &["malformed"]);
    let mut negative = image();
    negative["layers"][0]["size"] = json!(-1);
    refused(&negative, OCI_MANIFEST, &["malformed"]);
    let many = vec![layer("application/vnd.oci.image.layer.v1.tar"); 501];
    refused(
        &with(image(), "layers", many.into()),
        OCI_MANIFEST,
        &["501 layers"],
    );
}

#[test]
fn layers_of_other_kinds_are_refused() {
    #[track_caller]
    fn check(kind: &str, want: &str) {
        let value = with(image(), "layers", json!([layer(kind)]));
        refused(&value, OCI_MANIFEST, &["of the layer", kind, want]);
    }
    check(
        "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "foreign layers",
    );
    check(
        "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
        "foreign layers",
    );
    check(
        "application/vnd.oci.image.layer.v1.tar+gzip+encrypted",
        "encrypted",
    );
    check("application/vnd.oci.image.layer.v1.tar+br", "tar archives");
    check(
        "application/vnd.cncf.helm.chart.content.v1.tar",
        "tar archives",
    );
    let mut elsewhere = image();
    elsewhere["layers"][0]["urls"] = json!(["https://evil.example.com/x"]);
    refused(&elsewhere, OCI_MANIFEST, &["foreign layers"]);
}

#[test]
fn messages_hold_no_control_characters() {
    let kind = "evil\u{1b}[2J\nsecond line";
    let err = parse(&with(image(), "mediaType", kind.into()), "")
        .unwrap_err()
        .to_string();
    assert!(!err.contains(['\u{1b}', '\n']), "{err:?}");
}

#[track_caller]
fn check_choice(platforms: &[&str], wanted: &str, want: Result<usize, &str>) {
    let Ok(Manifest::Index(entries)) = parse(&index(platforms), OCI_INDEX) else {
        panic!()
    };
    let chosen = choose(&entries, &wanted.parse().unwrap());
    match (chosen, want) {
        (Ok(entry), Ok(at)) => assert!(std::ptr::eq(entry, &raw const entries[at]), "{entry:?}"),
        (Err(err), Err(want)) => assert_eq!(err.to_string(), want),
        (got, want) => panic!("{got:?} instead of {want:?}"),
    }
}

#[test]
fn the_best_platform_is_chosen() {
    let usual = [
        "linux/amd64",
        "linux/arm64/v8",
        "linux/arm/v6",
        "linux/arm/v7",
        "unknown/unknown",
    ];
    check_choice(&usual, "linux/amd64", Ok(0));
    check_choice(&usual, "linux/arm64", Ok(1));
    check_choice(&usual, "linux/arm/v7", Ok(3));
    check_choice(&usual, "linux/arm/v6", Ok(2));
    check_choice(
        &usual,
        "linux/s390x",
        Err(
            "no image for linux/s390x: the index offers linux/amd64, linux/arm64/v8, \
             linux/arm/v6, linux/arm/v7",
        ),
    );
    check_choice(
        &["unknown/unknown"],
        "linux/amd64",
        Err("no image for linux/amd64: the index offers nothing"),
    );
    check_choice(&["linux/amd64/v3", "linux/amd64"], "linux/amd64", Ok(1));
}

#[test]
fn an_index_of_one_may_leave_the_platform_out() {
    let mut value = index(&["linux/amd64"]);
    value["manifests"][0]
        .as_object_mut()
        .unwrap()
        .remove("platform");
    let Ok(Manifest::Index(entries)) = parse(&value, OCI_INDEX) else {
        panic!()
    };
    assert!(choose(&entries, &"linux/riscv64".parse().unwrap()).is_ok());
}

#[test]
fn inline_content_counts_only_when_it_is_right() {
    let descriptor = |data: &str, size: u64| -> Descriptor {
        let value = json!({ "mediaType": OCI_CONFIG, "digest": Digest::sha256(b"{}").to_string(),
            "size": size, "data": data });
        serde_json::from_value(value).unwrap()
    };
    assert_eq!(descriptor("e30=", 2).inline(), Some(b"{}".to_vec()));
    assert_eq!(descriptor("e30=", 3).inline(), None);
    assert_eq!(descriptor("W10=", 2).inline(), None);
    assert_eq!(descriptor("!!", 2).inline(), None);
}
