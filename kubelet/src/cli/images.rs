//! `rkubelet images`: the image store by hand.
pub mod export;
pub mod fsck;
pub mod import;
pub mod inspect;
pub mod list;
pub mod prune;
pub mod pull;
pub mod rm;
pub mod tag;

use super::{Failure, Global};
use crate::images::Images as Library;
use clap::{Args, Subcommand};
use rkube_images::store::{Image, StoreError};

/// Manage images: import, pull, list, prune.
#[derive(Clone, Debug, Args)]
#[command(
    visible_alias = "image",
    arg_required_else_help = true,
    after_help = "Examples:
  rkubelet images pull nginx:1.27
  rkubelet images import rootfs.tar.gz localhost/tool:v1 --cmd /bin/tool
  rkubelet images list
  rkubelet images prune --all --older-than 24h --dry-run"
)]
pub struct Images {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Clone, Debug, Subcommand)]
enum Verb {
    /// Import an image from a file, a directory or standard input
    Import(import::Import),
    /// Pull images from their registries
    Pull(pull::Pull),
    /// List images
    #[command(visible_alias = "ls")]
    List(list::List),
    /// Show all that is known of images
    Inspect(inspect::Inspect),
    /// Give an image another name
    Tag(tag::Tag),
    /// Remove images, or names of them
    Rm(rm::Rm),
    /// Remove what nobody needs
    Prune(prune::Prune),
    /// Keep images from rm and prune
    Pin(tag::Pin),
    /// Let images be removed again
    Unpin(tag::Unpin),
    /// Verify every image, and mend what is damaged
    Fsck(fsck::Fsck),
    /// Write images into an OCI archive
    Export(export::Export),
    /// Say how much disk images take
    Df(list::Df),
}

impl Images {
    /// Does what the sub-verb says.
    ///
    /// # Errors
    /// One line.
    pub async fn execute(self, global: &Global) -> Result<u8, Failure> {
        match self.verb {
            Verb::Import(import) => import.execute(global).await,
            Verb::Pull(pull) => pull.execute(global).await,
            Verb::Fsck(fsck) => fsck.execute(global).await,
            // The rest is work on files alone.
            Verb::List(list) => tokio::task::block_in_place(|| list.execute(global)),
            Verb::Inspect(inspect) => tokio::task::block_in_place(|| inspect.execute(global)),
            Verb::Tag(tag) => tokio::task::block_in_place(|| tag.execute(global)),
            Verb::Rm(rm) => tokio::task::block_in_place(|| rm.execute(global)),
            Verb::Prune(prune) => tokio::task::block_in_place(|| prune.execute(global)),
            Verb::Pin(pin) => tokio::task::block_in_place(|| pin.execute(global)),
            Verb::Unpin(unpin) => tokio::task::block_in_place(|| unpin.execute(global)),
            Verb::Export(export) => tokio::task::block_in_place(|| export.execute(global)),
            Verb::Df(df) => tokio::task::block_in_place(|| df.execute(global)),
        }
    }
}

/// The image that the user means, and what the store knows it by: a name as Docker users write it, an id, a digest,
/// or the beginning of an id.
fn find(library: &Library, typed: &str) -> Result<(String, Image), Failure> {
    let failed = |err: StoreError| Failure::of(&err);
    if let Ok(reference) = library.parse(typed) {
        let name = reference.to_string();
        if let Some(image) = library.store.find(&name).map_err(failed)? {
            return Ok((name, image));
        }
    }
    library
        .store
        .get(typed)
        .map(|image| (typed.to_owned(), image))
        .map_err(failed)
}

/// A name to give to an image, in full.
fn full_name(library: &Library, typed: &str) -> Result<String, Failure> {
    let parsed = library.parse(typed).map_err(|err| Failure {
        code: 2,
        ..Failure::of(&err)
    })?;
    Ok(parsed.to_string())
}
