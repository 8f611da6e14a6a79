//! Forms of single objects, and what asks for them.
use super::{Form, Include, Version, object};
use crate::cache::tests::{call, others, pods};
use crate::call::Verb;
use bytes::Bytes;
use serde_json::{Value, json};

const POD: &str = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"resourceVersion":"5","name":"a"},"spec":{"nodeName":"n1"}}"#;

fn get(form: Form) -> Value {
    let bytes = object(&pods(), form, &Bytes::from_static(POD.as_bytes()));
    serde_json::from_slice(&bytes).unwrap()
}

#[test]
fn single_objects() {
    assert_eq!(
        get(Form::Plain),
        serde_json::from_str::<Value>(POD).unwrap()
    );
    let metadata = json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
        "metadata": {"name": "a", "resourceVersion": "5"}});
    assert_eq!(get(Form::Metadata(Version::V1)), metadata);
    let table = get(Form::Table(Version::V1, Include::Metadata));
    assert_eq!(table["metadata"], json!({"resourceVersion": "5"}));
    assert_eq!(
        table["rows"],
        json!([{"cells": ["a", "n1"], "object": metadata}])
    );
    let other = object(&others(), Form::Plain, &Bytes::from_static(POD.as_bytes()));
    let other: Value = serde_json::from_slice(&other).unwrap();
    assert_eq!(
        (&other["apiVersion"], &other["seen"]),
        (&json!("other/v1"), &json!(true))
    );
}

#[test]
fn media_ranges() {
    let with = |include: &str| call(Verb::Get, "", include);
    for (range, query, want) in [
        ("application/json", "", Some(Form::Plain)),
        ("*/*;q=0.8", "", Some(Form::Plain)),
        (
            "application/json;as=Table;v=v1;g=meta.k8s.io",
            "",
            Some(Form::Table(Version::V1, Include::Metadata)),
        ),
        (
            "application/json; as=Table; v=v1beta1; g=meta.k8s.io",
            "includeObject=None",
            Some(Form::Table(Version::V1beta1, Include::None)),
        ),
        (
            "application/json;as=Table;v=v1;g=meta.k8s.io;q=0.5",
            "includeObject=Object",
            Some(Form::Table(Version::V1, Include::Object)),
        ),
        (
            "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
            "",
            Some(Form::Metadata(Version::V1)),
        ),
        (
            "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
            "",
            Some(Form::Metadata(Version::V1)),
        ),
        ("application/json;as=Table;v=v2;g=meta.k8s.io", "", None),
        ("application/json;as=Table;v=v1;g=else", "", None),
        ("application/json;as=Chair;v=v1;g=meta.k8s.io", "", None),
    ] {
        assert_eq!(Form::of(range, &with(query)), want, "{range} {query}");
    }
}
