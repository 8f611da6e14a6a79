//! A serde deserializer over [`Node`] that knows where it is.

use std::fmt::{self, Display};

use serde::de::{self, Deserializer, Error as _, Expected, Unexpected, Visitor};

use super::access::{Entries, Items, Unit};
use super::{Misfit, MisfitKind, Pass, address_of};
use crate::node::{Node, Place, Value};

/// A value that could not be read. The place is filled in by the innermost reader that sees the fault pass.
#[derive(Debug)]
pub(super) struct Fault {
    problem: String,
    at: Option<(String, Place, usize)>,
}

impl Fault {
    fn at(mut self, reader: Reader<'_, '_>) -> Self {
        let Reader { node, place, pass } = reader;
        self.at
            .get_or_insert_with(|| (pass.path(), place, address_of(node)));
        self
    }

    /// The fault for people, and the address of the value to set aside.
    pub(super) fn into_misfit(self, root: &Node, base: &str) -> (Misfit, usize) {
        let (path, place, address) = self
            .at
            .unwrap_or_else(|| (base.to_owned(), root.place, address_of(root)));
        (
            Misfit {
                path,
                place,
                problem: self.problem,
                kind: MisfitKind::Wrong,
            },
            address,
        )
    }
}

impl Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.problem)
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: Display>(message: T) -> Self {
        Self {
            problem: message.to_string(),
            at: None,
        }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::custom(format_args!(
            "expected {}, found {found}",
            in_words(&expected.to_string())
        ))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }
}

const BASE64: &str = "base64";

/// The type names of the API, as a person would call them.
fn in_words(expected: &str) -> &str {
    match expected {
        "Quantity" => "a quantity such as 500m or 64Mi",
        "IntOrString" => "a number or a name",
        "Time" | "MicroTime" => "a time such as 2026-01-31T12:00:00Z",
        "a base64-encoded string" => BASE64,
        "u8" => "a number from 0 to 255",
        "u16" => "a number from 0 to 65535",
        "u32" => "a 32-bit integer, 0 or above",
        "i32" => "a 32-bit integer",
        "i64" => "a 64-bit integer",
        other => other,
    }
}

#[derive(Clone, Copy)]
pub(super) struct Reader<'n, 'p> {
    node: &'n Node,
    /// Where the key of the value stands, or else the value.
    place: Place,
    pass: &'p Pass,
}

impl<'n, 'p> Reader<'n, 'p> {
    pub(super) fn new(node: &'n Node, pass: &'p Pass) -> Self {
        Self {
            node,
            place: node.place,
            pass,
        }
    }

    /// The same, shown where its key stands.
    pub(super) fn at_key(self, place: Place) -> Self {
        Self { place, ..self }
    }

    fn expected(self, what: &str) -> Fault {
        Fault::custom(format_args!(
            "expected {what}, found {}",
            self.node.describe()
        ))
        .at(self)
    }

    /// Runs `read`, which must have been given this node, and says where it failed.
    pub(super) fn located<T>(self, result: Result<T, Fault>) -> Result<T, Fault> {
        result.map_err(|fault| fault.at(self))
    }

    fn integer<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.node.value {
            Value::Int(value) => self.located(visitor.visit_i64(value)),
            Value::Unsigned(value) => self.located(visitor.visit_u64(value)),
            Value::String(ref text) if text.parse::<i64>().is_ok() => Err(Fault::custom(
                format_args!("expected an integer, found string {text:?}; remove the quotes"),
            )
            .at(self)),
            _ => Err(self.expected("an integer")),
        }
    }

    fn string<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::String(text) => self.located(visitor.visit_str(text)),
            // As in Go: the zero value.
            Value::Null => self.located(visitor.visit_str("")),
            Value::Bool(_) | Value::Int(_) | Value::Unsigned(_) | Value::Float(_) => {
                Err(Fault::custom(format_args!(
                    "expected a string, found {}; put it in quotes",
                    self.node.describe()
                ))
                .at(self))
            }
            Value::Sequence(_) | Value::Mapping(_) => Err(self.expected("a string")),
        }
    }

    /// Text that stands for something else: bytes, a time.
    fn encoded<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Fault> {
        let Value::String(text) = &self.node.value else {
            return self.string(visitor);
        };
        let expected = (&visitor as &dyn Expected).to_string();
        let expected = in_words(&expected);
        // As Go's reader: base64 may be broken into lines.
        let result = if expected == BASE64 && text.contains(['\n', '\r']) {
            visitor.visit_str(&text.replace(['\n', '\r'], ""))
        } else {
            visitor.visit_str(text)
        };
        self.located(result.map_err(|fault: Fault| {
            let (found, why) = (self.node.describe(), fault.problem);
            let why = why.trim_end_matches('.');
            Fault::custom(format_args!("expected {expected}, found {found} ({why})"))
        }))
    }

    fn mapping<V: Visitor<'n>>(
        self,
        fields: Option<&'static [&'static str]>,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let Value::Mapping(entries) = &self.node.value else {
            return Err(self.expected("an object"));
        };
        let access = Entries::new(entries, fields, self.pass);
        self.located(visitor.visit_map(access))
    }
}

impl<'n> Deserializer<'n> for Reader<'n, '_> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::Null => self.located(visitor.visit_unit()),
            Value::Bool(value) => self.located(visitor.visit_bool(*value)),
            Value::Float(value) => self.located(visitor.visit_f64(*value)),
            Value::Int(_) | Value::Unsigned(_) => self.integer(visitor),
            Value::String(_) => self.string(visitor),
            Value::Sequence(_) => self.deserialize_seq(visitor),
            Value::Mapping(_) => self.mapping(None, visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.node.value {
            Value::Bool(value) => self.located(visitor.visit_bool(value)),
            _ => Err(self.expected("true or false")),
        }
    }

    fn deserialize_option<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Fault> {
        match self.node.value {
            Value::Null => self.located(visitor.visit_none()),
            _ => self.located(visitor.visit_some(self)),
        }
    }

    fn deserialize_seq<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Fault> {
        let Value::Sequence(items) = &self.node.value else {
            return Err(self.expected("a list"));
        };
        let access = Items::new(items, self.pass);
        self.located(visitor.visit_seq(access))
    }

    fn deserialize_struct<V: Visitor<'n>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.mapping(Some(fields), visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'n>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        self.located(visitor.visit_newtype_struct(self))
    }

    fn deserialize_enum<V: Visitor<'n>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        match &self.node.value {
            Value::String(text) => self.located(visitor.visit_enum(Unit(text))),
            _ => Err(self.expected("a string")),
        }
    }

    fn deserialize_map<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.mapping(None, visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.located(visitor.visit_unit())
    }

    fn deserialize_i64<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.integer(visitor)
    }

    fn deserialize_i32<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.integer(visitor)
    }

    fn deserialize_u64<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.integer(visitor)
    }

    fn deserialize_u32<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.integer(visitor)
    }

    fn deserialize_u8<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.integer(visitor)
    }

    fn deserialize_u16<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.integer(visitor)
    }

    fn deserialize_str<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.encoded(visitor)
    }

    fn deserialize_string<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.string(visitor)
    }

    fn deserialize_bytes<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.string(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'n>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.string(visitor)
    }

    serde::forward_to_deserialize_any! {
        <V: Visitor<'n>>
        i8 i16 i128 u128 f32 f64 char unit unit_struct tuple tuple_struct identifier
    }
}
