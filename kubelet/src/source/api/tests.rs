//! A server that stands in for the real one: lists, watches, and a record of everything that it is told.
use super::*;
use crate::source::{Delivery, Set};
use crate::state::{Origin, Phase, PodRecord, PodState, SourceKind, StoredPod};
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, StatusCode};
use axum::response::Response;
use jiff::Timestamp;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;
use tokio::sync::{broadcast, mpsc};

const SECONDS: Duration = Duration::from_secs(20);

/// What the server knows.
#[derive(Default)]
struct World {
    version: u64,
    /// Watches from before this version are refused.
    oldest: u64,
    /// By path; pods, ConfigMaps, whatever was posted.
    objects: BTreeMap<String, Value>,
    /// Pods' events with their versions.
    history: Vec<(u64, Value)>,
    told: Vec<(String, String, Value)>,
    broken: bool,
}

#[derive(Clone)]
struct Server {
    world: Arc<Mutex<World>>,
    events: broadcast::Sender<()>,
    url: String,
}

fn pod(name: &str, image: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "default", "uid": format!("uid-{name}"), "creationTimestamp": "2026-01-01T00:00:00Z"},
        "spec": {"nodeName": "n1", "containers": [{"name": "c", "image": image}]}, "status": {"phase": "Pending"}})
}

impl Server {
    async fn start() -> Self {
        drop(rustls::crypto::ring::default_provider().install_default());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Server {
            world: Arc::default(),
            events: broadcast::channel(64).0,
            url: format!("http://{}", listener.local_addr().unwrap()),
        };
        let router = Router::new().fallback(answer).with_state(server.clone());
        tokio::spawn(axum::serve(listener, router).into_future());
        server
    }

    /// Changes a pod; `kind` is the event's.
    fn pod(&self, kind: &str, mut pod: Value) {
        let mut world = self.world.lock().unwrap();
        world.version += 1;
        pod["metadata"]["resourceVersion"] = json!(world.version.to_string());
        let key = format!(
            "/api/v1/namespaces/default/pods/{}",
            pod["metadata"]["name"].as_str().unwrap()
        );
        if kind == "DELETED" {
            world.objects.remove(&key);
        } else {
            world.objects.insert(key, pod.clone());
        }
        let version = world.version;
        world
            .history
            .push((version, json!({"type": kind, "object": pod})));
        let _ = self.events.send(());
    }
    fn object(&self, path: &str, value: Value) {
        self.world
            .lock()
            .unwrap()
            .objects
            .insert(path.to_owned(), value);
    }
    fn world<T>(&self, look: impl FnOnce(&mut World) -> T) -> T {
        let out = look(&mut self.world.lock().unwrap());
        let _ = self.events.send(());
        out
    }
    /// Waits until it has been told: the body of the newest request with that method and path.
    async fn told(&self, method: &str, path: &str, is: impl Fn(&Value) -> bool) -> Value {
        let found = async {
            loop {
                let found = self.world(|world| {
                    let told = world.told.iter().rev();
                    let mut told = told.filter(|(m, p, body)| m == method && p == path && is(body));
                    told.next().map(|(_, _, body)| body.clone())
                });
                if let Some(body) = found {
                    return body;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(SECONDS, found)
            .await
            .unwrap_or_else(|_| {
                panic!(
                    "not told: {method} {path}; but {:?}",
                    self.world(|world| world.told.clone())
                )
            })
    }
}

/// Everything since `from`, and what comes later.
fn watched(server: Server, mut from: u64, mut heard: broadcast::Receiver<()>) -> Response {
    let (sender, receiver) = mpsc::channel::<Result<String, std::io::Error>>(8);
    tokio::spawn(async move {
        loop {
            let (news, broken): (Vec<_>, _) = server
                .world
                .lock()
                .map(|world| {
                    (
                        world
                            .history
                            .iter()
                            .filter(|(version, _)| *version > from)
                            .cloned()
                            .collect(),
                        world.broken,
                    )
                })
                .unwrap();
            if broken {
                return;
            }
            for (version, event) in news {
                from = version;
                // In two pieces, as networks cut things.
                let text = format!("{event}\n");
                let (head, tail) = text.split_at(text.len() / 2);
                for part in [head, tail] {
                    if sender.send(Ok(part.to_owned())).await.is_err() {
                        return;
                    }
                }
            }
            let _ = heard.recv().await;
        }
    });
    let stream = futures::stream::unfold(receiver, async |mut receiver| {
        Some((receiver.recv().await?, receiver))
    });
    Response::new(Body::from_stream(stream))
}

async fn answer(State(server): State<Server>, request: Request<Body>) -> Response {
    let (method, uri) = (request.method().to_string(), request.uri().clone());
    assert_eq!(request.headers()["authorization"], "Bearer secret");
    let body = axum::body::to_bytes(request.into_body(), 1 << 20)
        .await
        .unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let reply = |status: StatusCode, body: Value| {
        Response::builder()
            .status(status)
            .body(Body::from(body.to_string()))
            .unwrap()
    };
    let query = uri.query().unwrap_or_default();
    let (path, heard) = (uri.path().to_owned(), server.events.subscribe());
    let mut world = server.world.lock().unwrap();
    if world.broken {
        return reply(
            StatusCode::INTERNAL_SERVER_ERROR,
            json!({"message": "out of order"}),
        );
    }
    match (method.as_str(), path.as_str()) {
        ("GET", "/api/v1/pods") => {
            assert!(
                query.contains("fieldSelector=spec.nodeName%3Dn1"),
                "{query}"
            );
            if !query.contains("watch=1") {
                let pods = world
                    .objects
                    .iter()
                    .filter(|(key, _)| key.contains("/pods/"));
                let items: Vec<_> = pods.map(|(_, pod)| pod.clone()).collect();
                return reply(
                    StatusCode::OK,
                    json!({"metadata": {"resourceVersion": world.version.to_string()}, "items": items}),
                );
            }
            let from = query
                .split('&')
                .find_map(|one| one.strip_prefix("resourceVersion="))
                .unwrap();
            let from: u64 = from.parse().unwrap();
            if from < world.oldest {
                return reply(StatusCode::GONE, json!({"message": "too old"}));
            }
            drop(world);
            watched(server, from, heard)
        }
        ("GET", "/api/v1/services") => reply(
            StatusCode::OK,
            json!({"items": [{"metadata": {"name": "svc", "namespace": "default"}}]}),
        ),
        ("GET", path) => match world.objects.get(path) {
            Some(object) => reply(StatusCode::OK, object.clone()),
            None => reply(StatusCode::NOT_FOUND, json!({"message": "no such thing"})),
        },
        (method, path) => {
            let told = (method.to_owned(), path.to_owned(), body.clone());
            world.told.push(told);
            let (status, body) = changed(&mut world, method, path, body);
            reply(status, body)
        }
    }
}

fn changed(world: &mut World, method: &str, path: &str, body: Value) -> (StatusCode, Value) {
    let target = path.trim_end_matches("/status");
    let known = world.objects.contains_key(target);
    match method {
        "POST" if path.ends_with("/token") => {
            let short = body["spec"]["audiences"][0] == "short";
            let end = Timestamp::now() + Duration::from_secs(if short { 1 } else { 3600 });
            let token = format!("token-{}", world.told.len());
            let status = json!({"token": token, "expirationTimestamp": end.to_string()});
            (StatusCode::CREATED, json!({ "status": status }))
        }
        "POST" => {
            let key = format!("{path}/{}", body["metadata"]["name"].as_str().unwrap());
            world.objects.insert(key, body.clone());
            (StatusCode::CREATED, body)
        }
        "PATCH" if known => (StatusCode::OK, body),
        "DELETE" if known => {
            world.objects.remove(target);
            (StatusCode::OK, json!({}))
        }
        _ => (StatusCode::NOT_FOUND, json!({"message": "no such thing"})),
    }
}

struct Rig {
    server: Server,
    deliveries: mpsc::Receiver<Delivery>,
    registry: Registry,
    events: NodeEvents,
    problems: Problems,
    _dir: tempfile::TempDir,
}

async fn rig(server: Server, servers: Vec<String>) -> Rig {
    let dir = tempfile::tempdir().unwrap();
    let (sender, deliveries) = mpsc::channel(16);
    let [root, run, logs] = [(); 3].map(|()| dir.path().to_owned());
    let paths = crate::paths::Paths { root, run, logs };
    let problems = Problems::new(&paths);
    let (registry, events) = (Registry::default(), NodeEvents::open(dir.path()));
    let settings = Settings {
        servers,
        token: Some("secret".to_owned()),
        node: "n1".to_owned(),
        ..Settings::default()
    };
    let told = Told {
        registry: registry.clone(),
        problems: problems.clone(),
        events: events.clone(),
        host_ip: None,
        authority: None,
        status: Box::new(|| serde_json::from_value(json!({"capacity": {"cpu": "2"}})).unwrap()),
    };
    spawn(settings, told, sender);
    Rig {
        server,
        deliveries,
        registry,
        events,
        problems,
        _dir: dir,
    }
}

fn shown(set: &Set) -> String {
    let pods = set.pods.iter().map(|wanted| {
        let image = wanted.pod.spec.as_ref().unwrap().containers[0]
            .image
            .as_ref();
        format!(
            "{}={}",
            wanted.pod.metadata.name.as_ref().unwrap(),
            image.unwrap()
        )
    });
    let maps = set
        .companions
        .config_maps
        .iter()
        .map(|map| map.metadata.name.clone().unwrap());
    pods.chain(maps).collect::<Vec<_>>().join(" ")
}

impl Rig {
    async fn next(&mut self) -> Delivery {
        let next = tokio::time::timeout(SECONDS, self.deliveries.recv());
        next.await.expect("a delivery in time").unwrap()
    }
    /// Waits for the set that is shown so.
    async fn until(&mut self, want: &str) -> Set {
        loop {
            match self.next().await {
                Delivery::Set(set) if shown(&set) == want => return set,
                other => println!("on the way to {want:?}: {other:?}"),
            }
        }
    }
    async fn failure(&mut self) -> String {
        loop {
            if let Delivery::Failed(failed) = self.next().await {
                return failed.problem.message;
            }
        }
    }
}

#[tokio::test]
async fn pods_are_listed_and_watched_with_what_they_refer_to() {
    let server = Server::start().await;
    server.pod("ADDED", pod("a", "i:1"));
    let url = server.url.clone();
    let mut rig = rig(server, vec![url]).await;
    let set = rig.until("a=i:1").await;
    assert_eq!(set.pods[0].pod.metadata.uid.as_deref(), Some("uid-a"));
    assert_eq!(set.services.len(), 1);
    rig.server.pod("MODIFIED", pod("a", "i:2"));
    rig.until("a=i:2").await;
    rig.server.object("/api/v1/namespaces/default/configmaps/m", json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": "default"}}));
    let mut needy = pod("b", "i");
    needy["spec"]["volumes"] = json!([{"name": "v", "configMap": {"name": "m"}}]);
    rig.server.pod("ADDED", needy);
    rig.until("a=i:2 b=i m").await;
    rig.server.pod("DELETED", pod("a", "i:2"));
    rig.until("b=i m").await;
}

#[tokio::test]
async fn it_goes_on_after_the_server_was_away_or_has_forgotten() {
    let server = Server::start().await;
    server.pod("ADDED", pod("a", "i"));
    // The first of the two is nobody.
    let servers = vec!["http://127.0.0.1:1".to_owned(), server.url.clone()];
    let mut rig = rig(server, servers).await;
    rig.until("a=i").await;
    rig.server.world(|world| world.broken = true);
    let failure = rig.failure().await;
    assert!(
        failure.contains("500") && failure.contains("out of order"),
        "{failure}"
    );
    rig.server.pod("ADDED", pod("b", "i"));
    rig.server.pod("DELETED", pod("a", "i"));
    rig.server.world(|world| {
        world.oldest = world.version;
        world.history.clear();
        world.broken = false;
    });
    rig.until("b=i").await;
}

fn stored(name: &str, phase: Phase) -> StoredPod {
    let mut value = pod(name, "i");
    value["apiVersion"] = json!("v1");
    let mut record = PodRecord::new(serde_json::from_value(value).unwrap(), Timestamp::now());
    record.origin = Origin {
        source: SourceKind::Api,
        place: "p".to_owned(),
    };
    let mut state = PodState::new(&record, "");
    state.phase = phase;
    StoredPod {
        record: Arc::new(record),
        state,
    }
}

#[tokio::test]
async fn the_server_is_told_of_pods_the_node_and_events() {
    let server = Server::start().await;
    server.pod("ADDED", pod("a", "i"));
    let url = server.url.clone();
    let mut rig = rig(server, vec![url]).await;
    rig.until("a=i").await;
    let node = rig.server.told("POST", "/api/v1/nodes", |_| true).await;
    assert_eq!(node["metadata"]["name"], "n1");
    assert_eq!(node["status"]["capacity"]["cpu"], "2");
    let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    let lease = rig.server.told("POST", leases, |_| true).await;
    assert_eq!(lease["spec"]["holderIdentity"], "n1");
    rig.events
        .append(crate::events::NodeEvent::node("Rebooted", "it was"));
    let event = rig
        .server
        .told("POST", "/api/v1/namespaces/default/events", |_| true)
        .await;
    assert_eq!(
        (&event["reason"], &event["involvedObject"]["kind"]),
        (&json!("Rebooted"), &json!("Node"))
    );

    rig.registry.put(stored("a", Phase::Running));
    let path = "/api/v1/namespaces/default/pods/a";
    let status = format!("{path}/status");
    let patch = rig
        .server
        .told("PATCH", &status, |body| {
            body["status"]["phase"] == "Running"
        })
        .await;
    assert_eq!(patch["metadata"]["uid"], "uid-a");
    // It is to go, and is buried when it has ended.
    let mut going = pod("a", "i");
    going["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    rig.server.pod("MODIFIED", going);
    rig.until("").await;
    assert!(
        rig.server
            .world(|world| world.told.iter().all(|(method, _, _)| method != "DELETE"))
    );
    rig.registry.put(stored("a", Phase::Succeeded));
    let options = rig.server.told("DELETE", path, |_| true).await;
    assert_eq!(options["preconditions"]["uid"], "uid-a");
    assert_eq!(options["gracePeriodSeconds"], 0);
}

#[test]
fn a_kubeconfig_says_where_and_who() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config");
    let write = |text: &str| std::fs::write(&file, text).unwrap();
    write(
        "apiVersion: v1\nkind: Config\ncurrent-context: c\n\
         clusters: [{name: k, cluster: {server: 'https://m:6443', certificate-authority: ca.crt}}]\n\
         contexts: [{name: c, context: {cluster: k, user: u}}]\n\
         users: [{name: u, user: {client-certificate-data: aGVsbG8=, token: t}}]\n",
    );
    let settings = kubeconfig(&file).unwrap();
    assert_eq!(settings.servers, ["https://m:6443"]);
    assert_eq!(settings.tls.ca, Some(dir.path().join("ca.crt")));
    assert_eq!(settings.tls.inline.cert.as_deref(), Some(&b"hello"[..]));
    assert_eq!(settings.token.as_deref(), Some("t"));
    for (text, says) in [
        ("{}", "no context named"),
        ("current-context: [", "config"),
        (
            "{current-context: c, contexts: [{name: c, context: {cluster: k}}]}",
            "no cluster named \"k\"",
        ),
    ] {
        write(text);
        let err = kubeconfig(&file).unwrap_err();
        assert!(err.to_string().contains(says), "{err}");
    }
}

const TOKEN: &str = "/api/v1/namespaces/default/serviceaccounts/robot/token";

fn with_token(audience: &str) -> Value {
    let mut pod = pod("a", "i");
    pod["spec"]["serviceAccountName"] = json!("robot");
    pod["spec"]["volumes"] = json!([{"name": "v", "projected": {"sources": [
        {"serviceAccountToken": {"path": "token", "expirationSeconds": 3600, "audience": audience}}]}}]);
    pod
}

#[tokio::test]
async fn tokens_are_asked_for_and_come_with_the_pod() {
    let server = Server::start().await;
    server.pod("ADDED", with_token("vault"));
    let url = server.url.clone();
    let mut rig = rig(server, vec![url]).await;
    let set = rig.until("a=i").await;
    let tokens = set.companions.tokens_of(&set.pods[0].pod);
    let (wish, token) = tokens.first_key_value().unwrap();
    assert_eq!(wish, "3600 vault");
    assert!(token.starts_with("token-"), "{token}");
    let asked = rig.server.told("POST", TOKEN, |_| true).await;
    assert_eq!(asked["spec"]["audiences"], json!(["vault"]));
    assert_eq!(asked["spec"]["boundObjectRef"]["uid"], "uid-a");
    // What is held is not asked for again.
    rig.server.pod("MODIFIED", pod("b", "i"));
    let set = rig.until("a=i b=i").await;
    assert_eq!(set.companions.tokens_of(&set.pods[0].pod), tokens);
}

#[tokio::test]
async fn a_token_is_renewed_before_it_ends() {
    let server = Server::start().await;
    server.pod("ADDED", with_token("short"));
    let url = server.url.clone();
    let mut rig = rig(server, vec![url]).await;
    let set = rig.until("a=i").await;
    let first = set.companions.tokens_of(&set.pods[0].pod);
    let set = rig.until("a=i").await;
    assert_ne!(set.companions.tokens_of(&set.pods[0].pod), first);
}

#[tokio::test]
async fn the_server_hears_why_a_pod_does_not_run() {
    let server = Server::start().await;
    server.pod("ADDED", pod("a", "i"));
    let url = server.url.clone();
    let mut rig = rig(server, vec![url]).await;
    rig.until("a=i").await;
    let place = crate::pods::BadPlace {
        source: SourceKind::Api,
        place: "/registry/pods/default/a".to_owned(),
        message: "spec.x: not supported".to_owned(),
    };
    let listing = crate::pods::Listing {
        places: vec![place],
        ..Default::default()
    };
    rig.problems.set(listing, &rig.events);
    let status = "/api/v1/namespaces/default/pods/a/status";
    let told = rig.server.told("PATCH", status, |_| true).await;
    assert_eq!(
        told["status"],
        json!({"phase": "Pending", "reason": "BadManifest", "message": "spec.x: not supported"})
    );
    let events = "/api/v1/namespaces/default/events";
    let bad = |event: &Value| event["reason"] == "BadManifest";
    let event = rig.server.told("POST", events, bad).await;
    assert_eq!(event["involvedObject"]["uid"], "uid-a");
    // Once it can be, nothing is left of the excuse.
    let mut record = PodRecord::new(
        serde_json::from_value(pod("a", "i")).unwrap(),
        Timestamp::UNIX_EPOCH,
    );
    record.origin = Origin {
        source: SourceKind::Api,
        place: String::new(),
    };
    let state = PodState::new(&record, "boot");
    rig.registry.put(StoredPod {
        record: Arc::new(record),
        state,
    });
    let runs = |body: &Value| body["status"].get("conditions").is_some();
    let told = rig.server.told("PATCH", status, runs).await;
    assert_eq!(told["status"]["reason"], Value::Null);
    assert!(told["status"].as_object().unwrap().contains_key("reason"));
}
