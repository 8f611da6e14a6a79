//! Whether an object makes sense, as a list of everything that does not.
//!
//! The types of `k8s-openapi` let missing fields through as empty ones, so presence is checked here too. Objects are
//! expected to have their defaults. What a node can do (volume kinds, capabilities it has) is not asked here.

mod container;
mod env;
mod pod;
mod probe;
mod resources;
mod scheduling;
mod security;
mod volume;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use k8s_openapi::api::core::v1::{ConfigMap, Pod, PodSpec, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;

use crate::names::Form;

/// All the annotations of an object together.
const MAX_ANNOTATION_BYTES: usize = 256 << 10;
/// All the data of a ConfigMap or Secret together.
const MAX_DATA_BYTES: usize = 1 << 20;

/// A field with a value that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// The field, for example `spec.containers[0].image`.
    pub path: String,
    /// What is wrong, and what to do.
    pub problem: String,
    /// Which kind of mistake it is.
    pub reason: Reason,
}

/// The kinds of mistakes that programs can tell apart (k8s.io/apimachinery, `field.ErrorType`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Reason {
    /// It must be there.
    Required,
    /// It has a value that it cannot have.
    #[default]
    Invalid,
    /// It has none of the values that are known.
    NotSupported,
    /// It must not be there, or not be changed.
    Forbidden,
    /// Another one has this value already.
    Duplicate,
    /// It is too long.
    TooLong,
    /// What it names is not there.
    NotFound,
}

impl Reason {
    /// The word in a Status' causes.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Required => "FieldValueRequired",
            Reason::Invalid => "FieldValueInvalid",
            Reason::NotSupported => "FieldValueNotSupported",
            Reason::Forbidden => "FieldValueForbidden",
            Reason::Duplicate => "FieldValueDuplicate",
            Reason::TooLong => "FieldValueTooLong",
            Reason::NotFound => "FieldValueNotFound",
        }
    }
}

impl FieldError {
    /// A value that is invalid.
    pub fn new(path: impl Into<String>, problem: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            problem: problem.into(),
            reason: Reason::default(),
        }
    }

    /// It must be there; in Kubernetes' words, as all of those below (k8s.io/apimachinery, `validation/field`). `why` may
    /// be empty.
    pub fn required(path: impl Into<String>, why: &str) -> Self {
        let problem = match why {
            "" => "Required value".to_owned(),
            why => format!("Required value: {why}"),
        };
        Self::new(path, problem).because(Reason::Required)
    }

    /// A value that cannot be.
    pub fn invalid(path: impl Into<String>, value: impl Serialize, why: impl fmt::Display) -> Self {
        Self::new(path, format!("Invalid value: {}: {why}", shown(value)))
    }

    /// None of the words that are known.
    pub fn unsupported(path: impl Into<String>, value: impl Serialize, known: &[&str]) -> Self {
        let known: Vec<String> = known.iter().map(|word| format!("{word:?}")).collect();
        let value = shown(value);
        let problem = format!(
            "Unsupported value: {value}: supported values: {}",
            known.join(", ")
        );
        Self::new(path, problem).because(Reason::NotSupported)
    }

    /// Another one has this value.
    pub fn duplicate(path: impl Into<String>, value: impl Serialize) -> Self {
        Self::new(path, format!("Duplicate value: {}", shown(value))).because(Reason::Duplicate)
    }

    /// It must not be there, or not be changed.
    pub fn forbidden(path: impl Into<String>, why: impl fmt::Display) -> Self {
        Self::new(path, format!("Forbidden: {why}")).because(Reason::Forbidden)
    }

    /// It has more bytes than are allowed.
    pub fn too_long(path: impl Into<String>, most: usize) -> Self {
        let problem = format!("Too long: may not be more than {most} bytes");
        Self::new(path, problem).because(Reason::TooLong)
    }

    /// What it names is not there.
    pub fn not_found(path: impl Into<String>, value: impl Serialize) -> Self {
        Self::new(path, format!("Not found: {}", shown(value))).because(Reason::NotFound)
    }

    /// With another reason than that the value is invalid.
    #[must_use]
    pub fn because(mut self, reason: Reason) -> Self {
        self.reason = reason;
        self
    }
}

/// A value in a message: text in quotes, the rest as JSON; never longer than a line of a terminal or two.
fn shown(value: impl Serialize) -> String {
    const LONGEST: usize = 256;
    let mut text = serde_json::to_string(&value).unwrap_or_default();
    if text.len() > LONGEST {
        let mut end = LONGEST;
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text.truncate(end);
        text.push_str("...");
    }
    text
}

impl fmt::Display for FieldError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.path, self.problem)
    }
}

/// Everything wrong with a pod that has its defaults; empty if it can be run.
#[must_use]
pub fn pod(pod: &Pod) -> Vec<FieldError> {
    let mut errors = Errors::default();
    object_meta(&pod.metadata, &mut errors);
    match &pod.spec {
        Some(spec) => pod::spec(spec, &mut errors),
        None => errors.required("spec"),
    }
    errors.list
}

/// Everything wrong with the spec of a pod, which stands at this path, in Kubernetes' words.
#[must_use]
pub fn pod_spec(spec: &PodSpec, path: &str) -> Vec<FieldError> {
    let mut errors = Errors {
        words: Words::Kubernetes,
        ..Errors::default()
    };
    pod::spec(spec, &mut errors);
    for error in &mut errors.list {
        if let Some(rest) = error.path.strip_prefix("spec") {
            error.path = format!("{path}{rest}");
        }
    }
    errors.list
}

/// Everything wrong with a ConfigMap.
#[must_use]
pub fn config_map(map: &ConfigMap) -> Vec<FieldError> {
    let mut errors = Errors::default();
    object_meta(&map.metadata, &mut errors);
    let mut bytes = 0;
    for (key, value) in map.data.iter().flatten() {
        errors.form(Form::ConfigKey, &format!("data[{key}]"), key);
        bytes += value.len();
    }
    for (key, value) in map.binary_data.iter().flatten() {
        let path = format!("binaryData[{key}]");
        errors.form(Form::ConfigKey, &path, key);
        if map.data.as_ref().is_some_and(|data| data.contains_key(key)) {
            errors.add(&path, "duplicate value: data has this key as well");
        }
        bytes += value.0.len();
    }
    data_size(bytes, &mut errors);
    errors.list
}

/// Everything wrong with a Secret whose `stringData` has been folded into `data`.
#[must_use]
pub fn secret(secret: &Secret) -> Vec<FieldError> {
    let mut errors = Errors::default();
    object_meta(&secret.metadata, &mut errors);
    for key in secret.data.iter().flat_map(BTreeMap::keys) {
        errors.form(Form::ConfigKey, &format!("data[{key}]"), key);
    }
    let required: &[&str] = match secret.type_.as_deref() {
        Some("kubernetes.io/dockerconfigjson") => &[".dockerconfigjson"],
        Some("kubernetes.io/dockercfg") => &[".dockercfg"],
        Some("kubernetes.io/ssh-auth") => &["ssh-privatekey"],
        Some("kubernetes.io/tls") => &["tls.crt", "tls.key"],
        _ => &[],
    };
    for key in required {
        if !secret
            .data
            .as_ref()
            .is_some_and(|data| data.contains_key(*key))
        {
            errors.required(&format!("data[{key}]"));
        }
    }
    data_size(
        secret
            .data
            .iter()
            .flatten()
            .map(|(_, value)| value.0.len())
            .sum(),
        &mut errors,
    );
    errors.list
}

fn data_size(bytes: usize, errors: &mut Errors) {
    if bytes > MAX_DATA_BYTES {
        errors.add(
            "data",
            &format!("{bytes} bytes, at most {MAX_DATA_BYTES} are allowed"),
        );
    }
}

fn object_meta(metadata: &ObjectMeta, errors: &mut Errors) {
    match metadata.name.as_deref() {
        None | Some("") if metadata.generate_name.is_some() => {
            errors.add(
                "metadata.name",
                "required value; generateName needs an API server",
            );
        }
        name => errors.form(Form::Subdomain, "metadata.name", name.unwrap_or_default()),
    }
    errors.form(
        Form::Label,
        "metadata.namespace",
        metadata.namespace.as_deref().unwrap_or_default(),
    );
    labels("metadata.labels", metadata.labels.as_ref(), errors);
    let mut bytes = 0;
    for (key, value) in metadata.annotations.iter().flatten() {
        // Annotation keys may be written with capitals.
        let folded = key.to_ascii_lowercase();
        errors.form(
            Form::LabelKey,
            &format!("metadata.annotations[{key}]"),
            &folded,
        );
        bytes += key.len() + value.len();
    }
    if bytes > MAX_ANNOTATION_BYTES {
        let problem = format!("{bytes} bytes, at most {MAX_ANNOTATION_BYTES} are allowed");
        errors.add("metadata.annotations", &problem);
    }
}

fn labels(path: &str, labels: Option<&BTreeMap<String, String>>, errors: &mut Errors) {
    for (key, value) in labels.into_iter().flatten() {
        let path = format!("{path}[{key}]");
        errors.form(Form::LabelKey, &path, key);
        errors.form(Form::LabelValue, &path, value);
    }
}

/// Who is to read the messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Words {
    /// Somebody with a manifest in front of them.
    #[default]
    Plain,
    /// Somebody who knows the messages of Kubernetes' own API server, or a program that does.
    Kubernetes,
}

/// The errors so far, and the checks that many fields share.
#[derive(Default)]
struct Errors {
    list: Vec<FieldError>,
    words: Words,
}

impl Errors {
    fn add(&mut self, path: &str, problem: &str) {
        self.list.push(FieldError::new(path, problem));
    }

    /// One of two ways to say it.
    fn say(&mut self, plain: impl FnOnce() -> FieldError, kubernetes: impl FnOnce() -> FieldError) {
        let error = match self.words {
            Words::Plain => plain(),
            Words::Kubernetes => kubernetes(),
        };
        self.list.push(error);
    }

    fn required(&mut self, path: &str) {
        self.say(
            || FieldError::new(path, "required value").because(Reason::Required),
            || FieldError::required(path, ""),
        );
    }

    fn required_because(&mut self, path: &str, why: &str) {
        self.say(
            || FieldError::new(path, format!("required value: {why}")).because(Reason::Required),
            || FieldError::required(path, why),
        );
    }

    fn invalid(&mut self, path: &str, value: impl Serialize + fmt::Debug, why: &str) {
        self.say(
            || FieldError::new(path, format!("invalid value {value:?}: {why}")),
            || FieldError::invalid(path, &value, why),
        );
    }

    /// A value that cannot be, said in two ways.
    fn either(&mut self, path: &str, plain: &str, value: impl Serialize, kubernetes: &str) {
        self.say(
            || FieldError::new(path, plain),
            || FieldError::invalid(path, value, kubernetes),
        );
    }

    fn forbidden(&mut self, path: &str, why: &str) {
        self.say(
            || FieldError::new(path, format!("forbidden: {why}")).because(Reason::Forbidden),
            || FieldError::forbidden(path, why),
        );
    }

    /// What is named is not there.
    fn not_found(&mut self, path: &str, value: &str, plain: &str) {
        self.say(
            || FieldError::new(path, plain).because(Reason::NotFound),
            || FieldError::not_found(path, value),
        );
    }

    fn duplicate(&mut self, path: &str, value: impl fmt::Debug) {
        let problem = match self.words {
            Words::Plain => format!("duplicate value {value:?}"),
            Words::Kubernetes => format!("Duplicate value: {value:?}"),
        };
        let error = FieldError::new(path, problem).because(Reason::Duplicate);
        self.list.push(error);
    }

    fn form(&mut self, form: Form, path: &str, name: &str) {
        let Some(problem) = form.problem(name) else {
            return;
        };
        if name.is_empty() {
            return self.required(path);
        }
        self.say(
            || FieldError::new(path, problem),
            || FieldError::invalid(path, name, form.kubernetes(name).unwrap_or_default()),
        );
    }

    /// A value that, if it is set, must be one of a few words.
    fn one_of(&mut self, path: &str, value: Option<&String>, words: &[&str]) {
        let Some(value) = value.filter(|value| !words.contains(&value.as_str())) else {
            return;
        };
        let words = words.iter().filter(|word| !word.is_empty());
        let words = words.copied().collect::<Vec<_>>();
        let plain = || {
            let shown = crate::node::shorten(value);
            let words = words.join(", ");
            FieldError::new(
                path,
                format!("unsupported value {shown:?}: must be {words}"),
            )
            .because(Reason::NotSupported)
        };
        self.say(plain, || FieldError::unsupported(path, value, &words));
    }

    fn range(
        &mut self,
        path: &str,
        value: Option<impl Into<i64>>,
        range: std::ops::RangeInclusive<i64>,
    ) {
        let Some(value) = value.map(Into::into) else {
            return;
        };
        if range.contains(&value) {
            return;
        }
        let (least, most) = (range.start(), range.end());
        let rule = match (*most, self.words) {
            (i64::MAX, Words::Plain) => format!("must be {least} or more"),
            (i64::MAX, Words::Kubernetes) => format!("must be greater than or equal to {least}"),
            (most, Words::Plain) => format!("must be between {least} and {most}"),
            (most, Words::Kubernetes) => format!("must be between {least} and {most}, inclusive"),
        };
        self.invalid(path, value, &rule);
    }

    /// A path inside a container: absolute, and staying where it says.
    fn absolute(&mut self, path: &str, value: &str) {
        if value.is_empty() {
            self.required(path);
        } else if !value.starts_with('/') {
            self.invalid(path, value, "must be an absolute path");
        } else {
            self.no_dots(path, value);
        }
    }

    /// A path below something else.
    fn relative(&mut self, path: &str, value: &str) {
        if value.starts_with('/') {
            self.invalid(path, value, "must be a relative path");
        } else {
            self.no_dots(path, value);
        }
    }

    fn no_dots(&mut self, path: &str, value: &str) {
        if value.split('/').any(|part| part == "..") {
            self.invalid(path, value, "must not contain '..'");
        }
        self.no_nul(path, value);
    }

    /// Text that the kernel will read up to its first NUL.
    fn no_nul(&mut self, path: &str, value: &str) {
        if value.contains('\0') {
            self.add(path, "invalid value: must not contain a NUL character");
        }
    }

    /// Exactly one of several fields must be set; `what` they are is a Kubernetes word.
    fn exactly_one(&mut self, path: &str, what: &str, fields: &[(&str, bool)]) {
        let set: Vec<_> = fields
            .iter()
            .filter(|(_, set)| *set)
            .map(|(name, _)| *name)
            .collect();
        match set.as_slice() {
            [_] => {}
            [] => {
                let names: Vec<_> = fields.iter().map(|(name, _)| *name).collect();
                let plain = format!("required value: one of {}", names.join(", "));
                self.say(
                    || FieldError::new(path, plain).because(Reason::Required),
                    || FieldError::required(path, &format!("must specify a {what} type")),
                );
            }
            [_, others @ ..] => match self.words {
                Words::Plain => {
                    let several = set.join(" and ");
                    self.add(path, &format!("has {several}; only one of them may be set"));
                }
                Words::Kubernetes => {
                    let why = format!("may not specify more than 1 {what} type");
                    for other in others {
                        self.forbidden(&format!("{path}.{other}"), &why);
                    }
                }
            },
        }
    }
}

/// Values that must differ.
struct Unique<T>(BTreeSet<T>);

impl<T: Ord + fmt::Debug + Clone> Unique<T> {
    fn new() -> Self {
        Self(BTreeSet::new())
    }

    fn insert(&mut self, errors: &mut Errors, path: &str, value: T) {
        if !self.0.insert(value.clone()) {
            errors.duplicate(path, value);
        }
    }
}

/// The elements of an optional list, each with its path.
fn each<T>(path: String, list: Option<&Vec<T>>) -> impl Iterator<Item = (String, &T)> {
    let items = list.into_iter().flatten().enumerate();
    items.map(move |(index, item)| (format!("{path}[{index}]"), item))
}

#[cfg(test)]
mod tests;
