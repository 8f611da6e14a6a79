//! One way of showing errors: the whole chain on one line.
pub use rkube_http::chain;
