//! Paths, good and tricky.
use super::*;

#[track_caller]
fn target(path: &str) -> Target {
    match route(path, "/api") {
        Ok(Route::Resource(target)) => *target,
        other => panic!("{path}: {other:?}"),
    }
}

/// Group, version, namespace, resource, name, subresource, rest.
#[track_caller]
fn check(path: &str, expected: [&str; 7]) {
    let found = target(path);
    let found = [
        &found.group,
        &found.version,
        &found.namespace,
        &found.resource,
        &found.name,
        &found.subresource,
        &found.rest,
    ];
    assert_eq!(found, expected, "{path}");
}

#[test]
fn resources() {
    check("/api/v1/pods", ["", "v1", "", "pods", "", "", ""]);
    check("/api/v1/pods/", ["", "v1", "", "pods", "", "", ""]);
    check("/api/v1/nodes/n1", ["", "v1", "", "nodes", "n1", "", ""]);
    check(
        "/api/v1/nodes/n1/status",
        ["", "v1", "", "nodes", "n1", "status", ""],
    );
    check(
        "/api/v1/namespaces",
        ["", "v1", "", "namespaces", "", "", ""],
    );
    check(
        "/api/v1/namespaces/a",
        ["", "v1", "", "namespaces", "a", "", ""],
    );
    check(
        "/api/v1/namespaces/a/status",
        ["", "v1", "", "namespaces", "a", "status", ""],
    );
    check(
        "/api/v1/namespaces/a/finalize",
        ["", "v1", "", "namespaces", "a", "finalize", ""],
    );
    check(
        "/api/v1/namespaces/a/pods",
        ["", "v1", "a", "pods", "", "", ""],
    );
    check(
        "/api/v1/namespaces/a/pods/web",
        ["", "v1", "a", "pods", "web", "", ""],
    );
    check(
        "/api/v1/namespaces/a/pods/web/log",
        ["", "v1", "a", "pods", "web", "log", ""],
    );
    check(
        "/apis/discovery.k8s.io/v1/namespaces/a/endpointslices/x",
        ["discovery.k8s.io", "v1", "a", "endpointslices", "x", "", ""],
    );
    check(
        "/api/v1/namespaces/a/services/https:web:80/proxy/x/y%20z//",
        [
            "",
            "v1",
            "a",
            "services",
            "https:web:80",
            "proxy",
            "x/y z//",
        ],
    );
    check(
        "/api/v1/namespaces/a/pods/web/proxy",
        ["", "v1", "a", "pods", "web", "proxy", ""],
    );
    check(
        "/api/v1/namespaces/proxy/pods/proxy",
        ["", "v1", "proxy", "pods", "proxy", "", ""],
    );
    check(
        "/api/v1/nodes/n1/proxy/../logs",
        ["", "v1", "", "nodes", "n1", "proxy", "../logs"],
    );
    assert!(target("/api/v1/watch/pods").watch);
    check(
        "/api/v1/watch/namespaces/a/pods/web",
        ["", "v1", "a", "pods", "web", "", ""],
    );
}

#[test]
fn what_names_nothing() {
    for path in [
        "/api/v1//pods",
        "/api/v1/pods/..",
        "/api/v1/pods/.",
        "/api/v1/pods/%2e%2e/x",
        "/api/v1/pods/a%2fb",
        "/api/v1/pods/a%00",
        "/api/v1/pods/a%",
        "/api/v1/pods/a%zz",
        "/api/v1/pods/a%+1",
        "/api/v1/pods/%ff",
        "/api/v1/pods/a%25",
        "/api/v1/pods/a\\b",
        "/apis//v1/pods",
        "/healthz/../api",
        "/a//b",
    ] {
        assert!(
            matches!(route(path, "/api"), Err(PathError::Tricks)),
            "{path}: {:?}",
            route(path, "/api")
        );
    }
    for path in [
        "/api/v1/nodes/a/b/c",
        "/api/v1/namespaces/a/pods/b/c/d",
        "/api/v1/watch",
    ] {
        assert_eq!(route(path, "/api"), Err(PathError::Nothing), "{path}");
    }
    let long = format!("/api/v1/pods/{}", "a".repeat(LONGEST));
    assert_eq!(route(&long, "/api"), Err(PathError::TooLong));
}

#[test]
fn pages_and_2014() {
    for path in [
        "/",
        "/healthz",
        "/api",
        "/apis",
        "/api/v1",
        "/apis/apps/v1",
        "/apis/apps",
        "/version",
        "/readyz/etcd",
    ] {
        assert_eq!(route(path, "/api"), Ok(Route::Page(path.to_owned())));
    }
    for (path, version, rest) in [
        ("/api/v1beta1/pods/x", "v1beta1", "pods/x"),
        ("/api/v1beta2", "v1beta2", ""),
        (
            "/api/v1beta1/proxy/minions/a/b//c",
            "v1beta1",
            "proxy/minions/a/b//c",
        ),
    ] {
        let rest = rest.to_owned();
        assert_eq!(route(path, "/api"), Ok(Route::Old { version, rest }));
    }
    assert!(matches!(
        route("/old/v1beta1/pods", "/old"),
        Ok(Route::Old { .. })
    ));
}

#[track_caller]
fn verb(method: &Method, path: &str, query: &str, expected: Option<Verb>) {
    let uri: Uri = format!("{path}?{query}").parse().unwrap();
    let query = super::query(&uri).unwrap();
    let made = call(
        target(path),
        method,
        query,
        &HeaderMap::new(),
        User::default(),
    );
    assert_eq!(made.map(|call| call.verb), expected, "{method} {uri}");
}

#[test]
fn verbs() {
    let (pods, pod) = ("/api/v1/namespaces/a/pods", "/api/v1/namespaces/a/pods/x");
    verb(&Method::GET, pods, "", Some(Verb::List));
    verb(&Method::HEAD, pod, "", Some(Verb::Get));
    verb(&Method::GET, pods, "watch=true", Some(Verb::Watch));
    verb(&Method::GET, pods, "watch=1&limit=5", Some(Verb::Watch));
    verb(&Method::GET, pods, "watch", Some(Verb::Watch));
    verb(&Method::GET, pods, "watch=0", Some(Verb::List));
    verb(&Method::GET, pod, "watch=true", Some(Verb::Get));
    verb(&Method::GET, "/api/v1/watch/pods", "", Some(Verb::Watch));
    verb(&Method::POST, pods, "", Some(Verb::Create));
    verb(&Method::PUT, pod, "", Some(Verb::Update));
    verb(&Method::PATCH, pod, "", Some(Verb::Patch));
    verb(&Method::DELETE, pod, "", Some(Verb::Delete));
    verb(&Method::DELETE, pods, "", Some(Verb::DeleteCollection));
    verb(&Method::TRACE, pods, "", None);
}

#[test]
fn queries_are_decoded_in_order() {
    let uri: Uri = "/x?labelSelector=a%3Db%2Cc+in+(d)&a=&b&&a=2"
        .parse()
        .unwrap();
    let pairs = query(&uri).unwrap();
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(key, value)| (&key[..], &value[..]))
        .collect();
    assert_eq!(
        pairs,
        [
            ("labelSelector", "a=b,c in (d)"),
            ("a", ""),
            ("b", ""),
            ("a", "2")
        ]
    );
    assert_eq!(query(&"/x?a=%zz".parse().unwrap()), None);
}

proptest::proptest! {
    #[test]
    fn no_path_is_a_panic(path in "(/api/v1|/apis/a/b)?(/[a-z.%/0-9é]{0,6}){0,6}") {
        if let Ok(Route::Resource(target)) = route(&path, "/api") {
            for part in [target.name, target.namespace, target.resource, target.subresource] {
                proptest::prop_assert!(!part.contains('/') && part != ".." && part != ".");
            }
        }
    }
}
