use super::*;
use proptest::prelude::*;
use serde_json::json;

fn read(
    kind: &str,
    media: Media,
    body: &str,
    mode: FieldValidation,
) -> Result<Decoded, DecodeError> {
    let schemas = Schemas::builtin();
    let of = schemas.of_kind("", "v1", kind).unwrap();
    decode(body.as_bytes(), media, of, schemas, mode)
}

fn wrong(kind: &str, body: &str) -> String {
    let err = read(kind, Media::Json, body, FieldValidation::Ignore).unwrap_err();
    err.refusal("v1", kind)
}

#[test]
fn unknown_and_repeated_fields_are_named() {
    let body = r#"{"kind":"Pod","metadata":{"labels":{"a":"1","a":"2"}},"spec":{"containers":[{"name":"c","imagee":"x","name":"d"}],"foo":{"deep":[1]}}}"#;
    let err = read("Pod", Media::Json, body, FieldValidation::Strict).unwrap_err();
    assert_eq!(
        err.refusal("v1", "Pod"),
        "Pod in version \"v1\" cannot be handled as a Pod: strict decoding error: \
         duplicate field \"metadata.labels.a\", unknown field \"spec.containers[0].imagee\", \
         duplicate field \"spec.containers[0].name\", unknown field \"spec.foo\""
    );
    let warned = read("Pod", Media::Json, body, FieldValidation::Warn).unwrap();
    assert_eq!(warned.warnings.len(), 4);
    assert_eq!(warned.warnings[3], "unknown field \"spec.foo\"");
    assert_eq!(
        warned.value,
        json!({"kind": "Pod", "metadata": {"labels": {"a": "2"}}, "spec": {"containers": [{"name": "d"}]}})
    );
    let silent = read("Pod", Media::Json, body, FieldValidation::Ignore).unwrap();
    assert_eq!(silent.value, warned.value);
    assert!(silent.warnings.is_empty());
}

#[test]
fn yaml_is_read_with_the_same_care() {
    let body = "kind: ConfigMap\nmetadata: {name: a}\ndata:\n  x: '1'\n  x: '2'\ndataa: {}\n";
    let err = read("ConfigMap", Media::Yaml, body, FieldValidation::Strict).unwrap_err();
    let DecodeError::Strict(all) = err else {
        panic!("{err}")
    };
    assert_eq!(
        all,
        ["duplicate field \"data.x\"", "unknown field \"dataa\""]
    );
    let read_back = read("ConfigMap", Media::Yaml, body, FieldValidation::Warn).unwrap();
    assert_eq!(read_back.value["data"], json!({"x": "2"}));
    let two = read(
        "ConfigMap",
        Media::Yaml,
        "a: 1\n---\nb: 2\n",
        FieldValidation::Warn,
    );
    assert!(two.unwrap_err().to_string().contains("a second document"));
    let broken = read("ConfigMap", Media::Yaml, "a: [1\n", FieldValidation::Warn);
    assert!(
        broken
            .unwrap_err()
            .to_string()
            .starts_with("error converting YAML to JSON: yaml: line")
    );
}

#[test]
fn values_of_a_wrong_type_are_refused_in_gos_words() {
    for (kind, body, want) in [
        (
            "ConfigMap",
            r#"{"data":{"a":1}}"#,
            "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: json: cannot unmarshal number into Go struct field ConfigMap.data.a of type string",
        ),
        (
            "Pod",
            r#"{"spec":{"containers":{}}}"#,
            "Pod in version \"v1\" cannot be handled as a Pod: json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container",
        ),
        (
            "Pod",
            r#"{"spec":{"containers":[{"ports":[{"containerPort":"80"}]}]}}"#,
            "Pod in version \"v1\" cannot be handled as a Pod: json: cannot unmarshal string into Go struct field ContainerPort.spec.containers.ports.containerPort of type int32",
        ),
        (
            "Pod",
            "[]",
            "Pod in version \"v1\" cannot be handled as a Pod: json: cannot unmarshal array into Go value of type v1.Pod",
        ),
        (
            "ReplicationController",
            r#"{"spec":{"replicas":1.5}}"#,
            "ReplicationController in version \"v1\" cannot be handled as a ReplicationController: json: cannot unmarshal number 1.5 into Go struct field ReplicationControllerSpec.spec.replicas of type int32",
        ),
        (
            "Secret",
            r#"{"data":{"a":"no base64!"}}"#,
            "Secret in version \"v1\" cannot be handled as a Secret: data.a: illegal base64 data at input byte 2",
        ),
        (
            "Pod",
            r#"{"spec":{"overhead":{"cpu":"lots"}}}"#,
            "Pod in version \"v1\" cannot be handled as a Pod: spec.overhead.cpu: quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
        ),
    ] {
        assert_eq!(wrong(kind, body), want);
    }
    assert!(wrong("Pod", "{").starts_with("couldn't get version/kind; json parse error: EOF"));
    assert!(wrong("Pod", "{} {}").contains("trailing characters"));
    assert!(wrong("Pod", r#"{"spec":{"replicas":99999999999999999999999}} x"#).contains("json"));
    let deep = "[".repeat(100_000);
    assert!(wrong("Pod", &deep).contains("json"));
    let deep = format!("{{\"spec\":{{\"x\":{}", "{\"a\":".repeat(100_000));
    assert!(wrong("Pod", &deep).contains("json"));
}

#[test]
fn what_comes_out_is_canonical() {
    let body = r#"{"metadata":{"creationTimestamp":null,"deletionTimestamp":"2024-05-06T07:08:09.5+02:00","annotations":null,"labels":{"a":null}},
        "spec":{"containers":[{"name":"c","resources":{"limits":{"cpu":"1000m","memory":0.5}},"env":[null]}],"volumes":null}}"#;
    let out = read("Pod", Media::Json, body, FieldValidation::Strict)
        .unwrap()
        .value;
    assert_eq!(
        out,
        json!({
            "metadata": {"deletionTimestamp": "2024-05-06T05:08:09Z", "labels": {"a": ""}},
            "spec": {"containers": [{"name": "c", "env": [{}], "resources": {"limits": {"cpu": "1", "memory": "500m"}}}]},
        })
    );
}

#[test]
fn times_are_rfc_3339_and_nothing_else() {
    assert_eq!(
        time("2024-02-29T23:59:59.999Z").unwrap(),
        "2024-02-29T23:59:59Z"
    );
    assert_eq!(
        micro_time("2024-02-29T23:59:59.1234567Z").unwrap(),
        "2024-02-29T23:59:59.123456Z"
    );
    assert_eq!(
        micro_time("2024-02-29T23:59:59Z").unwrap(),
        "2024-02-29T23:59:59.000000Z"
    );
    for text in [
        "",
        "now",
        "2024-02-30T00:00:00Z",
        "2024-02-29",
        "2024-02-29T00:00:00Z[UTC]",
        "2024-02-29 00:00:00Z",
    ] {
        assert!(time(text).is_err(), "{text}");
    }
}

#[test]
fn media_types_are_told_apart() {
    for (text, want) in [
        (None, Some(Media::Json)),
        (Some("application/json; charset=utf-8"), Some(Media::Json)),
        (Some("application/YAML"), Some(Media::Yaml)),
        (
            Some("application/vnd.kubernetes.protobuf"),
            Some(Media::Protobuf),
        ),
        (Some("text/html"), None),
    ] {
        assert_eq!(Media::parse(text), want);
    }
}

#[test]
fn complaints_are_bounded() {
    let unknown: Vec<String> = (0..1000).map(|n| format!("\"x{n}\":1")).collect();
    let body = format!("{{{}}}", unknown.join(","));
    let out = read("Pod", Media::Json, &body, FieldValidation::Warn).unwrap();
    assert_eq!(out.warnings.len(), 100);
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}") {
        let _ = read("Pod", Media::Json, &text, FieldValidation::Strict);
        let _ = read("Pod", Media::Yaml, &text, FieldValidation::Strict);
    }

    #[test]
    fn reading_twice_changes_nothing(name in "[a-z]{1,5}", cpu in "[0-9]{1,4}(m|k|Ki|\\.5|e3)?", port in 0..70_000_i64) {
        let body = json!({"metadata": {"name": name}, "spec": {"containers": [{"name": name, "ports": [{"containerPort": port}],
            "resources": {"limits": {"cpu": cpu}}}]}});
        let schemas = Schemas::builtin();
        let of = schemas.of_kind("", "v1", "Pod").unwrap();
        let once = check(body, of, schemas, FieldValidation::Strict).unwrap().value;
        let twice = check(once.clone(), of, schemas, FieldValidation::Strict).unwrap().value;
        prop_assert_eq!(once, twice);
    }
}
