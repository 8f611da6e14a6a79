//! Images from registries: Debian's real one, with logins and private authorities, and one that misbehaves.
use crate::support::{documents, pod, sh, with};
use rkube_images::testing::{Fault, TestImage};
use rkube_tests::{DockerRegistry, FixtureOn, Host, Invocation, Outcome, eventually};
use rustix::process::Signal;
use serde_json::{Value, json};

/// The busybox image's name in the registry.
const IMAGE: &str = "127.0.0.1:5000/team/busybox:v1";

/// Puts the busybox image into the registry with a client that is not ours. `false` if there is none.
fn push(host: &Host, more: &[&str]) -> bool {
    let archive = host.dir().join("image.tar");
    let archive = archive.to_str().unwrap();
    host.rkubelet(&["images", "export", host.image(), "-o", archive])
        .run()
        .ok();
    if host
        .command("which")
        .arg("skopeo")
        .output()
        .is_ok_and(|which| !which.status.success())
    {
        println!(
            "SKIP {}: needs skopeo",
            std::thread::current().name().unwrap_or("?")
        );
        return false;
    }
    let mut command = host.command("skopeo");
    command
        .args(["--insecure-policy", "copy", "--dest-tls-verify=false"])
        .args(more);
    command
        .arg(format!("oci-archive:{archive}"))
        .arg(format!("docker://{IMAGE}"));
    Invocation::new(command, "skopeo copy".into()).run().ok();
    host.rkubelet(&["images", "rm", host.image()]).run().ok();
    true
}

fn manifest(more: Value) -> String {
    pod(
        "p",
        &[with(
            sh("c", "echo pulled"),
            with(json!({"image": IMAGE}), more),
        )],
        json!({}),
    )
}

fn run(host: &Host, manifest: &str) -> Outcome {
    host.rkubelet(&["run", "-"]).stdin(manifest).run()
}

#[test]
fn a_pod_from_the_distributions_registry() {
    let Some(host) = Host::new() else { return };
    let Some(registry) = DockerRegistry::start(&host, "", "") else {
        return;
    };
    if !push(&host, &[]) {
        return;
    }
    // The layer: the only blob that is large.
    let layers = || {
        let log = registry.log();
        let of_us = log
            .lines()
            .filter(|line| line.contains("useragent=rkube") && line.contains("method=GET"));
        let blobs = of_us.filter(|line| line.contains("/blobs/sha256:"));
        let written = blobs.filter_map(|line| {
            line.rsplit_once("http.response.written=")?
                .1
                .split(' ')
                .next()?
                .parse::<u64>()
                .ok()
        });
        written.filter(|written| *written > 100_000).count()
    };
    assert_eq!(run(&host, &manifest(json!({}))).ok().log("c"), "pulled\n");
    eventually(5, "the registry's line on the layer", || {
        (layers() == 1).then_some(())
    });
    // What is here is not fetched again, even if the tag is looked at again.
    run(&host, &manifest(json!({"imagePullPolicy": "IfNotPresent"}))).ok();
    run(&host, &manifest(json!({"imagePullPolicy": "Always"}))).ok();
    assert_eq!(layers(), 1);
    host.rkubelet(&["images", "list"])
        .run()
        .ok()
        .says("team/busybox");
}

#[test]
fn a_login_from_docker_or_from_the_pod() {
    let Some(host) = Host::new() else { return };
    // bcrypt of "secret".
    let passwords = host.file(
        "htpasswd",
        "user:$2b$12$SoEeUwXXVFLz/lv6ST3iDeYNVqLXt1C8eebdQJxqgQ863tPmCJFaW\n",
    );
    let auth = format!("auth:\n  htpasswd:\n    realm: test\n    path: {passwords}\n");
    let Some(_registry) = DockerRegistry::start(&host, "", &auth) else {
        return;
    };
    if !push(&host, &["--dest-creds", "user:secret"]) {
        return;
    }
    run(&host, &manifest(json!({})))
        .code(125)
        .complains("127.0.0.1:5000")
        .complains("login");
    let config = |password: &str| {
        json!({"auths": {"127.0.0.1:5000": {"username": "user", "password": password}}}).to_string()
    };
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "pull"}, "type": "kubernetes.io/dockerconfigjson",
        "stringData": {".dockerconfigjson": config("secret")}});
    let mut with_secret: Value = serde_json::from_str(&manifest(json!({}))).unwrap();
    with_secret["spec"]["imagePullSecrets"] = json!([{"name": "pull"}]);
    assert_eq!(
        run(
            &host,
            &documents(&[secret.to_string(), with_secret.to_string()])
        )
        .ok()
        .log("c"),
        "pulled\n"
    );
    host.rkubelet(&["images", "rm", IMAGE]).run().ok();

    std::fs::create_dir(host.dir().join("home/.docker")).unwrap();
    host.file("home/.docker/config.json", config("wrong"));
    run(&host, &manifest(json!({})))
        .code(125)
        .complains("config.json");
    host.file("home/.docker/config.json", config("secret"));
    assert_eq!(run(&host, &manifest(json!({}))).ok().log("c"), "pulled\n");
}

#[test]
fn a_registry_with_a_private_authority() {
    let Some(host) = Host::new() else { return };
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().unwrap();
    let authority = host.file("authority.pem", params.self_signed(&key).unwrap().pem());
    let issuer = rcgen::Issuer::new(params, key);
    let own = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()])
        .unwrap()
        .signed_by(&own, &issuer)
        .unwrap();
    let tls = format!(
        "  tls:\n    certificate: {}\n    key: {}\n",
        host.file("registry.pem", certificate.pem()),
        host.file("registry.key", own.serialize_pem())
    );
    let Some(_registry) = DockerRegistry::start(&host, &tls, "") else {
        return;
    };
    if !push(&host, &[]) {
        return;
    }
    run(&host, &manifest(json!({})))
        .code(125)
        .complains("certificate");
    let registries = host.file(
        "registries.yaml",
        format!("registries:\n  127.0.0.1:5000: {{ caFile: {authority} }}\n"),
    );
    let trusting = host
        .rkubelet(&["--registries", &registries, "run", "-"])
        .stdin(manifest(json!({})))
        .run()
        .ok();
    assert_eq!(trusting.log("c"), "pulled\n");
}

/// What a killed pull has fetched is not fetched again.
#[test]
fn a_killed_pull_is_resumed() {
    let Some(host) = Host::new() else { return };
    let registry = FixtureOn::start(&host);
    let image = TestImage::noise(1, 4 << 20);
    registry.put_image("big", "v1", &image);
    let digest = image.layers[0].digest().to_string();
    registry.fault(&digest, 1, Fault::StallAfter(2 << 20));
    let name = format!("{}/big:v1", registry.host());
    let pull = host.rkubelet(&["images", "pull", &name]).start();
    let partial = host.root().join("images/blobs/partial");
    eventually(20, "half of the layer is on disk", || {
        let sizes = std::fs::read_dir(&partial)
            .ok()?
            .filter_map(|entry| entry.ok()?.metadata().ok());
        let most = sizes.map(|meta| meta.len()).max()?;
        (most > (3 << 19)).then_some(())
    });
    pull.signal(Signal::KILL);
    assert_eq!(pull.wait().code, 137);
    host.rkubelet(&["images", "pull", &name]).run().ok();
    let asked = registry.seen_at(&digest);
    let again = asked.last().unwrap();
    assert!(
        again
            .header("range")
            .is_some_and(|range| range.starts_with("bytes=")),
        "{again:?}"
    );
    assert!(again.sent < 3 << 20, "{} bytes were sent again", again.sent);
}

/// Two pulls of one image at the same time fetch it once.
#[test]
fn pulls_share_their_work() {
    let Some(host) = Host::new() else { return };
    let registry = FixtureOn::start(&host);
    let image = TestImage::noise(2, 1 << 20);
    registry.put_image("shared", "v1", &image);
    let digest = image.layers[0].digest().to_string();
    registry.fault(
        &digest,
        1,
        Fault::Slow(64 << 10, std::time::Duration::from_millis(20)),
    );
    let name = format!("{}/shared:v1", registry.host());
    let pulls: Vec<_> = (0..2)
        .map(|_| host.rkubelet(&["images", "pull", &name]).start())
        .collect();
    for pull in pulls {
        pull.wait().ok();
    }
    let size = image.layers[0].blob.len();
    assert_eq!(registry.sent(&digest), size);
}

/// A registry that resets, stalls for a while and is busy is asked again until it serves.
#[test]
fn a_shaky_registry_is_asked_again() {
    let Some(host) = Host::new() else { return };
    let registry = FixtureOn::start(&host);
    let image = TestImage::noise(2, 300_000);
    registry.put_image("shaky", "v1", &image);
    let [first, second] = [0, 1].map(|index: usize| image.layers[index].digest().to_string());
    registry.fault(&first, 1, Fault::ResetAfter(1000));
    registry.fault(&first, 1, Fault::CutAfter(100_000));
    registry.fault(
        &second,
        1,
        Fault::Status(429, vec![("Retry-After".to_owned(), "0".to_owned())]),
    );
    registry.fault(&second, 1, Fault::Status(503, Vec::new()));
    registry.fault("manifests", 1, Fault::Status(500, Vec::new()));
    let name = format!("{}/shaky:v1", registry.host());
    host.rkubelet(&["images", "pull", &name]).run().ok();
    host.rkubelet(&["images", "fsck"]).run().ok();
}
