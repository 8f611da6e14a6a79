//! The inside of objects and lists, value by value.

use std::{iter, slice};

use serde::de::{
    DeserializeSeed, EnumAccess, Error as _, IntoDeserializer, MapAccess, SeqAccess, VariantAccess,
    Visitor,
};

use super::read::{Fault, Reader};
use super::suggest::nearest;
use super::{MAX_UNKNOWN, Misfit, MisfitKind, Pass, Segment, push_key};
use crate::node::{Entry, Node, Value};

/// The fields of an object. With `fields`, only those, and each at most once.
pub(super) struct Entries<'n, 'p> {
    rest: slice::Iter<'n, Entry>,
    fields: Option<&'static [&'static str]>,
    seen: Vec<&'n str>,
    pass: &'p Pass,
    next: Option<&'n Entry>,
}

impl<'n, 'p> Entries<'n, 'p> {
    pub(super) fn new(
        entries: &'n [Entry],
        fields: Option<&'static [&'static str]>,
        pass: &'p Pass,
    ) -> Self {
        Self {
            rest: entries.iter(),
            fields,
            seen: Vec::new(),
            pass,
            next: None,
        }
    }

    /// Whether the type gets to see the entry; notes it if it is unknown.
    fn admits(&mut self, entry: &'n Entry) -> bool {
        if self.pass.is_aside(&entry.node) {
            return false;
        }
        let Some(fields) = self.fields else {
            return true;
        };
        if fields.contains(&entry.key.as_str()) {
            if self.seen.contains(&entry.key.as_str()) {
                return false;
            }
            self.seen.push(&entry.key);
            return entry.node.value != Value::Null;
        }
        if self.pass.unknown.borrow().len() >= MAX_UNKNOWN {
            self.pass.more.update(|more| more + 1);
            return false;
        }
        let near = nearest(&entry.key, fields);
        let parent = self.pass.path();
        let below = |key: &str| {
            let mut path = parent.clone();
            push_key(&mut path, key);
            path
        };
        self.pass.unknown.borrow_mut().push(Misfit {
            path: below(&entry.key),
            place: entry.place,
            problem: match near {
                Some(near) => format!("unknown field; did you mean {near}?"),
                None => "unknown field".to_owned(),
            },
            kind: MisfitKind::Unknown {
                meant: near.map(below),
            },
        });
        false
    }
}

impl<'n> MapAccess<'n> for Entries<'n, '_> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'n>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        self.next = None;
        while let Some(entry) = self.rest.next() {
            if self.admits(entry) {
                self.next = Some(entry);
                break;
            }
        }
        match self.next {
            Some(entry) => seed
                .deserialize(entry.key.as_str().into_deserializer())
                .map(Some),
            None => Ok(None),
        }
    }

    fn next_value_seed<V: DeserializeSeed<'n>>(&mut self, seed: V) -> Result<V::Value, Fault> {
        let entry = self
            .next
            .take()
            .ok_or_else(|| Fault::custom("value asked for before its key"))?;
        self.pass.push(Segment::Key(entry.key.clone()));
        let reader = Reader::new(&entry.node, self.pass).at_key(entry.place);
        let value = reader.located(seed.deserialize(reader));
        self.pass.pop();
        value
    }
}

pub(super) struct Items<'n, 'p> {
    rest: iter::Enumerate<slice::Iter<'n, Node>>,
    pass: &'p Pass,
}

impl<'n, 'p> Items<'n, 'p> {
    pub(super) fn new(items: &'n [Node], pass: &'p Pass) -> Self {
        Self {
            rest: items.iter().enumerate(),
            pass,
        }
    }
}

impl<'n> SeqAccess<'n> for Items<'n, '_> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'n>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fault> {
        let Some((index, item)) = self.rest.find(|(_, item)| !self.pass.is_aside(item)) else {
            return Ok(None);
        };
        self.pass.push(Segment::Index(index));
        let reader = Reader::new(item, self.pass);
        let value = reader.located(seed.deserialize(reader));
        self.pass.pop();
        value.map(Some)
    }
}

/// A variant without content, by name.
pub(super) struct Unit<'n>(pub(super) &'n str);

impl<'n> EnumAccess<'n> for Unit<'n> {
    type Error = Fault;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'n>>(self, seed: V) -> Result<(V::Value, Self), Fault> {
        Ok((seed.deserialize(self.0.into_deserializer())?, self))
    }
}

impl<'n> VariantAccess<'n> for Unit<'n> {
    type Error = Fault;

    fn unit_variant(self) -> Result<(), Fault> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'n>>(self, _: T) -> Result<T::Value, Fault> {
        Err(Fault::custom("expected an object, found a string"))
    }

    fn tuple_variant<V: Visitor<'n>>(self, _: usize, _: V) -> Result<V::Value, Fault> {
        Err(Fault::custom("expected an object, found a string"))
    }

    fn struct_variant<V: Visitor<'n>>(
        self,
        _: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Fault> {
        Err(Fault::custom("expected an object, found a string"))
    }
}
