//! Benchmarks against the limits and against peers.
