//! `rkubelet images`: the image store by hand.
pub mod import;

use super::{Failure, Global};
use clap::{Args, Subcommand};

/// Manage images: import, pull, list, prune.
#[derive(Clone, Debug, Args)]
#[command(arg_required_else_help = true)]
pub struct Images {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Debug, Subcommand)]
enum Verb {
    /// Import an image from a file, a directory or standard input
    Import(import::Import),
}

impl Images {
    /// Does what the sub-verb says.
    ///
    /// # Errors
    /// One line.
    pub async fn execute(self, global: &Global) -> Result<u8, Failure> {
        match self.verb {
            Verb::Import(import) => import.execute(global).await,
        }
    }
}
