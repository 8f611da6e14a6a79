//! What users get wrong: one clear line (what, where, what to do), a code that is not 0, and nothing left behind.
use crate::support::{once, once_with, pod, sh, with};
use rkube_images::testing::{Fault, FixtureAuth, TestImage};
use rkube_tests::{FixtureOn, Host, Outcome, Rootfs, Snapshot, eventually};
use serde_json::{Value, json};

/// Runs the manifest, insists on the code and the words, on one line for the user, and on an unchanged host.
#[track_caller]
fn refused(host: &Host, manifest: &str, code: i32, words: &[&str]) -> Outcome {
    host.image();
    let before = host.snapshot();
    let outcome = host.run(manifest);
    check(host, &before, outcome, code, words)
}

#[track_caller]
fn check(host: &Host, before: &Snapshot, outcome: Outcome, code: i32, words: &[&str]) -> Outcome {
    let outcome = outcome.code(code);
    let last = outcome.stderr.lines().last().unwrap_or_default();
    assert!(
        last.starts_with("rkubelet: "),
        "the last line is the error\n{outcome}"
    );
    for word in words {
        assert!(last.contains(word), "no {word:?} in {last:?}\n{outcome}");
    }
    let errors = outcome
        .stderr
        .lines()
        .filter(|line| line.starts_with("rkubelet: "))
        .count();
    assert_eq!((errors, outcome.stdout.as_str()), (1, ""), "{outcome}");
    // The kernel takes a namespace's devices down when it gets round to it.
    eventually(5, "nothing is left behind", || {
        let left = host
            .snapshot()
            .since(before)
            .into_iter()
            .filter(|line| !of_first_use(line));
        let left: Vec<String> = left.collect();
        println!("left: {left:?}");
        left.is_empty().then_some(())
    });
    outcome
}

/// The bridge, the chains that hold for all pods, and a few directories stay from the first pod to `reset`.
fn of_first_use(line: &str) -> bool {
    let whole = [
        "device rkube0",
        "file lib/pods",
        "file run/pods",
        "file run/leases",
        "file log",
    ];
    let begin = [
        "rule -N RKUBE",
        "rule -A ",
        "file run/seccomp",
        "file run/leases/",
    ];
    whole.contains(&line)
        || begin.iter().any(|begin| line.starts_with(begin)) && !line.contains("-j DNAT")
}

fn of_image(image: &str) -> String {
    pod(
        "p",
        &[json!({"name": "c", "image": image, "command": ["true"]})],
        json!({}),
    )
}

#[test]
fn malformed_manifests() {
    let Some(host) = Host::new() else { return };
    refused(
        &host,
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p\n",
        2,
        &["standard input", "line"],
    );
    refused(&host, "{\"apiVersion\": \"v1\",, }", 2, &["standard input"]);
    refused(&host, "", 2, &["standard input"]);
    refused(&host, "just words", 2, &["standard input"]);
    refused(
        &host,
        "apiVersion: v2\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, image: x}]}",
        2,
        &["v2"],
    );
    refused(
        &host,
        "apiVersion: v1\nkind: Deployment\nmetadata: {name: p}",
        2,
        &["Deployment"],
    );
    refused(
        &host,
        &once("true").replace("containers", "contaners"),
        2,
        &["contaners"],
    );
    refused(
        &host,
        &pod("Not A Name", &[sh("c", "true")], json!({})),
        2,
        &["Not A Name"],
    );
    refused(
        &host,
        &pod("p", &[sh("c", "true"), sh("c", "true")], json!({})),
        2,
        &["containers[1].name"],
    );
    let before = host.snapshot();
    check(
        &host,
        &before,
        host.rkubelet(&["run", "/no/such/file.yaml"]).run(),
        2,
        &["/no/such/file.yaml"],
    );
}

#[test]
fn images_that_cannot_be_had() {
    let Some(host) = Host::new() else { return };
    let registry = FixtureOn::start(&host);
    let at = registry.host();
    refused(&host, &of_image("Not/A::Name"), 2, &["Not/A::Name"]);
    refused(
        &host,
        &of_image(&format!("{at}/no/such:tag")),
        125,
        &["no/such:tag"],
    );
    refused(
        &host,
        &of_image("127.0.0.1:1/some/image:v1"),
        125,
        &["127.0.0.1:1"],
    );
    // Nothing but loopback is there: every name is unknown.
    refused(
        &host,
        &of_image("registry.invalid/some/image:v1"),
        125,
        &["registry.invalid"],
    );
    refused(
        &host,
        &of_image("localhost/not-here:v1").replace(
            "\"name\":\"c\"",
            "\"name\":\"c\",\"imagePullPolicy\":\"Never\"",
        ),
        125,
        &["localhost/not-here:v1", "Never"],
    );
}

#[test]
fn a_refused_login() {
    let Some(host) = Host::new() else { return };
    let registry = FixtureOn::start(&host);
    registry.put_image("app", "v1", &TestImage::of(&[&[("f", b"x")]]));
    registry.require(FixtureAuth::Basic("user".into(), "right".into()));
    let image = format!("{}/app:v1", registry.host());
    refused(&host, &of_image(&image), 125, &[&registry.host(), "login"]);
    std::fs::create_dir(host.dir().join("home/.docker")).unwrap();
    let auths = json!({"auths": {registry.host(): {"username": "user", "password": "wrong"}}});
    host.file("home/.docker/config.json", auths.to_string());
    refused(
        &host,
        &of_image(&image),
        125,
        &[&registry.host(), "config.json"],
    );
}

/// What a registry serves is believed only as far as its digest.
#[test]
fn blobs_that_lie() {
    let Some(host) = Host::new() else { return };
    let table: [(Fault, &[&str]); 3] = [
        (Fault::Corrupt, &["digest"]),
        (Fault::Shorten(10), &[]),
        (Fault::Lengthen(10), &[]),
    ];
    for (index, (fault, words)) in table.into_iter().enumerate() {
        let registry = FixtureOn::start(&host);
        let mut image = TestImage::noise(1, 5000 + index);
        image.run = json!({"Cmd": ["true"]});
        registry.put_image("app", "v1", &image);
        let digest = image.layers[0].digest().to_string();
        registry.fault(&digest, 100, fault.clone());
        println!("{fault:?}");
        let name = format!("{}/app:v1", registry.host());
        let mut all = vec![&name[..]];
        all.extend(words);
        refused(&host, &of_image(&name), 125, &all);
    }
}

#[test]
fn images_of_another_kind() {
    let Some(host) = Host::new() else { return };
    let registry = FixtureOn::start(&host);
    let mut image = TestImage::of(&[&[("f", b"x")]]);
    image.architecture = "riscv64".to_owned();
    registry.put_image("foreign", "v1", &image);
    refused(
        &host,
        &of_image(&format!("{}/foreign:v1", registry.host())),
        125,
        &["riscv64"],
    );

    let mut image = TestImage::of(&[&[("f", b"y")]]);
    image.layers[0].media_type = "application/vnd.example.layer.v9".to_owned();
    registry.put_image("odd", "v1", &image);
    refused(
        &host,
        &of_image(&format!("{}/odd:v1", registry.host())),
        125,
        &["application/vnd.example.layer.v9"],
    );

    registry.put_manifest(
        "chart",
        "v1",
        "application/vnd.example.manifest+json",
        b"{}",
    );
    refused(
        &host,
        &of_image(&format!("{}/chart:v1", registry.host())),
        125,
        &["chart:v1"],
    );
}

#[test]
fn a_full_disk() {
    let Some(host) = Host::new() else { return };
    let registry = FixtureOn::start(&host);
    registry.put_image("big", "v1", &TestImage::noise(1, 8 << 20));
    host.image();
    let small = host.root().join("images");
    // A file system of its own for the store, too small for the image.
    let keep = host.dir().join("images");
    std::fs::rename(&small, &keep).unwrap();
    std::fs::create_dir(&small).unwrap();
    let size = format!("size={}k", 6 << 10);
    let mounted = host
        .command("mount")
        .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
        .arg(&small)
        .status()
        .unwrap();
    assert!(mounted.success());
    let outcome = host
        .rkubelet(&["run", "-"])
        .stdin(of_image(&format!("{}/big:v1", registry.host())))
        .run()
        .code(125);
    assert!(
        outcome.stderr.to_lowercase().contains("no space left"),
        "{outcome}"
    );
    assert_eq!(host.uids(), Vec::<String>::new());
}

/// A host without iptables: the programs' directory is covered by one without them, for this command alone.
#[test]
fn no_packet_filter_program() {
    let Some(host) = Host::new() else { return };
    host.image();
    let ports = json!({"ports": [{"containerPort": 80, "hostPort": 8080}]});
    let before = host.snapshot();
    let (upper, work) = (host.dir().join("upper"), host.dir().join("work"));
    let script = r#"mkdir "$1" "$2"; for dir in $(which -a iptables-restore | xargs -n1 dirname | xargs realpath | sort -u); do
        mount -t overlay -o "lowerdir=$dir,upperdir=$1,workdir=$2" overlay "$dir"; rm -f "$dir"/*tables*; done; exec "$0" run -"#;
    let mut command = host.command("unshare");
    command
        .args(["--mount", "sh", "-c", script])
        .arg(rkube_tests::rkubelet_path())
        .arg(&upper)
        .arg(&work);
    let invocation =
        rkube_tests::Invocation::new(command, "rkubelet run - without iptables".into());
    let outcome = invocation.stdin(once_with("true", ports)).run();
    check(&host, &before, outcome, 125, &["iptables", "install"]);
}

#[test]
fn commands_users_and_volumes_that_are_not_there() {
    let Some(host) = Host::new() else { return };
    let command = json!({"command": ["nosuch"]});
    refused(
        &host,
        &once_with("", command),
        127,
        &["nosuch", "container c"],
    );
    host.import(
        "localhost/user:v1",
        rkube_tests::busybox_image(),
        &["--user", "nobody-here"],
    );
    refused(
        &host,
        &once_with("true", json!({"image": "localhost/user:v1"})),
        125,
        &["nobody-here"],
    );
    refused(
        &host,
        &once_with("true", json!({"securityContext": {"runAsUser": -1}})),
        2,
        &["runAsUser"],
    );
    refused(
        &host,
        &once_with(
            "true",
            json!({"volumeMounts": [{"name": "data", "mountPath": "/data"}]}),
        ),
        2,
        &["data"],
    );
    let volume = |source: Value| {
        pod(
            "p",
            &[with(
                sh("c", "true"),
                json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]}),
            )],
            json!({"volumes": [with(json!({"name": "v"}), source)]}),
        )
    };
    refused(
        &host,
        &volume(json!({"configMap": {"name": "gone"}})),
        125,
        &["ConfigMap \"gone\""],
    );
    refused(
        &host,
        &volume(json!({"secret": {"secretName": "gone"}})),
        125,
        &["Secret \"gone\""],
    );
    refused(
        &host,
        &volume(json!({"hostPath": {"path": "/no/such/dir", "type": "Directory"}})),
        125,
        &["/no/such/dir"],
    );
}

#[test]
fn somebody_who_is_not_root() {
    let Some(host) = Host::new() else { return };
    // The program itself may lie where others cannot go.
    let program = host.dir().join("rkubelet");
    std::fs::copy(rkube_tests::rkubelet_path(), &program).unwrap();
    host.command("chmod")
        .args(["0755"])
        .arg(host.dir())
        .arg(&program)
        .status()
        .unwrap();
    let mut command = host.command("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(&program)
        .args(["run", "-"]);
    let outcome = rkube_tests::Invocation::new(command, "rkubelet run - as nobody".into())
        .stdin(once("true"))
        .run();
    let outcome = outcome.code(1).complains("root");
    assert_eq!(outcome.stderr.lines().count(), 1, "{outcome}");
}

#[test]
fn an_archive_that_is_none() {
    let Some(host) = Host::new() else { return };
    host.image();
    let before = host.snapshot();
    let import = |bytes: &[u8]| {
        host.rkubelet(&["images", "import", "-", "localhost/bad:v1"])
            .stdin(bytes)
            .run()
    };
    check(
        &host,
        &before,
        import(b"this is not an archive, however long it goes on"),
        1,
        &["archive"],
    );
    let mut cut = Rootfs::default().file("f", 0o644, vec![7; 4000]).tar();
    cut.truncate(2000);
    check(&host, &before, import(&cut), 1, &[]);
    let list = host.rkubelet(&["images", "list"]).run().ok();
    assert!(!list.stdout.contains("localhost/bad"), "{list}");
}
