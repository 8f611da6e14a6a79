//! Reads a value as a shape, in one pass over the text.
use super::path::Path;
use super::{DecodeError, Decoded, FieldValidation, scalar};
use crate::schema::{Field, Schemas, Shape, Type};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::cell::RefCell;
use std::fmt;

/// No more than these are told.
const MOST_COMPLAINTS: usize = 100;

/// What is gathered while one object is read.
pub(super) struct Reading<'a> {
    schemas: &'a Schemas,
    mode: FieldValidation,
    complaints: RefCell<Vec<String>>,
    wrong: RefCell<Option<String>>,
}

impl<'a> Reading<'a> {
    pub(super) fn new(schemas: &'a Schemas, mode: FieldValidation) -> Reading<'a> {
        Reading {
            schemas,
            mode,
            complaints: RefCell::default(),
            wrong: RefCell::default(),
        }
    }

    pub(super) fn duplicate(&self, path: &impl fmt::Display) {
        self.complain("duplicate", path);
    }

    fn complain(&self, what: &str, path: &impl fmt::Display) {
        if self.mode == FieldValidation::Ignore {
            return;
        }
        let mut complaints = self.complaints.borrow_mut();
        if complaints.len() < MOST_COMPLAINTS {
            let path = path.to_string();
            let complaint = format!("{what} field \"{path}\"");
            if !complaints.contains(&complaint) {
                complaints.push(complaint);
            }
        }
    }

    /// Why reading stopped, if it was a value that did not fit.
    pub(super) fn take_wrong(&self) -> Option<String> {
        self.wrong.take()
    }

    pub(super) fn done(self, value: Value) -> Result<Decoded, DecodeError> {
        let complaints = self.complaints.into_inner();
        match self.mode {
            FieldValidation::Strict if !complaints.is_empty() => {
                Err(DecodeError::Strict(complaints))
            }
            _ => Ok(Decoded {
                value,
                warnings: complaints,
            }),
        }
    }
}

/// A value to be read: as what, and where. Null reads as nothing.
pub(super) struct Seed<'a> {
    reading: &'a Reading<'a>,
    shape: &'a Shape,
    /// The type that `shape` names, or that the value is a field of.
    of: Option<&'a Type>,
    path: Path<'a>,
}

impl<'a> Seed<'a> {
    pub(super) fn new(
        reading: &'a Reading<'a>,
        shape: &'a Shape,
        of: Option<&'a Type>,
        path: Path<'a>,
    ) -> Seed<'a> {
        Seed {
            reading,
            shape,
            of,
            path,
        }
    }

    fn below<'b>(&'b self, shape: &'b Shape, path: Path<'b>) -> Seed<'b> {
        Seed::new(self.reading, shape, self.of, path)
    }

    /// Stops: this is not what belongs here.
    fn wrong<E: Error>(&self, problem: String) -> E {
        *self.reading.wrong.borrow_mut() = Some(problem);
        E::custom("a value of a wrong type")
    }

    /// Stops with Go's words for a value of a wrong type.
    fn mismatch<E: Error>(&self, found: &str) -> E {
        let holder = self.of.map_or("", |of| short(&of.name));
        let field = self.path.fields();
        let wanted = go_type(self.shape);
        self.wrong(if field.is_empty() {
            format!("json: cannot unmarshal {found} into Go value of type {wanted}")
        } else {
            format!(
                "json: cannot unmarshal {found} into Go struct field {holder}.{field} of type {wanted}"
            )
        })
    }

    /// Stops: the text is of the right type, but means nothing.
    fn unreadable<E: Error>(&self, problem: &str) -> E {
        self.wrong(format!("{}: {problem}", self.path))
    }

    fn number<E: Error>(&self, number: Number) -> Result<Value, E> {
        match self.shape {
            Shape::Integer(bits) => {
                let fits = number
                    .as_i64()
                    .is_some_and(|n| *bits >= 64 || i32::try_from(n).is_ok());
                if fits {
                    Ok(Value::Number(number))
                } else {
                    Err(self.mismatch(&format!("number {number}")))
                }
            }
            Shape::IntOrString if number.as_i64().is_some_and(|n| i32::try_from(n).is_ok()) => {
                Ok(Value::Number(number))
            }
            Shape::IntOrString => Err(self.mismatch(&format!("number {number}"))),
            Shape::Number | Shape::Any => Ok(Value::Number(number)),
            Shape::Quantity => match scalar::quantity(&number.to_string()) {
                Ok(text) => Ok(Value::String(text)),
                Err(problem) => Err(self.unreadable(&problem)),
            },
            _ => Err(self.mismatch("number")),
        }
    }

    fn text<E: Error>(&self, text: String) -> Result<Value, E> {
        let read = match self.shape {
            Shape::String | Shape::IntOrString | Shape::Any => Ok(text),
            Shape::Bytes => scalar::bytes(&text),
            Shape::Time => scalar::time(&text),
            Shape::MicroTime => scalar::micro_time(&text),
            Shape::Quantity => scalar::quantity(&text),
            _ => return Err(self.mismatch("string")),
        };
        read.map(Value::String)
            .map_err(|problem| self.unreadable(&problem))
    }

    fn object<'de, A: MapAccess<'de>>(&self, of: &Type, mut access: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = access.next_key_seed(Key(of))? {
            let field = match key {
                Found::Known(field) => field,
                Found::Unknown(name) => {
                    self.reading.complain("unknown", &self.path.key(&name));
                    access.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            let path = self.path.key(&field.name);
            let seed = Seed::new(self.reading, &field.shape, Some(of), path);
            let value = access.next_value_seed(seed)?;
            if object.contains_key(&*field.name) {
                self.reading.duplicate(&path);
            }
            match value {
                Some(value) => object.insert(field.name.as_ref().to_owned(), value),
                None => object.remove(&*field.name),
            };
        }
        Ok(Value::Object(object))
    }

    fn map<'de, A: MapAccess<'de>>(&self, inner: &Shape, mut access: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        let any = matches!(self.shape, Shape::Any);
        while let Some(key) = access.next_key::<String>()? {
            let path = self.path.key(&key);
            let value = access.next_value_seed(self.below(inner, path))?;
            if object.contains_key(&key) {
                self.reading.duplicate(&path);
            }
            let value = value.unwrap_or_else(|| if any { Value::Null } else { inner.zero() });
            object.insert(key, value);
        }
        Ok(Value::Object(object))
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Option<Value>;
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Option<Value>, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Option<Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Option<Value>, E> {
        Ok(None)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Option<Value>, E> {
        match self.shape {
            Shape::Boolean | Shape::Any => Ok(Some(value.into())),
            _ => Err(self.mismatch("bool")),
        }
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Option<Value>, E> {
        self.number(value.into()).map(Some)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Option<Value>, E> {
        self.number(value.into()).map(Some)
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Option<Value>, E> {
        match Number::from_f64(value) {
            Some(number) => self.number(number).map(Some),
            None => Err(self.mismatch("number")),
        }
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Option<Value>, E> {
        self.text(value.to_owned()).map(Some)
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Option<Value>, E> {
        self.text(value).map(Some)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Option<Value>, A::Error> {
        let inner = match self.shape {
            Shape::List(inner) => inner.as_ref(),
            Shape::Any => self.shape,
            _ => return Err(self.mismatch("array")),
        };
        let mut items = Vec::new();
        while let Some(item) =
            access.next_element_seed(self.below(inner, self.path.index(items.len())))?
        {
            items.push(item.unwrap_or_else(|| inner.zero()));
        }
        Ok(Some(Value::Array(items)))
    }

    fn visit_map<A: MapAccess<'de>>(self, access: A) -> Result<Option<Value>, A::Error> {
        match self.shape {
            Shape::Type(name) => match self.reading.schemas.get(name) {
                Some(of) => self.object(of, access),
                None => {
                    Seed::new(self.reading, &Shape::Any, None, self.path).map(&Shape::Any, access)
                }
            },
            Shape::Map(inner) => self.map(inner, access),
            Shape::Any => self.map(self.shape, access),
            _ => return Err(self.mismatch("object")),
        }
        .map(Some)
    }
}

/// The name of a field of a type.
struct Key<'a>(&'a Type);

enum Found<'a> {
    Known(&'a Field),
    Unknown(String),
}

impl<'de, 'a> DeserializeSeed<'de> for Key<'a> {
    type Value = Found<'a>;
    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Found<'a>, D::Error> {
        from.deserialize_str(self)
    }
}

impl<'a> Visitor<'_> for Key<'a> {
    type Value = Found<'a>;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }
    fn visit_str<E: Error>(self, name: &str) -> Result<Found<'a>, E> {
        let known = self.0.field(name).map(Found::Known);
        Ok(known.unwrap_or_else(|| Found::Unknown(name.to_owned())))
    }
}

/// `PodSpec`
fn short(type_name: &str) -> &str {
    type_name.rsplit('.').next().unwrap_or(type_name)
}

/// What Go calls a shape: messages of the API server name its types.
fn go_type(shape: &Shape) -> String {
    match shape {
        Shape::String => "string".to_owned(),
        Shape::Integer(bits) => format!("int{bits}"),
        Shape::Number => "float64".to_owned(),
        Shape::Boolean => "bool".to_owned(),
        Shape::Bytes => "[]uint8".to_owned(),
        Shape::Time => "v1.Time".to_owned(),
        Shape::MicroTime => "v1.MicroTime".to_owned(),
        Shape::Quantity => "resource.Quantity".to_owned(),
        Shape::IntOrString => "intstr.IntOrString".to_owned(),
        Shape::Any => "runtime.RawExtension".to_owned(),
        Shape::Type(name) => {
            let mut parts = name.rsplit('.');
            let (kind, version) = (parts.next(), parts.next());
            format!(
                "{}.{}",
                version.unwrap_or_default(),
                kind.unwrap_or_default()
            )
        }
        Shape::List(inner) => format!("[]{}", go_type(inner)),
        Shape::Map(inner) => format!("map[string]{}", go_type(inner)),
    }
}
