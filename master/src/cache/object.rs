//! An object as the cache holds it: its bytes once, and what selectors ask for worked out when one asks first.
use super::stamp;
use crate::error::ApiError;
use crate::resource::Resource;
use crate::store::{Entry, Event, Revision};
use bytes::{BufMut, Bytes, BytesMut};
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

/// What has become of an object (meta.k8s.io/v1 `WatchEvent`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// It is new, or new to this selector.
    Added,
    /// It has changed.
    Modified,
    /// It is gone, or of no more interest to this selector.
    Deleted,
}

impl Kind {
    /// As the wire has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Added => "ADDED",
            Kind::Modified => "MODIFIED",
            Kind::Deleted => "DELETED",
        }
    }

    /// What comes before the object in a watch event's line.
    #[must_use]
    pub fn head(self) -> &'static [u8] {
        match self {
            Kind::Added => br#"{"type":"ADDED","object":"#,
            Kind::Modified => br#"{"type":"MODIFIED","object":"#,
            Kind::Deleted => br#"{"type":"DELETED","object":"#,
        }
    }
}

/// What comes after it.
pub(crate) const TAIL: &[u8] = b"}\n";

/// One state of an object.
#[derive(Debug)]
pub struct Object {
    /// Its key in the store.
    pub key: Arc<str>,
    /// It as JSON, with its resourceVersion.
    pub bytes: Bytes,
    /// The revision that wrote it; of a deleted one, that of the deletion.
    pub revision: Revision,
    /// The line of the event that brought it; `bytes` is a part of it.
    line: Bytes,
    kind: Kind,
    labels: OnceLock<BTreeMap<String, String>>,
    fields: OnceLock<Box<[FieldsOf]>>,
}

/// The selectable fields in the order in which a resource names them.
type FieldsOf = Box<[Box<str>]>;

impl Object {
    /// From the store's own form.
    ///
    /// # Errors
    /// The stored bytes are no object.
    pub fn new(entry: &Entry, kind: Kind) -> Result<Self, ApiError> {
        let room = kind.head().len() + entry.value.len() + 48 + TAIL.len();
        let mut line = BytesMut::with_capacity(room);
        line.put_slice(kind.head());
        stamp::write(&mut line, &entry.value, entry.modified).ok_or_else(|| {
            ApiError::internal(format!("{} is damaged: it has no metadata", entry.key))
        })?;
        line.put_slice(TAIL);
        Ok(Object::in_line(
            entry.key.clone(),
            entry.modified,
            kind,
            line.freeze(),
        ))
    }

    fn in_line(key: Arc<str>, revision: Revision, kind: Kind, line: Bytes) -> Self {
        Object {
            key,
            bytes: line.slice(kind.head().len()..line.len() - TAIL.len()),
            revision,
            line,
            kind,
            labels: OnceLock::new(),
            fields: OnceLock::new(),
        }
    }

    /// It as somebody sees it leave who does not see what it has become at this revision.
    pub(super) fn left_at(&self, revision: Revision) -> Self {
        let kind = Kind::Deleted;
        let mut line = BytesMut::from(kind.head());
        stamp::rewrite(&mut line, &self.bytes, revision);
        line.put_slice(TAIL);
        Object::in_line(self.key.clone(), revision, kind, line.freeze())
    }

    /// The object of an event.
    ///
    /// # Errors
    /// See [`Object::new`].
    pub fn of(event: &Event) -> Result<Self, ApiError> {
        let kind = match (event.deleted, &event.previous) {
            (true, _) => Kind::Deleted,
            (false, None) => Kind::Added,
            (false, Some(_)) => Kind::Modified,
        };
        Object::new(&event.entry, kind)
    }

    /// The line of a watch event, if it is the event that brought this state: no copy is made.
    #[must_use]
    pub fn line(&self, kind: Kind) -> Option<Bytes> {
        (self.kind == kind).then(|| self.line.clone())
    }

    /// What brought this state.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// It, decoded.
    #[must_use]
    pub fn value(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_default()
    }

    /// `metadata.name`: what follows the last slash of its key.
    #[must_use]
    pub fn name(&self) -> &str {
        self.key.rsplit('/').next().unwrap_or("")
    }

    /// `metadata.namespace`; only right for objects that are in one.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.key.rsplit('/').nth(1).unwrap_or("")
    }

    /// `metadata.labels`.
    pub fn labels(&self) -> &BTreeMap<String, String> {
        #[derive(Deserialize)]
        struct Whole {
            metadata: Metadata,
        }
        #[derive(Deserialize)]
        struct Metadata {
            #[serde(default)]
            labels: Option<BTreeMap<String, String>>,
        }
        self.labels.get_or_init(|| {
            let whole = serde_json::from_slice::<Whole>(&self.bytes).ok();
            let labels = whole.and_then(|whole| whole.metadata.labels);
            labels.unwrap_or_default()
        })
    }

    /// The selectable fields of it, as the resource at this place of `shown_by` has them.
    pub(crate) fn fields(&self, shown_by: &[Arc<dyn Resource>], place: usize) -> &[Box<str>] {
        let all = self.fields.get_or_init(|| {
            let value = self.value();
            let of = |resource: &Arc<dyn Resource>| fields(resource.as_ref(), &value);
            shown_by.iter().map(of).collect()
        });
        all.get(place).map_or(&[], |fields| fields.as_ref())
    }

    /// How much memory it takes, about.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.line.len() + size_of::<Self>() + self.key.len()
    }
}

fn fields(resource: &dyn Resource, stored: &Value) -> FieldsOf {
    let names = resource.fields();
    if names.is_empty() {
        return Box::default();
    }
    if super::is_stored_form(resource.names(), stored) {
        let each = names.iter().map(|name| resource.field(stored, name));
        return each.map(String::into_boxed_str).collect();
    }
    let mut shown = stored.clone();
    resource.show(&mut shown);
    let each = names.iter().map(|name| resource.field(&shown, name));
    each.map(String::into_boxed_str).collect()
}
