//! `rkubelet images pull`: from registries into the store.
use crate::cli::output::{self, Output};
use crate::cli::pull::Show;
use crate::cli::{Failure, Global, open};
use crate::images::Images as Library;
use clap::Args;
use rkube_images::store::Image;
use rkube_images::{Platform, PullPolicy, Reference};

/// Pull images from their registries.
///
/// Prints the id of each. What is here already is not fetched again.
#[derive(Clone, Debug, Args)]
#[command(after_help = "Examples:
  rkubelet images pull nginx
  rkubelet images pull quay.io/org/tool:v2 --platform linux/arm64
  rkubelet images pull registry.local:5000/app@sha256:...")]
pub struct Pull {
    /// Names as Docker users write them
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Which image of an index to take [default: this host's]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", value_parser = platform)]
    platform: Option<Platform>,
    /// Print nothing but the ids
    #[arg(short, long)]
    quiet: bool,
}

fn platform(text: &str) -> Result<Platform, String> {
    text.parse::<Platform>().map_err(|err| err.to_string())
}

impl Pull {
    /// Pulls one after the other; the layers of each are fetched side by side.
    ///
    /// # Errors
    /// Names the image that cannot be had, and why.
    pub async fn execute(self, global: &Global) -> Result<u8, Failure> {
        let library = open::images(global)?;
        let parsed = self.names.iter().map(|name| {
            library.parse(name).map_err(|err| Failure {
                code: 2,
                ..Failure::of(&err)
            })
        });
        // All names first: nothing is fetched for a command with a mistake in it.
        for reference in parsed.collect::<Result<Vec<_>, _>>()? {
            let output = Output::detect(self.quiet);
            let image = one(&library, &reference, self.platform.clone(), output).await?;
            output::print(&format!("{}\n", image.id))?;
        }
        Ok(0)
    }
}

/// Pulls one image and shows it.
pub(super) async fn one(
    library: &Library,
    reference: &Reference,
    platform: Option<Platform>,
    output: Output,
) -> Result<Image, Failure> {
    let name = reference.to_string();
    let mut options = library.pull_options(PullPolicy::Always);
    if let Some(platform) = platform {
        options.platform = platform;
    }
    let progress = Show::new(&name, output);
    let pulled = rkube_images::pull(&library.store, reference, &options, &progress).await;
    progress.clear();
    let image = pulled
        .map_err(|err| Failure::failed(format!("image {name}: {}", crate::error::chain(&err))))?;
    output.say(&format!("{name}: {}", output::bytes(image.size)));
    Ok(image)
}
