//! `rkubelet` on real kernels with real images: what a user sees, end to end. A file a feature, below `e2e/`.
#![expect(
    clippy::needless_pass_by_value,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test is a caller: `json!` reads best as an argument, and what fails should fail there"
)]
#[path = "e2e/api.rs"]
mod api;
#[path = "e2e/bad_input.rs"]
mod bad_input;
#[path = "e2e/detached.rs"]
mod detached;
#[path = "e2e/environment.rs"]
mod environment;
#[path = "e2e/hostile.rs"]
mod hostile;
#[path = "e2e/housekeeping.rs"]
mod housekeeping;
#[path = "e2e/lifecycle.rs"]
mod lifecycle;
#[path = "e2e/manifests.rs"]
mod manifests;
#[path = "e2e/pods.rs"]
mod pods;
#[path = "e2e/ports.rs"]
mod ports;
#[path = "e2e/probes.rs"]
mod probes;
#[path = "e2e/pull.rs"]
mod pull;
#[path = "e2e/security.rs"]
mod security;
#[path = "e2e/serve.rs"]
mod serve;
#[path = "e2e/settings.rs"]
mod settings;
#[path = "e2e/sources.rs"]
mod sources;
#[path = "e2e/streams.rs"]
mod streams;
#[path = "e2e/support.rs"]
mod support;
#[path = "e2e/survival.rs"]
mod survival;
#[path = "e2e/terminal.rs"]
mod terminal;
#[path = "e2e/verbs.rs"]
mod verbs;
#[path = "e2e/volumes.rs"]
mod volumes;
