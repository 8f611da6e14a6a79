use super::*;
use crate::schema::Shape;
use crate::strict::{self, FieldValidation};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use proptest::test_runner::TestRng;
use serde_json::{Map, json};

const KUBECTL: &str = include_str!("tests/kubectl.txt");

fn kubectl() -> impl Iterator<Item = (Vec<u8>, Value)> {
    KUBECTL
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let (body, object) = line.split_once(' ').unwrap();
            (
                STANDARD.decode(body).unwrap(),
                serde_json::from_str(object).unwrap(),
            )
        })
}

fn typed(object: &Value) -> &'static Type {
    let version = object["apiVersion"].as_str().unwrap();
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    Schemas::builtin()
        .of_kind(group, version, object["kind"].as_str().unwrap())
        .unwrap()
}

#[test]
fn bodies_of_kubectl_are_read() {
    let mut seen = 0;
    for (body, want) in kubectl() {
        assert_eq!(decode(&body, Schemas::builtin()).unwrap(), want);
        seen += 1;
    }
    assert!(seen > 15);
}

#[test]
fn what_is_read_fits_its_type() {
    for (body, want) in kubectl() {
        let read = decode(&body, Schemas::builtin()).unwrap();
        let checked = strict::check(
            read,
            typed(&want),
            Schemas::builtin(),
            FieldValidation::Strict,
        );
        assert_eq!(checked.unwrap().value, want);
    }
}

#[test]
fn all_shapes_go_there_and_back() {
    for object in [
        json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "p", "creationTimestamp": "2024-01-02T03:04:05Z", "generation": 3,
                "ownerReferences": [{"apiVersion": "v1", "kind": "X", "name": "x", "uid": "u", "controller": false}],
                "managedFields": [{"manager": "m", "fieldsV1": {"f:spec": {"f:x": {}}}}]},
            "spec": {"containers": [{"name": "c", "env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "k", "optional": false}}}],
                    "livenessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 3},
                    "ports": [{"containerPort": 80}], "resources": {"limits": {"cpu": "500m"}}, "securityContext": {"runAsUser": 0}}],
                "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Gi"}}, {"name": "w", "secret": {"secretName": "s", "defaultMode": 0}}],
                "terminationGracePeriodSeconds": 0}}),
        json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "l"},
            "spec": {"renewTime": "2024-01-02T03:04:05.000678Z", "leaseTransitions": 0}}),
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "binaryData": {"a": "AAEC"}, "data": {"b": ""}}),
        json!({"apiVersion": "policy/v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0, "preconditions": {"uid": "u"}}),
        json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "metadata": {},
            "status": {"user": {"username": "a", "extra": {"k": ["x", "y"]}}}, "spec": {}}),
        json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "a.b"}, "spec": {"group": "b",
            "names": {"kind": "A", "plural": "as"}, "scope": "Cluster", "versions": [{"name": "v1", "served": true, "storage": false, "schema": {"openAPIV3Schema":
            {"type": "object", "maximum": 1.5, "default": {"x": [1, null]}, "enum": ["a", 1], "additionalProperties": false, "items": [{"type": "string"}],
             "properties": {"n": {"items": {"type": "string"}, "additionalProperties": {"type": "integer"}, "dependencies": {"a": ["b", "c"]}}}}}}]}}),
        json!({"apiVersion": "v1", "kind": "PodList", "metadata": {"resourceVersion": "5"}, "items": [{"metadata": {"name": "a"}}]}),
    ] {
        let bytes = encode(&object, typed(&object), Schemas::builtin());
        assert_eq!(decode(&bytes, Schemas::builtin()).unwrap(), object);
    }
}

#[test]
fn what_is_no_body_is_refused_with_reasons() {
    let schemas = Schemas::builtin();
    let body = |raw: &[u8]| {
        let mut meta = Vec::new();
        wire::put_bytes(&mut meta, 1, b"v1");
        wire::put_bytes(&mut meta, 2, b"Pod");
        let mut out = MAGIC.to_vec();
        wire::put_bytes(&mut out, 1, &meta);
        wire::put_bytes(&mut out, 2, raw);
        out
    };
    assert_eq!(decode(b"{}", schemas), Err(ProtoError::NoMagic));
    assert!(matches!(
        decode(b"k8s\0", schemas),
        Err(ProtoError::UnknownKind { .. })
    ));
    for (raw, want) in [
        (
            &[0x0a, 5][..],
            "the bytes end within io.k8s.api.core.v1.Pod",
        ),
        (
            &[
                0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
            ],
            "io.k8s.api.core.v1.Pod: a number of more than 64 bits",
        ),
        (
            &[0x0b],
            "io.k8s.api.core.v1.Pod: a wire type that is not in use",
        ),
        (
            &[0x02, 0],
            "io.k8s.api.core.v1.Pod: a field with the number 0",
        ),
        (
            &[0x08, 1],
            "io.k8s.api.core.v1.Pod.metadata: a value of a wrong type",
        ),
        (&[0x0a, 3, 0x0a, 1, 0xff], "text that is not UTF-8"),
    ] {
        let err = decode(&body(raw), schemas).unwrap_err().to_string();
        assert!(err.contains(want), "{err}");
    }
    // Unknown fields are passed over.
    assert!(decode(&body(&[0xf8, 0x7f, 1, 0xfa, 0x7f, 2, 0, 0]), schemas).is_ok());
}

#[test]
fn messages_within_messages_are_bounded() {
    let mut schema = Vec::new();
    for _ in 0..200 {
        // `not` (28), within itself.
        let mut outer = Vec::new();
        wire::put_bytes(&mut outer, 28, &schema);
        schema = outer;
    }
    let of = Schemas::builtin().get(read::JSON_SCHEMA_PROPS).unwrap();
    assert_eq!(of.field("not").unwrap().tag, 28);
    assert_eq!(
        read::message(&schema, of, Schemas::builtin()),
        Err(ProtoError::TooDeep)
    );
}

/// A value of a shape as `strict` lets it through; no zeros, which only some fields keep.
fn value(shape: &Shape, schemas: &Schemas, rng: &mut TestRng, depth: usize) -> Value {
    let pick = rng.next_u32();
    match shape {
        Shape::String => format!("t{}", pick % 100).into(),
        Shape::Integer(_) => (i64::from(pick % 1000) - 500).into_nonzero(),
        Shape::Number => (f64::from(pick % 1000) + 0.5).into(),
        Shape::Boolean => true.into(),
        Shape::Bytes => STANDARD.encode(pick.to_le_bytes()).into(),
        Shape::Time => strict::from_seconds(i64::from(pick) + 1, 0, false).into(),
        Shape::MicroTime => strict::from_seconds(-i64::from(pick), 5000, true).into(),
        Shape::Quantity => strict::quantity(&format!("{}m", pick % 5000))
            .unwrap()
            .into(),
        Shape::IntOrString if pick.is_multiple_of(2) => "http".into(),
        Shape::IntOrString => (pick % 1000 + 1).into(),
        Shape::Any => json!({"type": "string"}),
        Shape::Type(name) => object(schemas.get(name).unwrap(), schemas, rng, depth + 1),
        Shape::List(inner) => (0..=pick % 3)
            .map(|_| value(inner, schemas, rng, depth))
            .collect(),
        Shape::Map(inner) => (0..=pick % 3)
            .map(|n| (format!("k{n}"), value(inner, schemas, rng, depth)))
            .collect(),
    }
}

trait NonZero {
    fn into_nonzero(self) -> Value;
}

impl NonZero for i64 {
    fn into_nonzero(self) -> Value {
        if self == 0 { 1.into() } else { self.into() }
    }
}

fn object(of: &Type, schemas: &Schemas, rng: &mut TestRng, depth: usize) -> Value {
    let mut object = Map::new();
    for field in of.fields.iter().filter(|field| field.tag != 0) {
        // Deep down only what is no object.
        let plain = !matches!(field.shape, Shape::Type(_) | Shape::List(_) | Shape::Map(_));
        let wanted = if depth < 4 {
            rng.next_u32().is_multiple_of(3)
        } else {
            plain && rng.next_u32().is_multiple_of(4)
        };
        if wanted {
            object.insert(
                field.name.to_string(),
                value(&field.shape, schemas, rng, depth),
            );
        }
    }
    Value::Object(object)
}

proptest! {
    /// Whatever the type: written, read again, the same; and `strict` finds nothing to change.
    #[test]
    fn every_kind_goes_there_and_back(at in 0..10_000_usize, seed in prop::array::uniform32(0..255_u8)) {
        let schemas = Schemas::builtin();
        let mut kinds: Vec<&Type> = schemas.iter().filter(|of| !of.kinds.is_empty() && of.field("kind").is_some()).collect();
        kinds.sort_by_key(|of| of.name.clone());
        let of = kinds[at % kinds.len()];
        let kind = &of.kinds[0];
        let mut rng = TestRng::from_seed(prop::test_runner::RngAlgorithm::ChaCha, &seed);
        let mut made = object(of, schemas, &mut rng, 0);
        let version = if kind.group.is_empty() { kind.version.to_string() } else { format!("{}/{}", kind.group, kind.version) };
        made["apiVersion"] = version.into();
        made["kind"] = (&*kind.kind).into();
        let bytes = encode(&made, of, schemas);
        let read = decode(&bytes, schemas).unwrap();
        prop_assert_eq!(&read, &made);
        let checked = strict::check(read, of, schemas, FieldValidation::Strict).unwrap();
        prop_assert_eq!(checked.value, made);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), which in 0..19_usize, at in 0..500_usize, byte in any::<u8>()) {
        let _ = decode(&bytes, Schemas::builtin());
        let mut whole = MAGIC.to_vec();
        whole.extend(&bytes);
        let _ = decode(&whole, Schemas::builtin());
        // A real body with one byte changed, and cut off there.
        let (mut body, _) = kubectl().nth(which).unwrap();
        let at = at % body.len();
        body[at] = byte;
        let _ = decode(&body, Schemas::builtin());
        body.truncate(at);
        let _ = decode(&body, Schemas::builtin());
    }
}
