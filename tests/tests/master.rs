//! The master as its clients see it: real ones, and the raw wire where none speaks it any more.
#![expect(
    clippy::unwrap_used,
    reason = "a test ends where something is not as it should be"
)]
#[path = "master/apply.rs"]
mod apply;
#[path = "master/kubectl.rs"]
mod kubectl;
#[path = "master/libraries.rs"]
mod libraries;
#[path = "master/node.rs"]
mod node;
#[path = "master/old.rs"]
mod old;
#[path = "master/survival.rs"]
mod survival;
#[path = "master/wire.rs"]
mod wire;
