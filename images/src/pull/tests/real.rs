//! Debian's `docker-registry`, a real one: the image is pushed over its API and pulled back.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use super::*;
use crate::testing::{TestLayer, noise, tar_of};

const PROGRAM: &str = "/usr/bin/docker-registry";

/// The registry as a process, its storage below a directory.
struct RealRegistry {
    child: Child,
    host: String,
}

impl RealRegistry {
    fn start(dir: &std::path::Path) -> Option<Self> {
        if !std::path::Path::new(PROGRAM).exists() {
            return None;
        }
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let host = format!("127.0.0.1:{port}");
        let config = dir.join("config.yml");
        let storage = dir.join("storage");
        let text = format!(
            "version: 0.1\nlog: {{ level: error }}\nhttp: {{ addr: '{host}' }}\n\
             storage: {{ filesystem: {{ rootdirectory: '{}' }} }}\n",
            storage.display()
        );
        fs_err::write(&config, text).unwrap();
        let child = Command::new(PROGRAM)
            .arg("serve")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Some(Self { child, host })
    }
}

impl Drop for RealRegistry {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn client() -> reqwest::Client {
    // A process-wide choice; the first test to make it is right.
    drop(rustls::crypto::ring::default_provider().install_default());
    reqwest::Client::builder().no_proxy().build().unwrap()
}

async fn wait_until_up(client: &reqwest::Client, host: &str) {
    let begun = Instant::now();
    while client
        .get(format!("http://{host}/v2/"))
        .send()
        .await
        .is_err()
    {
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "the registry does not come up"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn push_blob(client: &reqwest::Client, host: &str, repo: &str, bytes: &[u8]) {
    let start = client
        .post(format!("http://{host}/v2/{repo}/blobs/uploads/"))
        .send()
        .await
        .unwrap();
    assert_eq!(start.status(), 202);
    let mut at: reqwest::Url = start.headers()["location"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    at.query_pairs_mut()
        .append_pair("digest", &Digest::sha256(bytes).to_string());
    let put = client
        .put(at)
        .header("content-type", "application/octet-stream");
    assert_eq!(put.body(bytes.to_vec()).send().await.unwrap().status(), 201);
}

async fn push(client: &reqwest::Client, host: &str, repo: &str, tag: &str, image: &TestImage) {
    for layer in &image.layers {
        push_blob(client, host, repo, &layer.blob).await;
    }
    push_blob(client, host, repo, &image.config()).await;
    let put = client.put(format!("http://{host}/v2/{repo}/manifests/{tag}"));
    let put = put
        .header("content-type", image.manifest_type())
        .body(image.manifest());
    let answer = put.send().await.unwrap();
    let status = answer.status();
    assert_eq!(status, 201, "{}", answer.text().await.unwrap());
}

#[tokio::test]
async fn debians_registry_serves_us() {
    let dir = tempfile::tempdir().unwrap();
    let Some(registry) = RealRegistry::start(dir.path()) else {
        println!("SKIP debians_registry_serves_us: {PROGRAM} is not installed");
        return;
    };
    let (client, host) = (client(), &registry.host);
    wait_until_up(&client, host).await;
    let mut image = TestImage::of(&[&[("etc/motd", b"hello")]]);
    image
        .layers
        .push(TestLayer::gzip(&tar_of(&[("noise", &noise(7, 3 << 20))])));
    push(&client, host, "team/app", "v1", &image).await;

    let bench = Bench::small();
    let pulled = bench
        .pull_name(&format!("{host}/team/app:v1"))
        .await
        .unwrap();
    assert_eq!(pulled.id, Digest::sha256(&image.config()));
    assert_eq!(bench.read(&pulled, "etc/motd").unwrap(), b"hello");
    assert_eq!(bench.read(&pulled, "noise").unwrap(), noise(7, 3 << 20));

    let resumed = Bench {
        dir: tempfile::tempdir().unwrap(),
        ..Bench::small()
    };
    let blob = &image.layers[1];
    let crate::store::Claim::Open(mut partial) = resumed.store().partial(&blob.digest()).unwrap()
    else {
        panic!("an empty store has no blob")
    };
    partial.write(&blob.blob[..1 << 20]).unwrap();
    drop(partial);
    resumed
        .pull_name(&format!("{host}/team/app:v1"))
        .await
        .unwrap();
    let first = format!("downloaded {} {}", blob.digest(), 1 << 20);
    assert!(resumed.events.has(&first), "{:?}", resumed.events.all());

    let missing = Bench {
        dir: tempfile::tempdir().unwrap(),
        ..Bench::small()
    };
    let outcome = missing.pull_name(&format!("{host}/team/app:v2")).await;
    missing.expect_failure(outcome, &["team/app:v2 not found"]);
}
