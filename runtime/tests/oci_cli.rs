//! The OCI command line, run as engines run it, on bundles with a busybox.
//!
//! `RUNTIME=/usr/sbin/runc` points the suite at another runtime: what runc fails is wrong here.
//! Checks of what only this runtime promises are behind [`lab::Lab::is_ours`].
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "helpers of tests: a failure is a panic, a test that cannot run says so"
)]

#[path = "oci_cli/exec.rs"]
mod exec;
#[path = "oci_cli/executable.rs"]
mod executable;
#[path = "oci_cli/hooks.rs"]
mod hooks;
#[path = "oci_cli/lab.rs"]
mod lab;
#[path = "oci_cli/lifecycle.rs"]
mod lifecycle;
#[path = "oci_cli/podman.rs"]
mod podman;
#[path = "oci_cli/resources.rs"]
mod resources;
#[path = "oci_cli/terminal.rs"]
mod terminal;
