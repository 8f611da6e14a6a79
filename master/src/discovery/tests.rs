//! Discovery as clients of both kinds ask for it.
use super::Discovery;
use crate::resource;
use http::{HeaderMap, Response, StatusCode};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

const TODAY: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
const BEFORE: &str =
    "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";

fn ask(path: &str, accept: &str, etag: &str) -> Option<Response<axum::body::Body>> {
    let discovery = Discovery::new(&resource::all());
    let mut headers = HeaderMap::new();
    headers.insert("accept", accept.parse().unwrap());
    if !etag.is_empty() {
        headers.insert("if-none-match", etag.parse().unwrap());
    }
    discovery.answer(path, &headers)
}

async fn json(response: Response<axum::body::Body>) -> Value {
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    serde_json::from_slice(&bytes).unwrap()
}

fn named<'v>(list: &'v Value, field: &str, name: &str) -> &'v Value {
    let found = list
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one[field] == name);
    found.unwrap_or_else(|| panic!("no {name} in {list}"))
}

#[tokio::test]
async fn all_groups_at_once() {
    for (accept, version) in [(TODAY, "v2"), (BEFORE, "v2beta1")] {
        let core = ask("/api", accept, "").unwrap();
        let media =
            format!("application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList");
        assert_eq!(core.headers()["content-type"], media);
        assert_eq!(core.headers()["vary"], "Accept");
        let etag = core.headers()["etag"].to_str().unwrap().to_owned();
        let core = json(core).await;
        assert_eq!(core["apiVersion"], format!("apidiscovery.k8s.io/{version}"));
        assert_eq!(core["items"][0]["metadata"]["name"], "");
        let versions = &core["items"][0]["versions"];
        let pods = named(&versions[0]["resources"], "resource", "pods");
        assert_eq!(pods["shortNames"], json!(["po"]));
        assert_eq!(pods["scope"], "Namespaced");
        assert_eq!(
            pods["responseKind"],
            json!({"group": "", "version": "v1", "kind": "Pod"})
        );
        let eviction = named(&pods["subresources"], "subresource", "eviction");
        assert_eq!(
            eviction["responseKind"],
            json!({"group": "policy", "version": "v1", "kind": "Eviction"})
        );
        let again = ask("/api", accept, &etag).unwrap();
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        assert!(
            again
                .into_body()
                .collect()
                .await
                .unwrap()
                .to_bytes()
                .is_empty()
        );
        let other = ask("/apis", accept, &etag).unwrap();
        assert_eq!(other.status(), StatusCode::OK);
        let other = json(other).await;
        assert!(
            other["items"]
                .as_array()
                .unwrap()
                .iter()
                .any(|group| group["metadata"]["name"] == "coordination.k8s.io")
        );
    }
}

#[tokio::test]
async fn group_by_group() {
    let plain = "application/json, */*";
    let core = ask("/api", plain, "").unwrap();
    assert_eq!(core.headers()["content-type"], "application/json");
    assert_eq!(json(core).await["versions"], json!(["v1"]));
    let groups = json(ask("/apis/", plain, "").unwrap()).await;
    let group = named(&groups["groups"], "name", "authorization.k8s.io");
    assert_eq!(
        group["preferredVersion"]["groupVersion"],
        "authorization.k8s.io/v1"
    );
    let group = json(ask("/apis/discovery.k8s.io", plain, "").unwrap()).await;
    assert_eq!(group["kind"], "APIGroup");
    let list = json(ask("/api/v1", TODAY, "").unwrap()).await;
    assert_eq!(list["groupVersion"], "v1");
    let eviction = named(&list["resources"], "name", "pods/eviction");
    assert_eq!(
        (&eviction["kind"], &eviction["group"], &eviction["version"]),
        (&json!("Eviction"), &json!("policy"), &json!("v1"))
    );
    let scale = named(&list["resources"], "name", "replicationcontrollers/scale");
    assert_eq!(
        (&scale["kind"], &scale["group"]),
        (&json!("Scale"), &json!("autoscaling"))
    );
    let list = json(ask("/apis/authentication.k8s.io/v1", plain, "").unwrap()).await;
    assert_eq!(
        named(&list["resources"], "name", "tokenreviews")["verbs"],
        json!(["create"])
    );
    for path in ["/api/v2", "/apis/none", "/apis/apps/v1/x", "/", "/version"] {
        assert!(ask(path, plain, "").is_none(), "{path}");
    }
}

#[test]
fn every_resource_is_listed() {
    let resources = resource::all();
    let discovery = Discovery::new(&resources);
    for resource in &resources {
        let version = crate::cache::api_version(resource.names());
        let root = if version.contains('/') {
            "/apis"
        } else {
            "/api"
        };
        assert!(
            discovery.paths().contains(&format!("{root}/{version}")),
            "{version}"
        );
    }
}
