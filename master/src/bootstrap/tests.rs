//! A cluster's first objects and a namespace's last, on a real store.
use super::first::call;
use super::*;
use crate::call::{Call, Verb};
use crate::resource;
use serde_json::{Value, json};

struct Cluster {
    registry: Arc<Registry>,
    settings: Bootstrap,
    _directory: tempfile::TempDir,
}

fn cluster() -> Cluster {
    let directory = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(crate::store::embedded::open(directory.path()).unwrap());
    let settings = Bootstrap {
        ca: "the CA".to_owned(),
        service_net: Net::DEFAULT,
        address: [10, 1, 2, 3].into(),
        port: 6443,
        shared: false,
    };
    let plugins = crate::admission::plugins(&settings.ca);
    let registry = Arc::new(Registry::new(store, resource::all(), plugins));
    Cluster {
        registry,
        settings,
        _directory: directory,
    }
}

impl Cluster {
    async fn find(&self, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        self.registry
            .find(&call("", plural, namespace, name))
            .await
            .unwrap()
    }
    async fn create(
        &self,
        plural: &str,
        namespace: &str,
        object: Value,
    ) -> Result<Value, ApiError> {
        let call = Call {
            verb: Verb::Create,
            ..call("", plural, namespace, "")
        };
        self.registry.create(&call, object.into()).await?.value()
    }
    async fn delete(&self, plural: &str, namespace: &str, name: &str) -> Value {
        let call = Call {
            verb: Verb::Delete,
            ..call("", plural, namespace, name)
        };
        self.registry
            .delete(&call, None)
            .await
            .unwrap()
            .value()
            .unwrap()
    }
    async fn update(&self, plural: &str, object: Value) -> Result<Value, ApiError> {
        let (home, name) = (crate::meta::namespace(&object), crate::meta::name(&object));
        let call = Call {
            verb: Verb::Update,
            ..call("", plural, home, name)
        };
        self.registry.update(&call, object.into()).await?.value()
    }
    /// Runs the task until this is so.
    async fn until<F: Future<Output = bool>>(&self, what: impl Fn() -> F) {
        let stop = CancellationToken::new();
        let task = tokio::spawn(run(
            self.registry.clone(),
            self.settings.clone(),
            stop.clone(),
        ));
        let seen = tokio::time::timeout(Duration::from_secs(20), async {
            let mut tick = tokio::time::interval(Duration::from_millis(10));
            while !what().await {
                tick.tick().await;
            }
        });
        assert!(seen.await.is_ok(), "it did not come about");
        stop.cancel();
        task.await.unwrap();
    }
}

#[expect(clippy::needless_pass_by_value, reason = "tests write it in place")]
fn service(name: &str, spec: Value) -> Value {
    json!({"metadata": {"name": name}, "spec": spec})
}

#[tokio::test]
async fn first_objects() {
    let cluster = cluster();
    for _ in 0..2 {
        ensure(&cluster.registry, &cluster.settings).await.unwrap();
    }
    for namespace in first::NAMESPACES {
        let home = cluster.find("namespaces", "", namespace).await.unwrap();
        assert_eq!(home["status"]["phase"], "Active");
        assert_eq!(
            home["metadata"]["labels"]["kubernetes.io/metadata.name"],
            *namespace
        );
        let account = cluster
            .find("serviceaccounts", namespace, "default")
            .await
            .unwrap();
        assert_eq!(account["metadata"]["namespace"], *namespace);
        let root = cluster
            .find("configmaps", namespace, "kube-root-ca.crt")
            .await
            .unwrap();
        assert_eq!(root["data"]["ca.crt"], "the CA");
    }
    let kubernetes = cluster
        .find("services", "default", "kubernetes")
        .await
        .unwrap();
    assert_eq!(kubernetes["spec"]["clusterIP"], "10.0.0.1");
    let endpoints = cluster
        .find("endpoints", "default", "kubernetes")
        .await
        .unwrap();
    assert_eq!(endpoints["subsets"][0]["addresses"][0]["ip"], "10.1.2.3");
}

#[tokio::test]
async fn what_a_namespace_has_comes_back() {
    let cluster = cluster();
    ensure(&cluster.registry, &cluster.settings).await.unwrap();
    cluster
        .delete("serviceaccounts", "default", "default")
        .await;
    cluster
        .delete("configmaps", "default", "kube-root-ca.crt")
        .await;
    let back = || async {
        cluster
            .find("serviceaccounts", "default", "default")
            .await
            .is_some()
            && cluster
                .find("configmaps", "default", "kube-root-ca.crt")
                .await
                .is_some()
    };
    cluster.until(back).await;
}

#[tokio::test]
async fn the_end_of_a_namespace() {
    let cluster = cluster();
    ensure(&cluster.registry, &cluster.settings).await.unwrap();
    cluster
        .create("namespaces", "", json!({"metadata": {"name": "x"}}))
        .await
        .unwrap();
    let held = json!({"metadata": {"name": "held", "finalizers": ["example.com/hold"]}});
    cluster.create("configmaps", "x", held).await.unwrap();
    cluster
        .create("configmaps", "x", json!({"metadata": {"name": "a"}}))
        .await
        .unwrap();
    let port = json!({"type": "NodePort", "ports": [{"port": 80}]});
    cluster
        .create("services", "x", service("s", port))
        .await
        .unwrap();
    let going = cluster.delete("namespaces", "", "x").await;
    assert_eq!(going["status"]["phase"], "Terminating");

    let refused = cluster
        .create("configmaps", "x", json!({"metadata": {"name": "late"}}))
        .await;
    let refused = refused.unwrap_err();
    assert_eq!((refused.code.as_u16(), refused.reason), (403, "Forbidden"));
    assert_eq!(
        refused.details.unwrap()["causes"][0]["reason"],
        "NamespaceTerminating"
    );

    let told = || async {
        let namespace = cluster.find("namespaces", "", "x").await.unwrap();
        let conditions = namespace["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        conditions.iter().any(|one| {
            one["message"]
                .as_str()
                .unwrap()
                .contains("example.com/hold")
        })
    };
    cluster.until(told).await;
    assert!(cluster.find("configmaps", "x", "a").await.is_none());
    let mut held = cluster.find("configmaps", "x", "held").await.unwrap();
    held["metadata"]["finalizers"] = json!([]);
    cluster.update("configmaps", held).await.unwrap();
    cluster
        .until(|| async { cluster.find("namespaces", "", "x").await.is_none() })
        .await;
    let all = crate::store::Range {
        prefix: "/registry/ranges/servicenodeports/".to_owned(),
        ..Default::default()
    };
    assert!(
        cluster
            .registry
            .store()
            .list(&all)
            .await
            .unwrap()
            .entries
            .is_empty()
    );
}

#[tokio::test]
async fn namespaces_that_stay_and_that_are_not_there() {
    let cluster = cluster();
    ensure(&cluster.registry, &cluster.settings).await.unwrap();
    let call = Call {
        verb: Verb::Delete,
        ..call("", "namespaces", "", "default")
    };
    let refused = cluster.registry.delete(&call, None).await.unwrap_err();
    assert_eq!(refused.code.as_u16(), 403);
    let missing = cluster
        .create("pods", "nowhere", json!({"metadata": {"name": "p"}}))
        .await;
    assert_eq!(
        missing.unwrap_err().message,
        "namespaces \"nowhere\" not found"
    );
}

#[tokio::test]
async fn pods_get_what_they_need() {
    let cluster = cluster();
    ensure(&cluster.registry, &cluster.settings).await.unwrap();
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "demo/httpd"}]}});
    let pod = cluster.create("pods", "default", pod).await.unwrap();
    let spec = &pod["spec"];
    assert_eq!(spec["serviceAccountName"], "default");
    assert_eq!(spec["serviceAccount"], "default");
    assert_eq!(spec["priority"], 0);
    assert_eq!(spec["tolerations"].as_array().unwrap().len(), 2);
    assert_eq!(spec["containers"][0]["imagePullPolicy"], "Always");
    assert_eq!(spec["volumes"][0]["projected"]["defaultMode"], 420);
    assert_eq!(pod["status"]["phase"], "Pending");
    assert_eq!(pod["status"]["qosClass"], "BestEffort");
    let nobody = json!({"metadata": {"name": "q"}, "spec": {"serviceAccountName": "nobody",
        "containers": [{"name": "c", "image": "demo/httpd"}]}});
    let refused = cluster.create("pods", "default", nobody).await.unwrap_err();
    assert!(
        refused
            .message
            .contains("serviceaccount \"nobody\" not found"),
        "{refused}"
    );
}

#[tokio::test]
async fn addresses_of_services() {
    let cluster = cluster();
    ensure(&cluster.registry, &cluster.settings).await.unwrap();
    let port = json!([{"port": 80}]);
    let wanted = json!({"clusterIP": "10.0.0.9", "type": "NodePort", "ports": [{"port": 80, "nodePort": 30080}]});
    let first = cluster
        .create("services", "default", service("a", wanted.clone()))
        .await
        .unwrap();
    assert_eq!(first["spec"]["clusterIPs"], json!(["10.0.0.9"]));
    let refused = cluster
        .create("services", "default", service("b", wanted))
        .await
        .unwrap_err();
    assert_eq!(refused.code.as_u16(), 422);
    assert!(
        refused.message.contains("provided IP is already allocated"),
        "{refused}"
    );
    assert!(refused.message.contains(
        "spec.ports[0].nodePort: Invalid value: 30080: provided port is already allocated"
    ));

    let second = cluster
        .create("services", "default", service("b", json!({"ports": port})))
        .await
        .unwrap();
    assert_eq!(second["spec"]["type"], "ClusterIP");
    let net = cluster.settings.service_net;
    let address = second["spec"]["clusterIP"].as_str().unwrap();
    assert!(
        net.contains(address.parse().unwrap()) && address != "10.0.0.9",
        "{address}"
    );

    // An update that says nothing of it keeps it; one that wants another is refused.
    let mut silent = service("b", json!({"ports": port}));
    silent["metadata"]["namespace"] = "default".into();
    let kept = cluster.update("services", silent).await.unwrap();
    assert_eq!(kept["spec"]["clusterIP"], address);
    let mut other = kept.clone();
    other["spec"]["clusterIP"] = "10.0.0.77".into();
    let refused = cluster.update("services", other).await.unwrap_err();
    assert!(
        refused.message.contains("may not change once set"),
        "{refused}"
    );

    cluster.delete("services", "default", "a").await;
    let again = json!({"clusterIP": "10.0.0.9", "ports": port});
    cluster
        .create("services", "default", service("c", again))
        .await
        .unwrap();
}

#[tokio::test]
async fn no_two_services_have_one_address() {
    let cluster = cluster();
    ensure(&cluster.registry, &cluster.settings).await.unwrap();
    let made = (0..60).map(|number| {
        let spec = json!({"type": "NodePort", "ports": [{"name": "a", "port": 80}, {"name": "b", "port": 81}]});
        let (cluster, name) = (&cluster, format!("s{number}"));
        async move { cluster.create("services", "default", service(&name, spec)).await.unwrap() }
    });
    let all = futures::future::join_all(made).await;
    let addresses: std::collections::BTreeSet<_> = all
        .iter()
        .map(|one| one["spec"]["clusterIP"].to_string())
        .collect();
    let ports = all
        .iter()
        .flat_map(|one| one["spec"]["ports"].as_array().unwrap());
    let ports: std::collections::BTreeSet<_> =
        ports.map(|one| one["nodePort"].as_i64().unwrap()).collect();
    assert_eq!((addresses.len(), ports.len()), (60, 120));
}

#[tokio::test]
async fn masters_that_share_a_store_tell_of_each_other() {
    let mut first = cluster();
    first.settings.shared = true;
    let second = Bootstrap {
        address: [10, 1, 2, 4].into(),
        ..first.settings.clone()
    };
    let stop = CancellationToken::new();
    let other = tokio::spawn(run(first.registry.clone(), second, stop.clone()));
    let told = |want: &'static [&'static str]| {
        let first = &first;
        move || async move {
            let Some(endpoints) = first.find("endpoints", "default", "kubernetes").await else {
                return false;
            };
            let addresses = endpoints["subsets"][0]["addresses"].as_array().unwrap();
            let slices = call(
                "discovery.k8s.io",
                "endpointslices",
                "default",
                "kubernetes",
            );
            let slice = first.registry.find(&slices).await.unwrap();
            let slice = slice.unwrap_or_default()["endpoints"].clone();
            addresses.iter().map(|one| &one["ip"]).eq(want)
                && slice
                    .as_array()
                    .is_some_and(|all| all.iter().map(|one| &one["addresses"][0]).eq(want))
        }
    };
    first.until(told(&["10.1.2.3", "10.1.2.4"])).await;
    // One that ends in order is missed at once.
    stop.cancel();
    other.await.unwrap();
    first.until(told(&["10.1.2.3"])).await;
}
