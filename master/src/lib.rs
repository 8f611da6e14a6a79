//! The master of a cluster: one object store and the API in front of it.
//!
//! ```text
//!   HTTP, TLS, who is it, may they      front/  auth/  audit
//!        | Call { user, verb, resource, namespace, name, options }
//!   v1beta1 edge --.                    v1beta1/ (converts, then the same path)
//!        |         |
//!   registry: admit, default, validate, merge       registry/ resource/ admission/
//!        | compare-and-swap        ^ bytes, encoded once
//!   store: embedded | etcd  --->  watch cache        store/  cache/
//! ```
#![forbid(unsafe_code)]

pub mod admission;
pub mod cache;
pub mod call;
pub mod connect;
pub mod error;
pub mod list;
pub mod meta;
pub mod registry;
pub mod render;
pub mod resource;
pub mod select;
pub mod store;
pub mod table;
pub mod watch;

/// Does what the command line says.
///
/// # Errors
/// What stopped it, in words for the user.
pub fn run() -> anyhow::Result<()> {
    anyhow::bail!("nothing is served yet")
}
