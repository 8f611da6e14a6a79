//! Kubernetes' protobuf: the bodies that kubectl, helm and controllers send, read and written by the table of types.
//!
//! A body is four bytes of magic and a message `runtime.Unknown`: what it is (`apiVersion`, `kind`) and the object itself
//! (<https://kubernetes.io/docs/reference/using-api/api-concepts/#protobuf-encoding>). Go's servers write every field that is not a
//! pointer, also where it is empty; JSON leaves those out, and so does what is read here.
mod read;
pub(crate) mod wire;
mod write;

use crate::schema::{Schemas, Type};
use serde_json::Value;
use wire::{Reader, Wire};

/// `k8s` and a zero: what every body begins with.
pub const MAGIC: [u8; 4] = *b"k8s\0";

/// Bytes that are no object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProtoError {
    /// It does not begin with the magic.
    #[error("it does not begin with the four bytes \"k8s\\0\"; is the Content-Type right?")]
    NoMagic,
    /// The bytes end within a value, or a length points beyond them.
    #[error("the bytes end within {0}")]
    Truncated(String),
    /// Something that the wire format does not have.
    #[error("{place}: {problem}")]
    Malformed {
        /// The type and field.
        place: String,
        /// What is wrong there.
        problem: &'static str,
    },
    /// No such kind.
    #[error("no kind {kind:?} is registered for version {api_version:?}")]
    UnknownKind {
        /// What the body says it is.
        api_version: String,
        /// See `api_version`.
        kind: String,
    },
    /// Messages within messages without end.
    #[error("more than {} messages within each other", read::MOST_DEPTH)]
    TooDeep,
}

/// Reads a body: magic, envelope, object. What comes out has `apiVersion` and `kind`.
///
/// # Errors
/// Bytes that are no object of a known kind.
pub fn decode(body: &[u8], schemas: &Schemas) -> Result<Value, ProtoError> {
    let envelope = Envelope::read(body)?;
    let (group, version) = envelope
        .api_version
        .split_once('/')
        .unwrap_or(("", &envelope.api_version));
    let unknown = || ProtoError::UnknownKind {
        api_version: envelope.api_version.clone(),
        kind: envelope.kind.clone(),
    };
    let of = schemas
        .of_kind(group, version, &envelope.kind)
        .ok_or_else(unknown)?;
    let mut object = read::message(envelope.raw, of, schemas)?;
    object.insert("apiVersion".to_owned(), envelope.api_version.into());
    object.insert("kind".to_owned(), envelope.kind.into());
    Ok(Value::Object(object))
}

/// Writes an object of type `of` with magic and envelope.
#[must_use]
pub fn encode(object: &Value, of: &Type, schemas: &Schemas) -> Vec<u8> {
    let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
    let mut meta = Vec::new();
    wire::put_bytes(&mut meta, 1, text("apiVersion").as_bytes());
    wire::put_bytes(&mut meta, 2, text("kind").as_bytes());
    let mut out = MAGIC.to_vec();
    wire::put_bytes(&mut out, 1, &meta);
    wire::put_bytes(&mut out, 2, &write::message(object, of, schemas));
    wire::put_bytes(&mut out, 3, b"");
    wire::put_bytes(&mut out, 4, b"");
    out
}

/// `runtime.Unknown`.
struct Envelope<'a> {
    api_version: String,
    kind: String,
    raw: &'a [u8],
}

impl<'a> Envelope<'a> {
    fn read(body: &'a [u8]) -> Result<Envelope<'a>, ProtoError> {
        let body = body.strip_prefix(&MAGIC).ok_or(ProtoError::NoMagic)?;
        let mut envelope = Envelope {
            api_version: String::new(),
            kind: String::new(),
            raw: &[],
        };
        let mut reader = Reader::new(body, "the envelope");
        while let Some((tag, value)) = reader.next()? {
            match (tag, value) {
                (1, Wire::Bytes(meta)) => envelope.read_meta(meta)?,
                (2, Wire::Bytes(raw)) => envelope.raw = raw,
                (3, Wire::Bytes(encoding)) if !encoding.is_empty() => {
                    return Err(reader.malformed("contentEncoding is not understood"));
                }
                _ => {}
            }
        }
        Ok(envelope)
    }

    fn read_meta(&mut self, meta: &[u8]) -> Result<(), ProtoError> {
        let mut reader = Reader::new(meta, "the envelope's typeMeta");
        while let Some((tag, value)) = reader.next()? {
            match (tag, value) {
                (1, Wire::Bytes(text)) => self.api_version = reader.text(text)?.to_owned(),
                (2, Wire::Bytes(text)) => self.kind = reader.text(text)?.to_owned(),
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
