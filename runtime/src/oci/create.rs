//! `create`: everything up to the point where the user's program would start.
use std::path::PathBuf;

use clap::Args;

use super::cli::{Context, Failure};
use super::creation::{self, CreateError, Until};

/// Create a container, to be started later.
#[derive(Debug, Args)]
pub(super) struct Create {
    #[command(flatten)]
    flags: CreateFlags,
    /// A name of its own for the container
    id: String,
}

/// What `create` and `run` have in common.
#[derive(Debug, Args)]
pub(super) struct CreateFlags {
    /// Directory of the bundle
    #[arg(long, short, value_name = "DIR", default_value = ".")]
    pub(super) bundle: PathBuf,
    /// Unix socket that the terminal's master end is sent to
    #[arg(long, value_name = "PATH")]
    pub(super) console_socket: Option<PathBuf>,
    /// File to write the pid of the first process to
    #[arg(long, value_name = "FILE")]
    pub(super) pid_file: Option<PathBuf>,
    /// Descriptors from 3 on that the container inherits
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub(super) preserve_fds: u32,
    /// Accepted; the root is always switched by pivot_root(2)
    #[arg(long)]
    pub(super) no_pivot: bool,
    /// Keep the caller's session keyring
    #[arg(long)]
    pub(super) no_new_keyring: bool,
}

impl Create {
    /// Creates the container; init is left waiting, for whoever adopts our children.
    pub(super) fn run(self, context: &Context) -> Result<u8, Failure> {
        match creation::create(context, &self.id, &self.flags, Until::Parked) {
            Ok(_) => Ok(0),
            Err(err) => Err(failure(err)),
        }
    }
}

/// An error of `create` with its exit code.
pub(super) fn failure(err: CreateError) -> Failure {
    Failure::with_code(err.exit_code(), err)
}
