use super::*;
use crate::proto;
use serde_json::{Value, json};

const VERBS: &[&str] = &[
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

fn served() -> Vec<Served<'static>> {
    let of = |group, version, plural, kind, schema| Served {
        group,
        version,
        plural,
        kind,
        namespaced: plural != "nodes",
        schema,
        verbs: VERBS,
        subresources: Vec::new(),
    };
    let mut pods = of("", "v1", "pods", "Pod", "io.k8s.api.core.v1.Pod");
    pods.subresources = vec![
        ServedPart {
            name: "status",
            group_version: None,
            kind: "Pod",
            verbs: &["get", "patch", "update"],
        },
        ServedPart {
            name: "eviction",
            group_version: Some(("policy", "v1")),
            kind: "Eviction",
            verbs: &["create"],
        },
    ];
    vec![
        pods,
        of("", "v1", "nodes", "Node", "io.k8s.api.core.v1.Node"),
        of(
            "apps",
            "v1",
            "deployments",
            "Deployment",
            "io.k8s.api.apps.v1.Deployment",
        ),
    ]
}

/// Every `$ref` of a document.
fn references<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| match value.as_str() {
            Some(text) if key == "$ref" => found.push(text),
            _ => references(value, found),
        }),
        Value::Array(items) => items.iter().for_each(|item| references(item, found)),
        _ => {}
    }
}

#[test]
fn documents_are_whole() {
    let schemas = Schemas::builtin();
    let v2 = v2::document(&served(), schemas);
    for document in [
        v3::document("", "v1", &served(), schemas).unwrap(),
        v3::document("apps", "v1", &served(), schemas).unwrap(),
        v2,
    ] {
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 100);
        for reference in found {
            let place = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(place).is_some(), "{reference}");
        }
    }
    assert_eq!(v3::document("batch", "v1", &served(), schemas), None);
}

#[test]
fn kubectl_finds_what_it_looks_for() {
    let document = v3::document("", "v1", &served(), Schemas::builtin()).unwrap();
    let patch = &document["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"];
    let kind = json!({"group": "", "kind": "Pod", "version": "v1"});
    assert_eq!(patch["x-kubernetes-group-version-kind"], kind);
    let names: Vec<_> = patch["parameters"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["name"].clone())
        .collect();
    assert!(names.contains(&json!("fieldValidation")) && names.contains(&json!("dryRun")));
    assert_eq!(patch["operationId"], "patchCoreV1NamespacedPod");
    let all = &document["paths"]["/api/v1/pods"]["get"];
    assert_eq!(all["operationId"], "listCoreV1PodForAllNamespaces");
    let eviction =
        &document["paths"]["/api/v1/namespaces/{namespace}/pods/{name}/eviction"]["post"];
    assert_eq!(
        eviction["x-kubernetes-group-version-kind"]["group"],
        "policy"
    );
    let pod = &document["components"]["schemas"]["io.k8s.api.core.v1.Pod"];
    assert_eq!(pod["x-kubernetes-group-version-kind"], json!([kind]));
    let spec = &document["components"]["schemas"]["io.k8s.api.core.v1.PodSpec"];
    assert_eq!(spec["required"], json!(["containers"]));
    let containers = &spec["properties"]["containers"];
    assert_eq!(containers["x-kubernetes-patch-merge-key"], "name");
    assert_eq!(containers["x-kubernetes-patch-strategy"], "merge");
    assert_eq!(containers["x-kubernetes-list-map-keys"], json!(["name"]));
    assert!(
        containers["description"]
            .as_str()
            .unwrap()
            .starts_with("List of containers")
    );
    assert_eq!(
        spec["properties"]["volumes"]["x-kubernetes-patch-strategy"],
        "merge,retainKeys"
    );
    assert_eq!(
        document["paths"]["/api/v1/nodes/{name}"]["get"]["operationId"],
        "readCoreV1Node"
    );
}

#[test]
fn addresses_change_with_what_they_point_at() {
    let schemas = Schemas::builtin();
    let index = v3::index(&served(), schemas);
    let url = index["paths"]["api/v1"]["serverRelativeURL"]
        .as_str()
        .unwrap();
    assert!(url.starts_with("/openapi/v3/api/v1?hash="), "{url}");
    assert!(index["paths"].get("apis/apps/v1").is_some());
    assert_eq!(index, v3::index(&served(), schemas));
    let mut fewer = served();
    fewer[0].subresources.clear();
    assert_ne!(
        index["paths"]["api/v1"],
        v3::index(&fewer, schemas)["paths"]["api/v1"]
    );
    let mut more = Schemas::clone(schemas);
    let mut pod = schemas.get("io.k8s.api.core.v1.Pod").unwrap().clone();
    pod.fields.pop();
    more.insert(pod);
    assert_ne!(
        index["paths"]["api/v1"],
        v3::index(&served(), &more)["paths"]["api/v1"]
    );
}

/// The bytes under these tags, first of each.
fn dig<'a>(bytes: &'a [u8], tags: &[u32]) -> Vec<&'a [u8]> {
    let Some((first, rest)) = tags.split_first() else {
        return vec![bytes];
    };
    let mut reader = proto::wire::Reader::new(bytes, "test");
    let mut found = Vec::new();
    while let Some((tag, value)) = reader.next().unwrap() {
        if let (true, proto::wire::Wire::Bytes(inner)) = (tag == *first, value) {
            found.extend(dig(inner, rest));
        }
    }
    found
}

#[test]
fn the_protobuf_form_holds_definitions_and_operations() {
    let document = v2::document(&served(), Schemas::builtin());
    let bytes = v2::protobuf(&document);
    assert_eq!(dig(&bytes, &[1]), [b"2.0"]);
    // Definitions: Document 9, NamedSchema 1, name 1.
    let names = dig(&bytes, &[9, 1, 1]);
    assert_eq!(
        names.len(),
        document["definitions"].as_object().unwrap().len()
    );
    assert!(names.contains(&b"io.k8s.api.core.v1.PodSpec".as_slice()));
    // Paths 8, NamedPathItem 2, PathItem 2, patch 8, parameters 8, parameter 1, non-body 2, query 3, name 4.
    let parameters = dig(&bytes, &[8, 2, 2, 8, 8, 1, 2, 3, 4]);
    assert!(parameters.contains(&b"fieldValidation".as_slice()));
    let kinds = dig(&bytes, &[8, 2, 2, 8, 13, 2, 2]);
    assert!(kinds.iter().any(|yaml| {
        std::str::from_utf8(yaml)
            .unwrap()
            .contains("\"kind\":\"Deployment\"")
    }));
}
