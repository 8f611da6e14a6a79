//! List and watch of this node's pods, with what they refer to.
use super::talk::{MOST, Talk, Trouble};
use super::tokens::Tokens;
use crate::source::Deliveries;
use crate::source::backoff::Backoff;
use crate::source::known::{Known, PODS};
use crate::source::speaker::Speaker;
use crate::state::SourceKind;
use k8s_openapi::api::core::v1::Service;
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How long a watch lasts before it is opened anew.
const WATCH: Duration = Duration::from_secs(300);
/// How often ConfigMaps, Secrets and services are looked at again.
const REFRESH: Duration = Duration::from_secs(60);
/// Waits between two tries.
const FIRST_RETRY: Duration = Duration::from_millis(200);
const LAST_RETRY: Duration = Duration::from_secs(10);

/// Pods that the server wants to be gone: namespace and name by uid. Whoever reports tells it when they are.
#[derive(Clone, Default)]
pub(super) struct Going {
    pods: Arc<Mutex<BTreeMap<String, (String, String)>>>,
    pub(super) changed: Arc<Notify>,
}

impl Going {
    fn replace(&self, pods: BTreeMap<String, (String, String)>) {
        *self.pods.lock().unwrap_or_else(PoisonError::into_inner) = pods;
        self.changed.notify_one();
    }
    /// Those that are to go now.
    pub(super) fn list(&self) -> BTreeMap<String, (String, String)> {
        self.pods
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

pub(super) async fn run(talk: Arc<Talk>, going: Going, deliveries: Deliveries) {
    let mut source = Source {
        known: Known::new(talk.node()),
        speaker: Speaker::new(SourceKind::Api, deliveries),
        to_go: BTreeMap::new(),
        fetched: BTreeSet::new(),
        services: Vec::new(),
        tokens: Tokens::default(),
        version: None,
        talk,
        going,
    };
    let mut backoff = Backoff::new(FIRST_RETRY, LAST_RETRY);
    loop {
        let server = source.talk.server().to_owned();
        match source.session().await {
            None => return,
            Some(Ok(())) => backoff.reset(),
            // The server does not know any more what happened since.
            Some(Err(trouble)) if trouble.status() == Some(StatusCode::GONE) => {
                source.version = None
            }
            Some(Err(trouble)) => {
                if source
                    .speaker
                    .fail(&server, trouble.to_string())
                    .await
                    .is_none()
                {
                    return;
                }
            }
        }
        tokio::time::sleep(backoff.wait()).await;
    }
}

struct Source {
    talk: Arc<Talk>,
    known: Known,
    speaker: Speaker,
    going: Going,
    /// Pods that are to go: uid, and their names.
    to_go: BTreeMap<String, (String, String)>,
    /// The ConfigMaps and Secrets that were looked at.
    fetched: BTreeSet<String>,
    services: Vec<Service>,
    tokens: Tokens,
    /// Up to where the pods are known.
    version: Option<String>,
}

impl Source {
    /// Lists if need be, then watches until the server ends that. None if nobody listens.
    async fn session(&mut self) -> Option<Result<(), Trouble>> {
        if let Err(trouble) = self.list().await {
            return Some(Err(trouble));
        }
        let mut watch = match self.watch().await {
            Ok(watch) => watch,
            Err(trouble) => return Some(Err(trouble)),
        };
        self.deliver().await?;
        let mut rest = Vec::new();
        let mut refresh = Instant::now() + REFRESH;
        loop {
            let due = self.tokens.due().map_or(refresh, |due| due.min(refresh));
            let chunk = tokio::select! {
                chunk = watch.chunk() => chunk,
                () = tokio::time::sleep_until(due) => {
                    let looked = if due < refresh {
                        self.issue().await
                    } else {
                        refresh = Instant::now() + REFRESH;
                        self.fetched.clear();
                        self.beside().await.map(|()| true)
                    };
                    match looked {
                        Ok(true) => self.deliver().await?,
                        Ok(false) => {}
                        Err(trouble) => return Some(Err(trouble)),
                    }
                    continue;
                }
            };
            match chunk {
                Ok(Some(chunk)) => rest.extend_from_slice(&chunk),
                // Its time is over, and it is opened anew from where it ended.
                Ok(None) => return Some(Ok(())),
                Err(err) if err.is_timeout() => return Some(Ok(())),
                Err(err) => {
                    return Some(Err(Trouble::Away(crate::error::chain(&err.without_url()))));
                }
            }
            match self.take(&mut rest) {
                Ok(false) => continue,
                Ok(true) => {}
                Err(trouble) => return Some(Err(trouble)),
            }
            if let Err(trouble) = self.needs().await {
                return Some(Err(trouble));
            }
            self.deliver().await?;
        }
    }

    fn selected(&self) -> String {
        format!(
            "/api/v1/pods?fieldSelector=spec.nodeName%3D{}",
            self.talk.node()
        )
    }

    async fn list(&mut self) -> Result<(), Trouble> {
        if self.version.is_none() {
            let mut list = self.talk.get(&self.selected()).await?;
            let version = list["metadata"]["resourceVersion"]
                .as_str()
                .unwrap_or("0")
                .to_owned();
            let items = list["items"]
                .as_array_mut()
                .map(std::mem::take)
                .unwrap_or_default();
            self.to_go.clear();
            let found = items.iter().map(key_of).collect();
            self.known.keep_only(PODS, &found);
            for item in items {
                self.put(item);
            }
            self.version = Some(version);
        }
        self.fetched.clear();
        self.beside().await
    }

    fn put(&mut self, mut pod: Value) {
        // Items of a list do not say what they are.
        pod["apiVersion"] = json!("v1");
        pod["kind"] = json!("Pod");
        let word = |name: &str| {
            pod["metadata"][name]
                .as_str()
                .unwrap_or_default()
                .to_owned()
        };
        if pod["metadata"]["deletionTimestamp"].is_string() {
            self.to_go
                .insert(word("uid"), (word("namespace"), word("name")));
        }
        self.known.put(&key_of(&pod), pod.to_string().as_bytes());
    }

    async fn watch(&self) -> Result<Response, Trouble> {
        let path = format!(
            "{}&watch=1&allowWatchBookmarks=true&timeoutSeconds={}&resourceVersion={}",
            self.selected(),
            WATCH.as_secs(),
            self.version.as_deref().unwrap_or("0")
        );
        self.talk.open(Method::GET, &path, None, WATCH * 2).await
    }

    /// Takes in the whole lines; whether one of them said anything about a pod.
    fn take(&mut self, rest: &mut Vec<u8>) -> Result<bool, Trouble> {
        let mut news = false;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            news |= self.event(&line)?;
        }
        if rest.len() > MOST {
            return Err(Trouble::Away(format!(
                "an event of more than {} MiB",
                MOST >> 20
            )));
        }
        Ok(news)
    }

    fn event(&mut self, line: &[u8]) -> Result<bool, Trouble> {
        let mut event: Value = serde_json::from_slice(line)
            .map_err(|err| Trouble::Away(format!("sends an event that is no JSON: {err}")))?;
        let object = event["object"].take();
        let kind = event["type"].as_str().unwrap_or_default();
        if kind == "ERROR" {
            let code = object["code"]
                .as_u64()
                .and_then(|code| u16::try_from(code).ok());
            let status = code.and_then(|code| StatusCode::from_u16(code).ok());
            let message = object["message"].as_str().unwrap_or_default().to_owned();
            // Whatever it is, the next try begins with a list.
            self.version = None;
            return Err(Trouble::Refused(
                status.unwrap_or(StatusCode::GONE),
                message,
            ));
        }
        if let Some(version) = object["metadata"]["resourceVersion"].as_str() {
            self.version = Some(version.to_owned());
        }
        match kind {
            "ADDED" | "MODIFIED" => self.put(object),
            "DELETED" => {
                let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
                self.to_go.remove(uid);
                self.known.delete(&key_of(&object));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Everything beside the pods.
    async fn beside(&mut self) -> Result<(), Trouble> {
        match self.talk.get("/api/v1/services").await {
            Ok(mut list) => {
                let items = list["items"]
                    .as_array_mut()
                    .map(std::mem::take)
                    .unwrap_or_default();
                let read = |item| serde_json::from_value(item).ok();
                self.services = items.into_iter().filter_map(read).collect();
            }
            // A server without services, or one that does not let nodes read them.
            Err(Trouble::Refused(StatusCode::NOT_FOUND | StatusCode::FORBIDDEN, _)) => {}
            Err(trouble) => return Err(trouble),
        }
        self.needs().await
    }

    /// Gets what pods refer to and was not looked at yet.
    async fn needs(&mut self) -> Result<(), Trouble> {
        for key in self.known.needs() {
            if self.fetched.contains(&key) {
                continue;
            }
            let mut parts = key.trim_start_matches("/registry/").splitn(3, '/');
            let (Some(kind), Some(namespace), Some(name)) =
                (parts.next(), parts.next(), parts.next())
            else {
                continue;
            };
            match self
                .talk
                .get(&format!("/api/v1/namespaces/{namespace}/{kind}/{name}"))
                .await
            {
                Ok(object) => {
                    self.known.put(&key, object.to_string().as_bytes());
                }
                Err(Trouble::Refused(StatusCode::NOT_FOUND, _)) => {
                    self.known.delete(&key);
                }
                Err(trouble) => return Err(trouble),
            }
            self.fetched.insert(key);
        }
        self.issue().await.map(drop)
    }

    /// Has tokens issued that pods lack, or that end soon; whether there are any.
    async fn issue(&mut self) -> Result<bool, Trouble> {
        let pods: Vec<_> = self.known.pods().map(|(_, pod)| pod.clone()).collect();
        self.tokens.renew(&self.talk, &pods).await
    }

    async fn deliver(&mut self) -> Option<()> {
        self.going.replace(self.to_go.clone());
        let mut set = self.known.set();
        set.services.clone_from(&self.services);
        Arc::make_mut(&mut set.companions).tokens = self.tokens.list();
        self.speaker.say(set).await
    }
}

fn key_of(pod: &Value) -> String {
    let word = |name: &str| pod["metadata"][name].as_str().unwrap_or("default");
    format!("{PODS}{}/{}", word("namespace"), word("name"))
}
