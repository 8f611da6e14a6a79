//! Imports of every kind, exports, and what skopeo makes of them.

use std::path::PathBuf;
use std::process::Command;

use serde_json::json;

use super::tarball::{Meta, Tarball};
use super::*;
use crate::digest::Digest;
use crate::store::{Repair, StoreError};

struct Bench {
    dir: tempfile::TempDir,
    store: Store,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store")).unwrap();
        Self { dir, store }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn import(&self, path: &Path) -> Result<Vec<Image>, ImportError> {
        self.store
            .import(Source::Path(path), &ImportOptions::default())
    }

    /// A small root file system.
    fn tree(&self) -> PathBuf {
        let tree = self.path("tree");
        if tree.exists() {
            return tree;
        }
        std::fs::create_dir_all(tree.join("bin")).unwrap();
        std::fs::write(tree.join("bin/app"), "#!/bin/sh\n").unwrap();
        std::os::unix::fs::symlink("app", tree.join("bin/link")).unwrap();
        tree
    }

    fn image(&self, name: &str) -> Image {
        let config = ImportConfig {
            cmd: vec!["/bin/app".to_owned()],
            env: vec!["A=b".to_owned()],
            expose: vec!["80".to_owned(), "53/udp".to_owned()],
            workdir: Some("/bin".to_owned()),
            user: Some("1000:1000".to_owned()),
            stop_signal: Some("SIGINT".to_owned()),
            volumes: vec!["/data".to_owned()],
            labels: [("k".to_owned(), "v".to_owned())].into(),
            ..ImportConfig::default()
        };
        let options = ImportOptions {
            name: Some(name.to_owned()),
            config,
            ..options()
        };
        self.store
            .import(Source::Path(&self.tree()), &options)
            .unwrap()
            .remove(0)
    }

    fn export(&self, names: &[&str]) -> Vec<u8> {
        let mut out = Vec::new();
        self.store.export(names, &mut out).unwrap();
        out
    }
}

fn options() -> ImportOptions {
    ImportOptions::default()
}

fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        println!("SKIP {test}: needs root");
    }
    root
}

fn files_of(store: &Store, image: &Image) -> Vec<String> {
    let root = store.lowerdirs(image).unwrap().remove(0);
    let names = std::fs::read_dir(root.join("bin")).unwrap();
    let mut names: Vec<String> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = Tarball::new(Vec::new());
    for (name, bytes) in files {
        let meta = Meta::plain(b'0', 0o644);
        tar.file(name.as_bytes(), bytes.len() as u64, &meta, &[], *bytes)
            .unwrap();
    }
    tar.finish().unwrap()
}

#[test]
fn a_directory_becomes_an_image_always_the_same() {
    if !is_root("a_directory_becomes_an_image_always_the_same") {
        return;
    }
    let bench = Bench::new();
    let image = bench.image("app");
    assert_eq!(image.names, ["docker.io/library/app:latest"]);
    assert_eq!(bench.image("app").manifest_digest, image.manifest_digest);
    assert_eq!(files_of(&bench.store, &image), ["app", "link"]);
    let config = image.config.config().clone().unwrap();
    assert_eq!(config.cmd().clone().unwrap(), ["/bin/app"]);
    assert_eq!(config.exposed_ports().clone().unwrap().len(), 2);
    assert_eq!(config.user().as_deref(), Some("1000:1000"));
    assert!(bench.store.fsck(Repair::Report).unwrap().is_clean());
}

#[test]
fn a_root_file_system_tar_in_any_packing_from_file_or_stream() {
    if !is_root("a_root_file_system_tar_in_any_packing_from_file_or_stream") {
        return;
    }
    let plain = archive(&[
        ("bin/app", b"x"),
        ("etc/passwd", b"root:x:0:0::/:/bin/sh\n"),
    ]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    for bytes in [
        plain.clone(),
        gzip.finish().unwrap(),
        zstd::encode_all(&plain[..], 1).unwrap(),
    ] {
        let bench = Bench::new();
        std::fs::write(bench.path("rootfs"), &bytes).unwrap();
        let from_file = bench.import(&bench.path("rootfs")).unwrap().remove(0);
        assert_eq!(files_of(&bench.store, &from_file), ["app"]);
        assert_eq!(from_file.layers, [Digest::sha256(&plain)]);
        assert_eq!(from_file.layer_blobs[0].digest, Digest::sha256(&bytes));
        let other = Bench::new();
        let mut stream = &bytes[..];
        let from_stream = other
            .store
            .import(Source::Stream(&mut stream), &options())
            .unwrap();
        assert_eq!(from_stream[0].id, from_file.id);
        assert!(other.store.fsck(Repair::Report).unwrap().is_clean());
    }
}

#[test]
fn an_export_comes_back_the_same() {
    if !is_root("an_export_comes_back_the_same") {
        return;
    }
    let bench = Bench::new();
    let image = bench.image("app:1");
    bench
        .store
        .tag("docker.io/library/app:1", "quay.io/x/y:2")
        .unwrap();
    let bytes = bench.export(&["docker.io/library/app:1"]);
    assert_eq!(
        bytes,
        bench.export(&[image.id.short()]),
        "the same image gives the same archive"
    );
    let other = Bench::new();
    let back = other
        .store
        .import(Source::Stream(&mut &bytes[..]), &options())
        .unwrap();
    assert!(
        back.iter()
            .all(|back| back.manifest_digest == image.manifest_digest)
    );
    let back = other.store.get(image.id.hex()).unwrap();
    assert_eq!(back.names, ["docker.io/library/app:1", "quay.io/x/y:2"]);
    assert_eq!(back.id, image.id);
    let missing = bench
        .store
        .export(&["nothing"], &mut Vec::new())
        .unwrap_err();
    assert!(matches!(
        missing,
        ExportError::Store(StoreError::NotFound { .. })
    ));
    // The same archive through Docker's list, as old tools read it.
    let unpacked = other.path("archive");
    std::fs::create_dir(&unpacked).unwrap();
    tar::Archive::new(&bytes[..]).unpack(&unpacked).unwrap();
    let third = Bench::new();
    assert_eq!(
        third.import(&unpacked).unwrap()[0].id,
        image.id,
        "as a layout directory"
    );
    std::fs::remove_file(unpacked.join("index.json")).unwrap();
    let out = Command::new("tar")
        .arg("-C")
        .arg(&unpacked)
        .args(["-cf-", "."])
        .output()
        .unwrap();
    let fourth = Bench::new();
    let docker = fourth
        .store
        .import(Source::Stream(&mut &out.stdout[..]), &options())
        .unwrap();
    assert_eq!(docker[0].id, image.id);
    assert_eq!(docker[0].names, back.names);
}

#[test]
fn skopeo_reads_what_we_write_and_we_read_what_it_writes() {
    let test = "skopeo_reads_what_we_write_and_we_read_what_it_writes";
    if !is_root(test) {
        return;
    }
    if Command::new("skopeo").arg("--version").output().is_err() {
        println!("SKIP {test}: skopeo is not installed");
        return;
    }
    let bench = Bench::new();
    let image = bench.image("app:1");
    std::fs::write(
        bench.path("a.tar"),
        bench.export(&["docker.io/library/app:1"]),
    )
    .unwrap();
    let dir = bench.path("").display().to_string();
    let skopeo = |args: &[String]| {
        let out = Command::new("skopeo").args(args).output().unwrap();
        assert!(
            out.status.success(),
            "{args:?}: {}",
            String::from_utf8_lossy(&out.stderr)
        );
        out.stdout
    };
    let copy = |from: String, to: String| {
        skopeo(&["copy".to_owned(), "--insecure-policy".to_owned(), from, to]);
    };
    let ours = format!("oci-archive:{dir}a.tar");
    let inspected = skopeo(&["inspect".to_owned(), ours.clone()]);
    let inspected: serde_json::Value = serde_json::from_slice(&inspected).unwrap();
    assert_eq!(inspected["Digest"], json!(image.manifest_digest));
    assert_eq!(inspected["Layers"], json!([image.layer_blobs[0].digest]));
    copy(ours.clone(), format!("dir:{dir}d"));
    for (kind, name) in [
        ("docker-archive", "b.tar:example.com/b:1"),
        ("oci-archive", "c.tar:example.com/c:1"),
        ("oci", "layout:example.com/d:1"),
    ] {
        copy(ours.clone(), format!("{kind}:{dir}{name}"));
        let (file, full) = name.split_once(':').unwrap();
        let other = Bench::new();
        let images = other.import(&bench.path(file)).unwrap();
        assert_eq!(images[0].names, [full], "{kind}");
        assert_eq!(images[0].layers, image.layers, "{kind}");
        assert_eq!(
            files_of(&other.store, &images[0]),
            ["app", "link"],
            "{kind}"
        );
    }
}

#[test]
fn of_several_images_one_is_chosen_by_name_and_platform() {
    if !is_root("of_several_images_one_is_chosen_by_name_and_platform") {
        return;
    }
    let bench = Bench::new();
    bench.image("one:1");
    std::fs::write(bench.path("tree/bin/more"), "x").unwrap();
    let two = bench.image("two:1");
    let bytes = bench.export(&["docker.io/library/one:1", "docker.io/library/two:1"]);
    let import = |options: &ImportOptions| {
        Bench::new()
            .store
            .import(Source::Stream(&mut &bytes[..]), options)
    };
    assert_eq!(import(&options()).unwrap().len(), 2);
    let only = import(&ImportOptions {
        select: Some("two:1".to_owned()),
        ..options()
    })
    .unwrap();
    assert_eq!((only.len(), &only[0].id), (1, &two.id));
    let named = ImportOptions {
        name: Some("x".to_owned()),
        ..options()
    };
    assert!(matches!(
        import(&named).unwrap_err(),
        ImportError::Several { count: 2, .. }
    ));
    let none = ImportOptions {
        select: Some("three".to_owned()),
        ..options()
    };
    let err = import(&none).unwrap_err().to_string();
    assert!(err.contains("two:1") && err.contains("three"), "{err}");
}

#[expect(clippy::too_many_lines, reason = "a table")]
#[test]
fn hostile_and_damaged_archives_are_refused() {
    if !is_root("hostile_and_damaged_archives_are_refused") {
        return;
    }
    let layer = archive(&[("f", b"x")]);
    let diff_id = Digest::sha256(&layer);
    let config = json!({
        "architecture": "amd64", "os": "linux",
        "rootfs": { "type": "layers", "diff_ids": [diff_id] },
    });
    let config = config.to_string().into_bytes();
    let list = |config: &str, layer: &str| {
        json!([{ "Config": config, "RepoTags": null, "Layers": [layer] }])
            .to_string()
            .into_bytes()
    };
    let layout: &[u8] = br#"{"imageLayoutVersion":"1.0.0"}"#;
    let index = |digest: &Digest| {
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({ "mediaType": media_type, "digest": digest, "size": 1 });
        json!({ "schemaVersion": 2, "manifests": [manifest] })
            .to_string()
            .into_bytes()
    };
    let other = Digest::sha256(b"other");
    let blob = format!("blobs/sha256/{}", other.hex());
    let good = archive(&[
        ("manifest.json", &list("c.json", "l.tar")),
        ("c.json", &config),
        ("l.tar", &layer),
    ]);
    assert_eq!(
        Bench::new()
            .store
            .import(Source::Stream(&mut &good[..]), &options())
            .unwrap()
            .len(),
        1
    );
    for (what, bytes, part) in [
        ("nothing", Vec::new(), "no image"),
        ("no tar", b"hello there".repeat(200), "no image"),
        (
            "cut off",
            good[..good.len() - 2000].to_vec(),
            "cannot read the archive",
        ),
        (
            "config from the host",
            archive(&[("manifest.json", &list("/etc/passwd", "l.tar"))]),
            "lacks",
        ),
        (
            "layer from the host",
            archive(&[
                ("manifest.json", &list("c.json", "../../etc/passwd")),
                ("c.json", &config),
            ]),
            "lacks",
        ),
        ("no JSON", archive(&[("manifest.json", b"{")]), "malformed"),
        (
            "another layer",
            archive(&[
                ("manifest.json", &list("c.json", "l.tar")),
                ("c.json", &config),
                ("l.tar", b"y"),
            ]),
            "digest",
        ),
        (
            "empty index",
            archive(&[("oci-layout", layout), ("index.json", b"{}")]),
            "it has none",
        ),
        (
            "blob not there",
            archive(&[("oci-layout", layout), ("index.json", &index(&other))]),
            "lacks",
        ),
        (
            "blob of other content",
            archive(&[
                ("oci-layout", layout),
                ("index.json", &index(&other)),
                (&blob, b"{}"),
            ]),
            "digest",
        ),
    ] {
        let bench = Bench::new();
        let err = bench
            .store
            .import(Source::Stream(&mut &bytes[..]), &options())
            .unwrap_err();
        assert!(err.to_string().contains(part), "{what}: {err}");
        assert_eq!(bench.store.list().unwrap().len(), 0, "{what}");
        assert!(
            bench.store.fsck(Repair::Report).unwrap().is_clean(),
            "{what}"
        );
    }
}

#[test]
fn impossible_settings_are_refused() {
    let bench = Bench::new();
    let check = |config: ImportConfig, part: &str| {
        let options = ImportOptions {
            config,
            ..options()
        };
        let err = bench
            .store
            .import(Source::Path(&bench.tree()), &options)
            .unwrap_err();
        assert!(err.to_string().contains(part), "{err}");
    };
    let list = |text: &str| vec![text.to_owned()];
    check(
        ImportConfig {
            env: list("NOVALUE"),
            ..ImportConfig::default()
        },
        "--env",
    );
    check(
        ImportConfig {
            env: list("=x"),
            ..ImportConfig::default()
        },
        "--env",
    );
    check(
        ImportConfig {
            expose: list("0"),
            ..ImportConfig::default()
        },
        "--expose",
    );
    check(
        ImportConfig {
            expose: list("80/icmp"),
            ..ImportConfig::default()
        },
        "--expose",
    );
    check(
        ImportConfig {
            volumes: list("data"),
            ..ImportConfig::default()
        },
        "--volume",
    );
    let workdir = Some("/a/../b".to_owned());
    check(
        ImportConfig {
            workdir,
            ..ImportConfig::default()
        },
        "--workdir",
    );
}
