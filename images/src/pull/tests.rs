//! Pulls from a registry that misbehaves, from Debian's real one, and under `kill -9`.

use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use super::*;
use crate::testing::{Fault, FixtureAuth, FixtureRegistry, TestImage};

mod auth;
mod faults;
mod hosts;
mod images;
mod kill;
mod real;

const MANIFEST: &str = "/manifests/";
const BLOB: &str = "/blobs/";

/// A registry with one image `app:1`, and an empty store.
struct Bench {
    registry: FixtureRegistry,
    image: TestImage,
    dir: tempfile::TempDir,
    options: PullOptions,
    events: Recorder,
}

impl Bench {
    fn new(image: TestImage) -> Self {
        let registry = FixtureRegistry::start();
        registry.put_image("app", "1", &image);
        let dir = tempfile::tempdir().unwrap();
        Self {
            registry,
            image,
            dir,
            options: quick(),
            events: Recorder::default(),
        }
    }

    /// One layer of 4 MiB, large enough to break in the middle.
    fn large() -> Self {
        Self::new(TestImage::noise(1, 4 << 20))
    }

    fn small() -> Self {
        Self::new(TestImage::of(&[&[("hello", b"hello")]]))
    }

    fn store(&self) -> Store {
        Store::open(self.dir.path()).unwrap()
    }

    fn name(&self) -> String {
        format!("{}/app:1", self.registry.host())
    }

    async fn pull(&self) -> Result<Image, PullError> {
        self.pull_name(&self.name()).await
    }

    async fn pull_name(&self, name: &str) -> Result<Image, PullError> {
        let reference = Reference::parse(name).unwrap();
        pull(&self.store(), &reference, &self.options, &self.events).await
    }

    /// The pull fails with a message that holds all of `wants`, and leaves no image behind.
    #[track_caller]
    fn expect_failure(&self, outcome: Result<Image, PullError>, wants: &[&str]) -> PullError {
        let err = outcome.expect_err("the pull should fail");
        let message = chain(&err);
        for want in wants {
            assert!(message.contains(want), "\"{want}\" is not in: {message}");
        }
        assert!(!message.contains('\n'), "{message}");
        assert!(self.store().list().unwrap().is_empty());
        err
    }

    fn layer_digest(&self, index: usize) -> String {
        self.image.layers[index].digest().to_string()
    }

    /// What the image's layers hold, top-most first.
    fn read(&self, image: &Image, path: &str) -> Option<Vec<u8>> {
        let dirs: Vec<PathBuf> = self.store().lowerdirs(image).unwrap();
        dirs.iter()
            .find_map(|dir| fs_err::read(dir.join(path)).ok())
    }
}

/// A program with several pods pulls in tasks of their own.
#[tokio::test]
async fn a_pull_can_be_a_task() {
    let bench = Bench::small();
    let (store, reference) = (bench.store(), Reference::parse(&bench.name()).unwrap());
    let task = tokio::spawn(async move {
        let progress = crate::progress::Silent;
        pull(&store, &reference, &PullOptions::default(), &progress).await
    });
    assert_eq!(task.await.unwrap().unwrap().layers.len(), 1);
}

/// Options that try again at once and wait for nobody long.
fn quick() -> PullOptions {
    PullOptions {
        retry: RetryPolicy {
            attempts: 4,
            base: Duration::from_millis(4),
            max: Duration::from_millis(20),
            max_asked: Duration::from_secs(10),
        },
        timeouts: Timeouts {
            connect: Duration::from_secs(5),
            header: Duration::from_secs(2),
            idle: Duration::from_secs(1),
        },
        ..PullOptions::default()
    }
}

/// Remembers every event as `Name digest`.
#[derive(Default)]
struct Recorder(Mutex<Vec<String>>);

impl Recorder {
    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    fn has(&self, event: &str) -> bool {
        self.position(event).is_some()
    }

    fn position(&self, event: &str) -> Option<usize> {
        self.all().iter().position(|seen| seen.starts_with(event))
    }
}

impl Progress for Recorder {
    fn event(&self, event: &Event<'_>) {
        let line = match event {
            Event::Resolving { host } => format!("resolving {host}"),
            Event::Resolved { layers, .. } => format!("resolved {layers}"),
            Event::Layer { digest, .. } => format!("layer {digest}"),
            Event::Skipped { digest } => format!("skipped {digest}"),
            Event::Waiting { digest } => format!("waiting {digest}"),
            Event::Downloaded { digest, bytes } => format!("downloaded {digest} {bytes}"),
            Event::Verified { digest } => format!("verified {digest}"),
            Event::Unpacking { digest, .. } => format!("unpacking {digest}"),
            Event::Done { digest } => format!("done {digest}"),
            Event::Retrying { why, .. } => format!("retrying {why}"),
        };
        self.0.lock().unwrap().push(line);
    }
}
