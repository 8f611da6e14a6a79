//! Pods from etcd, by watching: a change is here within milliseconds.
//!
//! | key | value | pods |
//! |---|---|---|
//! | `/registry/pods/<ns>/<name>` | v1 Pod as JSON, bound to a node by a master | those whose `spec.nodeName` is this node |
//! | `/registry/configmaps/<ns>/<name>`, `/registry/secrets/...` | v1 as JSON | read if one of the pods refers to it |
//! | `/registry/nodes/<node>/manifests/<any>` | a manifest in any form, put there by hand | all |
//! | `/registry/nodes/<node>/boundpods` | BoundPods, as the masters of 2014 write it | all |
//!
//! ```text
//! connect --> list what is not known --> watch from there on --events--> Set
//!    ^             ^-- compacted, or another etcd ---'  |
//!    `------------ back-off, the next server -----------'   what is known stays known: no list after a short break
//! ```
mod connection;

use super::Deliveries;
use super::backoff::Backoff;
use super::client::TlsFiles;
use super::known::{Known, PODS, own_prefix};
use super::speaker::Speaker;
use crate::state::SourceKind;
use connection::{Connection, said};
use etcd_client::{EventType, WatchOptions, WatchResponse, WatchStream};
use futures::FutureExt;
use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::time::Duration;
use tokio::task::JoinHandle;

/// How long a server may take to answer. One that says nothing for three times as long is given up.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// Waits between two tries.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(10);

/// Which etcd, and for whom.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its servers, each `http://` or `https://` with host and port.
    pub endpoints: Vec<String>,
    /// Whom to trust, and who is asking.
    pub tls: TlsFiles,
    /// This node.
    pub node: String,
    /// How long a server may take to answer: [`PATIENCE`].
    pub patience: Duration,
}

/// Starts watching. The task ends when nobody takes deliveries any more.
pub fn spawn(settings: Settings, deliveries: Deliveries) -> JoinHandle<()> {
    let source = Source {
        speaker: Speaker::new(SourceKind::Etcd, deliveries),
        known: Known::new(&settings.node),
        ranges: [PODS.to_owned(), own_prefix(&settings.node)]
            .map(|range| (range, None))
            .into(),
        cluster: 0,
        news: false,
        worked: false,
        settings,
    };
    tokio::spawn(source.run())
}

struct Source {
    settings: Settings,
    speaker: Speaker,
    known: Known,
    /// What is watched: prefixes, which end with a slash, and keys; and up to which revision each is known.
    ranges: BTreeMap<String, Option<i64>>,
    /// Which etcd that is true of.
    cluster: u64,
    /// Whether something is known that was not delivered.
    news: bool,
    /// Whether the last connection came about.
    worked: bool,
}

/// Why a connection ended.
enum Ended {
    /// Nobody listens any more.
    Closed,
    /// What happened in between is not known to the server any more: it has to be listed.
    Compacted,
    /// Anything else.
    Trouble(String),
}

impl From<String> for Ended {
    fn from(message: String) -> Self {
        Ended::Trouble(message)
    }
}

/// The watches of one connection.
struct Watches {
    stream: WatchStream,
    /// Ranges whose watch the server has not confirmed yet, in the order in which they were asked for.
    asked: VecDeque<String>,
    by_id: BTreeMap<i64, String>,
}

impl Source {
    async fn run(mut self) {
        let mut backoff = Backoff::new(FIRST_RETRY, LAST_RETRY);
        let servers = self.settings.endpoints.clone();
        let mut failures = 0;
        for endpoint in servers.iter().cycle() {
            let Err(ended) = self.session(endpoint).await;
            if std::mem::take(&mut self.worked) {
                backoff.reset();
                failures = 0;
            }
            match ended {
                Ended::Closed => return,
                Ended::Compacted => {}
                Ended::Trouble(message) => {
                    tracing::debug!(endpoint, message, "lost etcd");
                    failures += 1;
                    // One server of several may be away without anybody having to know, and a short break is none.
                    if failures > servers.len()
                        && self.speaker.fail(endpoint, message).await.is_none()
                    {
                        return;
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(backoff.wait()) => {}
                () = self.speaker.closed() => return,
            }
        }
    }

    /// Follows one server for as long as it lasts.
    async fn session(&mut self, endpoint: &str) -> Result<Infallible, Ended> {
        let mut connection = Connection::open(endpoint, &self.settings).await?;
        self.greet(&mut connection).await?;
        self.list(&mut connection).await?;
        self.deliver().await?;
        let mut watches = self.watch(&mut connection).await?;
        loop {
            let message = tokio::select! {
                message = watches.stream.message() => message,
                () = self.speaker.closed() => return Err(Ended::Closed),
            };
            self.take(&mut watches, message)?;
            // What has come meanwhile is delivered together.
            while let Some(message) = watches.stream.message().now_or_never() {
                self.take(&mut watches, message)?;
            }
            if self.news {
                for range in self.list(&mut connection).await? {
                    self.ask(&mut watches, &range).await?;
                }
                self.deliver().await?;
            }
        }
    }

    /// Finds out whether this is the etcd that is known, and no older one: a member that was restored from a backup, say.
    async fn greet(&mut self, connection: &mut Connection) -> Result<(), Ended> {
        let own = own_prefix(&self.settings.node);
        let now = connection.list(&own, Some(1)).await?;
        let newest = self.ranges.values().flatten().max().copied().unwrap_or(0);
        if now.cluster != self.cluster || now.revision < newest {
            self.ranges
                .values_mut()
                .for_each(|revision| *revision = None);
        }
        self.cluster = now.cluster;
        Ok(())
    }

    /// Lists the ranges of which nothing is known, those of ConfigMaps and Secrets that are needed now among them. They are
    /// what is to be watched.
    async fn list(&mut self, connection: &mut Connection) -> Result<Vec<String>, Ended> {
        let mut listed = Vec::new();
        loop {
            let needs = self.known.needs();
            for key in &needs {
                self.ranges.entry(key.clone()).or_insert(None);
            }
            let base = [PODS.to_owned(), own_prefix(&self.settings.node)];
            let known = &mut self.known;
            // A watch on what is needed no longer stays to the end of the connection; it finds nobody who cares.
            self.ranges.retain(|range, _| {
                let keep = needs.contains(range) || base.contains(range);
                if !keep {
                    known.delete(range);
                }
                keep
            });
            let unknown = self.ranges.iter().find(|(_, revision)| revision.is_none());
            let Some(range) = unknown.map(|(range, _)| range.clone()) else {
                return Ok(listed);
            };
            let listing = connection.list(&range, None).await?;
            let found = listing.found.iter().map(|(key, _)| key.clone());
            self.known.keep_only(&range, &found.collect());
            for (key, value) in &listing.found {
                self.known.put(key, value);
            }
            self.news = true;
            self.ranges.insert(range.clone(), Some(listing.revision));
            listed.push(range);
        }
    }

    async fn deliver(&mut self) -> Result<(), Ended> {
        if self.news || self.speaker.must_speak() {
            self.news = false;
            self.speaker
                .say(self.known.set())
                .await
                .ok_or(Ended::Closed)?;
        }
        Ok(())
    }

    /// Watches all ranges from where they are known.
    async fn watch(&mut self, connection: &mut Connection) -> Result<Watches, Ended> {
        let ranges: Vec<String> = self.ranges.keys().cloned().collect();
        let Some((first, others)) = ranges.split_first() else {
            return Err("nothing to watch".to_owned().into());
        };
        let opened = connection
            .watch
            .watch(first.as_bytes(), Some(self.options(first)));
        let stream = match tokio::time::timeout(self.settings.patience, opened).await {
            Ok(stream) => stream.map_err(|err| said(&err))?,
            Err(_) => return Err(format!("no watch within {:?}", self.settings.patience).into()),
        };
        let mut watches = Watches {
            stream,
            asked: VecDeque::from([first.clone()]),
            by_id: BTreeMap::new(),
        };
        for range in others {
            self.ask(&mut watches, range).await?;
        }
        Ok(watches)
    }

    async fn ask(&self, watches: &mut Watches, range: &str) -> Result<(), Ended> {
        watches.asked.push_back(range.to_owned());
        let asked = watches
            .stream
            .watch(range.as_bytes(), Some(self.options(range)));
        Ok(asked.await.map_err(|err| said(&err))?)
    }

    fn options(&self, range: &str) -> WatchOptions {
        let known = self.ranges.get(range).copied().flatten().unwrap_or(0);
        let options = WatchOptions::new()
            .with_start_revision(known + 1)
            .with_progress_notify();
        if range.ends_with('/') {
            options.with_prefix()
        } else {
            options
        }
    }

    /// Takes in what the server says.
    fn take(
        &mut self,
        watches: &mut Watches,
        message: Result<Option<WatchResponse>, etcd_client::Error>,
    ) -> Result<(), Ended> {
        let message = message.map_err(|err| said(&err))?;
        let response = message.ok_or_else(|| "has ended the watch".to_owned())?;
        if response.created() {
            let range = watches.asked.pop_front().unwrap_or_default();
            watches.by_id.insert(response.watch_id(), range);
        }
        let Some(range) = watches.by_id.get(&response.watch_id()) else {
            return Ok(());
        };
        if response.canceled() {
            if response.compact_revision() == 0 {
                return Err(format!("has ended the watch: {}", response.cancel_reason()).into());
            }
            self.ranges.insert(range.clone(), None);
            return Err(Ended::Compacted);
        }
        self.worked = true;
        let Some(revision) = self.ranges.get_mut(range) else {
            // It was needed once.
            return Ok(());
        };
        let heard = response.events().iter().filter_map(|event| event.kv());
        let newest = heard.map(|kv| kv.mod_revision()).max();
        // Without events, and not for its beginning, it says up to where this watch has heard everything.
        let quiet = response.events().is_empty() && !response.created();
        let newest = newest.or(response
            .header()
            .filter(|_| quiet)
            .map(|header| header.revision()));
        *revision = (*revision).max(newest);
        for event in response.events() {
            let Some((kv, key)) = event.kv().and_then(|kv| Some((kv, kv.key_str().ok()?))) else {
                continue;
            };
            self.news |= match event.event_type() {
                EventType::Put => self.known.put(key, kv.value()),
                EventType::Delete => self.known.delete(key),
            };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
