//! Bodies of requests become values that fit their type: Kubernetes' field validation.
//!
//! What does not fit the shape (text where a number belongs) is always refused. Unknown fields and fields that stand
//! there twice are refused, warned of or dropped in silence, as the query parameter `fieldValidation` says
//! (<https://kubernetes.io/docs/reference/using-api/api-concepts/#field-validation>). What comes out holds known fields only; nulls
//! are gone, quantities and times are in their canonical form, as Kubernetes' own servers write them.
//!
//! The words are those of Go's JSON reader and of the Kubernetes API server: people search for them.
mod path;
mod read;
mod scalar;

use crate::node::{self, Node};
use crate::proto;
use crate::schema::{Schemas, Shape, Type};
use crate::yaml;
use path::Path;
use read::{Reading, Seed};
use serde::de::DeserializeSeed;
use serde_json::{Map, Value};

pub(crate) use scalar::from_seconds;
pub use scalar::{micro_time, quantity, time};

/// What happens to unknown and repeated fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FieldValidation {
    /// The request is refused.
    Strict,
    /// The client is warned: what a server does that is not told otherwise.
    #[default]
    Warn,
    /// They are dropped in silence.
    Ignore,
}

impl FieldValidation {
    /// The value of the query parameter `fieldValidation`; none for a word that means nothing.
    #[must_use]
    pub fn parse(word: Option<&str>) -> Option<FieldValidation> {
        match word {
            None | Some("" | "Warn") => Some(FieldValidation::Warn),
            Some("Strict") => Some(FieldValidation::Strict),
            Some("Ignore") => Some(FieldValidation::Ignore),
            Some(_) => None,
        }
    }
}

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// `application/json`
    Json,
    /// `application/yaml`
    Yaml,
    /// `application/vnd.kubernetes.protobuf`
    Protobuf,
}

/// The media types that bodies may have, for messages about others.
pub const ACCEPTED: &str =
    "application/json, application/yaml, application/vnd.kubernetes.protobuf";

impl Media {
    /// What a `Content-Type` says; none for what is not understood. Without one it is JSON.
    #[must_use]
    pub fn parse(content_type: Option<&str>) -> Option<Media> {
        let content_type = content_type.unwrap_or_default();
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        match essence.to_ascii_lowercase().as_str() {
            "" | "application/json" | "*/*" => Some(Media::Json),
            "application/yaml" | "application/x-yaml" | "text/yaml" | "text/x-yaml" => {
                Some(Media::Yaml)
            }
            "application/vnd.kubernetes.protobuf" => Some(Media::Protobuf),
            _ => None,
        }
    }
}

/// A body that was understood.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decoded {
    /// The object: known fields only.
    pub value: Value,
    /// What the client should be told: `unknown field "spec.foo"`.
    pub warnings: Vec<String>,
}

/// A body that was not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Unknown or repeated fields, with `fieldValidation=Strict`.
    #[error("strict decoding error: {}", .0.join(", "))]
    Strict(Vec<String>),
    /// A value of a wrong type.
    #[error("{0}")]
    Wrong(String),
    /// Text that is not JSON at all.
    #[error("couldn't get version/kind; json parse error: {0}")]
    Json(String),
    /// Text that is not YAML at all.
    #[error("error converting YAML to JSON: yaml: {0}")]
    Yaml(String),
    /// Bytes that are not a message.
    #[error("cannot read the protobuf body: {0}")]
    Protobuf(#[from] proto::ProtoError),
}

impl DecodeError {
    /// What the API server answers with 400: `Pod in version "v1" cannot be handled as a Pod: ...`.
    #[must_use]
    pub fn refusal(&self, api_version: &str, kind: &str) -> String {
        match self {
            DecodeError::Strict(_) | DecodeError::Wrong(_) => {
                let version = api_version.rsplit('/').next().unwrap_or(api_version);
                format!("{kind} in version {version:?} cannot be handled as a {kind}: {self}")
            }
            DecodeError::Json(_) | DecodeError::Yaml(_) | DecodeError::Protobuf(_) => {
                self.to_string()
            }
        }
    }
}

/// Reads a body as an object of type `of`.
///
/// A protobuf body says itself what it is; the caller compares `apiVersion` and `kind` of what comes out.
///
/// # Errors
/// A body that cannot be read or does not fit the type.
pub fn decode(
    body: &[u8],
    media: Media,
    of: &Type,
    schemas: &Schemas,
    mode: FieldValidation,
) -> Result<Decoded, DecodeError> {
    match media {
        Media::Json => json(body, of, schemas, mode),
        Media::Yaml => {
            let (value, twice) = yaml_value(body)?;
            let reading = Reading::new(schemas, mode);
            twice.iter().for_each(|path| reading.duplicate(path));
            finish(value, of, reading)
        }
        Media::Protobuf => Ok(Decoded {
            value: proto::decode(body, schemas)?,
            warnings: Vec::new(),
        }),
    }
}

/// Makes a value that came about otherwise (by a patch) fit its type, as [`decode`] does.
///
/// # Errors
/// A value that does not fit the type.
pub fn check(
    value: Value,
    of: &Type,
    schemas: &Schemas,
    mode: FieldValidation,
) -> Result<Decoded, DecodeError> {
    finish(value, of, Reading::new(schemas, mode))
}

/// Reads a body without a type: patches, and the bodies of custom resources before their type is known.
///
/// # Errors
/// A body that cannot be read.
pub fn untyped(body: &[u8], media: Media) -> Result<Value, DecodeError> {
    match media {
        Media::Json => serde_json::from_slice(body).map_err(|err| DecodeError::Json(words(&err))),
        Media::Yaml => Ok(yaml_value(body)?.0),
        Media::Protobuf => Ok(proto::decode(body, Schemas::builtin())?),
    }
}

fn json(
    body: &[u8],
    of: &Type,
    schemas: &Schemas,
    mode: FieldValidation,
) -> Result<Decoded, DecodeError> {
    let reading = Reading::new(schemas, mode);
    let shape = Shape::Type(of.name.clone());
    let mut reader = serde_json::Deserializer::from_slice(body);
    let seed = Seed::new(&reading, &shape, Some(of), Path::root());
    let value = match seed.deserialize(&mut reader).and_then(|value| {
        reader.end()?;
        Ok(value)
    }) {
        Ok(value) => value,
        Err(err) => {
            let wrong = reading.take_wrong();
            return Err(wrong.map_or_else(|| DecodeError::Json(words(&err)), DecodeError::Wrong));
        }
    };
    reading.done(value.unwrap_or_default())
}

fn finish(value: Value, of: &Type, reading: Reading<'_>) -> Result<Decoded, DecodeError> {
    let shape = Shape::Type(of.name.clone());
    let seed = Seed::new(&reading, &shape, Some(of), Path::root());
    match seed.deserialize(value) {
        Ok(value) => reading.done(value.unwrap_or_default()),
        Err(err) => {
            let wrong = reading.take_wrong();
            Err(wrong.map_or_else(|| DecodeError::Json(words(&err)), DecodeError::Wrong))
        }
    }
}

/// What is wrong with a text, in one line.
fn words(err: &serde_json::Error) -> String {
    err.to_string().replace('\n', " ")
}

/// One YAML document, and the paths of the keys that stand there twice. JSON is YAML; it is read as JSON, which is faster.
fn yaml_value(body: &[u8]) -> Result<(Value, Vec<String>), DecodeError> {
    if body.trim_ascii_start().starts_with(b"{")
        && let Ok(value) = serde_json::from_slice(body)
    {
        return Ok((value, Vec::new()));
    }
    let text = std::str::from_utf8(body)
        .map_err(|_| DecodeError::Yaml("the text is not UTF-8".to_owned()))?;
    let mut documents = yaml::deep_documents(text).map_err(|err| {
        DecodeError::Yaml(match err.line {
            Some(line) => format!("line {line}: {err}"),
            None => err.to_string(),
        })
    })?;
    documents.retain(|document| document.value != node::Value::Null);
    if let Some(second) = documents.get(1) {
        let line = second.place.line;
        let why = "a second document; a request has one";
        return Err(DecodeError::Yaml(format!("line {line}: {why}")));
    }
    let mut twice = Vec::new();
    let value = documents
        .pop()
        .map(|root| plain(root, &Path::root(), &mut twice));
    Ok((value.unwrap_or_default(), twice))
}

/// The tree without places; of keys that stand there twice the last one counts.
fn plain(node: Node, path: &Path<'_>, twice: &mut Vec<String>) -> Value {
    match node.value {
        node::Value::Null => Value::Null,
        node::Value::Bool(value) => value.into(),
        node::Value::Int(value) => value.into(),
        node::Value::Unsigned(value) => value.into(),
        node::Value::Float(value) => value.into(),
        node::Value::String(value) => value.into(),
        node::Value::Sequence(items) => {
            let each = items.into_iter().enumerate();
            each.map(|(at, item)| plain(item, &path.index(at), twice))
                .collect()
        }
        node::Value::Mapping(entries) => {
            let mut map = Map::new();
            for entry in entries {
                let below = path.key(&entry.key);
                let value = plain(entry.node, &below, twice);
                if map.contains_key(&entry.key) {
                    twice.push(below.to_string());
                }
                map.insert(entry.key, value);
            }
            Value::Object(map)
        }
    }
}

#[cfg(test)]
mod tests;
