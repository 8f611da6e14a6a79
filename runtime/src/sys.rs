//! sys.
pub(crate) mod bpf;
pub(crate) mod notify;
