//! A real web server whose answers the tests script, and what the source delivers.
use super::*;
use crate::source::Delivery;
use axum::extract::State;
use axum::response::IntoResponse;
use rcgen::{CertificateParams, Issuer, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

const OFTEN: Duration = Duration::from_millis(20);

/// What the server answers, and the headers that it was asked with.
#[derive(Debug, Default)]
struct Script {
    status: u16,
    etag: Option<String>,
    text: String,
    asked: Vec<HeaderMap>,
}

type Shared = Arc<Mutex<Script>>;

struct Rig {
    script: Shared,
    address: SocketAddr,
    deliveries: mpsc::Receiver<Delivery>,
}

fn pod(name: &str) -> String {
    format!(
        r#"{{"apiVersion": "v1", "kind": "Pod", "metadata": {{"name": "{name}"}}, "spec": {{"containers": [{{"name": "c", "image": "i"}}]}}}}"#
    )
}

async fn answer(State(script): State<Shared>, headers: HeaderMap) -> impl IntoResponse {
    let mut script = script.lock().unwrap();
    let known = headers
        .get(IF_NONE_MATCH)
        .and_then(|tag| tag.to_str().ok().map(str::to_owned));
    script.asked.push(headers);
    let mut out = HeaderMap::new();
    if let Some(etag) = &script.etag {
        out.insert(ETAG, etag.parse().unwrap());
        if known.as_ref() == Some(etag) {
            return (StatusCode::NOT_MODIFIED, out, String::new());
        }
    }
    (
        StatusCode::from_u16(script.status).unwrap(),
        out,
        script.text.clone(),
    )
}

fn router(script: &Shared) -> axum::Router {
    axum::Router::new()
        .route("/manifest", axum::routing::get(answer))
        .route(
            "/moved",
            axum::routing::get(|| async { (StatusCode::FOUND, [("location", "/manifest")]) }),
        )
        .route(
            "/loop",
            axum::routing::get(|| async { (StatusCode::FOUND, [("location", "/loop")]) }),
        )
        .with_state(script.clone())
}

fn script(text: &str) -> Shared {
    Arc::new(Mutex::new(Script {
        status: 200,
        text: text.to_owned(),
        ..Script::default()
    }))
}

fn settings(url: String) -> Settings {
    Settings {
        url,
        period: OFTEN,
        naming: Naming {
            node: "n1".to_owned(),
            append: true,
            uids: false,
        },
        ..Settings::default()
    }
}

fn deliveries(settings: Settings) -> mpsc::Receiver<Delivery> {
    drop(rustls::crypto::ring::default_provider().install_default());
    let (sender, deliveries) = mpsc::channel(1);
    spawn(settings, sender);
    deliveries
}

impl Rig {
    async fn new(text: &str, finish: impl FnOnce(Settings) -> Settings) -> Self {
        let script = script(text);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(axum::serve(listener, router(&script)).into_future());
        let settings = finish(settings(format!("http://{address}/manifest")));
        Rig {
            deliveries: deliveries(settings),
            address,
            script,
        }
    }
    fn answer(&self, status: u16, text: &str) {
        let mut script = self.script.lock().unwrap();
        (script.status, script.text) = (status, text.to_owned());
    }
    async fn next(&mut self) -> String {
        next(&mut self.deliveries).await
    }
    /// Waits until the server was asked so many times more.
    async fn asked(&self, times: usize) {
        let count = || self.script.lock().unwrap().asked.len();
        let before = count();
        let waiting = async {
            while count() < before + times {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), waiting)
            .await
            .expect("to be asked");
    }
}

/// The pods' names of a set, or what has failed.
async fn next(deliveries: &mut mpsc::Receiver<Delivery>) -> String {
    let next = tokio::time::timeout(Duration::from_secs(20), deliveries.recv());
    match next.await.expect("a delivery in time").unwrap() {
        Delivery::Set(set) => {
            let names = set
                .pods
                .iter()
                .map(|wanted| wanted.pod.metadata.name.clone().unwrap());
            names.collect::<Vec<_>>().join(" ")
        }
        Delivery::Failed(failed) => {
            format!("! {}: {}", failed.problem.place, failed.problem.message)
        }
    }
}

#[tokio::test]
async fn what_the_server_says_is_wanted_under_this_nodes_name() {
    let mut rig = Rig::new(&pod("a"), |settings| settings).await;
    assert_eq!(rig.next().await, "a-n1");
    rig.answer(200, &format!("[{}, {}]", pod("a"), pod("b")));
    assert_eq!(rig.next().await, "a-n1 b-n1");
    rig.answer(200, &format!("{}\n---\n{}", pod("c"), pod("d")));
    assert_eq!(rig.next().await, "c-n1 d-n1");
    rig.answer(200, "[]");
    assert_eq!(rig.next().await, "");
}

#[tokio::test]
async fn what_is_no_manifest_changes_nothing_and_is_said_once() {
    let mut rig = Rig::new(&pod("a"), |settings| settings).await;
    assert_eq!(rig.next().await, "a-n1");
    for (status, text, says) in [
        (500, "oops", "answers 500"),
        (404, "", "answers 404"),
        (200, "", "no object"),
        (200, "<html>login</html>", "manifest"),
        (
            200,
            r#"{"apiVersion": "v1", "kind": "Pod"}"#,
            "metadata.name",
        ),
    ] {
        rig.answer(status, text);
        let failure = rig.next().await;
        let place = format!("! http://{}/manifest: ", rig.address);
        assert!(
            failure.starts_with(&place) && failure.contains(says),
            "{failure}"
        );
        rig.asked(3).await;
    }
    // The same as before the failures: it works again, which is news.
    rig.answer(200, &pod("a"));
    assert_eq!(rig.next().await, "a-n1");
}

#[tokio::test]
async fn an_unchanged_text_is_not_sent_again() {
    let mut rig = Rig::new(&pod("a"), |settings| settings).await;
    rig.script.lock().unwrap().etag = Some("\"1\"".to_owned());
    assert_eq!(rig.next().await, "a-n1");
    rig.asked(3).await;
    {
        let script = rig.script.lock().unwrap();
        let last = script.asked.last().unwrap();
        assert_eq!(last.get(IF_NONE_MATCH).unwrap(), "\"1\"");
    }
    rig.answer(503, "");
    rig.script.lock().unwrap().etag = None;
    assert!(rig.next().await.contains("answers 503"));
    rig.script.lock().unwrap().etag = Some("\"1\"".to_owned());
    assert_eq!(rig.next().await, "a-n1", "304 after a failure");
    rig.answer(200, &pod("b"));
    rig.script.lock().unwrap().etag = Some("\"2\"".to_owned());
    assert_eq!(rig.next().await, "b-n1");
}

#[tokio::test]
async fn headers_are_sent_and_passwords_are_not_shown() {
    let mut rig = Rig::new(&pod("a"), |mut settings| {
        let values = vec!["one".to_owned(), "two".to_owned()];
        settings.headers.insert("X-Flavor".to_owned(), values);
        settings.url = settings.url.replace("http://", "http://me:secret@");
        settings
    })
    .await;
    assert_eq!(rig.next().await, "a-n1");
    {
        let script = rig.script.lock().unwrap();
        let values: Vec<_> = script.asked[0].get_all("x-flavor").iter().collect();
        assert_eq!(values, ["one", "two"]);
        assert_eq!(script.asked[0]["authorization"], "Basic bWU6c2VjcmV0");
    }
    rig.answer(500, "");
    let failure = rig.next().await;
    assert!(
        failure.contains("me:...@") && !failure.contains("secret"),
        "{failure}"
    );
}

#[tokio::test]
async fn redirections_end_and_secrets_stay_at_home() {
    let mut rig = Rig::new(&pod("a"), |mut settings| {
        settings.url = settings.url.replace("/manifest", "/moved");
        settings
    })
    .await;
    assert_eq!(rig.next().await, "a-n1");
    let mut looping = deliveries(settings(format!("http://{}/loop", rig.address)));
    assert!(next(&mut looping).await.contains("leads on and on"));
    // Another port is another server.
    let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = format!("http://{}/manifest", rig.address);
    let moved = axum::Router::new().route(
        "/",
        axum::routing::get(|| async move { (StatusCode::FOUND, [("location", target)]) }),
    );
    let address = elsewhere.local_addr().unwrap();
    tokio::spawn(axum::serve(elsewhere, moved).into_future());
    let open = settings(format!("http://{address}/"));
    let mut secret = open.clone();
    secret
        .headers
        .insert("X-Token".to_owned(), vec!["s".to_owned()]);
    assert!(
        next(&mut deliveries(secret))
            .await
            .contains("leads to another host")
    );
    assert_eq!(next(&mut deliveries(open)).await, "a-n1");
}

#[tokio::test]
async fn a_server_that_hangs_or_never_ends_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut held = Vec::new();
        for turn in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            match turn {
                0 => held.push(stream),
                1 => {
                    // A byte now and then.
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n{").await;
                    held.push(stream);
                }
                _ => {
                    tokio::spawn(async move {
                        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
                        while stream.write_all(&[b' '; 1 << 16]).await.is_ok() {}
                    });
                }
            }
        }
    });
    let mut settings = settings(format!("http://{address}/"));
    settings.patience = Some(Duration::from_millis(500));
    let mut deliveries = deliveries(settings);
    assert!(
        next(&mut deliveries)
            .await
            .contains("no whole answer within 500ms")
    );
    // The second one says the same; the third sends without end.
    let failure = next(&mut deliveries).await;
    assert!(failure.contains("more than 16 MiB"), "{failure}");
}

/// A server that speaks TLS with a certificate of its own authority, and asks for one of the same; the files to use.
async fn tls_server(script: &Shared, dir: &std::path::Path) -> (String, TlsFiles) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap();
    let issuer = Issuer::new(params, key);
    let leaf = |name: &str| {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        (params.signed_by(&key, &issuer).unwrap(), key)
    };
    let ((server, server_key), (client, client_key)) = (leaf("127.0.0.1"), leaf("kubelet"));
    let file = |name: &str, text: String| {
        let path = dir.join(name);
        std::fs::write(&path, text).unwrap();
        Some(path)
    };
    let files = TlsFiles {
        ca: file("ca", authority.pem()),
        cert: file("cert", client.pem()),
        key: file("key", client_key.serialize_pem()),
        ..TlsFiles::default()
    };
    let mut roots = rustls::RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    let verifier = rustls::server::WebPkiClientVerifier::builder(Arc::new(roots))
        .build()
        .unwrap();
    let config = rustls::ServerConfig::builder()
        .with_client_cert_verifier(verifier)
        .with_single_cert(
            vec![server.der().clone()],
            PrivateKeyDer::try_from(server_key.serialize_der()).unwrap(),
        )
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}/manifest", listener.local_addr().unwrap());
    let router = router(script);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, router) = (acceptor.clone(), router.clone());
            tokio::spawn(async move {
                let Ok(stream) = acceptor.accept(stream).await else {
                    return;
                };
                let service = hyper_util::service::TowerToHyperService::new(router);
                let builder = hyper_util::server::conn::auto::Builder::new(
                    hyper_util::rt::TokioExecutor::new(),
                );
                let _ = builder
                    .serve_connection(hyper_util::rt::TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    (url, files)
}

#[tokio::test]
async fn certificates_are_checked_shown_and_replaced_while_it_runs() {
    drop(rustls::crypto::ring::default_provider().install_default());
    let dir = tempfile::tempdir().unwrap();
    let script = script(&pod("a"));
    let (url, files) = tls_server(&script, dir.path()).await;
    let with = |tls: TlsFiles| Settings {
        tls,
        ..settings(url.clone())
    };
    let mut stranger = deliveries(with(TlsFiles::default()));
    assert!(next(&mut stranger).await.contains("certificate"));
    let nobody = TlsFiles {
        ca: files.ca.clone(),
        ..TlsFiles::default()
    };
    assert!(next(&mut deliveries(with(nobody))).await.starts_with('!'));
    assert_eq!(next(&mut deliveries(with(files.clone()))).await, "a-n1");

    let ca: PathBuf = files.ca.clone().unwrap();
    let good = std::fs::read(&ca).unwrap();
    std::fs::write(&ca, "no certificate").unwrap();
    let mut mended = deliveries(with(files));
    assert!(next(&mut mended).await.contains("no certificate in it"));
    std::fs::write(&ca, good).unwrap();
    assert_eq!(next(&mut mended).await, "a-n1");
}
