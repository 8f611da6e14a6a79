//! Manifests from a file or a directory: read at once when inotify tells of a change, and from time to time anyway.
//!
//! ```text
//! inotify --+--> scan (only what changed is read) --quiet meanwhile?--> Set, if it says anything new
//! period  --'      ^------------------ no: a file was being written -------'
//! ```
//! A file that turns bad keeps what it held before and is a problem of its own; files beside it never notice. A path
//! that cannot be read at all keeps everything.
mod scan;
mod watch;

use super::content::{Content, Naming};
use super::speaker::Speaker;
use super::{Deliveries, Problem, Set, Wanted};
use crate::admission::Companions;
use crate::state::SourceKind;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use scan::{Scan, ScanError};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use watch::Watch;

/// A file system that has not answered for so long is given up for the time being.
const PATIENCE: Duration = Duration::from_secs(30);
/// A path that cannot be read is looked at again after this time before anybody hears of it: it may be replaced.
const GRACE: Duration = Duration::from_millis(100);
/// The longest rest between two looks at a directory that changes all the time.
const LONGEST_REST: Duration = Duration::from_secs(1);
/// How often a directory that changes while it is read is read again, before the files that change are left for later.
const TRIES: u32 = 5;

/// Where manifests lie.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A file or a directory.
    pub path: PathBuf,
    /// How often to look though nothing is heard.
    pub period: Duration,
    /// How its pods are called.
    pub naming: Naming,
}

/// Starts reading. The task ends when nobody takes deliveries any more.
pub fn spawn(settings: Settings, deliveries: Deliveries) -> JoinHandle<()> {
    tokio::spawn(async move {
        let watch = Watch::new()
            .inspect_err(|err| {
                tracing::warn!(%err, "no inotify: manifests are looked at from time to time only");
            })
            .ok();
        let mut source = Source {
            settings,
            speaker: Speaker::new(SourceKind::File, deliveries),
            watch,
            scan: Arc::default(),
            told: Arc::default(),
            took: Duration::ZERO,
        };
        while source.look().await.is_some() && source.wait().await.is_some() {}
    })
}

/// What stands at `path` now, for somebody who wants to know what is wrong with it.
///
/// # Errors
/// When it cannot be read at all.
pub fn read_once(path: &std::path::Path, naming: &Naming) -> Result<Set, String> {
    let scan = Scan::default().next(path, naming, &watch::Busy::default());
    scan.map(|scan| set_of(&scan))
        .map_err(|err| crate::error::chain(&err))
}

struct Source {
    settings: Settings,
    speaker: Speaker,
    watch: Option<Watch>,
    /// The last look that succeeded.
    scan: Arc<Scan>,
    /// The last one that was delivered.
    told: Arc<Scan>,
    /// How long the last scan took.
    took: Duration,
}

impl Source {
    /// Looks once and delivers what is new; none if nobody wants to know.
    async fn look(&mut self) -> Option<()> {
        let mut result = self.settled().await?;
        if result.is_err() && !self.speaker.has_failed() {
            tokio::time::sleep(GRACE).await;
            result = self.settled().await?;
        }
        match result {
            Ok(scan) => {
                self.scan = Arc::new(scan);
                if self.speaker.must_speak() || self.scan.differs(&self.told) {
                    self.told = self.scan.clone();
                    self.speaker.say(set_of(&self.scan)).await?;
                }
                Some(())
            }
            Err(err) => self.fail(crate::error::chain(&err)).await,
        }
    }

    /// Scans until nothing changed meanwhile: what is read of a file while it is written is not kept.
    async fn settled(&mut self) -> Option<Result<Scan, ScanError>> {
        let mut tries = 1;
        loop {
            if let Some(watch) = &mut self.watch {
                watch.aim(&self.settings.path);
                watch.drain();
            }
            let result = self.scan().await?;
            let meanwhile = self.watch.as_mut().map(Watch::drain).unwrap_or_default();
            if meanwhile.is_none() || result.is_err() {
                return Some(result);
            }
            if tries == TRIES {
                return Some(result.map(|scan| scan.without(&meanwhile, &self.scan)));
            }
            tries += 1;
        }
    }

    /// One scan, on a thread that may wait for a disk.
    async fn scan(&mut self) -> Option<Result<Scan, ScanError>> {
        let busy = self.watch.as_ref().map(Watch::busy).unwrap_or_default();
        let (last, settings) = (self.scan.clone(), self.settings.clone());
        let since = Instant::now();
        let mut work =
            tokio::task::spawn_blocking(move || last.next(&settings.path, &settings.naming, &busy));
        let patience = tokio::time::sleep(PATIENCE);
        tokio::select! {
            done = &mut work => {
                self.took = since.elapsed();
                return done.ok();
            }
            () = patience => {}
        }
        let message = format!("has not answered for {} s", PATIENCE.as_secs());
        self.fail(message).await?;
        work.await.ok()
    }

    async fn fail(&mut self, message: String) -> Option<()> {
        let place = self.settings.path.to_string_lossy();
        // An error of the file system names the path itself.
        let message = message.replace(&format!("`{place}`"), "it");
        self.speaker.fail(&place, message).await
    }

    /// Sleeps until there may be something to see; none if nobody wants to know. A directory that changes all the time
    /// gets no more than a third of one processor.
    async fn wait(&mut self) -> Option<()> {
        tokio::time::sleep((self.took * 2).min(LONGEST_REST)).await;
        let again = self.scan.again().unwrap_or(self.settings.period);
        let until = Instant::now() + again.min(self.settings.period);
        let heard = async {
            match &mut self.watch {
                Some(watch) => watch.changed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = heard => Some(()),
            () = tokio::time::sleep_until(until) => Some(()),
            () = self.speaker.closed() => None,
        }
    }
}

/// All that the good places hold, and what is wrong with the others.
fn set_of(scan: &Scan) -> Set {
    let mut set = Set {
        problems: scan.problems().collect(),
        ..Set::default()
    };
    let mut companions = Companions::default();
    let mut holders = BTreeMap::new();
    for (place, content) in scan.contents() {
        set.pods.extend(content.pods.iter().map(|pod| Wanted {
            pod: pod.clone(),
            place: place.clone(),
        }));
        set.problems
            .extend(join(&mut companions, &mut holders, &place, content));
    }
    set.companions = Arc::new(companions);
    set
}

/// Who holds a ConfigMap or Secret: kind, namespace and name to a place.
type Holders = BTreeMap<(&'static str, String, String), String>;

/// Puts the companions of one place to those of others. Of two with one name the first counts.
fn join(
    all: &mut Companions,
    holders: &mut Holders,
    place: &str,
    content: &Content,
) -> Option<Problem> {
    let mut clash = None;
    let mut hold = |kind: &'static str, meta: &ObjectMeta| {
        let namespace = meta
            .namespace
            .clone()
            .unwrap_or_else(|| "default".to_owned());
        let name = meta.name.clone().unwrap_or_default();
        let holder = holders
            .entry((kind, namespace, name.clone()))
            .or_insert_with(|| place.to_owned());
        if *holder != place {
            clash = Some(format!(
                "{kind} {name} stands in {holder} as well, which counts; take one of them away"
            ));
        }
        *holder == place
    };
    for map in &content.companions.config_maps {
        if hold("ConfigMap", &map.metadata) {
            all.config_maps.push(map.clone());
        }
    }
    for secret in &content.companions.secrets {
        if hold("Secret", &secret.metadata) {
            all.secrets.push(secret.clone());
        }
    }
    clash.map(|message| Problem {
        place: place.to_owned(),
        message,
    })
}

#[cfg(test)]
mod tests;
