//! From messages to JSON values.
use super::ProtoError;
use super::wire::{Reader, Wire};
use crate::schema::{Field, Schemas, Shape, Type};
use crate::strict;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Number, Value};

/// Schemas of custom resources are the deepest there is.
pub(super) const MOST_DEPTH: usize = 100;

/// The one type whose fields hold unions.
pub(super) const JSON_SCHEMA_PROPS: &str =
    "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1.JSONSchemaProps";

type Object = Map<String, Value>;

/// Reads a message of type `of`.
pub(super) fn message(bytes: &[u8], of: &Type, schemas: &Schemas) -> Result<Object, ProtoError> {
    let mut object = Map::new();
    let at = At {
        of,
        schemas,
        depth: 0,
    };
    at.fields(bytes, 0, &mut object)?;
    Ok(object)
}

/// Which message is being read, and how deep it is.
#[derive(Clone, Copy)]
struct At<'a> {
    of: &'a Type,
    schemas: &'a Schemas,
    depth: usize,
}

impl At<'_> {
    fn below<'b>(&'b self, of: &'b Type) -> Result<At<'b>, ProtoError> {
        if self.depth >= MOST_DEPTH {
            return Err(ProtoError::TooDeep);
        }
        Ok(At {
            of,
            schemas: self.schemas,
            depth: self.depth + 1,
        })
    }

    /// Reads the fields of the message, or of the message embedded in it with the number `within`, into `object`.
    fn fields(&self, bytes: &[u8], within: u32, object: &mut Object) -> Result<(), ProtoError> {
        let mut reader = Reader::new(bytes, &self.of.name);
        while let Some((tag, value)) = reader.next()? {
            let own = self
                .of
                .fields
                .iter()
                .find(|f| f.tag == tag && f.within == within);
            if let Some(field) = own {
                self.field(field, value, object)?;
            } else if within == 0
                && self.of.fields.iter().any(|field| field.within == tag)
                && let Wire::Bytes(bytes) = value
            {
                self.fields(bytes, tag, object)?;
            }
        }
        Ok(())
    }

    fn field(&self, field: &Field, value: Wire<'_>, object: &mut Object) -> Result<(), ProtoError> {
        let name = &*field.name;
        match (&field.shape, value) {
            (Shape::List(inner), value) => {
                let items = object
                    .entry(name)
                    .or_insert_with(|| Value::Array(Vec::new()));
                if let Value::Array(items) = items {
                    self.items(field, inner, value, items)?;
                }
            }
            (Shape::Map(inner), Wire::Bytes(entry)) => {
                let map = object
                    .entry(name)
                    .or_insert_with(|| Value::Object(Map::new()));
                if let Value::Object(map) = map {
                    let (key, value) = self.entry(field, inner, entry)?;
                    map.insert(key, value);
                }
            }
            (shape, value) => {
                let read = self.value(field, shape, value)?;
                let keep = field.required || field.zero_counts || matches!(shape, Shape::Any);
                match read.filter(|value| keep || !is_zero(value)) {
                    Some(value) => object.insert(name.to_owned(), value),
                    None => object.remove(name),
                };
            }
        }
        Ok(())
    }

    /// One item of a list, or several numbers in one.
    fn items(
        &self,
        field: &Field,
        inner: &Shape,
        value: Wire<'_>,
        items: &mut Vec<Value>,
    ) -> Result<(), ProtoError> {
        match (inner, value) {
            (Shape::Integer(_) | Shape::Boolean, Wire::Bytes(packed)) => {
                let mut reader = Reader::new(packed, &self.of.name);
                while let Some(number) = reader.packed()? {
                    items.extend(self.value(field, inner, Wire::Varint(number))?);
                }
            }
            (inner, value) => {
                let item = self.value(field, inner, value)?;
                items.push(item.unwrap_or(Value::Null));
            }
        }
        Ok(())
    }

    fn entry(
        &self,
        field: &Field,
        inner: &Shape,
        entry: &[u8],
    ) -> Result<(String, Value), ProtoError> {
        let mut reader = Reader::new(entry, &self.of.name);
        let mut key = String::new();
        let mut read = None;
        while let Some((tag, value)) = reader.next()? {
            match (tag, value) {
                (1, Wire::Bytes(text)) => key = reader.text(text)?.to_owned(),
                (2, value) => read = self.value(field, inner, value)?,
                _ => {}
            }
        }
        Ok((key, read.unwrap_or_else(|| inner.zero())))
    }

    /// One value; none for what JSON leaves out whatever the field is (the time that never was).
    fn value(
        &self,
        field: &Field,
        shape: &Shape,
        value: Wire<'_>,
    ) -> Result<Option<Value>, ProtoError> {
        let wrong = || ProtoError::Malformed {
            place: format!("{}.{}", self.of.name, field.name),
            problem: "a value of a wrong type",
        };
        Ok(match (shape, value) {
            (Shape::String, Wire::Bytes(text)) => Some(self.text(text)?.into()),
            (Shape::Bytes, Wire::Bytes(bytes)) => Some(STANDARD.encode(bytes).into()),
            (Shape::Integer(32), Wire::Varint(number)) => Some(low_bits(number).into()),
            (Shape::Integer(_), Wire::Varint(number)) => Some(number.cast_signed().into()),
            (Shape::Boolean, Wire::Varint(number)) => Some((number != 0).into()),
            (Shape::Number, Wire::Fixed64(bits)) => {
                Number::from_f64(f64::from_bits(bits)).map(Value::Number)
            }
            (Shape::Time, Wire::Bytes(bytes)) => self.time(bytes, false)?,
            (Shape::MicroTime, Wire::Bytes(bytes)) => self.time(bytes, true)?,
            (Shape::Quantity, Wire::Bytes(bytes)) => Some(self.quantity(field, bytes)?),
            (Shape::IntOrString, Wire::Bytes(bytes)) => Some(self.int_or_string(bytes)?),
            (Shape::Any, Wire::Bytes(bytes)) => self.any(field, bytes)?,
            (Shape::Type(name), Wire::Bytes(bytes)) => {
                let Some(of) = self.schemas.get(name) else {
                    return Ok(None);
                };
                let mut object = Map::new();
                self.below(of)?.fields(bytes, 0, &mut object)?;
                Some(Value::Object(object))
            }
            // A list in a map or list has a message of its own around it: `ExtraValue`.
            (Shape::List(inner), Wire::Bytes(bytes)) => {
                let mut items = Vec::new();
                let mut reader = Reader::new(bytes, &self.of.name);
                while let Some((tag, value)) = reader.next()? {
                    if tag == 1 {
                        self.items(field, inner, value, &mut items)?;
                    }
                }
                Some(Value::Array(items))
            }
            _ => return Err(wrong()),
        })
    }

    fn text<'b>(&self, bytes: &'b [u8]) -> Result<&'b str, ProtoError> {
        std::str::from_utf8(bytes).map_err(|_| ProtoError::Malformed {
            place: self.of.name.to_string(),
            problem: "text that is not UTF-8",
        })
    }

    /// `Timestamp`: seconds and nanoseconds.
    fn time(&self, bytes: &[u8], micro: bool) -> Result<Option<Value>, ProtoError> {
        let (mut seconds, mut nanos) = (0_i64, 0_i64);
        let mut reader = Reader::new(bytes, &self.of.name);
        while let Some((tag, value)) = reader.next()? {
            match (tag, value) {
                (1, Wire::Varint(number)) => seconds = number.cast_signed(),
                (2, Wire::Varint(number)) => nanos = number.cast_signed(),
                _ => {}
            }
        }
        if (seconds, nanos) == (0, 0) {
            return Ok(None);
        }
        let nanos = i32::try_from(nanos)
            .ok()
            .filter(|nanos| (0..1_000_000_000).contains(nanos));
        let text = nanos.and_then(|nanos| strict::from_seconds(seconds, nanos, micro));
        match text {
            Some(text) => Ok(Some(text.into())),
            None => Err(reader.malformed("a time out of range")),
        }
    }

    fn quantity(&self, field: &Field, bytes: &[u8]) -> Result<Value, ProtoError> {
        let mut text = "0";
        let mut reader = Reader::new(bytes, &self.of.name);
        while let Some((tag, value)) = reader.next()? {
            if let (1, Wire::Bytes(found)) = (tag, value)
                && !found.is_empty()
            {
                text = self.text(found)?;
            }
        }
        strict::quantity(text)
            .map(Value::String)
            .map_err(|_| ProtoError::Malformed {
                place: format!("{}.{}", self.of.name, field.name),
                problem: "text that is not a quantity",
            })
    }

    /// `IntOrString`: which of both, the number, the text.
    fn int_or_string(&self, bytes: &[u8]) -> Result<Value, ProtoError> {
        let (mut kind, mut number, mut text) = (0, 0_i32, "");
        let mut reader = Reader::new(bytes, &self.of.name);
        while let Some((tag, value)) = reader.next()? {
            match (tag, value) {
                (1, Wire::Varint(found)) => kind = found,
                (2, Wire::Varint(found)) => number = low_bits(found),
                (3, Wire::Bytes(found)) => text = self.text(found)?,
                _ => {}
            }
        }
        Ok(if kind == 0 {
            number.into()
        } else {
            text.into()
        })
    }

    /// JSON in bytes (`RawExtension`, `FieldsV1`, `JSON`), or one of the unions that only schemas of custom resources have.
    fn any(&self, field: &Field, bytes: &[u8]) -> Result<Option<Value>, ProtoError> {
        let union = &*self.of.name == JSON_SCHEMA_PROPS
            && !matches!(&*field.name, "default" | "example" | "enum");
        if union {
            return self.union(field, bytes).map(Some);
        }
        let mut reader = Reader::new(bytes, &self.of.name);
        let mut read = None;
        while let Some((tag, value)) = reader.next()? {
            if let (1, Wire::Bytes(raw)) = (tag, value)
                && !raw.is_empty()
            {
                let parsed = serde_json::from_slice(raw);
                read = Some(parsed.map_err(|_| reader.malformed("raw bytes that are not JSON"))?);
            }
        }
        Ok(read)
    }

    /// `JSONSchemaPropsOrBool` (1: bool, 2: schema), `OrArray` (1: schema, 2: schemas), `OrStringArray` (1: schema, 2: text).
    fn union(&self, field: &Field, bytes: &[u8]) -> Result<Value, ProtoError> {
        let below = self.below(self.of)?;
        let schema = |bytes: &[u8]| {
            let mut object = Map::new();
            below
                .fields(bytes, 0, &mut object)
                .map(|()| Value::Object(object))
        };
        let mut reader = Reader::new(bytes, &self.of.name);
        let (mut allows, mut one, mut many) = (None, None, Vec::new());
        while let Some((tag, value)) = reader.next()? {
            match (tag, value) {
                (1, Wire::Varint(found)) => allows = Some(Value::from(found != 0)),
                (1, Wire::Bytes(found)) => one = Some(schema(found)?),
                (2, Wire::Bytes(found)) => many.push(found),
                _ => {}
            }
        }
        if let Some(allows) = allows {
            // The schema, where there is one, says more than the word.
            return many.first().map_or(Ok(allows), |found| schema(found));
        }
        match one {
            Some(one) => Ok(one),
            None if &*field.name == "dependencies" => {
                let words = many
                    .into_iter()
                    .map(|text| self.text(text).map(Value::from));
                words.collect()
            }
            None => many.into_iter().map(schema).collect(),
        }
    }
}

/// Negative numbers stand there with 64 bits; what is beyond 32 is cut off, as everywhere.
fn low_bits(number: u64) -> i32 {
    let low = u32::try_from(number & u64::from(u32::MAX));
    low.unwrap_or_default().cast_signed()
}

/// What Go's JSON leaves out of fields that are no pointers.
fn is_zero(value: &Value) -> bool {
    match value {
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Null => true,
        Value::Array(_) | Value::Object(_) => false,
    }
}
