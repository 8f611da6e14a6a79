//! Image garbage collection: what [`super::gc`] says may go is removed until there is room, each with its reason.
use super::gc::{self, Image, ImagePolicy};
use super::measure;
use crate::events::{NodeEvent, NodeEvents};
use crate::images::Images;
use crate::images::used::{Used, UsedError};
use crate::paths::Paths;
use jiff::{SignedDuration, Timestamp};
use rkube_api::quantity::Quantity;
use rkube_images::Digest;
use rkube_images::store::{PruneOptions, RemovePolicy, StoreError, What};
use std::collections::BTreeSet;
use std::time::Duration;

/// Downloads that were broken off, and blobs of no image, are kept this long for whoever goes on with them.
const LEFTOVER_AGE: Duration = Duration::from_secs(3600);

/// Why images could not be collected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CollectError {
    /// It is not known which are in use.
    #[error(transparent)]
    Used(#[from] UsedError),
    /// The store cannot be read or changed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The file system cannot be measured.
    #[error("cannot measure the images' file system")]
    Measure(#[source] std::io::Error),
}

/// Removes images: those that are too old, and, when the disk is over its threshold, those that were not used for the
/// longest time until it is below the lower one. Blocks.
///
/// # Errors
/// What stood in the way; what was removed before stays removed.
pub fn collect(
    paths: &Paths,
    images: &Images,
    policy: &ImagePolicy,
    events: &NodeEvents,
) -> Result<(), CollectError> {
    let mut pass = Pass::begin(paths, images, policy, events)?;
    for (image, why) in gc::outdated(&pass.removable, policy, pass.now) {
        pass.remove(&image, &why)?;
    }
    let disk = || measure::file_system(&paths.images()).map_err(CollectError::Measure);
    let found = disk()?.bytes;
    let Some((goal, why)) = policy.goal(found) else {
        return Ok(());
    };
    images.store.prune(&leftovers(), &pass.in_use)?;
    let enough = found.available.saturating_add(goal);
    for image in std::mem::take(&mut pass.removable) {
        if disk()?.bytes.available >= enough {
            return Ok(());
        }
        pass.remove(&image, &why)?;
    }
    let freed = disk()?.bytes.available.saturating_sub(found.available);
    if freed < goal {
        let message = format!(
            "{why}: wanted to free {}, freed {}, and no other image is unused; remove data, or make the disk larger",
            bytes(goal),
            bytes(freed)
        );
        events.append(NodeEvent::node("FreeDiskSpaceFailed", message).warning());
    }
    Ok(())
}

/// Removes unused images, the longest unused first, until `enough` says so: for an eviction threshold. Blocks.
///
/// # Errors
/// What stood in the way; what was removed before stays removed.
pub fn reclaim(
    paths: &Paths,
    images: &Images,
    policy: &ImagePolicy,
    events: &NodeEvents,
    enough: impl Fn() -> bool,
) -> Result<(), CollectError> {
    let mut pass = Pass::begin(paths, images, policy, events)?;
    images.store.prune(&leftovers(), &pass.in_use)?;
    for image in std::mem::take(&mut pass.removable) {
        if enough() {
            break;
        }
        pass.remove(&image, "the node is under disk pressure")?;
    }
    Ok(())
}

fn leftovers() -> PruneOptions {
    PruneOptions {
        what: What::Leftovers,
        older_than: LEFTOVER_AGE,
        dry_run: false,
    }
}

/// One pass over the store.
struct Pass<'a> {
    paths: &'a Paths,
    images: &'a Images,
    events: &'a NodeEvents,
    min_age: SignedDuration,
    now: Timestamp,
    in_use: BTreeSet<Digest>,
    removable: Vec<Image>,
}

impl<'a> Pass<'a> {
    fn begin(
        paths: &'a Paths,
        images: &'a Images,
        policy: &ImagePolicy,
        events: &'a NodeEvents,
    ) -> Result<Self, CollectError> {
        let in_use = Used::find(paths, images)?.ids();
        let all = images.store.list()?;
        let all: Vec<Image> = all.iter().map(|image| fact(image, &in_use)).collect();
        let now = Timestamp::now();
        Ok(Pass {
            paths,
            images,
            events,
            min_age: policy.min_age,
            now,
            in_use,
            removable: gc::removable(&all, policy, now),
        })
    }

    /// Removes one image, unless a pod has come to use it since the pass began.
    fn remove(&mut self, image: &Image, why: &str) -> Result<(), CollectError> {
        let Some(found) = self.images.store.find(&image.id)? else {
            return Ok(());
        };
        let in_use = Used::find(self.paths, self.images)?.ids();
        let touched = Timestamp::now().duration_since(found.last_used) < self.min_age;
        if found.pinned || touched || in_use.contains(&found.id) {
            return Ok(());
        }
        let store = &self.images.store;
        store.remove(&image.id, RemovePolicy::Force, &in_use)?;
        self.removable.retain(|other| other.id != image.id);
        self.events.append(NodeEvent::node(
            "ImageDeleted",
            format!("image {} ({}): {why}", image.title, bytes(image.bytes)),
        ));
        Ok(())
    }
}

fn fact(image: &rkube_images::store::Image, in_use: &BTreeSet<Digest>) -> Image {
    Image {
        id: image.id.to_string(),
        title: image
            .names
            .first()
            .cloned()
            .unwrap_or_else(|| image.id.to_string()),
        bytes: image.size,
        added: image.added,
        last_used: image.last_used,
        pinned: image.pinned,
        in_use: in_use.contains(&image.id),
    }
}

/// Bytes for people: never longer than three digits and a unit.
pub(super) fn bytes(count: u64) -> String {
    let mut unit = 1;
    while count / unit >= 10_240 {
        unit *= 1024;
    }
    let rounded = count / unit * unit;
    Quantity::from_bytes(i64::try_from(rounded).unwrap_or(i64::MAX)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short() {
        let sizes = [0, 1000, 20_000, 5_555_555, 3 << 30, 12_345_678_901];
        let words: Vec<_> = sizes.into_iter().map(bytes).collect();
        assert_eq!(words, ["0", "1k", "19Ki", "5425Ki", "3Gi", "11Gi"]);
    }
}
