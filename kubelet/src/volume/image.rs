//! image: the files of an OCI image as a volume, read-only, mounted from the store as they are for all pods.
use crate::images::ImageError;
use crate::paths::{Paths, create_private};
use crate::state::PodRecord;
use crate::sys;
use crate::update::Reporter;
use crate::worker::Node;
use k8s_openapi::api::core::v1::{Container, ImageVolumeSource};
use rkube_images::store::{Image, Store};
use rkube_images::{Digest, Silent};
use std::path::Path;

/// Pulls the image by its policy and mounts it at `dir`. One that is mounted already stays, whatever its name means now.
pub(super) async fn ensure(
    node: &Node,
    record: &PodRecord,
    source: &ImageVolumeSource,
    dir: &Path,
    reporter: &Reporter,
) -> Result<(), String> {
    if dir.is_dir() && sys::is_mount(dir).map_err(|err| err.to_string())? {
        return Ok(());
    }
    let wanted = Container {
        image: source.reference.clone(),
        image_pull_policy: source.pull_policy.clone(),
        ..Container::default()
    };
    let fetched = node.images.fetch(record, &wanted, &Silent).await;
    let (image, pulled) = fetched.map_err(|err: ImageError| crate::error::chain(&err))?;
    if pulled {
        let name = source.reference.as_deref().unwrap_or_default();
        let message = format!("image {name} ({}) for a volume", image.id);
        reporter.event("Pulled", None, message);
    }
    let (store, dir) = (node.images.store.clone(), dir.to_owned());
    let mounted = tokio::task::spawn_blocking(move || mount(&store, &image, &dir));
    mounted.await.unwrap_or(Err("interrupted".to_owned()))
}

fn mount(store: &Store, image: &Image, dir: &Path) -> Result<(), String> {
    let failed = |err: std::io::Error| err.to_string();
    // From here on it is in use, and nobody cleans it away.
    create_private(dir).map_err(failed)?;
    fs_err::write(dir.with_extension(NOTE), image.id.to_string()).map_err(failed)?;
    let found = store.touch(&image.id).and_then(|()| store.lowerdirs(image));
    let layers = found.map_err(|err| crate::error::chain(&err))?;
    let tree = rkube_runtime::compile::layers_to_read(&layers);
    let tree = tree.map_err(|err| crate::error::chain(&err))?;
    sys::attach_mount(&tree, dir).map_err(failed)
}

/// The ending of the file beside a volume that says which image it is. A volume's name has no dot.
const NOTE: &str = "image";

/// The images that volumes of the pod are of.
#[must_use]
pub fn images(paths: &Paths, uid: &str) -> Vec<Digest> {
    let Ok(entries) = std::fs::read_dir(paths.pod_run(uid).join("volumes")) else {
        return Vec::new();
    };
    let notes = entries.flatten().map(|entry| entry.path());
    let notes = notes.filter(|path| path.extension().is_some_and(|ending| ending == NOTE));
    notes
        .filter_map(|path| Digest::parse(&std::fs::read_to_string(path).ok()?).ok())
        .collect()
}
