//! Pods that somebody asked this kubelet for over its own HTTP API. They are kept in one file and survive restarts.
//!
//! ```text
//! PUT, DELETE /pods/<ns>/<name> --put, delete--,                      ,--> sources/http.json (fsync, rename)
//! POST /container, /containers --replace_all---+--> one task, in turn +
//!                                                                     `--> Delivery, then the answer
//! ```
//! A request that was answered with success is on disk. What cannot be written down is not wanted.
mod store;

use super::content::{self, Content, Naming};
use super::{Deliveries, Delivery, Failed, Problem, Set, Wanted};
use crate::admission::Companions;
use crate::state::SourceKind;
use k8s_openapi::api::core::v1::Pod;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};
use store::{Entries, Entry};
use tokio::sync::{mpsc, oneshot};

/// Requests that may wait.
const REQUESTS: usize = 64;

/// Namespace and name.
type Key = (String, String);

/// Why a request is not followed. Nothing has changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HttpError {
    /// The manifest is not right.
    #[error("{0}")]
    Invalid(String),
    /// The manifests of all requests have become too many.
    #[error("the pods that were asked for over HTTP take more than {} MiB; delete some", store::LIMIT >> 20)]
    Full,
    /// It cannot be written down.
    #[error("cannot keep the manifest; make room on the disk, then try again")]
    Store(#[source] io::Error),
    /// What was kept before cannot be read.
    #[error("{0}; mend that file or move it away and restart, or POST all pods to /containers")]
    Unusable(String),
    /// The kubelet ends.
    #[error("the kubelet is ending; try again when it is back")]
    Ending,
}

/// What was accepted.
#[derive(Clone, Debug, Default)]
pub struct Accepted {
    /// The pods as they are wanted now.
    pub pods: Vec<Arc<Pod>>,
    /// Whether the one pod that was put was not there before.
    pub created: bool,
    /// What in the text has no effect.
    pub warnings: Vec<String>,
}

#[derive(Debug)]
enum Ask {
    Put(Key, Vec<u8>),
    Delete(Key),
    ReplaceAll(String, Vec<u8>),
}

type Answer = Result<Accepted, HttpError>;

/// The source. Clones are the same one.
#[derive(Clone, Debug)]
pub struct HttpSource {
    requests: mpsc::Sender<(Ask, oneshot::Sender<Answer>)>,
    pods: Arc<RwLock<BTreeMap<Key, Arc<Pod>>>>,
}

/// Starts the source with what is kept in `file`. The task ends when nobody takes deliveries any more.
#[must_use]
pub fn spawn(file: PathBuf, node: &str, deliveries: Deliveries) -> HttpSource {
    let (requests, incoming) = mpsc::channel(REQUESTS);
    let source = HttpSource {
        requests,
        pods: Arc::default(),
    };
    let task = Task {
        naming: Naming {
            node: node.to_owned(),
            ..Naming::default()
        },
        file,
        deliveries,
        entries: Entries::default(),
        unreadable: Vec::new(),
        unusable: None,
        pods: source.pods.clone(),
    };
    tokio::spawn(task.run(incoming));
    source
}

impl HttpSource {
    /// Wants the one pod that the text holds, which has to be `namespace/name`. ConfigMaps and Secrets may stand beside it.
    ///
    /// # Errors
    /// Says what is wrong with the text, or why it cannot be kept.
    pub async fn put(&self, namespace: &str, name: &str, text: Vec<u8>) -> Answer {
        let key = (namespace.to_owned(), name.to_owned());
        self.ask(Ask::Put(key, text)).await
    }

    /// Wants the pod no longer; its last form, or none if nobody had asked for it.
    ///
    /// # Errors
    /// When that cannot be written down.
    pub async fn delete(&self, namespace: &str, name: &str) -> Answer {
        let key = (namespace.to_owned(), name.to_owned());
        self.ask(Ask::Delete(key)).await
    }

    /// Wants the pods of the text, and nothing else that was asked for over HTTP before. `place` is what to call where the
    /// text came from: `/container` or `/containers`.
    ///
    /// # Errors
    /// Says what is wrong with the text, or why it cannot be kept.
    pub async fn replace_all(&self, place: &str, text: Vec<u8>) -> Answer {
        self.ask(Ask::ReplaceAll(place.to_owned(), text)).await
    }

    /// The pods that are wanted, by namespace and name.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<Pod>> {
        let pods = self.pods.read().unwrap_or_else(PoisonError::into_inner);
        pods.values().cloned().collect()
    }

    /// The pod of that name as it is wanted.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        let pods = self.pods.read().unwrap_or_else(PoisonError::into_inner);
        pods.get(&(namespace.to_owned(), name.to_owned())).cloned()
    }

    /// The task follows a request even if who asked does not wait for the answer.
    async fn ask(&self, ask: Ask) -> Answer {
        let (answer, answered) = oneshot::channel();
        let sent = self.requests.send((ask, answer)).await;
        sent.map_err(|_| HttpError::Ending)?;
        answered.await.map_err(|_| HttpError::Ending)?
    }
}

struct Task {
    naming: Naming,
    file: PathBuf,
    deliveries: Deliveries,
    entries: Entries,
    /// What was accepted once, and cannot be read any more: by another version of this program.
    unreadable: Vec<Problem>,
    /// Why nothing at all is known of what was accepted before. It is not written over one by one.
    unusable: Option<String>,
    pods: Arc<RwLock<BTreeMap<Key, Arc<Pod>>>>,
}

impl Task {
    async fn run(mut self, mut incoming: mpsc::Receiver<(Ask, oneshot::Sender<Answer>)>) {
        self.take_up();
        if self.deliver().await.is_none() {
            return;
        }
        loop {
            let next = tokio::select! {
                next = incoming.recv() => next,
                () = self.deliveries.closed() => None,
            };
            let Some((ask, answer)) = next else { return };
            // Parsing and a flushed file take milliseconds.
            let outcome = tokio::task::block_in_place(|| self.follow(ask));
            if outcome.is_ok() && self.deliver().await.is_none() {
                return;
            }
            // Who asked may be gone.
            let _ = answer.send(outcome);
        }
    }

    /// Takes up what is kept. What cannot be read is left where it is, for a person or an older version to look at.
    fn take_up(&mut self) {
        let kept = match store::load(&self.file) {
            Ok(kept) => kept,
            Err(err) => {
                self.unusable = Some(crate::error::chain(&err));
                return;
            }
        };
        for kept in kept {
            let text = kept.text();
            match content::read(text.as_bytes(), &kept.place, &self.naming) {
                Ok(content) => self.entries.take_up(&kept, &content),
                Err(message) => {
                    self.unreadable.push(Problem {
                        place: kept.place.clone(),
                        message,
                    });
                    self.entries.keep(kept);
                }
            }
        }
        self.publish();
    }

    fn follow(&mut self, ask: Ask) -> Answer {
        match (ask, &self.unusable) {
            (Ask::Put(..) | Ask::Delete(_), Some(message)) => {
                Err(HttpError::Unusable(message.clone()))
            }
            (Ask::Put(key, text), _) => self.put(key, &text),
            (Ask::Delete(key), _) => self.delete(&key),
            (Ask::ReplaceAll(place, text), _) => self.replace_all(&place, &text),
        }
    }

    fn put(&mut self, key: Key, text: &[u8]) -> Answer {
        let place = format!("/pods/{}/{}", key.0, key.1);
        let content = self.read(text, &place)?;
        let [pod] = content.pods.as_slice() else {
            let count = content.pods.len();
            let message = format!(
                "{count} pods in the manifest; put one pod at a time, or POST them to /containers"
            );
            return Err(HttpError::Invalid(message));
        };
        let found = key_of(pod);
        if found != key {
            return Err(HttpError::Invalid(format!(
                "the manifest is of pod {}/{}, the request is for {}/{}",
                found.0, found.1, key.0, key.1
            )));
        }
        let created = !self.entries.contains(&key);
        let accepted = Accepted {
            pods: content.pods.clone(),
            created,
            warnings: content.warnings.clone(),
        };
        let mut next = self.entries.clone();
        next.insert(key, Entry::new(&place, pod, &content.companions));
        self.keep(next)?;
        Ok(accepted)
    }

    fn delete(&mut self, key: &Key) -> Answer {
        let mut next = self.entries.clone();
        let Some(pod) = next.remove(key) else {
            return Ok(Accepted::default());
        };
        self.keep(next)?;
        Ok(Accepted {
            pods: vec![pod],
            ..Accepted::default()
        })
    }

    fn replace_all(&mut self, place: &str, text: &[u8]) -> Answer {
        let content = self.read(text, place)?;
        let mut next = self.entries.emptied();
        for pod in &content.pods {
            next.insert(key_of(pod), Entry::new(place, pod, &content.companions));
        }
        self.keep(next)?;
        Ok(Accepted {
            pods: content.pods,
            created: false,
            warnings: content.warnings,
        })
    }

    fn read(&self, text: &[u8], place: &str) -> Result<Content, HttpError> {
        content::read(text, place, &self.naming).map_err(HttpError::Invalid)
    }

    /// Writes the entries down; only then they are what is wanted.
    fn keep(&mut self, next: Entries) -> Result<(), HttpError> {
        let text = next.text().ok_or(HttpError::Full)?;
        store::save(&self.file, &text).map_err(HttpError::Store)?;
        let places = next.unread();
        self.unreadable
            .retain(|problem| places.contains(&problem.place));
        (self.entries, self.unusable) = (next, None);
        self.publish();
        Ok(())
    }

    fn publish(&self) {
        let pods = self.entries.pods().map(|pod| (key_of(pod), pod.clone()));
        *self.pods.write().unwrap_or_else(PoisonError::into_inner) = pods.collect();
    }

    async fn deliver(&self) -> Option<()> {
        if let Some(message) = &self.unusable {
            let problem = Problem {
                place: self.file.to_string_lossy().into_owned(),
                message: message.clone(),
            };
            let failed = Failed {
                source: SourceKind::Http,
                problem,
            };
            return self.deliveries.send(Delivery::Failed(failed)).await.ok();
        }
        let mut companions = Companions::default();
        self.entries.companions(&mut companions);
        let pods = self.entries.iter().map(|entry| Wanted {
            pod: entry.pod.clone(),
            place: entry.place.clone(),
        });
        let set = Set {
            source: SourceKind::Http,
            pods: pods.collect(),
            companions: Arc::new(companions),
            problems: self.unreadable.clone(),
            ..Set::default()
        };
        self.deliveries.send(Delivery::Set(set)).await.ok()
    }
}

fn key_of(pod: &Pod) -> Key {
    let meta = &pod.metadata;
    (
        meta.namespace
            .clone()
            .unwrap_or_else(|| "default".to_owned()),
        meta.name.clone().unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests;
