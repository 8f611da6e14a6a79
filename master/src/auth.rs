//! Who asks, and whether they may.
//!
//! ```text
//! certificate, bearer token --identify--> User{name, groups} --authorize--> yes | no, and why
//!   static file, service account, bootstrap     masters | own business | node | ABAC file | mode
//! ```
//! Nobody without a name gets further than the pages of health and version.
pub mod abac;
pub mod authorize;
pub mod bootstrap;
pub mod identify;
pub mod node;
pub mod restriction;
pub mod reviews;
pub mod service;
pub mod tokens;

pub use authorize::{Authorizer, Decision, Wish};
pub use identify::Identify;

/// The group of those who may do everything.
pub const MASTERS: &str = "system:masters";
/// The group of everybody with a name.
pub const AUTHENTICATED: &str = "system:authenticated";
/// The group of kubelets.
pub const NODES: &str = "system:nodes";
/// What a kubelet's name begins with.
pub const NODE: &str = "system:node:";

/// The node that a user is, if it is one.
#[must_use]
pub fn node_of(user: &crate::call::User) -> Option<&str> {
    let is_node = user.groups.iter().any(|group| group == NODES);
    user.name
        .strip_prefix(NODE)
        .filter(|node| is_node && !node.is_empty())
}
