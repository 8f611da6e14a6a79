//! End-to-end suites and their fixtures.
