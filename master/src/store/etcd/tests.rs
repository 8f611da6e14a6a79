//! A real etcd that the tests start, kill and start again.
use super::*;
use crate::store::suite::{self, Bed};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// How long etcd may take for anything.
const PATIENCE: Duration = Duration::from_secs(30);

/// An etcd of one member. It goes with the value.
struct Server {
    directory: tempfile::TempDir,
    scheme: &'static str,
    ports: (u16, u16),
    extra: Vec<String>,
    process: Option<Child>,
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

impl Server {
    /// None, and a line of why, where there is no etcd on this host.
    fn start(test: &str) -> Option<Server> {
        if Command::new("etcd").arg("--version").output().is_err() {
            println!("SKIP {test}: needs etcd (package etcd-server)");
            return None;
        }
        let mut server = Server::new("http");
        server.up();
        Some(server)
    }
    fn new(scheme: &'static str) -> Server {
        Server {
            directory: tempfile::tempdir().unwrap(),
            scheme,
            ports: (free_port(), free_port()),
            extra: Vec::new(),
            process: None,
        }
    }
    fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.ports.0)
    }
    fn up(&mut self) {
        let (client, peer) = (self.url(), format!("http://127.0.0.1:{}", self.ports.1));
        let log = std::fs::File::create(self.directory.path().join("log")).unwrap();
        let process = Command::new("etcd")
            .env_clear()
            .args(["--name", "m", "--data-dir"])
            .arg(self.directory.path().join("data"))
            .args([
                "--listen-client-urls",
                &client,
                "--advertise-client-urls",
                &client,
            ])
            .args([
                "--listen-peer-urls",
                &peer,
                "--initial-advertise-peer-urls",
                &peer,
            ])
            .args([
                "--initial-cluster",
                &format!("m={peer}"),
                "--unsafe-no-fsync",
            ])
            .args(&self.extra)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.process = Some(process);
    }
    fn down(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }
    fn options(&self) -> Options {
        Options {
            endpoints: vec![self.url()],
            ..Options::default()
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.down();
    }
}

async fn bed(options: &Options) -> Bed {
    Bed {
        store: Arc::new(connect(options).await.unwrap()),
        prefix: "/registry/test/".to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_passes_the_suite() {
    let Some(server) = Server::start("it_passes_the_suite") else {
        return;
    };
    let store = connect(&server.options()).await.unwrap();
    suite::run(Arc::new(store)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_waits_a_while_for_an_etcd_that_is_away_and_goes_on_when_it_is_back() {
    let Some(mut server) = Server::start("it_waits_a_while_for_an_etcd_that_is_away") else {
        return;
    };
    let bed = bed(&server.options()).await;
    let base = bed.set("a", "1").await;
    let mut watch = bed.store.watch(&bed.prefix, base).await.unwrap();
    server.down();
    let asked = Instant::now();
    let refused = bed.store.get("/registry/test/a").await;
    assert!(
        matches!(refused, Err(StoreError::Unavailable(_))),
        "{refused:?}"
    );
    let refused = bed
        .store
        .commit(vec![bed.put("a", super::super::Guard::Any, "2")])
        .await;
    assert!(
        matches!(refused, Err(StoreError::Unavailable(_))),
        "{refused:?}"
    );
    assert!(asked.elapsed() < Duration::from_secs(11));
    server.up();
    let back = async { while bed.store.revision().await.is_err() {} };
    tokio::time::timeout(PATIENCE, back).await.unwrap();
    let last = bed.set("b", "1").await;
    // Nothing was lost for those who watched all the while.
    let told = suite::watching::until(&mut watch, last).await;
    let told: Vec<_> = told.iter().map(|batch| batch.revision).collect();
    assert_eq!(told, (base + 1..=last).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_away_is_left_for_another() {
    let Some(server) = Server::start("a_server_that_is_away_is_left_for_another") else {
        return;
    };
    // Nobody listens at the first, and the second takes connections but never answers.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let options = Options {
        endpoints: vec![
            format!("http://127.0.0.1:{}", free_port()),
            format!("http://{}", silent.local_addr().unwrap()),
            server.url(),
        ],
        ..Options::default()
    };
    let bed = bed(&options).await;
    let started = Instant::now();
    bed.set("a", "1").await;
    assert!(bed.get("a").await.is_some());
    assert!(
        started.elapsed() < Duration::from_secs(1),
        "it stays with who answers"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_masters_see_each_other() {
    let Some(server) = Server::start("two_masters_see_each_other") else {
        return;
    };
    let (one, two) = (bed(&server.options()).await, bed(&server.options()).await);
    let base = one.set("a", "1").await;
    let mut watch = two.store.watch(&two.prefix, base).await.unwrap();
    for number in 0..20 {
        one.set("a", &number.to_string()).await;
        let seen = two.get("a").await.unwrap().value;
        assert_eq!(seen, number.to_string());
    }
    let newest = two.store.revision().await.unwrap();
    assert_eq!(suite::watching::until(&mut watch, newest).await.len(), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_etcd_says_so_and_is_still_read() {
    let Some(mut server) = Server::start("a_full_etcd_says_so_and_is_still_read") else {
        return;
    };
    server.down();
    server.extra = vec!["--quota-backend-bytes=1000000".to_owned()];
    server.up();
    let bed = bed(&server.options()).await;
    bed.set("a", "1").await;
    let value = "x".repeat(200 << 10);
    let mut refused = None;
    // It looks at its size now and then only.
    for number in 0..4_000 {
        let op = bed.put(&number.to_string(), super::super::Guard::Any, &value);
        if let Err(error) = bed.store.commit(vec![op]).await {
            refused = Some(error);
            break;
        }
    }
    assert!(matches!(refused, Some(StoreError::Full(_))), "{refused:?}");
    assert!(bed.get("a").await.is_some());
}

/// A CA, and two certificates of it: `name.crt`, `name.key`.
fn certificates(directory: &Path) {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, key).unwrap();
    std::fs::write(directory.join("ca.crt"), ca.pem()).unwrap();
    for name in ["server", "client"] {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.extended_key_usages = vec![
            rcgen::ExtendedKeyUsagePurpose::ServerAuth,
            rcgen::ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let certificate = params.signed_by(&key, &ca).unwrap();
        std::fs::write(directory.join(format!("{name}.crt")), certificate.pem()).unwrap();
        std::fs::write(directory.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_go_both_ways() {
    let Some(plain) = Server::start("certificates_go_both_ways") else {
        return;
    };
    drop(plain);
    let mut server = Server::new("https");
    certificates(server.directory.path());
    let file = |name: &str| server.directory.path().join(name);
    server.extra = [
        ("cert-file", "server.crt"),
        ("key-file", "server.key"),
        ("trusted-ca-file", "ca.crt"),
    ]
    .iter()
    .map(|(flag, name)| format!("--{flag}={}", file(name).display()))
    .chain(["--client-cert-auth".to_owned()])
    .collect();
    let options = Options {
        endpoints: vec![server.url()],
        ca: Some(file("ca.crt")),
        certificate: Some(file("client.crt")),
        key: Some(file("client.key")),
    };
    server.up();
    let bed = bed(&options).await;
    bed.set("a", "1").await;
    assert!(bed.get("a").await.is_some());
    // Who shows no certificate gets nothing.
    let nobody = Options {
        certificate: None,
        key: None,
        ..options.clone()
    };
    let servers = Servers::new(&nobody).unwrap();
    let refused = feed::newest(&servers).await;
    assert!(
        matches!(refused, Err(StoreError::Unavailable(_))),
        "{refused:?}"
    );
    let half = Options {
        key: None,
        ..options
    };
    let refused = connect(&half).await.map(|_| ());
    assert!(
        matches!(refused, Err(ConnectError::Options(_))),
        "{refused:?}"
    );
}
