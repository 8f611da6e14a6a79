use super::builtin::Descriptions;
use super::*;

/// Every type that a shape names.
fn named(shape: &Shape, found: &mut Vec<Arc<str>>) {
    match shape {
        Shape::Type(name) => found.push(Arc::clone(name)),
        Shape::List(inner) | Shape::Map(inner) => named(inner, found),
        _ => {}
    }
}

#[test]
fn every_line_of_the_table_is_read_and_every_name_resolves() {
    let schemas = Schemas::builtin();
    let table = include_str!("builtin.txt");
    let fields = table
        .lines()
        .filter(|line| !line.starts_with(['#', '=', '@']))
        .count();
    let read: usize = schemas.iter().map(|each| each.fields.len()).sum();
    assert_eq!(fields, read);
    for each in schemas.iter() {
        let names: Vec<_> = each.fields.iter().map(|field| &field.name).collect();
        assert!(names.is_sorted(), "{}", each.name);
        let mut found = Vec::new();
        each.fields
            .iter()
            .for_each(|field| named(&field.shape, &mut found));
        for name in found {
            assert!(schemas.get(&name).is_some(), "{} names {name}", each.name);
        }
    }
}

#[test]
fn facts_of_well_known_fields() {
    let schemas = Schemas::builtin();
    let pod = schemas.of_kind("", "v1", "Pod").unwrap();
    assert_eq!(&*pod.name, "io.k8s.api.core.v1.Pod");
    let spec = schemas.get("io.k8s.api.core.v1.PodSpec").unwrap();
    let containers = spec.field("containers").unwrap();
    assert!(containers.required);
    assert_eq!(containers.tag, 2);
    assert_eq!(containers.merge.patch_key.as_deref(), Some("name"));
    assert_eq!(containers.merge.list, ListKind::Map(vec!["name".into()]));
    assert!(spec.field("volumes").unwrap().merge.retain_keys);
    assert_eq!(
        spec.field("nodeSelector").unwrap().merge.list,
        ListKind::Atomic
    );
    let container = schemas.get("io.k8s.api.core.v1.Container").unwrap();
    let keys = ["containerPort".into(), "protocol".into()];
    assert_eq!(
        container.field("ports").unwrap().merge.list,
        ListKind::Map(keys.to_vec())
    );
    let port = schemas.get("io.k8s.api.core.v1.ContainerPort").unwrap();
    assert_eq!(
        port.field("protocol").unwrap().default.as_deref(),
        Some("\"TCP\"")
    );
    assert!(
        schemas
            .get("io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelector")
            .unwrap()
            .atomic
    );
    let probe = schemas.get("io.k8s.api.core.v1.Probe").unwrap();
    let exec = probe.field("exec").unwrap();
    assert_eq!((exec.within, exec.tag), (1, 1));
    let meta = schemas.get(OBJECT_META).unwrap();
    assert!(meta.field("finalizers").unwrap().merge.patch_set);
    assert_eq!(meta.field("finalizers").unwrap().merge.list, ListKind::Set);
}

#[test]
fn kinds_are_found_also_those_of_every_group() {
    let schemas = Schemas::builtin();
    for (group, version, kind) in [
        ("apps", "v1", "Deployment"),
        ("", "v1", "PodList"),
        ("policy", "v1", "Eviction"),
        ("policy", "v1beta1", "Eviction"),
        ("autoscaling", "v1", "Scale"),
        ("authentication.k8s.io", "v1", "SelfSubjectReview"),
        ("coordination.k8s.io", "v1", "Lease"),
        ("policy", "v1", "DeleteOptions"),
        ("", "v1", "Status"),
    ] {
        assert!(
            schemas.of_kind(group, version, kind).is_some(),
            "{group}/{version} {kind}"
        );
    }
    assert!(schemas.of_kind("", "v1", "Deployment").is_none());
}

#[test]
fn types_come_and_go() {
    let mut schemas = Schemas::clone(Schemas::builtin());
    let kind = Kind {
        group: "demo.example".into(),
        version: "v1".into(),
        kind: "Gadget".into(),
    };
    schemas.insert(Type {
        name: "example.demo.v1.Gadget".into(),
        kinds: vec![kind],
        ..Type::default()
    });
    assert!(schemas.of_kind("demo.example", "v1", "Gadget").is_some());
    schemas.remove("example.demo.v1.Gadget");
    assert!(schemas.of_kind("demo.example", "v1", "Gadget").is_none());
    assert!(Schemas::builtin().get("example.demo.v1.Gadget").is_none());
}

#[test]
fn descriptions_stand_beside_their_fields() {
    let all = Descriptions::builtin();
    let (own, fields) = all.of("io.k8s.api.core.v1.PodSpec").unwrap();
    assert_eq!(own, "PodSpec is a description of a pod.");
    assert!(
        fields["activeDeadlineSeconds"]
            .starts_with("Optional duration in seconds the pod may be active")
    );
    let last = Schemas::builtin()
        .iter()
        .map(|each| each.name.clone())
        .max()
        .unwrap();
    let (own, fields) = all.of(&last).unwrap();
    let want = &Schemas::builtin().get(&last).unwrap().fields;
    assert!(!own.is_empty());
    assert_eq!(fields.len(), want.len());
}
