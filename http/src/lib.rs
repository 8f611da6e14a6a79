//! The front door of a server: who may connect, with which certificates, for how long.
//!
//! ```text
//! listen (ports, socket) --> seats (how many, of whom) --> connection (protocol, time-outs) --> an axum Router
//!        pki (certificates, made and renewed)   lenient (clients' certificates)   tokens (files of bearer tokens)
//! ```
//! What a request means, and whether who asks may have it, is the server's own business.
#![forbid(unsafe_code)]

pub mod body;
pub mod connection;
mod error;
pub mod file;
pub mod lenient;
pub mod listen;
pub mod pki;
pub mod sd;
pub mod seats;
mod stamp;
pub mod tokens;

pub use connection::Door;
pub use error::chain;
pub use stamp::Stamp;

/// Somebody who has shown who they are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// The name: a certificate's common name, or a token's.
    pub name: String,
    /// The groups: a certificate's organizations, or a token's.
    pub groups: Vec<String>,
}
