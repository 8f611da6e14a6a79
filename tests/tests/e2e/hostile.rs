//! Images made to harm: whatever they hold, nothing outside their root is read, written or run.
use crate::support::{pod, sh, with};
use rkube_images::testing::{TestImage, TestLayer};
use rkube_tests::{FixtureOn, Host, Outcome, Rootfs, busybox_image};
use serde_json::{Value, json};
use std::path::PathBuf;

/// A directory beside the store that images try to reach, with a secret in it.
struct Canary(PathBuf);

impl Canary {
    fn new(host: &Host) -> Self {
        let dir = host.dir().join("canary");
        std::fs::create_dir(&dir).unwrap();
        std::fs::write(dir.join("secret"), "the secret\n").unwrap();
        Canary(dir)
    }

    fn path(&self) -> String {
        self.0.display().to_string()
    }

    /// The same with enough `..` before it to leave any directory.
    fn up(&self) -> String {
        format!(
            "{}{}",
            "../".repeat(16),
            self.path().trim_start_matches('/')
        )
    }

    #[track_caller]
    fn check(&self, outcome: &Outcome) {
        let names: Vec<_> = std::fs::read_dir(&self.0)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names, ["secret"], "{outcome}");
        assert_eq!(
            std::fs::read_to_string(self.0.join("secret")).unwrap(),
            "the secret\n",
            "{outcome}"
        );
        assert!(!outcome.stdout.contains("the secret"), "{outcome}");
    }
}

/// `first` and then busybox in one archive.
fn before_busybox(first: Rootfs) -> Vec<u8> {
    let mut bytes = first.tar();
    // Without the end-of-archive blocks another archive may follow.
    bytes.truncate(bytes.len() - 1024);
    bytes.extend_from_slice(busybox_image());
    bytes
}

fn import(host: &Host, tar: Vec<u8>) -> Outcome {
    host.rkubelet(&["images", "import", "-", "localhost/hostile:v1"])
        .stdin(tar)
        .run()
}

/// Unpacking either refuses, or stays inside.
#[test]
fn layers_do_not_reach_outside() {
    let Some(host) = Host::new() else { return };
    let canary = Canary::new(&host);
    let (path, up) = (canary.path(), canary.up());
    let tiny = Rootfs::default;
    let table: [(&str, Rootfs); 9] = [
        (
            "a name with ..",
            tiny().file(&format!("{up}/new"), 0o644, "x"),
        ),
        (
            "an absolute name",
            tiny().file(&format!("{path}/new"), 0o644, "x"),
        ),
        (
            "a name over a link",
            tiny().link("d", &path).file("d/new", 0o644, "x"),
        ),
        (
            "a name over a relative link",
            tiny().link("d", &up).file("d/new", 0o644, "x"),
        ),
        (
            "a name over a link over a link",
            tiny()
                .link("a", "b")
                .link("b", &path)
                .file("a/new", 0o644, "x"),
        ),
        (
            "a hard link to outside",
            tiny()
                .hard_link("h", &format!("{path}/secret"))
                .file("h", 0o644, "overwritten"),
        ),
        (
            "a hard link by ..",
            tiny()
                .hard_link("h", &format!("{up}/secret"))
                .file("h", 0o644, "overwritten"),
        ),
        (
            "a hard link over a link",
            tiny()
                .link("d", &path)
                .hard_link("h", "d/secret")
                .file("h", 0o644, "overwritten"),
        ),
        (
            "a whiteout over a link",
            tiny().link("d", &path).file("d/.wh.secret", 0o644, ""),
        ),
    ];
    for (what, rootfs) in table {
        println!("---- {what}");
        let outcome = import(&host, rootfs.tar());
        assert!([0, 1].contains(&outcome.code), "{outcome}");
        canary.check(&outcome);
    }
}

/// The same in two layers of an image from a registry: the first plants a link, the second writes through it.
#[test]
fn a_later_layer_does_not_write_through_an_earlier_ones_link() {
    let Some(host) = Host::new() else { return };
    let canary = Canary::new(&host);
    let registry = FixtureOn::start(&host);
    let layers = [
        before_busybox(Rootfs::default().link("d", &canary.path())),
        Rootfs::default()
            .file("d/new", 0o644, "x")
            .file("d/.wh.secret", 0o644, "")
            .tar(),
    ];
    let image = TestImage {
        layers: layers.iter().map(|tar| TestLayer::gzip(tar)).collect(),
        run: json!({"Cmd": ["cat", "/d/new"]}),
        ..TestImage::default()
    };
    registry.put_image("two", "v1", &image);
    let manifest = pod(
        "p",
        &[json!({"name": "c", "image": format!("{}/two:v1", registry.host())})],
        json!({}),
    );
    let outcome = host.run(&manifest);
    canary.check(&outcome);
}

/// Links where the runtime mounts things, and where it looks for files.
#[test]
fn links_in_the_image_do_not_mislead_the_runtime() {
    let Some(host) = Host::new() else { return };
    let canary = Canary::new(&host);
    let (path, up) = (canary.path(), canary.up());
    for name in [
        "proc",
        "sys",
        "dev",
        "etc",
        "tmp",
        "dev/shm",
        "etc/hosts",
        "etc/resolv.conf",
        "etc/hostname",
        "etc/passwd",
        "v",
    ] {
        for target in [&path, &up, &format!("{path}/secret")] {
            println!("---- /{name} -> {target}");
            let tar = before_busybox(Rootfs::default().link(name, target));
            if import(&host, tar).code != 0 {
                continue;
            }
            let container = with(
                sh(
                    "c",
                    "cat /etc/passwd /etc/hosts /v/secret /secret 2>/dev/null; id; echo x > /v/new; true",
                ),
                json!({"image": "localhost/hostile:v1", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}),
            );
            let outcome = host.run(&pod(
                "p",
                &[container],
                json!({"volumes": [{"name": "v", "emptyDir": {}}]}),
            ));
            canary.check(&outcome);
        }
    }
}

/// Configurations with nonsense in them are refused or taken literally, with one line each.
#[test]
fn image_configurations_are_data() {
    let Some(host) = Host::new() else { return };
    let canary = Canary::new(&host);
    let registry = FixtureOn::start(&host);
    let layer = TestLayer::gzip(busybox_image());
    let table: [Value; 9] = [
        json!({"Cmd": ["id"], "User": "root\nx:0:0"}),
        json!({"Cmd": ["id"], "User": "4294967295:4294967295"}),
        json!({"Cmd": ["id"], "User": format!("{}/secret", canary.path())}),
        json!({"Cmd": ["pwd"], "WorkingDir": canary.up()}),
        json!({"Cmd": ["pwd"], "WorkingDir": "/proc/self/fd/7/../../.."}),
        json!({"Cmd": ["env"], "Env": ["=x", "NOEQUALS", "A=1\u{0}B=2", "LD_PRELOAD=/x.so"]}),
        json!({"Cmd": ["echo", "a\u{0}b"]}),
        json!({"Cmd": [], "Entrypoint": [""]}),
        json!({"Cmd": ["true"], "StopSignal": "SIGNONSENSE"}),
    ];
    for (index, run) in table.into_iter().enumerate() {
        println!("---- {run}");
        let image = TestImage {
            layers: vec![layer.clone()],
            run,
            ..TestImage::default()
        };
        registry.put_image("odd", &format!("v{index}"), &image);
        let name = format!("{}/odd:v{index}", registry.host());
        let outcome = host.run(&pod("p", &[json!({"name": "c", "image": name})], json!({})));
        canary.check(&outcome);
        assert!(!outcome.stderr.contains("panicked"), "{outcome}");
        assert_eq!(host.uids(), Vec::<String>::new(), "{outcome}");
    }
}
