//! `secrets`: what only some may read.
use super::cells::{AGE, NAME, age, at, size, text};
use super::{Column, Names, Part, Resource, checks};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rkube_api::validate::FieldError;
use serde_json::{Value, json};

/// `secrets`.
#[derive(Debug)]
pub(super) struct Secrets;

const NAMES: Names = Names {
    prefix: "/registry/secrets",
    schema: "io.k8s.api.core.v1.Secret",
    ..Names::core("secrets", "secret", "Secret")
};

const TOKEN: &str = "kubernetes.io/service-account-token";

impl Resource for Secrets {
    fn names(&self) -> &Names {
        &NAMES
    }
    fn generation(&self, _: &Value, _: &Value) -> bool {
        false
    }
    fn default(&self, object: &mut Value) {
        checks::set(object, "type", "Opaque");
        let Some(map) = object.as_object_mut() else {
            return;
        };
        let Some(Value::Object(text)) = map.remove("stringData") else {
            return;
        };
        let data = crate::meta::member_mut(map, "data");
        for (key, value) in text {
            let value = value.as_str().unwrap_or_default();
            data.insert(key, STANDARD.encode(value).into());
        }
    }
    fn validate(&self, object: &Value, old: Option<&Value>, _: Part) -> Vec<FieldError> {
        let mut errors = Vec::new();
        checks::keys(object, "data", &mut errors);
        let data = object.get("data").and_then(Value::as_object);
        let texts = data
            .into_iter()
            .flatten()
            .filter_map(|(_, value)| value.as_str());
        if texts.map(|text| text.len() / 4 * 3).sum::<usize>() > checks::MAX_DATA {
            errors.push(FieldError::too_long("data", checks::MAX_DATA));
        }
        contents(object, data, &mut errors);
        errors.extend(checks::unchanged(object, old, "/type", "type"));
        checks::frozen(object, old, &["data"], &mut errors);
        errors
    }
    fn fields(&self) -> &'static [&'static str] {
        &["type"]
    }
    fn field(&self, object: &Value, _: &str) -> String {
        at(object, "/type").to_owned()
    }
    fn columns(&self) -> &'static [Column] {
        const {
            &[
                NAME,
                text("Type", "What kind of secret it is."),
                text("Data", "How many keys it has."),
                AGE,
            ]
        }
    }
    fn row(&self, object: &Value, now: i64) -> Vec<Value> {
        vec![
            crate::meta::name(object).into(),
            at(object, "/type").into(),
            json!(size(object, "/data")),
            age(object, now).into(),
        ]
    }
}

/// What a secret of each type must have.
fn contents(
    object: &Value,
    data: Option<&serde_json::Map<String, Value>>,
    errors: &mut Vec<FieldError>,
) {
    let has = |key: &str| data.is_some_and(|data| data.contains_key(key));
    let kind = at(object, "/type");
    let required: &[&str] = match kind {
        "kubernetes.io/dockerconfigjson" => &[".dockerconfigjson"],
        "kubernetes.io/dockercfg" => &[".dockercfg"],
        "kubernetes.io/ssh-auth" => &["ssh-privatekey"],
        "kubernetes.io/tls" => &["tls.crt", "tls.key"],
        _ => &[],
    };
    for key in required.iter().filter(|key| !has(key)) {
        errors.push(FieldError::required(format!("data[{key}]"), ""));
    }
    if kind == "kubernetes.io/basic-auth" && !has("username") && !has("password") {
        for key in ["username", "password"] {
            errors.push(FieldError::required(format!("data[{key}]"), ""));
        }
    }
    let account = "kubernetes.io/service-account.name";
    let annotations = object.pointer("/metadata/annotations");
    let named = annotations
        .and_then(|all| all.get(account))
        .and_then(Value::as_str);
    if kind == TOKEN && named.is_none_or(str::is_empty) {
        errors.push(FieldError::required(
            format!("metadata.annotations[{account}]"),
            "",
        ));
    }
    for key in [".dockerconfigjson", ".dockercfg"]
        .iter()
        .filter(|key| required.contains(key))
    {
        let bytes = data.and_then(|data| data.get(*key)).and_then(Value::as_str);
        let bytes = bytes.and_then(|text| STANDARD.decode(text).ok());
        if let Some(bytes) = bytes
            && serde_json::from_slice::<serde::de::IgnoredAny>(&bytes).is_err()
        {
            let why = "the data is no JSON";
            errors.push(FieldError::invalid(
                format!("data[{key}]"),
                "<secret contents redacted>",
                why,
            ));
        }
    }
}
