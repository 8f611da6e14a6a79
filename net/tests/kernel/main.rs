//! What the crate asks of a kernel, asked of the real one in namespaces the tests make.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::too_many_lines,
    reason = "tests: a failure is a panic, skips and timings are printed, tables are long"
)]

mod bridge;
mod hostports;
mod support;
