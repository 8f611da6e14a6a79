//! `rkubelet images tag`, `pin` and `unpin`.
use crate::cli::output::{self, Output};
use crate::cli::{Failure, Global, open};
use clap::Args;

/// Give an image another name; the name is taken from the image that had it.
#[derive(Clone, Debug, Args)]
pub struct Tag {
    /// The image: a name, an id, a digest, or the beginning of an id
    image: String,
    /// The new names
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
}

/// Keep images from rm and prune.
#[derive(Clone, Debug, Args)]
pub struct Pin {
    /// Names, ids, digests, or beginnings of ids
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

/// Let images be removed again.
#[derive(Clone, Debug, Args)]
pub struct Unpin {
    /// Names, ids, digests, or beginnings of ids
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

impl Tag {
    /// Tags.
    ///
    /// # Errors
    /// When there is no such image, or the name is not right.
    pub fn execute(self, global: &Global) -> Result<u8, Failure> {
        let library = open::images(global)?;
        let names = self
            .names
            .iter()
            .map(|name| super::full_name(&library, name));
        let names = names.collect::<Result<Vec<_>, _>>()?;
        let (_, image) = super::find(&library, &self.image)?;
        for name in names {
            let tagged = library.store.tag(&image.id.to_string(), &name);
            tagged.map_err(|err| Failure::of(&err))?;
            Output::detect(false).say(&format!("{} is {name} now", image.id.short()));
        }
        Ok(0)
    }
}

impl Pin {
    /// Pins.
    ///
    /// # Errors
    /// When there is no such image.
    pub fn execute(self, global: &Global) -> Result<u8, Failure> {
        set(global, &self.images, true)
    }
}

impl Unpin {
    /// Unpins.
    ///
    /// # Errors
    /// When there is no such image.
    pub fn execute(self, global: &Global) -> Result<u8, Failure> {
        set(global, &self.images, false)
    }
}

fn set(global: &Global, images: &[String], pinned: bool) -> Result<u8, Failure> {
    let library = open::images(global)?;
    let found = images.iter().map(|typed| super::find(&library, typed));
    for (key, _) in found.collect::<Result<Vec<_>, _>>()? {
        let done = match pinned {
            true => library.store.pin(&key),
            false => library.store.unpin(&key),
        };
        done.map_err(|err| Failure::of(&err))?;
        output::print(&format!(
            "{key} {}\n",
            if pinned { "pinned" } else { "unpinned" }
        ))?;
    }
    Ok(0)
}
