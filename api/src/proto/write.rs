//! From JSON values to messages. What does not fit its type is left out: values come from `strict`, where all fits.
use super::read::JSON_SCHEMA_PROPS;
use super::wire::{put_bytes, put_fixed64, put_varint};
use crate::schema::{Field, Schemas, Shape, Type};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;
use std::collections::BTreeMap;

/// Writes an object as a message of type `of`.
pub(super) fn message(object: &Value, of: &Type, schemas: &Schemas) -> Vec<u8> {
    let mut out = Vec::new();
    let mut embedded: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
    let Some(object) = object.as_object() else {
        return out;
    };
    for field in of.fields.iter().filter(|field| field.tag != 0) {
        let Some(value) = object.get(&*field.name) else {
            continue;
        };
        let writer = Writer { of, field, schemas };
        match field.within {
            0 => writer.field(value, &mut out),
            within => writer.field(value, embedded.entry(within).or_default()),
        }
    }
    for (tag, bytes) in embedded {
        put_bytes(&mut out, tag, &bytes);
    }
    out
}

struct Writer<'a> {
    of: &'a Type,
    field: &'a Field,
    schemas: &'a Schemas,
}

impl Writer<'_> {
    fn field(&self, value: &Value, out: &mut Vec<u8>) {
        let tag = self.field.tag;
        match (&self.field.shape, value) {
            (Shape::List(inner), Value::Array(items)) => {
                items
                    .iter()
                    .for_each(|item| self.value(inner, tag, item, out));
            }
            (Shape::Map(inner), Value::Object(map)) => {
                for (key, value) in map {
                    let mut entry = Vec::new();
                    put_bytes(&mut entry, 1, key.as_bytes());
                    self.value(inner, 2, value, &mut entry);
                    put_bytes(out, tag, &entry);
                }
            }
            (shape, value) => self.value(shape, tag, value, out),
        }
    }

    fn value(&self, shape: &Shape, tag: u32, value: &Value, out: &mut Vec<u8>) {
        match (shape, value) {
            (Shape::String, Value::String(text)) => put_bytes(out, tag, text.as_bytes()),
            (Shape::Bytes, Value::String(text)) => {
                put_bytes(out, tag, &STANDARD.decode(text).unwrap_or_default());
            }
            (Shape::Integer(_), Value::Number(number)) => {
                put_varint(
                    out,
                    tag,
                    number.as_i64().unwrap_or_default().cast_unsigned(),
                );
            }
            (Shape::Number, Value::Number(number)) => {
                put_fixed64(out, tag, number.as_f64().unwrap_or_default().to_bits());
            }
            (Shape::Boolean, Value::Bool(value)) => put_varint(out, tag, u64::from(*value)),
            (Shape::Time | Shape::MicroTime, Value::String(text)) => {
                put_bytes(out, tag, &time(text));
            }
            (Shape::Quantity, Value::String(text)) => {
                let mut inner = Vec::new();
                put_bytes(&mut inner, 1, text.as_bytes());
                put_bytes(out, tag, &inner);
            }
            (Shape::IntOrString, value) => put_bytes(out, tag, &int_or_string(value)),
            (Shape::Any, value) => put_bytes(out, tag, &self.any(value)),
            (Shape::Type(name), value) => {
                if let Some(of) = self.schemas.get(name) {
                    put_bytes(out, tag, &message(value, of, self.schemas));
                }
            }
            (Shape::List(inner), Value::Array(items)) => {
                let mut list = Vec::new();
                items
                    .iter()
                    .for_each(|item| self.value(inner, 1, item, &mut list));
                put_bytes(out, tag, &list);
            }
            _ => {}
        }
    }

    fn any(&self, value: &Value) -> Vec<u8> {
        let mut out = Vec::new();
        let schema = |value: &Value| message(value, self.of, self.schemas);
        let plain = matches!(&*self.field.name, "default" | "example" | "enum");
        if &*self.of.name != JSON_SCHEMA_PROPS || plain {
            put_bytes(&mut out, 1, value.to_string().as_bytes());
            return out;
        }
        let or_bool = self.field.name.starts_with("additional");
        match value {
            Value::Bool(allows) => put_varint(&mut out, 1, u64::from(*allows)),
            Value::Array(many) => {
                for one in many {
                    let bytes = one.as_str().map_or_else(|| schema(one), |text| text.into());
                    put_bytes(&mut out, 2, &bytes);
                }
            }
            one if or_bool => {
                put_varint(&mut out, 1, 1);
                put_bytes(&mut out, 2, &schema(one));
            }
            one => put_bytes(&mut out, 1, &schema(one)),
        }
        out
    }
}

fn time(text: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let at: Timestamp = text.parse().unwrap_or_default();
    // Before 1970 the nanoseconds still count forwards.
    let nanos = i64::from(at.subsec_nanosecond());
    let borrow = i64::from(nanos < 0);
    put_varint(&mut out, 1, (at.as_second() - borrow).cast_unsigned());
    put_varint(
        &mut out,
        2,
        (nanos + borrow * 1_000_000_000).cast_unsigned(),
    );
    out
}

fn int_or_string(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(&mut out, 1, u64::from(value.is_string()));
    put_varint(
        &mut out,
        2,
        value.as_i64().unwrap_or_default().cast_unsigned(),
    );
    put_bytes(&mut out, 3, value.as_str().unwrap_or_default().as_bytes());
    out
}
