//! Pulling images with progress: a bar a layer on a terminal, plain lines otherwise.
use super::Failure;
use super::output::{Output, bytes};
use crate::admission::Companions;
use crate::state::PodRecord;
use crate::worker::Node;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use rkube_images::{Digest, Event as ProgressEvent, Progress};
use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};

/// Makes sure that the images of all containers of a pod are here, by their pull policies.
///
/// # Errors
/// Names the image that cannot be had.
pub async fn images_of(
    node: &Node,
    pod: &Pod,
    companions: &Companions,
    output: Output,
) -> Result<(), Failure> {
    let namespace = pod
        .metadata
        .namespace
        .clone()
        .unwrap_or_else(|| "default".to_owned());
    let secrets = companions
        .secrets
        .iter()
        .filter(|secret| secret.metadata.namespace.as_deref().unwrap_or("default") == namespace);
    let record = PodRecord {
        secrets: secrets
            .filter_map(|secret| Some((secret.metadata.name.clone()?, secret.clone())))
            .collect(),
        fail_fast: true,
        ..PodRecord::new(pod.clone(), Timestamp::now())
    };
    let mut done = BTreeSet::new();
    for (_, container) in record.containers() {
        let image = container.image.clone().unwrap_or_default();
        if !done.insert(image.clone()) {
            continue;
        }
        let progress = Show::new(&image, output);
        let fetched = node.images.fetch(&record, container, &progress).await;
        progress.clear();
        let fail = |err: crate::images::ImageError| {
            let code = if matches!(err, crate::images::ImageError::Name(_)) {
                2
            } else {
                125
            };
            Failure {
                code,
                message: format!(
                    "container {}: {}",
                    container.name,
                    crate::error::chain(&err)
                ),
            }
        };
        fetched.map_err(fail)?;
    }
    Ok(())
}

/// Shows a pull to a person.
pub struct Show {
    image: String,
    output: Output,
    bars: Option<MultiProgress>,
    layers: Mutex<BTreeMap<Digest, Layer>>,
}

struct Layer {
    size: u64,
    bar: Option<ProgressBar>,
}

impl Show {
    /// Shows the pull of `image`.
    #[must_use]
    pub fn new(image: &str, output: Output) -> Self {
        let terminal = !output.quiet && std::io::stderr().is_terminal();
        Show {
            image: image.to_owned(),
            output,
            bars: terminal.then(MultiProgress::new),
            layers: Mutex::default(),
        }
    }

    /// Takes the bars away.
    pub fn clear(&self) {
        if let Some(bars) = &self.bars {
            let _ = bars.clear();
        }
    }

    fn add(&self, digest: &Digest, size: u64) {
        let bar = self.bars.as_ref().map(|bars| {
            let style = ProgressStyle::with_template(
                "{prefix:.dim} {bar:24} {bytes:>11} of {total_bytes:<11} {msg}",
            );
            let bar = bars.add(ProgressBar::new(size));
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_prefix(short(digest));
            bar
        });
        self.layers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(digest.clone(), Layer { size, bar });
    }

    /// Says something of a layer: in its bar, or as a line of its own when it is worth one.
    fn tell(&self, digest: &Digest, position: Option<u64>, word: &str, line: bool) {
        let layers = self.layers.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(layer) = layers.get(digest) else {
            return;
        };
        match &layer.bar {
            Some(bar) => {
                if let Some(position) = position {
                    bar.set_position(position.min(layer.size));
                }
                bar.set_message(word.to_owned());
            }
            None if line => self.output.say(&format!(
                "{}: layer {} ({}): {word}",
                self.image,
                short(digest),
                bytes(layer.size)
            )),
            None => {}
        }
    }
}

impl Progress for Show {
    fn event(&self, event: &ProgressEvent<'_>) {
        match event {
            ProgressEvent::Resolving { host } => {
                self.output.say(&format!("{}: asking {host}", self.image))
            }
            ProgressEvent::Resolved { layers, size, .. } => {
                self.output.say(&format!(
                    "{}: {layers} layers, {}",
                    self.image,
                    bytes(*size)
                ));
            }
            ProgressEvent::Layer { digest, size } => self.add(digest, *size),
            ProgressEvent::Skipped { digest } => {
                self.tell(digest, Some(u64::MAX), "already here", true)
            }
            ProgressEvent::Waiting { digest } => {
                self.tell(digest, None, "another pull is at it", true)
            }
            ProgressEvent::Downloaded { digest, bytes } => {
                self.tell(digest, Some(*bytes), "", false)
            }
            ProgressEvent::Verified { digest } => {
                self.tell(digest, Some(u64::MAX), "verified", false)
            }
            ProgressEvent::Unpacking { digest, .. } => self.tell(digest, None, "unpacking", false),
            ProgressEvent::Done { digest } => self.tell(digest, Some(u64::MAX), "done", true),
            ProgressEvent::Retrying { digest, why, wait } => {
                let what =
                    digest.map_or_else(String::new, |digest| format!(" layer {}", short(digest)));
                self.output.say(&format!(
                    "{}:{what}: {why}; trying again in {:.1} s",
                    self.image,
                    wait.as_secs_f32()
                ));
            }
            _ => {}
        }
    }
}

fn short(digest: &Digest) -> String {
    digest.hex().chars().take(12).collect()
}
