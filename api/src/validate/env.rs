//! The environment of a container.

use k8s_openapi::api::core::v1::{
    Container, EnvVarSource, ObjectFieldSelector, ResourceFieldSelector,
};

use super::{Errors, FieldError, Words, each};
use crate::names::Form;
use crate::quantity::Quantity;

/// Fields of a pod that a variable may hold.
const VARIABLE_FIELDS: [&str; 9] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
/// Fields of a pod that a file may hold.
const FILE_FIELDS: [&str; 5] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "metadata.labels",
    "metadata.annotations",
];
/// Fields of a pod that selectors know, and no container is told.
const POD_FIELDS: [&str; 3] = ["spec.restartPolicy", "spec.schedulerName", "status.phase"];
const RESOURCES: [&str; 6] = [
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
];

/// Where a field of the pod is to be seen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    InVariable,
    InFile,
}

pub(super) fn check(path: &str, one: &Container, errors: &mut Errors) {
    for (path, variable) in each(format!("{path}.env"), one.env.as_ref()) {
        errors.form(Form::EnvName, &format!("{path}.name"), &variable.name);
        let value = variable.value.as_deref().unwrap_or_default();
        errors.no_nul(&format!("{path}.value"), value);
        if let Some(from) = &variable.value_from {
            if !value.is_empty() {
                let why = "may not be specified when `value` is not empty";
                errors.say(
                    || {
                        FieldError::new(
                            &path,
                            "has value and valueFrom; only one of them may be set",
                        )
                    },
                    || FieldError::invalid(format!("{path}.valueFrom"), "", why),
                );
            }
            source(&format!("{path}.valueFrom"), from, errors);
        }
    }
    for (path, from) in each(format!("{path}.envFrom"), one.env_from.as_ref()) {
        let fields = [
            ("configMapRef", from.config_map_ref.is_some()),
            ("secretRef", from.secret_ref.is_some()),
        ];
        errors.exactly_one(&path, "source", &fields);
        let map = from
            .config_map_ref
            .as_ref()
            .map(|map| ("configMapRef", &map.name));
        let secret = from
            .secret_ref
            .as_ref()
            .map(|secret| ("secretRef", &secret.name));
        for (field, name) in map.into_iter().chain(secret) {
            errors.form(Form::Subdomain, &format!("{path}.{field}.name"), name);
        }
        if let Some(prefix) = from.prefix.as_deref().filter(|prefix| !prefix.is_empty()) {
            errors.form(Form::EnvName, &format!("{path}.prefix"), prefix);
        }
    }
}

fn source(path: &str, from: &EnvVarSource, errors: &mut Errors) {
    let fields = [
        ("fieldRef", from.field_ref.is_some()),
        ("resourceFieldRef", from.resource_field_ref.is_some()),
        ("configMapKeyRef", from.config_map_key_ref.is_some()),
        ("secretKeyRef", from.secret_key_ref.is_some()),
        ("fileKeyRef", from.file_key_ref.is_some()),
    ];
    match (errors.words, fields.iter().filter(|(_, set)| *set).count()) {
        (Words::Plain, _) => errors.exactly_one(path, "source", &fields),
        (Words::Kubernetes, 1) => {}
        (Words::Kubernetes, 0) => {
            let why = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or \
                       `fileKeyRef`";
            errors.invalid(path, "", why);
        }
        (Words::Kubernetes, _) => {
            errors.invalid(
                path,
                "",
                "may not have more than one field specified at a time",
            );
        }
    }
    if let Some(field) = &from.field_ref {
        field_ref(&format!("{path}.fieldRef"), field, Seen::InVariable, errors);
    }
    if let Some(resource) = &from.resource_field_ref {
        resource_ref(&format!("{path}.resourceFieldRef"), resource, errors);
    }
    let map = from.config_map_key_ref.as_ref();
    let map = map.map(|map| ("configMapKeyRef", &map.name, &map.key));
    let secret = from.secret_key_ref.as_ref();
    let secret = secret.map(|secret| ("secretKeyRef", &secret.name, &secret.key));
    for (field, name, key) in map.into_iter().chain(secret) {
        errors.form(Form::Subdomain, &format!("{path}.{field}.name"), name);
        errors.form(Form::ConfigKey, &format!("{path}.{field}.key"), key);
    }
    if let Some(file) = &from.file_key_ref {
        errors.form(Form::EnvName, &format!("{path}.fileKeyRef.key"), &file.key);
        errors.form(
            Form::Label,
            &format!("{path}.fileKeyRef.volumeName"),
            &file.volume_name,
        );
        errors.relative(&format!("{path}.fileKeyRef.path"), &file.path);
    }
}

/// A field of the pod: one of a list, or one label or annotation by its key.
pub(super) fn field_ref(path: &str, field: &ObjectFieldSelector, seen: Seen, errors: &mut Errors) {
    let path = format!("{path}.fieldPath");
    let name = field.field_path.as_str();
    if name.is_empty() {
        return errors.required(&path);
    }
    let known: &[&str] = if seen == Seen::InFile {
        &FILE_FIELDS
    } else {
        &VARIABLE_FIELDS
    };
    let subscript = ["metadata.labels['", "metadata.annotations['"]
        .iter()
        .find_map(|start| name.strip_prefix(start)?.strip_suffix("']"));
    if let Some(key) = subscript {
        errors.form(Form::LabelKey, &path, &key.to_ascii_lowercase());
    } else if !known.contains(&name) {
        let shown = crate::node::shorten(name);
        let words = known.join(", ");
        let more = "metadata.labels['<key>'], metadata.annotations['<key>']";
        let plain = format!("unsupported value {shown:?}: must be {words}, {more}");
        let elsewhere = VARIABLE_FIELDS
            .iter()
            .chain(&FILE_FIELDS)
            .chain(&POD_FIELDS);
        let is_field = elsewhere.into_iter().any(|field| *field == name);
        errors.say(
            || FieldError::new(&path, plain),
            || match is_field {
                true => FieldError::unsupported(&path, name, known),
                false => {
                    let why =
                        format!("error converting fieldPath: field label not supported: {name}");
                    FieldError::invalid(&path, name, why)
                }
            },
        );
    }
}

/// A limit or request of a container.
pub(super) fn resource_ref(path: &str, field: &ResourceFieldSelector, errors: &mut Errors) {
    let name = &field.resource;
    let huge = name.starts_with("limits.hugepages-") || name.starts_with("requests.hugepages-");
    if name.is_empty() {
        errors.required(&format!("{path}.resource"));
    } else if !huge {
        errors.one_of(&format!("{path}.resource"), Some(name), &RESOURCES);
    }
    if let Some(divisor) = &field.divisor {
        match divisor.0.parse::<Quantity>() {
            Ok(quantity) if quantity.is_negative() => {
                errors.add(&format!("{path}.divisor"), "must not be negative");
            }
            Ok(_) => {}
            Err(err) => errors.add(&format!("{path}.divisor"), &err.to_string()),
        }
    }
}
