//! `rkubelet images inspect`: all that is known of an image.
use super::list::Entry;
use crate::cli::format::{DataFormat, print_data};
use crate::cli::{Failure, Global, open};
use crate::images::used::Used;
use clap::Args;
use rkube_images::store::{Image, LayerRef};
use serde::Serialize;

/// Show all that is known of images.
#[derive(Clone, Debug, Args)]
pub struct Inspect {
    /// Names, ids, digests, or beginnings of ids
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
    /// The form of the answer
    #[arg(short, long, value_enum, value_name = "FORM", default_value = "yaml")]
    output: DataFormat,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Details<'a> {
    #[serde(flatten)]
    entry: Entry,
    media_type: &'a str,
    layer_blobs: Vec<Layer>,
    config: &'a oci_spec::image::ImageConfiguration,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Layer {
    diff_id: String,
    digest: String,
    size: u64,
    media_type: String,
}

impl<'a> Details<'a> {
    fn new(image: &'a Image, used: &Used) -> Self {
        let layer = |layer: &LayerRef| Layer {
            diff_id: layer.diff_id.to_string(),
            digest: layer.digest.to_string(),
            size: layer.size,
            media_type: layer.media_type.clone(),
        };
        Details {
            entry: Entry::new(image, used),
            media_type: &image.manifest_media_type,
            layer_blobs: image.layer_blobs.iter().map(layer).collect(),
            config: &image.config,
        }
    }
}

impl Inspect {
    /// Shows: one object for one image, a list for several.
    ///
    /// # Errors
    /// Names the image that is not there.
    pub fn execute(self, global: &Global) -> Result<u8, Failure> {
        let library = open::images(global)?;
        let used = Used::find(&global.paths(), &library);
        let used = used.map_err(|err| Failure::of(&err))?;
        let found = self.images.iter().map(|typed| super::find(&library, typed));
        let found = found.collect::<Result<Vec<_>, _>>()?;
        let details: Vec<_> = found
            .iter()
            .map(|(_, image)| Details::new(image, &used))
            .collect();
        match details.as_slice() {
            [one] => print_data(one, self.output)?,
            several => print_data(&several, self.output)?,
        }
        Ok(0)
    }
}
