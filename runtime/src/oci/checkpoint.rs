//! `checkpoint` and `restore`: understood, and refused.
use clap::Args;

use super::cli::Failure;

/// Not supported.
#[derive(Debug, Args)]
pub(super) struct Unsupported {
    /// Whatever the caller gave
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    args: Vec<String>,
}

/// The answer to both verbs.
#[derive(Debug, thiserror::Error)]
#[error("{verb} is not supported by this runtime; stop and delete the container instead")]
pub(super) struct UnsupportedError {
    verb: &'static str,
}

impl Unsupported {
    /// Says no.
    pub(super) fn run(self, verb: &'static str) -> Result<u8, Failure> {
        Err(UnsupportedError { verb }.into())
    }
}
