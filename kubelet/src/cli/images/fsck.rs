//! `rkubelet images fsck`: verifies the store, and mends it by pulling again.
use crate::cli::output::{self, Output};
use crate::cli::{Failure, Global, open};
use clap::Args;
use rkube_images::store::Repair;

/// Verify every blob and layer of every image.
///
/// The exit code is 1 if something is damaged and was not mended.
#[derive(Clone, Copy, Debug, Args)]
pub struct Fsck {
    /// Remove what is damaged, unpack layers again, and pull what then is missing
    #[arg(short, long)]
    repair: bool,
    /// Print nothing but damage
    #[arg(short, long)]
    quiet: bool,
}

impl Fsck {
    /// Verifies.
    ///
    /// # Errors
    /// When the store cannot be read, or something could not be mended.
    pub async fn execute(self, global: &Global) -> Result<u8, Failure> {
        let library = open::images(global)?;
        let repair = match self.repair {
            true => Repair::Mend,
            false => Repair::Report,
        };
        let store = library.store.clone();
        let report = tokio::task::spawn_blocking(move || store.fsck(repair))
            .await
            .map_err(|err| Failure::of(&err))?
            .map_err(|err| Failure::of(&err))?;
        for damage in &report.damages {
            output::print(&format!("{damage}\n"))?;
        }
        let out = Output::detect(self.quiet);
        out.say(&format!(
            "looked at {} images, {} blobs, {} layers: {}",
            report.images,
            report.blobs,
            report.layers,
            if report.is_clean() {
                "all is well"
            } else {
                "damaged"
            }
        ));
        if report.is_clean() {
            return Ok(0);
        }
        if !self.repair {
            out.say("`rkubelet images fsck --repair` mends it");
            return Ok(1);
        }
        for done in &report.mended {
            output::print(&format!("{done}\n"))?;
        }
        let mut lost = Vec::new();
        for name in &report.pull_again {
            // One without a name cannot be asked for; one that was imported has no registry.
            match library.parse(name) {
                Ok(reference) if reference.registry != "localhost" => {
                    super::pull::one(&library, &reference, None, out).await?;
                    output::print(&format!("pulled {name} again\n"))?;
                }
                Ok(_) | Err(_) => lost.push(name.as_str()),
            }
        }
        if lost.is_empty() {
            return Ok(0);
        }
        Err(Failure::failed(format!(
            "no registry has {}: import it again, or remove it with `rkubelet images rm`",
            lost.join(", ")
        )))
    }
}
