//! From an image reference to unpacked layers.

pub mod digest;
pub mod store;
mod sys;
pub mod unpack;
