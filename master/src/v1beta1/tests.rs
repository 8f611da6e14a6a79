//! The raw forms of 2014 against a registry on a store of its own.
use super::*;
use crate::resource;
use http_body_util::BodyExt;

/// Lets everybody do everything.
struct Open;

#[async_trait]
impl House for Open {
    async fn allowed(&self, _call: &Call) -> Result<(), ApiError> {
        Ok(())
    }
    async fn connect(
        &self,
        call: &Call,
        _request: Request<Body>,
    ) -> Result<Response<Body>, ApiError> {
        let said = format!("{} {} {}", call.resource, call.name, call.rest);
        Ok(answer::text(StatusCode::OK, said))
    }
}

struct Server {
    edge: Edge,
    _dir: tempfile::TempDir,
}

impl Server {
    async fn start() -> Server {
        let dir = tempfile::tempdir().unwrap();
        let store: Arc<dyn crate::store::Store> =
            Arc::new(crate::store::embedded::open(dir.path()).unwrap());
        let all = resource::all();
        let caches = Caches::start(store.clone(), &all).await.unwrap();
        let registry = Arc::new(Registry::new(store, all, Vec::new()));
        let edge = Edge::new(registry, caches, "/api");
        Server { edge, _dir: dir }
    }
    async fn raw(&self, method: &str, target: &str, body: &str) -> Response<Body> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut pairs: Vec<(String, String)> = query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.replace("%3D", "=")))
            .collect();
        pairs.push(("sync".to_owned(), "true".to_owned()));
        let (version, rest) = path.split_once('/').unwrap();
        let request = Request::builder()
            .method(method)
            .uri(format!("/api/{target}"))
            .body(Body::from(body.to_owned()))
            .unwrap();
        let version = Version::parse(version).unwrap();
        self.edge
            .serve(&Open, (version, rest), request, &pairs, User::master())
            .await
    }
    async fn ask(&self, method: &str, target: &str, body: &str) -> (u16, Value) {
        let response = self.raw(method, target, body).await;
        let code = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let text = || Value::from(String::from_utf8_lossy(&body).into_owned());
        (
            code,
            serde_json::from_slice(&body).unwrap_or_else(|_| text()),
        )
    }
}

const POD: &str = r#"{kind: Pod, id: Apache-Node, apiVersion: v1beta1, labels: {name: web},
  desiredState: {manifest: {version: v1beta1, id: x, containers: [
    {name: httpd, image: demo/httpd, ports: [{containerPort: 80, hostPort: 8080,}], env: [{key: A, value: b}]},]}}}"#;

#[tokio::test]
async fn a_pod_lives() {
    let server = Server::start().await;
    let (code, made) = server
        .ask("POST", "v1beta1/pods?namespace=other", POD)
        .await;
    assert_eq!(code, 200, "{made}");
    assert_eq!(made["kind"], "Pod");
    assert_eq!(made["id"], "Apache-Node");
    assert_eq!(made["namespace"], "other");
    assert_eq!(made["selfLink"], "/api/v1beta1/pods/Apache-Node");
    assert_eq!(made["currentState"]["status"], "Waiting");
    assert_eq!(
        made["desiredState"]["manifest"]["restartPolicy"],
        json!({"always": {}})
    );
    assert!(made["resourceVersion"].is_u64());
    let (code, again) = server
        .ask("POST", "v1beta1/pods?namespace=other", POD)
        .await;
    assert_eq!((code, &again["reason"]), (409, &json!("AlreadyExists")));
    assert_eq!(again["message"], "pod \"Apache-Node\" already exists");
    let (code, _) = server.ask("GET", "v1beta1/pods/Apache-Node", "").await;
    assert_eq!(code, 404);
    let (_, list) = server
        .ask("GET", "v1beta2/pods?labels=name%3Dweb", "")
        .await;
    assert_eq!(list["kind"], "PodList");
    assert!(list["resourceVersion"].is_u64());
    let env = &list["items"][0]["desiredState"]["manifest"]["containers"][0]["env"];
    assert_eq!(*env, json!([{"name": "A", "value": "b"}]));
    let mut changed = made.clone();
    changed["desiredState"]["manifest"]["containers"][0]["image"] = "demo/other".into();
    let path = "v1beta1/pods/Apache-Node?namespace=other";
    let (code, updated) = server.ask("PUT", path, &changed.to_string()).await;
    assert_eq!(code, 200, "{updated}");
    let image = &updated["desiredState"]["manifest"]["containers"][0]["image"];
    assert_eq!(image, "demo/other");
    let (code, stale) = server.ask("PUT", path, &changed.to_string()).await;
    assert_eq!(
        (code, &stale["reason"]),
        (409, &json!("Conflict")),
        "{stale}"
    );
    let (code, done) = server.ask("DELETE", path, "").await;
    assert_eq!((code, &done["status"]), (200, &json!("Success")), "{done}");
}

#[tokio::test]
async fn what_is_wrong_is_said_as_in_2014() {
    let server = Server::start().await;
    let (code, status) = server.ask("GET", "v1beta1/pods/nothing", "").await;
    assert_eq!(code, 404);
    let want = json!({"kind": "Status", "apiVersion": "v1beta1", "creationTimestamp": null, "status": "Failure",
        "message": "pod \"nothing\" not found", "reason": "NotFound", "details": {"id": "nothing", "kind": "pod"}, "code": 404});
    assert_eq!(status, want);
    let cases = [
        ("POST", "v1beta1/pods", "", 400),
        ("POST", "v1beta1/pods", "[", 400),
        ("POST", "v1beta1/pods", "{kind: Service}", 400),
        ("POST", "v1beta1/pods", "{apiVersion: v1}", 400),
        ("POST", "v1beta1/pods", "{id: a, namespace: x}", 409),
        ("POST", "v1beta1/pods", "{id: a, resourceVersion: 7}", 400),
        ("POST", "v1beta1/services", "{id: a}", 422),
        ("POST", "v1beta1/replicationControllers", "{id: a}", 422),
        (
            "GET",
            "v1beta1/replicationControllers?fields=a%3Db",
            "",
            400,
        ),
        ("DELETE", "v1beta1/endpoints/a", "", 400),
        ("PATCH", "v1beta1/pods/a", "{}", 405),
        ("GET", "v1beta1/things", "", 404),
        ("GET", "v1beta1/operations/7", "", 404),
        ("GET", "v1beta1/redirect/services/a", "", 404),
    ];
    for (method, target, body, want) in cases {
        let (code, answer) = server.ask(method, target, body).await;
        assert_eq!(code, want, "{method} {target} {body}: {answer}");
    }
}

#[tokio::test]
async fn minions_bindings_and_proxies() {
    let server = Server::start().await;
    let body = r#"{"kind":"Minion","id":"127.0.0.1","resources":{"capacity":{"cpu":1000,"memory":3221225472}}}"#;
    let (code, made) = server.ask("POST", "v1beta1/minions", body).await;
    assert_eq!(code, 200, "{made}");
    assert_eq!(
        made["resources"]["capacity"],
        json!({"cpu": 1000, "memory": 3_221_225_472_u64})
    );
    let (_, list) = server.ask("GET", "v1beta1/minions", "").await;
    assert_eq!(list["minions"], list["items"]);
    let (_, list) = server.ask("GET", "v1beta2/minions", "").await;
    assert_eq!(list.get("minions"), None);
    let pod = "{id: web, desiredState: {manifest: {version: v1beta2, containers: [{name: a, image: i}]}}}";
    assert_eq!(server.ask("POST", "v1beta1/pods", pod).await.0, 200);
    let binding = "{podID: web, host: 127.0.0.1}";
    let (code, bound) = server.ask("POST", "v1beta1/bindings", binding).await;
    assert_eq!(code, 200, "{bound}");
    let (_, pod) = server.ask("GET", "v1beta1/pods/web", "").await;
    assert_eq!(pod["desiredState"]["host"], "127.0.0.1");
    assert_eq!(pod["currentState"]["host"], "127.0.0.1");
    let (_, said) = server
        .ask("GET", "v1beta1/proxy/minions/127.0.0.1/a//b", "")
        .await;
    assert_eq!(said, "nodes 127.0.0.1 a//b");
    let redirect = server
        .raw("GET", "v1beta1/redirect/minions/127.0.0.1", "")
        .await;
    assert_eq!(redirect.status(), StatusCode::TEMPORARY_REDIRECT);
    assert_eq!(redirect.headers()["location"], "http://127.0.0.1:10250");
    let parts = server.edge.validate().await;
    assert_eq!(parts[0]["health"], "healthy");
}

#[tokio::test]
async fn changes_as_they_come() {
    let server = Server::start().await;
    let watch = server.raw("GET", "v1beta1/watch/pods", "").await;
    assert_eq!(watch.status(), StatusCode::OK);
    let pod = "{id: web, desiredState: {manifest: {version: v1beta2, containers: [{name: a, image: i}]}}}";
    assert_eq!(server.ask("POST", "v1beta1/pods", pod).await.0, 200);
    let mut body = watch.into_body();
    let frame = tokio::time::timeout(std::time::Duration::from_secs(20), body.frame()).await;
    let line = frame.unwrap().unwrap().unwrap().into_data().unwrap();
    assert!(line.ends_with(b"\n"));
    let event: Value = serde_json::from_slice(&line).unwrap();
    assert_eq!(event["type"], "ADDED");
    assert_eq!(event["object"]["kind"], "Pod");
    assert_eq!(event["object"]["id"], "web");
}
