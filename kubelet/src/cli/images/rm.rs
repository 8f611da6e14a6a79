//! `rkubelet images rm`: takes names away, and the image with its last one.
use crate::cli::{Failure, Global, all_of, open, output};
use crate::images::Images as Library;
use crate::images::used::Used;
use clap::Args;
use rkube_images::store::{RemovePolicy, StoreError};

/// Remove images, or names of them.
///
/// An image goes with its last name, or by its id; what other images share stays. One that a pod uses, that is pinned,
/// or that has several names where its id is given, is refused without --force.
#[derive(Clone, Debug, Args)]
pub struct Rm {
    /// Names, ids, digests, or beginnings of ids
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    /// Remove it all the same; one that a pod uses goes once the pod is over and `prune` runs
    #[arg(short, long)]
    force: bool,
}

impl Rm {
    /// Removes.
    ///
    /// # Errors
    /// Names the images that were not removed; the others are.
    pub fn execute(self, global: &Global) -> Result<u8, Failure> {
        let library = open::images(global)?;
        let used = Used::find(&global.paths(), &library);
        let used = used.map_err(|err| Failure::of(&err))?;
        let outcomes = self
            .images
            .iter()
            .map(|typed| self.remove(&library, &used, typed));
        all_of(outcomes.collect())?;
        Ok(0)
    }

    fn remove(&self, library: &Library, used: &Used, typed: &str) -> Result<(), Failure> {
        let (key, image) = super::find(library, typed)?;
        let policy = match self.force {
            true => RemovePolicy::Force,
            false => RemovePolicy::Careful,
        };
        let removed = library.store.remove(&key, policy, &used.ids());
        let removed = removed.map_err(|err| match err {
            StoreError::InUse { .. } => Failure::failed(format!(
                "image {typed} is in use by pod {}; stop it first, or use --force",
                used.by(&image.id).join(", ")
            )),
            err => Failure::of(&err),
        })?;
        for name in &removed.untagged {
            output::print(&format!("untagged {name}\n"))?;
        }
        match removed.deleted {
            Some(id) => output::print(&format!("removed {id}\n")),
            None => Ok(()),
        }
    }
}
