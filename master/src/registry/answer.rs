//! What goes into the registry and what comes out.
use super::stored;
use crate::error::ApiError;
use bytes::Bytes;
use http::StatusCode;
use serde_json::Value;

/// A request's body, once it is decoded.
#[derive(Clone, Debug, Default)]
pub struct Body {
    /// The object.
    pub value: Value,
    /// What the decoder has to say that is no error: unknown fields, with `fieldValidation=Warn`.
    pub warnings: Vec<String>,
}

impl From<Value> for Body {
    fn from(value: Value) -> Self {
        Body {
            value,
            warnings: Vec::new(),
        }
    }
}

/// What came of a request.
#[derive(Clone, Debug)]
pub struct Answer {
    /// 200, or 201 for what was made.
    pub status: StatusCode,
    /// The object, or a `Status`.
    pub content: Content,
    /// For `Warning` headers.
    pub warnings: Vec<String>,
}

impl Answer {
    pub(super) fn new(status: StatusCode, content: Content) -> Self {
        Answer {
            status,
            content,
            warnings: Vec::new(),
        }
    }
    /// With this status, as a JSON value.
    pub(super) fn of(status: StatusCode, value: Value) -> Self {
        Answer::new(status, Content::Value(value))
    }
    /// The object, for programs that work with it.
    ///
    /// # Errors
    /// It is no JSON: the store is damaged.
    pub fn value(self) -> Result<Value, ApiError> {
        self.content.into_value()
    }
}

/// An object on its way out: as bytes where they are at hand, so that nothing is encoded twice.
#[derive(Clone, Debug)]
pub enum Content {
    /// Its JSON, with the `resourceVersion` in it.
    Encoded(Bytes),
    /// As a value.
    Value(Value),
}

impl Content {
    /// As JSON.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        match self {
            Content::Encoded(bytes) => bytes.clone(),
            Content::Value(value) => stored::json(value),
        }
    }
    /// As a value.
    ///
    /// # Errors
    /// It is no JSON: the store is damaged.
    pub fn into_value(self) -> Result<Value, ApiError> {
        match self {
            Content::Value(value) => Ok(value),
            Content::Encoded(bytes) => stored::parse(&bytes),
        }
    }
}
