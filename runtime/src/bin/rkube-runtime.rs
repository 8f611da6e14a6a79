//! `rkube-runtime`: the OCI runtime command line. Everything is in [`rkube_runtime::oci`].
use std::process::ExitCode;

fn main() -> ExitCode {
    rkube_runtime::oci::cli::main(std::env::args_os())
}
