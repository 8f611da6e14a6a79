//! What a write is checked against beyond its own object, and what it takes along in its transaction.
use crate::store::{Op, Store};
use serde_json::Value;
use std::sync::Arc;

/// What is being done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A new object.
    Create,
    /// A changed one.
    Update,
    /// It goes.
    Delete,
}

/// A write on its way.
#[derive(Debug)]
pub struct Admission<'w> {
    /// What is done.
    pub operation: Operation,
    /// Which part of the object it is about.
    pub part: crate::resource::Part,
    /// The object as it will be; as it is, for a deletion.
    pub object: &'w mut Value,
    /// As it is.
    pub old: Option<&'w Value>,
    /// Where to look things up.
    pub store: &'w Arc<dyn Store>,
    /// What must be done with it in the same transaction, such as to take an address.
    pub along: Vec<Op>,
    /// Nothing will be stored.
    pub dry_run: bool,
}
