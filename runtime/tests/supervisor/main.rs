//! The supervisor against the real kernel: real namespaces, real processes, real signals.
//!
//! Needs root and a static busybox; without, every test prints `SKIP`. Everything a test makes lies
//! in a temporary directory or dies with its supervisor, which is killed when the test ends,
//! however that happens.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "tests may, also outside #[test]"
)]

mod attach;
mod bed;
mod boot;
mod containers;
mod exec;
mod hostile;
mod inside;
mod logs;
mod pod;
mod recovery;
