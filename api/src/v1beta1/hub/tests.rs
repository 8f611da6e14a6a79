//! There and back: by hand for what changes its meaning, by chance for everything else.
use super::*;
use proptest::prelude::*;
use proptest::sample::select;

fn given(kind: Kind, object: &Value) -> Value {
    table::read(kind, Version::V1beta1, object)
}

#[test]
fn a_pod_of_2014() {
    let object = json!({
        "kind": "Pod", "id": "Apache-Node", "apiVersion": "v1beta1", "labels": {"name": "a b"},
        "desiredState": {"host": "elsewhere", "manifest": {"version": "v1beta1", "id": "x", "volumes": [{"name": "v"}],
            "containers": [{"name": "httpd", "image": "demo/httpd", "command": ["echo", "$(X) $$ $"], "cpu": 250, "memory": 64,
                "ports": [{"containerPort": 80, "hostPort": 8080, "name": "a-name-longer-than-fifteen"}],
                "env": [{"name": "A", "value": "$(B)"}], "volumeMounts": [{"name": "v", "path": "/v"}],
                "livenessProbe": {"httpGet": {"port": "8080", "path": "/"}, "initialDelaySeconds": 5}}]}},
    });
    let stored = store(Kind::Pod, &given(Kind::Pod, &object)).unwrap();
    let port = names::port("a-name-longer-than-fifteen");
    let want = json!({
        "containers": [{
            "name": "httpd", "image": "demo/httpd", "imagePullPolicy": "IfNotPresent", "args": ["echo", "$$(X) $$$ $"],
            "resources": {"requests": {"cpu": "250m"}, "limits": {"memory": "64"}},
            "ports": [{"containerPort": 80, "hostPort": 8080, "protocol": "TCP", "name": port}],
            "env": [{"name": "A", "value": "$$(B)"}], "volumeMounts": [{"name": "v", "mountPath": "/v"}],
            "livenessProbe": {"httpGet": {"port": 8080, "path": "/"}, "initialDelaySeconds": 5}}],
        "restartPolicy": "Always", "volumes": [{"name": "v", "emptyDir": {}}],
    });
    assert_eq!(stored["spec"], want);
    assert_eq!(stored["metadata"]["name"], name(Kind::Pod, "Apache-Node"));
    assert_eq!(
        stored["metadata"]["annotations"][names::GIVEN],
        "Apache-Node"
    );
    let shown = shown(Kind::Pod, &stored);
    assert_eq!(shown["id"], "Apache-Node");
    assert_eq!(shown["labels"]["name"], "a b");
    let manifest = &shown["desiredState"]["manifest"];
    assert_eq!(
        manifest["containers"][0]["livenessProbe"]["httpGet"]["port"],
        "8080"
    );
    assert_eq!(manifest["id"], "Apache-Node");
    assert_eq!(shown.get("annotations"), None);
}

#[test]
fn what_v1_alone_can_say_is_not_shown_and_stays() {
    let stored = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web", "labels": {"a": "1"}, "finalizers": ["f"], "annotations": {"k": "v"}, "uid": "u"},
        "spec": {
            "nodeName": "n", "serviceAccountName": "default", "restartPolicy": "Always", "dnsPolicy": "ClusterFirst",
            "volumes": [{"name": "token", "projected": {"sources": []}}],
            "containers": [{
                "name": "c", "image": "i", "imagePullPolicy": "Always", "command": ["sh"], "args": ["$(POD)"],
                "env": [{"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}, {"name": "E", "value": "v"}],
                "resources": {"limits": {"memory": "1Gi", "cpu": "2"}, "requests": {"cpu": "1.5"}},
                "volumeMounts": [{"name": "token", "mountPath": "/t"}], "readinessProbe": {"exec": {"command": ["a"]}},
                "livenessProbe": {"grpc": {"port": 1}},
                "ports": [{"containerPort": 80, "protocol": "TCP"}], "terminationMessagePath": "/dev/termination-log"}]},
        "status": {"phase": "Running"},
    });
    let view = shown(Kind::Pod, &stored);
    let container = json!({"name": "c", "image": "i", "imagePullPolicy": "PullAlways", "command": ["$(POD)"],
        "env": [{"name": "E", "key": "E", "value": "v"}], "cpu": 1500, "memory": 1_073_741_824_u64,
        "ports": [{"containerPort": 80, "protocol": "TCP"}]});
    assert_eq!(
        view["desiredState"]["manifest"]["containers"],
        json!([container])
    );
    assert_eq!(view["desiredState"]["manifest"]["volumes"], Value::Null);
    assert_eq!(update(Kind::Pod, &stored, &view).unwrap(), stored);
    let mut changed = view;
    changed["desiredState"]["manifest"]["containers"][0]["image"] = "j:latest".into();
    changed["labels"] = json!({"b": "2"});
    let updated = update(Kind::Pod, &stored, &changed).unwrap();
    let mut want = stored;
    want["spec"]["containers"][0]["image"] = "j:latest".into();
    want["metadata"]["labels"] = json!({"b": "2"});
    let record = &updated["metadata"]["annotations"][residue::ANNOTATION];
    want["metadata"]["annotations"][residue::ANNOTATION] = record.clone();
    assert_eq!(updated, want);
    assert_eq!(
        own(Kind::Pod, &shown(Kind::Pod, &updated)),
        own(Kind::Pod, &changed)
    );
}

#[test]
fn services() {
    let object = json!({"id": "web", "port": 9000, "selector": {"name": "web"}, "proxyPort": 5});
    let stored = store(Kind::Service, &given(Kind::Service, &object)).unwrap();
    let want = json!({"ports": [{"port": 9000, "protocol": "TCP", "targetPort": 9000}], "selector": {"name": "web"}});
    assert_eq!(stored["spec"], want);
    assert_eq!(stored["metadata"]["annotations"][FIRST_PORT], "true");
    let mut kept = stored;
    kept["spec"]["clusterIP"] = "10.0.0.7".into();
    kept["spec"]["sessionAffinity"] = "ClientIP".into();
    kept["spec"]["ports"][0]["nodePort"] = 30000.into();
    kept["spec"]["ports"]
        .as_array_mut()
        .unwrap()
        .push(json!({"name": "b", "port": 1}));
    let view = shown(Kind::Service, &kept);
    assert_eq!(view["containerPort"], 0);
    assert_eq!(view["portalIP"], "10.0.0.7");
    let object =
        json!({"id": "web", "port": 9001, "containerPort": "http", "selector": {"name": "web"}});
    let updated = update(Kind::Service, &kept, &given(Kind::Service, &object)).unwrap();
    let want = json!({"clusterIP": "10.0.0.7", "sessionAffinity": "ClientIP", "selector": {"name": "web"}, "ports": [
        {"port": 9001, "protocol": "TCP", "targetPort": "http", "nodePort": 30000}, {"name": "b", "port": 1}]});
    assert_eq!(updated["spec"], want);
    assert_eq!(updated["metadata"].get("annotations"), None);
    let wrong = store(Kind::Service, &given(Kind::Service, &json!({"id": "web"}))).unwrap_err();
    let paths: Vec<&str> = wrong.iter().map(|wrong| wrong.path.as_str()).collect();
    assert_eq!(paths, ["spec.port", "spec.selector"]);
}

#[test]
fn endpoints_keep_what_is_known_of_an_address() {
    let stored = json!({"apiVersion": "v1", "kind": "Endpoints", "metadata": {"name": "e"}, "subsets": [
        {"addresses": [{"ip": "10.0.0.1", "nodeName": "n"}, {"ip": "10.0.0.2"}], "ports": [{"port": 80, "name": "http"}]}]});
    let view = shown(Kind::Endpoints, &stored);
    assert_eq!(view["endpoints"], json!(["10.0.0.1:80", "10.0.0.2:80"]));
    assert_eq!(update(Kind::Endpoints, &stored, &view).unwrap(), stored);
    let object = given(
        Kind::Endpoints,
        &json!({"id": "e", "endpoints": ["10.0.0.1:80", "[fd00::1]:81"]}),
    );
    let updated = update(Kind::Endpoints, &stored, &object).unwrap();
    let addresses = &updated["subsets"][0]["addresses"];
    assert_eq!(*addresses, json!([{"ip": "10.0.0.1", "nodeName": "n"}]));
    let bad = given(Kind::Endpoints, &json!({"endpoints": ["somewhere:80"]}));
    assert_eq!(
        store(Kind::Endpoints, &bad).unwrap_err()[0].path,
        "endpoints[0]"
    );
}

#[test]
fn events_and_minions() {
    let event = given(
        Kind::Event,
        &json!({"id": "e", "status": "running", "source": "kubelet", "reason": "started",
        "involvedObject": {"kind": "Minion", "name": "Node_A", "apiVersion": "v1beta1", "resourceVersion": "7"},
        "timestamp": "2014-11-17T10:00:00.5+01:00"}),
    );
    let stored = store(Kind::Event, &event).unwrap();
    let involved = &stored["involvedObject"];
    assert_eq!(involved["kind"], "Node");
    assert_eq!(involved["name"], name(Kind::Minion, "Node_A"));
    assert_eq!(stored["lastTimestamp"], "2014-11-17T09:00:00Z");
    assert_eq!(
        own(Kind::Event, &shown(Kind::Event, &stored)),
        own(Kind::Event, &event)
    );
    let minion = json!({"id": "10.0.0.2", "hostIP": "10.0.0.2",
        "resources": {"capacity": {"cpu": 1000, "memory": "3221225472", "odd": "5x"}}});
    let minion = given(Kind::Minion, &minion);
    let stored = store(Kind::Minion, &minion).unwrap();
    assert_eq!(
        stored["status"]["capacity"],
        json!({"cpu": "1", "memory": "3221225472"})
    );
    assert_eq!(
        own(Kind::Minion, &shown(Kind::Minion, &stored)),
        own(Kind::Minion, &minion)
    );
}

#[test]
fn mistakes_that_v1_could_not_name() {
    let object = json!({"desiredState": {"manifest": {"version": "v7", "restartPolicy": {"always": {}, "never": {}},
        "containers": [{"imagePullPolicy": "Often", "cpu": -1}]}}});
    let mistakes = store(Kind::Pod, &given(Kind::Pod, &object)).unwrap_err();
    let paths: Vec<&str> = mistakes.iter().map(|wrong| wrong.path.as_str()).collect();
    let at = |path: &str| format!("desiredState.manifest.{path}");
    let want = [
        "version",
        "restartPolicy",
        "containers[0].imagePullPolicy",
        "containers[0].cpu",
    ]
    .map(at);
    assert_eq!(paths, want);
}

/// Text with what is special in it.
fn word() -> impl Strategy<Value = Value> {
    prop_oneof![
        "[a-z]{1,6}",
        "[A-Z_ $().:-]{0,8}",
        "[a-z]{20}",
        Just("8080".to_owned()),
        Just("i:latest".to_owned())
    ]
    .prop_map(Value::from)
}

fn object(fields: Vec<(&'static str, BoxedStrategy<Value>)>) -> BoxedStrategy<Value> {
    let each: Vec<_> = fields
        .into_iter()
        .map(|(name, value)| {
            prop::option::weighted(0.7, value)
                .prop_map(move |value| value.map(|value| (name.to_owned(), value)))
        })
        .collect();
    each.prop_map(|fields| Value::Object(fields.into_iter().flatten().collect()))
        .boxed()
}

fn list(of: BoxedStrategy<Value>) -> BoxedStrategy<Value> {
    prop_oneof![
        Just(Value::Null),
        prop::collection::vec(of, 0..3).prop_map(Value::from)
    ]
    .boxed()
}

fn pairs() -> BoxedStrategy<Value> {
    let pairs = prop::collection::btree_map("[a-c]", word(), 0..3);
    pairs
        .prop_map(|map| Value::Object(map.into_iter().collect()))
        .boxed()
}

fn number() -> BoxedStrategy<Value> {
    prop_oneof![0..4_i64, 0..1_000_000_000_000_i64]
        .prop_map(Value::from)
        .boxed()
}

fn flag() -> BoxedStrategy<Value> {
    any::<bool>().prop_map(Value::from).boxed()
}

fn either() -> BoxedStrategy<Value> {
    prop_oneof![number(), word()].boxed()
}

fn handler() -> BoxedStrategy<Value> {
    object(vec![
        ("exec", object(vec![("command", list(word().boxed()))])),
        (
            "httpGet",
            object(vec![
                ("path", word().boxed()),
                ("port", either()),
                ("host", word().boxed()),
            ]),
        ),
    ])
}

#[expect(clippy::too_many_lines, reason = "a table of what every field may be")]
fn manifest() -> BoxedStrategy<Value> {
    let empty = || Just(json!({})).boxed();
    let probe = object(vec![
        (
            "httpGet",
            object(vec![("path", word().boxed()), ("port", either())]),
        ),
        ("tcpSocket", object(vec![("port", either())])),
        ("exec", object(vec![("command", list(word().boxed()))])),
        ("initialDelaySeconds", number()),
    ]);
    let source = object(vec![
        ("hostDir", object(vec![("path", word().boxed())])),
        ("emptyDir", empty()),
        (
            "persistentDisk",
            object(vec![
                ("pdName", word().boxed()),
                ("fsType", word().boxed()),
                ("partition", number()),
                ("readOnly", flag()),
            ]),
        ),
        (
            "gitRepo",
            object(vec![
                ("repository", word().boxed()),
                ("revision", word().boxed()),
            ]),
        ),
    ]);
    let pull = select(vec!["", "PullAlways", "pullnever", "PullIfNotPresent"])
        .prop_map(Value::from)
        .boxed();
    let container = object(vec![
        ("name", word().boxed()),
        ("image", word().boxed()),
        ("command", list(word().boxed())),
        ("workingDir", word().boxed()),
        ("memory", number()),
        ("cpu", number()),
        ("privileged", flag()),
        (
            "ports",
            list(object(vec![
                ("name", word().boxed()),
                ("hostPort", number()),
                ("containerPort", number()),
                (
                    "protocol",
                    select(vec!["tcp", "UDP", ""]).prop_map(Value::from).boxed(),
                ),
                ("hostIP", word().boxed()),
            ])),
        ),
        (
            "env",
            list(object(vec![
                ("name", word().boxed()),
                ("key", word().boxed()),
                ("value", word().boxed()),
            ])),
        ),
        (
            "volumeMounts",
            list(object(vec![
                ("name", word().boxed()),
                ("path", word().boxed()),
                ("readOnly", flag()),
                ("mountPath", word().boxed()),
            ])),
        ),
        ("livenessProbe", probe),
        (
            "lifecycle",
            object(vec![("postStart", handler()), ("preStop", handler())]),
        ),
        (
            "terminationMessagePath",
            prop_oneof![Just(Value::from("/dev/termination-log")), word()].boxed(),
        ),
        ("imagePullPolicy", pull),
    ]);
    let restart = select(vec![
        json!({}),
        json!({"always": {}}),
        json!({"onFailure": {}}),
        json!({"never": {}}),
    ])
    .boxed();
    let rest = object(vec![
        ("id", word().boxed()),
        ("uuid", word().boxed()),
        ("restartPolicy", restart),
        ("containers", list(container)),
        (
            "volumes",
            list(object(vec![("name", word().boxed()), ("source", source)])),
        ),
    ]);
    (rest, select(vec!["v1beta1", "v1beta2", "V1beta1"]))
        .prop_map(|(mut manifest, version)| {
            manifest["version"] = version.into();
            manifest
        })
        .boxed()
}

/// Objects that 2014 took.
#[expect(clippy::too_many_lines, reason = "a table of what every field may be")]
fn any_object(kind: Kind) -> BoxedStrategy<Value> {
    let required = |(mut object, selector): (Value, Value), place: &[&str]| {
        let at = place
            .iter()
            .fold(&mut object, |value, step| &mut value[*step]);
        *at = selector;
        object
    };
    let selector = prop::collection::btree_map("[a-c]", word(), 1..3)
        .prop_map(|map| Value::Object(map.into_iter().collect()));
    let mut fields = vec![
        ("id", word().boxed()),
        ("annotations", pairs()),
        ("labels", pairs()),
        ("namespace", word().boxed()),
    ];
    match kind {
        Kind::Pod => {
            fields.push(("nodeSelector", pairs()));
            (object(fields), manifest())
                .prop_map(move |all| required(all, &["desiredState", "manifest"]))
                .boxed()
        }
        Kind::ReplicationController => {
            let state = object(vec![("replicas", number())]);
            let template = (object(vec![("labels", pairs())]), manifest())
                .prop_map(move |all| required(all, &["desiredState", "manifest"]));
            let state = (state, selector).prop_map(move |all| required(all, &["replicaSelector"]));
            let state = (state, template).prop_map(move |all| required(all, &["podTemplate"]));
            (object(fields), state)
                .prop_map(move |all| required(all, &["desiredState"]))
                .boxed()
        }
        Kind::Service => {
            fields.extend([
                ("containerPort", either()),
                (
                    "protocol",
                    select(vec!["TCP", "udp"]).prop_map(Value::from).boxed(),
                ),
                ("portalIP", word().boxed()),
                ("createExternalLoadBalancer", flag()),
                ("publicIPs", list(word().boxed())),
            ]);
            let port = (object(fields), (1..70000).prop_map(Value::from))
                .prop_map(move |all| required(all, &["port"]));
            (port, selector)
                .prop_map(move |all| required(all, &["selector"]))
                .boxed()
        }
        Kind::Endpoints => {
            let address = (0..3, 80..82).prop_map(|(a, p)| format!("10.0.0.{a}:{p}").into());
            fields.push(("endpoints", list(address.boxed())));
            object(fields)
        }
        Kind::Minion => {
            let amounts =
                prop::collection::btree_map(select(vec!["cpu", "memory", "x"]), either(), 0..3)
                    .prop_map(|map| {
                        Value::Object(
                            map.into_iter()
                                .map(|(name, value)| (name.to_owned(), value))
                                .collect(),
                        )
                    });
            fields.extend([
                ("resources", object(vec![("capacity", amounts.boxed())])),
                ("hostIP", word().boxed()),
            ]);
            object(fields)
        }
        Kind::Event => {
            let involved = object(vec![
                (
                    "kind",
                    select(vec!["Pod", "BoundPod", "Minion", "Node", "odd"])
                        .prop_map(Value::from)
                        .boxed(),
                ),
                ("name", word().boxed()),
                ("namespace", word().boxed()),
                ("uid", word().boxed()),
                (
                    "apiVersion",
                    select(vec!["v1beta1", "v1", "x"])
                        .prop_map(Value::from)
                        .boxed(),
                ),
                ("resourceVersion", word().boxed()),
                ("fieldPath", word().boxed()),
            ]);
            let time = select(vec![
                "2014-11-17T10:00:00Z",
                "2014-11-17T10:00:00+02:00",
                "soon",
            ])
            .prop_map(Value::from);
            fields.extend([
                ("involvedObject", involved),
                ("status", word().boxed()),
                ("reason", word().boxed()),
                ("message", word().boxed()),
                ("source", word().boxed()),
                ("timestamp", time.boxed()),
            ]);
            object(fields)
        }
        Kind::Binding => Just(json!({"podID": "a", "host": "b"})).boxed(),
    }
}

fn any_kind() -> impl Strategy<Value = (Kind, Value, Value)> {
    let kinds = Kind::ALL
        .into_iter()
        .filter(|kind| *kind != Kind::Binding)
        .collect::<Vec<_>>();
    select(kinds).prop_flat_map(|kind| (Just(kind), any_object(kind), any_object(kind)))
}

/// What a server of 2014 would have kept of it.
fn kept(kind: Kind, object: &Value, new: bool) -> Value {
    let mut object = given(kind, object);
    complete(kind, &mut object);
    if new && kind == Kind::Service {
        remove(&mut object, &[], "proxyPort");
    }
    own(kind, &object)
}

/// No server takes two containers of one name, but what cannot be stored must not be mixed up either.
#[test]
fn containers_of_one_name_go_by_their_order() {
    let given = json!({"desiredState": {"manifest": {"version": "v1beta1", "containers": [
        {"imagePullPolicy": "PullAlways", "image": "a"}, {"image": "b:v1"}]}}});
    let stored = store(Kind::Pod, &given).unwrap();
    let back = shown(Kind::Pod, &stored);
    assert_eq!(update(Kind::Pod, &stored, &back).unwrap(), stored);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn every_object_comes_back((kind, object, _) in any_kind()) {
        let stored = store(kind, &given(kind, &object)).unwrap();
        let back = shown(kind, &stored);
        prop_assert_eq!(own(kind, &back), kept(kind, &object, true));
        prop_assert_eq!(&back["id"], &given(kind, &object)["id"]);
        // Written back as it is shown, nothing changes.
        prop_assert_eq!(update(kind, &stored, &back).unwrap(), stored);
    }
    #[test]
    fn every_update_comes_back((kind, object, mut other) in any_kind()) {
        let object = given(kind, &object);
        other["id"] = object.get("id").cloned().unwrap_or_default();
        let mut stored = store(kind, &object).unwrap();
        stored["metadata"]["finalizers"] = json!(["kept"]);
        let updated = update(kind, &stored, &given(kind, &other)).unwrap();
        prop_assert_eq!(&updated["metadata"]["finalizers"], &json!(["kept"]));
        let mut want = kept(kind, &other, false);
        let before = shown(kind, &stored);
        if kind == Kind::Service && text(&want, "portalIP").is_none() {
            copy(&before, &mut want, "portalIP");
        }
        if kind == Kind::Minion {
            ["resources", "hostIP"].iter().for_each(|field| copy(&before, &mut want, field));
        }
        prop_assert_eq!(own(kind, &shown(kind, &updated)), want);
    }
}
