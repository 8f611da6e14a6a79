//! `rkubelet images prune`: gives disk space back.
use crate::cli::output::{self, Output};
use crate::cli::{Failure, Global, open, time};
use crate::images::used::Used;
use clap::Args;
use rkube_images::store::{PruneOptions, What};
use std::time::Duration;

/// Remove what nobody needs: layers and blobs of no image, broken-off pulls, and images without a name.
///
/// Pinned images and those that pods use always stay.
#[derive(Clone, Copy, Debug, Args)]
pub struct Prune {
    /// Named images that no pod uses, too
    #[arg(short, long)]
    all: bool,
    /// Only what was not used for this long; a pull that is under way holds what belongs to no image yet
    #[arg(long, value_name = "SPAN", value_parser = time::span, default_value = "10m")]
    older_than: Duration,
    /// Only say what would go
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Print nothing
    #[arg(short, long)]
    quiet: bool,
}

impl Prune {
    /// Prunes.
    ///
    /// # Errors
    /// When something cannot be removed, or it is not known what pods use.
    pub fn execute(self, global: &Global) -> Result<u8, Failure> {
        let library = open::images(global)?;
        let used = Used::find(&global.paths(), &library);
        let used = used.map_err(|err| Failure::of(&err))?;
        let options = PruneOptions {
            what: match self.all {
                true => What::UnusedImages,
                false => What::UnnamedImages,
            },
            older_than: self.older_than,
            dry_run: self.dry_run,
        };
        let report = library.store.prune(&options, &used.ids());
        let report = report.map_err(|err| Failure::of(&err))?;
        let verb = if self.dry_run {
            "would remove"
        } else {
            "removed"
        };
        if !self.quiet {
            for freed in &report.freed {
                let size = output::bytes(freed.bytes);
                output::print(&format!(
                    "{verb} {} ({}), {size}\n",
                    freed.object, freed.why
                ))?;
            }
        }
        Output::detect(self.quiet).say(&format!("{verb} {} in all", output::bytes(report.bytes())));
        Ok(0)
    }
}
