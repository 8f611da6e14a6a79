//! Objects, manifests, defaults and validation.
//!
//! Text comes in, `v1` objects (the types of `k8s-openapi`) go out. Everything here is pure data: no files, no network,
//! no clock, no async. A manifest of any generation becomes `v1` at the door, so that nobody behind it knows
//! that there ever was another:
//!
//! ```text
//! text --yaml--> located tree --decode--> v1 object --defaults--> --validate--> Manifest
//!                       \--decode--> v1beta1 object --convert--^
//! ```
//!
//! ```
//! use rkube_api::{Strictness, manifest};
//!
//! let text = "{version: v1beta1, id: web, containers: [{name: httpd, imagee: demo/httpd}]}";
//! let mistakes = manifest::parse(text, "web.yaml", Strictness::Strict).unwrap_err();
//! assert_eq!(
//!     mistakes.to_string(),
//!     "web.yaml: line 1: Pod web: containers[0].imagee: unknown field; did you mean image?"
//! );
//! ```
//!
//! *Guarantees*: no input makes this crate panic or use memory out of proportion to its size; a field that is not
//! understood is an error (or, if asked for, a warning) and never silently dropped.
#![forbid(unsafe_code)]

mod decode;
pub mod defaults;
pub mod document;
pub mod duration;
pub mod expand;
pub mod labels;
pub mod manifest;
pub mod names;
mod node;
pub mod openapi;
pub mod patch;
pub mod proto;
pub mod qos;
pub mod quantity;
pub mod schema;
pub mod strict;
pub mod v1beta1;
pub mod validate;
pub mod yaml;

pub use manifest::{Manifest, ManifestError, Mistake, Strictness};
pub use quantity::Quantity;
