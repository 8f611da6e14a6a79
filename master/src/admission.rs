//! What a write is checked against beyond its own object, and what it takes along in its transaction.
pub mod homes;
pub mod pods;
pub mod portal;
pub mod tokens;

use crate::call::User;
use crate::error::ApiError;
use crate::resource::Names;
use crate::store::{Op, Store};
use async_trait::async_trait;
use serde_json::Value;
use std::fmt::Debug;
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
    /// In which namespace; empty where there is none.
    pub namespace: &'w str,
    /// The object's name.
    pub name: &'w str,
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

/// A rule for writes of many kinds: that their namespace is there, what a node may write.
///
/// Run for each write before [`crate::resource::Resource::admit`].
#[async_trait]
pub trait Plugin: Debug + Send + Sync + 'static {
    /// Lets it pass, perhaps changed.
    ///
    /// # Errors
    /// Why it may not be.
    async fn admit(
        &self,
        user: &User,
        names: &Names,
        admission: &mut Admission<'_>,
    ) -> Result<(), ApiError>;
}

/// The rules that every cluster has, in order; `ca` is the certificate of its CA.
#[must_use]
pub fn plugins(ca: &str) -> Vec<Arc<dyn Plugin>> {
    vec![
        Arc::new(homes::Homes { ca: ca.to_owned() }),
        Arc::new(pods::Pods),
    ]
}
