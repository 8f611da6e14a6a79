//! In which form an object, a list, a line of a watch goes out: as it is, as its metadata alone, as rows of a table.
//!
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables>
mod frames;
mod media;
#[cfg(test)]
mod tests;

pub use frames::Frames;

use crate::cache::{self, Change, Kind, Object, object::TAIL};
use crate::resource::Resource;
use crate::store::Revision;
use bytes::{BufMut, Bytes, BytesMut};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::sync::Arc;

/// The form of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Form {
    /// Objects as they are.
    #[default]
    Plain,
    /// Only `metadata` (`PartialObjectMetadata`).
    Metadata(Version),
    /// Rows with columns for people (`Table`).
    Table(Version, Include),
}

/// The version of `meta.k8s.io`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// Today's.
    V1,
    /// Of the same shape.
    V1beta1,
}

impl Version {
    fn as_str(self) -> &'static str {
        match self {
            Version::V1 => "meta.k8s.io/v1",
            Version::V1beta1 => "meta.k8s.io/v1beta1",
        }
    }
}

/// What comes with each row (`includeObject`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Include {
    /// The metadata.
    #[default]
    Metadata,
    /// Nothing.
    None,
    /// All of the object.
    Object,
}

/// What is known of a list as a whole (meta.k8s.io/v1 `ListMeta`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListMeta {
    /// The state it shows.
    pub revision: Revision,
    /// Where to go on, if it is not all.
    pub continue_token: Option<String>,
    /// How many more there are, where that is known.
    pub remaining: Option<u64>,
}

/// Writes the objects of one resource in one form.
#[derive(Clone, Debug)]
pub struct Painter {
    resource: Arc<dyn Resource>,
    form: Form,
    api_version: String,
    /// What a stored object begins with if it is stored as this resource shows it.
    stored_as: String,
}

impl Painter {
    /// For this resource, in this form.
    #[must_use]
    pub fn new(resource: &Arc<dyn Resource>, form: Form) -> Self {
        let api_version = cache::api_version(resource.names());
        Painter {
            resource: resource.clone(),
            form,
            stored_as: format!("{{\"apiVersion\":\"{api_version}\""),
            api_version,
        }
    }

    /// The form.
    #[must_use]
    pub fn form(&self) -> Form {
        self.form
    }

    /// One object as an answer of its own.
    #[must_use]
    pub fn single(&self, stamped: &Bytes) -> Bytes {
        let Form::Table(..) = self.form else {
            return self.item(stamped);
        };
        let value = self.shown(stamped);
        let meta = ListMeta {
            revision: revision(&value),
            ..ListMeta::default()
        };
        let mut out = BytesMut::from(&self.list_head(&meta)[..]);
        out.put_slice(&self.row(&value, stamped));
        out.put_slice(self.list_tail());
        out.freeze()
    }

    /// One object as an item of a list, or as a row of a table.
    #[must_use]
    pub fn item(&self, stamped: &Bytes) -> Bytes {
        match self.form {
            Form::Plain => self.plain(stamped),
            Form::Metadata(version) => partial(&self.plain(stamped), version).into(),
            Form::Table(..) => self.row(&self.shown(stamped), stamped).into(),
        }
    }

    /// What comes before the items of a list; between them are commas.
    #[must_use]
    pub fn list_head(&self, meta: &ListMeta) -> Vec<u8> {
        let mut metadata = json!({"resourceVersion": meta.revision.to_string()});
        if let Some(token) = &meta.continue_token {
            metadata["continue"] = token.as_str().into();
        }
        if let Some(remaining) = meta.remaining {
            metadata["remainingItemCount"] = remaining.into();
        }
        let (kind, version, items) = match self.form {
            Form::Plain => {
                let kind = format!("{}List", self.resource.names().kind);
                (kind, self.api_version.as_str(), "items".to_owned())
            }
            Form::Metadata(version) => (
                "PartialObjectMetadataList".to_owned(),
                version.as_str(),
                "items".to_owned(),
            ),
            Form::Table(version, _) => (
                "Table".to_owned(),
                version.as_str(),
                format!("columnDefinitions\":{},\"rows", self.columns()),
            ),
        };
        format!(
            "{{\"kind\":\"{kind}\",\"apiVersion\":\"{version}\",\"metadata\":{metadata},\"{items}\":["
        )
        .into_bytes()
    }

    /// What comes after them.
    #[must_use]
    pub fn list_tail(&self) -> &'static [u8] {
        b"]}\n"
    }

    /// A line of a watch; `first` if nothing has been told before (a table names its columns once). Each is encoded once
    /// for all who watch in this form.
    #[must_use]
    pub fn change(&self, change: &Change, object: &Arc<Object>, kind: Kind, first: bool) -> Bytes {
        if first && matches!(self.form, Form::Table(..)) {
            return self.line(object, kind, true);
        }
        if self.form == Form::Plain
            && self.as_stored(&object.bytes)
            && let Some(line) = object.line(kind)
        {
            return line;
        }
        let key = frames::Key {
            group: self.resource.names().group,
            form: self.form,
            kind,
        };
        change.frames.get(key, || self.line(object, kind, false))
    }

    /// The same for a state that no change brought.
    #[must_use]
    pub fn line(&self, object: &Object, kind: Kind, first: bool) -> Bytes {
        let shown = match self.form {
            Form::Table(version, _) => {
                let row = self.row(&self.shown(&object.bytes), &object.bytes);
                Bytes::from(self.table(version, object.revision, &row, first))
            }
            Form::Plain | Form::Metadata(_) => self.item(&object.bytes),
        };
        let mut line = BytesMut::with_capacity(kind.head().len() + shown.len() + TAIL.len());
        line.put_slice(kind.head());
        line.put_slice(&shown);
        line.put_slice(TAIL);
        line.freeze()
    }

    /// The line that says how far a watch is; `initial` where all that was there before has been told.
    #[must_use]
    pub fn bookmark(&self, revision: Revision, initial: bool, first: bool) -> Bytes {
        let mut metadata = json!({"resourceVersion": revision.to_string()});
        if initial {
            metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
        }
        let mark = json!({
            "kind": self.resource.names().kind,
            "apiVersion": self.api_version,
            "metadata": metadata,
        });
        let object = match self.form {
            Form::Plain => mark.to_string(),
            Form::Metadata(version) => json!({
                "kind": "PartialObjectMetadata", "apiVersion": version.as_str(), "metadata": metadata,
            })
            .to_string(),
            Form::Table(version, _) => {
                let row = self.row(&mark, &mark.to_string().into());
                let table = self.table(version, revision, &row, first);
                String::from_utf8(table).unwrap_or_default()
            }
        };
        format!("{{\"type\":\"BOOKMARK\",\"object\":{object}}}\n").into()
    }

    fn table(&self, version: Version, revision: Revision, row: &[u8], first: bool) -> Vec<u8> {
        let version = version.as_str();
        let columns = if first { self.columns() } else { Value::Null };
        let mut table = format!(
            "{{\"kind\":\"Table\",\"apiVersion\":\"{version}\",\"metadata\":{{\"resourceVersion\":\"{revision}\"}},\
             \"columnDefinitions\":{columns},\"rows\":["
        )
        .into_bytes();
        table.extend_from_slice(row);
        table.extend_from_slice(b"]}");
        table
    }

    fn columns(&self) -> Value {
        let columns = self.resource.columns().iter();
        columns
            .map(|column| {
                json!({
                    "name": column.name, "type": column.kind, "format": column.format,
                    "description": column.description, "priority": column.priority,
                })
            })
            .collect()
    }

    fn row(&self, shown: &Value, stamped: &Bytes) -> Vec<u8> {
        let now = jiff::Timestamp::now().as_second();
        let cells = Value::Array(self.resource.row(shown, now));
        let mut row = format!("{{\"cells\":{cells},\"object\":").into_bytes();
        let Form::Table(version, include) = self.form else {
            return row;
        };
        match include {
            Include::Metadata => row.extend(partial(&self.plain(stamped), version)),
            Include::None => row.extend_from_slice(b"null"),
            Include::Object => row.extend_from_slice(&self.plain(stamped)),
        }
        row.push(b'}');
        row
    }

    /// Whether these bytes are what this resource shows.
    #[must_use]
    pub fn as_stored(&self, stamped: &[u8]) -> bool {
        stamped.starts_with(self.stored_as.as_bytes())
    }

    fn plain(&self, stamped: &Bytes) -> Bytes {
        if self.as_stored(stamped) {
            return stamped.clone();
        }
        self.shown(stamped).to_string().into()
    }

    /// Decoded, in the resource's version.
    fn shown(&self, stamped: &[u8]) -> Value {
        let mut value: Value = serde_json::from_slice(stamped).unwrap_or_default();
        if !self.as_stored(stamped) && !cache::is_stored_form(self.resource.names(), &value) {
            self.resource.show(&mut value);
            if let Some(map) = value.as_object_mut() {
                map.insert("apiVersion".to_owned(), self.api_version.as_str().into());
            }
        }
        value
    }
}

fn revision(object: &Value) -> Revision {
    let text = crate::meta::text(object, "resourceVersion");
    text.parse().unwrap_or_default()
}

/// The metadata is copied as it stands.
fn partial(shown: &[u8], version: Version) -> Vec<u8> {
    #[derive(Deserialize)]
    struct Whole<'o> {
        #[serde(borrow)]
        metadata: &'o RawValue,
    }
    let metadata = match serde_json::from_slice::<Whole<'_>>(shown) {
        Ok(whole) => whole.metadata.get(),
        Err(_) => "{}",
    };
    let version = version.as_str();
    format!(
        "{{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"{version}\",\"metadata\":{metadata}}}"
    )
    .into_bytes()
}

/// One object as an answer of its own: what the registry has as bytes.
#[must_use]
pub fn object(resource: &Arc<dyn Resource>, form: Form, stamped: &Bytes) -> Bytes {
    Painter::new(resource, form).single(stamped)
}
