//! From the located tree to typed objects, with nothing dropped in silence.
//!
//! The types of `k8s-openapi` ignore unknown fields and stop at the first wrong type. This deserializer sees the field
//! names each type announces, so it can report unknown ones with the nearest known name; and after a
//! wrong type it sets that value aside and decodes again, so that one run reports every mistake of a document.

mod access;
mod read;
mod suggest;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use serde::de::DeserializeOwned;

use crate::node::{Node, Place, Value};
use read::Reader;

/// No document has more wrong types than this reported.
const MAX_WRONG: usize = 25;
/// The same for unknown fields.
const MAX_UNKNOWN: usize = 25;

/// Something in the text that does not fit the type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Misfit {
    pub(crate) path: String,
    pub(crate) place: Place,
    pub(crate) problem: String,
    pub(crate) kind: MisfitKind,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MisfitKind {
    /// A field that the type does not have; the path of the field that was probably meant.
    Unknown { meant: Option<String> },
    /// A value that cannot be read as the field's type, or a key that stands there twice.
    Wrong,
}

/// What came out, and everything that did not fit.
#[derive(Debug)]
pub(crate) struct Decoded<T> {
    /// `None` if the whole value is of a wrong type.
    pub(crate) value: Option<T>,
    pub(crate) misfits: Vec<Misfit>,
}

/// State of one decoding pass.
#[derive(Default)]
struct Pass {
    /// The path to the value being read.
    path: RefCell<Vec<Segment>>,
    unknown: RefCell<Vec<Misfit>>,
    /// Unknown fields beyond those.
    more: Cell<usize>,
    /// Values found wrong in earlier passes, by address: the tree does not move while it is decoded.
    aside: BTreeSet<usize>,
}

enum Segment {
    Key(String),
    Index(usize),
}

/// Decodes `node`, which stands at `base` in its document (empty for the document itself).
pub(crate) fn decode<T: DeserializeOwned>(node: &Node, base: &str) -> Decoded<T> {
    let mut pass = Pass::default();
    if !base.is_empty() {
        pass.path.get_mut().push(Segment::Key(base.to_owned()));
    }
    let mut misfits = Vec::new();
    duplicate_keys(node, &mut base.to_owned(), &mut misfits);
    let value = loop {
        pass.unknown.get_mut().clear();
        pass.more.set(0);
        pass.path.get_mut().truncate(usize::from(!base.is_empty()));
        match T::deserialize(Reader::new(node, &pass)) {
            Ok(value) => break Some(value),
            Err(fault) => {
                let (misfit, address) = fault.into_misfit(node, base);
                misfits.push(misfit);
                if address == address_of(node) || misfits.len() >= MAX_WRONG {
                    break None;
                }
                pass.aside.insert(address);
            }
        }
    };
    misfits.append(pass.unknown.get_mut());
    if pass.more.get() > 0 {
        let last = misfits
            .last()
            .map(|misfit| misfit.place)
            .unwrap_or_default();
        misfits.push(Misfit {
            path: base.to_owned(),
            place: last,
            problem: format!("{} more unknown fields", pass.more.get()),
            kind: MisfitKind::Unknown { meant: None },
        });
    }
    misfits.sort_by_key(|misfit| (misfit.place.line, misfit.place.column));
    Decoded { value, misfits }
}

impl Pass {
    fn path(&self) -> String {
        let mut text = String::new();
        for segment in self.path.borrow().iter() {
            match segment {
                Segment::Key(key) => push_key(&mut text, key),
                Segment::Index(index) => push_index(&mut text, *index),
            }
        }
        text
    }

    fn push(&self, segment: Segment) {
        self.path.borrow_mut().push(segment);
    }

    fn pop(&self) {
        self.path.borrow_mut().pop();
    }

    fn is_aside(&self, node: &Node) -> bool {
        self.aside.contains(&address_of(node))
    }
}

fn address_of(node: &Node) -> usize {
    std::ptr::from_ref(node).addr()
}

/// Appends `.key`, or `[a.b/c]` for a key that would read as several.
pub(crate) fn push_key(path: &mut String, key: &str) {
    if path.is_empty() {
        path.push_str(key);
    } else if key.contains(['.', '/', '[', ']', ' ']) || key.is_empty() {
        path.push('[');
        path.push_str(&crate::node::shorten(key));
        path.push(']');
    } else {
        path.push('.');
        path.push_str(&crate::node::shorten(key));
    }
}

fn push_index(path: &mut String, index: usize) {
    path.push_str(&format!("[{index}]"));
}

/// Reports every key that its mapping already has.
fn duplicate_keys(node: &Node, path: &mut String, misfits: &mut Vec<Misfit>) {
    let end = path.len();
    match &node.value {
        Value::Mapping(entries) => {
            let mut seen = std::collections::BTreeMap::new();
            for entry in entries {
                push_key(path, &entry.key);
                match seen.get(&entry.key) {
                    None => {
                        seen.insert(&entry.key, entry.place.line);
                    }
                    Some(first) if misfits.len() < MAX_WRONG => misfits.push(Misfit {
                        path: path.clone(),
                        place: entry.place,
                        problem: format!("duplicate key; it is already set on line {first}"),
                        kind: MisfitKind::Wrong,
                    }),
                    Some(_) => {}
                }
                duplicate_keys(&entry.node, path, misfits);
                path.truncate(end);
            }
        }
        Value::Sequence(items) => {
            for (index, item) in items.iter().enumerate() {
                push_index(path, index);
                duplicate_keys(item, path, misfits);
                path.truncate(end);
            }
        }
        Value::Null
        | Value::Bool(_)
        | Value::Int(_)
        | Value::Unsigned(_)
        | Value::Float(_)
        | Value::String(_) => {}
    }
}
